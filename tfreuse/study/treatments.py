"""Which arms a recipient gets: sites, groups, controls, strengths and repairs.

Full crossing would be thousands of arms a recipient, most of them of no use to anybody. The
rule: all layers at once carry the verdicts and get everything; single stages tell where and
get what separates the causes; single layers, prefixes, suffixes and all stages but one are
explored with the treatment and, where a curve needs them, the donors that bound it.
"""

import dataclasses
import itertools
from collections.abc import Collection, Iterable

import keras

from tfreuse import models, roles
from tfreuse import plan as plan_module
from tfreuse.specs import RANDOM_CONTROLS, StudySpec

PLAYERS = ("kernel", "bias", "gamma", "beta", "stats")  # of the Shapley values

# The repairs that each control gets at all layers and at single stages, as far as the study
# has them. What is not told here gets none.
_BOTH = ("none", "recalibration")
_ALIGNED = ("permutation", "permutation+recalibration")
_TRAINED = ("stitch", "fine_tuning")
_AT_ALL = {
    "transfer": (*_BOTH, *_ALIGNED, "fine_tuning"),
    "self": (*_BOTH, "fine_tuning"),  # what fine-tuning alone does
    "other_seed": (*_BOTH, *_ALIGNED),
    "reinitialised": (*_BOTH, "fine_tuning"),
    "reordered": (*_BOTH, *_ALIGNED),
    **dict.fromkeys(("initial", "defaults", "matched", "moments", "shuffled"), _BOTH),
    **dict.fromkeys(("scrambled", "zeroed"), _BOTH),
}
_AT_A_STAGE = {
    "transfer": (*_BOTH, *_ALIGNED, *_TRAINED),
    "reinitialised": ("none", *_TRAINED),  # a stitch or training may repair anything
    "reordered": ("none", "permutation"),
    **dict.fromkeys(
        ("other_seed", "matched", "initial", "scrambled", "zeroed"), ("none",)
    ),
}
_ALONG = {
    "transfer": _BOTH,
    **dict.fromkeys(("other_seed", "reinitialised"), ("none",)),
}
_REPAIRS = {
    "all": _AT_ALL,
    "stage": _AT_A_STAGE,
    "prefix": _ALONG,
    "suffix": _ALONG,
    "leave_one_out": {"transfer": _BOTH},
    # kernels of the same task tell which distances between kernels are usual (H5)
    "layer": dict.fromkeys(("transfer", "other_seed"), ("none",)),
}


@dataclasses.dataclass(frozen=True)
class Site:
    """Where parameters are replaced."""

    kind: str  # one of specs.SITES
    name: str  # "all", or a layer or stage: its own, the prefix's last, the suffix's first, ...
    depth: int  # position of that layer or stage from input (0) to output; -1 for "all"
    layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One treatment; measured with each of its repairs."""

    site: Site
    group: str
    control: str
    repairs: tuple[str, ...]
    strength: float = 1.0
    draw: int = 0


def sites(model: keras.Model, kinds: Collection[str]) -> list[Site]:
    """The places of a model where parameters can be replaced, heads left out.

    A head belongs to its task: its shape and its meaning are not the other network's.
    """
    stages = {
        stage: tuple(names)
        for stage, names in models.stages(model).items()
        if stage not in ("head", "auxiliary")
    }
    layers = tuple(name for names in stages.values() for name in names)
    found = [Site("all", "all", -1, layers)]
    for i, (stage, own) in enumerate(stages.items()):
        groups = list(stages.values())
        before, after = sum(groups[:i], ()), sum(groups[i + 1 :], ())
        found.append(Site("stage", stage, i, own))
        if after:  # else it is all layers
            found.append(Site("prefix", stage, i, before + own))
        if before:
            found.append(Site("suffix", stage, i, own + after))
        found.append(Site("leave_one_out", stage, i, before + after))
    found += [Site("layer", name, i, (name,)) for i, name in enumerate(layers)]
    order = ("all", "stage", "prefix", "suffix", "leave_one_out", "layer")
    chosen = [site for site in found if site.kind in kinds and site.layers]
    return sorted(chosen, key=lambda site: order.index(site.kind))


def arms(
    places: Collection[Site],
    variables: Collection[plan_module.Variable],
    spec: StudySpec,
    link: str = "independent",
) -> list[Arm]:
    """The arms of a study, all-layers first, since the verdicts rest on these."""
    present: dict[str, set[str]] = {}
    for variable in variables:
        present.setdefault(variable.layer, set()).add(variable.role)
    found = []
    for site in places:
        held = set().union(*(present.get(layer, ()) for layer in site.layers))
        groups = [g for g in spec.groups if held.intersection(roles.expand(g))]
        for group in groups:
            found += _of_group(site, group, spec, link)
        if spec.shapley and site.kind in ("all", "stage"):
            known = {frozenset(held.intersection(roles.expand(g))) for g in groups}
            found += [
                Arm(site, union, "transfer", ("none",))
                for union in _unions(held, known)
            ]
    return found


def _of_group(site: Site, group: str, spec: StudySpec, link: str) -> Iterable[Arm]:
    members = roles.expand(group)
    for control in ("transfer", *spec.controls):
        repairs = tuple(
            one for one in _REPAIRS[site.kind].get(control, ()) if one in spec.repairs
        )
        if not repairs or not _applies(control, members, group, link):
            continue
        if site.kind == "layer" and control == "other_seed" and group != "kernel":
            continue
        draws = spec.draws if control in RANDOM_CONTROLS else 1
        for draw in range(draws):
            yield Arm(site, group, control, repairs, 1.0, draw)
    if site.kind in ("all", "stage"):
        for strength in spec.strengths:
            if strength < 1:
                yield Arm(site, group, "transfer", ("none",), strength)


def _applies(control: str, members: Collection[str], group: str, link: str) -> bool:
    if control == "defaults":  # a kernel has no default value
        return "kernel" not in members
    if control == "zeroed":  # of one role it would be an arm of its own, not a control
        return group == "all"
    if control == "initial":  # trained on from the donor: these are the donor's values
        return link != "sequential"
    return True


def _unions(held: Collection[str], known: Collection[frozenset]) -> Iterable[str]:
    """Unions of PLAYERS that no group of the study measures already, as "kernel+gamma"."""
    players = [p for p in PLAYERS if set(roles.expand(p)).intersection(held)]
    for count in range(1, len(players) + 1):
        for chosen in itertools.combinations(players, count):
            own = {role for player in chosen for role in roles.expand(player)}
            if frozenset(own.intersection(held)) not in known:
                yield "+".join(chosen)
