"""Reads a file of records on from where it was, while a study is adding to it.

Unlike `records.read`, which refuses a damaged file, a viewer shows what there is: lines that
are no records are counted and told, the rest is kept; a half-written last line is left for
the next time. Nothing is locked and nothing written.
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
_TAIL = 64  # bytes before the end, to tell a file that grew from one that was replaced
_EVERY = 2_000  # lines between two words of progress


class Follower:
    """The records of one file, as far as they were read.

    Attributes:
        records: those that were read, in order.
        complaints: a sentence on each of the first lines that are no records.
        broken: how many lines are none.
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

    def read_on(self, tell: Callable[[float], None] = lambda share: None) -> None:
        """Reads what is new; all of it again if the file is no longer what was read.

        Args:
            tell: hears now and then which share of the file has been read.
        """
        with open(self.path, "rb", opener=files.without_links) as file:
            if not self._goes_on(file):
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
                    tell(self._end / size)

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

    def _complain(self, what: str) -> None:
        self.broken += 1
        if len(self.complaints) < 3:
            self.complaints.append(f"Line {self._lines} of records.jsonl {what}.")

    def _goes_on(self, file) -> bool:
        file.seek(self._end - len(self._tail))
        return file.read(len(self._tail)) == self._tail


def _check(record: Record) -> None:
    """What every table relies on, and a line of a foreign version may lack."""
    for name, choices in (("site_kind", specs.SITES), ("repair", specs.REPAIRS)):
        if getattr(record, name) not in choices:
            raise ValueError(f"unknown {name} {getattr(record, name)!r}")
    numbers = record.before, record.after, record.floor, record.strength
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a metric is not finite")
