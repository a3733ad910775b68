"""Treats a separable convolution as the two layers that other libraries have in its place.

A SeparableConv2D holds a depthwise kernel, a pointwise one, and a bias; PyTorch's networks have
two layers of one kernel each. While layers are paired, the second kernel stands as a layer of its
own, right behind the first, under the path that `pointwise` returns.
"""

from collections.abc import Mapping, Sequence

from tfreuse.plan.variables import Layer

_SUFFIX = ":pointwise"


def is_separable(layer: Layer) -> bool:
    """Returns whether a layer has both kernels."""
    roles = [variable.role for variable in layer.variables]
    return layer.class_name.startswith("SeparableConv") and roles.count("kernel") == 2


def pointwise(path: str) -> str:
    """Returns the path under which the second kernel of a layer is paired."""
    return path + _SUFFIX


def whole(path: str) -> str:
    """Returns the path of the layer itself."""
    return path.removesuffix(_SUFFIX)


def split(
    layers: Mapping[str, Layer], reads: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Layer], dict[str, tuple[str, ...]]]:
    """Returns layers and the layers that they read, with two layers for each separable convolution."""
    parts: dict[str, Layer] = {}
    for path, layer in layers.items():
        parts[path] = layer
        if is_separable(layer):
            parts[path] = Layer(path, layer.variables[:1])
            parts[pointwise(path)] = Layer(pointwise(path), layer.variables[1:])
    ends = {path: pointwise(path) for path in parts if pointwise(path) in parts}
    sources: dict[str, tuple[str, ...]] = {}
    for path, before in reads.items():
        sources[path] = tuple(ends.get(source, source) for source in before)
        if path in ends:
            sources[ends[path]] = (path,)
    return parts, sources


def join(first: Layer, second: Layer) -> Layer:
    """Returns one layer of the kernel of the first, and the kernel and bias of the second."""
    return Layer(first.path, (*first.variables, *second.variables))
