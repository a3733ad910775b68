"""String attributes of HDF5 objects: names of layers, lists of names, configurations."""

import math
import struct
from collections.abc import Iterable

from tfreuse.checkpoints import hdf5_messages as messages
from tfreuse.checkpoints.hdf5_blocks import Blocks

Text = str | list[str]


class Texts:
    """Reads string attributes.

    Variable-length strings are stored in global heap collections (III.E), which objects share.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._heaps: dict[int, dict[int, bytes]] = {}
        # Strings may share bytes of a heap; without a budget, a short file could hold very long
        # lists of strings.
        self._budget = blocks.source.size

    def of(
        self, attributes: Iterable[bytes], names: tuple[str, ...]
    ) -> dict[str, Text]:
        """Returns the attributes with these names that are a string or a list of strings.

        Keras splits a list that is too long for one attribute (64 KiB) into name0, name1, ...:
        these are joined under the name.
        """
        values = {}
        for data in attributes:
            parts = messages.attribute(
                data, lambda name: name.rstrip("0123456789") in names
            )
            value = self._text(*parts[1:]) if parts else None
            if value is not None:
                values[parts[0]] = value
        for name in names:
            part = 0
            while isinstance(texts := values.get(f"{name}{part}"), list):
                values.setdefault(name, []).extend(texts)
                part += 1
        return {name: values[name] for name in names if name in values}

    def _text(self, kind: int, size: int, shape: tuple[int, ...], data: bytes):
        """Decodes a string or a list of strings; returns None for other types."""
        count = math.prod(shape)
        if shape and count == 0:
            return []
        if kind not in (messages.STRING, messages.VARIABLE):
            return None
        if size * count > len(data):
            raise ValueError("an attribute is longer than its header")
        values = [data[start : start + size] for start in range(0, size * count, size)]
        if kind == messages.VARIABLE:
            values = [
                self._from_heap(*struct.unpack("<LQL", value)) for value in values
            ]
        texts = [messages.text(value) for value in values]
        return texts if shape else texts[0]

    def _from_heap(self, length: int, address: int, index: int) -> bytes:
        """Reads an object of the global heap collection at `address`."""
        if length == 0:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._collection(address)
        self._budget -= length
        if self._budget < 0 or index not in self._heaps[address]:
            raise ValueError("a text is not in its heap")
        return self._heaps[address][index][:length]

    def _collection(self, address: int) -> dict[int, bytes]:
        """Reads the objects of a global heap collection by index; index 0 is free space."""
        header = self._blocks.read("/", address, 16, b"GCOL")
        (size,) = struct.unpack_from("<Q", header, 8)
        block = self._blocks.read("/", address + 16, size - 16)
        objects, start = {}, 0
        while start + 16 <= len(block):
            index, _, _, size = struct.unpack_from("<2HLQ", block, start)
            if index == 0:
                break
            objects[index] = block[start + 16 : start + 16 + size]
            start += 16 + -(-size // 8) * 8
        return objects
