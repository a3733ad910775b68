"""Units of work: what is run when, what is tried again, what a kill leaves, who holds what."""

import contextlib
import glob
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from units import (
    arms,
    die_first,
    fail,
    fail_first,
    note,
    nothing,
    slow_arms,
    tell_blas,
    tell_server,
    tell_worker,
    unit_of,
)

from tfreuse import files, records, runners
from tfreuse.errors import InputError
from tfreuse.runners import Failure, Folder, RunnerSpec, Unit, lease, scheduling, unit

ROOT = pathlib.Path(__file__).parent.parent


def run(units, out_dir, retries=0, slots=2):
    """Every word on a unit, in order."""
    with contextlib.closing(runners.Processes(out_dir, slots, 1)) as runner:
        return [
            event
            for event in runners.run(units, runner, out_dir, retries)
            if event.unit is not None and not event.started
        ]


class Instant:
    """Carries units out at once, in this process."""

    def __init__(self, out_dir, slots=3):
        self.out_dir, self.slots = out_dir, slots
        self.most, self._given = 0, []

    def start(self, work):
        self._given.append(work)
        self.most = max(self.most, len(self._given))

    def wait(self, seconds):
        work = self._given.pop(0)
        return [(work, unit.carry_out(work, self.out_dir, 1))]

    def close(self):
        pass


def outcomes(units, out_dir, retries=0):
    runner = Instant(out_dir)
    events = [
        (event.unit.name, event.failure and event.failure.message, event.will_retry)
        for event in runners.run(units, runner, out_dir, retries)
        if event.unit is not None and not event.started
    ]
    assert runner.most <= runner.slots
    return events


# --- what is run when


def test_units_run_after_what_they_need_and_what_is_not_in_the_run_counts_as_done(
    tmp_path,
):
    path = tmp_path / "words"
    units = [
        unit_of("last", note, path, "c", needs=("second", "first")),
        unit_of("second", note, path, "b", needs=("first", "elsewhere")),
        unit_of("first", note, path, "a"),
    ]
    run(units, tmp_path)
    assert path.read_text() == "abc"


def test_the_worker_of_a_unit_that_ends_goes_on_with_one_like_it(tmp_path):
    class LastFirst(Instant):
        def start(self, work):
            begun.append(work.name)
            self._given.insert(0, work)

    begun = []
    names = [f"measure {kind}-{seed}" for seed in range(3) for kind in "ab"]
    units = [unit_of(name) for name in names]
    list(runners.run(units, LastFirst(tmp_path, slots=2), tmp_path, 0))
    assert begun == [
        f"measure {name}" for name in ("a-0", "b-0", "b-1", "b-2", "a-1", "a-2")
    ]


def test_units_that_follow_from_results_run_among_the_others(tmp_path):
    units, done = [unit_of(f"a {number}") for number in range(4)], []
    follows = [unit_of("b")]
    runner = Instant(tmp_path, slots=1)

    def further():
        return [follows.pop()] if follows and len(done) == 2 else []

    for event in runners.run(units, runner, tmp_path, 0, further):
        if event.unit and not event.started:
            done.append(event.unit.name)
    assert sorted(done) == ["a 0", "a 1", "a 2", "a 3", "b"]
    assert done[:2] == ["a 0", "a 1"]


def test_a_unit_that_fails_leaves_the_rest_and_keeps_what_needs_it_back(tmp_path):
    units = [
        unit_of("good"),
        unit_of("bad", fail, ZeroDivisionError("oh")),
        unit_of("waits", needs=("bad",)),
        unit_of("more", needs=("good",)),
    ]
    events = outcomes(units, tmp_path, retries=1)
    assert events == [
        ("good", None, False),
        ("bad", "ZeroDivisionError: oh", True),
        ("more", None, False),
        ("bad", "ZeroDivisionError: oh", False),
    ]
    assert Folder(tmp_path, units[2]).done() is None
    failure = files.read_json(Folder(tmp_path, units[1]).path / "failed.json")
    assert failure["name"] == "bad" and "Traceback" in failure["details"]


def test_what_the_user_must_mend_is_not_tried_again(tmp_path):
    units = [unit_of("a"), unit_of("b", fail, InputError("expected a, got b"))]
    assert outcomes(units, tmp_path, retries=5)[1] == ("b", "expected a, got b", False)


def test_two_first_failures_alike_stop_all(tmp_path):
    units = [unit_of(f"{i}", fail, InputError("no such folder")) for i in range(9)]
    with pytest.raises(InputError, match="^no such folder$"):
        outcomes(units, tmp_path)
    assert len(list((tmp_path / "units").iterdir())) == 2
    mixed = [unit_of("good"), *units]  # else each is the unit's own
    assert len(outcomes(mixed, tmp_path)) == 10


def test_trouble_that_may_pass_is_tried_again(tmp_path):
    events = outcomes(
        [unit_of("a", fail_first, tmp_path / "flag")], tmp_path, retries=1
    )
    assert events == [("a", "no space is left", True), ("a", None, False)]
    folder = Folder(tmp_path, unit_of("a", fail_first))
    assert folder.done() and not (folder.path / "failed.json").exists()


def test_a_process_that_is_killed_is_a_loss_and_no_failure_of_the_unit(tmp_path):
    lost, done = run([unit_of("a", die_first, tmp_path / "flag")], tmp_path)
    assert (
        lost.failure.lost and lost.will_retry and "exit code -9" in lost.failure.message
    )
    assert done.failure is None


def test_a_unit_that_is_lost_again_and_again_is_given_up(tmp_path):
    class Losing(Instant):
        def wait(self, seconds):
            return [(self._given.pop(0), Failure("gone", lost=True))]

    retries = [
        event.will_retry
        for event in runners.run([unit_of("a")], Losing(tmp_path), tmp_path, 0)
        if event.failure
    ]
    assert retries == [True] * scheduling.LOSSES + [False]


# --- a unit's folder


def test_records_survive_a_kill_and_none_is_made_twice(tmp_path):
    work = unit_of("a", arms, 5, 3, tmp_path / "flag")
    run([work], tmp_path)
    path = Folder(tmp_path, work).path
    seeds = [record.seed for record in records.read(path / "records.jsonl")]
    assert seeds == [0, 1, 2, 3, 4]
    marker = Folder(tmp_path, work).done()
    assert marker["records"] == 5 and marker["told"] == {"words": ["told"]}


def test_a_folder_is_of_the_spec_and_not_of_the_name_alone(tmp_path):
    changed = Unit("a", nothing, (), {"unit": "other"})
    assert Folder(tmp_path, unit_of("a")).path != Folder(tmp_path, changed).path


def test_what_is_done_is_not_done_again_unless_its_product_is_gone(tmp_path):
    path = tmp_path / "words"
    work = unit_of("a", note, path, "a", product="words")
    for _ in range(2):
        unit.carry_out(work, tmp_path, 1)
    assert path.read_text() == "a"
    path.unlink()
    assert Folder(tmp_path, work).done() is None
    unit.carry_out(work, tmp_path, 1)
    assert path.read_text() == "a"


def test_a_damaged_marker_is_none(tmp_path):
    work = unit_of("a")
    unit.carry_out(work, tmp_path, 1)
    marker = Folder(tmp_path, work).path / "done.json"
    assert Folder(tmp_path, work).done()
    marker.write_text(marker.read_text()[:20])
    assert Folder(tmp_path, work).done() is None


def test_a_poisoned_record_is_named_and_nothing_is_lost(tmp_path):
    work = unit_of("a", arms, 3)
    unit.carry_out(work, tmp_path, 1)
    folder = Folder(tmp_path, work)
    folder.remove_marker()
    path = folder.path / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"poison\n" + lines[2])
    failure = unit.carry_out(work, tmp_path, 1)
    assert (
        failure.final and "line 2: expected a record, got 'poison'" in failure.message
    )
    path.write_bytes(lines[0] + lines[2])  # as the message says
    assert unit.carry_out(work, tmp_path, 1) is None
    assert sorted(r.seed for r in records.read(path)) == [0, 1, 2]


def test_progress_is_told_and_leaves_with_the_end(tmp_path):
    reports = []

    def look(output, threads):
        reports.append(Folder(tmp_path, work).progress())

    work = unit_of("a", look)
    unit.carry_out(work, tmp_path, 1, "node-7")
    assert reports == [{"share": 0.0, "text": "starting", "node": "node-7"}]
    assert Folder(tmp_path, work).progress() is None


# --- leases

HOLD = """
import sys, time
from tfreuse.runners import lease
with lease.hold(lease.LocalLeaseFile(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(path):
    """Another process that holds the lease."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_holder_is_refused_and_a_killed_one_leaves_the_lease_at_once(tmp_path):
    path = tmp_path / "lease"
    with holder(path) as process:
        with (
            pytest.raises(lease.AlreadyHeld, match=f"held by process {process.pid} on"),
            lease.hold(lease.LocalLeaseFile(path), "this study"),
        ):
            pass
        process.kill()
        process.wait()
        start = time.monotonic()
        with lease.hold(lease.LocalLeaseFile(path), "this study"):
            assert time.monotonic() - start < 5


def test_who_waits_gets_the_lease_when_it_is_given_back(tmp_path):
    path = tmp_path / "lease"
    with holder(path) as process:
        process.terminate()  # a little later
        with lease.hold(lease.LocalLeaseFile(path), "it", wait=True):
            assert process.wait() == -signal.SIGTERM


def foreign(path, beat=0):
    """Writes the heartbeat of a holder on another machine, whose lock is not visible here."""
    heartbeat = {"host": "elsewhere", "process": 1, "holder": "theirs", "beat": beat}
    path.write_text(json.dumps(heartbeat))


def test_another_machines_lease_without_heartbeats_is_taken_over(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    start = time.monotonic()
    with lease.hold(lease.LocalLeaseFile(path), "it", expiry=0.5):
        assert time.monotonic() - start >= 0.5
        assert "theirs" not in path.read_text()
    assert path.read_text() == ""  # given back


def test_another_machines_lease_with_heartbeats_excludes_others(tmp_path):
    path = tmp_path / "lease"
    foreign(path)
    code = (
        "import sys, time, pathlib\n"
        "for beat in range(10**6):\n"
        "    text = pathlib.Path(sys.argv[1]).read_text()\n"
        "    with open(sys.argv[1], 'r+') as file:\n"  # is never empty, as in `LeaseFile`
        "        file.write(text[:-1] + ' }')\n"
        "    print(flush=True)\n"
        "    time.sleep(0.1)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with (
            pytest.raises(lease.AlreadyHeld, match="process 1 on elsewhere"),
            lease.hold(lease.LocalLeaseFile(path), "it", expiry=2.0),
        ):
            pass
        process.kill()


def test_a_holder_that_was_taken_over_ends_before_it_writes_more(tmp_path):
    path = tmp_path / "lease"
    code = HOLD.replace('"it"', '"it", heartbeat=0.1')
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        foreign(path)
        assert process.wait(timeout=20) == 75
        assert "was taken over by another process" in process.stderr.read()


# --- what runs them


def test_the_index_and_its_runner_belong_together():
    for wrong in ({"runner": "index"}, {"unit_index": 3}):
        with pytest.raises(InputError, match="--runner=index and --unit_index=I"):
            RunnerSpec(**wrong)


def test_a_worker_goes_on_with_what_it_has_kept_until_a_unit_fails_or_it_is_large(
    tmp_path, monkeypatch
):
    units = [unit_of(name, tell_worker) for name in "ab"]
    units += [unit_of("c", fail, ValueError("no")), unit_of("d", tell_worker)]
    run(units, tmp_path, slots=1)
    seen = [Folder(tmp_path, units[n]).done()["told"]["seen"] for n in (0, 1, 3)]
    first, second = seen[0][0], seen[2][0]
    assert seen == [[first], [first, first], [second]] and first != second
    monkeypatch.setattr(runners.worker, "_LARGEST", 1)
    units = [unit_of(name, tell_worker) for name in "ef"]
    run(units, tmp_path, slots=1)
    seen = [Folder(tmp_path, work).done()["told"]["seen"] for work in units]
    assert [len(pids) for pids in seen] == [1, 1] and seen[0] != seen[1]


def test_an_idle_worker_gets_a_unit_like_its_last_and_a_dead_one_is_replaced(tmp_path):
    with contextlib.closing(runners.Processes(tmp_path, 2, 1)) as runner:

        def pids(*names):
            units = [unit_of(name, tell_worker) for name in names]
            list(runners.run(units, runner, tmp_path, 0))
            return [Folder(tmp_path, u).done()["told"]["seen"][-1] for u in units]

        first, second = pids("train unet-0", "measure unet-0")
        assert pids("measure unet-1") == [second] and pids("train unet-1") == [first]
        os.kill(second, signal.SIGKILL)
        os.kill(first, signal.SIGKILL)
        assert not {first, second} & set(pids("measure unet-2", "train unet-2"))


def test_a_cache_keeps_the_last_few_of_each_kind():
    cache, made = runners.Cache(), []

    def get(kind, key):
        return cache.get(kind, key, lambda: made.append(key) or key, most=2)

    assert [get("a", key) for key in (1, 2, 1, 3)] == [1, 2, 1, 3]
    assert made == [1, 2, 3]  # 2 went, which was not asked for longest
    get("a", 1)
    get("b", 2)
    assert made == [1, 2, 3, 2]
    get("a", 2)
    assert made == [1, 2, 3, 2, 2]


def test_threads_are_this_machines_over_the_jobs_unless_they_are_given():
    assert runners.threads(RunnerSpec(unit_cpus=3), 2) == 3
    assert runners.threads(RunnerSpec(), 10**6) == 1


def test_linear_algebra_has_the_units_threads_and_the_caller_keeps_its_own(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    work = unit_of("a", tell_blas)
    with contextlib.closing(runners.Processes(tmp_path, 1, 3)) as runner:
        list(runners.run([work], runner, tmp_path, 0))
    assert Folder(tmp_path, work).done()["told"]["blas"] == ["3", 3]
    assert os.environ["OMP_NUM_THREADS"] == "7"


FORKS = """
import contextlib, os, pathlib, sys
from units import slow_arms, tell_server, unit_of
from tfreuse import runners
out_dir = pathlib.Path(sys.argv[1])
slow = unit_of("slow", slow_arms, 99, 1.0)
tells = [unit_of(name, tell_server) for name in "abc"]
for threads, units in ((1, tells[:2]), (2, tells[2:]), (1, [slow])):
    runner = runners.Processes(out_dir, 1, threads, preload="units")
    with contextlib.closing(runner):
        for event in runners.run(units, runner, out_dir, 0):
            assert not event.failure, event
"""


@pytest.mark.skipif(
    bool(glob.glob("/dev/nvidia[0-9]*")) or sys.platform != "linux",
    reason="workers are new interpreters here",
)
def test_workers_are_forked_from_a_server_that_imported_for_all_and_end_with_the_driver(
    tmp_path,
):
    path = f"{ROOT / 'tests'}:{ROOT}"
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    slow, deadline = unit_of("slow", slow_arms), time.monotonic() + 120
    while not records_of(tmp_path, slow) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    facts = [
        Folder(tmp_path, unit_of(name, tell_server)).done()["told"]["server"]
        for name in "abc"
    ]
    servers = [imported for imported, *_ in facts[:2]]
    assert servers[0] == servers[1] != process.pid
    for imported, own, parent, blas in facts[:2]:
        assert imported == parent != own and blas == "1"
    imported, own, parent, blas = facts[2]  # its linear algebra needs other threads
    assert imported == own and parent == process.pid and blas == "2"
    for _ in range(300):  # the server and the worker of the slow unit
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("processes outlive the driver")


def records_of(out_dir, work):
    return records.read(Folder(out_dir, work).path / "records.jsonl")


def test_ten_thousand_units_in_a_chain_and_a_fan_are_scheduled_in_time(tmp_path):
    class Free(Instant):
        def wait(self, seconds):
            return [(self._given.pop(0), None)]

    chain = [unit_of(f"c{i}", needs=(f"c{i - 1}",)) for i in range(5_000)]
    fan = [unit_of(f"f{i}", needs=("c4999",)) for i in range(5_000)]
    start = time.thread_time()  # other tests run beside, and libraries' threads
    names = [
        event.unit.name
        for event in runners.run([*fan, *chain], Free(tmp_path), tmp_path, 0)
        if event.unit and not event.started
    ]
    assert names == [link.name for link in (*chain, *fan)]
    assert time.thread_time() - start < 5


def test_nothing_of_the_folder_is_needed_to_name_a_unit():
    assert unit_of("train a").kind == "train"
    assert len(unit_of("a").key) == 64
    assert isinstance(Folder(pathlib.Path("out"), unit_of("a b/c")).path.name, str)
    assert "/" not in Folder(pathlib.Path("out"), unit_of("a b/c")).path.name
