"""Counts of every image, per arm: blocks in `counts.bin`, to which records point.

A block is a header and a body, little-endian. Header: b"tfrc", version, kind, bytes per number,
a zero byte, N, C, size of the body in bytes, CRC-32 of all other bytes of the block.

Kind 1, confusion matrices, int64 [N, C, C] in memory: stored in the smallest unsigned type that
fits all counts, as byte planes (all lowest bytes, then all next ones, ...), with zlib level 4.
128 matrices of 5, 12 and 21 classes take 2.2, 8.8 and 36 kB instead of 25, 147 and 452 kB, in
0.05, 0.4 and 2 ms. Level 6 takes 2.3 times as long and saves 3 %; without planes a block is 4 to
26 % larger.
Kind 2, errors, float64 [N, 2] in memory: stored uncompressed (zlib level 6 would save 7 %),
without the second column if it is NaN throughout.
"""

import math
import os
import pathlib
import struct
import zlib
from typing import Self

import numpy as np

from tfreuse.errors import InputError, printable
from tfreuse.records.record import Record

_MAGIC, _VERSION = b"tfrc", 1
_CONFUSION, _ERRORS = 1, 2
_HEADER = struct.Struct("<4sBBBBIIII")
_CRC_BYTES = 4
_LEVEL = 4
_DEFLATE_LIMIT = (
    1032  # the largest compression ratio of deflate (zlib, technical details)
)


def counts_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of the counts that belong to the records at `path`."""
    return pathlib.Path(path).with_name("counts.bin")


def read_counts(path: str | os.PathLike, record: Record) -> np.ndarray:
    """Reads one record's counts; for several records use `CountsReader`."""
    with CountsReader(path) as reader:
        return reader.read(record)


class CountsReader:
    """Reads the counts that records point to; threads may share it.

    Args:
        path: the file of records; the counts are in the same folder.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = counts_path(path)
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        if self.path.exists():
            self._descriptor = os.open(self.path, os.O_RDONLY)
        return self

    def __exit__(self, *unused: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self, record: Record) -> np.ndarray:
        """Reads a record's counts of every image.

        Returns:
            segmentation: confusion matrices, int64 [N, C, C]; auto-encoder: squared error and
            SSIM, float64 [N, 2].

        Raises:
            InputError: the record has no counts, or they are missing, damaged or of another
                record.
        """
        arm = printable(" ".join(word for word in record.key if word), 200)
        if record.per_image is None:
            raise InputError(
                f"expected counts of every image, but the record of {arm} has none. Delete its "
                "line from records.jsonl and run the study again."
            )
        if self._descriptor is None:
            raise InputError(
                f"{printable(self.path)} is missing, and the record of {arm} points to it. "
                "Put it back beside records.jsonl."
            )
        try:
            per_image = unpack(self._block(record))
            check(record, per_image)
            return per_image
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{printable(self.path)}: the counts of {arm} cannot be used: {error}. Put an "
                "undamaged file back, or delete that arm's line from records.jsonl and run the "
                "study again."
            ) from error

    def holds(self, record: Record) -> bool:
        """Returns whether the record's counts are in the file and undamaged."""
        try:
            self._block(record)
            return True
        except ValueError:
            return False

    @property
    def size(self) -> int:
        """Current size of the file in bytes; 0 if there is none."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def _block(self, record: Record) -> bytes:
        """Reads the record's block; the header is checked before the body is read."""
        first, count = record.per_image
        if first + count > self.size:
            raise ValueError(
                f"they end at byte {first + count:,} and the file at {self.size:,}"
            )
        if count < _HEADER.size:
            raise ValueError(f"{count} bytes are too few for a block")
        _parse(os.pread(self._descriptor, _HEADER.size, first), count)
        block = os.pread(self._descriptor, count, first)
        if len(block) < count or _crc(block) != _HEADER.unpack_from(block)[-1]:
            raise ValueError(f"the block at byte {first:,} is damaged")
        return block


def check(record: Record, per_image: np.ndarray) -> None:
    """Raises ValueError unless the counts agree with the record's sums and number of images."""
    if len(per_image) != record.images:
        raise ValueError(
            f"they are of {len(per_image)} images and the record of {record.images}"
        )
    sums = record.counts
    agree = not sums  # without sums only the number of images can be compared
    if per_image.ndim == 3 and "confusion_matrix" in sums:
        agree = per_image.sum(axis=0).tolist() == sums["confusion_matrix"]
    elif per_image.ndim == 2 and "squared_error" in sums:
        agree = math.isclose(per_image[:, 0].sum(), sums["squared_error"], rel_tol=1e-9)
    if not agree:
        raise ValueError("they do not add up to what the record says")


def pack(per_image: np.ndarray) -> bytes:
    """Packs int64 [N, C, C] or float64 [N, 2] counts into a block.

    Raises:
        ValueError: the array is neither.
    """
    if per_image.ndim == 3 and per_image.dtype.kind in "iu":
        return _block(_CONFUSION, *_pack_confusion(per_image))
    if per_image.dtype != np.float64 or per_image.shape[1:] != (2,):
        raise ValueError(
            "expected integers [N, C, C] or float64 [N, 2], got "
            f"{per_image.dtype} {list(per_image.shape)}"
        )
    columns = 1 if np.isnan(per_image[:, 1]).all() else 2
    body = per_image[:, :columns].astype("<f8").tobytes()
    return _block(_ERRORS, 8, len(per_image), columns, body)


def unpack(block: bytes) -> np.ndarray:
    """Unpacks a block; memory is bounded by the block's size times the largest ratio of zlib.

    Raises:
        ValueError: not a block, or damaged.
    """
    kind, width, images, columns = _parse(block, len(block))
    if _crc(block) != _HEADER.unpack_from(block)[-1]:
        raise ValueError("the block is damaged")
    body = memoryview(block)[_HEADER.size :]
    if kind == _CONFUSION:
        return _unpack_confusion(body, width, images, columns)
    errors = np.full((images, 2), np.nan)
    errors[:, :columns] = np.frombuffer(body, "<f8").reshape(images, columns)
    return errors


def _pack_confusion(per_image: np.ndarray) -> tuple[int, int, int, bytes]:
    images, rows, classes = per_image.shape
    if rows != classes or per_image.min(initial=0) < 0:
        raise ValueError(
            f"expected counts [N, C, C] of at least 0, got {list(per_image.shape)} from "
            f"{per_image.min(initial=0)}"
        )
    width = np.min_scalar_type(per_image.max(initial=0)).itemsize
    numbers = per_image.astype(f"<u{width}").ravel()
    planes = numbers.view(np.uint8).reshape(-1, width).T
    return width, images, classes, zlib.compress(planes.tobytes(), _LEVEL)


def _unpack_confusion(
    body: memoryview, width: int, images: int, classes: int
) -> np.ndarray:
    size = images * classes * classes * width
    stream = zlib.decompressobj()
    try:
        # one byte more than expected detects a longer stream without unpacking it
        planes = stream.decompress(body, size + 1)
    except zlib.error as error:
        raise ValueError(f"the block cannot be unpacked ({error})") from error
    if len(planes) != size or not stream.eof or stream.unused_data:
        raise ValueError("the block does not hold as many numbers as it declares")
    numbers = np.frombuffer(planes, np.uint8).reshape(width, -1).T
    numbers = np.ascontiguousarray(numbers).view(f"<u{width}")
    return numbers.astype(np.int64).reshape(images, classes, classes)


def _block(kind: int, width: int, images: int, columns: int, body: bytes) -> bytes:
    fields = (_MAGIC, _VERSION, kind, width, 0, images, columns, len(body))
    crc = _crc(_HEADER.pack(*fields, 0) + body)
    return _HEADER.pack(*fields, crc) + body


def _crc(block: bytes) -> int:
    """Returns the CRC-32 of a block, without the four bytes that store it."""
    crc = zlib.crc32(memoryview(block)[: _HEADER.size - _CRC_BYTES])
    return zlib.crc32(memoryview(block)[_HEADER.size :], crc)


def _parse(header: bytes, count: int) -> tuple[int, int, int, int]:
    """Returns (kind, bytes per number, N, C) of a block of `count` bytes.

    Raises:
        ValueError: not a block, or its sizes do not agree.
    """
    if len(header) < _HEADER.size or header[:4] != _MAGIC:
        raise ValueError("the block's signature is missing")
    version, kind, width, zero, images, columns, size, _ = _HEADER.unpack_from(header)[
        1:
    ]
    if version != _VERSION:
        raise ValueError(
            f"the block is of version {version}, and this tfreuse reads {_VERSION}"
        )
    if kind == _CONFUSION:
        consistent = width in (1, 2, 4, 8)
        consistent &= images * columns**2 * width <= _DEFLATE_LIMIT * size
    else:
        consistent = (kind, width) == (_ERRORS, 8) and columns in (1, 2)
        consistent &= images * columns * width == size
    if not consistent or zero or _HEADER.size + size != count:
        raise ValueError("the block's sizes do not agree")
    return kind, width, images, columns
