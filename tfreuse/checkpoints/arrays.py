"""One array in a file: the offset of its bytes and their type."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tfreuse.checkpoints.source import PIECE, Source
from tfreuse.errors import InputError, printable
from tfreuse.plan.dtypes import numpy_type

_MAX_SIDE = 2**48
_FIRST_PIECE, _NEXT_PIECES = 2**6, 2**20  # bytes of an array to compare at a time
# HDF5 has no such types: h5py stores them as opaque bytes, Keras names them in an attribute.
_STORED_AS_BYTES = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}


class Chunk(NamedTuple):
    """A chunk of an array: index of its first element, filters skipped, extent in the file."""

    index: tuple[int, ...]
    filter_mask: int
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The chunks of an array by index, and the encoded chunk shape and filter pipeline."""

    encoding: bytes
    parts: tuple[Chunk, ...]


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array of a file.

    `offset` counts from the start of `source`. It is None where the bytes are not contiguous
    (chunked or compressed): `why` then has the cause, `chunks` the chunks if their index is
    supported. `dtype` has the file's byte order.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    source: Source
    offset: int | None
    why: str = ""
    chunks: Chunks | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes of the declared shape and dtype; Python's integers never overflow."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def extent(self) -> tuple[int, int] | None:
        """(offset in the whole file, size in bytes); None if the bytes are not contiguous."""
        if self.offset is None:
            return None
        return self.source.start + self.offset, self.nbytes

    def read(self) -> np.ndarray:
        """Reads the array, in the machine's byte order.

        Raises:
            InputError: the bytes are not contiguous, or not in the file.
        """
        self.check()
        array = np.empty(self.shape, self.dtype)
        if self.nbytes:
            flat = array.reshape(-1).view(np.uint8)
            self.source.read_into(self.offset, memoryview(flat))
        return array.astype(self.dtype.newbyteorder("="), copy=False)

    def pieces(self) -> Iterator[memoryview]:
        """Yields the array's bytes in the file's byte order, whole elements at a time."""
        self.check()
        piece = PIECE // self.dtype.itemsize * self.dtype.itemsize
        return self.source.pieces(self.offset or 0, self.nbytes, piece)

    def digest(self) -> str:
        """Returns the SHA-256, in hex, of the array's bytes in little-endian order."""
        swap = self.dtype.newbyteorder("<") != self.dtype
        sha = hashlib.sha256()
        for piece in self.pieces():
            sha.update(np.frombuffer(piece, self.dtype).byteswap() if swap else piece)
        return sha.hexdigest()

    def digest_of_chunks(self) -> str:
        """Returns the SHA-256, in hex, of the chunks as stored, without decoding them.

        Equal arrays have equal digests only if chunk shape and filters are equal too.

        Raises:
            InputError: the chunk index is not supported.
        """
        if self.chunks is None:
            raise InputError(
                f"an array of {self.source.path} cannot be compared: {self.why}, with an "
                "index that Keras never writes. Save the model again with Keras."
            )
        sha = hashlib.sha256(repr((self.shape, str(self.dtype))).encode())
        sha.update(self.chunks.encoding)
        for chunk in self.chunks.parts:
            sha.update(repr((chunk.index, chunk.filter_mask, chunk.size)).encode())
            for piece in self.source.pieces(chunk.offset, chunk.size):
                sha.update(piece)
        return sha.hexdigest()

    @property
    def in_file(self) -> "StoredArray":
        """The array as the file has it: the same, but for one whose axes are presented in another
        order."""
        return self

    def laid_out(self, value: np.ndarray) -> np.ndarray:
        """Returns a value for this array, with its axes in the order of the file."""
        return value

    def check(self) -> None:
        """Raises InputError unless the bytes are contiguous and in the file."""
        if self.offset is None and self.nbytes:
            raise InputError(
                f"an array of {self.source.path} cannot be read by offset: {self.why}. "
                "Save the model again with Keras."
            )
        # (2**60, 0) takes no bytes, so that no file is too short for it; NumPy would fail
        if max(self.shape, default=0) > _MAX_SIDE:
            raise InputError(f"{self.source.path} declares an array of {self.shape}.")
        self.source.check(self.offset or 0, self.nbytes)


@dataclasses.dataclass(frozen=True)
class WholeArray(StoredArray):
    """An array that is always read as a whole: its bytes do not lie in the array's order.

    A subclass reads it; `dtype` has the machine's byte order.
    """

    def read(self) -> np.ndarray:
        raise NotImplementedError

    def pieces(self) -> Iterator[memoryview]:
        flat = np.ascontiguousarray(self.read()).reshape(-1).view(np.uint8)
        step = PIECE // self.dtype.itemsize * self.dtype.itemsize
        starts = range(0, flat.size, step)
        return (memoryview(flat[start : start + step]) for start in starts)

    def growing_pieces(self) -> Iterator[memoryview]:
        """Yields the bytes in little-endian order, cut as by `growing_ranges`."""
        yield from growing(memoryview(little_endian(self.read())))


@dataclasses.dataclass(frozen=True)
class StridedArray(WholeArray):
    """An array whose axes lie in the file in any order, with any gaps.

    Attributes:
        first: offset of the first number in `source`.
        strides: numbers from one index of each axis to the next, none negative.
        swapped: whether the file has the other byte order than the machine.
        base: the array in the file's order of axes, if its bytes are contiguous there.
        axes: for each axis of this array, the axis of `base`.
    """

    first: int = 0
    strides: tuple[int, ...] = ()
    swapped: bool = False
    base: StoredArray | None = None
    axes: tuple[int, ...] = ()

    @property
    def in_file(self) -> StoredArray:
        return self.base or self

    def laid_out(self, value: np.ndarray) -> np.ndarray:
        return value.transpose(np.argsort(self.axes)) if self.base else value

    @property
    def span(self) -> int:
        """Bytes from the first number to the last."""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides))
        return (last + 1) * self.dtype.itemsize if math.prod(self.shape) else 0

    def check(self) -> None:
        self.source.check(self.first, self.span)

    def read(self) -> np.ndarray:
        self.check()
        dtype = self.dtype.newbyteorder() if self.swapped else self.dtype
        flat = np.empty(self.span // self.dtype.itemsize, dtype)
        self.source.read_into(self.first, memoryview(flat.view(np.uint8)))
        steps = [step * self.dtype.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps)
        return np.ascontiguousarray(view).astype(self.dtype, copy=False)

    def growing_pieces(self) -> Iterator[memoryview]:
        """Yields as `WholeArray` does; the first piece costs no reading of the whole."""
        ranges = list(growing_ranges(self.nbytes))
        for _, size in ranges[:1]:
            yield memoryview(little_endian(self._first(size // self.dtype.itemsize)))
        if len(ranges) > 1:
            data = memoryview(little_endian(self.read()))
            for start, size in ranges[1:]:
                yield data[start : start + size]

    def _first(self, count: int) -> np.ndarray:
        """Reads the first numbers, each by itself."""
        self.check()
        indices = np.unravel_index(np.arange(count), self.shape)
        steps = sum(axis * step for axis, step in zip(indices, self.strides))
        size = self.dtype.itemsize
        offsets = (self.first + np.broadcast_to(steps, count) * size).tolist()
        data = b"".join(self.source.read(offset, size) for offset in offsets)
        numbers = np.frombuffer(data, self.dtype)
        return numbers.byteswap() if self.swapped else numbers


def transposed(stored: StoredArray, axes: Sequence[int]) -> StoredArray:
    """Returns the array of a file with its axes in another order.

    Args:
        stored: an array whose bytes are contiguous, or a `StridedArray`.
        axes: for each axis of the new array, the axis of `stored`.
    """
    if tuple(axes) == tuple(range(len(stored.shape))):
        return stored
    base = None
    if isinstance(stored, StridedArray):
        steps, first, swapped = stored.strides, stored.first, stored.swapped
    else:
        base = stored
        steps = [math.prod(stored.shape[axis + 1 :]) for axis in range(len(axes))]
        first = stored.offset
        swapped = stored.dtype != stored.dtype.newbyteorder("=")
    return StridedArray(
        shape=tuple(stored.shape[axis] for axis in axes),
        dtype=stored.dtype.newbyteorder("="),
        source=stored.source,
        offset=None,
        why="its axes are in another order than Keras's",
        first=first,
        strides=tuple(steps[axis] for axis in axes),
        swapped=swapped,
        base=base,
        axes=tuple(axes),
    )


@dataclasses.dataclass(frozen=True)
class _Reshaped(WholeArray):
    """The numbers of `whole`, in their order, as an array of another shape."""

    whole: WholeArray | None = None

    def read(self) -> np.ndarray:
        return self.whole.read().reshape(self.shape)

    def growing_pieces(self) -> Iterator[memoryview]:
        return self.whole.growing_pieces()


def reshaped(stored: StoredArray, shape: tuple[int, ...]) -> StoredArray:
    """Returns the array of a file with its numbers, in their order, in another shape."""
    if isinstance(stored, WholeArray):
        fields = (stored.dtype, stored.source, stored.offset, stored.why)
        return _Reshaped(shape, *fields, whole=stored)
    return dataclasses.replace(stored, shape=shape)


def number_type(dtype: np.dtype, declared: str | None = None) -> np.dtype | None:
    """Returns the numeric type that `dtype` stands for; None if it holds no numbers.

    Args:
        dtype: the type that the file format declares.
        declared: name that Keras wrote beside an array of opaque bytes.
    """
    if dtype.kind in "fiub":
        return dtype
    if dtype.kind == "V" and dtype.fields is None:
        # legacy files name no type; no other is stored as 2 bytes
        name = declared or ("bfloat16" if dtype.itemsize == 2 else "")
        if _STORED_AS_BYTES.get(name) == dtype.itemsize:
            return numpy_type(name)
    return None


def check_disjoint(arrays: Iterable[StoredArray]) -> None:
    """Raises InputError if an array lies outside its file or two share bytes.

    Afterwards, reading all arrays costs at most the file's size, and writing one changes no
    other.
    """
    ends: dict[int, int] = {}  # descriptor -> end of the array before
    contiguous = [array for array in arrays if array.extent and array.nbytes]
    for array in sorted(contiguous, key=lambda a: (a.source.descriptor, a.extent[0])):
        array.source.check(array.offset, array.nbytes)
        start, size = array.extent
        if start < ends.get(array.source.descriptor, 0):
            raise InputError(
                f"{printable(array.source.path)} holds two arrays in the same bytes; "
                "it is damaged or forged. Save the model again."
            )
        ends[array.source.descriptor] = start + size


def growing_ranges(size: int) -> Iterator[tuple[int, int]]:
    """Yields (first byte, count) of pieces of `size` bytes, the first piece small.

    All arrays are cut alike, so that two can be compared piece by piece.
    """
    start, count = 0, _FIRST_PIECE
    while start < size:
        yield start, min(count, size - start)
        start, count = start + count, _NEXT_PIECES


def growing(data: memoryview) -> Iterator[memoryview]:
    """Yields the pieces of `growing_ranges` of bytes in memory."""
    for start, count in growing_ranges(len(data)):
        yield data[start : start + count]


def little_endian(array: np.ndarray) -> np.ndarray:
    """Returns the bytes of an array in little-endian order, flat."""
    # newbyteorder of a type of ml_dtypes is the type itself: no copy here either
    ordered = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(ordered).reshape(-1).view(np.uint8)
