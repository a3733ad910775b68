"""The study: which parameters can be reused, measured arm by arm over seeds.

    study.run(study.Specs(...), out_dir)

Networks are trained and arms measured by processes of their own (`workers`); this module
decides what is to do, writes the records and shows the progress. What is there from an
earlier run is not done again. It imports no TensorFlow.
"""

import glob
import os
import pathlib

from tfreuse import files, progress, records, rundir, runtime
from tfreuse.study import workers
from tfreuse.study.design import Block, Specs
from tfreuse.study.workers import Unit

__all__ = ["Block", "Specs", "default_jobs", "plan", "run"]

_BLOCK_WEIGHT = 0.35  # cost of a block of arms, in trainings of the quickstart
_FINISH_WEIGHT = 0.15


def run(specs: Specs, out_dir: pathlib.Path, *, jobs: int = 0) -> None:
    """Trains what is not trained, measures what is not measured, exports what was found.

    Args:
        specs: what to study.
        out_dir: the study's directory; refused if it is of another study.
        jobs: processes at a time; 0: see `default_jobs`.

    Raises:
        InputError: a spec or the data cannot be used, or a process was ended from outside.
    """
    path = out_dir / "study.json"
    held = rundir.claim(path, specs.named())
    with records.Log(out_dir / "records.jsonl") as log:
        units = plan(specs, out_dir, frozenset(record.key for record in log.records))
        jobs = jobs or default_jobs(len(units))
        display = _Progress(units)
        try:
            for unit, message in workers.run(
                units, jobs, max(1, _cores() // jobs), out_dir / "errors"
            ):
                if isinstance(message, records.Record):
                    log.append(message)
                else:
                    display.hear(unit, message)
        finally:
            display.close()
    networks = {
        name: files.read_json(out_dir / "models" / name / "metrics.json")
        for name in specs.networks()
    }
    files.write_json(path, held | {"networks": networks})


def plan(specs: Specs, out_dir: pathlib.Path, done: frozenset) -> list[Unit]:
    """Units of work: a training a network, a block of arms a recipient."""
    models_dir = out_dir / "models"
    units = [
        Unit(f"train {name}", _train, (specs, name, models_dir / name))
        for name in specs.networks()
        if not (models_dir / name / "metrics.json").exists()
    ]
    for block in specs.blocks():
        needs = tuple(f"train {name}" for name in block.networks.values())
        arguments = (block, models_dir, done)
        units.append(
            Unit(f"measure {block.name}", _measure, arguments, needs, _BLOCK_WEIGHT)
        )
    return units


def default_jobs(units: int) -> int:
    """Processes at a time: one a CPU core, since small networks do not fill two; or one a GPU."""
    gpus = len(glob.glob("/dev/nvidia[0-9]*"))
    return max(1, min(gpus or _cores(), units))


class _Progress:
    """What the running units tell, as one line."""

    def __init__(self, units: list[Unit]) -> None:
        self._display = progress.Display(sum(unit.weight for unit in units))
        self._shares: dict[Unit, float] = {}
        self._texts: dict[str, str] = {}

    def hear(self, unit: Unit, message) -> None:
        if isinstance(message, workers.Ended):
            self._shares[unit] = 1.0
            self._texts.pop(unit.name, None)
        else:
            self._shares[unit], self._texts[unit.name] = message
        done = sum(unit.weight * share for unit, share in self._shares.items())
        self._display.update(
            done, "; ".join(f"{name}: {text}" for name, text in self._texts.items())
        )

    def close(self) -> None:
        self._display.close()


def _cores() -> int:
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count()
    )


def _train(send, threads: int, specs: Specs, name: str, out_dir: pathlib.Path) -> None:
    """A unit of work: trains one network."""
    send((0.0, "starting"))
    spec = specs.networks()[name]
    runtime.start(threads, spec.deterministic)
    from tfreuse import training  # imports TensorFlow: only here, in the worker

    def report(step: int, text: str) -> None:
        send((step / spec.steps, f"step {step}/{spec.steps}"))

    training.train(specs.model, specs.data, spec, out_dir, report=report)


def _measure(
    send, threads: int, block: Block, models_dir: pathlib.Path, done: frozenset
) -> None:
    """A unit of work: measures one recipient's arms."""
    send((0.0, "starting"))
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study import arms

    arms.measure(send, block, models_dir, done)
