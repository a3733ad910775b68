"""Parses messages of HDF5 object headers: dataspaces, datatypes and attributes.

Layouts are those of the HDF5 File Format Specification, version 3.0, section IV.A.2. Only the
variants that h5py writes for Keras are supported; others give None or a ValueError.
"""

import struct
from collections.abc import Callable

import numpy as np

from tfreuse.plan.dtypes import numpy_type

# datatype classes, IV.A.2.d: fixed-point, floating-point, string, opaque, enumerated,
# variable-length
FIXED, FLOAT, STRING, OPAQUE, ENUMERATED, VARIABLE = 0, 1, 3, 5, 8, 9
# (bytes, exponent's lowest bit, exponent's bits, exponent bias) -> NumPy's type
_FLOATS = {
    (2, 10, 5, 15): "f2",
    (4, 23, 8, 127): "f4",
    (8, 52, 11, 1023): "f8",
    (2, 7, 8, 127): "bfloat16",
}
MAX_RANK = 32  # of NumPy 1 and of HDF5


def shape(data: bytes) -> tuple[int, ...]:
    """Returns the shape in a dataspace message (IV.A.2.b); (0,) for a null dataspace."""
    version, rank, _, space_type = struct.unpack_from("<4B", data)
    if version not in (1, 2) or rank > MAX_RANK:
        raise ValueError("a dataspace of an unsupported version")
    if version == 2 and space_type == 2:
        return (0,)
    return struct.unpack_from(f"<{rank}Q", data, 8 if version == 1 else 4)


def type_class(data: bytes) -> tuple[int, int]:
    """Returns (class, bytes per element) of a datatype message (IV.A.2.d)."""
    return data[0] & 15, struct.unpack_from("<L", data, 4)[0]


def number(data: bytes) -> np.dtype | None:
    """Returns the NumPy type of a datatype message; None if NumPy has no such type."""
    kind, size = type_class(data)
    flags = data[1]
    order = ">" if flags & 1 else "<"
    unpadded = (0, 8 * size)  # bit offset 0, precision of all bits
    if kind == FIXED and size in (1, 2, 4, 8):
        if struct.unpack_from("<2H", data, 8) != unpadded:
            return None
        return np.dtype(f"{order}{'i' if flags & 8 else 'u'}{size}")
    if kind == FLOAT and not flags & 0x40:  # bit 6 set: VAX byte order
        exponent, bits, mantissa, _, bias = struct.unpack_from("<4BL", data, 12)
        name = _FLOATS.get((size, exponent, bits, bias))
        if struct.unpack_from("<2H", data, 8) != unpadded or mantissa != 0:
            return None
        return numpy_type(name).newbyteorder(order) if name else None
    if kind == ENUMERATED and size == 1 and b"FALSE\0" in data and b"TRUE\0" in data:
        return np.dtype(bool)  # as h5py writes it
    if kind == OPAQUE and 0 < size <= 16:
        return np.dtype(f"V{size}")
    return None


def attribute(data: bytes, select: Callable[[str], bool]):
    """Parses an attribute message: (name, type class, element size, shape, value).

    Returns None if `select(name)` is false; such an attribute may have any type.
    """
    version = data[0]
    if version not in (1, 2, 3):
        raise ValueError("an attribute of an unsupported version")
    name_size, type_size, space_size = struct.unpack_from("<3H", data, 2)
    start = 9 if version == 3 else 8  # version 3 adds a byte for the name's encoding
    name = text(data[start : start + name_size])
    if not select(name):
        return None
    # version 1 pads each part to a multiple of 8 bytes
    padded = (lambda size: -(-size // 8) * 8) if version == 1 else int
    start += padded(name_size)
    kind, size = type_class(data[start : start + type_size])
    if kind == VARIABLE and data[start + 1] & 15 != 1:
        kind = OPAQUE  # a variable-length sequence, not a string
    start += padded(type_size)
    sides = shape(data[start : start + space_size]) if space_size else ()
    return name, kind, size, sides, data[start + padded(space_size) :]


def text(value: bytes) -> str:
    """Decodes UTF-8 up to the first NUL; invalid bytes become escapes."""
    return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
