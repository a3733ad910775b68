"""What a study's records cost, counted in bytes: the same on every machine."""

import pathlib

import pytest

from benchmarks import records, records_made
from tfreuse.errors import InputError

counted = pytest.mark.skipif(
    not pathlib.Path("/proc/self/io").exists(),
    reason="counts bytes in /proc/self/io, which this system does not have",
)


@counted
def test_each_record_is_written_once_however_many_there_are(tmp_path, monkeypatch):
    steps = {step: records.STEPS[step] for step in ("append", "resume", "read counts")}
    monkeypatch.setattr(records, "STEPS", steps)
    found = records.run([96, 960], tmp_path)
    assert [(one["step"], one["records"]) for one in found] == [
        (step, size) for size in (96, 960) for step in steps
    ]
    few, many = found[0], found[3]
    assert many["written"] / 960 == pytest.approx(few["written"] / 96, rel=0.05)
    for one in (few, many):
        kept = sum(one["bytes"].values())
        assert kept < 4_000 * one["records"]
        assert one["written"] < kept + 2_000  # and study.json
    assert all(one["written"] == 0 for one in found if one["step"] != "append")


@counted
def test_records_that_are_gathered_are_those_of_the_unit(tmp_path, monkeypatch):
    names = "append", "gather"
    monkeypatch.setattr(records, "STEPS", {n: records.STEPS[n] for n in names})
    _, gathered = records.run([96], tmp_path)
    own = tmp_path / "96"
    for name in ("records.jsonl", "counts.bin"):
        assert (own / "gathered" / name).read_bytes() == (own / name).read_bytes()
    assert gathered["written"] < 4_000 * 96


def steps(seconds, memory=0):
    return [
        {"step": "append", "records": size, "seconds": cpu, "cpu_s": cpu,
         "memory": memory, "written": 0}
        for size, cpu in zip((10, 100, 1000), seconds)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "memory", "met"),
    [
        ((9, 1, 10), 10**9, [True, True]),
        ((0, 1, 15.1), 0, [False, True]),
        ((0, 1, 1), 10**9 + 1, [True, False]),
    ],
)
def test_the_last_size_is_held_against_the_one_before_it(seconds, memory, met):
    found = steps(seconds, memory)
    promised = records.targets(found)
    assert [one.met for one in promised] == met
    lines = records.markdown(found, promised).splitlines()
    assert [line.endswith("| met |") for line in lines[-2:]] == met


def test_the_tabs_first_view_is_held_against_a_second():
    found = [dict(steps((1, 1, 1))[0], step="tab, first view", seconds=1.01)]
    promised = records.targets(found)
    assert [one.met for one in promised] == [True, False]


@counted
@pytest.mark.slow
def test_the_tab_answers_from_the_report_at_once_and_by_itself_later(
    tmp_path, monkeypatch
):
    names = ("append", "report", "tab, first view", "tab, all read")
    monkeypatch.setattr(records, "STEPS", {n: records.STEPS[n] for n in names})
    found = records.run([96], tmp_path)
    assert [one["step"] for one in found] == list(names)
    assert not (tmp_path / "96" / "report.html").exists()


@pytest.mark.parametrize("sizes", [[], [0], [records_made.MOST + 1]])
def test_a_study_that_cannot_be_made_is_refused(tmp_path, sizes):
    with pytest.raises(InputError, match=str(records_made.MOST)):
        records.run(sizes, tmp_path)


def test_the_arms_of_a_made_study_all_differ():
    keys = {record.key for record, _ in records_made.records(records_made.SEEDS * 100)}
    assert len(keys) == records_made.SEEDS * 100
    assert len(list(records_made.arms(records_made.MOST + 1))) == records_made.MOST
