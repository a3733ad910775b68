"""The progress of a study's units of work: one line, or one for each node and kind of work."""

import collections
import pathlib
import time
from collections.abc import Sequence

from tfreuse import progress
from tfreuse.errors import printable
from tfreuse.runners import Event, Folder, Unit

_LINES = 12  # of nodes and kinds, at most
_NAMES = 3  # units named in such a line, at most
_POLLING = 5  # at most one part in so many of the time reads the units' folders


class Board:
    """Displays the progress of units from events and from the files that the units write.

    Args:
        units: all units that are to be run.
        out_dir: the study's directory.
        finished: units that earlier runs have done. They count as done, as do parts of
            `units` that earlier runs did, but not for the time left.
        later: weight of a unit that follows from these.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        out_dir: pathlib.Path,
        finished: Sequence[Unit] = (),
        later: float = 0.0,
    ) -> None:
        self._out_dir = out_dir
        self._done = sum(unit.weight for unit in finished)
        total = self._done + sum(unit.weight for unit in units) + later
        self._display = progress.Display(total, self._done)
        self._total = len(units) + len(finished) + (later > 0)
        self._finished = len(finished)
        self._before: dict[str, float] = {}  # share of a unit that earlier runs did
        self._running: dict[str, Unit] = {}
        self._progress: dict[str, dict] = {}  # progress.json of each running unit
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._nodes: set[str] = set()
        self._poll_after = 0.0

    def update(self, event: Event) -> None:
        """Takes in an event of `runners.run` and refreshes the display."""
        unit = event.unit
        if unit is not None and event.started:
            self._running[unit.name] = unit
            self._begin(unit)
        elif unit is not None:
            self._running.pop(unit.name, None)
            last = self._progress.pop(unit.name, {})
            if event.failure is None:
                self._done += unit.weight
                self._counts[_node(last), unit.kind] += 1
            elif not event.will_retry:
                self._done += unit.weight  # no work is left for it in this run
                self._show(f"{unit.name} failed", force=True)
        self._poll()

    def _begin(self, unit: Unit) -> None:
        """Notes what an earlier run did of the unit, when it is first started in this run."""
        if unit.name not in self._before:
            share = _share(Folder(self._out_dir, unit).progress() or {})
            self._before[unit.name] = share
            self._display.done_before += share * unit.weight

    def running(self) -> list[Unit]:
        """Returns the units that were given to the runner and have not ended."""
        return list(self._running.values())

    def close(self) -> None:
        self._poll(force=True)
        self._display.close()

    def _poll(self, force: bool = False) -> None:
        """Reads the running units' progress, if the last reading is long enough ago."""
        started = time.monotonic()
        if started < self._poll_after and not force:
            return
        for name, unit in self._running.items():
            if (current := Folder(self._out_dir, unit).progress()) is not None:
                self._progress[name] = current
                self._nodes.add(_node(current))
        self._show("", force)
        ended = time.monotonic()
        self._poll_after = ended + (ended - started) * (_POLLING - 1)

    def _show(self, text: str, force: bool) -> None:
        done = self._done + sum(
            self._running[name].weight * max(_share(current), self._before[name])
            for name, current in self._progress.items()
        )
        if len(self._nodes) > 1:
            text = text or (
                f"{len(self._nodes)} nodes, {len(self._progress)} units running, "
                f"{self._finished + self._counts.total()} of {self._total} done"
            )
            self._display.update(done, text, self._by_node(), force=force)
            return
        units = [f"{name}: {_text(entry)}" for name, entry in self._progress.items()]
        self._display.update(done, text or "; ".join(units), force=force)

    def _by_node(self) -> list[str]:
        """Returns a line for each node and kind of work: how many run, how many are done."""
        rows = collections.defaultdict(list)
        for name, entry in self._progress.items():
            kind, _, title = name.partition(" ")
            rows[_node(entry), kind].append(f"{title}: {_text(entry)}")
        keys = sorted({*rows, *self._counts})
        width = max((len(node) for node, _ in keys), default=0)
        lines = [
            f"  {node:{width}}  {kind:8} {len(rows[node, kind]):3} running, "
            f"{self._counts[node, kind]:4} done  {'; '.join(rows[node, kind][:_NAMES])}"
            for node, kind in keys
        ]
        hidden = len(lines) - _LINES
        if hidden <= 0:
            return lines
        return [*lines[:_LINES], f"  ... {hidden} more lines"]


# A unit may run on any machine, so its progress is text to be checked, not to be trusted.
def _node(entry: dict) -> str:
    return printable(entry.get("node", ""), 40)


def _text(entry: dict) -> str:
    return printable(entry.get("text", ""), 80)


def _share(entry: dict) -> float:
    share = entry.get("share")
    return min(1.0, max(0.0, share)) if isinstance(share, int | float) else 0.0
