"""Units of work on a real Ray cluster of three nodes, parts of which are killed on the way."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
import units
from units import (
    arms,
    die_first,
    fail,
    full,
    note,
    slow_arms,
    tell_blas,
    tell_place,
    tell_worker,
    unit_of,
    wait_for,
)

from tfreuse import files, records, report, runners, study
from tfreuse.errors import InputError
from tfreuse.runners import Folder, RunnerSpec
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import work

ray = pytest.importorskip("ray", reason="pip install '.[ray]'")
TESTS = pathlib.Path(__file__).parent
pytestmark = [
    pytest.mark.slow,
    # Ray starts processes that outlive the objects it holds them by
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one CPU each, the last with a pretended GPU."""
    from ray import cluster_utils

    variables = {"PYTHONPATH": str(TESTS), "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    nodes = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0}
    )
    nodes.others = [nodes.add_node(num_cpus=1, num_gpus=n) for n in (0, 1)]
    yield nodes
    nodes.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def run(cluster, units, out_dir, retries=0, during=None, **spec):
    """Every word on a unit, in order; `during` hears each event and may break things."""
    spec = RunnerSpec(
        runner="ray", ray_address=cluster.address, **{"unit_gpus": 0.0, **spec}
    )
    events = []
    with contextlib.closing(runners.make(spec, out_dir)) as runner:
        for event in runners.run(units, runner, out_dir, retries):
            if during:
                during(event)
            if event.unit is not None and not event.started:
                events.append(event)
    return events


def seeds(out_dir, unit):
    path = Folder(out_dir, unit).path / "records.jsonl"
    return [record.seed for record in records.read(path)]


def annotations(out_dir, unit):
    return Folder(out_dir, unit).done()["told"]


def test_units_run_on_all_nodes_in_the_order_of_their_needs(cluster, tmp_path):
    path = tmp_path / "words"
    placed = [unit_of(f"place {i}", tell_place, 0.5) for i in range(6)]
    units = [
        *placed,  # first, so that the slots of all nodes begin with one each
        unit_of("last", note, path, "b", needs=("first",)),
        unit_of("first", note, path, "a"),
    ]
    run(cluster, units, tmp_path)
    assert path.read_text() == "ab"
    calls = [annotations(tmp_path, unit)["place"] for unit in placed]
    assert len({node for node, *_ in calls}) == 3
    assert len({process for _, process, *_ in calls}) == 3  # each did several
    assert {threads for *_, threads in calls} == {1}


def test_a_worker_goes_on_with_what_it_has_kept_until_a_unit_fails(cluster, tmp_path):
    units = [unit_of(name, tell_worker) for name in "ab"]
    units += [unit_of("c", fail, ValueError("no")), unit_of("d", tell_worker)]
    run(cluster, units, tmp_path, jobs=1)
    seen = [annotations(tmp_path, units[n])["seen"] for n in (0, 1, 3)]
    first, second = seen[0][0], seen[2][0]
    assert seen == [[first], [first, first], [second]] and first != second


def test_idle_workers_give_their_processors_back(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(runners.cluster, "_IDLE", 0.5)
    enough = tmp_path / "enough"
    units = [unit_of("long", wait_for, enough), *map(unit_of, "ab")]
    free = []

    def during(event):
        if event.unit is None:
            free.append(ray.available_resources().get("CPU", 0))
            if 0 in free and free[-1] == 2:
                enough.touch()

    run(cluster, units, tmp_path, during=during)
    assert enough.exists()


def test_linear_algebra_has_the_units_threads(cluster, tmp_path):
    work = unit_of("a", tell_blas)
    run(cluster, [work], tmp_path)
    assert annotations(tmp_path, work)["blas"] == ["1", 1]


def test_two_units_share_a_gpu_by_halves(cluster, tmp_path):
    units = [unit_of(f"{i}", tell_place, 2.0) for i in range(3)]
    run(cluster, units, tmp_path, unit_gpus=0.5, unit_cpus=0)
    calls = [annotations(tmp_path, unit)["place"] for unit in units]
    assert {gpus for _, _, gpus, *_ in calls} == {"0"}
    assert len({process for _, process, *_ in calls}) == 3  # its end frees the memory
    with pytest.raises(InputError, match="no node of the cluster has room.*2 GPU"):
        run(cluster, units, tmp_path, unit_gpus=2.0)


def test_a_killed_worker_loses_no_record_and_makes_none_twice(cluster, tmp_path):
    units = [
        unit_of("dies", arms, 5, 3, tmp_path / "flag"),
        unit_of("too", die_first, tmp_path / "other"),
        unit_of("lives", arms, 4),
    ]
    events = run(cluster, units, tmp_path)
    assert sorted(event.unit.name for event in events if event.failure) == [
        "dies",
        "too",
    ]
    assert all(
        event.failure.lost and event.will_retry for event in events if event.failure
    )
    assert seeds(tmp_path, units[0]) == [0, 1, 2, 3, 4]
    assert seeds(tmp_path, units[2]) == [0, 1, 2, 3]


def test_a_unit_that_raises_is_recorded_and_the_rest_goes_on(cluster, tmp_path):
    units = [unit_of("good", arms, 2), unit_of("bad", fail, ZeroDivisionError("oh"))]
    events = run(cluster, units, tmp_path, retries=1)
    bad = [event for event in events if event.unit.name == "bad"]
    assert [event.will_retry for event in bad] == [True, False]
    assert bad[0].failure.message == "ZeroDivisionError: oh"
    assert (Folder(tmp_path, units[1]).path / "failed.json").exists()
    assert Folder(tmp_path, units[0]).done()


def test_a_full_disk_on_one_node_is_no_end(cluster, tmp_path):
    node = cluster.head_node.node_id
    units = [unit_of(f"{i}", full, node) for i in range(4)]
    events = run(cluster, units, tmp_path, retries=9)
    assert all("No space left" in e.failure.message for e in events if e.failure)
    assert all(annotations(tmp_path, unit)["node"] != node for unit in units)


def test_a_poisoned_file_of_records_is_named_and_the_rest_goes_on(cluster, tmp_path):
    units = [unit_of("poisoned", arms, 3), unit_of("good", arms, 3)]
    path = Folder(tmp_path, units[0]).path
    path.mkdir(parents=True)
    (path / "records.jsonl").write_text("poison\n")
    events = {event.unit.name: event for event in run(cluster, units, tmp_path)}
    assert (
        "line 1: expected a record, got 'poison'" in events["poisoned"].failure.message
    )
    assert events["good"].failure is None


DRIVER = """
import contextlib, pathlib, sys
from units import slow_arms, unit_of
from tfreuse import runners
out_dir = pathlib.Path(sys.argv[1])
spec = runners.RunnerSpec(runner="ray", ray_address=sys.argv[2], unit_gpus=0.0)
units = [unit_of(f"{i}", slow_arms, 8, 0.25) for i in range(4)]
with contextlib.closing(runners.make(spec, out_dir)) as runner:
    for event in runners.run(units, runner, out_dir, 0):
        assert not event.failure, event
"""


def test_a_killed_driver_goes_on_where_it_was(cluster, tmp_path):
    units = [unit_of(f"{i}", slow_arms, 8, 0.25) for i in range(4)]
    command = [sys.executable, "-c", DRIVER, str(tmp_path), cluster.address]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(
            len(seeds(tmp_path, unit)) >= 3 for unit in units
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    some = {unit.name: seeds(tmp_path, unit) for unit in units}
    assert any(some.values()) and sum(map(len, some.values())) < 32
    subprocess.run(command, check=True, timeout=120)
    for unit in units:
        assert seeds(tmp_path, unit) == list(range(8))


def test_a_lost_node_loses_no_record(cluster, tmp_path):
    units = [unit_of(f"{i}", slow_arms, 8, 0.25) for i in range(6)]
    lost = cluster.others[0]

    def during(event):
        busy = [
            unit
            for unit in units
            if (Folder(tmp_path, unit).progress() or {})
            .get("node", "")
            .endswith(lost.node_id[:6])
        ]
        if lost in cluster.others and busy and len(seeds(tmp_path, busy[0])) >= 2:
            cluster.others.remove(lost)
            cluster.remove_node(lost, allow_graceful=False)

    events = run(cluster, units, tmp_path, during=during)
    assert lost not in cluster.others
    failures = [event for event in events if event.failure]
    assert failures and all(e.failure.lost and e.will_retry for e in failures)
    assert any(e.failure.node.endswith(lost.node_id[:6]) for e in failures)
    for unit in units:
        assert seeds(tmp_path, unit) == list(range(8))


def test_no_cluster_is_told_with_what_to_type(tmp_path):
    spec = RunnerSpec(runner="ray", ray_address="127.0.0.1:1")
    with pytest.raises(InputError, match="no Ray cluster answers at --ray_address"):
        runners.make(spec, tmp_path)


# --- a whole study


def test_a_study_gives_the_same_verdicts_as_here_with_a_node_lost_on_the_way(
    cluster, tmp_path, monkeypatch
):
    """Its trainings and arms take no time here; with real ones: docs/cluster.md."""
    monkeypatch.setattr(work, "train", units.fake_train)
    monkeypatch.setattr(work, "measure", units.slow_measure)
    monkeypatch.setattr(work, "finish", units.fake_finish)
    specs = study.Specs(
        StudySpec(seeds=3, controls=("self",), margin=0.1),
        DataSpec(), ModelSpec(), TrainSpec(),
    )  # fmt: skip
    local, on_ray = tmp_path / "here", tmp_path / "there"
    assert study.run(specs, local) == {}
    node, lost = cluster.add_node(num_cpus=1, num_gpus=0), []

    def lose():
        """Takes the node away in the middle of a block."""
        while not lost:
            paths = on_ray.glob("units/measure*/progress.json")
            with contextlib.suppress(OSError):
                if any(node.node_id[:6] in path.read_text() for path in paths):
                    lost.append(node)
                    cluster.remove_node(node, allow_graceful=False)
            time.sleep(0.02)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    spec = RunnerSpec(
        runner="ray", ray_address=cluster.address, unit_gpus=0.0, retries=0
    )
    assert study.run(specs, on_ray, spec) == {}
    thread.join(timeout=10)
    assert lost
    for path in (local, on_ray):
        report.write(path)
    assert (on_ray / "verdicts.json").read_bytes() == (
        local / "verdicts.json"
    ).read_bytes()
    verdicts = files.read_json(local / "verdicts.json")["verdicts"]
    assert {row["n"] for row in verdicts if row["verdict"] == "inconclusive"} == {3}
    progress = files.read_json(on_ray / "study.json")["units"]
    assert progress["failed"] == [] and progress["again"]
    assert all("node was lost" in unit["why"] for unit in progress["again"])
    keys = [
        sorted(r.key for r in records.read(p / "records.jsonl"))
        for p in (local, on_ray)
    ]
    assert keys[0] == keys[1] and len(set(keys[1])) == 30
