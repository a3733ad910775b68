"""Undo journal: writes to a file and keeps the bytes that each write displaces.

Layout of an undo file: signature; displaced bytes in the order of the writes; JSON record with
the offset and size of each write; length of the record (8 bytes); CRC-32 of everything before.
The record is at the end, since sizes are known only then; without it the file is invalid, so a
crash cannot leave half a journal that looks whole. If bytes are written twice, the first write
displaces the original.
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
from tfreuse.checkpoints.onepass import Copied
from tfreuse.checkpoints.source import MAX_HEADER, Source, open_file
from tfreuse.errors import InputError, printable

_MAGIC = b"tfreuse undo 2\n"
_CRC = 4  # bytes of the CRC-32
_TAIL = 8 + _CRC  # bytes of the record's length and the CRC-32


class Journal:
    """Writes to `descriptor` and appends displaced bytes to the open file `undo`."""

    def __init__(self, descriptor: int, undo: BinaryIO):
        self.descriptor = descriptor
        self.size_before = self.size = os.fstat(descriptor).st_size
        self.writes: list[tuple[int, int]] = []  # (offset, number of displaced bytes)
        self._undo = undo
        self._crc = 0
        self._append(_MAGIC)

    def record_copy(self, copy: Callable[[tuple[int, int]], Copied]) -> Copied:
        """Runs `copy`, which fills the file and itself writes displaced bytes to the undo file.

        Args:
            copy: takes (descriptor, offset) for the displaced bytes; see `onepass.run`.
        """
        self._undo.flush()  # `copy` writes to the descriptor, past Python's buffer
        copied = copy((self._undo.fileno(), len(_MAGIC)))
        size = sum(size for _, size in copied.displaced)
        self._undo.seek(size, os.SEEK_CUR)
        self.writes += copied.displaced
        parts = [(self._crc, len(_MAGIC)), (copied.undo, size)]
        (self._crc,) = crc_module.joined([parts])
        self.size_before = self.size = os.fstat(self.descriptor).st_size
        return copied

    def write(self, offset: int, data) -> None:
        """Writes `data` at `offset`; the file grows if it ends earlier."""
        view = memoryview(data).cast("B")
        self._displace(offset, min(len(view), max(0, self.size - offset)))
        done = 0
        while done < len(view):
            done += os.pwrite(self.descriptor, view[done:], offset + done)
        self.size = max(self.size, offset + len(view))

    def truncate(self, size: int) -> None:
        """Truncates the file to `size` bytes, or extends it with zeros."""
        self._displace(size, max(0, self.size - size))
        os.ftruncate(self.descriptor, size)
        self.size = size

    def close(self, record: dict[str, Any]) -> None:
        """Completes the undo file with `record` and the extents of the displaced bytes."""
        record = {**record, "size": self.size_before, "size_after": self.size}
        text = json.dumps({**record, "writes": self.writes}, sort_keys=True).encode()
        self._append(text)
        self._append(len(text).to_bytes(8, "little"))
        self._undo.write(self._crc.to_bytes(_CRC, "little"))
        self._undo.flush()

    def _displace(self, offset: int, size: int) -> None:
        """Saves bytes that are about to be overwritten or cut off."""
        if size == 0:
            return
        self.writes.append((offset, size))
        window = Source(pathlib.Path(), self.descriptor, 0, self.size)
        for piece in window.pieces(offset, size):
            self._append(piece)

    def _append(self, data) -> None:
        self._undo.write(data)
        self._crc = zlib.crc32(data, self._crc)


class JournalFile(io.RawIOBase):
    """A file object on top of a journal, so that the undo file covers the changes of h5py."""

    def __init__(self, journal: Journal):
        self._journal = journal
        self._position = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._position,
            os.SEEK_END: self._journal.size,
        }
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        count = os.preadv(self._journal.descriptor, [view], self._position)
        self._position += count
        return count

    def write(self, data) -> int:
        size = memoryview(data).nbytes
        self._journal.write(self._position, data)
        self._position += size
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        if size != self._journal.size:
            self._journal.truncate(size)
        return size


def undo(path: str | os.PathLike, *, dry_run: bool = False) -> str:
    """Restores the recipient, byte for byte, in place of an output; removes the undo file.

    Args:
        path: output of `write`; its undo file is `path` + ".undo".
        dry_run: read and check everything, and write nothing.

    Returns:
        "crc32" if the restored file has the recipient's CRC-32, "unverified" if that is
        unknown because the output was written with crc=False.

    Raises:
        InputError: the undo file is missing or damaged, or `path` changed since; nothing is
            changed.
    """
    undo_path = pathlib.Path(f"{os.fspath(path)}.undo")
    if not os.path.lexists(undo_path):
        raise InputError(
            f"nothing to undo: there is no {printable(undo_path.name)} beside "
            f"{printable(path)}. apply writes it, and undo removes it when it is done."
        )
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
    """Yields the bytes of the original file: displaced bytes, and unchanged ones between."""
    position, size = 0, record["size"]
    for start, end, saved in [*_first_writes(record["writes"]), (size, size, 0)]:
        start, end = min(start, size), min(end, size)  # the original ended there
        if position < start:
            yield from written.pieces(position, start - position)
        yield from displaced.pieces(saved, end - start)
        position = end


def _first_writes(writes: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Returns (start, end, offset in the displaced bytes) of each extent's first write.

    A second write to the same bytes displaced new content, which `undo` must not restore. So
    each write contributes only the gaps between the extents that earlier writes covered.
    The result is sorted and disjoint.
    """
    covered: list[tuple[int, int, int]] = []
    saved = 0  # offset of this write's displaced bytes
    for offset, size in writes:
        start, end = offset, offset + size
        index = bisect.bisect(covered, (start,))
        index -= index > 0 and covered[index - 1][1] > start  # overlaps from before
        gaps = []
        for next_start, next_end, _ in covered[index : bisect.bisect(covered, (end,))]:
            gaps.append((start, next_start))
            start = next_end
        gaps.append((start, end))
        for gap_start, gap_end in gaps:
            if gap_start < gap_end:
                extent = (gap_start, gap_end, saved + gap_start - offset)
                bisect.insort(covered, extent)
        saved += size
    return covered


def _read(path: pathlib.Path) -> tuple[dict[str, Any], Source]:
    """Reads an undo file: its record, and a window of the displaced bytes."""
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
            raise ValueError("its record holds no offsets and sizes")
        if sum(size for _, size in record["writes"]) != data.size:
            raise ValueError("it has another length than it declares")
        return record, data
    except (ValueError, KeyError, TypeError) as error:  # InputError is a ValueError
        os.close(source.descriptor)
        raise InputError(
            f"{path} is not an undo file, or damaged: {printable(error)}. To get the recipient "
            "back, use the original file."
        ) from error


def _changed(path: str | os.PathLike) -> InputError:
    return InputError(
        f"{path} changed since it was written, or the undo file is of another output; "
        "nothing was undone. Write it again from its recipient."
    )
