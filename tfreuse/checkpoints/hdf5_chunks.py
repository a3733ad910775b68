"""Finds the chunks of an array in an HDF5 file, without decoding them.

A few compressed bytes can expand to any size, so decoding is refused. Comparison needs none:
equal chunks with equal chunk shape and filters are equal arrays.
"""

import struct
from collections.abc import Iterator

from tfreuse.checkpoints.arrays import Chunk, Chunks
from tfreuse.checkpoints.hdf5_blocks import UNDEFINED, Blocks

_CHUNKED = 2  # layout class, IV.A.2.i
_CHUNK_NODE = 1  # type of a B-tree node, III.A.1
MAX_LEVEL = 16  # of a B-tree; 2**16 and more leaves, far beyond MAX_OBJECTS


def find(blocks: Blocks, path: str, layout: bytes, filters: bytes) -> Chunks | None:
    """Returns the chunks of an array; None if their index is of a kind that Keras never wrote.

    Args:
        blocks: reader of the file.
        path: path of the array.
        layout, filters: messages of the array's object header; b"" for no filter pipeline.
    """
    version, layout_class, rank = layout[:3]  # rank counts the element size as a side
    if (version, layout_class) != (3, _CHUNKED):
        return None
    (tree,) = struct.unpack_from("<Q", layout, 3)
    chunks = () if tree == UNDEFINED else sorted(_chunks(blocks, path, tree, rank))
    for chunk in chunks:
        blocks.source.check(chunk.offset, chunk.size)
    if sum(chunk.size for chunk in chunks) > blocks.source.size:
        raise blocks.refused(path, "has more chunks than the file is long")
    return Chunks(layout[11:] + filters, tuple(chunks))


def _chunks(
    blocks: Blocks, path: str, address: int, rank: int, below: int = MAX_LEVEL + 1
) -> Iterator[Chunk]:
    """Yields the chunks under a B-tree node (version 1, III.A.1) of a level under `below`.

    Levels must fall on the way down: a node that leads to itself would never end.
    """
    block = blocks.read(path, address, 24, b"TREE")
    node_type, level, count = struct.unpack_from("<2BH", block, 4)
    if node_type != _CHUNK_NODE or level >= below:
        raise ValueError(f"{path} has another kind of index")
    # key: size, filter mask, index of the first element; then the child's address
    entry = struct.Struct(f"<2L{rank}QQ")
    entries = blocks.read(path, address + 24, entry.size * count)
    for size, filter_mask, *index, child in entry.iter_unpack(entries):
        if level:
            yield from _chunks(blocks, path, child, rank, level)
        else:
            yield Chunk(tuple(index), filter_mask, child, size)
