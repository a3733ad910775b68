"""Measures the memory of a worker that carries out many units of a study, one after another.

    runs = kept.run(kept.Settings(units=200))
    print(kept.markdown(runs))

The units are those of a study of tiny networks, here and on Ray, on one worker. A worker that
keeps models and traced functions must not grow with the number of its units: the slope is of a
line through its memory in the second half of the units of each kind.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from benchmarks import fresh, table
from tfreuse import progress, runners, study
from tfreuse.runners import Folder, Output, RunnerSpec, Unit, worker
from tfreuse.specs import DIRECTIONS, DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import work

LOCAL, RAY = "local", "ray"
HEADER = (
    *("runner", "kind", "units", "workers", "s a unit"),
    *("MB after half", "MB at the end", "kB a unit"),
)
_WITH_EACH_SEED = 3  # units: two trainings and a block of arms


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the measurement."""

    units: int = 200
    timeout: float = 1_800.0


def run(settings: Settings) -> list[dict]:
    """Returns a dict for each runner, with "error" instead of its units if it failed."""
    runs = []
    display = progress.Display(2)
    for runner in (LOCAL, RAY):
        display.update(len(runs), f"{settings.units} units on {runner}")
        words = (runner, settings.units)
        measured = fresh.run_json(__name__, words, settings.timeout)
        runs.append({"runner": runner} | measured)
    display.close()
    return runs


def rows(runs: Sequence[dict]) -> list[dict]:
    """Returns numbers of units and workers, medians of seconds, and memory, by runner and kind."""
    summaries = []
    for one in runs:
        units = one.get("units", [])
        for kind in dict.fromkeys(unit["kind"] for unit in units):
            selected = [unit for unit in units if unit["kind"] == kind]
            later = selected[len(selected) // 2 :]
            # in kB, against the number among all units: those of other kinds fill memory too
            number = [unit["number"] for unit in later]
            slope = np.polyfit(number, [unit["memory"] * 1e3 for unit in later], 1)[0]
            summaries.append(
                {
                    "runner": one["runner"],
                    "kind": kind,
                    "units": len(selected),
                    "workers": len({unit["process"] for unit in selected}),
                    "seconds": float(np.median([unit["seconds"] for unit in later])),
                    "half": later[0]["memory"],
                    "end": later[-1]["memory"],
                    "slope": float(slope),
                }
            )
    return summaries


def markdown(runs: Sequence[dict]) -> str:
    """Formats a table with a line for each runner and kind of unit; failures follow."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for row in rows(runs):
        cells = (
            row["runner"], row["kind"], f"{row['units']}", f"{row['workers']}",
            f"{row['seconds']:.2f}", f"{row['half']:,.0f}", f"{row['end']:,.0f}",
            f"{row['slope']:,.0f}",
        )  # fmt: skip
        lines.append(table.line(cells))
    lines += [f"\n{one['runner']}: {one['error']}" for one in runs if "error" in one]
    return "\n".join(lines) + "\n"


def measure(runner: str, count: int) -> dict:
    """Carries out a study; returns {"units": [...]}, in the order in which they ended."""
    with tempfile.TemporaryDirectory() as folder:
        out_dir = pathlib.Path(folder)
        units = [_weighed(unit) for unit in work.plan(_specs(count), out_dir)]
        spec = RunnerSpec(
            runner=runner, jobs=1, unit_cpus=1, unit_gpus=0.0, ray_address="here"
        )
        made = runners.make(spec, out_dir, len(units), preload="tfreuse.study.imports")
        with contextlib.closing(made):
            for event in runners.run(units, made, out_dir, 0):
                if event.failure:
                    raise ValueError(event.failure.message)
        markers = [(unit.kind, Folder(out_dir, unit).done()) for unit in units]
    ended = sorted(
        ({"kind": kind, **marker["told"]["ended"]} for kind, marker in markers),
        key=lambda unit: unit["at"],
    )
    return {"units": [unit | {"number": n} for n, unit in enumerate(ended)]}


def _specs(units: int) -> study.Specs:
    """Returns a study of about so many units, all of them short."""
    seeds = max(2, units // _WITH_EACH_SEED)
    return study.Specs(
        StudySpec(
            seeds=seeds,
            directions=(DIRECTIONS[0],),
            groups=("kernel", "affine"),
            controls=("self",),
        ),
        DataSpec(image_size=(16, 16)),
        ModelSpec(width=2, depth=1),
        TrainSpec(steps=4, batch_size=4, validations=1),
    )


def _weighed(unit: Unit) -> Unit:
    """Returns the unit, which also records memory and time at its end."""
    return dataclasses.replace(unit, function=_weigh, arguments=(unit,))


def _weigh(output: Output, threads: int, unit: Unit) -> None:
    begin = time.monotonic()
    unit.function(output, threads, *unit.arguments)
    ended = {"at": time.time(), "seconds": time.monotonic() - begin}
    ended |= {"process": os.getpid(), "memory": worker.memory() / 1e6}
    output.annotate("ended", ended)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
