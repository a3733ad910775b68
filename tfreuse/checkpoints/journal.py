"""Changes to a file that can be taken back: what each write displaced is kept.

An undo file holds the displaced bytes in the order of the writes, then a JSON record of
where they stood, then the record's length and the CRC-32 of all before it. Of bytes that were
written twice, the first write displaced the original.
"""

import bisect
import contextlib
import io
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from tfreuse import files
from tfreuse.checkpoints import crc as crc_module
from tfreuse.checkpoints.onepass import Passed
from tfreuse.checkpoints.source import MAX_HEADER, Source, open_file
from tfreuse.errors import InputError, printable

_MAGIC = b"tfreuse undo 2\n"
_CRC = 4  # bytes of the CRC-32
_TAIL = 8 + _CRC  # with the length of the record before it


class Journal:
    """Writes to `descriptor`; notes in `undo`, if there is one, what they displace."""

    def __init__(self, descriptor: int, undo: BinaryIO | None):
        self.descriptor = descriptor
        self.size_before = self.size = os.fstat(descriptor).st_size
        self.writes: list[tuple[int, int]] = []  # (offset, bytes displaced)
        self._undo = undo
        self._crc = 0
        self._note(_MAGIC)

    def copied(self, copy: Callable[[tuple[int, int] | None], Passed]) -> Passed:
        """Notes what `copy` displaces while it makes the file, and returns what it found.

        `copy` takes where the displaced bytes go: (descriptor, first byte), None if nowhere.
        """
        undo = self._undo
        if undo is None:
            passed = copy(None)
        else:
            undo.flush()
            passed = copy((undo.fileno(), len(_MAGIC)))
            size = sum(size for _, size in passed.displaced)
            undo.seek(size, os.SEEK_CUR)
            self.writes += passed.displaced
            parts = [(self._crc, len(_MAGIC)), (passed.undo, size)]
            (self._crc,) = crc_module.joined([parts])
        self.size_before = self.size = os.fstat(self.descriptor).st_size
        return passed

    def write(self, offset: int, data) -> None:
        """Puts `data` at `offset`; beyond the end the file grows."""
        view = memoryview(data).cast("B")
        self._displace(offset, min(len(view), max(0, self.size - offset)))
        done = 0
        while done < len(view):
            done += os.pwrite(self.descriptor, view[done:], offset + done)
        self.size = max(self.size, offset + len(view))

    def truncate(self, size: int) -> None:
        """Cuts the file off at `size` bytes, or lengthens it with zeros."""
        self._displace(size, max(0, self.size - size))
        os.ftruncate(self.descriptor, size)
        self.size = size

    def close(self, record: dict[str, Any]) -> None:
        """Ends the undo file with `record` and the places of what was displaced."""
        record = {**record, "size": self.size_before, "size_after": self.size}
        text = json.dumps({**record, "writes": self.writes}, sort_keys=True).encode()
        self._note(text)
        self._note(len(text).to_bytes(8, "little"))
        if self._undo is not None:
            self._undo.write(self._crc.to_bytes(_CRC, "little"))
            self._undo.flush()

    def _displace(self, offset: int, size: int) -> None:
        if self._undo is None or size == 0:
            return
        self.writes.append((offset, size))
        window = Source(pathlib.Path(), self.descriptor, 0, self.size)
        for piece in window.pieces(offset, size):
            self._note(piece)

    def _note(self, data) -> None:
        if self._undo is not None:
            self._undo.write(data)
            self._crc = zlib.crc32(data, self._crc)


class JournalFile(io.RawIOBase):
    """A journal as a file to read and write, for h5py."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._at = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._at,
            os.SEEK_END: self._journal.size,
        }
        self._at = base[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        count = os.preadv(self._journal.descriptor, [view], self._at)
        self._at += count
        return count

    def write(self, data) -> int:
        size = memoryview(data).nbytes
        self._journal.write(self._at, data)
        self._at += size
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        if size != self._journal.size:
            self._journal.truncate(size)
        return size


def undo(
    path: str | os.PathLike,
    undo_path: str | os.PathLike | None = None,
    *,
    dry_run: bool = False,
) -> str:
    """Turns a written file back into its recipient, byte for byte; removes the undo file.

    Args:
        path: what `write` wrote.
        undo_path: the undo file that `write` left; by default `path` with ".undo" behind.
        dry_run: read and check all that would be put together, and write nothing.

    Returns:
        "crc32" if the result was proven to be the recipient, "unverified" if its checksum
        was not known because it had been written with crc=False.

    Raises:
        InputError: the undo file is damaged, or `path` changed since; nothing has then.
    """
    undo_path = pathlib.Path(undo_path or f"{os.fspath(path)}.undo")
    with contextlib.ExitStack() as stack:
        record, displaced = _read(undo_path)
        stack.callback(os.close, displaced.descriptor)
        written = open_file(path, follow=False)
        stack.callback(os.close, written.descriptor)
        if written.size != record["size_after"]:
            raise _changed(path)
        write = None
        if not dry_run:
            temporary = stack.enter_context(files.replacing(path))
            write = stack.enter_context(open(temporary, "wb")).write
        crc = 0
        for piece in _original(record, written, displaced):
            crc = zlib.crc32(piece, crc)
            if write is not None:
                write(piece)
        if record["crc"] not in (None, crc):
            raise _changed(path)
    if not dry_run:
        undo_path.unlink()
    return "unverified" if record["crc"] is None else "crc32"


def _original(
    record: dict[str, Any], written: Source, displaced: Source
) -> Iterator[memoryview]:
    """The bytes as they were: what was displaced, and between it what stayed."""
    done, size = 0, record["size"]
    for start, end, at in [*_first(record["writes"]), (size, size, 0)]:
        start, end = min(start, size), min(end, size)  # beyond there was nothing before
        if done < start:
            yield from written.pieces(done, start - done)
        yield from displaced.pieces(at, end - start)
        done = end


def _first(writes: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(first byte, end, place in the undo file) of what the first write displaced anywhere.

    Where bytes were written twice, the second write displaced what the first had put there.
    """
    found: list[tuple[int, int, int]] = []
    place = 0
    for offset, size in writes:
        start, end = offset, offset + size
        at = bisect.bisect(found, (start,))
        at -= at > 0 and found[at - 1][1] > start
        new = []
        for begun, ended, _ in found[at : bisect.bisect(found, (end,))]:
            new.append((start, begun))
            start = ended
        new.append((start, end))
        for first, last in new:
            if first < last:
                bisect.insort(found, (first, last, place + first - offset))
        place += size
    return found


def _read(path: pathlib.Path) -> tuple[dict[str, Any], Source]:
    """The record of an undo file, and a window on the displaced bytes."""
    source = open_file(path)
    try:
        tail = source.read(source.size - _TAIL, _TAIL)
        crc = 0
        for piece in source.pieces(0, source.size - _CRC):
            crc = zlib.crc32(piece, crc)
        length = int.from_bytes(tail[:8], "little")
        start = source.size - _TAIL - length
        if crc != int.from_bytes(tail[8:], "little") or length > MAX_HEADER:
            raise ValueError("its checksum does not fit")
        if source.read(0, len(_MAGIC)) != _MAGIC:
            raise ValueError("it is of another kind")
        record = json.loads(source.read(start, length))
        data = source.window(len(_MAGIC), start - len(_MAGIC))
        counts = [record["size"], *itertools.chain(*record["writes"])]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("it says where in another way")
        if sum(size for _, size in record["writes"]) != data.size:
            raise ValueError("it has another length than it says")
        return record, data
    except (ValueError, KeyError, TypeError) as error:  # InputError is a ValueError
        os.close(source.descriptor)
        raise InputError(
            f"{path} is no undo file, or damaged: {printable(error)}. Without it, write "
            "the output again from its recipient."
        ) from error


def _changed(path: str | os.PathLike) -> InputError:
    return InputError(
        f"{path} changed since it was written, or the undo file is of another output; "
        "nothing was undone. Write it again from its recipient."
    )
