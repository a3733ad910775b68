"""An array to write into a copy of a file: where it goes, what it is, and what it must be."""

import dataclasses
import os
import zlib
from collections.abc import Iterator

import numpy as np

from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import PIECE
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

Value = np.ndarray | tuple[Checkpoint, Variable]
_LARGE = 2**19  # bytes that are worth an order of their own to the disk


@dataclasses.dataclass(frozen=True)
class Edit:
    """One array to write: `variable` of the recipient, which stands at `target`."""

    variable: Variable
    target: StoredArray
    value: Value

    @property
    def source(self) -> StoredArray | None:
        """Where a donor's value stands; None if it must be taken from memory."""
        if isinstance(self.value, np.ndarray):
            return None
        stored = self.value[0].stored(self.value[1])
        return stored if stored.extent is not None else None

    def put(self, descriptor: int, data: memoryview, offset: int, checksum: int) -> int:
        """Writes a part of the value, which starts at its byte `offset`.

        Returns:
            The CRC-32 of what was written: `checksum`, which is that of `data`, unless the
            recipient has the other byte order.

        Raises:
            InputError: a number is not finite, or is a variance below zero.
        """
        dtype = self._dtype
        numbers = np.frombuffer(data, dtype)
        self._check(numbers)
        if dtype != self.target.dtype:  # the other byte order
            data = memoryview(numbers.astype(self.target.dtype).view(np.uint8))
            checksum = zlib.crc32(data)
        write(descriptor, data, self.target.extent[0] + offset)
        return checksum

    def pieces(self) -> Iterator[memoryview]:
        """The bytes of a value that is in memory, or that only its own reader can read."""
        if isinstance(self.value, tuple):
            yield from self.value[0].pieces(self.value[1])
            return
        flat = np.ascontiguousarray(self.value).reshape(-1).view(np.uint8)
        for at in range(0, flat.size, PIECE):
            yield memoryview(flat[at : at + PIECE])

    @property
    def _dtype(self) -> np.dtype:
        if isinstance(self.value, tuple):
            return self.value[0].stored(self.value[1]).dtype
        return self.value.dtype

    def _check(self, numbers: np.ndarray) -> None:
        # not by a sum of squares: it is no faster, and its threads fight with ours
        if numbers.dtype.kind in "fV" and not np.isfinite(numbers).all():
            raise InputError(
                f"the value for {self.variable} has numbers that are not finite. Nothing "
                "was written."
            )
        if self.variable.role == "moving_variance" and (numbers < 0).any():
            raise InputError(
                f"the value for {self.variable} has a variance below zero. Nothing was "
                "written."
            )


def make(recipient: Checkpoint, path: str, value: Value) -> Edit:
    """The edit that puts `value` at the recipient's variable `path`.

    Raises:
        InputError: there is no such variable, it does not fit, or it has no place of its own.
    """
    target = recipient.stored(path)
    variable = recipient.variable(path)
    if isinstance(value, tuple):
        source = value[0].stored(value[1])
        shape, dtype = source.shape, source.dtype
    else:
        shape, dtype = value.shape, value.dtype
    native = str(dtype.newbyteorder("="))
    if shape != variable.shape or native != variable.dtype:
        raise InputError(
            f"the value for {variable} is {native} {shape}, {printable(recipient.path)} has "
            f"{variable.dtype} {variable.shape}. Name an adapter, or leave the layer out."
        )
    if target.extent is None:
        raise InputError(
            f"{variable} of {printable(recipient.path)} cannot be written in place: "
            f"{target.why or 'it is empty'}. Save the model again with Keras."
        )
    return Edit(variable, target, value)


def write(descriptor: int, data: memoryview, at: int) -> None:
    """Writes all of `data` at the byte `at`, and lets the disk begin with it."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], at + done)
    if len(data) >= _LARGE and hasattr(os, "posix_fadvise"):
        # Linux begins to write what is not on the disk yet, so that the wait at the end is
        # short; what is on its way there stays in the page cache
        os.posix_fadvise(descriptor, at, len(data), os.POSIX_FADV_DONTNEED)
