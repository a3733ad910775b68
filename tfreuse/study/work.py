"""A study's units of work: train a network, measure a recipient's arms or its label curves.

    units = work.plan(specs, out_dir)

`train`, `measure`, `curves` and `finish` run in worker processes; they import TensorFlow, the
module does not.
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from tfreuse import runtime
from tfreuse.analysis.arms import Part
from tfreuse.report import arrays
from tfreuse.runners import Output, Unit
from tfreuse.study.design import Block, Curve, Network, Specs

FINISH = "finish"  # name of the unit that exports the outcome
FINISHING = 0.15  # its weight, in trainings of a network


def plan(specs: Specs, out_dir: pathlib.Path) -> list[Unit]:
    """Lists the study's units of work: a training for each network, then the measurements.

    The list depends on the specs alone, not on the units that are done: a job array counts on
    equal numbers in all its tasks.
    """
    models_dir = out_dir / "models"
    units: dict[str, Unit] = {}
    for name, network in specs.networks().items():
        needs = (f"train {network.needs}",) if network.needs else ()
        units[network.unit] = Unit(
            network.unit,
            read if network.file else train,
            (specs, network, models_dir / name),
            _training(specs, network, [units[needed].key for needed in needs]),
            needs,
            product=f"models/{name}/metrics.json",
            weight=0.05 if network.file else 1.0,
            reads=(f"models/{network.needs}",) if network.needs else (),
            writes=(f"models/{name}",),
        )
    for block in specs.blocks():
        units[block.name] = Unit(
            measuring(block),
            measure,
            (block, models_dir),
            _measurement(specs, block.owner),
            _trainings(block.parts.values()),
            _weight(specs),
            reads=_models(block.parts.values()),
            writes=("figures_data",),
        )
    for curve in specs.curves():
        units[curve.name] = Unit(
            f"measure {curve.name}",
            curves,
            (curve, models_dir),
            _measurement(specs, curve.owner),
            _trainings(curve.donors.values()),
            len(curve.arms()) * _label_weight(specs),
            reads=_models(curve.donors.values()),
        )
    return list(units.values())


def finishing(specs: Specs, groups: tuple[str, ...], out_dir: pathlib.Path) -> Unit:
    """Returns the unit that exports the recipient of the first block with `groups` transplanted."""
    block = specs.blocks()[0]
    return Unit(
        FINISH,
        finish,
        (block, groups, out_dir),
        {"unit": "finish", "study": specs.digest, "groups": groups},
        weight=FINISHING,
        product="savedmodel/1/assets.extra/tfreuse.json",
        reads=_models(block.parts.values()),
        writes=("models/transplanted", "savedmodel"),
    )


def measuring(block: Block) -> str:
    """Returns the name of the unit that measures a block."""
    return f"measure {block.name}"


def owner(unit: Unit) -> tuple[str, ...]:
    """Returns the unit's block or curve, as records name it; see `runners.gathering`."""
    return tuple(unit.spec.get("owner", ()))


def with_needs(unit: Unit, units: Sequence[Unit]) -> list[Unit]:
    """Lists all units that the unit needs, in an order in which they can run, and itself."""
    by_name = {unit.name: unit for unit in units}
    ordered: dict[str, Unit] = {}

    def add(unit: Unit) -> None:
        for name in unit.needs:
            add(by_name[name])
        ordered[unit.name] = unit

    add(unit)
    return list(ordered.values())


def _models(networks: Iterable[Network]) -> tuple[str, ...]:
    """Returns the networks' folders in a study's directory."""
    return tuple(dict.fromkeys(f"models/{network.name}" for network in networks))


def _trainings(networks: Iterable[Network]) -> tuple[str, ...]:
    """Returns the names of the units that make the networks."""
    return tuple(network.unit for network in networks)


def _training(specs: Specs, network: Network, needs: Sequence[str]) -> dict[str, Any]:
    """Returns a training's spec: it is the same training in every study that has the spec.

    Args:
        specs: the study.
        network: the network to train.
        needs: keys of the trainings that it starts from.
    """
    if network.file:
        digests = [
            specs.given.digests[specs.given.files.index(file)]
            for file in filter(None, (network.file, network.into))
        ]
        spec = {"unit": "read", "name": network.name, "digests": digests}
        return spec | {"study": specs.digest}
    settings = {
        "data": network.data(specs.data), "model": network.model, "train": network.train
    }  # fmt: skip
    values = {name: spec.to_json() for name, spec in settings.items()}
    if specs.study.retrials:
        values["retrials"] = [specs.study.retrials, specs.study.minimum]
    if ages := specs.ages(network):
        values["ages"] = list(ages)
    return {"unit": "train", "name": network.name, "needs": list(needs), **values}


def _measurement(specs: Specs, owner: tuple[str, ...]) -> dict[str, Any]:
    """Returns the spec of a unit that measures arms or label curves."""
    return {"unit": "measure", "study": specs.digest, "owner": list(owner)}


def _label_weight(specs: Specs) -> float:
    """Estimates the cost of an arm at one number of labels, in trainings of a network."""
    return specs.labels.fits() * specs.labels.label_steps / specs.train.steps


def _weight(specs: Specs) -> float:
    """Estimates the cost of a block of arms, in trainings of a network, for the time left.

    A rough guess before the networks exist: ten sites, and an arm takes about as long as one
    update of a training. `forecast` measures instead.
    """
    study = specs.study
    treatments = len(study.repairs) * (1 + len(study.donor_updates))
    treatments += len(study.controls) + len(study.strengths) - 1
    arms = 10 * (len(study.groups) * treatments + 25 * study.shapley)
    tuned = 5 * study.fine_tuning_steps if "fine_tuning" in study.repairs else 0
    return (arms + tuned * len(study.groups)) / specs.train.steps


def train(
    output: Output, threads: int, specs: Specs, network: Network, out_dir: pathlib.Path
) -> None:
    """Trains one network: the function of a unit of work."""
    spec = network.train
    runtime.start(threads, spec.deterministic)
    from tfreuse.study import retrials  # imports TensorFlow

    def report(step: int, text: str) -> None:
        output.progress(step / spec.steps, f"{text}step {step}/{spec.steps}")

    retrials.train(specs, network, out_dir, report, output.cache)


def read(
    output: Output, threads: int, specs: Specs, network: Network, out_dir: pathlib.Path
) -> None:
    """Reads a network that exists: the function of a unit of work."""
    runtime.start(threads, network.train.deterministic)
    from tfreuse.study import reading  # imports TensorFlow

    output.progress(0.0, "reading")
    reading.read(specs, network, out_dir)


def measure(
    output: Output, threads: int, block: Block, models_dir: pathlib.Path
) -> None:
    """Measures one recipient's arms; for the first seed also writes the report's pictures."""
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study import gallery, measuring

    opened = measuring.measure_block(output, block, models_dir)
    if block.seed == 0:
        pictures = gallery.gallery(opened, block.specs.study.groups)
        part = Part(block.architecture, block.direction, block.link)
        arrays.write(models_dir.parent, part, pictures)


def curves(
    output: Output, threads: int, curve: Curve, models_dir: pathlib.Path
) -> None:
    """Measures one replicate's label curves: the function of a unit of work."""
    runtime.start(threads, curve.specs.train.deterministic)
    from tfreuse.study import labels

    labels.measure(output, curve, models_dir)


def finish(
    output: Output,
    threads: int,
    block: Block,
    groups: tuple[str, ...],
    out_dir: pathlib.Path,
) -> None:
    """Saves and exports the transplanted model: the function of the last unit of work."""
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study.finish import transplanted

    transplanted(output, block, groups, out_dir)
