"""Reads an untrusted file by offset, never past its end.

All sizes that a model file declares are compared with its real size before memory is allocated,
so that a file cannot cost more memory or time than its size.
"""

import errno
import os
import pathlib
import stat
from collections.abc import Iterator

from tfreuse.errors import InputError, printable

PIECE = 4 * 2**20  # bytes per read: large enough for the disk, small for memory
# Limits far above any real model, so that a malicious file fails early:
MAX_HEADER = 16 * 2**20  # bytes of JSON or of a zip's central directory
MAX_OBJECTS = 100_000  # arrays, groups or members in a file
MAX_DEPTH = 64  # levels of nested groups or models


class MissingFileError(InputError):
    """A file that is needed is not there."""


class Source:
    """A window of an open file: `size` bytes from `start`.

    Args:
        path: name of the file, for errors.
        descriptor: open file descriptor, not closed by `Source`.
        start: offset of the window's first byte.
        size: bytes in the window.
    """

    def __init__(self, path: pathlib.Path, descriptor: int, start: int, size: int):
        self.path = path
        self.descriptor = descriptor
        self.start = start
        self.size = size

    def window(self, start: int, size: int) -> "Source":
        """Returns the part of this window with `size` bytes from `start`.

        Raises:
            InputError: the part is not within this window.
        """
        self.check(start, size)
        return Source(self.path, self.descriptor, self.start + start, size)

    def check(self, offset: int, size: int) -> None:
        """Raises InputError unless the window has the bytes from `offset` to `offset + size`."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise InputError(
                f"{self.path} declares bytes {offset} to {offset + size}, but only "
                f"{self.size} are there. It is truncated or forged; copy or save it again."
            )

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with the bytes at `offset`; InputError if they end early."""
        self.check(offset, len(buffer))
        done = 0
        while done < len(buffer):
            count = os.preadv(
                self.descriptor, [buffer[done:]], self.start + offset + done
            )
            if count == 0:
                raise InputError(f"{self.path} became shorter while it was read.")
            done += count

    def read(self, offset: int, size: int) -> bytes:
        """Reads `size` bytes at `offset`; InputError if they end early."""
        self.check(offset, size)  # before memory of that size is allocated
        data = os.pread(self.descriptor, size, self.start + offset)
        if len(data) == size:
            return data
        buffer = bytearray(
            size
        )  # a read may return less: over 2 GiB, or after a signal
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def pieces(
        self, offset: int = 0, size: int | None = None, piece: int = PIECE
    ) -> Iterator[memoryview]:
        """Yields bytes in order, `piece` at a time, in one buffer: use each before the next."""
        size = self.size - offset if size is None else size
        self.check(offset, size)
        buffer = memoryview(bytearray(min(piece, size)))
        for start in range(offset, offset + size, piece):
            part = buffer[: min(piece, offset + size - start)]
            self.read_into(start, part)
            yield part


def open_file(path: str | os.PathLike, *, follow: bool = True) -> Source:
    """Opens a regular file for reading; the caller closes `.descriptor`.

    Args:
        path: file to open.
        follow: whether to follow a symbolic link; False for names that come from a file.

    Raises:
        InputError: it cannot be read, or is not a regular file; MissingFileError: there is no
            such file.
    """
    path = pathlib.Path(path)
    # opening a named pipe would block without O_NONBLOCK; regular files ignore the flag
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except OSError as error:
        link = error.errno == errno.ELOOP and not follow
        why = "it is a symbolic link" if link else error.strerror
        kind = MissingFileError if error.errno == errno.ENOENT else InputError
        raise kind(f"model file {printable(path)} cannot be read: {why}.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError(f"model file {printable(path)} is not a regular file.")
    return Source(path, descriptor, 0, status.st_size)
