"""One array in a file: where its bytes lie and what they mean."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from tfreuse.checkpoints.source import PIECE, Source
from tfreuse.errors import InputError, printable

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_MAX_SIDE = 2**48
_STORED_AS_BYTES = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
}


class Chunk(NamedTuple):
    """A part of an array: its place in it, which filters were left out, its bytes' place."""

    place: tuple[int, ...]
    mask: int
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The parts of an array by place, and a description of how they are to be read."""

    how: bytes
    parts: tuple[Chunk, ...]


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array of a file.

    `offset` counts from the start of `source`; None where the bytes do not lie in one piece
    (chunked or compressed), with the cause in `why`, and the `chunks` where they can be found.
    `dtype` has the file's byte order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    source: Source
    offset: int | None
    why: str = ""
    chunks: Chunks | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the declared shape and dtype take; nothing is read to know it."""
        count = self.dtype.itemsize
        for side in self.shape:  # Python's integers: no overflow whatever is declared
            count *= side
        return count

    @property
    def extent(self) -> tuple[int, int] | None:
        """First byte in the whole file, and how many; None if they are not in one piece."""
        if self.offset is None:
            return None
        return self.source.start + self.offset, self.nbytes

    def read(self) -> np.ndarray:
        """The array in the machine's own byte order.

        Raises:
            InputError: the bytes are not in one piece, or not in the file.
        """
        self._check()
        array = np.empty(self.shape, self.dtype)
        if self.nbytes:
            flat = array.reshape(-1).view(np.uint8)
            self.source.read_into(self.offset, memoryview(flat))
        return array.astype(self.dtype.newbyteorder("="), copy=False)

    def pieces(self):
        """The array's bytes as they stand in the file, whole numbers at a time."""
        self._check()
        piece = PIECE // self.dtype.itemsize * self.dtype.itemsize
        return self.source.pieces(self.offset or 0, self.nbytes, piece)

    def digest(self) -> str:
        """SHA-256, in hex, of the array's bytes in little-endian order."""
        swap = self.dtype.newbyteorder("<") != self.dtype
        sha = hashlib.sha256()
        for piece in self.pieces():
            sha.update(np.frombuffer(piece, self.dtype).byteswap() if swap else piece)
        return sha.hexdigest()

    def digest_of_chunks(self) -> str:
        """SHA-256, in hex, of the chunks as they stand in the file, undecoded.

        Equal for equal arrays only if both were stored in the same way.

        Raises:
            InputError: the chunks cannot be found.
        """
        if self.chunks is None:
            raise InputError(
                f"an array of {self.source.path} cannot be compared: {self.why}, with an "
                "index that Keras never writes. Save the model again with Keras."
            )
        sha = hashlib.sha256(repr((self.shape, str(self.dtype))).encode())
        sha.update(self.chunks.how)
        for chunk in self.chunks.parts:
            sha.update(repr((chunk.place, chunk.mask, chunk.size)).encode())
            for piece in self.source.pieces(chunk.offset, chunk.size):
                sha.update(piece)
        return sha.hexdigest()

    def _check(self) -> None:
        if self.offset is None and self.nbytes:
            raise InputError(
                f"an array of {self.source.path} cannot be read by offset: {self.why}. "
                "Save the model again with Keras."
            )
        if (
            max(self.shape, default=0) > _MAX_SIDE
        ):  # beside a side of 0 it takes no bytes
            raise InputError(f"{self.source.path} declares an array of {self.shape}.")
        self.source.check(self.offset or 0, self.nbytes)


def number_type(dtype: np.dtype, declared: str | None = None) -> np.dtype | None:
    """The type of number that `dtype` holds; None if it holds no numbers.

    Args:
        dtype: the type as the file format knows it.
        declared: type that Keras wrote beside an array that the format knows as bytes only.
    """
    if dtype.kind in "fiub":
        return dtype
    if dtype.kind == "V" and dtype.fields is None:
        if declared is None and dtype.itemsize == 2:
            return BFLOAT16  # legacy files do not say; no other type is stored this way
        known = _STORED_AS_BYTES.get(declared or "")
        if known is not None and known.itemsize == dtype.itemsize:
            return known
    return None


def check_disjoint(arrays: Iterable[StoredArray]) -> None:
    """Raises InputError if an array lies outside its file or two share bytes.

    With it, reading every array reads no more than the file's size, and writing one
    changes no other.
    """
    last: dict[int, tuple[int, StoredArray]] = {}
    placed = [array for array in arrays if array.extent and array.nbytes]
    for array in sorted(placed, key=lambda a: (a.source.descriptor, a.extent[0])):
        array.source.check(array.offset, array.nbytes)
        start, size = array.extent
        if start < last.get(array.source.descriptor, (0,))[0]:
            raise InputError(
                f"{printable(array.source.path)} holds two arrays in the same bytes; "
                "it is damaged or made up. Save the model again."
            )
        last[array.source.descriptor] = (start + size, array)
