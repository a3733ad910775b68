"""The file of records: read whole, or open for appending."""

import collections
import dataclasses
import io
import os
import pathlib
import time
from typing import Self

import numpy as np

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.records import counts
from tfreuse.records.record import Pool, Record

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps a second writer out
    fcntl = None

SYNC_SECONDS = 1.0
SYNC_RECORDS = 256  # a power cut can damage no more of the last records than this


def read(path: str | os.PathLike) -> list[Record]:
    """Every finished record of the file, in order; what a kill left at its end is left out.

    Raises:
        InputError: a complete line is not a record, or `counts.bin` has lost what it held.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    return _load(path, Pool())[0]


class Log:
    """The file of records and its counts, open for appending; one writer at a time.

    Attributes:
        records: every finished record, those appended included.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self.records: list[Record] = []
        self._pool = Pool()
        self._store: io.FileIO | None = None  # opened when the first counts come

    def __enter__(self) -> Self:
        new = not self.path.exists()
        self._file = io.FileIO(self.path, "a")
        try:
            lock(self._file, self.path)
            self.records, end = _load(self.path, self._pool)
            self._file.truncate(end)
            self._cut_store()
            if new:
                files.sync(self.path.parent)
            self.sync()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        try:
            self.sync()
        finally:
            self._close()

    def append(self, record: Record, per_image: np.ndarray | None = None) -> None:
        """Adds one record; a kill of the process does not take it any more.

        Args:
            record: its `per_image` is replaced by where the counts go.
            per_image: counts of every image, int64 [N, C, C] or float64 [N, 2], that
                `record.counts` are the sums of.

        Raises:
            ValueError: the counts are not the record's.
            OSError: there is no room; no record was added.
        """
        where = None
        if per_image is not None:
            counts.check(record, per_image)
            block = counts.pack(per_image)
            where = append(self._open_store(), block), len(block)
        line = dataclasses.replace(record, per_image=where).to_line().encode()
        append(self._file, line)
        # what is kept is what a reader gets, and shares its values
        self.records.append(Record.from_line(line, self._pool))
        self._unsynced += 1
        late = time.monotonic() - self._synced_at >= SYNC_SECONDS
        if late or self._unsynced >= SYNC_RECORDS:
            self.sync()

    def sync(self) -> None:
        """Waits until every record is on the disk, its counts before it."""
        for file in (self._store, self._file):
            if file is not None:
                os.fsync(file.fileno())
        self._synced_at, self._unsynced = time.monotonic(), 0

    def _open_store(self) -> io.FileIO:
        if self._store is None:
            path = counts.counts_path(self.path)
            new = not path.exists()
            self._store = io.FileIO(path, "a")
            if new:
                files.sync(path.parent)
        return self._store

    def _cut_store(self) -> None:
        """Cuts off the counts of an arm that was not finished."""
        path = counts.counts_path(self.path)
        end = _end_of_counts(self.records)
        if path.exists():
            self._open_store().truncate(end)
        elif end:
            raise _shortened(path, end, 0)

    def _close(self) -> None:
        for file in (self._store, self._file):
            if file is not None:
                file.close()
        self._store = None


def _load(path: pathlib.Path, pool: Pool) -> tuple[list[Record], int]:
    """The finished records, and where the line of the last one ends."""
    found: list[Record] = []
    end, ends = 0, collections.deque([0], SYNC_RECORDS + 1)
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                found.append(Record.from_line(line, pool))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                shown = printable(line.decode(errors="replace").rstrip(), 60)
                raise InputError(
                    f"{printable(path)}, line {number}: expected a record, got {shown!r} "
                    f"({printable(error, 80)}). Delete that line to measure its arm again."
                ) from error
            end += len(line)
            ends.append(end)
    kept = len(found) - _lost(path, found)
    end = ends[kept - len(found) - 1]
    del found[kept:]
    return found, end


def _lost(path: pathlib.Path, found: list[Record]) -> int:
    """How many of the last records a power cut has taken the counts of."""
    with counts.CountsReader(path) as reader:
        if not reader.path.exists():
            return 0  # taken away by a person: the records themselves can be read
        late = found[-SYNC_RECORDS:]
        end = _end_of_counts(found[: -len(late)] if late else [])
        if end > reader.size:
            raise _shortened(reader.path, end, reader.size)
        for place, record in enumerate(late):
            if record.per_image is not None and not reader.holds(record):
                return len(late) - place
    return 0


def _shortened(path: pathlib.Path, end: int, size: int) -> InputError:
    return InputError(
        f"{printable(path)} ends at byte {size:,}, and records point to what was before byte "
        f"{end:,}. Put the file back, or move both files away to measure all arms again."
    )


def _end_of_counts(found: list[Record]) -> int:
    """Where in `counts.bin` the last block ends that a record points to."""
    return max((sum(r.per_image) for r in found if r.per_image is not None), default=0)


def append(file: io.FileIO, data: bytes) -> int:
    """Adds all of `data`, or nothing; returns where it begins."""
    start = os.fstat(file.fileno()).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except BaseException:
        file.truncate(start)
        raise
    return start


def lock(file: io.FileIO, path: pathlib.Path) -> None:
    """Keeps other writers out until the file is closed or its process is gone."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{printable(path)} is being written by another process. Wait until it has ended, "
            "or choose another --out_dir."
        ) from None
    except OSError:
        return  # a file system without locks
