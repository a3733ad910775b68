"""A zip file's directory, read strictly: what Keras writes, and nothing that hides more.

Members must be stored (not deflated), disjoint, unique, and the same in both headers, so
that an offset in a member is an offset in the file. Sizes beyond 4 GiB (zip64) are read.
"""

import dataclasses
import struct
import zlib
from collections.abc import Iterator

from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL_CRC = 16  # where the CRC stands in a central header ...
LOCAL_CRC = 14  # ... and in a local one
_UNKNOWN = 0xFFFFFFFF  # "see the zip64 field"


@dataclasses.dataclass(frozen=True)
class Member:
    """A member of a zip file: its bytes, its CRC, and where both headers stand."""

    name: str
    data: Source
    crc: int
    header: int
    central: int
    central_size: int

    @property
    def offset(self) -> int:
        """First byte of the data in the file."""
        return self.data.start

    def read(self) -> bytes:
        """The member's bytes, with their CRC checked; for small members.

        Raises:
            InputError: the CRC does not fit, or there are over MAX_HEADER bytes.
        """
        if self.data.size > MAX_HEADER:
            raise self._damaged(f"has over {MAX_HEADER:,} bytes")
        data = self.data.read(0, self.data.size)
        self.check_crc(zlib.crc32(data))
        return data

    def check(self) -> None:
        """Raises InputError unless the bytes, read once in pieces, fit the CRC."""
        crc = 0
        for piece in self.data.pieces():
            crc = zlib.crc32(piece, crc)
        self.check_crc(crc)

    def check_crc(self, crc: int) -> None:
        """Raises InputError unless `crc`, taken of the data, is the member's."""
        if crc != self.crc:
            raise self._damaged("does not fit its CRC")

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"{printable(self.data.path)}: {printable(self.name)} {what}. The file is "
            "damaged; copy or save it again."
        )


@dataclasses.dataclass(frozen=True)
class Archive:
    """The members of a zip file by name, and where its directory starts."""

    members: dict[str, Member]
    directory: int


def read(source: Source) -> Archive:
    """The directory of a zip file; no member is read.

    Raises:
        InputError: it is no zip file, is cut off, or is not laid out as described above.
    """
    count, start, size = _directory(source)
    if size > MAX_HEADER or count > MAX_OBJECTS:
        raise _refused(source, f"has a directory of {size:,} bytes")
    table = source.read(start, size)
    members: dict[str, Member] = {}
    at = 0
    for _ in range(count):
        member, length = _member(source, table, at, start)
        if member.name in members:
            raise _refused(source, f"has two members {printable(member.name)}")
        members[member.name] = member
        at += length
    if at != size:
        raise _refused(source, "has a directory of another length than it says")
    end = 0
    for member in sorted(members.values(), key=lambda m: m.header):
        if member.header < end:
            raise _refused(source, "has members that overlap")
        end = member.offset + member.data.size
    if end > start:
        raise _refused(source, "has a member that overlaps the directory")
    return Archive(members, start)


def _directory(source: Source) -> tuple[int, int, int]:
    """(members, first byte, bytes) of the directory, from the record at the file's end."""
    size = source.size
    tail = source.read(max(0, size - END.size), min(size, END.size))
    if len(tail) < END.size or not tail.startswith(b"PK\5\6"):
        # Keras writes no comment; what follows the record would be bytes nobody checks
        raise _refused(source, "does not end with a zip directory")
    _, disk, disk_start, here, count, length, start, comment = END.unpack(tail)
    end = size - END.size
    at = end - LOCATOR64.size
    locator = source.read(at, LOCATOR64.size) if at >= 0 else b""
    if locator.startswith(b"PK\6\7"):
        _, _, record, _ = LOCATOR64.unpack(locator)
        fields = END64.unpack(source.read(record, END64.size))
        if fields[0] != b"PK\6\6" or record + END64.size != at:
            raise _refused(source, "has a zip64 record that is not where it says")
        _, _, _, _, disk, disk_start, here, count, length, start = fields
        end = record
    if disk or disk_start or here != count or comment or start + length != end:
        raise _refused(source, "has a zip directory that is not where it says")
    return count, start, length


def _member(source: Source, table: bytes, at: int, start: int) -> tuple[Member, int]:
    """The member whose central header stands at `at`, and that header's length."""
    if at + CENTRAL.size > len(table):
        raise _refused(source, "has a directory that ends too early")
    fields = CENTRAL.unpack_from(table, at)
    flags, method, crc = fields[3], fields[4], fields[7]
    packed, size, name_size, extra_size, comment_size = fields[8:13]
    header = fields[16]
    length = CENTRAL.size + name_size + extra_size + comment_size
    raw = table[at + CENTRAL.size : at + CENTRAL.size + name_size]
    name = raw.decode("utf-8", "backslashreplace")
    if fields[0] != b"PK\1\2" or at + length > len(table):
        raise _refused(source, "has a directory that is damaged")
    extra = table[at + CENTRAL.size + name_size :][:extra_size]
    sizes = _wide(source, extra, [size, packed, header])
    size, packed, header = sizes
    if method or packed != size or flags & ~0x800:  # 0x800: the name is UTF-8
        raise _refused(
            source,
            f"has a member {printable(name)} that is compressed or encrypted; "
            "expected members stored as they are, so that a part can be read",
        )
    local = source.read(header, LOCAL.size)
    local_fields = LOCAL.unpack(local)
    local_name = source.read(header + LOCAL.size, local_fields[9])
    local_extra = source.read(header + LOCAL.size + len(local_name), local_fields[10])
    wide = _wide(source, local_extra, [local_fields[8], local_fields[7]])
    if (
        local_fields[0] != b"PK\3\4"
        or local_name != raw
        or (local_fields[2], local_fields[3], local_fields[6]) != (flags, method, crc)
        or wide != [size, packed]
    ):
        raise _refused(source, f"has two headers of {printable(name)} that differ")
    data = header + LOCAL.size + len(local_name) + len(local_extra)
    return (
        Member(name, source.window(data, size), crc, header, start + at, length),
        length,
    )


def _wide(source: Source, extra: bytes, values: list[int]) -> list[int]:
    """The values, those that do not fit in 32 bits taken from the zip64 field."""
    wide = iter(())
    for kind, data in _fields(extra):
        if kind == 1:
            usable = len(data) // 8 * 8
            wide = iter(struct.unpack(f"<{usable // 8}Q", data[:usable]))
    try:
        return [next(wide) if value == _UNKNOWN else value for value in values]
    except StopIteration:
        raise _refused(source, "has a size that no zip64 field gives") from None


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size


def _refused(source: Source, what: str) -> InputError:
    return InputError(
        f"{printable(source.path)} {what}. It is cut off, damaged or not written by "
        "Keras or numpy.savez; copy or save it again."
    )
