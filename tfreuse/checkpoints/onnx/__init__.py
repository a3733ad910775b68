"""Reads the weights, roles, settings and graph of an ONNX file, without ONNX or TensorFlow.

Roles follow from the operations that read an array: the second input of a Conv is a kernel, the
fourth of a BatchNormalization a moving mean. Strides, groups, paddings and epsilon are the
operation's own. Kernels are presented in Keras's order of axes, as those of PyTorch (`states`).

Opened files have edges, so that layers pair by their place in both graphs.
"""

import math
import os
from typing import Any

from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.onnx import wire
from tfreuse.checkpoints.onnx.constants import TYPES, Constants
from tfreuse.checkpoints.onnx.wire import Node
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

# Operations with weights: roles of the inputs after the first.
_ROLES = {
    "Conv": ("kernel", "bias"),
    "ConvTranspose": ("kernel", "bias"),
    "Gemm": ("kernel", "bias"),
    "MatMul": ("kernel",),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "InstanceNormalization": ("gamma", "beta"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "PRelu": (None,),
}
_EPSILON = 1e-5  # of ONNX's normalizations that state none
_QUANTIZED = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_QUANTIZED += ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")


def read(source: Source) -> Checkpoint:
    """Reads an ONNX file, and the files beside it that hold its external arrays.

    Raises:
        InputError: it is damaged or quantized, or an array lies outside the folder.
    """
    model = wire.read(source)
    reader = _Reader(source, model)
    try:
        reader.constants.note_all(model)
        reader.layers()
        return reader.checkpoint()
    except BaseException as error:
        for file in reader.constants.files.values():
            os.close(file.descriptor)
        unexpected = isinstance(error, TypeError | ValueError | LookupError)
        if unexpected and not isinstance(error, InputError):  # types of attributes
            raise reader.constants.damaged(printable(error, 80)) from error
        raise


class _Reader:
    def __init__(self, source: Source, model: wire.Model):
        self.source, self.model = source, model
        self.where = printable(source.path)
        self.constants = Constants(source, model)
        self.made_by: dict[str, str] = {}  # path of the node that makes a value
        self.padded: dict[str, Any] = {}  # `pads` of the Pad nodes, by their outputs
        self.edges: dict[str, dict[str, None]] = {}
        self.variables: dict[str, Variable] = {}
        self.arrays: dict[str, tuple[str, tuple[int, ...]]] = {}  # constant, axes
        self.weights: dict[str, tuple[str, ...]] = {}  # constants by path of the layer
        self.notes: dict[str, str] = {}

    def layers(self) -> None:
        for number, node in enumerate(self.model.nodes):
            if node.op in _QUANTIZED:
                raise InputError(
                    f"{self.where} is quantized ({node.op} {printable(node.name)}), and whole "
                    "numbers mean nothing without their scale; take the model before "
                    "quantization."
                )
            if node.op == "Pad":
                self.padded |= dict.fromkeys(node.outputs, self.pads(node))
            roles = _ROLES.get(node.op, ())
            weights = node.inputs[1:]
            has_weights = bool(roles and weights and weights[0] in self.constants)
            has_weights = has_weights and self.has_rank(
                node.op, len(self.constants.shape(weights[0]))
            )
            path = self.path(node, number) if has_weights else f"{node.op}#{number}"
            reads = self.edges.setdefault(path, {})
            reads.update(
                dict.fromkeys(
                    self.made_by[name] for name in node.inputs if name in self.made_by
                )
            )
            self.made_by |= dict.fromkeys(node.outputs, path)
            if has_weights and path not in self.weights:
                self.weights[path] = weights
                self.layer(path, node, roles, weights)
        self.add_biases()

    def has_rank(self, op: str, rank: int) -> bool:
        """Returns whether a first array of this rank is a weight of the operation."""
        if op in ("Conv", "ConvTranspose"):
            return 3 <= rank <= 5
        return rank == 2 if op in ("Gemm", "MatMul") else True

    def path(self, node: Node, number: int) -> str:
        """Returns the layer's name: that of its first array, else of the node.

        Exporters give equal arrays of several layers one constant, and the layers views of it.
        """
        names = node.inputs[1], self.constants.resolved(node.inputs[1])[0]
        for name in names:
            layer, _, last = name.rpartition(".")
            is_name = layer and last in ("weight", "kernel", "gamma", "scale")
            if is_name and self.weights.get(layer, node.inputs[1:]) == node.inputs[1:]:
                return layer
        return node.name.strip("/") or f"{node.op}#{number}"

    def layer(self, path: str, node: Node, roles, weights) -> None:
        kernel = self.constants.shape(weights[0])
        settings = self.settings(node, kernel)
        class_name = {
            "BatchNormalization": "BatchNormalization",
            "Conv": f"Conv{len(kernel) - 2}D",
            "ConvTranspose": f"Conv{len(kernel) - 2}DTranspose",
            "Gemm": "Dense",
            "MatMul": "Dense",
        }.get(node.op, "")
        for position, (name, role) in enumerate(zip(weights, roles)):
            if name and name in self.constants:
                turned = role == "kernel" and not self.is_dense(node)
                self.add(path, position, name, role, class_name, settings, turned)

    def is_dense(self, node: Node) -> bool:
        """Returns whether a kernel is in Keras's order already, [in, out]."""
        return node.op == "MatMul" or (
            node.op == "Gemm" and not node.attributes.get("transB", 0)
        )

    def add(self, path, position, name, role, class_name, settings, turned) -> None:
        constant, axes = self.constants.resolved(name)
        self.constants.used[constant] += 1
        if turned:
            axes = (*axes[2:], axes[1], axes[0])
        tensor = self.constants.tensors[constant]
        dtype = TYPES.get(tensor.kind)
        variable = Variable(
            path=f"{path}/{position}",
            layer=path,
            class_name=class_name,
            role=role,
            position=position,
            shape=tuple(tensor.shape[axis] for axis in axes),
            dtype=str(dtype.newbyteorder("=")) if dtype is not None else "unknown",
            settings=settings,
            name="" if role else "weight",
        )
        if role is None:
            self.notes[variable.path] = "a factor a channel"
        self.variables[variable.path] = variable
        self.arrays[variable.path] = constant, axes

    def settings(self, node: Node, kernel) -> tuple[tuple[str, Any], ...]:
        """Returns settings by Keras's names, sorted; see `roles.layer_settings`."""
        attributes, settings = node.attributes, {}
        if node.op in ("Conv", "ConvTranspose"):
            sides = len(kernel) - 2
            settings = {
                "strides": attributes.get("strides") or (1,) * sides,
                "dilation_rate": attributes.get("dilations") or (1,) * sides,
                "padding": self.padding(node, sides),
                "groups": attributes.get("group", 1),
            }
        elif "Normalization" in node.op:
            # numbers of 32 bits: 1e-5 is stored as 9.99999974737875e-06
            epsilon = attributes.get("epsilon", _EPSILON)
            settings = {"epsilon": float(f"{epsilon:.6g}")}
        elif node.op == "Gemm":
            for name in ("alpha", "beta"):
                if attributes.get(name, 1) != 1 or attributes.get("transA", 0):
                    raise InputError(
                        f"{self.where}: {printable(node.name)} is a Gemm with {name} "
                        f"{attributes.get(name)} or transA, which no Dense layer computes."
                    )
        return tuple(sorted(settings.items()))

    def padding(self, node: Node, sides: int) -> Any:
        """Returns paddings as ((before, after), ...) by axis, "same" or "same_lower".

        The zeros of a Pad before the layer count too; "other" where they are not known.
        """
        none = ((0, 0),) * sides
        before = self.padded.get(node.inputs[0], none)
        automatic = node.attributes.get("auto_pad") or b"NOTSET"
        if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
            name = "same" if automatic == b"SAME_UPPER" else "same_lower"
            return name if before == none else "other"
        pads = node.attributes.get("pads") or (0,) * (2 * sides)
        if len(pads) != 2 * sides or len(before) != sides or before == "other":
            return "other"
        return tuple(
            (pads[side] + before[side][0], pads[side + sides] + before[side][1])
            for side in range(sides)
        )

    def pads(self, node: Node) -> Any:
        """Returns the zeros that a Pad adds, ((before, after), ...) by axis of an image."""
        inputs = (*node.inputs, "", "", "")[:4]  # data, pads, value, axes
        pads = node.attributes.get("pads") or self.numbers(inputs[1])
        value = self.numbers(inputs[2]) if inputs[2] else (0,)
        value += (node.attributes.get("value") or 0,)
        constant = node.attributes.get("mode") in (None, b"constant")
        if not constant or inputs[3] or any(value) or not pads or len(pads) % 2:
            return "other"
        pairs = tuple(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :]))
        return "other" if any(map(any, pairs[:2])) else pairs[2:]

    def numbers(self, name: str) -> tuple:
        """Returns the numbers of a short constant; (nan,) if it is none or cannot be read."""
        if name in self.constants and self.constants.shape(name) in (
            (),
            (1,),
            (6,),
            (8,),
            (10,),
        ):
            stored = self.constants.stored(*self.constants.resolved(name))
            if stored.extent:
                return tuple(stored.read().reshape(-1).tolist())
        return (math.nan,)

    def add_biases(self) -> None:
        """Adds the bias that an Add gives a MatMul, as PyTorch exports a Linear layer."""
        dense = {
            node.outputs[0]: self.made_by[node.outputs[0]]
            for node in self.model.nodes
            if node.op == "MatMul" and node.outputs
        }
        for node in self.model.nodes:
            if node.op != "Add" or len(node.inputs) != 2:
                continue
            for value, name in (node.inputs, node.inputs[::-1]):
                kernel = self.variables.get(f"{dense.get(value)}/0")
                if kernel is None or not name in self.constants:
                    continue
                if self.constants.shape(name) == kernel.shape[-1:]:
                    path = kernel.layer
                    self.add(path, 1, name, "bias", "Dense", kernel.settings, False)

    def checkpoint(self) -> Checkpoint:
        pairs = [
            (variable, self.constants.stored(*self.arrays[path]))
            for path, variable in self.variables.items()
        ]
        unused = [
            (
                name,
                self.constants.stored(name, tuple(range(len(tensor.shape)))),
                "other",
            )
            for name, tensor in self.constants.tensors.items()
            if not self.constants.used[name]
        ]
        return Checkpoint(
            *("onnx", self.source, pairs),
            unaddressed=unused,
            edges={path: tuple(reads) for path, reads in self.edges.items()},
            notes=self.notes,
            shards=self.constants.files.values(),
            pytorch=True,
            producer=self.model.producer,
        )
