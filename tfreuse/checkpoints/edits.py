"""One array to replace in a copy of a file: its extent, its new value, and the value's checks."""

import dataclasses
import os
import zlib
from collections.abc import Iterator

import numpy as np

from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import PIECE
from tfreuse.checkpoints.writable import Value
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable, soundness, structure

_LARGE = 2**19  # bytes; from here on a write is worth a system call to start write-back


@dataclasses.dataclass(frozen=True)
class Edit:
    """A new value for `variable` of the recipient, whose bytes are at `target`.

    `recipient` is None where the value's bytes are written in their order. Else the file has the
    axes in another order.
    """

    variable: Variable
    target: StoredArray
    value: Value
    recipient: Checkpoint | None = None

    @property
    def source(self) -> StoredArray | None:
        """The donor's array, to be copied by extent; None if the value is in memory or chunked."""
        if isinstance(self.value, np.ndarray) or self.recipient:
            return None
        stored = self.value[0].stored(self.value[1])
        return stored if stored.extent is not None else None

    def put(self, descriptor: int, data: memoryview, offset: int, checksum: int) -> int:
        """Checks and writes `data`, the part of the value from byte `offset` on.

        Returns:
            CRC-32 of the written bytes: `checksum`, the CRC-32 of `data`, unless the
            recipient has the other byte order.

        Raises:
            InputError: a number is not finite or is a negative variance.
        """
        dtype = self._dtype
        numbers = np.frombuffer(data, dtype)
        # no sum of squares: it is no faster, and BLAS's threads compete with the workers
        soundness.refuse(self.variable, soundness.fault(numbers, self.variable.role))
        if dtype != self.target.dtype:  # the other byte order
            data = memoryview(numbers.astype(self.target.dtype).view(np.uint8))
            checksum = zlib.crc32(data)
        write(descriptor, data, self.target.extent[0] + offset)
        return checksum

    def pieces(self) -> Iterator[memoryview]:
        """Yields the bytes of a value in memory, or of one that only its reader can decode."""
        value = self.value
        if self.recipient:
            array = value[0].read(value[1]) if isinstance(value, tuple) else value
            value = self.recipient.laid_out(self.variable.path, array)
        if isinstance(value, tuple):
            yield from value[0].pieces(value[1])
            return
        flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        for start in range(0, flat.size, PIECE):
            yield memoryview(flat[start : start + PIECE])

    @property
    def _dtype(self) -> np.dtype:
        if isinstance(self.value, np.ndarray):
            return self.value.dtype
        dtype = self.value[0].stored(self.value[1]).dtype
        return dtype.newbyteorder("=") if self.recipient else dtype


def make(recipient: Checkpoint, path: str, value: Value) -> Edit:
    """Returns the edit that replaces the recipient's variable `path` by `value`.

    Raises:
        InputError: there is no such variable, shape or dtype differ, or its bytes in the
            recipient are not contiguous.
    """
    stored = recipient.stored(path)
    target = stored.in_file
    variable = recipient.variable(path)
    if isinstance(value, tuple):
        source = value[0].stored(value[1])
        shape, dtype = source.shape, source.dtype
    else:
        shape, dtype = value.shape, value.dtype
    native = str(dtype.newbyteorder("="))
    fits = shape == variable.shape or (
        recipient.pytorch and structure.same_bytes(variable.shape, shape)
    )
    if not fits or native != variable.dtype:
        raise InputError(
            f"the value for {variable} is {native} {shape}, {printable(recipient.path)} has "
            f"{variable.dtype} {variable.shape}. Name an adapter, or leave the layer out."
        )
    if target.extent is None:
        raise InputError(
            f"{variable} of {printable(recipient.path)} cannot be written in place: "
            f"{target.why or 'it is empty'}. Save the model again with Keras."
        )
    return Edit(variable, target, value, None if target is stored else recipient)


def write(descriptor: int, data: memoryview, offset: int) -> None:
    """Writes all of `data` at `offset`; starts write-back of large writes at once."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)
    if len(data) >= _LARGE and hasattr(os, "posix_fadvise"):
        # On Linux this starts to write dirty pages to the disk, which shortens the fsync at
        # the end. Pages under write-back are not dropped from the page cache.
        os.posix_fadvise(descriptor, offset, len(data), os.POSIX_FADV_DONTNEED)
