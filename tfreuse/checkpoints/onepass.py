"""One pass over a recipient and its donors, in which every byte is read once.

A piece of a file that is in memory is checked and written to all the places where it belongs:
the recipient's bytes to the output, or, where others replace them, to the undo file; the
donor's bytes, if they are finite, to the output. Checksums are taken of the pieces and joined
afterwards, so that pieces need no order, and every processor works on some.
"""

import collections
import dataclasses
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

PIECE = 2**20  # bytes: few enough to be in the processor's cache when they are written

Extent = tuple[int, int]  # (first byte in the file, bytes)
Label = tuple  # names a message that a piece is a part of


@dataclasses.dataclass(frozen=True)
class Passed:
    """What one pass found.

    `how` is how what stays was copied. `old` and `new` are the CRC-32 of what each edit
    displaced and wrote. `displaced` is (first byte, bytes) of what went to the undo file, in
    its order there. `undo` is the CRC-32 of that, `whole` of the recipient (None if not all
    of it was read).
    """

    how: str
    old: list[int]
    new: list[int]
    displaced: list[Extent]
    undo: int
    whole: int | None


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Bytes of a file: where they go as they are, and of which edits they are a part."""

    source: Source
    at: int
    size: int
    labels: tuple[Label, ...]
    to: tuple[int, int] | None = None  # (descriptor, first byte)
    edits: tuple[tuple[int, Edit, int], ...] = ()  # (number, edit, byte of its array)
    out: int = -1

    def __call__(self, buffer: memoryview) -> list[tuple[Label, int, int]]:
        data = buffer[: self.size]
        self.source.read_into(self.at, data)
        if self.to is not None:
            write(self.to[0], data, self.to[1])
        checksum = zlib.crc32(data)
        found = [(label, checksum, self.size) for label in self.labels]
        for number, edit, offset in self.edits:
            new = edit.put(self.out, data, offset, checksum)
            found.append((("new", number), new, self.size))
        return found


@dataclasses.dataclass(frozen=True)
class _Array:
    """A value that comes from memory, or from a reader that knows no offsets."""

    number: int
    edit: Edit
    out: int

    def __call__(self, buffer: memoryview) -> list[tuple[Label, int, int]]:
        found, offset = [], 0
        for data in self.edit.pieces():
            checksum = self.edit.put(self.out, data, offset, zlib.crc32(data))
            found.append((("new", self.number), checksum, len(data)))
            offset += len(data)
        return found


@dataclasses.dataclass(frozen=True)
class _Unread:
    """Bytes that nobody looks at: the system copies them, or shares blocks where it can."""

    source: Source
    at: int
    size: int
    out: int

    def __call__(self, buffer: memoryview) -> list[tuple[Label, int, int]]:
        at, end = self.at, self.at + self.size
        while at < end and hasattr(os, "copy_file_range"):
            try:
                count = os.copy_file_range(
                    self.source.descriptor, self.out, end - at, at, at
                )
            except OSError:
                break  # not on every file system: read and write then
            at += count
            if count == 0:
                break
        if at == end:
            return []
        for start in range(at, end, PIECE):
            data = buffer[: min(PIECE, end - start)]
            self.source.read_into(start, data)
            write(self.out, data, start)
        return [(("read",), 0, 0)]


def run(
    recipient: Checkpoint,
    edits: Sequence[Edit],
    out: int,
    undo: tuple[int, int] | None,
    crc: bool,
) -> Passed:
    """Writes the recipient with the edits to `out`, all but what changes its headers.

    Args:
        recipient: an open file.
        edits: by place in it.
        out: an empty file, open for writing.
        undo: (descriptor, first byte) where the displaced bytes go, None if nowhere.
        crc: whether to read the recipient and the donors whole, and to check them against
            their own checksums.

    Raises:
        InputError: a number is not finite, a variance is below zero, or a checksum does not
            fit. What was written is of no use then.
    """
    os.ftruncate(out, recipient.source.size)
    work = [_of_recipient(recipient, edits, out, undo, crc)]
    donors = {id(e.value[0]): e.value[0] for e in edits if isinstance(e.value, tuple)}
    work += [_of_donor(donor, edits, out, crc) for donor in donors.values()]
    work.append(
        _Array(number, edit, out)
        for number, edit in enumerate(edits)
        if edit.source is None
    )
    # in turn, so that two workers seldom write to one file, which waits for one of them
    jobs = [
        job for turn in itertools.zip_longest(*work) for job in turn if job is not None
    ]
    parts: dict[Label, list[tuple[int, int]]] = collections.defaultdict(list)
    for label, checksum, size in itertools.chain.from_iterable(
        workers.run(jobs, PIECE)
    ):
        parts[label].append((checksum, size))
    return _passed(recipient, list(donors.values()), edits, parts, crc)


def _passed(recipient, donors, edits, parts, crc: bool) -> Passed:
    """Joins the checksums of the pieces, and compares them with the members' own."""
    members = {
        _label(file, member): member
        for file in ([recipient, *donors] if crc else [])
        for member in file.members
    }
    numbers = range(len(edits))
    labels = [("undo",), ("whole",), *(("old", n) for n in numbers)]
    labels += [*(("new", n) for n in numbers), *members]
    found = dict(zip(labels, crc_module.joined(parts[label] for label in labels)))
    for label, member in members.items():
        member.check_crc(found[label])
    return Passed(
        "read and write" if crc or parts[("read",)] else "copy_file_range",
        [found["old", number] for number in numbers],
        [found["new", number] for number in numbers],
        [edit.target.extent for edit in edits],
        found[("undo",)],
        found[("whole",)] if crc else None,
    )


def _of_recipient(
    recipient: Checkpoint, edits: Sequence[Edit], out: int, undo, crc: bool
) -> Iterator[Callable]:
    source, members = recipient.source, recipient.members if crc else ()
    places = {edit.target.extent: number for number, edit in enumerate(edits)}
    undone = undo[1] if undo else 0
    for at, size, member, extent in _tiles(members, places, source.size):
        labels = [("whole",)] if crc else []
        labels += [_label(recipient, member)] if member else []
        if extent is not None:
            labels += [("old", places[extent]), ("undo",)]
            to = (undo[0], undone) if undo else None
            undone += size
        elif crc:
            to = (out, at)
        else:
            yield _Unread(source, at, size, out)
            continue
        for start, length in _steps(size):
            place = (to[0], to[1] + start) if to else None
            yield _Piece(source, at + start, length, tuple(labels), place)


def _of_donor(
    donor: Checkpoint, edits: Sequence[Edit], out: int, crc: bool
) -> Iterator[Callable]:
    """What is selected; with `crc` also the rest of every member that has a checksum."""
    wanted: dict[Source, dict[Extent, list[int]]] = {}
    by_file = {donor.source.descriptor: donor.source}
    wanted[donor.source] = {}
    for number, edit in enumerate(edits):
        stored = edit.source
        if stored is None or edit.value[0] is not donor:
            continue
        file = by_file.setdefault(stored.source.descriptor, _whole(stored.source))
        wanted.setdefault(file, {}).setdefault(stored.extent, []).append(number)
    for source, places in wanted.items():
        members = donor.members if crc and source is donor.source else ()
        for at, size, member, extent in _tiles(members, places):
            if member is None and extent is None:
                continue
            labels = (_label(donor, member),) if member else ()
            for start, length in _steps(size):
                offset = at + start - extent[0] if extent else 0
                numbers = places[extent] if extent else ()
                parts = tuple((n, edits[n], offset) for n in numbers)
                yield _Piece(source, at + start, length, labels, None, parts, out)


def _whole(source: Source) -> Source:
    return Source(source.path, source.descriptor, 0, source.start + source.size)


def _steps(size: int) -> Iterator[Extent]:
    for start in range(0, size, PIECE):
        yield start, min(PIECE, size - start)


def _tiles(
    members: Iterable[Member], extents: Iterable[Extent], end: int = 0
) -> Iterator[tuple[int, int, Member | None, Extent | None]]:
    """The bytes from border to border, up to `end`, and in what they are.

    Extents lie within members, where there are members, and neither overlap.
    """
    starts = {extent[0]: extent for extent in extents if extent[1]}
    outer = {member.offset: member for member in members if member.data.size}
    borders = {0, end} | {sum(extent) for extent in starts.values()}
    borders |= {member.offset + member.data.size for member in outer.values()}
    member = extent = None
    for at, after in itertools.pairwise(sorted({*borders, *starts, *outer})):
        if member is not None and at >= member.offset + member.data.size:
            member = None
        if extent is not None and at >= sum(extent):
            extent = None
        member, extent = outer.get(at, member), starts.get(at, extent)
        yield at, after - at, member, extent


def _label(file: Checkpoint, member: Member) -> Label:
    return "member", id(file), member.name
