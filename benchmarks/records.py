"""Measures the cost of appending, resuming, reporting and showing 10^3 to 10^5 records.

    python -m benchmarks.records append FOLDER 1000

Every step is a fresh process; its memory is the process's peak, imports included.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from benchmarks import fresh, records_made, worker
from benchmarks.table import Target
from tfreuse import progress
from tfreuse.errors import InputError
from tfreuse.records import CountsReader, LabelLog, Log, counts_path, read
from tfreuse.runners.gathering import Gathering

MEMORY = 10**9  # bytes, the bound of every step
GROWTH = 1.5  # bound on the growth of time per record between the two largest sizes
FIRST_VIEW = 1.0  # seconds
HEADER = (
    "step",
    "records",
    "seconds",
    "CPU s",
    "CPU µs a record",
    "memory MB",
    "written MB",
)


def run(sizes: Sequence[int], folder: pathlib.Path) -> list[dict]:
    """Measures every step for every number of records; returns a dict per step.

    Args:
        sizes: numbers of records.
        folder: an empty folder; 10^5 records take 0.4 GB.

    Raises:
        InputError: there is no /proc to read counters from, a study cannot have so many
            records, or a step failed.
    """
    if not sizes or min(sizes) < 1 or max(sizes) > records_made.MOST:
        raise InputError(
            f"--records takes numbers from 1 to {records_made.MOST}; got {list(sizes)}."
        )
    if not pathlib.Path("/proc/self/io").exists():
        raise InputError(
            "the benchmark reads /proc/self/io, which is there on Linux only."
        )
    display = progress.Display(sum(sizes) * len(STEPS))
    runs, done = [], 0
    for size in sizes:
        study = folder / str(size)
        study.mkdir()
        for step in STEPS:
            runs.append({"step": step, "records": size, **_fresh(step, study, size)})
            done += size
            display.update(done, f"{step} {size:,} records")
    display.close()
    return runs


def targets(runs: Iterable[dict]) -> list[Target]:
    """Returns the targets: time grows no faster than the records, and memory is bounded."""
    rows = []
    for step, sizes in _by_step(runs):
        largest = sizes[-1]
        if len(sizes) > 1:
            # Processor time, which other work on the machine changes little.
            before, last = (run["cpu_s"] / run["records"] for run in sizes[-2:])
            text = f"{step}: CPU time a record, {largest['records']:,} against "
            text += f"{sizes[-2]['records']:,}"
            rows.append(Target(text, last / before, GROWTH))
        text = f"{step}: MB of memory, {largest['records']:,} records"
        rows.append(Target(text, largest["memory"] / 1e6, MEMORY / 1e6))
        if step == "tab, first view":
            text = f"{step}: seconds, {largest['records']:,} records"
            rows.append(Target(text, largest["seconds"], FIRST_VIEW))
    return rows


def markdown(runs: Iterable[dict], promised: Sequence[Target]) -> str:
    """Formats the steps and the targets as Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" + "|--:" * (len(HEADER) - 1) + "|"]
    for _, sizes in _by_step(runs):
        for run in sizes:
            cells = (
                run["step"],
                f"{run['records']:,}",
                f"{run['seconds']:.2f}",
                f"{run['cpu_s']:.2f}",
                f"{1e6 * run['cpu_s'] / run['records']:,.0f}",
                f"{run['memory'] / 1e6:,.0f}",
                f"{run['written'] / 1e6:,.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| target | measured | at most | |", "|---|--:|--:|---|"]
    for target in promised:
        met = "met" if target.met else "not met"
        lines.append(
            f"| {target.text} | {target.value:.3g} | {target.bound:g} | {met} |"
        )
    return "\n".join(lines) + "\n"


@dataclasses.dataclass
class Clock:
    """Adds up the time spent inside `with clock:`, that of processes forked there included."""

    seconds: float = 0.0
    cpu_s: float = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter(), worker.processor()

    def __exit__(self, *unused: object) -> None:
        seconds, cpu_s = self._begin
        self.seconds += time.perf_counter() - seconds
        self.cpu_s += worker.processor() - cpu_s


def append(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Appends the records with their counts; generating them is not timed."""
    records_made.write_study(folder)
    with Log(folder / "records.jsonl") as log:
        for record, per_image in records_made.records(count):
            with clock:
                log.append(record, per_image)
        with clock:
            log.sync()


def resume(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Opens the log and reads the keys of its arms, as a resumed study does."""
    with clock, Log(folder / "records.jsonl") as log:
        done = frozenset(record.key for record in log.records)
    _same(len(done), count)


def gather(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Gathers the records, as of a unit of work, into a study's files."""
    study = folder / "gathered"
    study.mkdir()
    with clock, Log(study / "records.jsonl") as log:
        Gathering(log, LabelLog(study / "labels.jsonl")).collect(folder)
    _same(len(log.records), count)


def bootstrap(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Reads the counts of every image of every record, as an image bootstrap does."""
    study_records = read(folder / "records.jsonl")
    with clock, CountsReader(folder / "records.jsonl") as counts:
        images = sum(len(counts.read(record)) for record in study_records)
    _same(images, count * records_made.IMAGES)


def report(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Writes verdicts, figures and pages."""
    from tfreuse import report as report_module

    with clock:
        report_module.write(folder)


def rows(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Writes TensorBoard's rows of hyperparameters."""
    from tfreuse.report import tensorboard

    study_records = read(folder / "records.jsonl")
    with clock:
        tensorboard.write_arms(folder / "tensorboard" / "arms", study_records)


def first_view(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Requests the first view of the tab from a server that has just started."""
    with clock:
        ask = _asking(folder)
        study = ask("/study")
        if study["state"] != "ready":
            raise ValueError(
                "the study's report is missing, which the tab answers from"
            )
        part = study["parts"][0]
        ask("/heat", kind=part["kinds"][0], **_heat_query(part))


def read_whole(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Waits until the server has read every record itself, as for a running study."""
    (folder / "report.html").unlink()
    with clock:
        ask = _asking(folder)
        while ask("/study")["state"] != "ready":
            time.sleep(0.05)


def _asking(folder: pathlib.Path) -> Callable[..., Any]:
    """Returns a function that requests the tab's routes of the study, in this process."""
    import argparse

    from tensorboard.plugins.base_plugin import TBContext
    from werkzeug.test import Client

    from tfreuse.report.plugin import Reusability

    flags = argparse.Namespace(logdir_spec="")
    apps = Reusability(TBContext(logdir=str(folder), flags=flags)).get_plugin_apps()

    def ask(route: str, **query: object) -> Any:
        query["study"] = folder.resolve().name
        answer = Client(apps[route]).get(route, query_string=query)
        if answer.status_code != 200:
            raise ValueError(f"{route}: {answer.status}: {answer.text[:200]}")
        return json.loads(answer.text)

    return ask


def _heat_query(part: dict) -> dict[str, object]:
    """Returns the query of the page's first heat map."""
    names = ("architecture", "direction", "link")
    options = {"quantity": "retention", "repair": part["repairs"][0], "seed": -1}
    return {name: part[name] for name in names} | options


STEPS: dict[str, Callable[[pathlib.Path, int, Clock], None]] = {
    "append": append,
    "resume": resume,
    "gather": gather,
    "read counts": bootstrap,
    "report": report,
    "hparams": rows,
    "tab, first view": first_view,
    "tab, all read": read_whole,
}


def _fresh(step: str, folder: pathlib.Path, count: int) -> dict:
    measured = fresh.run_json(__name__, [step, folder, count], timeout=3600)
    if "error" in measured:
        raise InputError(f"{step} of {count:,} records {measured['error']}")
    return measured


def _by_step(runs: Iterable[dict]) -> Iterator[tuple[str, list[dict]]]:
    by_step: dict[str, list[dict]] = {}
    for run in runs:
        by_step.setdefault(run["step"], []).append(run)
    yield from by_step.items()


def _same(count: int, expected: int) -> None:
    if count != expected:
        raise ValueError(f"expected {expected:,} records, found {count:,}")


def _main(step: str, folder: str, count: str) -> None:
    clock, log = Clock(), pathlib.Path(folder) / "records.jsonl"
    STEPS[step](log.parent, int(count), clock)
    measured = {
        **dataclasses.asdict(clock),
        "memory": worker.status("VmHWM"),
        "written": worker.counters()["wchar"],
        "bytes": {path.name: path.stat().st_size for path in (log, counts_path(log))},
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    _main(*sys.argv[1:])
