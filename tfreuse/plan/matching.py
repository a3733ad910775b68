"""Pairs the layers of a donor and a recipient, without ever guessing.

Five steps, each on the layers that the steps before left unpaired: 1. the explicit map; 2. the
same layer name, if each side has it once; 3. the same path; 4. the only layer in a wrapper, whose
name some files give its arrays; 5. the same position in the graph
(`topology`), with the same class and shapes. A layer without a counterpart is missing; a layer
with several candidates is ambiguous and is refused, since a wrong pair moves values silently.

A name that Keras makes up (conv2d_3) says only how many layers the process had built before.
Such names count only where both models have exactly the same ones, in the same order, of the
same shapes.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from tfreuse import roles as roles_module
from tfreuse.errors import first_names
from tfreuse.plan import selection, separable, structure, topology
from tfreuse.plan.variables import Layer, stage

Layers = Mapping[str, Layer]
_TASK_STAGES = ("head", "auxiliary")  # heads of two tasks match by name or by map only


@dataclasses.dataclass(frozen=True)
class Match:
    """The counterpart of one layer, or the reason why it is ambiguous.

    Attributes:
        other: path of the counterpart, None if it is ambiguous.
        reason: rule that paired the two, or the candidates.
        second: path of the donor's layer that has the pointwise kernel of a separable
            convolution, "" if `other` has all.
    """

    other: str | None
    reason: str
    second: str = ""


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
    by_structure: tuple[structure.Pairs, structure.Unclear] = ({}, []),
) -> Matches:
    """Pairs layers; a layer without a candidate is in neither dictionary.

    Args:
        donor, recipient: layers with variables, by path.
        mapping: (donor layer, recipient layer), with at most one `*` a side.
        edges: paths that each layer reads from, by its path, for donor and recipient; with
            None for either, the last step is skipped.
        by_structure: pairs of `structure.pair`, for a donor with PyTorch's names. They take
            the place of equal names, which mean little between two libraries.

    Raises:
        InputError: the map does not fit the models.
    """
    matches = Matches({}, {})
    if mapping:
        paths = selection.expand_mapping(mapping, donor, recipient)
        for target, source in paths.items():
            matches.of_recipient[target] = Match(source, "paired by the map")
    _by_structure(donor, recipient, by_structure, matches)
    _by_name(donor, recipient, matches)
    _by_wrapper(donor, recipient, matches)
    if None not in edges and _unpaired(donor, recipient, matches):
        _by_position(donor, recipient, edges, matches)
    return matches


def _by_structure(donor: Layers, recipient: Layers, by_structure, matches) -> None:
    """Adds the pairs of `structure.pair`, of separable convolutions only whole ones."""
    pairs, unclear = by_structure
    for target, (source, reason) in pairs.items():
        if target in recipient:
            second, _ = pairs.get(separable.pointwise(target), ("", ""))
            halves = separable.is_separable(recipient[target]) and not (
                source in donor and separable.is_separable(donor[source])
            )
            if second or not halves:
                matches.of_recipient[target] = Match(source, reason, second)
    for donors, recipients in unclear:
        targets = list(dict.fromkeys(map(separable.whole, recipients)))
        _mark_ambiguous(matches, donors, targets, "these branches look the same")


def add_repeats(matches: Matches, repeats: Mapping[str, str]) -> None:
    """Pairs the second path of a recipient's layer that its file stores twice as the first."""
    for path, same in repeats.items():
        match = matches.of_recipient.get(same)
        if path not in matches.of_recipient and match and match.other:
            reason = f"the same layer as {same}"
            matches.of_recipient[path] = Match(match.other, reason, match.second)


def by_counter(donor: Layers, recipient: Layers, *, every: bool) -> structure.Pairs:
    """Pairs layers as Keras loads weights: by their numbers within a class and an inner model.

    Only if all of them have the same shapes on both sides, and names that Keras made up differ.

    Args:
        donor: in the order of its counters.
        recipient: layers from input to output.
        every: whether the donor's file has no names of layers, so that all pair by counters.
    """
    classes = {layer.class_name.lower() for layer in recipient.values()}
    counted = [_counted(layers, classes, every) for layers in (donor, recipient)]
    paths = [{p for ps in side.values() for p in ps} for side in counted]
    nested = any("/" in path for side in paths for path in side)
    if counted[0].keys() != counted[1].keys() or (
        nested if every else paths[0] == paths[1]
    ):
        return {}
    pairs = {}
    for key, sources in counted[0].items():
        targets = counted[1][key]
        if _shapes(donor, sources) != _shapes(recipient, targets):
            return {}
        reason = "same number within its class, and same shapes"
        pairs |= {t: (s, reason) for s, t in zip(sources, targets, strict=True)}
    return pairs


def _counted(
    layers: Layers, classes: set[str], every: bool
) -> dict[tuple[str, str], list[str]]:
    """Returns paths by inner model and class, of all layers or those with automatic names."""
    counted: dict[tuple[str, str], list[str]] = {}
    for path, layer in layers.items():
        stem = _stem(layer.name)
        kind = layer.class_name.lower() or stem
        if every or (stem == kind and kind in classes):
            counted.setdefault((path.rpartition("/")[0], kind), []).append(path)
    return counted


def _shapes(layers: Layers, paths: list[str]) -> list[list[tuple[int, ...]]]:
    return [[variable.shape for variable in layers[path].variables] for path in paths]


def automatic(layer: Layer) -> bool:
    """Returns whether Keras made up the name from the class: batch_normalization_12."""
    spellings = roles_module.spellings(layer.class_name)
    return _stem(layer.name) in map(str.lower, spellings)


def _stem(name: str) -> str:
    """Returns "batchnormalization" of batch_normalization_12."""
    return re.sub(r"_\d+$", "", name).replace("_", "")


def _by_name(donor: Layers, recipient: Layers, matches: Matches) -> None:
    """Adds pairs of equal names, else of equal paths; marks ambiguous names."""
    # one more convolution before a layer would shift all numbers that Keras makes up
    trusted = _automatic_names(donor) == _automatic_names(recipient)
    mapped_targets = set(matches.of_recipient)
    mapped_sources = {match.other for match in matches.of_recipient.values()}
    sources = _paths_by_name(donor, mapped_sources)
    targets = _paths_by_name(recipient, mapped_targets)
    for name in targets.keys() & sources.keys():
        donors, recipients = sources[name], targets[name]
        layer = recipient[recipients[0]]
        if automatic(layer) and not trusted:
            _mark_ambiguous(matches, donors, recipients, "Keras made this name up")
        elif len(donors) == len(recipients) == 1:
            matches.of_recipient[recipients[0]] = Match(donors[0], "same layer name")
        else:
            # "#2" only counts layers of one name: it says nothing of which is which
            same = {path for path in recipients if path in donors and "#" not in path}
            for path in same:
                matches.of_recipient[path] = Match(path, "same path")
            donors = [path for path in donors if path not in same]
            recipients = [path for path in recipients if path not in same]
            for source, target in same_ends(donors, recipients):
                matches.of_recipient[target] = Match(source, "same end of the path")
                donors.remove(source)
                recipients.remove(target)
            if donors and recipients:
                why = "several layers have this name"
                _mark_ambiguous(matches, donors, recipients, why)


def same_ends(
    donors: Iterable[str], recipients: Iterable[str]
) -> list[tuple[str, str]]:
    """Returns pairs of paths one of which ends in the other, inner model and layer at least.

    Keras puts the name of a Sequential model before the layers in a wrapper, of it alone.
    """
    by_end: dict[tuple[str, ...], list[str]] = {}
    for path in recipients:
        by_end.setdefault(_end(path), []).append(path)
    pairs = [
        (source, target)
        for source in donors
        for target in by_end.get(_end(source), ())
        if "/" in source and "#" not in source
        if f"/{source}".endswith(f"/{target}") or f"/{target}".endswith(f"/{source}")
    ]
    count = Counter(path for pair in pairs for path in pair)
    return [pair for pair in pairs if all(count[path] == 1 for path in pair)]


def _end(path: str) -> tuple[str, ...]:
    return tuple(path.rsplit("/", 2)[-2:])


def inside(path: str, layers: Layers) -> str | None:
    """Returns the path of the only layer in the layer at `path`; None if there are several."""
    below = [inner for inner in layers if inner.startswith(f"{path}/")]
    return below[0] if len(below) == 1 and path not in layers else None


def _by_wrapper(donor: Layers, recipient: Layers, matches: Matches) -> None:
    """Adds pairs of a layer in a wrapper, and the wrapper where a file leaves the layer out."""
    paired = {match.other for match in matches.of_recipient.values()}
    free = [p for p in donor if p not in paired and p not in matches.of_donor]
    pairs = [(path, inside(path, recipient)) for path in free]
    open_ = [p for p in recipient if p not in matches.of_recipient]
    pairs += [(inside(path, donor), path) for path in open_]
    for source, target in pairs:
        if source in free and target in open_:
            match = Match(source, "the only layer in the wrapper")
            matches.of_recipient.setdefault(target, match)


def _by_position(
    donor: Layers,
    recipient: Layers,
    edges: tuple[topology.Edges, topology.Edges],
    matches: Matches,
) -> None:
    """Adds pairs of equal position in the two graphs; marks positions that look the same."""
    anchors = {
        target: match.other
        for target, match in matches.of_recipient.items()
        if match.other is not None
    }
    pairs, ambiguous = topology.align(
        topology.contract(edges[0], donor),
        topology.contract(edges[1], recipient),
        _labels(donor),
        _labels(recipient),
        anchors,
    )
    for target, source in pairs.items():
        matches.of_recipient[target] = Match(source, "same place, class and shapes")
        # its name was ambiguous, its position is not
        matches.of_donor.pop(source, None)
    for donors, recipients in ambiguous:
        _mark_ambiguous(matches, donors, recipients, "these places look the same")


def _labels(layers: Layers) -> dict[str, tuple]:
    """Returns class and shapes of each layer that position may pair, by path.

    Heads are left out: two tasks may have heads of equal shape and unrelated meaning.
    """
    return {
        path: layer.signature
        for path, layer in layers.items()
        if stage(layer.name) not in _TASK_STAGES
    }


def _unpaired(donor: Layers, recipient: Layers, matches: Matches) -> bool:
    """Returns whether both sides still have layers without a counterpart."""
    paired = [m.other for m in matches.of_recipient.values() if m.other is not None]
    return len(paired) < len(recipient) and len(set(paired)) < len(donor)


def _automatic_names(layers: Layers) -> list[tuple]:
    """Returns names that Keras made up, and shapes, class by class: numbers count a class.

    Without paths and roles, which some files leave out.
    """
    names = [
        (layer.class_name, layer.name, [v.shape for v in layer.variables])
        for layer in layers.values()
        if automatic(layer)
    ]
    return sorted(names, key=lambda name: name[0])


def _paths_by_name(layers: Layers, without: set[str]) -> dict[str, list[str]]:
    """Returns paths by layer name, but for the paths in `without`."""
    paths: dict[str, list[str]] = {}
    for path, layer in layers.items():
        if path not in without:
            paths.setdefault(layer.name, []).append(path)
    return paths


def _mark_ambiguous(
    matches: Matches, donors: list[str], recipients: list[str], why: str
) -> None:
    for path in recipients:
        matches.of_recipient[path] = Match(None, _candidates(why, donors))
    for path in donors:
        matches.of_donor[path] = Match(None, _candidates(why, recipients))


def _candidates(why: str, paths: list[str]) -> str:
    return f"{why}; candidates: {first_names(paths, 5)}. Pair them in a map"
