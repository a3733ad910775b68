"""Completes an output: updates its checksums and stores the provenance of its arrays.

Provenance is JSON under the name "tfreuse": in a `.keras` file a key of metadata.json (one more
zip member would make Keras unpack the whole archive on loading), in an HDF5 file an attribute
of the root group. A safetensors file has no room for it: its header cannot grow without moving
every array.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse.checkpoints import archive, crc, hdf5, keras_file
from tfreuse.checkpoints.archive import (
    CENTRAL,
    CENTRAL_CRC,
    IN_ZIP64,
    LOCAL,
    LOCAL_CRC,
    ZIP64_EXTRA,
    Member,
)
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.journal import Journal, JournalFile
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

KEY = "tfreuse"
EARLIER = "earlier"  # key of the provenance of former steps
LEFT_OUT = "left_out"  # key of the number of those without room
_MOST = 10**9  # steps that are believed
_LIMIT = 60_000  # bytes; HDF5 stores attributes up to 64 KiB in the object header
_ZIP64_FROM = IN_ZIP64  # values from here on are stored in zip64 fields
_VERSION_ZIP64 = 45  # APPNOTE.TXT 4.4.3: version needed for zip64


def text(provenance: Mapping[str, Any]) -> str:
    """Returns canonical JSON: equal provenance gives equal bytes, so outputs are reproducible.

    Raises:
        InputError: not JSON-able, or too long for a file format.
    """
    try:
        content = json.dumps(
            provenance, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance cannot be written as JSON: {error}.") from error
    if len(content) > _LIMIT:
        raise InputError(
            f"provenance has {len(content):,} bytes of JSON, {_LIMIT:,} fit; leave parts out."
        )
    return content


def following(provenance: Mapping[str, Any], before: Any) -> Mapping[str, Any]:
    """Returns provenance with the steps that made the recipient under "earlier", oldest first.

    Args:
        provenance: of the new step.
        before: provenance that the recipient holds; it may be anything. The latest steps that a
            file format has room for are kept; "left_out" counts the others.
    """
    if not (isinstance(before, dict) and isinstance(provenance, Mapping)):
        return provenance
    former = before.get(EARLIER)
    former = former if isinstance(former, list) else []
    last = {name: v for name, v in before.items() if name not in (EARLIER, LEFT_OUT)}
    room = _LIMIT - len(text({**provenance, EARLIER: [], LEFT_OUT: _MOST}))
    steps = _fitting((last, *reversed(former)), room)
    count = before.get(LEFT_OUT)
    known = isinstance(count, int) and 0 <= count < _MOST
    left_out = 1 + len(former) - len(steps) + (count if known else 0)
    history = {EARLIER: steps[::-1], LEFT_OUT: left_out}
    return {**provenance, **{name: value for name, value in history.items() if value}}


def _fitting(steps: Iterable[Any], room: int) -> list[dict[str, Any]]:
    """Returns the steps up to the first that is no provenance, or for which no room is left."""
    fitting = []
    for step in steps:
        if not isinstance(step, dict):
            break
        try:
            room -= len(text(step)) + 1
        except (InputError, RecursionError):
            break
        if room < 0:
            break
        fitting.append(step)
    return fitting


def finish(
    recipient: Checkpoint,
    journal: Journal,
    edits: Sequence,
    deltas: Sequence[int],
    provenance: str,
) -> None:
    """Updates checksums and headers of a copy after its arrays were replaced.

    Args:
        recipient: the original.
        journal: the copy.
        edits: the replaced arrays.
        deltas: XOR of the old and the new bytes' CRC-32, per edit.
        provenance: JSON text.
    """
    if recipient.members:
        members = {member.name: member for member in recipient.members}
        weights = members[keras_file.WEIGHTS]
        end = weights.offset + weights.data.size
        following = [end - sum(edit.target.extent) for edit in edits]
        new_crc = weights.crc
        for change in crc.shift(deltas, following):
            new_crc ^= int(change)
        _finish_zip(recipient, journal, members, new_crc, provenance)
    elif recipient.kind != "safetensors":
        _finish_hdf5(recipient, journal, provenance)


def _finish_zip(
    recipient: Checkpoint,
    journal: Journal,
    members: dict[str, Member],
    new_crc: int,
    provenance: str,
) -> None:
    """Writes a new metadata.json and central directory, and the new CRC of the weights."""
    weights, metadata = members[keras_file.WEIGHTS], members[keras_file.METADATA]
    content = json.loads(metadata.read())
    if not isinstance(content, dict):
        raise InputError(f"{recipient.path} has a metadata.json that is no object.")
    content[KEY] = json.loads(provenance)
    data = json.dumps(content).encode()
    source = recipient.source
    directory = archive.read(source).directory
    # The new metadata.json must be the last member, so that it can grow. In outputs of
    # tfreuse it is last already and is replaced; elsewhere its old bytes stay, unreferenced.
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
    directory_start = start + len(tail)
    tail += b"".join(entries)
    tail += _end(len(entries), directory_start, start + len(tail) - directory_start)
    journal.write(weights.header + LOCAL_CRC, struct.pack("<L", new_crc))
    journal.write(start, tail)
    if journal.size > start + len(tail):
        journal.truncate(start + len(tail))


def _central(entry: bytearray, name: bytes, data: bytes, start: int) -> bytes:
    """Returns a member's central directory header for new `data` at offset `start`."""
    fields = list(CENTRAL.unpack_from(entry))
    extra = b"" if start < _ZIP64_FROM else struct.pack("<2HQ", ZIP64_EXTRA, 8, start)
    fields[7:10] = zlib.crc32(data), len(data), len(data)
    fields[10:13] = len(name), len(extra), 0
    fields[16] = _narrow(start)
    return CENTRAL.pack(*fields) + name + extra


def _narrow(value: int) -> int:
    """Returns the content of a 32-bit field for `value`."""
    return value if value < _ZIP64_FROM else IN_ZIP64


def _end(count: int, start: int, size: int) -> bytes:
    """Returns the records after a central directory of `size` bytes at offset `start`."""
    zip64 = b""
    if start >= _ZIP64_FROM:
        versions = _VERSION_ZIP64, _VERSION_ZIP64  # made by, needed to extract
        record_size = archive.END64.size - 12  # without signature and this field
        zip64 += archive.END64.pack(
            b"PK\6\6", record_size, *versions, 0, 0, count, count, size, start
        )
        zip64 += archive.LOCATOR64.pack(b"PK\6\7", 0, start + size, 1)
    return zip64 + archive.END.pack(
        b"PK\5\6", 0, 0, count, count, size, _narrow(start), 0
    )


def _finish_hdf5(recipient: Checkpoint, journal: Journal, provenance: str) -> None:
    """Stores provenance as an attribute; h5py writes it, and must not move any array."""
    import h5py  # takes 0.3 s, and only writing needs it

    with h5py.File(JournalFile(journal), "r+") as file:
        if KEY in file.attrs:
            del file.attrs[KEY]
        file.attrs[KEY] = np.bytes_(provenance.encode())
    # h5py may rearrange the file: check that every array kept its extent
    copy = Source(recipient.path, journal.descriptor, 0, journal.size)
    before = _extents(hdf5.read(recipient.source))
    if _extents(hdf5.read(copy)) != before:
        raise InputError(
            f"{printable(recipient.path)} cannot take provenance without moving its "
            "arrays. Save the model again with Keras."
        )


def _extents(root: hdf5.Group) -> dict[tuple[str, str], tuple]:
    """Returns shape, dtype and extent of all arrays by group and name."""
    return {
        (group.path, name): (array.shape, array.dtype, array.extent)
        for group in root.walk()
        for name, array in group.arrays.items()
    }
