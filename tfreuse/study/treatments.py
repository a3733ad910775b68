"""Lists the arms of a recipient: sites, groups, controls, strengths and repairs.

Crossing all factors would give thousands of arms for each recipient, most of them of no use.
So all layers at once, which the verdicts rest on, are measured with every control and repair;
single stages, which locate an effect, with those that separate its causes; single layers,
prefixes, suffixes and all stages but one with the treatment alone and, where a curve needs
bounds, with the two donors that bound it. Channels of layers move in orders by scores, which
random orders of the same donor bound.
"""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

import keras

from tfreuse import models, roles, transplant
from tfreuse import plan as plan_module
from tfreuse.specs import ORDERS, RANDOM_CONTROLS, SHARES, StudySpec

PLAYERS = ("kernel", "bias", "gamma", "beta", "stats")  # of the Shapley values

# Repairs by kind of site and control, as far as the study has them. A control that is not
# listed is not measured at that kind of site.
_BOTH = ("none", "recalibration")
_ALIGNED = ("permutation", "permutation+recalibration")
_TRAINED = ("stitch", "fine_tuning")
_AT_ALL = {
    "transfer": (*_BOTH, *_ALIGNED, "fine_tuning"),
    "self": (*_BOTH, "fine_tuning"),  # the effect of fine-tuning alone
    "other_seed": (*_BOTH, *_ALIGNED),
    "reinitialised": (*_BOTH, "fine_tuning"),
    "reordered": (*_BOTH, *_ALIGNED),
    **dict.fromkeys(("initial", "defaults", "scrambled", "zeroed"), _BOTH),
    **dict.fromkeys(RANDOM_CONTROLS, _BOTH),
}
_AT_A_STAGE = {
    "transfer": (*_BOTH, *_ALIGNED, *_TRAINED),
    "reinitialised": ("none", *_TRAINED),  # a stitch or training may repair anything
    "reordered": ("none", "permutation"),
    "angle": _BOTH,  # random kernels are compared with statistics that fit them
    **dict.fromkeys(
        ("other_seed", "matched", "initial", "scrambled", "zeroed"), ("none",)
    ),
}
_ALONG = {
    "transfer": _BOTH,
    **dict.fromkeys(("other_seed", "reinitialised"), ("none",)),
}
_Measured = Mapping[str, Mapping[str, tuple[str, ...]]]
_REPAIRS: _Measured = {
    "all": _AT_ALL,
    "stage": _AT_A_STAGE,
    "prefix": _ALONG,
    "suffix": _ALONG,
    "leave_one_out": {"transfer": _BOTH},
    "channels": {"transfer": (*_BOTH, *_ALIGNED)},
    # kernels of the same task show which distances between kernels are usual (H5)
    "layer": dict.fromkeys(("transfer", "other_seed"), ("none",)),
}
# Of a part of the way to a donor (--strengths below 1).
_ON_THE_WAY: _Measured = {
    "all": dict.fromkeys(("transfer", "other_seed", "reordered"), (*_BOTH, *_ALIGNED)),
    "stage": {"transfer": ("none",)},
}


@dataclasses.dataclass(frozen=True)
class Site:
    """Layers whose parameters are replaced together, whole or a share of their channels.

    Attributes:
        kind: one of `specs.SITES`.
        name: of the layer or stage, whole or of channels; of the last stage of a prefix, the
            first of a suffix, or the stage left out; "all" for all layers.
        depth: position of that layer or stage from input (0) to output; -1 for "all".
        layers: names of the layers, from input to output.
    """

    kind: str
    name: str
    depth: int
    layers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One treatment of the recipient, measured with each of its repairs.

    `updates` is the age of the donor in updates of its training; None: the finished donor.
    At a site of channels, `share` of each layer's channels move, in `order` (`specs.ORDERS`).
    """

    site: Site
    group: str
    control: str
    repairs: tuple[str, ...]
    strength: float = 1.0
    draw: int = 0
    updates: int | None = None
    order: str = ""
    share: float = 1.0


def sites(model: keras.Model, kinds: Collection[str]) -> list[Site]:
    """Lists the sites of a model, without its heads.

    A head belongs to its task: in a network for another task it has another shape and meaning.
    """
    stages = {
        stage: tuple(names)
        for stage, names in models.stages(model).items()
        if stage not in ("head", "auxiliary")
    }
    layers = tuple(name for names in stages.values() for name in names)
    listed = [Site("all", "all", -1, layers)]
    by_stage = list(stages.values())
    for i, (stage, inside) in enumerate(stages.items()):
        before, after = sum(by_stage[:i], ()), sum(by_stage[i + 1 :], ())
        listed.append(Site("stage", stage, i, inside))
        if after:  # a prefix up to the last stage would be all layers; so below
            listed.append(Site("prefix", stage, i, before + inside))
        if before:
            listed.append(Site("suffix", stage, i, inside + after))
        listed.append(Site("leave_one_out", stage, i, before + after))
    listed += [Site("layer", name, i, (name,)) for i, name in enumerate(layers)]
    if "channels" in kinds:
        listed += _of_channels(model, stages)
    order = ("all", "stage", "prefix", "suffix", "leave_one_out", "layer", "channels")
    listed = [site for site in listed if site.kind in kinds and site.layers]
    return sorted(listed, key=lambda site: order.index(site.kind))


def _of_channels(
    model: keras.Model, stages: Mapping[str, Sequence[str]]
) -> Iterable[Site]:
    """Yields all stages and single ones, with the layers whose channels are known."""
    groups = transplant.channels_of(model).values()
    paths = {path for group in groups for path in group}
    names = {v.layer for v in transplant.index(model) if v.layer_path in paths}
    inside = [tuple(n for n in layers if n in names) for layers in stages.values()]
    yield Site("channels", "all", -1, sum(inside, ()))
    for depth, (stage, layers) in enumerate(zip(stages, inside, strict=True)):
        yield Site("channels", stage, depth, layers)


def foreign_stages(model: keras.Model) -> dict[str, str]:
    """Returns each layer's stage; {} where layers' names begin with it, as in this package."""
    stages = models.stages(model)
    stage_of = {layer: stage for stage, names in stages.items() for layer in names}
    by_name = all(layer.startswith(f"{stage}_") for layer, stage in stage_of.items())
    return {} if by_name else stage_of


def skips(model: keras.Model) -> list[tuple[str, str]]:
    """Lists the pairs of stages that a connection joins past the stages between them."""
    inside = models.stages(model)
    stage_of = {layer: stage for stage, names in inside.items() for layer in names}
    order = {stage: number for number, stage in enumerate(inside)}
    feeds = transplant.edges(model) or {}

    def sources(path: str, visited: set[str]) -> Iterable[str]:
        """Yields the stages that a layer reads from, through layers without parameters."""
        for source in feeds.get(path, ()):
            if source in stage_of:
                yield stage_of[source]
            elif source not in visited:
                visited.add(source)
                yield from sources(source, visited)

    pairs = {
        (source, stage)
        for path, stage in stage_of.items()
        for source in sources(path, set())
        if order[stage] > order[source] + 1 and stage not in ("head", "auxiliary")
    }
    return sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]]))


def arms(
    sites: Collection[Site],
    variables: Collection[plan_module.Variable],
    spec: StudySpec,
    link: str = "independent",
) -> list[Arm]:
    """Lists the arms of a recipient with these variables, in the order of the sites.

    Groups that have no parameters at a site are left out there.
    """
    roles_of_layer: dict[str, set[str]] = {}
    for variable in variables:
        roles_of_layer.setdefault(variable.layer, set()).add(variable.role)
    listed = []
    for site in sites:
        present = set().union(*(roles_of_layer.get(name, ()) for name in site.layers))
        groups = [g for g in spec.groups if present.intersection(roles.expand(g))]
        for group in groups:
            listed += _arms_of_group(site, group, spec, link)
        if spec.shapley and site.kind in ("all", "stage"):
            measured = {
                frozenset(present.intersection(roles.expand(g))) for g in groups
            }
            listed += [
                Arm(site, union, "transfer", ("none",))
                for union in _unions(present, measured)
            ]
    return listed


def _arms_of_group(site: Site, group: str, spec: StudySpec, link: str) -> Iterable[Arm]:
    members = roles.expand(group)
    if site.kind == "channels":
        yield from _arms_of_channels(site, group, spec)
        return
    for control in ("transfer", *spec.controls):
        repairs = _repairs(site, control, spec)
        if not repairs or not _applies(control, members, group, link):
            continue
        if site.kind == "layer" and control == "other_seed" and group != "kernel":
            continue
        draws = spec.draws if control in RANDOM_CONTROLS else 1
        for draw in range(draws):
            yield Arm(site, group, control, repairs, 1.0, draw)
    for control in ("transfer", *spec.controls):
        if repairs := _repairs(site, control, spec, _ON_THE_WAY):
            for strength in spec.strengths:
                if strength < 1:
                    yield Arm(site, group, control, repairs, strength)
    if repairs := _repairs(site, "transfer", spec):
        for updates in spec.donor_updates:
            yield Arm(site, group, "transfer", repairs, updates=updates)


def _repairs(
    site: Site, control: str, spec: StudySpec, by_kind: _Measured = _REPAIRS
) -> tuple[str, ...]:
    """Returns the study's repairs with which the control is measured at the site."""
    measured = by_kind.get(site.kind, {}).get(control, ())
    return tuple(repair for repair in measured if repair in spec.repairs)


def _arms_of_channels(site: Site, group: str, spec: StudySpec) -> Iterable[Arm]:
    repairs = _repairs(site, "transfer", spec)
    for order in ORDERS if repairs else ():
        for draw in range(spec.draws if order == "random" else 1):
            for share in SHARES:
                yield Arm(
                    site,
                    group,
                    "transfer",
                    repairs,
                    1.0,
                    draw,
                    order=order,
                    share=share,
                )


def _applies(control: str, members: Collection[str], group: str, link: str) -> bool:
    """Returns whether the control bounds a transplant of the group."""
    if control == "defaults":  # kernels are initialised at random: no default value
        return "kernel" not in members
    if control == "zeroed":  # the network without any parameter: the lower bound of all
        return group == "all"
    if control == "initial":  # of a sequential recipient these are the donor's values
        return link != "sequential"
    return True


def _unions(present: Collection[str], measured: Collection[frozenset]) -> Iterable[str]:
    """Yields unions of PLAYERS, as "kernel+gamma", whose roles no group of the study has."""
    players = [p for p in PLAYERS if set(roles.expand(p)).intersection(present)]
    for count in range(1, len(players) + 1):
        for union in itertools.combinations(players, count):
            members = {role for player in union for role in roles.expand(player)}
            if frozenset(members.intersection(present)) not in measured:
                yield "+".join(union)
