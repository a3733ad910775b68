"""Copies a recipient with replaced arrays; reads every byte of all files once.

Each piece of a file is read, checked, and written to its destinations while it is in the
processor's cache: recipient's bytes to the output, or, if they are replaced, to an undo file that
keeps them; donor's bytes, if finite, to the output. The CRC-32 of each piece is combined with the
others afterwards (`crc`), so that several threads can process pieces in any order.

Where the file system can, the output first shares all blocks with the recipient. Where it cannot,
bytes that need no check are copied in the kernel (copy_file_range). Others are written from the
cache, which takes less time than a copy in the kernel beside the reading.
"""

import collections
import dataclasses
import fcntl
import itertools
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from tfreuse.checkpoints import crc as crc_module
from tfreuse.checkpoints import workers
from tfreuse.checkpoints.archive import Member
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.edits import Edit, write
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

PIECE = 2**20  # bytes: small enough to stay in the processor's cache until written
# Linux's ioctl, in Python from 3.12; elsewhere no file system knows it.
_FICLONE = getattr(fcntl, "FICLONE", 0x40049409)

Extent = tuple[int, int]  # (offset in the file, size in bytes)
# Names a message whose CRC-32 is combined from pieces: ("old", edit number), ("new", edit
# number), ("undo",), ("whole",) or ("member", file, descriptor, member name).
Message = tuple
Checksum = tuple[
    Message, int, int
]  # (message, CRC-32 of a piece of it, size of the piece)


@dataclasses.dataclass(frozen=True)
class Copied:
    """Checksums and extents of a copy.

    Attributes:
        method: how the unchanged bytes were copied: "shared blocks", "copy_file_range" or "read
            and write".
        old, new: CRC-32 of the bytes that each edit displaced, and that it wrote.
        displaced: extents whose bytes went to the undo file, in its order.
        undo: CRC-32 of these bytes.
        whole: CRC-32 of the whole recipient; None if it was not read whole.
    """

    method: str
    old: list[int]
    new: list[int]
    displaced: list[Extent]
    undo: int
    whole: int | None


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A job: reads a piece of a file, writes it unchanged and as part of new values.

    Attributes:
        messages: messages that the piece is a part of.
        destination: (descriptor, offset) for the unchanged bytes, if any.
        edits: (number, edit, offset in its array) of the edits that take their value here.
        out: descriptor that the edits write to.
    """

    source: Source
    offset: int
    size: int
    messages: tuple[Message, ...]
    destination: tuple[int, int] | None = None
    edits: tuple[tuple[int, Edit, int], ...] = ()
    out: int = -1

    def __call__(self, buffer: memoryview) -> list[Checksum]:
        data = buffer[: self.size]
        self.source.read_into(self.offset, data)
        if self.destination is not None:
            descriptor, offset = self.destination
            write(descriptor, data, offset)
        checksum = zlib.crc32(data)
        checksums = [(message, checksum, self.size) for message in self.messages]
        for number, edit, offset in self.edits:
            new = edit.put(self.out, data, offset, checksum)
            checksums.append((("new", number), new, self.size))
        return checksums


@dataclasses.dataclass(frozen=True)
class _Array:
    """A job: writes a value that is in memory, or that has no extent in its file."""

    number: int
    edit: Edit
    out: int

    def __call__(self, buffer: memoryview) -> list[Checksum]:
        checksums, offset = [], 0
        for data in self.edit.pieces():
            checksum = self.edit.put(self.out, data, offset, zlib.crc32(data))
            checksums.append((("new", self.number), checksum, len(data)))
            offset += len(data)
        return checksums


@dataclasses.dataclass(frozen=True)
class _Unread:
    """A job: copies bytes in the kernel, or by reading and writing where that refuses."""

    source: Source
    offset: int
    size: int
    out: int

    def __call__(self, buffer: memoryview) -> list[Checksum]:
        offset, end = self.offset, self.offset + self.size
        while offset < end and hasattr(os, "copy_file_range"):
            try:
                count = os.copy_file_range(
                    self.source.descriptor, self.out, end - offset, offset, offset
                )
            except OSError:  # another file system, an old kernel: read and write,
                break  # which raises the error again if it is one of the disk
            offset += count
            if count == 0:
                break
        if offset == end:
            return []
        for start in range(offset, end, PIECE):
            data = buffer[: min(PIECE, end - start)]
            self.source.read_into(start, data)
            write(self.out, data, start)
        return [(("read",), 0, 0)]


def _shares_blocks(source: Source, out: int) -> bool:
    """Makes `out` a copy that shares all blocks with `source`; False where that cannot be."""
    try:
        fcntl.ioctl(out, _FICLONE, source.descriptor)
    except OSError:
        return False
    return os.fstat(out).st_size == source.size


def run(
    recipient: Checkpoint,
    edits: Sequence[Edit],
    out: int,
    undo: tuple[int, int] | None,
    crc: bool,
) -> Copied:
    """Writes the recipient with the edits to `out`; headers and checksums are not updated.

    Args:
        recipient: an open file.
        edits: ordered by their offset in the recipient.
        out: descriptor of an empty file, open for writing.
        undo: (descriptor, offset) where the displaced bytes go; None: nowhere.
        crc: whether to read recipient and donors whole, and check them against their own
            checksums.

    Raises:
        InputError: a number is not finite, a variance is negative, a checksum differs, or
            another process writes the recipient meanwhile. The content of `out` is then undefined.
    """
    source = recipient.source
    before = os.fstat(source.descriptor).st_mtime_ns
    shared = _shares_blocks(source, out)
    os.ftruncate(out, source.size)
    copy = None if shared else out
    queues = [_recipient_jobs(recipient, edits, copy, undo, crc)]
    donors = {id(e.value[0]): e.value[0] for e in edits if isinstance(e.value, tuple)}
    queues += [_donor_jobs(donor, edits, out, crc) for donor in donors.values()]
    queues.append(
        _Array(number, edit, out)
        for number, edit in enumerate(edits)
        if edit.source is None
    )
    # Alternate between files: writes to the same file wait for each other's lock.
    jobs = [
        job
        for turn in itertools.zip_longest(*queues)
        for job in turn
        if job is not None
    ]
    parts: dict[Message, list[tuple[int, int]]] = collections.defaultdict(list)
    for message, checksum, size in itertools.chain.from_iterable(
        workers.run(jobs, PIECE)
    ):
        parts[message].append((checksum, size))
    if os.fstat(source.descriptor).st_mtime_ns != before:
        raise InputError(
            f"{printable(recipient.path)} changed while it was read, expected a file that no "
            "other process writes. Nothing was written; run the command again."
        )
    method = "read and write" if crc or parts[("read",)] else "copy_file_range"
    method = "shared blocks" if shared else method
    return _checked(recipient, list(donors.values()), edits, parts, crc, method)


def _checked(recipient, donors, edits, parts, crc: bool, method: str) -> Copied:
    """Combines the checksums of the pieces, and compares them with those of zip members."""
    members = {
        _member_message(file, member): member
        for file in ([recipient, *donors] if crc else [])
        for member in file.members
    }
    numbers = range(len(edits))
    messages = [("undo",), ("whole",), *(("old", n) for n in numbers)]
    messages += [*(("new", n) for n in numbers), *members]
    joined = crc_module.joined(parts[message] for message in messages)
    checksums = dict(zip(messages, joined))
    for message, member in members.items():
        member.check_crc(checksums[message])
    return Copied(
        method,
        [checksums["old", number] for number in numbers],
        [checksums["new", number] for number in numbers],
        [edit.target.extent for edit in edits],
        checksums[("undo",)],
        checksums[("whole",)] if crc else None,
    )


def _recipient_jobs(
    recipient: Checkpoint, edits: Sequence[Edit], out: int | None, undo, crc: bool
) -> Iterator[Callable]:
    """Yields jobs that check the recipient, and copy its bytes to `out`, replaced ones to `undo`.

    `out` and `undo` are None where there is nothing to copy.
    """
    source, members = recipient.source, recipient.members if crc else ()
    numbers = {edit.target.extent: number for number, edit in enumerate(edits)}
    saved = 0  # bytes in the undo file
    for start, size, member, extent in _tiles(members, numbers, source.size):
        messages = [("whole",)] if crc else []
        messages += [_member_message(recipient, member)] if member else []
        destination = None if out is None else (out, start)
        if extent is not None:
            messages += [("old", numbers[extent]), ("undo",)]
            destination = undo and (undo[0], undo[1] + saved)
            saved += size
        elif not crc:
            if out is not None:
                yield _Unread(source, start, size, out)
            continue
        for step, length in _steps(size):
            into = destination and (destination[0], destination[1] + step)
            yield _Piece(source, start + step, length, tuple(messages), into)


def _donor_jobs(
    donor: Checkpoint, edits: Sequence[Edit], out: int, crc: bool
) -> Iterator[Callable]:
    """Yields jobs that copy a donor's arrays; with `crc` they read its members whole."""
    files = {file.descriptor: file for file in donor.sources}  # shards too
    edits_of: dict[Source, dict[Extent, list[int]]] = {f: {} for f in donor.sources}
    for number, edit in enumerate(edits):
        stored = edit.source
        if stored is None or edit.value[0] is not donor:
            continue
        file = files[stored.source.descriptor]
        edits_of[file].setdefault(stored.extent, []).append(number)
    for source, numbers_of in edits_of.items():
        members = [m for m in donor.members if crc and _is_of(m, source)]
        for start, size, member, extent in _tiles(members, numbers_of):
            if member is None and extent is None:
                continue
            messages = (_member_message(donor, member),) if member else ()
            for step, length in _steps(size):
                offset = start + step - extent[0] if extent else 0
                numbers = numbers_of[extent] if extent else ()
                values = tuple((n, edits[n], offset) for n in numbers)
                yield _Piece(source, start + step, length, messages, None, values, out)


def _steps(size: int) -> Iterator[Extent]:
    """Splits `size` bytes into pieces: (offset, size) of each."""
    for start in range(0, size, PIECE):
        yield start, min(PIECE, size - start)


def _tiles(
    members: Iterable[Member], extents: Iterable[Extent], end: int = 0
) -> Iterator[tuple[int, int, Member | None, Extent | None]]:
    """Splits a file at all borders of members and extents, up to `end`.

    Members do not overlap, nor do extents; an extent is within one member, if there are
    members.

    Yields:
        (offset, size, member or None, extent or None) of each tile.
    """
    starts = {extent[0]: extent for extent in extents if extent[1]}
    outer = {member.offset: member for member in members if member.data.size}
    borders = {0, end} | {sum(extent) for extent in starts.values()}
    borders |= {member.offset + member.data.size for member in outer.values()}
    member = extent = None
    for start, stop in itertools.pairwise(sorted({*borders, *starts, *outer})):
        if member is not None and start >= member.offset + member.data.size:
            member = None
        if extent is not None and start >= sum(extent):
            extent = None
        member, extent = outer.get(start, member), starts.get(start, extent)
        yield start, stop - start, member, extent


def _is_of(member: Member, source: Source) -> bool:
    return member.data.descriptor == source.descriptor


def _member_message(file: Checkpoint, member: Member) -> Message:
    return "member", id(file), member.data.descriptor, member.name
