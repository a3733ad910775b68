"""Medians of runs and targets for their ratios, as text and Markdown."""

import dataclasses
import os
import pathlib
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.contestants import (
    ALL,
    LIVE,
    LOAD,
    STATS,
    TASKS,
)
from benchmarks.rounds import START

MB = 1e6
MEMORY = 64 * 2**20  # bytes of a file -> file transplant beside its largest variable
TITLES = {**TASKS, START: "whole commands on files of 100 kB"}
HEADER = ("contestant", "n", "ms", "IQR", "ratio", "CPU ms", "import s", "total s")
HEADER = (*HEADER, "read MB", "written MB", "memory MB")


@dataclasses.dataclass(frozen=True)
class Row:
    """Medians over a contestant's runs, or the error that prevented them.

    `seconds` is the call alone, `total` includes imports, `quartiles` are of the seconds,
    `cpu` is the call's processor time, `memory` the peak above the memory before the call,
    `ratio` the quotient of the seconds and the roofline's.
    """

    model: str
    task: str
    name: str
    runs: int = 0
    seconds: float | None = None
    quartiles: tuple[float, float] | None = None
    cpu: float | None = None
    imported: float | None = None
    total: float | None = None
    read: float | None = None
    written: float | None = None
    memory: float | None = None
    ratio: float | None = None
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Target:
    """A target: a measured `value` that should be at most, or at least, `bound`."""

    text: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def rows(runs: Iterable[dict]) -> list[Row]:
    """Returns a row per contestant, by model, task and time."""
    by_key: dict[tuple[str, str, str], list[dict]] = {}
    for run in runs:
        by_key.setdefault((run["model"], run["task"], run["name"]), []).append(run)
    medians = [_row(key, selected) for key, selected in by_key.items()]
    rooflines = {
        (row.model, row.task): row.seconds
        for row in medians
        if row.name.endswith("(roofline)") and row.seconds
    }
    order = {task: index for index, task in enumerate(TITLES)}
    medians = [
        dataclasses.replace(row, ratio=row.seconds / rooflines[row.model, row.task])
        if row.seconds and (row.model, row.task) in rooflines
        else row
        for row in medians
    ]
    models = list(dict.fromkeys(row.model for row in medians))
    return sorted(
        medians,
        key=lambda r: (models.index(r.model), order[r.task], r.seconds or np.inf),
    )


def targets(medians: Sequence[Row], largest: dict[str, int]) -> list[Target]:
    """Returns the targets of each model, as far as the runs they need were measured.

    Args:
        medians: the rows of `rows`.
        largest: bytes of each model's largest variable.
    """
    by_key = {(row.model, row.task, row.name): row for row in medians if row.seconds}
    checked = []

    def add(model, text, task, name, rival, bound, at_least=False):
        row, rival_row = (by_key.get((model, task, entry)) for entry in (name, rival))
        if row and rival_row:
            value = row.seconds / rival_row.seconds
            if at_least:  # times as fast
                value = rival_row.seconds / row.seconds
            checked.append(Target(f"{model}: {text}", value, bound, at_least))

    bare = "tfreuse, no checksums"
    for model, size in largest.items():
        for task, content in ((STATS, "statistics"), (ALL, "everything")):
            text = f"{content}, file -> file, times cp's time"
            add(model, text, task, "tfreuse", "cp (roofline)", 1.3)
            add(model, f"{text}, {bare[9:]}", task, bare, "cp (roofline)", 1.3)
        for rival, bound in ((".weights.h5", 8), (".keras", 50)):
            text = f"file -> live, times as fast as load_weights({rival})"
            name = f"load_weights, {rival}"
            add(model, text, LOAD, "tfreuse, .keras", name, bound, True)
        text = "live -> live, plan at hand, times memcpy's time"
        for name, suffix in (("apply", ""), ("apply again", ", not the first time")):
            name = f"tfreuse, {name}"
            add(model, text + suffix, LIVE, name, "np.copyto (roofline)", 3)
        row = by_key.get((model, ALL, "tfreuse"))
        if row:
            text = f"{model}: file -> file, MB of memory"
            checked.append(Target(text, row.memory / MB, (MEMORY + size) / MB))
    for row in medians:
        if row.task == START and row.seconds:
            checked.append(Target(f"{row.name}, seconds to start", row.seconds, 0.5))
    return checked


def text(medians: Sequence[Row]) -> str:
    """Formats the rows as aligned columns."""
    lines = []
    for title, group in _groups(medians):
        cells = [HEADER, *(_cells(row) for row in group)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines.append(title)
        for row, (name, *numbers) in zip([None, *group], cells):
            if row is not None and row.error:
                lines.append(f"  {row.name}: {row.error}")
                continue
            aligned = (cell.rjust(width) for cell, width in zip(numbers, widths[1:]))
            lines.append("  ".join(["", name.ljust(widths[0]), *aligned]))
        lines.append("")
    return "\n".join(lines)


def markdown(medians: Sequence[Row], promised: Sequence[Target]) -> str:
    """Formats the rows and the targets as Markdown tables."""
    lines = []
    for title, group in _groups(medians):
        lines += [f"### {title}", "", line(HEADER), rule(len(HEADER))]
        for row in group:
            cells = _cells(row)
            lines.append(line(cells if not row.error else (row.name, row.error)))
        lines.append("")
    return "\n".join([*lines, *promises(promised)]) + "\n"


def promises(promised: Iterable[Target]) -> list[str]:
    """Formats the targets as the lines of a Markdown table."""
    head = ["### Targets", "", line(("target", "measured", "bound", ""))]
    head.append("|---|--:|--:|---|")
    return [*head, *(line(_verdict(target)) for target in promised)]


def verdicts(promised: Sequence[Target]) -> str:
    """Formats the targets, one per line."""
    lines = []
    for target in promised:
        text, value, bound, met = _verdict(target)
        lines.append(f"  {met:8}{text}: {value} ({bound})")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Describes the machine and the versions of packages."""
    cpu = platform.processor() or platform.machine()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(": ")[2]
            break
    names = ("tensorflow", "keras", "numpy", "h5py")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def _row(key: tuple[str, str, str], runs: list[dict]) -> Row:
    error = next((run["error"] for run in runs if "error" in run), "")
    if error:
        return Row(*key, runs=len(runs), error=error)

    def median(*fields):
        if fields[0] not in runs[0]:
            return None
        return float(np.median([sum(run[f] for f in fields) for run in runs]))

    quartiles = np.quantile([run["seconds"] for run in runs], (0.25, 0.75))
    return Row(
        *key,
        runs=len(runs),
        seconds=median("seconds"),
        quartiles=tuple(map(float, quartiles)),
        cpu=median("cpu_s"),
        imported=median("import_s"),
        total=median("import_s", "seconds"),
        read=median("read"),
        written=median("written"),
        memory=median("memory"),
    )


def _groups(medians: Sequence[Row]):
    by_title: dict[str, list[Row]] = {}
    for row in medians:
        by_title.setdefault(f"{row.model}: {TITLES[row.task]}", []).append(row)
    return by_title.items()


def _cells(row: Row) -> tuple[str, ...]:
    if row.error:
        return (row.name, str(row.runs), *[""] * (len(HEADER) - 2))

    def number(value, digits, unit=1.0):
        return "" if value is None else f"{value / unit:,.{digits}f}"

    return (
        row.name,
        str(row.runs),
        number(row.seconds, 0 if row.seconds >= 0.1 else 1, 1e-3),
        "{:,.0f}-{:,.0f}".format(*(1e3 * q for q in row.quartiles)),
        number(row.ratio, 1),
        number(row.cpu, 0, 1e-3),
        number(row.imported, 2),
        number(row.total, 2),
        number(row.read, 1, MB),
        number(row.written, 1, MB),
        number(row.memory, 0, MB),
    )


def _verdict(target: Target) -> tuple[str, str, str, str]:
    bound = f"{'>=' if target.at_least else '<='} {target.bound:.3g}"
    met = "met" if target.met else "not met"
    return target.text, f"{target.value:.3g}", bound, met


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rule(columns: int) -> str:
    return "|---" + "|--:" * (columns - 1) + "|"
