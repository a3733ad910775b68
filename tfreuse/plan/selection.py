"""Which layers are meant: patterns, stages, depth ranges, and maps from donor to recipient.

select(names, ["encoder_*", "!encoder_1_*"])
depth_range("0..0.5")            # (0.0, 0.5)
read_mapping("resnet.map")       # (("conv1_conv", "encoder_1_a_conv"), ...)
"""

import fnmatch
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from tfreuse.errors import InputError, nearest, printable
from tfreuse.plan import variables as variables_module
from tfreuse.plan.variables import Layer

Pairs = tuple[tuple[str, str], ...]  # (donor layer, recipient layer), patterns allowed


def select(
    names: Iterable[str], patterns: Sequence[str], what: str = "layer"
) -> frozenset[str]:
    """The names that the patterns choose; the last matching pattern decides.

    A first pattern that excludes starts from all names: ["!head_*"] is ["*", "!head_*"].
    Patterns are full matches, case-sensitive: `*`, `?` and `[...]` as in file names.

    Raises:
        InputError: a pattern matches no name.
    """
    names = set(names)
    chosen = set(names) if patterns and patterns[0].startswith("!") else set()
    for pattern in patterns:
        hit = matching(names, pattern, what)
        chosen = chosen - hit if pattern.startswith("!") else chosen | hit
    return frozenset(chosen)


def matching(names: Iterable[str], pattern: str, what: str = "layer") -> set[str]:
    """The names that one pattern matches, "!" aside.

    Raises:
        InputError: it matches none; the message lists the nearest names.
    """
    glob = pattern.removeprefix("!")
    if not any(c in glob for c in "*?["):  # most are plain names, and studies make many
        hit = {glob} & set(names)
    else:
        hit = {name for name in names if fnmatch.fnmatchcase(name, glob)}
    if not hit:
        raise InputError(
            f"{what} pattern {pattern!r} matches no {what}; nearest: {nearest(glob, names)}."
        )
    return hit


def choose(
    donor: Mapping[str, Layer],
    recipient: Mapping[str, Layer],
    *,
    layers: Sequence[str],
    stages: Sequence[str],
    depth: tuple[float, float] | None,
) -> tuple[frozenset[str], frozenset[str]]:
    """Paths of the donor's and of the recipient's layers that are meant.

    A pattern of `layers` is matched with names and with nested paths, and must match one on
    either side; so must a pattern of `stages` with the stages. A depth range counts on each
    side for itself. What is given must all hold.
    """
    both = (*donor.values(), *recipient.values())
    chosen = _by_pattern(both, layers)
    if stages:
        named = {variables_module.stage(layer.name) for layer in both}
        wanted = select(named, stages, "stage")
        chosen = {
            (name, path)
            for name, path in chosen
            if variables_module.stage(name) in wanted
        }
    return tuple(
        frozenset(
            layer.path
            for layer in _in_depth(side, depth)
            if (layer.name, layer.path) in chosen
        )
        for side in (donor, recipient)
    )


def _by_pattern(
    layers: Iterable[Layer], patterns: Sequence[str]
) -> set[tuple[str, str]]:
    """(name, path) of the layers whose name or path the patterns choose; see `select`."""
    known: dict[str, set[tuple[str, str]]] = {}
    for layer in layers:
        for word in (layer.name, layer.path):
            known.setdefault(word, set()).add((layer.name, layer.path))
    everything = set().union(*known.values())
    chosen = set(everything) if patterns and patterns[0].startswith("!") else set()
    for pattern in patterns:
        hit = set().union(*(known[word] for word in matching(known, pattern)))
        chosen = chosen - hit if pattern.startswith("!") else chosen | hit
    return chosen


def _in_depth(
    layers: Mapping[str, Layer], depth: tuple[float, float] | None
) -> list[Layer]:
    """Layers whose middle lies in the range; ranges that meet share no layer."""
    found = list(layers.values())
    if depth is None:
        return found
    low, high = depth
    middles = [(i + 0.5) / len(found) for i in range(len(found))]
    return [
        layer
        for layer, middle in zip(found, middles, strict=True)
        if low <= middle < high
    ]


def depth_range(text: str | Sequence[float]) -> tuple[float, float]:
    """(low, high) of "low..high": shares of the layers, 0 at the input, 1 at the output.

    Raises:
        InputError: not two numbers with 0 <= low < high <= 1.
    """
    try:
        low, high = text.split("..") if isinstance(text, str) else text
        low, high = float(low), float(high)
    except (ValueError, TypeError):
        low = high = math.nan
    if not 0 <= low < high <= 1:
        raise InputError(
            f"a depth range is LOW..HIGH with 0 <= LOW < HIGH <= 1, for example 0..0.5 for "
            f"the half at the input; got {printable(text)!r}."
        )
    return low, high


def read_mapping(path: str | os.PathLike) -> Pairs:
    """The pairs in a map file; see `parse_mapping`."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"map file {printable(path)} cannot be read: {printable(error)}"
        ) from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, source: str = "map") -> Pairs:
    """The pairs in a map's text: one `donor = recipient` a line; `#` begins a comment.

    Raises:
        InputError: a line is no such pair; the message names the line.
    """
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        line = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()  # but not in conv#2
        if not line:
            continue
        donor, _, recipient = (part.strip() for part in line.partition("="))
        if not donor or not recipient or "=" in recipient:
            raise InputError(
                f"{printable(source)} line {number} should read 'donor layer = recipient "
                f"layer'; got {printable(line)!r}."
            )
        pairs.append((donor, recipient))
    return tuple(pairs)


def mapping_pairs(mapping: Mapping[str, str] | Iterable[tuple[str, str]]) -> Pairs:
    """A map as pairs in the order given, with its patterns checked.

    Raises:
        InputError: a side has several `*`, or only one side has one.
    """
    pairs = mapping.items() if isinstance(mapping, Mapping) else mapping
    pairs = tuple((str(donor), str(recipient)) for donor, recipient in pairs)
    for donor, recipient in pairs:
        if (donor.count("*"), recipient.count("*")) not in ((0, 0), (1, 1)):
            raise InputError(
                f"map '{printable(donor)} = {printable(recipient)}' needs one * on both "
                "sides, or none."
            )
    return pairs


def expand_mapping(
    pairs: Pairs, donor: Mapping[str, Layer], recipient: Mapping[str, Layer]
) -> dict[str, str]:
    """Donor layer path by recipient layer path.

    A `*` stands for the same text on both sides; donor layers that have no counterpart under
    a pattern are left to the other ways of matching.

    Raises:
        InputError: a pair names no layer, or several, or gives a recipient layer two donors.
    """
    sources, targets = _names(donor), _names(recipient)
    found: dict[str, str] = {}
    for left, right in pairs:
        made = _expand(left, right, sources, targets)
        if not made:
            side, names, word = (
                ("donor", sources, left)
                if "*" not in left and left not in sources
                else ("recipient", targets, right)
            )
            raise InputError(
                f"map '{printable(left)} = {printable(right)}' pairs no layers; nearest in the "
                f"{side}: {nearest(word, names)}."
            )
        for target, source in made.items():
            if found.setdefault(target, source) != source:
                raise InputError(
                    f"the map gives the recipient's {printable(target)} two donors: "
                    f"{printable(found[target])} and {printable(source)}."
                )
    return found


def _expand(
    left: str,
    right: str,
    sources: Mapping[str, list[str]],
    targets: Mapping[str, list[str]],
) -> dict[str, str]:
    start, star, end = left.partition("*")
    made = {}
    for name, paths in sources.items():
        if star:
            fits = name.startswith(start) and name.endswith(end)
            if not fits or len(name) < len(start) + len(end):
                continue
            middle = name[len(start) : len(name) - len(end)]
        elif name != left:
            continue
        wanted = right.replace("*", middle) if star else right
        if wanted not in targets:
            continue
        for side, found in (("donor", paths), ("recipient", targets[wanted])):
            if len(found) > 1:
                raise InputError(
                    f"the map's {printable(name)!r} means several layers of the {side}: "
                    f"{[printable(path) for path in found]}. Write a whole path."
                )
        made[targets[wanted][0]] = paths[0]
    return made


def _names(layers: Mapping[str, Layer]) -> dict[str, list[str]]:
    """Paths by layer name and by path."""
    found: dict[str, list[str]] = {}
    for path, layer in layers.items():
        found.setdefault(layer.name, []).append(path)
    return found | {path: [path] for path in layers}  # a whole path means one layer
