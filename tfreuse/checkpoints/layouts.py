"""Which arrays a layer keeps: classes by their name in a file, and shapes that must fit."""

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

# Names that Keras gives arrays, with their role, in the order in which a layer keeps them.
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
    """The class that Keras calls `name` in a weights file: "conv2d_7" is a Conv2D."""
    head, _, number = name.rpartition("_")
    if number.isdigit() and head:
        name = head
    return _CLASSES.get(name)


def roles_of_shapes(
    class_name: str, shapes: Sequence[Shape]
) -> tuple[tuple[str | None, ...], str]:
    """Roles of a layer's arrays where the shapes leave no choice; None elsewhere, and why.

    Without its configuration a batch normalization of three vectors has gamma or beta, and
    nothing in the file says which; the last two are the statistics in either case.
    """
    either = "it is gamma or beta, the file does not tell which"
    if class_name in ("BatchNormalization", "LayerNormalization", "GroupNormalization"):
        stats = ("moving_mean", "moving_variance") if class_name[0] == "B" else ()
        affine = len(shapes) - len(stats)
        alike = len(set(shapes)) == 1 and not (stats and len(shapes[0]) != 1)
        if alike and 0 <= affine <= 2:
            first = {0: (), 1: (None,), 2: ("gamma", "beta")}[affine]
            return (*first, *stats), either if affine == 1 else ""
    else:
        kernels = 2 if class_name.startswith("Separable") else 1
        rank = 2 if class_name == "Dense" else int(re.search(r"\d", class_name)[0]) + 2
        ranks = [len(shape) for shape in shapes]
        if ranks in ([rank] * kernels, [*[rank] * kernels, 1]):
            return (*("kernel",) * kernels, *("bias",) * (1 in ranks)), ""
    none = (None,) * len(shapes)
    return none, f"{len(shapes)} arrays of these shapes are unusual for {class_name}"


def misfit(
    class_name: str,
    config: Mapping[str, Any],
    roles: Sequence[str],
    shapes: Sequence[Shape],
) -> str:
    """Why arrays of these shapes cannot belong to a layer of this configuration; "" if they can."""
    vectors = {s for r, s in zip(roles, shapes, strict=True) if r != "kernel"}
    unlike = len(vectors) > 1 or any(len(shape) != 1 for shape in vectors)
    if class_name == "BatchNormalization" and unlike:
        return f"its vectors have shapes {sorted(vectors)}"
    kernels = [s for r, s in zip(roles, shapes, strict=True) if r == "kernel"]
    size = config.get("kernel_size")
    for number, shape in enumerate(kernels):
        window = [1] * len(size) if isinstance(size, list) and number else size
        if isinstance(size, list) and list(shape[:-2]) != window:
            return f"kernel_size is {size}, its kernel has shape {shape}"
    width = config.get("units", config.get("filters"))
    if kernels and isinstance(width, int):
        shape = kernels[-1]
        if len(shape) < 2 or shape["Transpose" in class_name and -2 or -1] != width:
            return f"it has {width} outputs, its kernel has shape {shape}"
        if any(vector != (width,) for vector in vectors):
            return f"it has {width} outputs, its bias has shape {min(vectors)}"
    return ""
