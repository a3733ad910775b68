"""How far a study's units of work are, shown while they run: one line, or one a node and kind."""

import collections
import pathlib
import time
from collections.abc import Sequence

from tfreuse import progress
from tfreuse.errors import printable
from tfreuse.runners import Event, Folder, Unit

_LINES = 12  # of nodes and kinds; of more, as many as fit
_NAMES = 3  # units named in such a line
_SHARE = 5  # a look at all units may take one part of so many of the time


class Board:
    """Hears what becomes of units, looks at their folders now and then, and shows both.

    Args:
        units: all that are to be run.
        out_dir: the study's directory.
    """

    def __init__(self, units: Sequence[Unit], out_dir: pathlib.Path) -> None:
        self._out_dir = out_dir
        self._display = progress.Display(sum(unit.weight for unit in units))
        self._total, self._done = len(units), 0.0
        self._running: dict[str, Unit] = {}
        self._told: dict[str, dict] = {}  # what each that runs tells of itself
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._nodes: set[str] = set()
        self._due = 0.0

    def hear(self, event: Event) -> None:
        """Takes in an event of `runners.run`."""
        unit = event.unit
        if unit is not None and event.started:
            self._running[unit.name] = unit
        elif unit is not None:
            self._running.pop(unit.name, None)
            told = self._told.pop(unit.name, {})
            if event.failure is None:
                self._done += unit.weight
                self._counts[_node(told), unit.kind] += 1
            elif not event.will_retry:
                self._done += unit.weight  # nothing of it is left to do in this run
                self._show(f"{unit.name} failed", force=True)
        self._look()

    def running(self) -> list[Unit]:
        """The units that were given to the runner and have not ended."""
        return list(self._running.values())

    def close(self) -> None:
        self._look(force=True)
        self._display.close()

    def _look(self, force: bool = False) -> None:
        started = time.monotonic()
        if started < self._due and not force:
            return
        for name, unit in self._running.items():
            if (told := Folder(self._out_dir, unit).progress()) is not None:
                self._told[name] = told
                self._nodes.add(_node(told))
        self._show("", force)
        now = time.monotonic()
        self._due = now + (now - started) * (_SHARE - 1)

    def _show(self, text: str, force: bool) -> None:
        done = self._done + sum(
            self._running[name].weight * _share(told)
            for name, told in self._told.items()
        )
        if len(self._nodes) > 1:
            text = text or (
                f"{len(self._nodes)} nodes, {len(self._told)} units running, "
                f"{self._counts.total()} of {self._total} done"
            )
            self._display.update(done, text, self._by_node(), force=force)
            return
        told = "; ".join(f"{name}: {_text(one)}" for name, one in self._told.items())
        self._display.update(done, text or told, force=force)

    def _by_node(self) -> list[str]:
        """A line a node and kind of work: how many run, how many are done, what they tell."""
        rows = collections.defaultdict(list)
        for name, told in self._told.items():
            kind, _, rest = name.partition(" ")
            rows[_node(told), kind].append(f"{rest}: {_text(told)}")
        keys = sorted({*rows, *self._counts})
        width = max((len(node) for node, _ in keys), default=0)
        lines = [
            f"  {node:{width}}  {kind:8} {len(rows[node, kind]):3} running, "
            f"{self._counts[node, kind]:4} done  {'; '.join(rows[node, kind][:_NAMES])}"
            for node, kind in keys
        ]
        more = len(lines) - _LINES
        return lines if more <= 0 else [*lines[:_LINES], f"  ... {more} more lines"]


def _node(told: dict) -> str:
    return printable(told.get("node", ""), 40)


def _text(told: dict) -> str:
    return printable(told.get("text", ""), 80)


def _share(told: dict) -> float:
    share = told.get("share")
    return min(1.0, max(0.0, share)) if isinstance(share, int | float) else 0.0
