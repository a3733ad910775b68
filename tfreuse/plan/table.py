"""Formats a plan as a table that is read in ten seconds.

COPY    encoder_{1..4}_{a,b}_bn        stats           8 layers      1,920 parameters
"""

import re
import textwrap
from collections.abc import Iterable
from typing import Any

from tfreuse.errors import printable
from tfreuse.roles import GROUPS

WIDTH = 100
_SHOWN_PROBLEMS = 20
_PART = re.compile(r"\d+|(?<=_)[a-z](?=_|$)")  # counters in layer names: 12, _a


def table(plan: Any) -> str:
    """Formats rows by status and common pattern of names, problems, totals, notes, hash."""
    lines = [_row("status", "layers", "roles", "variables", "parameters", "size")]
    moved = [e for e in plan.entries if e.status in ("COPY", "SAME")]
    for status in ("COPY", "SAME"):
        lines += _rows(status, [e for e in moved if e.status == status])
    lines += _kept_rows(plan.entries)
    lines += _problems(plan)
    total = sum(e.recipient.size for e in plan.entries if e.recipient)
    size = sum(e.size for e in moved)
    lines.append(
        f"moves {len(moved):,} variables, {size:,} parameters ({size / max(total, 1):.1%} of "
        f"the recipient), {bytes_of(sum(e.bytes for e in moved))}; plan "
        f"{plan.hash[:12]}"
    )
    for note in plan.notes:
        lines += _wrapped(f"note: {note}")
    return "\n".join(line.rstrip() for line in lines)


def pattern(names: Iterable[str]) -> str:
    """Joins names that differ in numbers and single letters: stage{1..4}_{a,b}_bn."""
    names = list(dict.fromkeys(names))
    parts = [_PART.findall(name) for name in names]
    columns = [list(dict.fromkeys(column)) for column in zip(*parts, strict=True)]
    choices = iter([_choices(column) for column in columns])
    return printable(_PART.sub(lambda _: next(choices), names[0]))


def _choices(column: list[str]) -> str:
    if len(column) == 1:
        return column[0]
    if all(word.isdecimal() for word in column):
        numbers = sorted(map(int, column))
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{{{numbers[0]}..{numbers[-1]}}}"
        return "{" + ",".join(map(str, numbers)) + "}"
    return "{" + ",".join(sorted(column)) + "}"


def _rows(status: str, entries: list) -> list[str]:
    """Returns a row for each set of layers of like names whose same roles move."""
    by_layer: dict[str, list] = {}
    for entry in entries:
        by_layer.setdefault(entry.recipient.layer_path, []).append(entry)
    groups: dict[tuple, list] = {}
    for path, members in by_layer.items():
        roles = tuple(dict.fromkeys(e.recipient.role for e in members))
        adapters = members[0].adapters
        source = members[0].donor.layer_path
        renamed = _PART.sub("#", source) if source != path else ""
        key = (_PART.sub("#", path), renamed, roles, adapters)
        groups.setdefault(key, []).extend(members)
    rows = []
    for (_, renamed, roles, adapters), members in groups.items():
        name = pattern(e.recipient.layer_path for e in members)
        size = sum(e.size for e in members)
        total = bytes_of(sum(e.bytes for e in members))
        rows.append(_row(status, name, _roles(roles), len(members), size, total))
        if renamed:
            rows += _wrapped(
                "        from " + pattern(e.donor.layer_path for e in members)
            )
        if adapters:
            rows += _wrapped("        through " + ", ".join(adapters))
    return rows


def _kept_rows(entries: Iterable) -> list[str]:
    rows = []
    for reason in ("not selected", "no parameter", "unknown role"):
        members = [e for e in entries if e.status == "KEEP" and e.reason == reason]
        if members:
            name = reason
            if reason == "unknown role":
                classes = sorted({e.variable.class_name or "no class" for e in members})
                name = f"unknown roles: {', '.join(map(printable, classes))}"
            size = sum(e.variable.size for e in members)
            total = bytes_of(sum(e.variable.bytes for e in members))
            rows.append(_row("KEEP", name, "", len(members), size, total))
    return rows


def _problems(plan: Any) -> list[str]:
    lines = []
    allowed = [e for e in plan.entries if e.allowed]
    for status in sorted({e.status for e in allowed}):
        members = [e for e in allowed if e.status == status]
        size = sum(e.variable.size for e in members)
        total = bytes_of(sum(e.variable.bytes for e in members))
        lines.append(
            _row(status, "allowed " + members[0].allowed, "", len(members), size, total)
        )
    for entries in by_reason(plan.problems[:_SHOWN_PROBLEMS]):
        names = ", ".join(str(entry.variable) for entry in entries)
        reason = printable(entries[0].reason, 400)
        lines += _wrapped(f"{entries[0].status}: {names}: {reason}")
    if len(plan.problems) > _SHOWN_PROBLEMS:
        lines.append(f"... and {len(plan.problems) - _SHOWN_PROBLEMS} more problems")
    return lines


def by_reason(problems: Iterable) -> list[list]:
    """Groups entries, so that a reason of more than half a line is said once."""
    groups: dict[Any, list] = {}
    for number, entry in enumerate(problems):
        long = len(entry.reason) > WIDTH // 2
        key = (entry.status, entry.reason) if long else number
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def _roles(roles: tuple[str, ...]) -> str:
    """Returns the name of the group with these roles, else the roles."""
    if set(roles) == {None}:
        return "whole layer"
    roles = tuple(role for role in roles if role)  # a count of samples has none
    for name, members in GROUPS.items():
        if set(members) == set(roles):
            return name
    return "+".join(roles)


def _row(status, layers, roles, variables, parameters, size) -> str:
    variables, parameters = (
        f"{n:,}" if isinstance(n, int) else n for n in (variables, parameters)
    )
    return (
        f"{status:9} {_cut(layers, 38):38} {_cut(roles, 18):18} {variables:>9} "
        f"{parameters:>11} {size:>9}"
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _wrapped(text: str) -> list[str]:
    """Wraps text at WIDTH characters; a name without spaces is broken too."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ") or [""]


def bytes_of(count: float) -> str:
    """Formats a count of bytes in the unit that keeps it short."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
