"""`.npz` files that `numpy.savez` wrote: keys are "layer/role" or "layer/position".

    numpy.savez("donor.npz", **{"conv1/kernel": k, "conv1_bn/moving_mean": m, "td/0": x})

Array headers are parsed by a pattern: neither pickle nor the evaluation of Python literals.
"""

import re
import struct

import numpy as np

from tfreuse.checkpoints import arrays, named
from tfreuse.checkpoints.archive import Archive, Member
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[fiubV]\d{1,3})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18},?)?)\), \} *\n"
)
_MAX_NPY_HEADER = 4096  # bytes


def is_npz(archive: Archive) -> bool:
    """Whether a zip file holds arrays of NumPy and nothing else."""
    return bool(archive.members) and all(
        name.endswith(".npy") for name in archive.members
    )


def read(source: Source, archive: Archive) -> Checkpoint:
    """The variables of an `.npz` file.

    Raises:
        InputError: a member is no plain array of numbers.
    """
    items = []
    for name, member in archive.members.items():
        layer, _, role = name.removesuffix(".npy").rpartition("/")
        if not layer:
            raise InputError(
                f"{printable(source.path)} has an array {printable(name)}; expected names "
                'such as "conv1/kernel" or "conv1/0".'
            )
        items.append((layer, role, _array(member)))
    found, notes = named.find(items)
    return Checkpoint(
        "npz", source, found, notes=notes, members=archive.members.values()
    )


def _array(member: Member) -> StoredArray:
    data = member.data
    start = data.read(0, min(12, data.size))
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2):
        raise _refused(member, "is no array of NumPy")
    wide = start[6] == 2
    begin = 12 if wide else 10
    (length,) = struct.unpack_from("<L" if wide else "<H", start, 8)
    if length > _MAX_NPY_HEADER:
        raise _refused(member, f"has a header of {length:,} bytes")
    match = _HEADER.fullmatch(data.read(begin, length))
    if match is None:
        raise _refused(member, "holds something else than plain numbers")
    dtype = arrays.number_type(np.dtype(match[1].decode()))
    shape = tuple(int(side) for side in re.findall(rb"\d+", match[3]))
    if dtype is None or len(shape) > 32:
        raise _refused(member, "holds something else than plain numbers")
    if match[2] == b"True" and len(shape) > 1:
        return StoredArray(
            shape, dtype, data, None, f"{printable(member.name)} is transposed"
        )
    stored = StoredArray(shape, dtype, data, begin + length)
    if begin + length + stored.nbytes != data.size:
        raise _refused(member, f"declares {stored.nbytes:,} bytes, has others")
    return stored


def _refused(member: Member, what: str) -> InputError:
    return InputError(
        f"{printable(member.data.path)}: {printable(member.name)} {what}. Write it with "
        "numpy.savez from arrays of numbers."
    )
