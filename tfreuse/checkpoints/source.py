"""Bytes of a file that nobody vouches for: read by offset, never past the end.

Everything a model file declares is measured against the bytes that are really there before
anything is allocated, so a file can cost no more memory or time than its own size.
"""

import errno
import os
import pathlib
import stat
from collections.abc import Iterator

from tfreuse.errors import InputError, printable

PIECE = (
    4 * 2**20
)  # bytes in flight at a time: large enough for the disk, small for memory
MAX_HEADER = 16 * 2**20  # bytes of JSON or of a zip directory that are parsed at all
MAX_OBJECTS = 100_000  # arrays, groups or members of one file
MAX_DEPTH = 64  # nested groups or models


class Source:
    """A window on an open file: `size` bytes from `start`.

    Args:
        path: shown in errors.
        descriptor: an open file, which `Source` does not close.
        start: first byte of the window.
        size: bytes in the window.
    """

    def __init__(self, path: pathlib.Path, descriptor: int, start: int, size: int):
        self.path = path
        self.descriptor = descriptor
        self.start = start
        self.size = size

    def window(self, start: int, size: int) -> "Source":
        """The part of this window that starts at `start` and is `size` bytes long.

        Raises:
            InputError: the part does not lie within this window.
        """
        self.check(start, size)
        return Source(self.path, self.descriptor, self.start + start, size)

    def check(self, offset: int, size: int) -> None:
        """Raises InputError unless bytes `offset` to `offset + size` are there."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise InputError(
                f"{self.path} declares bytes {offset} to {offset + size}, but only "
                f"{self.size} are there. It is cut off or made up; copy or save it again."
            )

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with the bytes at `offset`; InputError if they are not there."""
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
        """The `size` bytes at `offset`; InputError if they are not there."""
        self.check(offset, size)  # before anything of that size is allocated
        data = os.pread(self.descriptor, size, self.start + offset)
        if len(data) == size:
            return data
        buffer = bytearray(size)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def pieces(
        self, offset: int = 0, size: int | None = None, piece: int = PIECE
    ) -> Iterator[memoryview]:
        """The bytes in order, at most `piece` at a time; each piece is valid until the next."""
        size = self.size - offset if size is None else size
        self.check(offset, size)
        buffer = memoryview(bytearray(min(piece, size)))
        for at in range(offset, offset + size, piece):
            part = buffer[: min(piece, offset + size - at)]
            self.read_into(at, part)
            yield part


def open_file(path: str | os.PathLike, *, follow: bool = True) -> Source:
    """The whole regular file at `path`, open for reading; the caller closes `.descriptor`.

    Args:
        path: file to open.
        follow: whether a symbolic link is followed; a name that came out of a file must not.

    Raises:
        InputError: there is no such file, it cannot be read, or it is no regular file.
    """
    path = pathlib.Path(path)
    # a named pipe would wait for ever without O_NONBLOCK; regular files ignore it
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    except OSError as error:
        link = error.errno == errno.ELOOP and not follow
        why = "it is a symbolic link" if link else error.strerror
        raise InputError(
            f"model file {printable(path)} cannot be read: {why}."
        ) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InputError(f"model file {printable(path)} is not a regular file.")
    return Source(path, descriptor, 0, status.st_size)
