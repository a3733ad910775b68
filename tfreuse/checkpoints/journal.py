"""Undo journal: writes to a file and keeps the bytes that each write displaces.

Layout of an undo file: signature; displaced bytes in the order of the writes; JSON record with
the offset and size of each write; length of the record (8 bytes); CRC-32 of everything before.
The record is at the end, since sizes are known only then; without it the file is invalid, so a
crash cannot leave half a journal that looks whole. If bytes are written twice, the first write
displaces the original.

Signature 2: all displaced bytes are in the file. Signature 3: those of the first pass are in the
recipient, which stays where it is; the record's "recipient" says where, and their extents and
CRC-32. `restoring` reads both.
"""

import io
import json
import os
import pathlib
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from tfreuse.checkpoints import crc as crc_module
from tfreuse.checkpoints.onepass import Copied
from tfreuse.checkpoints.source import Source

COMPLETE = b"tfreuse undo 2\n"
BY_RECIPIENT = b"tfreuse undo 3\n"  # as long as the other
CRC_SIZE = 4  # bytes of the CRC-32


class Journal:
    """Writes to `descriptor` and appends displaced bytes to the open file `undo`.

    Args:
        descriptor: file to write.
        undo: empty file.
        recipient: facts by which `restoring` finds the recipient, which has the bytes that
            `record_copy` displaces; None: the undo file keeps them too.
    """

    def __init__(
        self, descriptor: int, undo: BinaryIO, recipient: dict[str, Any] | None = None
    ):
        self.descriptor = descriptor
        self.recipient = recipient
        self.size_before = self.size = os.fstat(descriptor).st_size
        self.writes: list[tuple[int, int]] = []  # (offset, number of displaced bytes)
        self._undo = undo
        self._crc = 0
        self._append(COMPLETE if recipient is None else BY_RECIPIENT)

    def record_copy(self, copy: Callable[[tuple[int, int] | None], Copied]) -> Copied:
        """Runs `copy`, which fills the file and itself writes displaced bytes to the undo file.

        Args:
            copy: takes (descriptor, offset) for the displaced bytes, or None; see `onepass.run`.
        """
        if self.recipient is not None:
            copied = copy(None)
            self.recipient |= {"displaced": copied.displaced, "crc32": copied.undo}
        else:
            self._undo.flush()  # `copy` writes to the descriptor, past Python's buffer
            copied = copy((self._undo.fileno(), len(COMPLETE)))
            size = sum(size for _, size in copied.displaced)
            self._undo.seek(size, os.SEEK_CUR)
            self.writes += copied.displaced
            parts = [(self._crc, len(COMPLETE)), (copied.undo, size)]
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
        if self.recipient is not None:
            record["recipient"] = self.recipient
        text = json.dumps({**record, "writes": self.writes}, sort_keys=True).encode()
        self._append(text)
        self._append(len(text).to_bytes(8, "little"))
        self._undo.write(self._crc.to_bytes(CRC_SIZE, "little"))
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
