"""Schedules units on a runner: dependencies first, with retries after failures.

    for event in run(units, runner, out_dir, retries=1):
        if event.unit is None: ...      # nothing new: time to look at progress
        elif event.failure: ...

Other units go on when one fails, except those that depend on it. A unit that raised is retried
`retries` times, unless the user must fix something first. A unit whose worker was lost is
retried `LOSSES` times whatever `retries` is: a preempted machine is not the unit's fault.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from tfreuse.errors import InputError, printable
from tfreuse.runners.unit import Failure, Folder, Unit

LOSSES = 3  # retries after lost workers
_TICK = 0.3  # seconds between two events at most


class Runner(Protocol):
    """Executes units in workers."""

    @property
    def slots(self) -> int:
        """Number of units that may be started and not ended."""

    def start(self, unit: Unit) -> None:
        """Starts `unit.carry_out` in a worker, now or as soon as one is free."""

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        """Waits for a unit to end; returns all that have, each with its failure or None."""

    def close(self) -> None:
        """Ends all workers."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A change of a unit's state.

    Attributes:
        unit: the unit; None if nothing has changed for `_TICK` seconds.
        failure: why it failed; None if it is done or was started.
        will_retry: the failed unit is scheduled again.
        started: the unit was given to the runner just now.
    """

    unit: Unit | None
    failure: Failure | None = None
    will_retry: bool = False
    started: bool = False


class Schedule:
    """The graph of dependencies; `ready` is the queue of units that can be started."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._by_name = {unit.name: unit for unit in units}
        self._open_needs: dict[str, int] = {}
        self._dependents = collections.defaultdict(list)
        for unit in units:
            needs = [name for name in unit.needs if name in self._by_name]
            self._open_needs[unit.name] = len(needs)
            for name in needs:
                self._dependents[name].append(unit.name)
        self.ready = collections.deque(u for u in units if not self._open_needs[u.name])

    def take(self, after: Unit | None) -> Unit:
        """Removes a unit from the queue: the first of those most like the one that has ended.

        Its worker has kept the models and traced functions of the unit `after`; None: no worker
        has any to offer, and the first of the queue is next.
        """
        index, most = 0, -1
        for number, unit in enumerate(self.ready if after is not None else ()):
            alike = likeness(after, unit)
            if alike > most:
                index, most = number, alike
            if most == likeness(after, after):  # none can be more alike
                break
        unit = self.ready[index]
        del self.ready[index]
        return unit

    def complete(self, unit: Unit) -> None:
        """Queues the dependents of a unit that have no other open needs."""
        for name in self._dependents.pop(unit.name, ()):
            self._open_needs[name] -= 1
            if not self._open_needs[name]:
                self.ready.append(self._by_name[name])

    def add(self, units: Iterable[Unit]) -> None:
        """Queues units that need no other."""
        self.ready.extend(units)


def likeness(first: Unit, second: Unit) -> int:
    """Returns the length of the common beginning of two units' names, without seeds at the end."""
    kinds = [unit.name.rstrip("0123456789") for unit in (first, second)]
    return len(os.path.commonprefix(kinds))


def run(
    units: Sequence[Unit],
    runner: Runner,
    out_dir: pathlib.Path,
    retries: int,
    further: Callable[[], Iterable[Unit]] = tuple,
) -> Iterator[Event]:
    """Runs all units whose needs can be met, and yields events; see the module.

    Args:
        units: to run.
        runner: their workers.
        out_dir: the directory of the units' folders.
        retries: of a unit that raised.
        further: called whenever a unit is done and its event was taken in; returns units that
            follow from the results so far.

    Raises:
        InputError: the first two units to end failed for the same reason, which the user must
            fix; all others would fail likewise.
    """
    schedule, running = Schedule(units), set()
    tries: collections.Counter[tuple[str, bool]] = collections.Counter()
    first_final: Failure | None = None  # the first failure that a retry cannot cure
    any_done = False
    done_last: list[Unit] = []  # whose workers wait for their next unit
    while schedule.ready or running:
        while schedule.ready and len(running) < runner.slots:
            unit = schedule.take(done_last.pop(0) if done_last else None)
            running.add(unit.name)
            runner.start(unit)
            yield Event(unit, started=True)
        ended = runner.wait(_TICK)
        for unit, failure in ended:
            running.discard(unit.name)
            if failure is None:
                any_done = True
                done_last.append(unit)
                schedule.complete(unit)
                yield Event(unit)
                schedule.add(further())
                continue
            failure = _with_node(failure, Folder(out_dir, unit))
            tries[unit.name, failure.lost] += 1
            allowed = 0 if failure.final else LOSSES if failure.lost else retries
            will_retry = tries[unit.name, failure.lost] <= allowed
            Folder(out_dir, unit).record_failure(failure)
            if will_retry:
                schedule.ready.append(unit)
            elif not any_done and failure.final:
                if first_final is not None and first_final.message == failure.message:
                    raise InputError(failure.message)
                first_final = failure
            yield Event(unit, failure, will_retry)
        if not ended:
            yield Event(None)


def _with_node(failure: Failure, folder: Folder) -> Failure:
    """Adds the node to a failure; that of a lost worker is in its last progress report."""
    progress = folder.progress() or {}
    return dataclasses.replace(
        failure, node=failure.node or printable(progress.get("node", ""), 80)
    )
