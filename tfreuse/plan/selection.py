"""Selects layers by patterns, stages and depth ranges; reads maps from donor to recipient.

select(names, ["encoder_*", "!encoder_1_*"])
depth_range("0..0.5")            # (0.0, 0.5)
read_mapping("resnet.map")       # (("conv1_conv", "encoder_1_a_conv"), ...)
"""

import difflib
import fnmatch
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from tfreuse.errors import InputError, nearest, printable, reason
from tfreuse.plan import variables as variables_module
from tfreuse.plan.variables import Layer

_STAGES = 8  # that a message lists
Pairs = tuple[tuple[str, str], ...]  # (donor layer, recipient layer), patterns allowed


def texts(value: str | Iterable[str]) -> tuple[str, ...]:
    """Returns several texts; a single text is split at its commas, as on the command line."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value)


def select(
    names: Iterable[str], patterns: Sequence[str], noun: str = "layer"
) -> frozenset[str]:
    """Returns the names that the patterns select; the last matching pattern decides.

    A first pattern that excludes starts from all names: ["!head_*"] is ["*", "!head_*"].
    Patterns are full matches, case-sensitive: `*`, `?` and `[...]` as in file names.

    Raises:
        InputError: a pattern matches no name.
    """
    names = list(dict.fromkeys(names))  # in the model's order, as messages list them
    chosen = set(names) if patterns and patterns[0].startswith("!") else set()
    for pattern in patterns:
        hit = matching(names, pattern, noun)
        chosen = chosen - hit if pattern.startswith("!") else chosen | hit
    return frozenset(chosen)


def matching(names: Iterable[str], pattern: str, noun: str = "layer") -> set[str]:
    """Returns the names that one pattern matches, without its "!".

    Raises:
        InputError: it matches none; the message lists the nearest names, or the first of each stage.
    """
    glob = pattern.removeprefix("!")
    # most patterns are plain names, and a study makes thousands of plans
    if not any(c in glob for c in "*?["):
        hit = {glob} & set(names)
    else:
        hit = {name for name in names if fnmatch.fnmatchcase(name, glob)}
    if not hit:
        raise InputError(
            f"{noun} pattern {pattern!r} matches no {noun}; {_hint(glob, list(names))}."
        )
    return hit


def _hint(glob: str, names: Sequence[str]) -> str:
    """Returns the names nearest to a pattern; the first of each stage where none is near."""
    near = difflib.get_close_matches(glob, names, n=5, cutoff=0.6)
    if near:
        return f"nearest: {[printable(name) for name in near]}"
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(variables_module.stage(name), printable(name))
    dots = ", ..." if len(first) > _STAGES else ""
    return f"the first of each stage: {', '.join([*first.values()][:_STAGES])}{dots}"


def choose(
    donor: Mapping[str, Layer],
    recipient: Mapping[str, Layer],
    *,
    layers: Sequence[str],
    stages: Sequence[str],
    depth: tuple[float, float] | None,
) -> tuple[frozenset[str], frozenset[str]]:
    """Returns paths of the selected layers of the donor and of the recipient.

    A pattern of `layers` is matched with names and with nested paths, and must match one on
    either side; so must a pattern of `stages` with the stages. A depth range counts the layers
    of each side separately. A layer must satisfy all criteria.
    """
    all_layers = (*donor.values(), *recipient.values())
    chosen = by_pattern(((layer.name, layer.path) for layer in all_layers), layers)
    if stages:
        names = {variables_module.stage(layer.name) for layer in all_layers}
        chosen_stages = select(names, stages, "stage")
        chosen = {
            (name, path)
            for name, path in chosen
            if variables_module.stage(name) in chosen_stages
        }
    return tuple(
        frozenset(
            layer.path
            for layer in _in_depth(side, depth)
            if (layer.name, layer.path) in chosen
        )
        for side in (donor, recipient)
    )


def by_pattern(
    layers: Iterable[tuple[str, str]], patterns: Sequence[str]
) -> set[tuple[str, str]]:
    """Returns (name, path) of the layers whose name or path is selected; see `select`."""
    by_word: dict[str, set[tuple[str, str]]] = {}
    for name, path in layers:
        for word in (name, path):
            by_word.setdefault(word, set()).add((name, path))
    everything = set().union(*by_word.values())
    chosen = set(everything) if patterns and patterns[0].startswith("!") else set()
    for pattern in patterns:
        hit = set().union(*(by_word[word] for word in matching(by_word, pattern)))
        chosen = chosen - hit if pattern.startswith("!") else chosen | hit
    return chosen


def _in_depth(
    layers: Mapping[str, Layer], depth: tuple[float, float] | None
) -> list[Layer]:
    """Returns layers whose middle lies in the range; adjacent ranges share no layer."""
    candidates = list(layers.values())
    if depth is None:
        return candidates
    low, high = depth
    middles = [(i + 0.5) / len(candidates) for i in range(len(candidates))]
    return [
        layer
        for layer, middle in zip(candidates, middles, strict=True)
        if low <= middle < high
    ]


def depth_range(text: str | Sequence[float]) -> tuple[float, float]:
    """Parses "low..high": shares of the layers, 0 at the input, 1 at the output.

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
    """Reads the pairs of a map file; see `parse_mapping`."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"map file {printable(path)} cannot be read: {reason(error)}."
        ) from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, source: str = "map") -> Pairs:
    """Parses the text of a map: one `donor = recipient` a line; `#` begins a comment.

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
    """Returns a map as pairs, in its order, after a check of its patterns.

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
    """Returns donor layer paths by recipient layer path.

    A `*` stands for the same text on both sides; donor layers without a counterpart under a
    pattern are left to the other steps of matching.

    Raises:
        InputError: a pair names no layer, or several, or gives a recipient layer two donors.
    """
    sources, targets = paths_by_name(donor), paths_by_name(recipient)
    paths: dict[str, str] = {}
    for source_name, target_name in pairs:
        expanded = _expand(source_name, target_name, sources, targets)
        if not expanded:
            side, names, word = (
                ("donor", sources, source_name)
                if "*" not in source_name and source_name not in sources
                else ("recipient", targets, target_name)
            )
            raise InputError(
                f"map '{printable(source_name)} = {printable(target_name)}' pairs no "
                f"layers; nearest in the {side}: {nearest(word, names)}."
            )
        for target, source in expanded.items():
            if paths.setdefault(target, source) != source:
                raise InputError(
                    f"the map gives the recipient's {printable(target)} two donors: "
                    f"{printable(paths[target])} and {printable(source)}."
                )
    return paths


def _expand(
    source_pattern: str,
    target_pattern: str,
    sources: Mapping[str, list[str]],
    targets: Mapping[str, list[str]],
) -> dict[str, str]:
    """Returns donor layer paths by recipient layer path, for one pair of a map."""
    start, star, end = source_pattern.partition("*")
    expanded = {}
    for name, paths in sources.items():
        if star:
            fits = name.startswith(start) and name.endswith(end)
            if not fits or len(name) < len(start) + len(end):
                continue
            middle = name[len(start) : len(name) - len(end)]
        elif name != source_pattern:
            continue
        target = target_pattern.replace("*", middle) if star else target_pattern
        if target not in targets:
            continue
        for side, candidates in (("donor", paths), ("recipient", targets[target])):
            if len(candidates) > 1:
                raise InputError(
                    f"the map's {printable(name)!r} means several layers of the {side}: "
                    f"{[printable(path) for path in candidates]}. Write a whole path."
                )
        expanded[targets[target][0]] = paths[0]
    return expanded


def paths_by_name(layers: Mapping[str, Layer]) -> dict[str, list[str]]:
    """Returns paths by layer name and by path."""
    paths: dict[str, list[str]] = {}
    for path, layer in layers.items():
        paths.setdefault(layer.name, []).append(path)
    return paths | {path: [path] for path in layers}  # a whole path is one layer
