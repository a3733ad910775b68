"""What would move, decided and checked, before anything is written.

    plan = make(donor_variables, recipient_variables, roles="stats", layers=["encoder_*"])
    print(plan.table())
    plan.check()  # raises unless everything that was selected is accounted for

A plan is a value: equal plans have equal hashes. It knows variables by description only
(`Variable`), so the same plan serves live models and files; this module imports no TensorFlow.
"""

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tfreuse import files
from tfreuse import roles as roles_module
from tfreuse.errors import InputError, nearest, printable

COPY, SAME, KEEP = "COPY", "SAME", "KEEP"
MISSING, UNUSED, MISMATCH = "MISSING", "UNUSED", "MISMATCH"
AMBIGUOUS, REFUSED = "AMBIGUOUS", "REFUSED"
PROBLEMS = (MISSING, UNUSED, MISMATCH, AMBIGUOUS, REFUSED)


@dataclasses.dataclass(frozen=True)
class Variable:
    """One array of a model.

    `path` is unique in the model: names of the nested models, the layer's name, and the
    position in `layer.get_weights()`, e.g. "backbone/conv1_bn/2". `role` is None where the
    layer's class is not known; such a variable is listed and never selected. `settings` is
    what `roles.layer_settings` says of its layer: epsilon, axis, strides ...
    """

    path: str
    layer: str
    class_name: str
    role: str | None
    position: int
    shape: tuple[int, ...]
    dtype: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    def __str__(self) -> str:
        return f"{printable(self.path.rpartition('/')[0])}:{self.role}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """What happens to one variable of the recipient, or why one of the donor has no place."""

    status: str
    donor: Variable | None
    recipient: Variable | None
    reason: str

    @property
    def variable(self) -> Variable:
        """The recipient's variable, or the donor's where the recipient has none."""
        variable = self.recipient or self.donor
        assert variable is not None
        return variable


@dataclasses.dataclass(frozen=True)
class Plan:
    """Every selected variable of both sides, each in exactly one entry, and what is kept."""

    roles: tuple[str, ...]
    layers: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def copies(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status == COPY)

    @property
    def problems(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status in PROBLEMS)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical plan: the identity of what would move."""
        return files.digest(dataclasses.asdict(self))

    def check(self) -> "Plan":
        """The plan itself, if all that was selected has a place.

        Raises:
            InputError: names the first variables that have none, and why.
        """
        if self.problems:
            shown = "; ".join(
                f"{entry.variable} {entry.status} ({entry.reason})"
                for entry in self.problems[:3]
            )
            raise InputError(
                f"{len(self.problems)} of the selected variables cannot be moved: {shown}. "
                "Leave them out with a layer pattern such as '!head_*'."
            )
        return self

    def to_json(self) -> dict[str, Any]:
        return {"hash": self.hash, **dataclasses.asdict(self)}

    def table(self) -> str:
        """A line a status and role, with variables and parameters; problems one by one."""
        rows: Counter[tuple[str, str]] = Counter()
        sizes: Counter[tuple[str, str]] = Counter()
        for entry in self.entries:
            key = (entry.status, entry.variable.role or "unknown role")
            rows[key] += 1
            sizes[key] += entry.variable.size
        lines = [f"{'status':10}{'role':18}{'variables':>10}{'parameters':>14}"]
        for status, role in sorted(rows):
            count, size = rows[status, role], sizes[status, role]
            lines.append(f"{status:10}{role:18}{count:>10,}{size:>14,}")
        lines += [
            f"{entry.status}: {entry.variable}: {entry.reason}"
            for entry in self.problems
        ]
        return "\n".join(lines)


def make(
    donor: Sequence[Variable],
    recipient: Sequence[Variable],
    *,
    roles: str | Iterable[str] = "all",
    layers: Iterable[str] = ("*",),
) -> Plan:
    """Pairs variables of equal layer name, role and position; nothing is written.

    Args:
        donor: variables of the donor.
        recipient: variables of the recipient.
        roles: roles and groups to move.
        layers: patterns on layer names, full match, case-sensitive; "!" excludes. The
            last pattern that matches a layer decides.

    Raises:
        InputError: a pattern matches no layer of either side, or nothing is selected.
    """
    roles = roles_module.expand(roles)
    layers = tuple(layers)
    names = {variable.layer for variable in (*donor, *recipient)}
    chosen = select(names, layers)

    def selected(variable: Variable) -> bool:
        return variable.role in roles and variable.layer in chosen

    sources, ambiguous = _by_name(filter(selected, donor))
    _, doubled = _by_name(filter(selected, recipient))
    entries, used = [], set()
    for variable in recipient:
        key = _key(variable)
        source = sources.get(key)
        if not selected(variable):
            entries.append(Entry(KEEP, None, variable, "not selected"))
            continue
        if source is not None:
            used.add(key)
        if key in ambiguous or key in doubled:
            status, reason = AMBIGUOUS, "several layers have this name"
        elif source is None:
            status, reason = MISSING, "the donor has no such variable"
        elif source.shape != variable.shape:
            status = MISMATCH
            reason = f"shape {source.shape} does not fit {variable.shape}"
        else:
            status, reason = COPY, "same layer name, role and shape"
        entries.append(Entry(status, source, variable, reason))
    entries += [
        Entry(UNUSED, variable, None, "the recipient has no such variable")
        for key, variable in sources.items()
        if key not in used
    ]
    plan = Plan(roles, layers, tuple(entries))
    if not plan.copies and not plan.problems:
        raise InputError(
            f"nothing was selected: no layer that matches {list(layers)} has a variable "
            f"of role {', '.join(roles)}."
        )
    return plan


def select(names: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """The layer names that the patterns choose; the last matching pattern decides.

    A first pattern that excludes starts from all names: ["!head_*"] is ["*", "!head_*"].

    Raises:
        InputError: a pattern matches no name.
    """
    names = set(names)
    chosen = set(names) if patterns and patterns[0].startswith("!") else set()
    for pattern in patterns:
        glob = pattern.removeprefix("!")
        hit = {name for name in names if fnmatch.fnmatchcase(name, glob)}
        if not hit:
            raise InputError(
                f"layer pattern {pattern!r} matches no layer; "
                f"nearest: {nearest(glob, names)}."
            )
        chosen = chosen - hit if pattern.startswith("!") else chosen | hit
    return frozenset(chosen)


def _key(variable: Variable) -> tuple[str, str | None, int]:
    return variable.layer, variable.role, variable.position


def _by_name(
    variables: Iterable[Variable],
) -> tuple[dict[tuple, Variable], set[tuple]]:
    """Variables by layer name, role and position; and the keys that several have."""
    found: dict[tuple, Variable] = {}
    double = set()
    for variable in variables:
        if found.setdefault(_key(variable), variable) is not variable:
            double.add(_key(variable))
    return found, double
