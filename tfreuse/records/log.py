"""Reads the file of records, and appends to it."""

import collections
import dataclasses
import io
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

import numpy as np

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.records import counts
from tfreuse.records.record import Pool, Record

try:
    import fcntl
except ImportError:  # not a POSIX system: a second writer is not detected
    fcntl = None

_R = TypeVar("_R")  # kind of record
SYNC_SECONDS = 1.0
SYNC_RECORDS = 256  # records at most that a power cut can damage
_REPORTED = 2**20  # bytes between two reports of progress


def read(
    path: str | os.PathLike, report: Callable[[float], None] = lambda share: None
) -> list[Record]:
    """Reads all finished records, in order; ignores the remains of a killed writer at the end.

    Args:
        path: of `records.jsonl`; without a file there are no records.
        report: called with the share of the file that is read, once a megabyte.

    Raises:
        InputError: a complete line is not a record, or `counts.bin` has lost blocks.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    return _load(path, Pool(), report)[0]


class Log:
    """The files of records and counts, open for appending; one writer at a time.

    Attributes:
        records: all finished records, including appended ones.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self.records: list[Record] = []
        self._pool = Pool()
        self._store: io.FileIO | None = None  # counts.bin, opened by the first counts

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
        """Adds one record; it then survives a kill of the process.

        Args:
            record: its `per_image` is replaced by the extent of the counts.
            per_image: counts of every image, int64 [N, C, C] or float64 [N, 2], whose sums
                are `record.counts`.

        Raises:
            ValueError: the counts are not the record's.
            OSError: the disk is full; no record was added.
        """
        extent = None
        if per_image is not None:
            counts.check(record, per_image)
            block = counts.pack(per_image)
            extent = append(self._open_store(), block), len(block)
        line = dataclasses.replace(record, per_image=extent).to_line().encode()
        append(self._file, line)
        # parsed again, so that it equals the record of a reader, and shares values with others
        self.records.append(Record.from_line(line, self._pool))
        self._unsynced += 1
        late = time.monotonic() - self._synced_at >= SYNC_SECONDS
        if late or self._unsynced >= SYNC_RECORDS:
            self.sync()

    def sync(self) -> None:
        """Waits until all records are on the disk; counts first, since lines point to them."""
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
        """Truncates the counts of an arm that was not finished."""
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


def _load(
    path: pathlib.Path,
    pool: Pool,
    report: Callable[[float], None] = lambda share: None,
) -> tuple[list[Record], int]:
    """Returns the finished records, and the offset where the line of the last one ends."""
    loaded: list[Record] = []
    size, reported = path.stat().st_size, 0
    ends = collections.deque([0], SYNC_RECORDS + 1)  # of the last lines
    for record, end in read_lines(path, lambda line: Record.from_line(line, pool)):
        loaded.append(record)
        ends.append(end)
        if end >= reported + _REPORTED:
            reported = end
            report(end / size)
    finished = len(loaded) - _lost(path, loaded)
    end = ends[finished - len(loaded) - 1]
    del loaded[finished:]
    return loaded, end


def read_lines(
    path: pathlib.Path, parse: Callable[[bytes], _R], kind: str = "a record"
) -> Iterator[tuple[_R, int]]:
    """Yields the record of each complete line, and the offset where the line ends.

    Raises:
        InputError: a complete line is not a record.
    """
    name, end = printable(path), 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # the writer was killed here
            end += len(line)
            yield parse_line(parse, line, f"{name}, line {number}", kind), end


def parse_line(
    parse: Callable[[bytes], _R], line: bytes, position: str, kind: str = "a record"
) -> _R:
    """Returns `parse(line)`; an InputError names the position and the remedy."""
    try:
        return parse(line)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        excerpt = printable(line.decode(errors="replace").rstrip(), 60)
        raise InputError(
            f"{position}: expected {kind}, got {excerpt!r} ({printable(error, 80)}). Delete that "
            "line to measure its arm again."
        ) from error


def _lost(path: pathlib.Path, loaded: list[Record]) -> int:
    """Returns the number of records at the end that lost their counts in a power cut."""
    with counts.CountsReader(path) as reader:
        if not reader.path.exists():
            return 0  # removed by the user: the records themselves can be read
        unsynced = loaded[-SYNC_RECORDS:]
        end = _end_of_counts(loaded[: -len(unsynced)] if unsynced else [])
        if end > reader.size:
            raise _shortened(reader.path, end, reader.size)
        for index, record in enumerate(unsynced):
            if record.per_image is not None and not reader.holds(record):
                return len(unsynced) - index
    return 0


def _shortened(path: pathlib.Path, end: int, size: int) -> InputError:
    return InputError(
        f"{printable(path)} ends at byte {size:,}, and records point to counts up to byte "
        f"{end:,}. Put the file back, or move both files away to measure all arms again."
    )


def _end_of_counts(loaded: list[Record]) -> int:
    """Returns the offset in `counts.bin` where the last block of these records ends."""
    return max((sum(r.per_image) for r in loaded if r.per_image is not None), default=0)


def append(file: io.FileIO, data: bytes) -> int:
    """Appends all of `data`, or nothing; returns the offset of its first byte."""
    start = os.fstat(file.fileno()).st_size
    remaining = memoryview(data)
    try:
        while remaining:
            remaining = remaining[file.write(remaining) :]
    except BaseException:
        file.truncate(start)
        raise
    return start


def lock(file: io.FileIO, path: pathlib.Path) -> None:
    """Excludes other writers until the file is closed or this process is gone."""
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
