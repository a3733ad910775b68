"""Reads the blocks of an HDF5 file's structure; their sum is at most the file's size.

This bounds the cost of any file, even where its blocks overlap or point to each other.
"""

from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

UNDEFINED = 0xFFFFFFFFFFFFFFFF  # the "undefined address" of HDF5
_READ_AHEAD = (
    512  # bytes: a whole object header, or a symbol table node with few entries
)


class Blocks:
    """Reads blocks, and limits their number and total size."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._cache = (0, b"")  # (address, bytes) of the last read
        self._count = 0
        self._budget = source.size  # bytes of structure that may still be read

    def read(self, path: str, address: int, size: int, signature: bytes = b"") -> bytes:
        """Reads a block of the object at `path`; ValueError if its signature differs."""
        self._budget -= size
        self._count += 1
        if self._budget < 0 or size > MAX_HEADER or self._count > 8 * MAX_OBJECTS:
            raise self.refused(path, "has more structure than the file is long")
        block = self._cached(address, size)
        if not block.startswith(signature):
            raise ValueError(f"{path or '/'} has a block of another kind")
        return block

    def refused(self, path: str, problem: str) -> InputError:
        """Returns the error for a structure that no model needs, at `path`."""
        return InputError(
            f"{printable(self.source.path)}: {printable(path or '/')} {problem}; no model "
            "needs that, and it could read other files or never end. Save the model again."
        )

    def _cached(self, address: int, size: int) -> bytes:
        """Reads bytes with read-ahead: the next block often follows directly."""
        start, cache = self._cache
        if not start <= address <= address + size <= start + len(cache):
            self.source.check(address, size)
            length = max(size, min(_READ_AHEAD, self.source.size - address))
            start, cache = self._cache = address, self.source.read(address, length)
        return cache[address - start : address - start + size]
