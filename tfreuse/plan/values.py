"""The plan as a value: its entries, its hash, its JSON."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.plan import channels, remedies, table
from tfreuse.plan.adapters import Adapters
from tfreuse.plan.selection import Pairs
from tfreuse.plan.variables import Variable

COPY, SAME, KEEP = "COPY", "SAME", "KEEP"
MISSING, UNUSED, MISMATCH = "MISSING", "UNUSED", "MISMATCH"
AMBIGUOUS, REFUSED = "AMBIGUOUS", "REFUSED"
PROBLEMS = (MISSING, UNUSED, MISMATCH, AMBIGUOUS, REFUSED)


@dataclasses.dataclass(frozen=True)
class Entry:
    """The status of one variable of the recipient, or of a donor's without a counterpart.

    Attributes:
        status: COPY, SAME, KEEP, or one of PROBLEMS.
        donor, recipient: the paired variables; None where a side has none.
        reason: rule that paired them, or cause of a problem.
        allowed: tolerance that permits a missing or unused variable; "" if none does.
        adapters: applied to the donor's array, in this order, before it is written.
        fill: of a missing variable: the adapter that fills it in, LAYERS=ADAPTER; "" if none
            can. Advice, no part of the plan's identity.
    """

    status: str
    donor: Variable | None
    recipient: Variable | None
    reason: str
    allowed: str = ""
    adapters: tuple[str, ...] = ()
    fill: str = dataclasses.field(default="", compare=False)

    @property
    def variable(self) -> Variable:
        """The recipient's variable, or the donor's where the recipient has none."""
        variable = self.recipient or self.donor
        assert variable is not None
        return variable

    @property
    def size(self) -> int:
        """Count of the recipient's numbers that move."""
        return channels.moved(self.adapters, self.recipient)

    @property
    def bytes(self) -> int:
        """Their size in bytes."""
        return self.recipient.bytes * self.size // max(self.recipient.size, 1)


@dataclasses.dataclass(frozen=True)
class Plan:
    """All selected variables of both sides, each in exactly one entry, and those that stay.

    `channels` has the output channels that move by path of the recipient's layer; () if layers
    move whole.
    """

    roles: tuple[str, ...]
    layers: tuple[str, ...]
    entries: tuple[Entry, ...]
    stages: tuple[str, ...] = ()
    depth: tuple[float, float] | None = None
    mapping: Pairs = ()
    allow_missing: tuple[str, ...] = ()
    allow_unused: tuple[str, ...] = ()
    adapters: Adapters = ()
    notes: tuple[str, ...] = ()
    channels: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def copies(self) -> tuple[Entry, ...]:
        """Entries to write: SAME too, since values may have changed after the comparison."""
        return tuple(entry for entry in self.entries if entry.status in (COPY, SAME))

    @property
    def problems(self) -> tuple[Entry, ...]:
        """Entries that must not be ignored: `check` raises for them."""
        return tuple(
            entry
            for entry in self.entries
            if entry.status in PROBLEMS and not entry.allowed
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical plan, its identity."""
        return files.digest(self._plain())

    def check(self, verb: str = "moved") -> "Plan":
        """Returns the plan itself, if all selected variables are accounted for.

        Args:
            verb: the purpose of the selection, as the message says it.

        Raises:
            InputError: there are problems; names the first variables and the causes.
        """
        if self.problems:
            causes = "; ".join(
                f"{', '.join(str(entry.variable) for entry in entries)} "
                f"{entries[0].status} ({entries[0].reason})"
                for entries in table.by_reason(self.problems[:3])
            )
            raise InputError(
                f"{len(self.problems)} of the selected variables cannot be {verb}: {causes}. "
                f"{remedies.remedy(self)}"
            )
        return self

    def compared(self, same: Callable[[Entry], bool]) -> "Plan":
        """Returns the plan with status SAME for pairs whose values are equal already."""
        entries = tuple(
            dataclasses.replace(
                e, status=SAME, reason=f"{e.reason}; values are equal already"
            )
            if e.status == COPY and same(e)
            else e
            for e in self.entries
        )
        return dataclasses.replace(self, entries=entries)

    def table(self) -> str:
        """Formats the plan for review before it is applied, at most 100 columns wide."""
        return table.table(self)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values: the plan's fields and its hash."""
        return {"hash": self.hash, **self._plain()}

    def _plain(self) -> dict[str, Any]:
        """Converts as `dataclasses.asdict` does, without deep copies: a tenth of the time."""
        plain = {**vars(self), "entries": tuple(map(_entry_plain, self.entries))}
        if not self.channels:  # so that plans of earlier versions keep their hash
            del plain["channels"]
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the plan of the values that `to_json` returned.

        Raises:
            InputError: it is not a plan, or was changed since its hash was taken.
        """
        try:
            fields = dict(values)
            stated = fields.pop("hash")
            entries = [_entry_from(entry) for entry in fields.pop("entries")]
            plan = cls(entries=tuple(entries), **_tuples(fields))
            hash = plan.hash
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(
                f"this is not a plan: {printable(error)}. Make one with tools/transplant.py "
                "plan."
            ) from error
        if hash != stated:
            raise InputError(
                f"the plan was changed after it was made: its hash should be {hash[:12]}, "
                f"and says {printable(stated, 12)}. Make the plan again."
            )
        return plan


def _entry_plain(entry: Entry) -> dict[str, Any]:
    sides = {
        side: None if variable is None else _variable_plain(variable)
        for side, variable in (("donor", entry.donor), ("recipient", entry.recipient))
    }
    plain = {**vars(entry), **sides}
    del plain["fill"]
    return plain


def _variable_plain(variable: Variable) -> dict[str, Any]:
    plain = dict(vars(variable))
    if not variable.name:  # so that plans of earlier versions keep their hash
        del plain["name"]
    return plain


def _entry_from(values: Mapping[str, Any]) -> Entry:
    fields = dict(values)
    if "fill" in fields:  # no part of the hash
        raise ValueError("an entry has no field fill")
    for side in ("donor", "recipient"):
        if fields[side] is not None:
            fields[side] = Variable(**_tuples(fields[side]))
    entry = Entry(**_tuples(fields))
    moves = entry.status in (COPY, SAME)
    if not moves and entry.status not in (KEEP, *PROBLEMS):
        raise ValueError(f"no status is called {entry.status!r}")
    if None in (entry.donor, entry.recipient) and (
        moves or entry.donor is entry.recipient
    ):
        raise ValueError(f"a {entry.status} of nothing")
    return entry


def _tuples(value: Any) -> Any:
    """Turns the lists of JSON into tuples, at every depth."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value
