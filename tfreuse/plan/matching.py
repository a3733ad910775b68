"""Which layer of the donor belongs to which of the recipient: a ladder that never guesses.

1. what the explicit map says; 2. the same layer name, if either side has it once; 3. the same
path; 4. the same place in the graph (`topology`), with the same class and shapes.
What is left has no counterpart, or several candidates: then it is ambiguous and is refused.

A name that Keras makes up (conv2d_3) says only how many layers were built before. Such names
count only where both models have exactly the same ones, in the same order, of the same shapes.
"""

import dataclasses
import re
from collections.abc import Mapping

from tfreuse.errors import printable
from tfreuse.plan import selection, topology
from tfreuse.plan.variables import Layer, stage

Layers = Mapping[str, Layer]
_TASK_STAGES = ("head", "auxiliary")  # heads of two tasks match by name or by map only


@dataclasses.dataclass(frozen=True)
class Match:
    """What was found for one layer: its counterpart, or why there is none.

    `other` is the counterpart's path, None where it is ambiguous.
    """

    other: str | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Matches:
    """Matches by the recipient's layer path, and the donor's ambiguous layers."""

    of_recipient: dict[str, Match]
    of_donor: dict[str, Match]  # only those that are ambiguous


def pair(
    donor: Layers,
    recipient: Layers,
    *,
    mapping: selection.Pairs = (),
    edges: tuple[topology.Edges | None, topology.Edges | None] = (None, None),
) -> Matches:
    """Pairs layers; a layer without any counterpart is in neither dictionary.

    Args:
        donor, recipient: layers with variables, by path.
        mapping: (donor layer, recipient layer), with at most one `*` a side.
        edges: what each layer reads from, by path, for donor and recipient; None where it is
            unknown: then there is no fourth step.

    Raises:
        InputError: the map does not fit the models.
    """
    found = Matches({}, {})
    if mapping:
        for target, source in selection.expand_mapping(
            mapping, donor, recipient
        ).items():
            found.of_recipient[target] = Match(source, "paired by the map")
    _by_name(donor, recipient, found)
    if None not in edges and _left(donor, recipient, found):
        _by_place(donor, recipient, edges, found)
    return found


def automatic(layer: Layer) -> bool:
    """Whether Keras made the name up from the class: conv2d, batch_normalization_12."""
    stem = re.sub(r"_\d+$", "", layer.name)
    return stem.replace("_", "") == layer.class_name.lower()


def _by_name(donor: Layers, recipient: Layers, found: Matches) -> None:
    """Adds pairs of equal names, else of equal paths; notes which names mean several layers."""
    trusted = _made_up(donor) == _made_up(recipient)
    explicit = set(found.of_recipient)
    given = {match.other for match in found.of_recipient.values()}
    sources, targets = _named(donor, given), _named(recipient, explicit)
    for name in targets.keys() & sources.keys():
        lefts, rights = sources[name], targets[name]
        layer = recipient[rights[0]]
        if automatic(layer) and not trusted:
            _unclear(found, lefts, rights, "Keras made this name up")
        elif len(lefts) == len(rights) == 1:
            found.of_recipient[rights[0]] = Match(lefts[0], "same layer name")
        else:
            same = {path for path in rights if path in lefts and "#" not in path}
            for path in same:
                found.of_recipient[path] = Match(path, "same path")
            lefts = [path for path in lefts if path not in same]
            rights = [path for path in rights if path not in same]
            if lefts and rights:
                _unclear(found, lefts, rights, "several layers have this name")


def _by_place(
    donor: Layers,
    recipient: Layers,
    edges: tuple[topology.Edges, topology.Edges],
    found: Matches,
) -> None:
    """Adds pairs of equal place in the two graphs; notes which places cannot be told apart."""
    anchors = {
        target: match.other
        for target, match in found.of_recipient.items()
        if match.other is not None
    }
    pairs, unclear = topology.align(
        topology.contract(edges[0], donor),
        topology.contract(edges[1], recipient),
        _labels(donor),
        _labels(recipient),
        anchors,
    )
    for target, source in pairs.items():
        found.of_recipient[target] = Match(source, "same place, class and shapes")
        found.of_donor.pop(source, None)
    for lefts, rights in unclear:
        _unclear(found, lefts, rights, "these places look the same")


def _labels(layers: Layers) -> dict[str, tuple]:
    return {
        path: layer.signature
        for path, layer in layers.items()
        if stage(layer.name) not in _TASK_STAGES
    }


def _left(donor: Layers, recipient: Layers, found: Matches) -> bool:
    """Whether both sides still have layers without a counterpart."""
    paired = [m.other for m in found.of_recipient.values() if m.other is not None]
    return len(paired) < len(recipient) and len(set(paired)) < len(donor)


def _made_up(layers: Layers) -> list[tuple]:
    return [(p, layer.signature) for p, layer in layers.items() if automatic(layer)]


def _named(layers: Layers, without: set[str]) -> dict[str, list[str]]:
    """Paths by layer name."""
    found: dict[str, list[str]] = {}
    for path, layer in layers.items():
        if path not in without:
            found.setdefault(layer.name, []).append(path)
    return found


def _unclear(found: Matches, lefts: list[str], rights: list[str], why: str) -> None:
    for right in rights:
        found.of_recipient[right] = Match(None, _candidates(why, lefts))
    for left in lefts:
        found.of_donor[left] = Match(None, _candidates(why, rights))


def _candidates(why: str, paths: list[str]) -> str:
    shown = ", ".join(printable(path) for path in paths[:5])
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f"{why}; candidates: {shown}{more}. Pair them in a map"
