"""Keeps the results of costly steps for the next units of work of the same process.

    cache = Cache()
    split = cache.get("split", (spec, "train"), lambda: data.load(spec, "train"))

Tracing and compiling the functions of a network takes longer than the work of a small unit, and
networks of one structure can share them. The results of a unit do not depend on the cache: an
entry is either constant, or set to the unit's own values before it is used.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

MOST = 4  # entries of each kind
_T = TypeVar("_T")


class Cache:
    """The entries of each kind that were used last."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[Hashable, object]] = {}

    def get(
        self, kind: str, key: Hashable, make: Callable[[], _T], most: int = MOST
    ) -> _T:
        """Returns the entry of a key; makes and stores it where there is none.

        Args:
            kind: of the entry; the kinds do not displace each other.
            key: everything that the entry depends on.
            make: makes the entry.
            most: entries of this kind; beyond it the entry that was used least recently goes.
        """
        entries = self._entries.setdefault(kind, {})
        value = entries.pop(key) if key in entries else make()
        entries[key] = value  # a dictionary keeps this order: the last was used last
        while len(entries) > most:
            del entries[next(iter(entries))]
        return value
