"""Progress display: share done, time elapsed, time left and a text, with further lines below."""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Self, TextIO

PATIENCE = 2.0  # seconds of work that need no display


class Display:
    """Rewrites its lines on a terminal; elsewhere prints them every `interval` seconds.

    Args:
        total: amount of work; `done` counts in the same unit.
        done_before: amount that an earlier run has done, which does not enter the rate; an
            attribute too, for what becomes known later.
        stream: output; by default stderr.
        delay: seconds before anything is shown, for work that is mostly done by then.
        interval: seconds between two prints if `stream` is not a terminal.
    """

    def __init__(
        self,
        total: float,
        done_before: float = 0.0,
        *,
        stream: TextIO | None = None,
        interval: float = 10.0,
        delay: float = 0.0,
    ) -> None:
        self.total, self.done_before = total, done_before
        self._stream = stream or sys.stderr  # None where the caller closed it
        self._live = self._stream is not None and self._stream.isatty()
        self._interval = 0.1 if self._live else interval
        self._start, self._delay = time.monotonic(), delay
        self._last_update = 0.0
        self._below = 0  # lines below the first

    def update(
        self, done: float, text: str, below: Sequence[str] = (), *, force: bool = False
    ) -> None:
        """Shows the share done, the time left and `text`, unless updated just now.

        Args:
            done: amount of work that is done.
            text: description of the current step.
            below: lines to show below the first.
            force: whether to show it even if updated just now.
        """
        now = time.monotonic()
        if now - self._start < self._delay:
            return
        if not force and now - self._last_update < self._interval:
            return
        self._last_update = now
        elapsed = now - self._start
        share = min(1.0, done / self.total) if self.total else 1.0
        line = (
            f"{share:4.0%} {clock(elapsed)} {self._time_left(done, elapsed)} | {text}"
        )
        if self._live:
            self._rewrite([line, *below])
        else:
            self._write("".join(f"{line}\n" for line in (line, *below)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the last line, so that later output begins on a new one."""
        if self._live and self._last_update:
            self._write("\n")

    def _rewrite(self, lines: list[str]) -> None:
        width = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._below}A" if self._below else ""  # ANSI: cursor up
        lines += [""] * (self._below + 1 - len(lines))  # overwrite lines that are gone
        self._below = len(lines) - 1
        block = "\n".join(line[:width].ljust(width) for line in lines)
        self._write(f"\r{up}{block}")

    def _write(self, text: str) -> None:
        """Writes text; a reader that is gone or a full disk ends the display, not the work."""
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def _time_left(self, done: float, elapsed: float) -> str:
        progress = done - self.done_before
        # no estimate from the first 2 %, of which start-up is a large part, or the first second
        early = progress < 0.02 * (self.total - self.done_before) or elapsed < 1
        if progress <= 0 or (early and done < self.total):
            return "time left: ?"
        return f"left ~{clock(elapsed / progress * max(0.0, self.total - done))}"


def number(count: int, noun: str) -> str:
    """Returns a number and its noun: "1 block", "2,000 blocks"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def clock(seconds: float) -> str:
    """Formats seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
