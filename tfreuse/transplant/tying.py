"""Which axes of a network's variables share an order of channels: a union-find over calls."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from tfreuse.errors import InputError, printable
from tfreuse.plan.calls import Call
from tfreuse.plan.variables import Layer, Variable

Segments = tuple[tuple[int, int], ...]  # (group, channels), side by side on one axis

_PASS = frozenset(  # work on each channel by itself, or on all alike
    (
        *("BatchNormalization", "LayerNormalization", "Identity"),
        *("ReLU", "LeakyReLU", "ELU", "Activation", "Softmax", "Relu"),
        *("Dropout", "SpatialDropout2D", "GaussianNoise"),
        *("MaxPooling2D", "AveragePooling2D", "ZeroPadding2D", "Cropping2D"),
        *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "AdaptiveAveragePooling2D"),
        *("UpSampling2D", "Resizing", "AdaptiveAveragePool", "ResizeLike"),
    )
)
_TIE = frozenset(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"))
_IN_OUT = {  # axes of a kernel: what it reads, what it makes
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), (-2, -1)),
    **dict.fromkeys(
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), (-1, -2)
    ),
}
_TRAINED = ("kernel", "bias", "gamma", "beta")  # statistics follow from them


@dataclasses.dataclass(frozen=True)
class Ties:
    """Which axes of which variables share an order.

    Attributes:
        axes: variable path -> segments of each axis, None for an axis without an order.
        sizes: channels of each group that may be permuted, from input to output.
        trained: paths of the variables that gradient descent has shaped.
    """

    axes: Mapping[str, tuple[Segments | None, ...]]
    sizes: Mapping[int, int]
    trained: frozenset[str]


def tie(
    calls: Sequence[Call], outputs: Iterable[str], layers: Mapping[str, Layer]
) -> Ties:
    """Finds the groups of a network.

    Args:
        calls: each after those that it reads from. Their order tells no more: a live model
            and its file give the same groups, numbered from input to output.
        outputs: names of the calls that make the network's outputs.
        layers: layers with variables, by path.

    Raises:
        InputError: a layer computes with channels first.
    """
    for layer in layers.values():
        if layer.settings.get("data_format") == "channels_first":
            raise InputError(
                f"layer {printable(layer.path)} has its channels first; alignment needs "
                "channels last."
            )
    tying = _Tying(layers)
    for call in _by_depth(calls):
        tying.add(call)
    for name in outputs:
        tying.fix(tying.made[name])
    return tying.result()


def _by_depth(calls: Sequence[Call]) -> list[Call]:
    depth: dict[str, int] = {}
    for call in calls:
        depth[call.name] = 1 + max((depth[name] for name in call.reads), default=0)
    return sorted(calls, key=lambda call: (depth[call.name], call.path))


class _Tying:
    """Groups as they are found: a union-find whose members may be fixed."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = layers
        self.parent: list[int] = []
        self.size: list[int] = []
        self.fixed: set[int] = set()
        self.of_layer: dict[str, Segments] = {}
        self.made: dict[str, Segments] = {}
        self.axes: dict[str, list[Segments | None]] = {}

    def add(self, call: Call) -> None:
        """Finds what the call's output channels are, and ties the axes of its variables."""
        reads = [self.made[name] for name in call.reads]
        layer, kind = self.layers.get(call.path), call.class_name
        kernel = layer.by_role.get(("kernel", 0)) if layer else None
        groups = layer.settings.get("groups", 1) if layer else 1
        if kernel and kind in _IN_OUT and groups == 1 and len(reads) == 1:
            made = self._produced(layer, kernel, _IN_OUT[kind], reads[0])
        elif kernel and kind.startswith(("Depthwise", "Separable")) and len(reads) == 1:
            made = self._depthwise(layer, kernel, reads[0])
        elif kind in _TIE and reads:
            made = self._tied(reads)
        elif kind == "Concatenate" and call.axis in (-1, call.rank - 1):
            made = tuple(segment for segments in reads for segment in segments)
        elif kind == "Flatten" and reads and call.channels:
            made = reads[0] * (call.channels // max(_total(reads[0]), 1))
        elif kind in _PASS and reads and _one_a_channel(layer, reads[0]):
            made = reads[0]
            for variable in layer.variables if layer else ():
                self._set(variable.path, [made])
        else:
            made = self._unknown(call, reads)
        self.made[call.name] = made

    def _produced(
        self, layer: Layer, kernel: Variable, axes: tuple[int, int], reads: Segments
    ) -> Segments:
        into, out = (len(kernel.shape) + axis for axis in axes)
        reads = self._of_size(reads, kernel.shape[into])
        if layer.path not in self.of_layer:  # the same group at each call of the layer
            self.of_layer[layer.path] = self._new(kernel.shape[out])
        made = self.of_layer[layer.path]
        segments: list[Segments | None] = [None] * len(kernel.shape)
        segments[into], segments[out] = reads, made
        self._set(kernel.path, segments)
        self._bias(layer, made)
        return made

    def _depthwise(self, layer: Layer, kernel: Variable, reads: Segments) -> Segments:
        made = reads = self._of_size(reads, kernel.shape[-2])
        if kernel.shape[-1] != 1:  # several outputs a channel: too rare to permute
            self.fix(reads)
            made = self._fixed(kernel.shape[-1] * kernel.shape[-2])
        segments: list[Segments | None] = [None] * len(kernel.shape)
        segments[-2] = reads
        self._set(kernel.path, segments)
        points = layer.by_role.get(("kernel", 1))
        if points is not None:
            return self._produced(layer, points, (-2, -1), made)
        self._bias(layer, made)
        return made

    def _bias(self, layer: Layer, made: Segments) -> None:
        for variable in layer.variables:
            if variable.role == "bias":
                self._set(variable.path, [made])

    def _tied(self, reads: list[Segments]) -> Segments:
        total = max(map(_total, reads))
        whole = [segments for segments in reads if _total(segments) == total]
        for segments in reads:
            if segments not in whole:  # one number for all channels: no order to keep
                self.fix(segments)
            else:
                self._unite(whole[0], segments)
        return whole[0]

    def _unknown(self, call: Call, reads: list[Segments]) -> Segments:
        for segments in reads:
            self.fix(segments)
        return self._fixed(call.channels or 1)

    def _of_size(self, reads: Segments, size: int) -> Segments:
        """`reads`, or fixed channels where it is known that these are not what is read."""
        if _total(reads) == size:
            return reads
        self.fix(reads)
        return self._fixed(size)

    def _fixed(self, size: int) -> Segments:
        made = self._new(size)
        self.fix(made)
        return made

    def _new(self, size: int) -> Segments:
        self.parent.append(len(self.parent))
        self.size.append(size)
        return ((len(self.parent) - 1, size),)

    def _set(self, path: str, segments: list[Segments | None]) -> None:
        for old, new in zip(
            self.axes.setdefault(path, segments), segments, strict=True
        ):
            if old is not None and new is not None:
                self._unite(old, new)  # a layer that is called twice reads two outputs

    def _root(self, group: int) -> int:
        while self.parent[group] != group:
            group = self.parent[group]
        return group

    def _unite(self, left: Segments, right: Segments) -> None:
        if [size for _, size in left] != [size for _, size in right]:
            self.fix(left)  # cut in different places: no order fits both
            self.fix(right)
            return
        for (a, _), (b, _) in zip(left, right, strict=True):
            a, b = sorted((self._root(a), self._root(b)))
            self.parent[b] = a

    def fix(self, segments: Segments) -> None:
        """Says that these channels must stay where they are."""
        self.fixed |= {group for group, _ in segments}

    def result(self) -> Ties:
        """The groups that were found, the fixed ones left out of `sizes`."""
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
    """Whether all arrays of a layer hold one number a channel."""
    return layer is None or all(
        v.role is not None and v.shape == (_total(reads),) for v in layer.variables
    )
