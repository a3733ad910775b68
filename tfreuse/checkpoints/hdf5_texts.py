"""Text attributes of an HDF5 file's objects: names of layers, lists of them, configurations."""

import struct
from collections.abc import Iterable

from tfreuse.checkpoints import hdf5_messages as messages
from tfreuse.checkpoints.hdf5_blocks import Blocks

Text = str | list[str]


class Texts:
    """Reads attributes; those of a length of their own stand in heaps that objects share."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._left = blocks.source.size  # bytes that may still be taken from heaps

    def of(
        self, attributes: Iterable[bytes], names: tuple[str, ...]
    ) -> dict[str, Text]:
        """The attributes of these names that are a text or a list of texts.

        A name stands for its numbered continuations (name0, name1, ...) too, in which a list
        goes on that is too long for one attribute.
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
            while isinstance(more := values.get(f"{name}{part}"), list):
                values.setdefault(name, []).extend(more)
                part += 1
        return {name: values[name] for name in names if name in values}

    def _text(self, kind: int, size: int, shape: tuple[int, ...], data: bytes):
        """A text, a list of texts, or None if it is neither."""
        count = 1
        for side in shape:
            count *= side
        if shape and count == 0:
            return []
        if kind not in (messages.TEXT, messages.VARIABLE):
            return None
        if size * count > len(data):
            raise ValueError("an attribute is longer than its header")
        texts = [data[at : at + size] for at in range(0, size * count, size)]
        if kind == messages.VARIABLE:
            texts = [self._in_heap(*struct.unpack("<LQL", text)) for text in texts]
        texts = [messages.text(text) for text in texts]
        return texts if shape else texts[0]

    def _in_heap(self, length: int, address: int, index: int) -> bytes:
        if length == 0:
            return b""
        if address not in self._heaps:
            head = self._blocks.read("/", address, 16, b"GCOL")
            (size,) = struct.unpack_from("<Q", head, 8)
            block = self._blocks.read("/", address + 16, size - 16)
            self._heaps[address], at = {}, 0
            while at + 16 <= len(block):
                number, _, _, size = struct.unpack_from("<2HLQ", block, at)
                if number == 0:
                    break
                self._heaps[address][number] = block[at + 16 : at + 16 + size]
                at += 16 + -(-size // 8) * 8
        self._left -= length
        if self._left < 0 or index not in self._heaps[address]:
            raise ValueError("a text is not in its heap")
        return self._heaps[address][index][:length]
