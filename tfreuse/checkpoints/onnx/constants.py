"""Constants of an ONNX graph: initializers, `Constant` nodes and views of them, with their bytes.

constants = Constants(source, wire.read(source))
constants.shape("conv1.weight"); constants.stored("conv1.weight", (2, 3, 1, 0))
"""

import math
import sys
from collections import Counter

import numpy as np

from tfreuse.checkpoints import beside
from tfreuse.checkpoints.arrays import StoredArray, StridedArray, transposed
from tfreuse.checkpoints.onnx import wire
from tfreuse.checkpoints.onnx.wire import Tensor
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.plan.dtypes import numpy_type

TYPES = {
    1: np.dtype("<f4"),
    2: np.dtype("u1"),
    3: np.dtype("i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
    16: numpy_type("bfloat16"),
}
_MAX_FILES = 1_000


class Constants:
    """Constants by name.

    Attributes:
        tensors: by name, without views.
        files: open files with external arrays, by name; the caller closes them.
        used: count of the layers that use each tensor.
    """

    def __init__(self, source: Source, model: wire.Model):
        self.source, self.where = source, printable(source.path)
        self.tensors = dict(model.tensors)
        self.files: dict[str, Source] = {}
        self.used: Counter[str] = Counter()
        self.views: dict[str, tuple[str, tuple[int, ...]]] = {}  # as `resolved`

    def note_all(self, model: wire.Model) -> None:
        """Notes values of the graph that are constants, or views of constants."""
        for node in model.nodes:
            value = node.attributes.get("value")
            if not node.outputs or node.outputs[0] in self:
                continue
            if node.op == "Constant" and isinstance(value, Tensor):
                self.tensors[node.outputs[0]] = value
            elif (
                node.op in ("Identity", "Transpose")
                and node.inputs
                and node.inputs[0] in self
            ):
                name, axes = self.resolved(node.inputs[0])
                if node.op == "Transpose":
                    order = node.attributes.get("perm") or range(len(axes))[::-1]
                    if sorted(order) != [*range(len(axes))]:
                        raise self.damaged(f"{printable(name)} is turned by {order}")
                    axes = tuple(axes[axis] for axis in order)
                self.views[node.outputs[0]] = name, axes

    def __contains__(self, name: str) -> bool:
        return name in self.tensors or name in self.views

    def resolved(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Returns the constant that a name is a view of, and the order of its axes."""
        if name in self.views:
            return self.views[name]
        return name, tuple(range(len(self.tensors[name].shape)))

    def shape(self, name: str) -> tuple[int, ...]:
        name, axes = self.resolved(name)
        shape = self.tensors[name].shape
        return tuple(shape[axis] for axis in axes)

    def damaged(self, problem: str) -> InputError:
        return InputError(
            f"{self.where} cannot be read: {problem}. Export or copy it again."
        )

    def stored(self, name: str, axes: tuple[int, ...]) -> StoredArray:
        """Returns an array in the file, its axes in the given order."""
        tensor = self.tensors[name]
        dtype = TYPES.get(tensor.kind)
        if dtype is None:
            why = f"NumPy has no type of ONNX's number {tensor.kind}"
            return StoredArray(tensor.shape, np.dtype("V1"), self.source, None, why)
        source, location = self.source, tensor.data
        if tensor.external:
            source, location = self.external(name, tensor)
        size = dtype.itemsize * math.prod(tensor.shape)
        if location is None and size:
            why = "ONNX stores its numbers one by one"
            shape = tuple(tensor.shape[axis] for axis in axes)
            return StoredArray(shape, dtype, source, None, why)
        offset, length = location or (0, 0)
        if length != size:
            raise InputError(
                f"{self.where}: {printable(name)} of shape {tensor.shape} has {length:,} bytes, "
                f"not {size:,}. It is damaged; export or copy it again."
            )
        stored = StoredArray(tensor.shape, dtype, source, offset)
        if self.used[name] > 1:  # several layers share one constant
            stored = _shared(stored)
        return transposed(stored, axes)

    def external(self, name: str, tensor: Tensor) -> tuple[Source, tuple[int, int]]:
        """Returns the file with an external array, and its location there."""
        location = tensor.external.get("location", "")
        if location not in self.files:
            if len(self.files) >= _MAX_FILES:
                raise InputError(f"{self.where} names over {_MAX_FILES:,} files.")
            self.files[location] = beside.open_file(self.source.path, location)
        file = self.files[location]
        try:
            offset = int(tensor.external.get("offset", "0"))
            length = int(tensor.external.get("length", str(file.size - offset)))
        except ValueError as error:
            raise InputError(
                f"{self.where}: the location of {printable(name)} in {printable(location)} is no "
                "number."
            ) from error
        file.check(offset, length)
        return file, (offset, length)


def _shared(stored: StoredArray) -> StridedArray:
    """Returns an array whose bytes are those of another array too."""
    strides = [math.prod(stored.shape[axis + 1 :]) for axis in range(len(stored.shape))]
    return StridedArray(
        *(stored.shape, stored.dtype.newbyteorder("="), stored.source, None),
        "several layers share its bytes",
        first=stored.offset,
        strides=tuple(strides),
        swapped=sys.byteorder != "little" and stored.dtype.itemsize > 1,
    )
