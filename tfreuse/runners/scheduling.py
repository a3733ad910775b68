"""Runs units in the order of their needs, on whatever runs them; what fails is tried again.

    for event in run(units, runner, out_dir, retries=1):
        if event.unit is None: ...      # nothing new: time to look at progress
        elif event.failure: ...

A unit that fails leaves the rest to go on, less what needs it. It is tried again `retries`
times if it raised, unless the user must mend something first, and `LOSSES` times if whoever
worked on it was ended from outside: a machine that is taken away is no fault of the unit's.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from tfreuse.errors import InputError, printable
from tfreuse.runners.unit import Failure, Folder, Unit

LOSSES = 3
_TICK = 0.3  # seconds


class Runner(Protocol):
    """What units can be run on."""

    @property
    def slots(self) -> int:
        """Units that may be given to it at a time."""

    def start(self, unit: Unit) -> None:
        """Has `unit.carry_out` done with the unit, somewhere, soon."""

    def wait(self, seconds: float) -> list[tuple[Unit, Failure | None]]:
        """Units that have ended since, and why they failed if they did; waits for the first."""

    def close(self) -> None:
        """Ends what still runs."""


@dataclasses.dataclass(frozen=True)
class Event:
    """What has become of a unit; of None if nothing has for a while.

    Attributes:
        failure: why it failed; None if it is done.
        will_retry: it will be tried again.
        started: it was given to the runner just now.
    """

    unit: Unit | None
    failure: Failure | None = None
    will_retry: bool = False
    started: bool = False


class Schedule:
    """Which units can be started, as others end."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.by_name = {unit.name: unit for unit in units}
        self._open: dict[str, int] = {}
        self._wanted_by = collections.defaultdict(list)
        for unit in units:
            needs = [name for name in unit.needs if name in self.by_name]
            self._open[unit.name] = len(needs)
            for name in needs:
                self._wanted_by[name].append(unit.name)
        self.ready = collections.deque(u for u in units if not self._open[u.name])

    def ended(self, unit: Unit) -> None:
        """Makes ready what needed nothing but this."""
        for name in self._wanted_by.pop(unit.name, ()):
            self._open[name] -= 1
            if not self._open[name]:
                self.ready.append(self.by_name[name])


def run(
    units: Sequence[Unit], runner: Runner, out_dir: pathlib.Path, retries: int
) -> Iterator[Event]:
    """Runs all units that can be run; see the module.

    Raises:
        InputError: the first two units to end failed for the same reason, which the user must
            mend; all others would fail likewise.
    """
    schedule, running = Schedule(units), set()
    tries: collections.Counter[tuple[str, bool]] = collections.Counter()
    mended: Failure | None = None  # the first failure, while nothing has been done
    any_done = False
    while schedule.ready or running:
        while schedule.ready and len(running) < runner.slots:
            unit = schedule.ready.popleft()
            running.add(unit.name)
            runner.start(unit)
            yield Event(unit, started=True)
        ended = runner.wait(_TICK)
        for unit, failure in ended:
            running.discard(unit.name)
            if failure is None:
                any_done = True
                schedule.ended(unit)
                yield Event(unit)
                continue
            failure = _placed(failure, Folder(out_dir, unit))
            tries[unit.name, failure.lost] += 1
            allowed = 0 if failure.final else LOSSES if failure.lost else retries
            again = tries[unit.name, failure.lost] <= allowed
            Folder(out_dir, unit).record_failure(failure)
            if again:
                schedule.ready.append(unit)
            elif not any_done and failure.final:
                if mended is not None and mended.message == failure.message:
                    raise InputError(failure.message)
                mended = failure
            yield Event(unit, failure, again)
        if not ended:
            yield Event(None)


def _placed(failure: Failure, folder: Folder) -> Failure:
    """The failure with the node that it was on: of a worker that is gone, what it told last."""
    told = folder.progress() or {}
    return dataclasses.replace(
        failure, node=failure.node or printable(told.get("node", ""), 80)
    )
