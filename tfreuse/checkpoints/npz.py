"""Reads `.npz` files of `numpy.savez`, with keys "layer/role" or "layer/position".

    numpy.savez("donor.npz", **{"conv1/kernel": k, "conv1_bn/moving_mean": m, "td/0": x})

The header of an array is a Python literal (NEP 1). It is matched by a pattern instead of being
evaluated, and pickled arrays are refused.
"""

import re
import struct

import numpy as np

from tfreuse.checkpoints import named
from tfreuse.checkpoints.archive import Archive, Member
from tfreuse.checkpoints.arrays import StoredArray, number_type, transposed
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[fiubV]\d{1,3})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18},?)?)\), \} *\n"
)
_MAX_NPY_HEADER = 4096  # bytes


def is_npz(archive: Archive) -> bool:
    """Returns whether a zip file holds arrays of NumPy only."""
    return bool(archive.members) and all(
        name.endswith(".npy") for name in archive.members
    )


def read(source: Source, archive: Archive) -> Checkpoint:
    """Reads an `.npz` file.

    Raises:
        InputError: a member is not a plain array of numbers.
    """
    arrays = []
    for name, member in archive.members.items():
        layer, _, role = name.removesuffix(".npy").rpartition("/")
        if not layer:
            raise InputError(
                f"{printable(source.path)} has an array {printable(name)}; expected names "
                'such as "conv1/kernel" or "conv1/0".'
            )
        arrays.append((layer, role, _array(member)))
    variables, duplicates, notes = named.variables(arrays)
    return Checkpoint(
        "npz",
        source,
        variables,
        unaddressed=duplicates,
        notes=notes,
        members=archive.members.values(),
    )


def _array(member: Member) -> StoredArray:
    """Parses the header of an `.npy` file, version 1 or 2."""
    data = member.data
    start = data.read(0, min(12, data.size))
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2):
        raise _refused(member, "is not a NumPy array")
    version_2 = start[6] == 2
    header_start = 12 if version_2 else 10
    (length,) = struct.unpack_from("<L" if version_2 else "<H", start, 8)
    if length > _MAX_NPY_HEADER:
        raise _refused(member, f"has a header of {length:,} bytes")
    match = _HEADER.fullmatch(data.read(header_start, length))
    if match is None:
        raise _refused(member, "holds something else than plain numbers")
    dtype = number_type(np.dtype(match[1].decode()))
    shape = tuple(int(side) for side in re.findall(rb"\d+", match[3]))
    if dtype is None or len(shape) > 32:
        raise _refused(member, "holds something else than plain numbers")
    offset = header_start + length
    stored = StoredArray(shape, dtype, data, offset)
    if offset + stored.nbytes != data.size:
        raise _refused(
            member, f"declares {stored.nbytes:,} bytes, has {data.size - offset:,}"
        )
    if match[2] == b"True" and len(shape) > 1:  # Fortran's order
        stored = StoredArray(shape[::-1], dtype, data, offset)
        return transposed(stored, range(len(shape))[::-1])
    return stored


def _refused(member: Member, problem: str) -> InputError:
    return InputError(
        f"{printable(member.data.path)}: {printable(member.name)} {problem}. Write it with "
        "numpy.savez from arrays of numbers."
    )
