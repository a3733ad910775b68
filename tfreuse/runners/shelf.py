"""Keeps what one unit of work made for the next unit of the same worker.

    shelf = Shelf()
    split = shelf.get("split", (spec, "train"), lambda: data.load(spec, "train"))

Tracing and compiling a network's functions takes longer than a small unit's work, and networks
of one structure can share them. Results must not depend on it: what is kept is either constant,
or set to the unit's own values before it is used.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

MOST = 4  # kept of each kind
_T = TypeVar("_T")


class Shelf:
    """The last few things of each kind, by what they depend on."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[Hashable, object]] = {}

    def get(
        self, kind: str, key: Hashable, make: Callable[[], _T], most: int = MOST
    ) -> _T:
        """Returns what is kept for the key, or makes and keeps it.

        Args:
            kind: of the thing; each kind has its own places.
            key: everything that the thing depends on.
            make: makes it.
            most: places of this kind; the one that was not asked for longest goes first.
        """
        places = self._kept.setdefault(kind, {})
        value = places.pop(key) if key in places else make()
        places[key] = value  # the last of the dictionary is the one asked for last
        while len(places) > most:
            del places[next(iter(places))]
        return value
