"""Which arms a recipient gets: sites, groups, controls and repairs."""

import dataclasses
from collections.abc import Collection

import keras

from tfreuse import models, roles
from tfreuse import plan as plan_module
from tfreuse.specs import StudySpec


@dataclasses.dataclass(frozen=True)
class Site:
    """Where parameters are replaced."""

    kind: str  # "layer", "stage" or "all"
    name: str
    depth: int  # position from input (0) to output; -1 for "all"
    layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One treatment; measured raw and, where asked, after recalibration too."""

    site: Site
    group: str
    control: str
    repairs: tuple[str, ...]


def sites(model: keras.Model, kinds: Collection[str]) -> list[Site]:
    """The places of a model where parameters can be replaced, heads left out.

    A head belongs to its task: its shape and its meaning are not the other network's.
    """
    stages = {
        stage: names
        for stage, names in models.stages(model).items()
        if stage not in ("head", "auxiliary")
    }
    layers = [name for names in stages.values() for name in names]
    found = {
        "layer": [Site("layer", name, i, (name,)) for i, name in enumerate(layers)],
        "stage": [
            Site("stage", stage, i, tuple(names))
            for i, (stage, names) in enumerate(stages.items())
        ],
        "all": [Site("all", "all", -1, tuple(layers))],
    }
    return [
        site
        for kind in ("all", "stage", "layer")
        if kind in kinds
        for site in found[kind]
    ]


def arms(
    places: Collection[Site],
    variables: Collection[plan_module.Variable],
    spec: StudySpec,
) -> list[Arm]:
    """The arms of a study, all-layers first, since the verdicts rest on these.

    Single layers are explored with the treatment alone; stages get the controls that a
    reader needs beside it; all layers get every control.
    """
    present = {(variable.layer, variable.role) for variable in variables}
    found = []
    for site in places:
        for group in spec.groups:
            members = roles.expand(group)
            if not any(
                (layer, role) in present for layer in site.layers for role in members
            ):
                continue
            for control in ("transfer", *spec.controls):
                repairs = _repairs(site.kind, control, "kernel" in members)
                repairs = tuple(r for r in spec.repairs if r in repairs)
                if repairs:
                    found.append(Arm(site, group, control, repairs))
    return found


def _repairs(kind: str, control: str, has_kernel: bool) -> tuple[str, ...]:
    """Which repairs an arm is measured with; none: the arm is left out."""
    both = ("none", "recalibration")
    if control == "transfer":
        return ("none",) if kind == "layer" else both
    if kind == "layer":
        return ()
    if control == "self":
        return both if kind == "all" else ()
    if control == "defaults":  # a kernel has no default value
        return both if kind == "all" and not has_kernel else ()
    return both if kind == "all" else ("none",)
