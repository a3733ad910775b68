"""Writes the flags that fill in the missing arrays of a plan, leave its problems out, or allow them."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfreuse.errors import printable

NO_GRAPH = "has no graph, by which PyTorch's layers are paired"  # in a note of a plan
_MOST = 6  # patterns that a remedy lists


def with_fills(entries: Iterable[Any], fillable: Mapping[str, str]) -> Iterator[Any]:
    """Yields entries; those that an adapter can fill in say how, one pattern for all if it can.

    Args:
        entries: of a plan.
        fillable: adapter by the path of a missing variable.
    """
    entries = list(entries)
    missing = [e for e in entries if e.recipient and e.recipient.path in fillable]
    count = Counter(fillable[e.recipient.path] for e in missing)
    allowed = {fillable[e.recipient.path] for e in missing if e.allowed}
    for entry in entries:
        adapter = fillable.get(entry.recipient.path) if entry.recipient else None
        if adapter:
            several = count[adapter] > 1 and adapter not in allowed
            fill = f"{'*' if several else entry.recipient.layer_path}={adapter}"
            which = f"all {count[adapter]}" if several else "it"
            flag = f"--adapters='{printable(fill)}'"
            reason = f"{entry.reason}; {flag} sets {which} to {adapter}"
            entry = dataclasses.replace(entry, reason=reason, fill=fill)
        yield entry


def fills(plan: Any) -> list[str]:
    """Returns the adapters that fill in arrays that the donor's layers lack, e.g. ["*=zero"]."""
    return list(dict.fromkeys(entry.fill for entry in plan.problems if entry.fill))


def remedy(plan: Any) -> str:
    """Returns the flags to type for the problems of a plan, with the real names of layers."""
    graph = next((note for note in plan.notes if NO_GRAPH in note), "")
    if graph:
        return f"{graph[0].upper()}{graph[1:]}, or name the pairs with --map=FILE."
    unfilled = [entry for entry in plan.problems if not entry.fill]
    lines = [_leave_out(plan, unfilled)] if unfilled else []
    if adapters := fills(plan):
        earlier = ["=".join(pair) for pair in plan.adapters]
        flag = _flag("adapters", earlier, [*map(printable, adapters)])
        lines.insert(0, f"Fill in what the donor lacks with {flag}.")
    return " ".join(lines)


def _leave_out(plan: Any, entries: Sequence[Any]) -> str:
    """Returns the flags that leave problems of a plan out, or allow them."""
    problems = {side.layer for e in entries for side in (e.donor, e.recipient) if side}
    if {
        e.recipient.layer for e in plan.copies
    } <= problems:  # nothing else would be left
        if all(e.status == "MISMATCH" for e in entries):
            return (
                "All selected layers have other shapes in the donor: take a donor of the "
                "recipient's sizes, or select other layers with --layers."
            )
        if any(e.status == "REFUSED" for e in entries):
            return "No selected layer can move."  # each refusal has its remedy
        return (
            "No selected layer has a counterpart that fits: name the pairs with --map=FILE, "
            "or select other layers with --layers."
        )
    shared = {side.layer for e in plan.copies for side in (e.donor, e.recipient)}
    earlier = [] if plan.layers == ("*",) else list(plan.layers)
    layers = [e.variable.layer for e in entries]
    text = f"Leave them out with {without(layers, shared, earlier)}"
    if any(e.status not in ("MISSING", "UNUSED") for e in entries):
        return f"{text}."
    allow = []
    for status in ("MISSING", "UNUSED"):
        layers = [e.variable.layer for e in entries if e.status == status]
        if layers:
            flag = f"allow_{status.lower()}"
            earlier = list(getattr(plan, flag))
            allow.append(_flag(flag, earlier, _patterns(layers, shared)))
    return f"{text}, or allow them with {' '.join(allow)}."


def without(layers: Iterable[str], shared: set[str], earlier: Sequence[str]) -> str:
    """Returns the flag --layers that leaves layers out.

    Args:
        layers: names of the layers.
        shared: names of the layers that stay.
        earlier: patterns that the flag has already.
    """
    names = _patterns(layers, shared)
    return _flag("layers", list(earlier), [f"!{name}" for name in names])


def _patterns(layers: Iterable[str], shared: set[str]) -> list[str]:
    """Returns names of layers; `decoder_*` for several that begin alike, if all are problems.

    Args:
        layers: names of the layers with problems.
        shared: names of the layers without.
    """
    by_beginning: dict[str, dict[str, None]] = {}
    for name in layers:
        beginning = re.split(r"(?<=[_\d.])", name, maxsplit=1)[0].rstrip("0123456789")
        by_beginning.setdefault(beginning, {})[name] = None
    patterns: list[str] = []
    for beginning, names in by_beginning.items():
        several = len(names) > 1 and beginning not in names and beginning
        if several and not any(name.startswith(beginning) for name in shared):
            patterns.append(f"{beginning}*")
        else:
            patterns += names
    return patterns


def _flag(flag: str, earlier: list[str], patterns: list[str]) -> str:
    """Returns `--flag=patterns` for a shell, after those that were given already."""
    listed = ",".join([*earlier, *patterns[:_MOST]])
    dropped = f" and {len(patterns) - _MOST} more" if len(patterns) > _MOST else ""
    return f"--{flag}={shlex.quote(listed)}{dropped}"
