"""A worker process: carries out one unit after another, with a cache that they share.

    worker = Worker(largest(slots=2))
    failure, goes_on = worker.carry_out(unit, out_dir, 1)  # in the process of a runner
    next_worker = take_most_alike(idle, unit)              # in the driver

A process ends after a failure, and when it has grown large.
"""

import os
import resource
import sys
from typing import Any, Protocol, TypeVar

from tfreuse.runners.cache import Cache
from tfreuse.runners.scheduling import likeness
from tfreuse.runners.unit import Failure, Unit, carry_out

_LARGEST = 4 * 2**30  # bytes of memory of a worker that takes another unit


class Worker:
    """Carries out units in this process.

    Args:
        largest: bytes of memory beyond which the process does not take another unit.
    """

    def __init__(self, largest: float) -> None:
        self._largest, self._cache = largest, Cache()

    def carry_out(self, unit: Unit, *arguments: Any) -> tuple[Failure | None, bool]:
        """Returns why the unit failed, if so, and whether this process may take another.

        Args:
            unit: the unit.
            *arguments: the next arguments of `unit.carry_out`, but for the cache.
        """
        failure = carry_out(unit, *arguments, cache=self._cache)
        return failure, failure is None and memory() <= self._largest


class HasUnit(Protocol):
    """A driver's side of a worker."""

    @property
    def unit(self) -> Unit:
        """The unit that it carries out, or has carried out last."""


_W = TypeVar("_W", bound=HasUnit)


def take_most_alike(idle: list[_W], unit: Unit) -> _W:
    """Removes and returns the idle worker whose last unit is most like this unit."""
    chosen = max(idle, key=lambda worker: likeness(worker.unit, unit))
    idle.remove(chosen)
    return chosen


def memory() -> float:
    """Returns the bytes of memory that this process holds; where unknown, the most it ever had."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def largest(slots: int) -> float:
    """Returns the bytes beyond which each of `slots` workers of a machine ends, so that all fit."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_LARGEST, installed / (2 * slots))
