"""Finds the axes of a network's variables that share an order of channels.

Follows the channels from call to call with a union-find: each convolution starts a group of
output channels, layers that work on each channel by itself hand the group on, and a sum unites
the groups of its terms. Groups are lists of segments, since a concatenation lays several side
by side on one axis. Channels that reach an input, an output or an unknown layer are fixed: to
permute them would change the function.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from tfreuse.errors import InputError, printable
from tfreuse.plan.calls import Call
from tfreuse.plan.channels import KERNEL_AXES
from tfreuse.plan.variables import Layer, Variable

Segments = tuple[tuple[int, int], ...]  # (group, channels), side by side on one axis

# Classes that treat each channel by itself, or all alike: any order of inputs is an order of
# outputs. A class that is missing here only costs groups; a wrong one would change functions.
_PASS = frozenset(
    (
        *("BatchNormalization", "LayerNormalization", "Identity"),
        *("ReLU", "LeakyReLU", "ELU", "Activation", "Softmax", "Relu"),
        *("Dropout", "SpatialDropout2D", "GaussianNoise"),
        *("MaxPooling2D", "AveragePooling2D", "ZeroPadding2D", "Cropping2D"),
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "AdaptiveAveragePooling2D"),
        *("UpSampling2D", "Resizing", "AdaptiveAveragePool", "ResizeLike"),
    )
)
# Element-wise classes: the terms must have one order.
_TIE = frozenset(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"))
# Roles to match by. Statistics are left out: they follow from the trained parameters.
_TRAINED = ("kernel", "bias", "gamma", "beta")


@dataclasses.dataclass(frozen=True)
class Ties:
    """Groups of axes that share an order.

    Attributes:
        axes: variable path -> segments of each axis, None for an axis without an order.
        sizes: channels of each group that may be permuted, from input to output.
        trained: paths of the variables that gradient descent trains.
    """

    axes: Mapping[str, tuple[Segments | None, ...]]
    sizes: Mapping[int, int]
    trained: frozenset[str]


def tie(
    calls: Sequence[Call], outputs: Iterable[str], layers: Mapping[str, Layer]
) -> Ties:
    """Finds the groups of a network.

    Args:
        calls: each after those that it reads from. Any such order gives the same groups,
            numbered from input to output, for a live model and its file.
        outputs: names of the calls that make the network's outputs.
        layers: layers with variables, by path.

    Raises:
        InputError: a layer computes with channels first.
    """
    for layer in layers.values():
        if layer.settings.get("data_format") == "channels_first":
            raise InputError(
                f"layer {printable(layer.path)} has its channels first; its channels are "
                "followed, to align or to choose them, where they are last."
            )
    tying = _Tying(layers)
    for call in _by_depth(calls):
        tying.add(call)
    for name in outputs:
        tying.fix(tying.outputs[name])
    return tying.ties()


def _by_depth(calls: Sequence[Call]) -> list[Call]:
    """Sorts calls by distance from the input, then by path: the same for model and file."""
    depth: dict[str, int] = {}
    for call in calls:
        depth[call.name] = 1 + max((depth[name] for name in call.reads), default=0)
    return sorted(calls, key=lambda call: (depth[call.name], call.path))


class _Tying:
    """A union-find over groups of channels, some of them fixed."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = layers
        self.parent: list[int] = []
        self.size: list[int] = []
        self.fixed: set[int] = set()
        self.of_layer: dict[str, Segments] = {}  # output channels, by path of the layer
        self.outputs: dict[str, Segments] = {}  # output channels, by name of the call
        self.axes: dict[str, list[Segments | None]] = {}  # by path of the variable

    def add(self, call: Call) -> None:
        """Finds the groups of a call's output channels, and ties the axes of its variables."""
        reads = [self.outputs[name] for name in call.reads]
        layer, kind = self.layers.get(call.path), call.class_name
        kernel = layer.by_role.get(("kernel", 0)) if layer else None
        groups = layer.settings.get("groups", 1) if layer else 1
        if kernel and kind in KERNEL_AXES and groups == 1 and len(reads) == 1:
            outputs = self._produced(layer, kernel, KERNEL_AXES[kind], reads[0])
        elif kernel and kind.startswith(("Depthwise", "Separable")) and len(reads) == 1:
            outputs = self._depthwise(layer, kernel, reads[0])
        elif kind in _TIE and reads:
            outputs = self._tied(reads)
        elif kind == "Concatenate" and call.axis in (-1, call.rank - 1):
            outputs = tuple(segment for segments in reads for segment in segments)
        elif kind == "Flatten" and reads and call.channels:
            # [H, W, C] becomes H * W runs of the same C channels
            outputs = reads[0] * (call.channels // max(_total(reads[0]), 1))
        elif kind in _PASS and reads and _one_a_channel(layer, reads[0]):
            outputs = reads[0]
            for variable in layer.variables if layer else ():
                self._set(variable.path, [outputs])
        else:
            outputs = self._unknown(call, reads)
        self.outputs[call.name] = outputs

    def _produced(
        self, layer: Layer, kernel: Variable, axes: tuple[int, int], reads: Segments
    ) -> Segments:
        into, out = (len(kernel.shape) + axis for axis in axes)
        reads = self._of_size(reads, kernel.shape[into])
        if layer.path not in self.of_layer:  # one group for all calls of the layer
            self.of_layer[layer.path] = self._new(kernel.shape[out])
        outputs = self.of_layer[layer.path]
        segments: list[Segments | None] = [None] * len(kernel.shape)
        segments[into], segments[out] = reads, outputs
        self._set(kernel.path, segments)
        self._bias(layer, outputs)
        return outputs

    def _depthwise(self, layer: Layer, kernel: Variable, reads: Segments) -> Segments:
        outputs = reads = self._of_size(reads, kernel.shape[-2])
        if kernel.shape[-1] != 1:  # depth multiplier above 1: too rare to permute
            self.fix(reads)
            outputs = self._fixed(kernel.shape[-1] * kernel.shape[-2])
        segments: list[Segments | None] = [None] * len(kernel.shape)
        segments[-2] = reads
        self._set(kernel.path, segments)
        points = layer.by_role.get(("kernel", 1))
        if points is not None:
            return self._produced(layer, points, (-2, -1), outputs)
        self._bias(layer, outputs)
        return outputs

    def _bias(self, layer: Layer, outputs: Segments) -> None:
        for variable in layer.variables:
            if variable.role == "bias":
                self._set(variable.path, [outputs])

    def _tied(self, reads: list[Segments]) -> Segments:
        total = max(map(_total, reads))
        whole = [segments for segments in reads if _total(segments) == total]
        for segments in reads:
            if (
                segments not in whole
            ):  # broadcast: one number for all channels, no order
                self.fix(segments)
            else:
                self._unite(whole[0], segments)
        return whole[0]

    def _unknown(self, call: Call, reads: list[Segments]) -> Segments:
        for segments in reads:
            self.fix(segments)
        return self._fixed(call.channels or 1)

    def _of_size(self, reads: Segments, size: int) -> Segments:
        """Returns `reads`, or fixed channels if their number is not the kernel's."""
        if _total(reads) == size:
            return reads
        self.fix(reads)
        return self._fixed(size)

    def _fixed(self, size: int) -> Segments:
        outputs = self._new(size)
        self.fix(outputs)
        return outputs

    def _new(self, size: int) -> Segments:
        self.parent.append(len(self.parent))
        self.size.append(size)
        return ((len(self.parent) - 1, size),)

    def _set(self, path: str, segments: list[Segments | None]) -> None:
        for old, new in zip(
            self.axes.setdefault(path, segments), segments, strict=True
        ):
            if old is not None and new is not None:
                # a layer that is called twice reads two outputs with one kernel
                self._unite(old, new)

    def _root(self, group: int) -> int:
        while self.parent[group] != group:
            group = self.parent[group]
        return group

    def _unite(self, first: Segments, second: Segments) -> None:
        if [size for _, size in first] != [size for _, size in second]:
            # segments end at different channels: no order fits both
            self.fix(first)
            self.fix(second)
            return
        for (a, _), (b, _) in zip(first, second, strict=True):
            # the smaller root stays, so that groups are numbered from input to output
            root, child = sorted((self._root(a), self._root(b)))
            self.parent[child] = root

    def fix(self, segments: Segments) -> None:
        """Marks channels that must keep their index."""
        self.fixed |= {group for group, _ in segments}

    def ties(self) -> Ties:
        """Returns the groups; fixed ones are left out of `sizes`."""
        fixed = {self._root(group) for group in self.fixed}
        axes = {
            path: tuple(
                None if s is None else tuple((self._root(g), n) for g, n in s)
                for s in segments
            )
            for path, segments in self.axes.items()
        }
        used = {g for a in axes.values() for s in a for g, _ in s or ()} - fixed
        trained = frozenset(
            variable.path
            for layer in self.layers.values()
            for variable in layer.variables
            if variable.role in _TRAINED
        )
        sizes = {group: self.size[group] for group in sorted(used)}
        return Ties(axes, sizes, trained)


def _total(segments: Segments) -> int:
    return sum(size for _, size in segments)


def _one_a_channel(layer: Layer | None, reads: Segments) -> bool:
    """Returns whether all arrays of a layer hold one number a channel."""
    return layer is None or all(
        v.role is not None and v.shape == (_total(reads),) for v in layer.variables
    )
