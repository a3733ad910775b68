"""Where an array of an HDF5 file lies that is stored in chunks, compressed or not.

Chunks are found and never decoded: a few bytes may stand for any number of numbers. Equal
chunks under an equal description are equal arrays, which is what a proof needs.
"""

import struct
from collections.abc import Iterator

from tfreuse.checkpoints.arrays import Chunk, Chunks
from tfreuse.checkpoints.hdf5_blocks import NOWHERE, Blocks

_CHUNKED = 2  # layout


def find(blocks: Blocks, path: str, layout: bytes, filters: bytes) -> Chunks | None:
    """The chunks of an array; None if their index is of a kind that Keras never wrote.

    Args:
        blocks: of the file.
        path: of the array.
        layout, filters: messages of the array's header; b"" for no filters.
    """
    version, kind, rank = layout[:3]
    if (version, kind) != (3, _CHUNKED):
        return None
    (tree,) = struct.unpack_from("<Q", layout, 3)
    found = () if tree == NOWHERE else sorted(_tree(blocks, path, tree, rank))
    for chunk in found:
        blocks.source.check(chunk.offset, chunk.size)
    if sum(chunk.size for chunk in found) > blocks.source.size:
        raise blocks.refused(path, "has more chunks than the file is long")
    return Chunks(layout[11:] + filters, tuple(found))


def _tree(
    blocks: Blocks, path: str, address: int, rank: int, below: int = 17
) -> Iterator[Chunk]:
    """The chunks below a node of the index, whose levels are below `below`."""
    block = blocks.read(path, address, 24, b"TREE")
    kind, level, count = struct.unpack_from("<2BH", block, 4)
    if kind != 1 or level >= below:
        raise ValueError(f"{path} has another kind of index")
    key = struct.Struct(
        f"<2L{rank}QQ"
    )  # size, filters left out, place; then the address
    entries = blocks.read(path, address + 24, key.size * count)
    for size, mask, *place, target in key.iter_unpack(entries):
        if level:
            yield from _tree(blocks, path, target, rank, level)
        else:
            yield Chunk(tuple(place), mask, target, size)
