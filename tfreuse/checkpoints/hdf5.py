"""Finds the arrays of an HDF5 file, without following a link out of it.

h5py is not used, because the HDF5 library trusts its input: one flipped byte can make it loop
for ever. This reader supports the subset that h5py writes for Keras: superblock version 0,
object headers version 1, groups with symbol tables or with links in their header. Section
numbers are those of the HDF5 File Format Specification, version 3.0. The blocks that are read
add up to at most the file's size, which bounds the cost of any file.

Refused anywhere in a file: soft and external links, external storage, virtual data sets, objects
with two paths (cycles), more objects than MAX_OBJECTS, more levels than MAX_DEPTH.
"""

import dataclasses
import struct
from collections.abc import Iterator

from tfreuse.checkpoints import arrays, hdf5_chunks
from tfreuse.checkpoints import hdf5_messages as messages
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.hdf5_blocks import UNDEFINED, Blocks
from tfreuse.checkpoints.hdf5_texts import Text, Texts
from tfreuse.checkpoints.source import MAX_DEPTH, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# types of header messages, IV.A.2
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _EXTERNAL_FILES, _LAYOUT = 1, 2, 3, 6, 7, 8
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 11, 12, 16, 17
_SHARED = 2  # flag of a message whose content is stored elsewhere
_COMPACT, _CONTIGUOUS, _VIRTUAL = 0, 1, 3  # layout classes, IV.A.2.i
_GROUP_NODE = 0  # type of a B-tree node, III.A.1
_DESCRIPTIONS = (_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE)
_CACHED_SOFT_LINK = 2  # cache type of a symbol table entry, III.C
_MAX_NAME = 1024  # bytes


@dataclasses.dataclass
class Group:
    """A group of an HDF5 file: its groups and arrays by name, and selected string attributes."""

    path: str
    groups: dict[str, "Group"]
    arrays: dict[str, StoredArray]
    attributes: dict[str, Text]

    def walk(self) -> Iterator["Group"]:
        """Yields this group and all groups under it, parents first."""
        yield self
        for group in self.groups.values():
            yield from group.walk()


def read(
    source: Source,
    attributes: tuple[str, ...] = ("name",),
    root_attributes: tuple[str, ...] = (),
) -> Group:
    """Reads the structure of an HDF5 file, and no array's values.

    Args:
        source: an HDF5 file, or a part of a file that is one.
        attributes: string attributes to read of every group, each with its numbered
            continuations (name0, name1, ...), into which Keras splits long lists.
        root_attributes: further attributes to read of the root group.

    Raises:
        InputError: not an HDF5 file, truncated, or with a structure that no model needs.
    """
    try:
        reader = _Reader(source, attributes, root_attributes)
        root = reader.object("", reader.root_address(), 0)
        if isinstance(root, Group):
            return root
        raise ValueError("its root is not a group")
    except InputError:
        raise
    except (ValueError, struct.error, IndexError, OverflowError) as error:
        raise InputError(
            f"{printable(source.path)} cannot be read as HDF5: {printable(error)}. It is "
            "damaged, or not written by Keras; copy or save it again."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Message:
    """A message of an object header; `offset` is that of its data in the file."""

    kind: int
    offset: int
    data: bytes


def _attributes(header: list[_Message]) -> Iterator[bytes]:
    return (message.data for message in header if message.kind == _ATTRIBUTE)


class _Reader:
    """Walks over the objects of a file once, within the limits on their number and depth."""

    def __init__(self, source: Source, attributes, root_attributes):
        self.source = source
        self.attributes = attributes
        self.root_attributes = root_attributes
        self.blocks = Blocks(source)
        self.texts = Texts(self.blocks)
        self.visited: set[int] = set()  # addresses of object headers
        self.objects = 0

    def root_address(self) -> int:
        """Returns the address of the root group's object header, from the superblock (II.A)."""
        block = self.source.read(0, 96)
        version, sizes = block[8], block[13:15]  # sizes of offsets and of lengths
        if not block.startswith(SIGNATURE) or version != 0 or sizes != b"\x08\x08":
            raise ValueError("its superblock is of an unsupported version")
        base, _, end, driver = struct.unpack_from("<4Q", block, 24)
        if base or driver != UNDEFINED:
            raise ValueError("it is part of a family of files")
        self.source.check(0, end)  # how the HDF5 library detects a truncated file
        return struct.unpack_from("<Q", block, 64)[0]

    def object(self, path: str, address: int, depth: int) -> Group | StoredArray | None:
        """Reads the object at `address`; None if it is neither a group nor an array."""
        if depth > MAX_DEPTH:
            raise self.blocks.refused(path, f"has over {MAX_DEPTH} levels")
        header = list(self._header(path, address))
        kinds = {message.kind for message in header}
        if _DATASPACE in kinds or _LAYOUT in kinds:
            return self._array(path, header)
        if not kinds & {_SYMBOL_TABLE, _LINK_INFO}:
            return None
        names = self.attributes + (() if path else self.root_attributes)
        group = Group(path, {}, {}, self.texts.of(_attributes(header), names))
        links = list(self._links(path, header))
        self.objects += len(links)
        if self.objects > MAX_OBJECTS:
            raise self.blocks.refused(path, f"has over {MAX_OBJECTS:,} objects")
        for name, target in links:
            child = self.object(f"{path}/{name}", target, depth + 1)
            if isinstance(child, Group):
                group.groups[name] = child
            elif child is not None:
                group.arrays[name] = child
        return group

    def _header(self, path: str, address: int) -> Iterator[_Message]:
        """Yields the messages of an object header, version 1 (IV.A.1.a)."""
        if address in self.visited:
            raise self.blocks.refused(path, "can be reached by two paths")
        self.visited.add(address)
        version, _, _, _, size = struct.unpack(
            "<2BH2L", self.blocks.read(path, address, 12)
        )
        if version != 1:
            raise ValueError("its object headers are of an unsupported version")
        blocks = [(address + 16, size)]
        for start, length in blocks:  # continuation messages append further blocks
            block, position = self.blocks.read(path, start, length), 0
            while position + 8 <= len(block):
                kind, size, flags = struct.unpack_from("<2HB", block, position)
                position += 8
                data = block[position : position + size]
                if kind == _CONTINUATION:
                    blocks.append(struct.unpack_from("<2Q", data))
                elif flags & _SHARED and kind in _DESCRIPTIONS:
                    raise ValueError("it shares header messages between objects")
                elif kind:
                    yield _Message(kind, start + position, data)
                position += size

    def _links(self, path: str, header: list[_Message]) -> Iterator[tuple[str, int]]:
        """Yields (name, address) of the group's members."""
        for message in header:
            data = message.data
            if message.kind == _SYMBOL_TABLE:
                tree, heap = struct.unpack_from("<2Q", data)
                yield from self._symbols(path, tree, self._local_heap(path, heap))
            elif message.kind == _LINK:
                yield self._link(path, data)
            elif message.kind == _LINK_INFO:
                # a group of many links has them in a fractal heap (III.G), unsupported
                heap = struct.unpack_from("<Q", data, 10 if data[1] & 1 else 2)[0]
                if heap != UNDEFINED:
                    raise ValueError("its groups are of an unsupported version")

    def _link(self, path: str, data: bytes) -> tuple[str, int]:
        """Parses a link message (IV.A.2.g): (name, address) of a hard link."""
        version, flags = data[0], data[1]
        # optional fields: link type, creation order, character set
        start = 2 + bool(flags & 8) + 8 * bool(flags & 4) + bool(flags & 16)
        width = 1 << (flags & 3)  # bytes of the name's length
        size = int.from_bytes(data[start : start + width], "little")
        name = messages.text(data[start + width : start + width + size])
        if flags & 8 and data[2]:  # link type 0 is a hard link
            raise self.blocks.refused(f"{path}/{name}", "is a link to elsewhere")
        if version != 1:
            raise ValueError("its links are of an unsupported version")
        return name, struct.unpack_from("<Q", data, start + width + size)[0]

    def _local_heap(self, path: str, address: int) -> bytes:
        """Reads a local heap (III.D): names of a group's members, each ended by a NUL."""
        block = self.blocks.read(path, address, 32, b"HEAP")
        size, _, start = struct.unpack_from("<3Q", block, 8)
        return self.blocks.read(path, start, size)

    def _symbols(
        self,
        path: str,
        address: int,
        names: bytes,
        below: int = hdf5_chunks.MAX_LEVEL + 1,
    ) -> Iterator[tuple[str, int]]:
        """Yields (name, address) of the symbol tables under a B-tree node (III.A.1, III.B).

        Levels must fall from `below` on the way down: a node that leads to itself would never
        end.
        """
        block = self.blocks.read(path, address, 24, b"TREE")
        node_type, level, count = struct.unpack_from("<2BH", block, 4)
        if node_type != _GROUP_NODE or level >= below:
            raise ValueError("a group has another kind of table")
        # keys (names) and children alternate, of 8 bytes each, beginning with a key
        children = self.blocks.read(path, address + 24, 16 * count)
        for position in range(8, 16 * count, 16):
            (child,) = struct.unpack_from("<Q", children, position)
            if level:
                yield from self._symbols(path, child, names, level)
                continue
            node = self.blocks.read(path, child, 8, b"SNOD")
            (size,) = struct.unpack_from("<H", node, 6)
            entries = self.blocks.read(path, child + 8, 40 * size)
            for name_start, target, cached in struct.iter_unpack("<2QL20x", entries):
                name = messages.text(names[name_start : name_start + _MAX_NAME])
                if cached == _CACHED_SOFT_LINK:
                    raise self.blocks.refused(
                        f"{path}/{name}", "is a link to elsewhere"
                    )
                yield name, target

    def _array(self, path: str, header: list[_Message]) -> StoredArray | None:
        """Returns the array with this object header; None if it holds no numbers."""
        parts = {message.kind: message for message in header}
        if not {_DATASPACE, _DATATYPE, _LAYOUT} <= parts.keys():
            raise ValueError(f"{path} lacks a dataspace, a datatype or a data layout")
        layout = parts[_LAYOUT].data
        version, layout_class = layout[0], layout[1]
        virtual = version == 4 and layout_class == _VIRTUAL
        if _EXTERNAL_FILES in parts or virtual:
            raise self.blocks.refused(path, "takes its numbers from another file")
        if version not in (3, 4):
            raise ValueError("its data layouts are of an unsupported version")
        dtype = messages.number(parts[_DATATYPE].data)
        declared = self.texts.of(_attributes(header), ("dtype",)).get("dtype")
        declared = declared if isinstance(declared, str) else None
        dtype = dtype if dtype is None else arrays.number_type(dtype, declared)
        if dtype is None:
            return None
        shape = messages.shape(parts[_DATASPACE].data)
        if layout_class not in (_COMPACT, _CONTIGUOUS) or _FILTERS in parts:
            why = f"{printable(path)} is stored in chunks or compressed"
            filters = parts[_FILTERS].data if _FILTERS in parts else b""
            chunks = hdf5_chunks.find(self.blocks, path, layout, filters)
            return StoredArray(shape, dtype, self.source, None, why, chunks)
        if layout_class == _COMPACT:  # the values are in the header itself
            (size,) = struct.unpack_from("<H", layout, 2)
            offset = parts[_LAYOUT].offset + 4
        else:
            offset, size = struct.unpack_from("<2Q", layout, 2)
        return self._checked(path, StoredArray(shape, dtype, self.source, offset), size)

    def _checked(self, path: str, array: StoredArray, size: int) -> StoredArray:
        """Returns the array after comparing its declared shape with the bytes in the file."""
        if array.nbytes == 0:
            return dataclasses.replace(array, offset=None)
        if array.offset == UNDEFINED or size != array.nbytes:
            raise self.blocks.refused(
                path, f"declares {array.nbytes:,} bytes that are not in the file"
            )
        self.source.check(array.offset, size)
        return array
