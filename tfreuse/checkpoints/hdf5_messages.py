"""Descriptions in an HDF5 object header: shapes, types of numbers, attributes of text.

The layout of the bytes is that of the HDF5 File Format Specification, version 3.0, section
IV.A.2; only what h5py writes for Keras is known here, the rest is None or an error.
"""

import struct
from collections.abc import Callable

import numpy as np

from tfreuse.checkpoints.arrays import BFLOAT16

FIXED, FLOAT, TEXT, OPAQUE, VARIABLE = 0, 1, 3, 5, 9  # classes of types
# size in bytes -> sign and mantissa of the type: (exponent at, exponent bits, bias)
_FLOATS = {
    (2, 10, 5, 15): np.dtype("f2"),
    (4, 23, 8, 127): np.dtype("f4"),
    (8, 52, 11, 1023): np.dtype("f8"),
    (2, 7, 8, 127): BFLOAT16,
}
MAX_RANK = 32


def shape(data: bytes) -> tuple[int, ...]:
    """The shape that a dataspace message gives; an array without elements is (0,)."""
    version, rank, _, kind = struct.unpack_from("<4B", data)
    if version not in (1, 2) or rank > MAX_RANK:
        raise ValueError("a shape of an unknown kind")
    if version == 2 and kind == 2:
        return (0,)
    return struct.unpack_from(f"<{rank}Q", data, 8 if version == 1 else 4)


def type_class(data: bytes) -> tuple[int, int]:
    """(class, bytes an element) of a datatype message."""
    return data[0] & 15, struct.unpack_from("<L", data, 4)[0]


def number(data: bytes) -> np.dtype | None:
    """The type of numbers that a datatype message describes; None if it is none of NumPy's."""
    kind, size = type_class(data)
    flags = data[1]
    order = ">" if flags & 1 else "<"
    if kind == FIXED and size in (1, 2, 4, 8):
        if struct.unpack_from("<2H", data, 8) != (0, 8 * size):
            return None
        return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}")
    if kind == FLOAT and not flags & 0x40:
        at, bits, start, _, bias = struct.unpack_from("<4BL", data, 12)
        found = _FLOATS.get((size, at, bits, bias))
        plain = struct.unpack_from("<2H", data, 8) == (0, 8 * size) and start == 0
        return found.newbyteorder(order) if found is not None and plain else None
    if kind == OPAQUE and 0 < size <= 16:
        return np.dtype(f"V{size}")
    return None


def attribute(data: bytes, wanted: Callable[[str], bool]):
    """(name, type class, element size, shape, bytes) of an attribute message.

    None if it is not wanted; its value is then not looked at.
    """
    version = data[0]
    if version not in (1, 2, 3):
        raise ValueError("an attribute of an unknown kind")
    name_size, type_size, space_size = struct.unpack_from("<3H", data, 2)
    at = 9 if version == 3 else 8
    name = text(data[at : at + name_size])
    if not wanted(name):
        return None
    pad = (lambda size: -(-size // 8) * 8) if version == 1 else int
    at += pad(name_size)
    kind, size = type_class(data[at : at + type_size])
    if kind == VARIABLE and data[at + 1] & 15 != 1:
        kind = OPAQUE  # a list of numbers, not of characters
    at += pad(type_size)
    sides = shape(data[at : at + space_size]) if space_size else ()
    return name, kind, size, sides, data[at + pad(space_size) :]


def text(value: bytes) -> str:
    """Text up to the first NUL; bytes that are no UTF-8 come out as escapes."""
    return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
