"""The study: which parameters can be reused, measured arm by arm over seeds.

    study.run(study.Specs(...), out_dir)

Networks are trained and arms measured by processes of their own (`workers`); this module
decides what is to do, writes the records and shows the progress. What is there from an
earlier run is not done again. It imports no TensorFlow.
"""

import collections
import contextlib
import dataclasses
import glob
import os
import pathlib
from collections.abc import Collection, Sequence

from tfreuse import (
    dashboards,
    files,
    hparams,
    progress,
    records,
    rundir,
    runtime,
    statistics,
)
from tfreuse.report import arrays
from tfreuse.study import workers
from tfreuse.study.design import Block, Curve, Network, Specs
from tfreuse.study.workers import Unit
from tfreuse.transfer import recipes
from tfreuse.verdicts.arms import Part

__all__ = ["Block", "Curve", "Specs", "default_jobs", "forecast", "plan", "run"]


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
    label_log = records.LabelLog(out_dir / "labels.jsonl")
    with (
        records.Log(out_dir / "records.jsonl") as log,
        label_log if specs.curves() else contextlib.nullcontext(),
    ):
        counts = collections.Counter(map(_block_key, log.records))
        measured = {
            block.name
            for block in specs.blocks()
            if held.get("measured", {}).get(block.name) == counts[_block_key(block)] > 0
        }
        done = frozenset(r.key for r in (*log.records, *label_log.records))
        units = plan(specs, out_dir, done, measured)
        jobs = jobs or default_jobs(len(units))
        display = _Progress([*units, _FINISH] if specs.blocks() else units)
        try:
            for unit, message in _run(units, jobs, out_dir):
                if isinstance(message, tuple) and isinstance(
                    message[0], records.Record
                ):
                    log.append(*message)
                    counts[_block_key(message[0])] += 1
                    continue
                if isinstance(message, records.LabelRecord):
                    label_log.append(message)
                    continue
                if isinstance(message, Stages):
                    told = {message.architecture: message.of_layer}
                    held["stages"] = held.get("stages", {}) | told
                    files.write_json(path, held)
                    continue
                display.hear(unit, message)
                if isinstance(message, workers.Ended) and unit.function is _measure:
                    block = unit.arguments[0]
                    count = {block.name: counts[_block_key(block)]}
                    held["measured"] = held.get("measured", {}) | count
                    files.write_json(path, held)
            groups = reusable(log.records, specs)
            if specs.blocks() and groups != _transplanted(out_dir):
                arguments = (specs.blocks()[0], groups, out_dir)
                last = dataclasses.replace(_FINISH, arguments=arguments)
                for _, message in _run([last], 1, out_dir):
                    display.hear(_FINISH, message)
        finally:
            display.close()
        arms_dir = out_dir / "tensorboard" / "arms"
        if log.records and (note := hparams.write(arms_dir, log.records)):
            print(note)
    files.write_json(path, held | _told(specs, out_dir))
    dashboards.write(out_dir)


def _told(specs: Specs, out_dir: pathlib.Path) -> dict:
    """What `study.json` tells of a study that is complete."""
    networks = {
        name: files.read_json(out_dir / "models" / name / "metrics.json")
        for name in specs.networks()
    }
    if not specs.curves():
        return {"networks": networks}
    named = {name: recipes.CATALOGUE[name].describe() for name in specs.labels.recipes}
    return {"networks": networks, "recipes": named}


def _run(units: list[Unit], jobs: int, out_dir: pathlib.Path):
    threads = max(1, _cores() // jobs)
    return workers.run(units, jobs, threads, out_dir / "errors")


def _block_key(one: records.Record | Block) -> tuple:
    """What a record and its block have in common."""
    return one.architecture, one.direction, one.link, one.seed


def _transplanted(out_dir: pathlib.Path) -> tuple[str, ...] | None:
    """The groups that the exported model holds already; None if there is none."""
    notes = out_dir / "savedmodel" / "1" / "assets.extra" / "tfreuse.json"
    if not notes.exists():
        return None
    return tuple(files.read_json(notes)["notes"]["groups"])


def reusable(found: Sequence[records.Record], specs: Specs) -> tuple[str, ...]:
    """Groups that lose at most the margin at all layers after recalibration, as is certain.

    Certain means the lower end of the interval over the seeds of the study's first block.
    """
    if not specs.blocks():
        return ()
    first = _block_key(specs.blocks()[0])[:-1]
    repaired = [
        record
        for record in found
        if _block_key(record)[:-1] == first
        and (record.site_kind, record.control) == ("all", "transfer")
        and (record.repair, record.strength) == ("recalibration", 1.0)
        and record.before - record.floor >= specs.study.minimum
    ]
    chosen = []
    for group in specs.study.groups:
        retentions = [one.retention for one in repaired if one.group == group]
        if len(retentions) == specs.study.seeds:
            low = statistics.interval(retentions, specs.study.confidence).low
            if low >= 1 - specs.study.margin:
                chosen.append(group)
    return tuple(chosen)


def plan(
    specs: Specs,
    out_dir: pathlib.Path,
    done: frozenset = frozenset(),
    measured: Collection[str] = (),
) -> list[Unit]:
    """Units of work: a training a network, a block of arms a recipient, a replicate's curves.

    Args:
        specs: the study.
        out_dir: networks that are finished there are not trained again.
        done: keys of the records that exist.
        measured: names of the blocks whose arms all have records.
    """
    models_dir = out_dir / "models"
    done_of: dict[tuple[str, ...], set] = {}
    for key in done:
        done_of.setdefault(key[:4], set()).add(key)
    units = []
    for name, network in specs.networks().items():
        if not (models_dir / name / "metrics.json").exists():
            needs = (f"train {network.needs}",) if network.needs else ()
            arguments = (specs, network, models_dir / name)
            units.append(Unit(f"train {name}", _train, arguments, needs))
    for block in specs.blocks():
        if block.name not in measured:
            needs = tuple(f"train {network.name}" for network in block.parts.values())
            start = tuple(map(str, _block_key(block)))  # of `Record.key`
            arguments = (block, models_dir, frozenset(done_of.get(start, ())))
            name = f"measure {block.name}"
            units.append(Unit(name, _measure, arguments, needs, _weight(specs)))
    for curve in specs.curves():
        todo = [key for key in curve.arms() if key not in done]
        if todo:
            needs = tuple(f"train {network.name}" for network in curve.donors.values())
            arguments = (curve, models_dir, frozenset(curve.arms()) & done)
            weight = len(todo) * label_weight(specs)
            units.append(
                Unit(f"measure {curve.name}", _curve, arguments, needs, weight)
            )
    return units


def label_weight(specs: Specs) -> float:
    """Cost of an arm at one number of labels, in trainings."""
    return specs.labels.fits * specs.labels.label_steps / specs.train.steps


def _weight(specs: Specs) -> float:
    """Cost of a block of arms in trainings, for the time left; `forecast` measures it.

    Some ten places a network; an arm takes about as long as one step of training.
    """
    study = specs.study
    treatments = len(study.repairs) + len(study.controls) + len(study.strengths) - 1
    arms = 10 * (len(study.groups) * treatments + 25 * study.shapley)
    tuned = 5 * study.fine_tuning_steps if "fine_tuning" in study.repairs else 0
    return (arms + tuned * len(study.groups)) / specs.train.steps


def forecast(specs: Specs, jobs: int = 0) -> str:
    """What the study will cost in time and disk; builds and times the networks, no more."""
    jobs = jobs or default_jobs(len(specs.blocks()) + len(specs.curves()))
    runtime.start(max(1, _cores() // jobs), specs.train.deterministic)
    from tfreuse.study import cost  # imports TensorFlow

    return cost.tell(specs, jobs)


def default_jobs(units: int) -> int:
    """Processes at a time: one a CPU core, since small networks do not fill two; or one a GPU."""
    gpus = len(glob.glob("/dev/nvidia[0-9]*"))
    return max(1, min(gpus or _cores(), units))


@dataclasses.dataclass(frozen=True)
class Stages:
    """What a worker tells of a network whose layers' names do not begin with their stages'."""

    architecture: str
    of_layer: dict[str, str]


class _Progress:
    """What the running units tell, as one line."""

    def __init__(self, units: list[Unit]) -> None:
        self._display = progress.Display(sum(unit.weight for unit in units))
        self._weights = {unit.name: unit.weight for unit in units}
        self._shares: dict[str, float] = {}
        self._texts: dict[str, str] = {}

    def hear(self, unit: Unit, message) -> None:
        if isinstance(message, workers.Ended):
            self._shares[unit.name] = 1.0
            self._texts.pop(unit.name, None)
        else:
            self._shares[unit.name], self._texts[unit.name] = message
        done = sum(self._weights[name] * share for name, share in self._shares.items())
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


def _train(
    send, threads: int, specs: Specs, network: Network, out_dir: pathlib.Path
) -> None:
    """A unit of work: trains one network."""
    send((0.0, "starting"))
    spec = network.train
    runtime.start(threads, spec.deterministic)
    from tfreuse import training  # imports TensorFlow: only here, in the worker

    def report(step: int, text: str) -> None:
        send((step / spec.steps, f"step {step}/{spec.steps}"))

    training.train(network.model, specs.data, spec, out_dir, report=report)


def _measure(
    send, threads: int, block: Block, models_dir: pathlib.Path, done: frozenset
) -> None:
    """A unit of work: measures one recipient's arms; of the first seed pictures too."""
    send((0.0, "starting"))
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study import bench, gallery

    found = bench.Bench(block, models_dir)
    if found.foreign_stages:
        send(Stages(block.architecture, found.foreign_stages))
    bench.measure(send, found, done)
    if block.seed == 0:
        pictures = gallery.gallery(found, block.specs.study.groups)
        part = Part(block.architecture, block.direction, block.link)
        arrays.write(models_dir.parent, part, pictures)


def _curve(
    send, threads: int, curve: Curve, models_dir: pathlib.Path, done: frozenset
) -> None:
    """A unit of work: measures one replicate's label curves."""
    send((0.0, "starting"))
    runtime.start(threads, curve.specs.train.deterministic)
    from tfreuse.study import labels

    labels.measure(send, curve, models_dir, done)


def _finish(
    send, threads: int, block: Block, groups: tuple[str, ...], out_dir: pathlib.Path
) -> None:
    """A unit of work: the transplanted model, saved and exported."""
    send((0.0, "starting"))
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study import finish

    finish.transplanted(send, block, groups, out_dir)


_FINISH = Unit("finish", _finish, (), weight=0.15)
