"""The end of a written file: its checksums mended, and where its arrays came from.

Provenance is JSON under "tfreuse": a key of metadata.json in a `.keras` file (a member more
would make Keras unpack the whole archive when it loads), an attribute of the root in HDF5.
"""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse.checkpoints import archive, crc, hdf5, keras_file
from tfreuse.checkpoints.archive import CENTRAL, CENTRAL_CRC, LOCAL, LOCAL_CRC, Member
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.journal import Journal, JournalFile
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

KEY = "tfreuse"
_LIMIT = 60_000  # bytes; HDF5 keeps an attribute of up to 64 KiB beside its group
_FULL = 0xFFFFFFFF  # what a 32-bit field holds if the value is in a zip64 field
_WIDE = _FULL  # values from here on are


def text(provenance: Mapping[str, Any]) -> str:
    """Canonical JSON: the same for equal provenance, so that outputs are reproducible.

    Raises:
        InputError: it is no JSON, or longer than a file format keeps.
    """
    try:
        found = json.dumps(
            provenance, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance cannot be written as JSON: {error}.") from error
    if len(found) > _LIMIT:
        raise InputError(
            f"provenance has {len(found):,} bytes of JSON, {_LIMIT:,} fit; leave parts out."
        )
    return found


def finish(
    recipient: Checkpoint,
    journal: Journal,
    edits: Sequence,
    deltas: Sequence[int],
    provenance: str,
) -> None:
    """Makes the copy a whole file again after its arrays were written.

    Args:
        recipient: what was copied.
        journal: the copy.
        edits: the arrays that were written.
        deltas: by how much each changed the CRC-32 of its own bytes.
        provenance: JSON.
    """
    if recipient.members:
        members = {member.name: member for member in recipient.members}
        weights = members[keras_file.WEIGHTS]
        end = weights.offset + weights.data.size
        after = [end - sum(edit.target.extent) for edit in edits]
        new_crc = weights.crc
        for change in crc.shift(deltas, after):
            new_crc ^= int(change)
        _finish_zip(recipient, journal, members, new_crc, provenance)
    else:
        _finish_hdf5(recipient, journal, provenance)


def _finish_zip(
    recipient: Checkpoint,
    journal: Journal,
    members: dict[str, Member],
    new_crc: int,
    provenance: str,
) -> None:
    weights, metadata = members[keras_file.WEIGHTS], members[keras_file.METADATA]
    content = json.loads(metadata.read())
    if not isinstance(content, dict):
        raise InputError(f"{recipient.path} has a metadata.json that is no object.")
    content[KEY] = json.loads(provenance)
    data = json.dumps(content).encode()
    source = recipient.source
    directory = archive.read(source).directory
    # a metadata.json that is last already (our own outputs) is replaced, others stay unused
    last = metadata.offset + metadata.data.size == directory
    start = metadata.header if last else directory
    local = bytearray(source.read(metadata.header, LOCAL.size))
    name = metadata.name.encode()
    struct.pack_into(
        "<3L2H", local, LOCAL_CRC, zlib.crc32(data), *[len(data)] * 2, len(name), 0
    )
    entries = []
    for member in sorted(members.values(), key=lambda m: m.central):
        entry = bytearray(source.read(member.central, member.central_size))
        if member is weights:
            struct.pack_into("<L", entry, CENTRAL_CRC, new_crc)
        elif member is metadata:
            entry = _central(entry, name, data, start)
        entries.append(bytes(entry))
    tail = bytes(local) + name + data
    new_directory = start + len(tail)
    tail += b"".join(entries)
    tail += _end(len(entries), new_directory, start + len(tail) - new_directory)
    journal.write(weights.header + LOCAL_CRC, struct.pack("<L", new_crc))
    journal.write(start, tail)
    if journal.size > start + len(tail):
        journal.truncate(start + len(tail))


def _central(entry: bytearray, name: bytes, data: bytes, start: int) -> bytes:
    """The directory's entry for a member that is `data` and now stands at `start`."""
    fields = list(CENTRAL.unpack_from(entry))
    extra = b"" if start < _WIDE else struct.pack("<2HQ", 1, 8, start)
    fields[7:10] = zlib.crc32(data), len(data), len(data)
    fields[10:13] = len(name), len(extra), 0
    fields[16] = _narrow(start)
    return CENTRAL.pack(*fields) + name + extra


def _narrow(value: int) -> int:
    return value if value < _WIDE else _FULL


def _end(count: int, start: int, size: int) -> bytes:
    """The records that end a zip file whose directory stands at `start`."""
    found = b""
    if start >= _WIDE:
        here = start + size
        found += archive.END64.pack(
            b"PK\6\6", archive.END64.size - 12, 45, 45, 0, 0, count, count, size, start
        )
        found += archive.LOCATOR64.pack(b"PK\6\7", 0, here, 1)
    return found + archive.END.pack(
        b"PK\5\6", 0, 0, count, count, size, _narrow(start), 0
    )


def _finish_hdf5(recipient: Checkpoint, journal: Journal, provenance: str) -> None:
    import h5py  # reading needs no more than this package has

    with h5py.File(JournalFile(journal), "r+") as file:
        if KEY in file.attrs:
            del file.attrs[KEY]
        file.attrs[KEY] = np.bytes_(provenance.encode())
    # the library rearranged the file: prove that every array stands where it stood
    copy = Source(recipient.path, journal.descriptor, 0, journal.size)
    before = _extents(hdf5.read(recipient.source))
    if _extents(hdf5.read(copy)) != before:
        raise InputError(
            f"{printable(recipient.path)} cannot take provenance without moving its "
            "arrays. Save the model again with Keras."
        )


def _extents(root: hdf5.Group) -> dict[tuple[str, str], tuple]:
    return {
        (group.path, name): (array.shape, array.dtype, array.extent)
        for group in root.walk()
        for name, array in group.arrays.items()
    }
