"""Structure of an HDF5 file, block by block: each is read once, in sum no more than the file.

With that, no file costs more than it is long, whatever its blocks say of each other.
"""

from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

NOWHERE = 0xFFFFFFFFFFFFFFFF  # "no address"
_AHEAD = 512  # bytes: a whole header, or a group's table


class Blocks:
    """Reads blocks, and counts them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._kept = (0, b"")
        self._count = 0
        self._left = source.size  # bytes of structure that may still be read

    def read(self, path: str, address: int, size: int, magic: bytes = b"") -> bytes:
        """A block of the object `path`; ValueError if it does not begin with `magic`."""
        self._left -= size
        self._count += 1
        if self._left < 0 or size > MAX_HEADER or self._count > 8 * MAX_OBJECTS:
            raise self.refused(path, "has more structure than the file is long")
        block = self._ahead(address, size)
        if not block.startswith(magic):
            raise ValueError(f"{path or '/'} has a block of another kind")
        return block

    def refused(self, path: str, what: str) -> InputError:
        """The error that says what stands at `path`."""
        return InputError(
            f"{printable(self.source.path)}: {printable(path or '/')} {what}; no model "
            "needs that, and it could read other files or never end. Save the model again."
        )

    def _ahead(self, address: int, size: int) -> bytes:
        """The bytes at `address`; what follows them is kept, since it is often next."""
        start, kept = self._kept
        if not start <= address <= address + size <= start + len(kept):
            self.source.check(address, size)
            length = max(size, min(_AHEAD, self.source.size - address))
            start, kept = self._kept = address, self.source.read(address, length)
        return kept[address - start : address - start + size]
