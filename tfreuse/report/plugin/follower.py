"""Follows a file of records that a study is appending to.

Unlike `records.read`, which refuses a damaged file, a viewer shows all valid records: invalid
lines are counted and reported, and an incomplete last line is left for the next read. Nothing is
locked and nothing written.
"""

import math
import os
import pathlib
from collections.abc import Callable

from tfreuse import files, specs
from tfreuse.errors import printable
from tfreuse.records import Record
from tfreuse.records.record import Pool

LONGEST = 4_000_000  # bytes of a line
MOST = 1_000_000  # records
_TAIL = (
    64  # bytes before the end; they differ if the file was replaced, not appended to
)
_EVERY = 2_000  # lines between two reports of progress


class Follower:
    """The valid records of one file so far.

    Attributes:
        records: in the order of the file.
        complaints: a sentence on each of the first invalid lines.
        broken: number of invalid lines.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._begin()

    def _begin(self) -> None:
        self.records: list[Record] = []
        self.complaints: list[str] = []
        self.broken = 0
        self._end, self._lines, self._tail = 0, 0, b""
        self._pool = Pool()

    def update(self, report: Callable[[float], None] = lambda share: None) -> None:
        """Reads appended lines, or the whole file again if it was replaced.

        Args:
            report: called now and then with the share of the file read so far.
        """
        with open(self.path, "rb", opener=files.without_links) as file:
            if not self._was_appended(file):
                self._begin()
            size = max(1, os.fstat(file.fileno()).st_size)
            file.seek(self._end)
            while line := file.readline(LONGEST):
                if not line.endswith(b"\n"):
                    if len(line) == LONGEST:
                        self._complain(f"is longer than {LONGEST:,} bytes")
                    break
                if len(self.records) >= MOST:
                    self._complain(f"and all after it are beyond {MOST:,} records")
                    break
                self._add(line)
                if self._lines % _EVERY == 0:
                    report(self._end / size)

    def _add(self, line: bytes) -> None:
        self._lines += 1
        self._end += len(line)
        self._tail = (self._tail + line)[-_TAIL:]
        try:
            record = Record.from_line(line, self._pool)
            _check(record)
        except KeyError as error:
            self._complain(f"is no record: it lacks {printable(error, 80)}")
        except (ValueError, TypeError, RecursionError) as error:
            self._complain(f"is no record ({printable(error, 80)})")
        else:
            self.records.append(record)

    def _complain(self, fault: str) -> None:
        self.broken += 1
        if len(self.complaints) < 3:
            self.complaints.append(f"Line {self._lines} of records.jsonl {fault}.")

    def _was_appended(self, file) -> bool:
        file.seek(self._end - len(self._tail))
        return file.read(len(self._tail)) == self._tail


def _check(record: Record) -> None:
    """Checks the values that every table relies on; another version may write others."""
    for name, choices in (("site_kind", specs.SITES), ("repair", specs.REPAIRS)):
        if getattr(record, name) not in choices:
            raise ValueError(f"unknown {name} {getattr(record, name)!r}")
    numbers = record.before, record.after, record.floor, record.strength
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a metric is not finite")
