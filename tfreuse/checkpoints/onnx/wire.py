"""Reads the messages of an ONNX file by offset; values of tensors stay in the file.

    model = read(source)
    model.nodes[0].op, model.nodes[0].inputs     # "Conv", ("image", "conv1.weight")
    model.tensors["conv1.weight"].shape

A message is a sequence of fields: a number with a type, then the value (protobuf's encoding).
Numbers are those of onnx.proto3 (https://github.com/onnx/onnx). Lengths are compared with the
length of the message around before anything is read.
"""

import dataclasses
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

_WINDOW = 2**16  # bytes read ahead
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1  # data_location


@dataclasses.dataclass
class Tensor:
    """An array: its type, and where its bytes are.

    Attributes:
        data: (offset, size) in the file; None if it is elsewhere, or stored number by number.
        external: entries such as location and offset, for an array in another file.
    """

    name: str = ""
    kind: int = 0
    shape: tuple[int, ...] = ()
    data: tuple[int, int] | None = None
    external: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Node:
    """An operation; attributes are numbers, tuples of integers, bytes or a `Tensor`."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """The graph: its nodes in the order in which they run, and its constants by name.

    Attributes:
        producer: name of the program that wrote the file, such as "pytorch" or "tf2onnx".
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    producer: str = ""


def read(source: Source) -> Model:
    """Reads the graph of a model.

    Raises:
        InputError: it is no ONNX file, it is damaged, or it is too large.
    """
    return _Reader(source).model()


class _Reader:
    def __init__(self, source: Source):
        self.source = source
        self.window, self.start = b"", 0
        self.texts = 0  # bytes of names and attributes so far

    def model(self) -> Model:
        graphs, producer = [], ""
        for number, kind, value in self.fields(0, self.source.size):
            if (number, kind) == (2, _BYTES):
                producer = self.text(value)
            elif (number, kind) == (7, _BYTES):
                graphs.append(value)
        if len(graphs) != 1:
            raise self.damaged("it has no graph")
        nodes, tensors = [], {}
        for number, kind, value in self.fields(*_ends(graphs[0])):
            if (number, kind) == (1, _BYTES):
                nodes.append(self.node(*_ends(value)))
            elif (number, kind) == (5, _BYTES):
                tensor = self.tensor(*_ends(value))
                tensors[tensor.name] = tensor
            if len(nodes) + len(tensors) > MAX_OBJECTS:
                raise self.damaged(f"it has over {MAX_OBJECTS:,} nodes and arrays")
        return Model(tuple(nodes), tensors, producer)

    def node(self, start: int, end: int) -> Node:
        inputs, outputs, attributes, name, op = [], [], {}, "", ""
        for number, kind, value in self.fields(start, end):
            if kind != _BYTES:
                continue
            if number == 1:
                inputs.append(self.text(value))
            elif number == 2:
                outputs.append(self.text(value))
            elif number == 3:
                name = self.text(value)
            elif number == 4:
                op = self.text(value)
            elif number == 5:
                key, attribute = self.attribute(*_ends(value))
                attributes[key] = attribute
        return Node(name, op, tuple(inputs), tuple(outputs), attributes)

    def attribute(self, start: int, end: int) -> tuple[str, Any]:
        name, value, integers = "", None, []
        for number, kind, content in self.fields(start, end):
            if (number, kind) == (1, _BYTES):
                name = self.text(content)
            elif (number, kind) == (2, _FIXED32):
                (value,) = struct.unpack("<f", content)
            elif (number, kind) == (3, _VARINT):
                value = _signed(content)
            elif (number, kind) == (4, _BYTES):
                value = self.bytes(content)
            elif (number, kind) == (5, _BYTES):
                value = self.tensor(*_ends(content))
            elif number == 8:
                integers += self.integers(kind, content)
        return name, tuple(integers) if integers else value

    def tensor(self, start: int, end: int) -> Tensor:
        tensor = Tensor()
        shape, external, elsewhere = [], {}, False
        for number, kind, value in self.fields(start, end):
            if number == 1:
                shape += self.integers(kind, value)
            elif (number, kind) == (2, _VARINT):
                tensor.kind = value
            elif number in (4, 9, 10) and kind == _BYTES:  # floats, raw bytes, doubles
                tensor.data = value
            elif (number, kind) == (8, _BYTES):
                tensor.name = self.text(value)
            elif (number, kind) == (13, _BYTES):
                key, entry = self.entry(*_ends(value))
                external[key] = entry
            elif (number, kind) == (14, _VARINT):
                elsewhere = value == _EXTERNAL
        if len(shape) > 32 or any(side < 0 for side in shape):
            raise self.damaged(f"{printable(tensor.name)} has a shape of {shape[:4]}")
        tensor.shape = tuple(shape)
        tensor.external = external if elsewhere else {}
        return tensor

    def entry(self, start: int, end: int) -> tuple[str, str]:
        texts = {1: "", 2: ""}
        for number, kind, value in self.fields(start, end):
            if kind == _BYTES:
                texts[number] = self.text(value)
        return texts[1], texts[2]

    def integers(self, kind: int, value: Any) -> list[int]:
        """Returns the integers of a repeated field, which may be packed in one."""
        if kind == _VARINT:
            return [_signed(value)]
        if kind != _BYTES:
            raise self.damaged("it has an integer of another type")
        position, end = _ends(value)
        self.count(end - position)
        numbers = []
        while position < end:
            number, position = self.varint(position, end)
            numbers.append(_signed(number))
        return numbers

    def text(self, span: tuple[int, int]) -> str:
        return self.bytes(span).decode("utf-8", "replace")

    def bytes(self, span: tuple[int, int]) -> bytes:
        offset, size = span
        self.count(size)
        return self.take(offset, size)

    def count(self, size: int) -> None:
        self.texts += size + 8  # an empty name takes memory too
        if self.texts > MAX_HEADER:
            raise self.damaged(f"it has over {MAX_HEADER:,} bytes of names")

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, Any]]:
        """Yields (number, type, value): an integer, bytes of fixed size, or (offset, size)."""
        position = start
        while position < end:
            key, position = self.varint(position, end)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, position = self.varint(position, end)
            elif kind in (_FIXED64, _FIXED32):
                size = 8 if kind == _FIXED64 else 4
                value = self.take(position, size)
                position += size
            elif kind == _BYTES:
                size, position = self.varint(position, end)
                value = position, size
                position += size
            else:
                raise self.damaged(f"a field is of type {kind}")
            if position > end:
                raise self.damaged("a field ends after the message that it is in")
            yield number, kind, value

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Reads an integer of 7 bits a byte; returns it and the position after it."""
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                break
            byte = self.take(position, 1)[0]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise self.damaged("an integer does not end")

    def take(self, offset: int, size: int) -> bytes:
        """Returns bytes of the file; reads ahead."""
        first = offset - self.start
        if first < 0 or first + size > len(self.window):
            self.source.check(offset, size)
            length = min(max(size, _WINDOW), self.source.size - offset)
            self.window, self.start = self.source.read(offset, length), offset
            first = 0
        return self.window[first : first + size]

    def damaged(self, problem: str) -> InputError:
        return InputError(
            f"{printable(self.source.path)} is no whole ONNX file: {problem}. Export or copy it "
            "again."
        )


def _ends(span: tuple[int, int]) -> tuple[int, int]:
    offset, size = span
    return offset, offset + size


def _signed(number: int) -> int:
    """Returns the integer of 64 bits in two's complement."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number
