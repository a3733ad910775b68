"""Rounds of fresh processes: every contestant once a round, checked before its time counts."""

import dataclasses
import fnmatch
import os
import pathlib
import subprocess
import sys
import time

from benchmarks import case as case_module
from benchmarks import fresh
from benchmarks.case import TINY, Case
from benchmarks.contestants import ENTRIES, STATS, TASKS, Contestant
from tfreuse import progress, transplant
from tfreuse.errors import InputError

START = "start"
WORKER = "benchmarks.worker"
COMMANDS = ("plan", "diff", "verify")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the measurement.

    No round starts once `minutes` are over, so that a contestant may have fewer runs than
    `runs`; the table shows their number. A run that takes `timeout` seconds is stopped. tfreuse
    of the checkout `former` takes turns with the others.
    """

    models: tuple[str, ...] = (case_module.UNET,)
    runs: int = 5
    minutes: float = 5.0
    timeout: float = 60.0
    tasks: tuple[str, ...] = tuple(TASKS)
    contestants: tuple[str, ...] = ("*",)  # patterns on names
    former: pathlib.Path | None = None


def run(settings: Settings, work_dir: pathlib.Path) -> list[dict]:
    """Runs all contestants; returns a dict per run, with "error" instead of times if it failed.

    Args:
        settings: extent of the measurement.
        work_dir: an empty folder with room for five copies of the largest model; files are
            written and deleted there.

    Raises:
        InputError: there is no /proc to read counters from, or a model's name is not known.
    """
    if not pathlib.Path("/proc/self/io").exists():
        raise InputError(
            "the benchmark reads /proc/self/io, which is there on Linux only."
        )
    for name in settings.models:
        if name not in case_module.MODELS:
            names = ", ".join(case_module.MODELS)
            raise InputError(f"--models takes {names}; got {name!r}.")
    runs, failed = [], set()
    cases = [Case(name, work_dir) for name in (TINY, *settings.models)]
    for case in cases:
        fresh.last_line(WORKER, ["make", case.model, work_dir], timeout=600)
    entries = [
        (entry, entry.name, fresh.ROOT)
        for entry in ENTRIES
        if entry.task in settings.tasks
        and any(fnmatch.fnmatch(entry.name, p) for p in settings.contestants)
    ]
    if settings.former:
        entries += [
            (entry, f"{name}, former", settings.former)
            for entry, name, _ in entries
            if name.startswith("tfreuse")
        ]
    jobs = [(case, *entry) for case in cases[1:] for entry in entries]
    total = settings.runs * (len(jobs) + len(COMMANDS))
    display, done_round = progress.Display(total), -1
    turns = fresh.turns(jobs, settings.runs, settings.minutes)
    for number, (round_, (case, entry, name, root)) in enumerate(turns, 1):
        if round_ > done_round:
            runs += _starts(cases[0], settings, round_)
            done_round = round_
        key = (case.model, entry.task, name)
        display.update(number - 1, " ".join(key))
        if key not in failed:
            numbered = dataclasses.replace(case, number=number)
            measured = run_once(numbered, entry, settings.timeout, root)
            runs.append(dict(zip(("model", "task", "name"), key)) | measured)
            if "error" in measured:
                failed.add(key)
    display.close()
    return runs


def run_once(
    case: Case,
    entry: Contestant,
    timeout: float,
    root: str | os.PathLike = fresh.ROOT,
) -> dict:
    """Returns `worker.measure` of a run with correct output, or {"error": reason}."""
    words = ["run", case.model, case.folder, case.number, entry.task, entry.name]
    try:
        measured = fresh.run_json(WORKER, words, timeout, root)
        if "error" in measured:
            return measured
        path = wrong(case, entry, measured.pop("digests", None))
        return {"error": f"wrong result: {path}"} if path else measured
    finally:
        for path in case.folder.glob(f"out_{case.number}.*"):
            path.unlink()


def wrong(case: Case, entry: Contestant, digests: dict | None = None) -> str:
    """Returns the first array that differs from its expected value; "" if none does.

    `digests` are those of a live model; None reads the written file.
    """
    if entry.out is None:
        return ""
    if digests is not None:
        expected = case.facts["donor"]
    else:
        digests = case_module.file_digests(case.out(entry.out))
        donor = case_module.file_digests(case.file("donor", ".weights.h5"))
        expected = case_module.file_digests(case.file("recipient", ".weights.h5"))
        for path in expected:
            if entry.task != STATS or case_module.is_statistic(path):
                expected[path] = donor[path]
    if set(digests) != set(expected):
        return str(min(set(digests) ^ set(expected)))
    return next((p for p in expected if digests[p] != expected[p]), "")


def _starts(case: Case, settings: Settings, round_: int) -> list[dict]:
    """Measures the wall time of whole commands on small files: the time before work begins."""
    donor, recipient = case.file("donor"), case.file("recipient")
    out = case.folder / f"started_{round_}.keras"
    transplant.apply(transplant.plan(donor, recipient), donor, recipient, out)
    runs = []
    for verb in COMMANDS:
        words = [sys.executable, "-m", "tfreuse.cli.transplant", verb]
        words += [f"--donor={donor}", f"--recipient={recipient}"]
        words += [f"--out={out}"] if verb == "verify" else []
        key = {"model": case.model, "task": START, "name": f"transplant {verb}"}
        runs.append(key | _timed(words, settings.timeout))
    for path in case.folder.glob(f"{out.name}*"):
        path.unlink()
    return runs


def _timed(words: list[str], timeout: float) -> dict:
    begin = time.perf_counter()
    try:
        subprocess.run(
            words,
            env=fresh.environment(),
            check=True,
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"takes over {timeout:g} s"}
    except subprocess.CalledProcessError as error:
        return {"error": f"failed: {error.stderr[-200:].decode(errors='replace')}"}
    return {"seconds": time.perf_counter() - begin}
