"""What 10^3 to 10^5 records cost to append, to go on from, to report and to show.

python -m benchmarks.records append FOLDER 1000

Every step is a process of its own; its memory is the process's peak, imports included.
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

MEMORY = 10**9  # bytes that no step may exceed
GROWTH = 1.5  # of a step's time for one record, from the last size but one to the last
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
    """Measures every step for every number of records; returns one dict a step.

    Args:
        sizes: numbers of records.
        folder: an empty one; 10^5 records take 0.4 GB there.

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
    found, done = [], 0
    for size in sizes:
        own = folder / str(size)
        own.mkdir()
        for step in STEPS:
            found.append({"step": step, "records": size, **_fresh(step, own, size)})
            done += size
            display.update(done, f"{step} {size:,} records")
    display.close()
    return found


def targets(found: Iterable[dict]) -> list[Target]:
    """What was promised: time that grows no faster than the records, and a bound on memory."""
    made = []
    for step, those in _by_step(found):
        if len(those) > 1:
            # of processor time: what else runs on the machine changes it little
            before, last = (one["cpu_s"] / one["records"] for one in those[-2:])
            text = f"{step}: CPU time a record, {those[-1]['records']:,} against "
            text += f"{those[-2]['records']:,}"
            made.append(Target(text, last / before, GROWTH))
        text = f"{step}: MB of memory, {those[-1]['records']:,} records"
        made.append(Target(text, those[-1]["memory"] / 1e6, MEMORY / 1e6))
        if step == "tab, first view":
            text = f"{step}: seconds, {those[-1]['records']:,} records"
            made.append(Target(text, those[-1]["seconds"], FIRST_VIEW))
    return made


def markdown(found: Iterable[dict], promised: Sequence[Target]) -> str:
    """The steps and the promises as Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" + "|--:" * (len(HEADER) - 1) + "|"]
    for _, those in _by_step(found):
        for one in those:
            cells = (
                one["step"],
                f"{one['records']:,}",
                f"{one['seconds']:.2f}",
                f"{one['cpu_s']:.2f}",
                f"{1e6 * one['cpu_s'] / one['records']:,.0f}",
                f"{one['memory'] / 1e6:,.0f}",
                f"{one['written'] / 1e6:,.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| what | measured | at most | |", "|---|--:|--:|---|"]
    for one in promised:
        met = "met" if one.met else "not met"
        lines.append(f"| {one.text} | {one.value:.3g} | {one.bound:g} | {met} |")
    return "\n".join(lines) + "\n"


@dataclasses.dataclass
class Clock:
    """Adds up the time spent inside `with clock:`."""

    seconds: float = 0.0
    cpu_s: float = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def __exit__(self, *unused: object) -> None:
        seconds, cpu_s = self._begin
        self.seconds += time.perf_counter() - seconds
        self.cpu_s += time.process_time() - cpu_s


def append(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Appends the records with their counts; making them is not counted."""
    records_made.write_held(folder)
    with Log(folder / "records.jsonl") as log:
        for record, per_image in records_made.records(count):
            with clock:
                log.append(record, per_image)
        with clock:
            log.sync()


def resume(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Opens the log and tells which arms are there, as a study does that goes on."""
    with clock, Log(folder / "records.jsonl") as log:
        done = frozenset(record.key for record in log.records)
    _same(len(done), count)


def gather(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Takes the records, as of a unit of work, into a study's own files."""
    own = folder / "gathered"
    own.mkdir()
    with clock, Log(own / "records.jsonl") as log:
        Gathering(log, LabelLog(own / "labels.jsonl")).collect(folder)
    _same(len(log.records), count)


def bootstrap(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Reads the counts of every image of every record, as an image bootstrap does."""
    found = read(folder / "records.jsonl")
    with clock, CountsReader(folder / "records.jsonl") as counts:
        images = sum(len(counts.read(record)) for record in found)
    _same(images, count * records_made.IMAGES)


def report(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Writes verdicts, figures and pages."""
    from tfreuse import report as report_module

    with clock:
        report_module.write(folder)


def rows(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Writes TensorBoard's rows."""
    from tfreuse.report import tensorboard

    found = read(folder / "records.jsonl")
    with clock:
        tensorboard.write_arms(folder / "tensorboard" / "arms", found)


def first_view(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """What the tab shows first, asked of a server that has just started."""
    with clock:
        ask = _asking(folder)
        told = ask("/study")
        if told["state"] != "ready":
            raise ValueError("the report of the study was not there to answer")
        part = told["parts"][0]
        ask("/heat", kind=part["kinds"][0], **_named(part))


def read_whole(folder: pathlib.Path, count: int, clock: Clock) -> None:
    """Until the server has read every record itself, as it must of a study that runs."""
    (folder / "report.html").unlink()
    with clock:
        ask = _asking(folder)
        while ask("/study")["state"] != "ready":
            time.sleep(0.05)


def _asking(folder: pathlib.Path) -> Callable[..., Any]:
    """Asks the tab's routes about the study, in this process."""
    import argparse

    from tensorboard.plugins.base_plugin import TBContext
    from werkzeug.test import Client

    from tfreuse.report.plugin import Reusability

    flags = argparse.Namespace(logdir_spec="")
    apps = Reusability(TBContext(logdir=str(folder), flags=flags)).get_plugin_apps()

    def ask(route: str, **asked: object) -> Any:
        asked["study"] = folder.resolve().name
        answer = Client(apps[route]).get(route, query_string=asked)
        if answer.status_code != 200:
            raise ValueError(f"{route}: {answer.status}: {answer.text[:200]}")
        return json.loads(answer.text)

    return ask


def _named(part: dict) -> dict[str, object]:
    """What the page asks a heat map by, first."""
    names = ("architecture", "direction", "link")
    chosen = {"quantity": "retention", "repair": part["repairs"][0], "seed": -1}
    return {name: part[name] for name in names} | chosen


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
    found = fresh.run_json(__name__, [step, folder, count], timeout=3600)
    if "error" in found:
        raise InputError(f"{step} of {count:,} records {found['error']}")
    return found


def _by_step(found: Iterable[dict]) -> Iterator[tuple[str, list[dict]]]:
    by_step: dict[str, list[dict]] = {}
    for one in found:
        by_step.setdefault(one["step"], []).append(one)
    yield from by_step.items()


def _same(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"expected {expected:,}, found {found:,}")


def _main(step: str, folder: str, count: str) -> None:
    clock, log = Clock(), pathlib.Path(folder) / "records.jsonl"
    STEPS[step](log.parent, int(count), clock)
    found = {
        **dataclasses.asdict(clock),
        "memory": worker.status("VmHWM"),
        "written": worker.counters()["wchar"],
        "bytes": {path.name: path.stat().st_size for path in (log, counts_path(log))},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
