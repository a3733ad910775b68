"""Reads the central directory of a zip file; strict, so that nothing can hide in the file.

Structures are those of PKWARE's APPNOTE.TXT 6.3, section 4.3. Accepted is the subset that Keras,
`numpy.savez` and PyTorch write: stored members (no compression, no encryption), disjoint, with
unique names, and with equal local and central headers. Then an offset in a member is an offset
in the file. Zip64 (files over 4 GiB) is read. PyTorch's members are streamed: their sizes and
checksums follow the data.
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterator

from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

LOCAL_SIGNATURE = b"PK\3\4"
END = struct.Struct("<4s4H2LH")  # end of central directory record, 4.3.16
END64 = struct.Struct("<4sQ2H2L4Q")  # its zip64 version, 4.3.14
LOCATOR64 = struct.Struct("<4sLQL")  # end of central directory locator, 4.3.15
CENTRAL = struct.Struct("<4s6H3L5H2L")  # central directory header, 4.3.12
LOCAL = struct.Struct("<4s5H3L2H")  # local file header, 4.3.7
CENTRAL_CRC = 16  # offset of the CRC-32 in a central directory header ...
LOCAL_CRC = 14  # ... and in a local file header
IN_ZIP64 = 0xFFFFFFFF  # in a 32-bit field: "see the zip64 extra field" (4.4.1.4)
ZIP64_EXTRA = 1  # ID of that extra field, 4.5.3
_UTF8_NAME = 0x800  # general purpose bit 11, 4.4.4
_STREAMED = 8  # bit 3: size and CRC-32 stand in a data descriptor after the data, 4.3.9
# Of a file without, and with zip64.
_DESCRIPTORS = struct.Struct("<4s3L"), struct.Struct("<4sL2Q")


class PackedMemberError(InputError):
    """A member is compressed or encrypted; `name` is its name."""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.name = name


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a zip file: its data, its CRC-32, and the offsets of both headers.

    `end` is the offset after the data, and after the data descriptor of a streamed member.
    """

    name: str
    data: Source
    crc: int
    header: int
    central: int
    central_size: int
    end: int
    streamed: bool = False

    @property
    def offset(self) -> int:
        """Offset of the data in the file."""
        return self.data.start

    def read(self) -> bytes:
        """Reads a small member into memory and checks its CRC-32.

        Raises:
            InputError: the checksum differs, or the member has over MAX_HEADER bytes.
        """
        if self.data.size > MAX_HEADER:
            raise self._damaged(f"has over {MAX_HEADER:,} bytes")
        data = self.data.read(0, self.data.size)
        self.check_crc(zlib.crc32(data))
        return data

    def check(self) -> None:
        """Reads the member once, piece by piece; raises InputError if its CRC-32 differs."""
        crc = 0
        for piece in self.data.pieces():
            crc = zlib.crc32(piece, crc)
        self.check_crc(crc)

    def check_crc(self, crc: int) -> None:
        """Raises InputError unless `crc`, computed from the data, is the stored CRC-32."""
        if crc != self.crc:
            raise self._damaged("does not fit its CRC")

    def _damaged(self, problem: str) -> InputError:
        return InputError(
            f"{printable(self.data.path)}: {printable(self.name)} {problem}. The file is "
            "damaged; copy or save it again."
        )


@dataclasses.dataclass(frozen=True)
class Archive:
    """Members of a zip file by name, and the offset of its central directory."""

    members: dict[str, Member]
    directory: int


def read(source: Source) -> Archive:
    """Reads the central directory of a zip file; reads no member's data.

    Raises:
        InputError: not a zip file, truncated, or outside the subset described above.
    """
    count, start, size = _directory_extent(source)
    if size > MAX_HEADER or count > MAX_OBJECTS:
        raise _refused(source, f"has a directory of {size:,} bytes")
    directory = source.read(start, size)
    members: dict[str, Member] = {}
    offset = 0
    for _ in range(count):
        member = _member(source, directory, offset, start)
        if member.name in members:
            raise _refused(source, f"has two members {printable(member.name)}")
        members[member.name] = member
        offset += member.central_size
    if offset != size:
        raise _refused(source, "has a directory of another length than it declares")
    end = 0
    for member in sorted(members.values(), key=lambda member: member.header):
        if member.header < end:
            raise _refused(source, "has members that overlap")
        end = member.end
    if end > start:
        raise _refused(source, "has a member that overlaps the directory")
    return Archive(members, start)


def refuse_streamed(source: Source, archive: Archive) -> None:
    """Raises InputError if a member's size and checksum follow its data.

    A writer that replaces data of the member would leave them as they were.
    """
    for member in archive.members.values():
        if member.streamed:
            name = printable(member.name)
            raise _refused(source, f"has a member {name} that was streamed")


def _directory_extent(source: Source) -> tuple[int, int, int]:
    """Finds the central directory: (number of members, offset, size in bytes)."""
    size = source.size
    tail = source.read(max(0, size - END.size), min(size, END.size))
    if len(tail) < END.size or not tail.startswith(b"PK\5\6"):
        # Keras writes no archive comment. Searching backwards for the record, as other readers
        # do, would accept trailing bytes that no checksum covers.
        raise _refused(source, "does not end with a zip directory")
    _, disk, start_disk, disk_count, count, length, start, comment = END.unpack(tail)
    end = size - END.size  # the directory must end where the records after it begin
    locator_offset = end - LOCATOR64.size
    locator = (
        source.read(locator_offset, LOCATOR64.size) if locator_offset >= 0 else b""
    )
    if locator.startswith(b"PK\6\7"):
        _, _, record, _ = LOCATOR64.unpack(locator)
        fields = END64.unpack(source.read(record, END64.size))
        if fields[0] != b"PK\6\6" or record + END64.size != locator_offset:
            raise _refused(source, "has a zip64 record at another offset than declared")
        disk, start_disk, disk_count, count, length, start = fields[4:]
        end = record
    split = (
        disk or start_disk or disk_count != count
    )  # archive split over several files
    if split or comment or start + length != end:
        raise _refused(source, "has a zip directory at another offset than declared")
    return count, start, length


def _member(
    source: Source, directory: bytes, offset: int, directory_start: int
) -> Member:
    """Parses the central directory header at `offset`, and checks its local file header."""
    if offset + CENTRAL.size > len(directory):
        raise _refused(source, "has a directory that ends too early")
    fields = CENTRAL.unpack_from(directory, offset)
    flags, method, crc = fields[3], fields[4], fields[7]
    packed, size, name_size, extra_size, comment_size = fields[8:13]
    header = fields[16]
    name_start = offset + CENTRAL.size
    length = CENTRAL.size + name_size + extra_size + comment_size
    raw_name = directory[name_start : name_start + name_size]
    name = raw_name.decode("utf-8", "backslashreplace")
    if fields[0] != b"PK\1\2" or offset + length > len(directory):
        raise _refused(source, "has a directory that is damaged")
    extra = directory[name_start + name_size :][:extra_size]
    size, packed, header = _with_zip64(source, extra, [size, packed, header])
    if method or packed != size or flags & ~(_UTF8_NAME | _STREAMED):
        problem = (
            f"has a member {printable(name)} that is compressed or encrypted; "
            "expected stored members, of which a part can be read"
        )
        raise PackedMemberError(str(_refused(source, problem)), name)
    local = LOCAL.unpack(source.read(header, LOCAL.size))
    local_name = source.read(header + LOCAL.size, local[9])
    local_extra = source.read(header + LOCAL.size + len(local_name), local[10])
    data = header + LOCAL.size + len(local_name) + len(local_extra)
    declared = (local[6], *_with_zip64(source, local_extra, [local[8], local[7]]))
    streamed = bool(flags & _STREAMED)
    if streamed and declared == (0, 0, 0):
        descriptor, declared = _descriptor(source, data + size, (crc, size, size))
    else:
        descriptor = 0
    # Readers differ in which header they follow: with equal headers all see one content.
    if (
        local[0] != LOCAL_SIGNATURE
        or local_name != raw_name
        or (local[2], local[3]) != (flags, method)
        or declared != (crc, size, packed)
    ):
        raise _refused(source, f"has two headers of {printable(name)} that differ")
    window = source.window(data, size)
    central, end = directory_start + offset, data + size + descriptor
    return Member(name, window, crc, header, central, length, end, streamed)


def _descriptor(source: Source, offset: int, expected: tuple[int, int, int]):
    """Reads the data descriptor at `offset`: (its bytes, (CRC-32, size, packed size)).

    Its width is written nowhere: it has the width in which its fields equal `expected`.
    """
    fields = ()
    for layout in _DESCRIPTORS:
        if offset + layout.size <= source.size:
            signature, *fields = layout.unpack(source.read(offset, layout.size))
            if signature == b"PK\7\x08" and tuple(fields) == expected:
                return layout.size, expected
    return 0, tuple(fields)


def _with_zip64(source: Source, extra: bytes, values: list[int]) -> list[int]:
    """Returns header fields, with 64-bit values from the zip64 extra field where needed."""
    wide = iter(())
    for kind, data in _extra_fields(extra):
        if kind == ZIP64_EXTRA:
            usable = len(data) // 8 * 8
            wide = iter(struct.unpack(f"<{usable // 8}Q", data[:usable]))
    try:
        return [next(wide) if value == IN_ZIP64 else value for value in values]
    except StopIteration:
        raise _refused(source, "has a size that no zip64 field gives") from None


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (ID, data) of the extra fields of a header (4.5.1)."""
    offset = 0
    while offset + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, offset)
        yield kind, extra[offset + 4 : offset + 4 + size]
        offset += 4 + size


def _refused(source: Source, problem: str) -> InputError:
    return InputError(
        f"{printable(source.path)} {problem}. It is truncated, damaged or not written by "
        "Keras, NumPy or PyTorch; copy or save it again."
    )
