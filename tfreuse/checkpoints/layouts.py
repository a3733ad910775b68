"""Arrays of Keras layers: classes by their name in a file, roles by shape, shape checks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfreuse.checkpoints.configs import snake_case
from tfreuse.roles import ROLES

Shape = tuple[int, ...]

_KNOWN = (
    *(f"{kind}{rank}D" for kind in ("Conv", "DepthwiseConv") for rank in (1, 2, 3)),
    *(f"Conv{rank}DTranspose" for rank in (1, 2, 3)),
    *("SeparableConv1D", "SeparableConv2D", "Dense", "BatchNormalization"),
    *("LayerNormalization", "GroupNormalization"),
)
_CLASSES = {snake_case(name): name for name in _KNOWN}

# Role by the name that Keras gives an array, in the order of `get_weights`.
NAMED = {
    "kernel": "kernel",
    "depthwise_kernel": "kernel",
    "pointwise_kernel": "kernel",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}
ORDER = {name: number for number, name in enumerate(NAMED)}
assert set(NAMED.values()) == set(ROLES)


def class_of_group(name: str) -> str | None:
    """Returns the layer class of a group in a weights file: "conv2d_7" is a Conv2D."""
    head, _, number = name.rpartition("_")
    if number.isdigit() and head:
        name = head
    return _CLASSES.get(name)


def roles_of_shapes(
    class_name: str, shapes: Sequence[Shape]
) -> tuple[tuple[str | None, ...], str]:
    """Infers the roles of a layer's arrays from their shapes alone.

    A batch normalization with three vectors has gamma or beta, and without the configuration
    the file does not say which; the last two are the moving statistics in either case.

    Returns:
        roles in the order of the arrays, None where the shapes leave a choice; and the reason,
        "" if all roles are known.
    """
    either = "it is gamma or beta, the file does not tell which"
    if class_name in ("BatchNormalization", "LayerNormalization", "GroupNormalization"):
        stats = ("moving_mean", "moving_variance") if class_name[0] == "B" else ()
        affine = len(shapes) - len(stats)
        same_shape = len(set(shapes)) == 1 and not (stats and len(shapes[0]) != 1)
        if same_shape and 0 <= affine <= 2:
            first = {0: (), 1: (None,), 2: ("gamma", "beta")}[affine]
            return (*first, *stats), either if affine == 1 else ""
    else:
        kernels = 2 if class_name.startswith("Separable") else 1
        rank = 2 if class_name == "Dense" else int(re.search(r"\d", class_name)[0]) + 2
        ranks = [len(shape) for shape in shapes]
        if ranks in ([rank] * kernels, [*[rank] * kernels, 1]):
            return (*("kernel",) * kernels, *("bias",) * (1 in ranks)), ""
    unknown = (None,) * len(shapes)
    return unknown, f"{len(shapes)} arrays of these shapes are unusual for {class_name}"


def misfit(
    class_name: str,
    config: Mapping[str, Any],
    roles: Sequence[str],
    shapes: Sequence[Shape],
) -> str:
    """Explains why the shapes contradict the layer's configuration; "" if they fit."""
    vectors = {s for r, s in zip(roles, shapes, strict=True) if r != "kernel"}
    uneven = len(vectors) > 1 or any(len(shape) != 1 for shape in vectors)
    if class_name == "BatchNormalization" and uneven:
        return f"its vectors have shapes {sorted(vectors)}"
    kernels = [s for r, s in zip(roles, shapes, strict=True) if r == "kernel"]
    size = config.get("kernel_size")
    for number, shape in enumerate(kernels):
        # the second kernel of a separable convolution is pointwise
        window = [1] * len(size) if isinstance(size, list) and number else size
        if isinstance(size, list) and list(shape[:-2]) != window:
            return f"kernel_size is {size}, its kernel has shape {shape}"
    width = config.get("units", config.get("filters"))
    if kernels and isinstance(width, int):
        shape = kernels[-1]
        channel_axis = -2 if "Transpose" in class_name else -1  # of the outputs
        if len(shape) < 2 or shape[channel_axis] != width:
            return f"it has {width} outputs, its kernel has shape {shape}"
        if any(vector != (width,) for vector in vectors):
            return f"it has {width} outputs, its bias has shape {min(vectors)}"
    return ""
