"""The arrays of an HDF5 file, found without following a link out of it.

A reader of its own, because the HDF5 library trusts what it reads: one flipped byte can make
it loop for ever. It knows the layout that h5py writes for Keras (superblock 0, groups with
symbol tables or few links, object headers 1) and refuses others. Every block is read once and
their sum is at most the file's size, so no file costs more than it is long.

Refused, wherever they stand: soft and external links, external storage, virtual data sets,
objects that are reachable twice (cycles), and more objects or depth than a model has.
"""

import dataclasses
import struct
from collections.abc import Iterator

from tfreuse.checkpoints import arrays, hdf5_chunks
from tfreuse.checkpoints import hdf5_messages as messages
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.hdf5_blocks import NOWHERE, Blocks
from tfreuse.checkpoints.hdf5_texts import Text, Texts
from tfreuse.checkpoints.source import MAX_DEPTH, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SPACE, _LINK_INFO, _TYPE, _LINK, _EXTERNAL, _LAYOUT = 1, 2, 3, 6, 7, 8
_FILTERS, _ATTRIBUTE, _CONTINUED, _SYMBOLS = 11, 12, 16, 17
_MAX_NAME = 1024  # bytes
_COMPACT, _CONTIGUOUS, _VIRTUAL = 0, 1, 3  # layouts


@dataclasses.dataclass
class Group:
    """A group of an HDF5 file: groups and arrays by name, and the text attributes asked for."""

    path: str
    groups: dict[str, "Group"]
    arrays: dict[str, StoredArray]
    attributes: dict[str, Text]

    def walk(self) -> Iterator["Group"]:
        """This group and all below it, parents first."""
        yield self
        for group in self.groups.values():
            yield from group.walk()


def read(
    source: Source,
    attributes: tuple[str, ...] = ("name",),
    root_attributes: tuple[str, ...] = (),
) -> Group:
    """The structure of an HDF5 file; no payload is read.

    Args:
        source: the file, or the part of a file that is one.
        attributes: text attributes of groups that are read. A name is read together with
            its numbered continuations (name0, name1, ...), which hold long lists.
        root_attributes: those that only the root has.

    Raises:
        InputError: it is no HDF5 file, is cut off, or has a structure that no model needs.
    """
    try:
        walk = _Walk(source, attributes, root_attributes)
        root = walk.object("", walk.root(), 0)
        if isinstance(root, Group):
            return root
        raise ValueError("its root is no group")
    except InputError:
        raise
    except (ValueError, struct.error, IndexError, OverflowError) as error:
        raise InputError(
            f"{printable(source.path)} cannot be read as HDF5: {printable(error)}. It is "
            "damaged, or not written by Keras; copy or save it again."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Message:
    kind: int
    offset: int  # of the data in the file
    data: bytes


def _attributes(found: list[_Message]) -> Iterator[bytes]:
    return (message.data for message in found if message.kind == _ATTRIBUTE)


class _Walk:
    """One pass over a file, with the counts that bound it."""

    def __init__(self, source: Source, attributes, root_attributes):
        self.source = source
        self.attributes = attributes
        self.root_attributes = root_attributes
        self.blocks = Blocks(source)
        self.texts = Texts(self.blocks)
        self.seen: set[int] = set()
        self.objects = 0

    def root(self) -> int:
        """The address of the root group, from the superblock."""
        block = self.source.read(0, 96)
        version, sizes = block[8], block[13:15]
        if not block.startswith(SIGNATURE) or version != 0 or sizes != b"\x08\x08":
            raise ValueError("its layout is of another version")
        base, _, end, driver = struct.unpack_from("<4Q", block, 24)
        if base or driver != NOWHERE:
            raise ValueError("it is part of a family of files")
        self.source.check(0, end)  # the library's own test of a file that was cut off
        return struct.unpack_from("<Q", block, 64)[0]

    def object(self, path: str, address: int, depth: int) -> Group | StoredArray | None:
        """What stands at `address`: a group, an array, or None for anything else."""
        if depth > MAX_DEPTH:
            raise self.blocks.refused(path, f"has over {MAX_DEPTH} levels")
        found = list(self._messages(path, address))
        kinds = {message.kind for message in found}
        if _SPACE in kinds or _LAYOUT in kinds:
            return self._array(path, found)
        if not kinds & {_SYMBOLS, _LINK_INFO}:
            return None
        names = self.attributes + (() if path else self.root_attributes)
        group = Group(path, {}, {}, self.texts.of(_attributes(found), names))
        links = list(self._links(path, found))
        self.objects += len(links)
        if self.objects > MAX_OBJECTS:
            raise self.blocks.refused(path, f"has over {MAX_OBJECTS:,} objects")
        for name, target in links:
            below = self.object(f"{path}/{name}", target, depth + 1)
            if isinstance(below, Group):
                group.groups[name] = below
            elif below is not None:
                group.arrays[name] = below
        return group

    def _messages(self, path: str, address: int) -> Iterator[_Message]:
        if address in self.seen:
            raise self.blocks.refused(path, "can be reached by two paths")
        self.seen.add(address)
        version, _, _, _, size = struct.unpack(
            "<2BH2L", self.blocks.read(path, address, 12)
        )
        if version != 1:
            raise ValueError("its object headers are of another version")
        blocks = [(address + 16, size)]
        for start, length in blocks:  # grows while it is walked
            block, at = self.blocks.read(path, start, length), 0
            while at + 8 <= len(block):
                kind, size, flags = struct.unpack_from("<2HB", block, at)
                data = block[at + 8 : at + 8 + size]
                if kind == _CONTINUED:
                    blocks.append(struct.unpack_from("<2Q", data))
                elif flags & 2 and kind in (_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE):
                    raise ValueError("it shares descriptions between objects")
                elif kind:
                    yield _Message(kind, start + at + 8, data)
                at += 8 + size

    def _links(self, path: str, found: list[_Message]) -> Iterator[tuple[str, int]]:
        """(name, address) of what the group holds."""
        for message in found:
            data = message.data
            if message.kind == _SYMBOLS:
                tree, heap = struct.unpack_from("<2Q", data)
                yield from self._table(path, tree, self._names(path, heap))
            elif message.kind == _LINK:
                yield self._link(path, data)
            elif message.kind == _LINK_INFO:
                heap = struct.unpack_from("<Q", data, 10 if data[1] & 1 else 2)[0]
                if heap != NOWHERE:
                    raise ValueError("its groups are of another version")

    def _link(self, path: str, data: bytes) -> tuple[str, int]:
        version, flags = data[0], data[1]
        at = 2 + bool(flags & 8) + 8 * bool(flags & 4) + bool(flags & 16)
        width = 1 << (flags & 3)
        size = int.from_bytes(data[at : at + width], "little")
        name = messages.text(data[at + width : at + width + size])
        if flags & 8 and data[2]:
            raise self.blocks.refused(f"{path}/{name}", "is a link to elsewhere")
        if version != 1:
            raise ValueError("its links are of another version")
        return name, struct.unpack_from("<Q", data, at + width + size)[0]

    def _names(self, path: str, address: int) -> bytes:
        """The names of a group's members, each ended by a NUL."""
        block = self.blocks.read(path, address, 32, b"HEAP")
        size, _, start = struct.unpack_from("<3Q", block, 8)
        return self.blocks.read(path, start, size)

    def _table(
        self, path: str, address: int, names: bytes, below: int = 17
    ) -> Iterator[tuple[str, int]]:
        """(name, address) from a tree of tables, whose levels are below `below`."""
        block = self.blocks.read(path, address, 24, b"TREE")
        kind, level, count = struct.unpack_from("<2BH", block, 4)
        if kind != 0 or level >= below:
            raise ValueError("a group has another kind of table")
        children = self.blocks.read(path, address + 24, 16 * count)
        for at in range(8, 16 * count, 16):
            (child,) = struct.unpack_from("<Q", children, at)
            if level:
                yield from self._table(path, child, names, level)
                continue
            head = self.blocks.read(path, child, 8, b"SNOD")
            (size,) = struct.unpack_from("<H", head, 6)
            entries = self.blocks.read(path, child + 8, 40 * size)
            for name_at, target, cached in struct.iter_unpack("<2QL20x", entries):
                name = messages.text(names[name_at : name_at + _MAX_NAME])
                if cached == 2:
                    raise self.blocks.refused(
                        f"{path}/{name}", "is a link to elsewhere"
                    )
                yield name, target

    def _array(self, path: str, found: list[_Message]) -> StoredArray | None:
        """The array, or None if it holds no numbers."""
        parts = {message.kind: message for message in found}
        if not {_SPACE, _TYPE, _LAYOUT} <= parts.keys():
            raise ValueError(f"{path} is no whole array")
        layout = parts[_LAYOUT].data
        version, kind = layout[0], layout[1]
        if _EXTERNAL in parts or (version == 4 and kind == _VIRTUAL):
            raise self.blocks.refused(path, "takes its numbers from another file")
        if version not in (3, 4):
            raise ValueError("its arrays are of another version")
        dtype = messages.number(parts[_TYPE].data)
        declared = self.texts.of(_attributes(found), ("dtype",)).get("dtype")
        declared = declared if isinstance(declared, str) else None
        dtype = dtype if dtype is None else arrays.number_type(dtype, declared)
        if dtype is None:
            return None
        shape = messages.shape(parts[_SPACE].data)
        if kind not in (_COMPACT, _CONTIGUOUS) or _FILTERS in parts:
            why = f"{printable(path)} is stored in chunks or compressed"
            filters = parts[_FILTERS].data if _FILTERS in parts else b""
            chunks = hdf5_chunks.find(self.blocks, path, layout, filters)
            return StoredArray(shape, dtype, self.source, None, why, chunks)
        if kind == _COMPACT:
            size, offset = (
                struct.unpack_from("<H", layout, 2)[0],
                parts[_LAYOUT].offset + 4,
            )
        else:
            offset, size = struct.unpack_from("<2Q", layout, 2)
        return self._placed(path, StoredArray(shape, dtype, self.source, offset), size)

    def _placed(self, path: str, array: StoredArray, size: int) -> StoredArray:
        """The array, its declared shape compared with the bytes that are there."""
        if array.nbytes == 0:
            return dataclasses.replace(array, offset=None)
        if array.offset == NOWHERE or size != array.nbytes:
            raise self.blocks.refused(
                path, f"declares {array.nbytes:,} bytes that are not in the file"
            )
        self.source.check(array.offset, size)
        return array
