"""An open model file: an index of its arrays, and their values on demand."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from tfreuse.checkpoints.archive import Member
from tfreuse.checkpoints.arrays import (
    StoredArray,
    WholeArray,
    check_disjoint,
    growing,
    growing_ranges,
    little_endian,
    reshaped,
)
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, nearest, printable
from tfreuse.plan import Variable, structure
from tfreuse.plan.calls import Graph
from tfreuse.roles import NAMED

CRC32, UNVERIFIED = "crc32", "unverified"


@dataclasses.dataclass(frozen=True)
class OtherArray:
    """An array that belongs to no layer's weights.

    `kind` is "optimizer", "seed", "duplicate" (one of several arrays with the same path),
    "repeated" (stored with another layer too, which is the one that moves), "count" (of batches)
    or "other" (of the model itself, or in a format that only its layer knows). `role` is known
    of some duplicates.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    role: str | None = None


class Checkpoint:
    """An open model file, as `tfreuse.checkpoints.open` returns it; a context manager.

    Attributes:
        path: the file.
        kind: "keras", "keras_folder", "weights_h5", "sharded", "legacy_h5", "tf", "npz",
            "safetensors", "pytorch" or "onnx".
        nameless: whether the file has no names of layers: bare weights of Keras 3.0 to 3.2.
        pytorch: whether layers have PyTorch's names, which do not include their classes, and
            kernels its order of axes.
        remark: a line on arrays and files that are not read; "" if there are none.
        producer: name of the program that wrote an ONNX file; "" for other files.
        origin: address of a file of the Hub, with its commit; "" for other files.
        variables: arrays of the layers' weights, in the model's order if the file has it.
        ordered: whether `variables` are in that order: bare weights only number the layers of a
            class.
        edges: layer path -> paths of its input layers, operations included and nested models
            flattened; None if the file has no graph.
        notes: variable path -> why its role is unknown.
        unaddressed: all other arrays of the file.
        groups: classes of layers that are not Keras' own, by path, as a file of bare weights spells
            them: "ws_conv" of WSConv.
        repeats: layer path -> path of the same layer in another model, in both directions, where
            a file stores it twice.
        provenance: JSON that `write` stored in the file; None for other files.
        source: the open file, of sharded weights the index.
        sources: all open files.
        members: members of a zip file, each with a checksum.
    """

    def __init__(
        self,
        kind: str,
        source: Source,
        variables: Iterable[tuple[Variable, StoredArray]],
        *,
        unaddressed: Iterable[tuple[str, StoredArray, str]] = (),
        edges: Mapping[str, tuple[str, ...]] | None = None,
        notes: Mapping[str, str] | None = None,
        members: Iterable[Member] = (),
        shards: Iterable[Source] = (),
        provenance: Any = None,
        ordered: bool = True,
        nameless: bool = False,
        repeats: Mapping[str, str] | None = None,
        groups: Mapping[str, str] | None = None,
        pytorch: bool = False,
        remark: str = "",
        producer: str = "",
    ):
        self.kind = kind
        self.ordered = ordered
        self.nameless = nameless
        self.repeats = dict(repeats or {})
        self.groups = dict(groups or {})
        self.pytorch = pytorch
        self.remark = remark
        self.producer = producer
        self.origin = ""
        self.path = source.path
        self.source = source
        self.edges = None if edges is None else dict(edges)
        self.notes = dict(notes or {})
        self.provenance = provenance
        self.sources = [source, *shards]
        self.members = tuple(members)
        self._calls: Graph | None = None
        self._stored: dict[str, StoredArray] = {}
        self._variables: dict[str, Variable] = {}
        variables, unaddressed = list(variables), list(unaddressed)
        count = Counter(variable.path for variable, _ in variables)
        shared = {v.layer_path for v, _ in variables if count[v.path] > 1}
        roles = {variable.path: variable.role for variable, _ in variables}
        for variable, stored in variables:
            if variable.layer_path in shared:  # which layer's it is, is unknown
                unaddressed.append((variable.path, stored, "duplicate"))
                continue
            self._stored[variable.path] = stored
            self._variables[variable.path] = variable
        check_disjoint(
            [*self._stored.values(), *(stored for _, stored, _ in unaddressed)]
        )
        self.variables = tuple(self._variables.values())
        self.unaddressed = tuple(
            OtherArray(
                *(path, stored.shape, str(stored.dtype.newbyteorder("=")), kind),
                role=roles.get(path) or NAMED.get(path.rpartition("/")[2]),
            )
            for path, stored, kind in unaddressed
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files; arrays already read stay valid."""
        while self.sources:
            os.close(self.sources.pop().descriptor)

    def read(self, variable: Variable | str) -> np.ndarray:
        """Reads a variable, in the machine's byte order; bfloat16 as in ml_dtypes.

        Raises:
            InputError: the file has no such variable, its shape or dtype differs from
                `variable`, or its bytes are not contiguous.
        """
        return self.stored(variable).read()

    @property
    def name(self) -> str:
        """Path of the file, or its address on the Hub, for messages."""
        return self.origin or str(self.path)

    def calls(self) -> Graph:
        """Returns the calls of layers from input to output, and those that make outputs.

        Raises:
            InputError: the file has no graph, or the graph cannot be followed.
        """
        if self._calls is None:
            from tfreuse.checkpoints import (
                graph,
            )  # imports the formats, which import this

            self._calls = graph.calls(self)
        return self._calls

    def growing_pieces(self, variable: Variable | str) -> Iterator[memoryview]:
        """Yields the bytes in little-endian order, the first piece small.

        For comparisons that stop at the first difference: most arrays differ at once.
        """
        stored = self.stored(variable)
        if stored.extent is None:  # only its own reader can read it, as a whole
            if isinstance(stored, WholeArray):
                yield from stored.growing_pieces()
                return
            yield from growing(memoryview(little_endian(stored.read())))
            return
        stored.check()
        swap = stored.dtype.newbyteorder("<") != stored.dtype
        for start, size in growing_ranges(stored.nbytes):
            for piece in stored.source.pieces(stored.offset + start, size):
                if swap:
                    swapped = np.frombuffer(piece, stored.dtype).byteswap()
                    piece = memoryview(swapped.view(np.uint8))
                yield piece

    def pieces(self, variable: Variable | str) -> Iterator[memoryview]:
        """Yields the variable's bytes in the file's byte order, at most 4 MiB at a time."""
        return self.stored(variable).pieces()

    def numbers(self, variable: Variable | str) -> Iterator[np.ndarray]:
        """Yields the variable's numbers, flat, a few MB at a time."""
        dtype = self.stored(variable).dtype
        for piece in self.pieces(variable):
            yield np.frombuffer(piece, dtype)

    def extent(self, variable: Variable | str) -> tuple[int, int] | None:
        """(offset in the file, size in bytes); None if the bytes are not contiguous."""
        path = variable if isinstance(variable, str) else variable.path
        return self.stored(path).in_file.extent

    def laid_out(self, path: str, value: np.ndarray) -> np.ndarray:
        """Returns a value for the variable at `path` with the file's shape and order of axes."""
        stored = self.stored(path)
        return stored.laid_out(value.reshape(stored.shape))

    def digest(self, variable: Variable | str) -> str:
        """Returns the SHA-256, in hex, of the variable's bytes in little-endian order."""
        return self.stored(variable).digest()

    def variable(self, path: str) -> Variable:
        """Returns the variable at `path`; an InputError names the nearest paths."""
        self.stored(path)
        return self._variables[path]

    def stored(self, variable: Variable | str) -> StoredArray:
        """Returns the variable's array in the file, without reading values.

        Raises:
            InputError: the file has no such variable, or its shape or dtype differs from
                `variable`'s.
        """
        path = variable if isinstance(variable, str) else variable.path
        stored = self._stored.get(path)
        if stored is None:
            raise InputError(
                f"{self.path} has no variable {printable(path)!r}; "
                f"nearest: {nearest(path, self._stored)}."
            )
        actual = self._variables[path]
        if isinstance(variable, str) or (variable.shape, variable.dtype) == (
            actual.shape,
            actual.dtype,
        ):
            return stored
        # of a PyTorch kernel the plan has read the shape that the recipient's class gives it
        if self.pytorch and structure.same_bytes(actual.shape, variable.shape):
            return reshaped(stored, variable.shape)
        raise InputError(
            f"{self.path}: {actual} should be {variable.dtype} {variable.shape}, is "
            f"{actual.dtype} {actual.shape}. Make the plan again."
        )

    def verify(self) -> str:
        """Reads the whole file once and compares it with the checksums that it contains.

        Returns:
            "crc32" if the format has checksums (.keras, .npz), else "unverified": nothing was
            read.

        Raises:
            InputError: a checksum differs.
        """
        for member in self.members:
            member.check()
        return CRC32 if self.members else UNVERIFIED
