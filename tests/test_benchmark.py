"""What a transplant costs in bytes and memory: counters that are the same on every machine."""

import pathlib
import shutil

import pytest

from benchmarks import case as case_module
from benchmarks import contestants, rounds, table
from benchmarks.case import Case
from benchmarks.contestants import ALL, STATS

MB = 10**6
SLACK = (
    3 * MB // 2
)  # headers, indexes, provenance, modules that are imported when first needed
MEMORY = 8 * MB  # a piece of 1 MiB for each of up to four workers, and what they find
STATISTICS = 10 * 2 * 700 * 4  # bytes of ten layers' means and variances
FULL, BARE = "tfreuse", "tfreuse, no checksums"

counted = pytest.mark.skipif(
    not pathlib.Path("/proc/self/io").exists(),
    reason="counts bytes in /proc/self/io, which this system does not have",
)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A donor and a recipient of 20 MB: ten dense layers and ten batch normalizations."""
    import keras

    made = Case("small", tmp_path_factory.mktemp("benchmark"))
    for seed, side in enumerate(("donor", "recipient")):
        model = keras.Sequential([keras.Input((700,))])
        for number in range(10):
            model.add(keras.layers.Dense(700, name=f"dense_{number}_x"))
            model.add(keras.layers.BatchNormalization(name=f"norm_{number}_x"))
        case_module.scramble(model, seed)
        model.save(made.file(side))
        model.save_weights(made.file(side, ".weights.h5"))
    return made


# (contestant, task): how often the files and the selected bytes are read, and the selected
# bytes written beside the output. One pass reads recipient and donor, and writes each byte once;
# without checks, of the donor only what is selected.
COSTS = [
    (BARE, STATS, 1, 1, 0),
    (BARE, ALL, 1, 1, 0),
    (FULL, STATS, 2, 0, 0),
    (FULL, ALL, 2, 0, 0),
]


@counted
@pytest.mark.parametrize(("name", "task", "files", "selected", "written"), COSTS)
def test_a_transplant_reads_and_writes_no_more_than_it_must(
    case, name, task, files, selected, written
):
    found = rounds.run_once(case, contestants.find(task, name), timeout=60)
    assert "error" not in found, found["error"]
    size = case.file("recipient").stat().st_size
    moved = STATISTICS if task == STATS else size
    assert found["read"] <= files * size + selected * moved + SLACK
    assert size <= found["written"] <= size + written * moved + SLACK
    assert found["memory"] <= MEMORY


@counted
def test_a_result_that_is_not_what_it_should_be_has_no_time(case):
    def copy(case):
        return lambda: shutil.copyfile(case.file("recipient"), case.out())

    entry = contestants.Contestant(ALL, "does nothing", copy, out=".keras")
    copy(case)()
    try:
        wrong = rounds.wrong(case, entry)
        assert wrong.startswith("layers/")
    finally:
        case.out().unlink()


@counted
def test_a_run_that_takes_too_long_is_given_up(case):
    found = rounds.run_once(case, contestants.find(ALL, FULL), timeout=0.01)
    assert found == {"error": "takes over 0.01 s"}


def runs(name, *seconds, task=ALL):
    fields = dict.fromkeys(("cpu_s", "import_s", "read", "written", "memory"), 1.0)
    return [
        {"model": "m", "task": task, "name": name, "seconds": s} | fields
        for s in seconds
    ]


def test_a_row_holds_medians_quartiles_and_the_ratio_to_the_roofline():
    found = table.rows(runs(FULL, 1, 2, 3, 4, 9) + runs("cp (roofline)", 2, 2, 2))
    limit, ours = found  # the fastest first
    assert (ours.runs, ours.seconds, ours.quartiles, ours.ratio) == (5, 3, (2, 4), 1.5)
    assert (ours.total, limit.ratio) == (4, 1)


def test_a_contestant_that_failed_once_has_no_time_but_its_reason():
    failed = {"model": "m", "task": ALL, "name": FULL, "error": "wrong result: x"}
    found = table.rows([*runs(FULL, 1), failed])
    assert (found[0].seconds, found[0].error) == (None, "wrong result: x")
    assert f"{FULL}: wrong result: x" in table.text(found)


@pytest.mark.parametrize(("seconds", "met"), [(2.6, True), (2.61, False)])
def test_a_promise_is_met_up_to_its_bound(seconds, met):
    found = table.rows(runs(FULL, seconds) + runs("cp (roofline)", 2))
    promised = table.targets(found, {"m": 0})[0]
    assert (promised.met, promised.bound) == (met, 1.3)
    assert ("| met |" in table.markdown(found, [promised])) == met
