"""A line that shows what runs, how far it is, and the time left; and lines below it."""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO


class Display:
    """Rewrites its lines on a terminal; elsewhere prints them every `interval` seconds.

    Args:
        total: units of work in all; `done` of `update` counts in the same units. Work that an
            earlier run did counts as done from the start and does not enter the rate.
    """

    def __init__(
        self,
        total: float,
        done: float = 0.0,
        *,
        stream: TextIO | None = None,
        interval: float = 10.0,
    ) -> None:
        self.total, self._first = total, done
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._interval = 0.1 if self._live else interval
        self._start = time.monotonic()
        self._shown = 0.0
        self._below = 0  # lines below the first

    def update(
        self, done: float, text: str, more: Sequence[str] = (), *, force: bool = False
    ) -> None:
        """Shows `text` with the share done and the time left, unless shown just now.

        `more` comes below it, a line each.
        """
        now = time.monotonic()
        if not force and now - self._shown < self._interval:
            return
        self._shown = now
        elapsed = now - self._start
        share = min(1.0, done / self.total) if self.total else 1.0
        line = f"{share:4.0%} {clock(elapsed)} {self._left(done, elapsed)} | {text}"
        if self._live:
            self._rewrite([line, *more])
        else:
            self._stream.write("".join(f"{one}\n" for one in (line, *more)))
        self._stream.flush()

    def close(self) -> None:
        """Ends the line, so that what is printed next starts on its own."""
        if self._live:
            self._stream.write("\n")
            self._stream.flush()

    def _rewrite(self, lines: list[str]) -> None:
        width = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._below}A" if self._below else ""
        lines += [""] * (self._below + 1 - len(lines))  # over what stood there
        self._below = len(lines) - 1
        shown = "\n".join(one[:width].ljust(width) for one in lines)
        self._stream.write(f"\r{up}{shown}")

    def _left(self, done: float, elapsed: float) -> str:
        gained = done - self._first
        # start-up would be taken for the pace
        if gained <= 0 or gained < 0.02 * self.total:
            return "time left: ?"
        return f"left ~{clock(elapsed / gained * max(0.0, self.total - done))}"


def clock(seconds: float) -> str:
    """`seconds` as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
