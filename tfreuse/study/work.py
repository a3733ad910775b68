"""A study's units of work: a network to train, a recipient's arms or label curves to measure.

    units = work.plan(specs, out_dir)

The functions are what a worker runs, in a process of its own; only there TensorFlow is imported.
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from tfreuse import runtime
from tfreuse.analysis.arms import Part
from tfreuse.report import arrays
from tfreuse.runners import Output, Unit
from tfreuse.study.design import Block, Curve, Network, Specs


def plan(specs: Specs, out_dir: pathlib.Path) -> list[Unit]:
    """Units of work: a training a network, a block of arms a recipient, a replicate's curves.

    The same, in the same order, for the same specs, whatever is done already.
    """
    models_dir = out_dir / "models"
    units: dict[str, Unit] = {}
    for name, network in specs.networks().items():
        needs = (f"train {network.needs}",) if network.needs else ()
        units[f"train {name}"] = Unit(
            f"train {name}",
            train,
            (specs, network, models_dir / name),
            _training(specs, network, [units[one].key for one in needs]),
            needs,
            product=f"models/{name}/metrics.json",
            reads=(f"models/{network.needs}",) if network.needs else (),
            writes=(f"models/{name}",),
        )
    for one in (*specs.blocks(), *specs.curves()):
        curve = isinstance(one, Curve)
        donors = one.donors if curve else one.parts
        name = f"measure {one.name}"
        units[name] = Unit(
            name,
            curves if curve else measure,
            (one, models_dir),
            {"unit": "measure", "study": specs.digest, "owner": list(one.owner)},
            tuple(f"train {network.name}" for network in donors.values()),
            len(one.arms()) * _label_weight(specs) if curve else _weight(specs),
            reads=_models(donors.values()),
            writes=() if curve else ("figures_data",),
        )
    return list(units.values())


def finishing(specs: Specs, groups: tuple[str, ...], out_dir: pathlib.Path) -> Unit:
    """The last unit of work: the outcome as a model, with `groups` transplanted."""
    block = specs.blocks()[0]
    return Unit(
        "finish",
        finish,
        (block, groups, out_dir),
        {"unit": "finish", "study": specs.digest, "groups": groups},
        weight=0.15,
        product="savedmodel/1/assets.extra/tfreuse.json",
        reads=_models(block.parts.values()),
        writes=("models/transplanted", "savedmodel"),
    )


def owner(unit: Unit) -> tuple[str, ...]:
    """What the unit's records are of; see `runners.gathering`."""
    return tuple(unit.spec.get("owner", ()))


def with_needs(unit: Unit, units: Sequence[Unit]) -> list[Unit]:
    """The unit, and before it all that it needs."""
    by_name = {one.name: one for one in units}
    found: dict[str, Unit] = {}

    def add(one: Unit) -> None:
        for name in one.needs:
            add(by_name[name])
        found[one.name] = one

    add(unit)
    return list(found.values())


def _models(networks: Iterable[Network]) -> tuple[str, ...]:
    """The networks' folders in a study's directory."""
    return tuple(dict.fromkeys(f"models/{network.name}" for network in networks))


def _training(specs: Specs, network: Network, needs: Sequence[str]) -> dict[str, Any]:
    """The spec of a unit that trains the network, from what the units `needs` gave."""
    named = {"data": specs.data, "model": network.model, "train": network.train}
    told = {name: spec.to_json() for name, spec in named.items()}
    return {"unit": "train", "name": network.name, "needs": list(needs), **told}


def _label_weight(specs: Specs) -> float:
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


def train(
    output: Output, threads: int, specs: Specs, network: Network, out_dir: pathlib.Path
) -> None:
    """A unit of work: trains one network."""
    spec = network.train
    runtime.start(threads, spec.deterministic)
    from tfreuse import training  # imports TensorFlow: only here, in the worker

    def report(step: int, text: str) -> None:
        output.progress(step / spec.steps, f"step {step}/{spec.steps}")

    training.train(network.model, specs.data, spec, out_dir, report=report)


def measure(
    output: Output, threads: int, block: Block, models_dir: pathlib.Path
) -> None:
    """Measures one recipient's arms; for the first seed also writes the report's pictures."""
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study import gallery, measuring, recipient, treatments, workspace

    opened = recipient.load(block, models_dir)
    if stages := treatments.foreign_stages(opened.model):
        output.annotate("stages", {block.architecture: stages})
    measuring.measure(output, workspace.open_workspace(opened))
    if block.seed == 0:
        pictures = gallery.gallery(opened, block.specs.study.groups)
        part = Part(block.architecture, block.direction, block.link)
        arrays.write(models_dir.parent, part, pictures)


def curves(
    output: Output, threads: int, curve: Curve, models_dir: pathlib.Path
) -> None:
    """A unit of work: measures one replicate's label curves."""
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
    """A unit of work: the transplanted model, saved and exported."""
    runtime.start(threads, block.specs.train.deterministic)
    from tfreuse.study.finish import transplanted

    transplanted(output, block, groups, out_dir)
