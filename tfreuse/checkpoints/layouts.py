"""Arrays of Keras layers: classes by their name in a file, roles by shape, shape checks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfreuse import roles
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.configs import snake_case
from tfreuse.plan import Variable

Shape = tuple[int, ...]

_CLASSES = {
    snake_case(spelling): name
    for name in roles.CLASSES
    for spelling in roles.spellings(name)
}


def class_of_group(name: str) -> str | None:
    """Returns the layer class of a group in a weights file: "conv2d_7" is a Conv2D."""
    head, _, number = name.rpartition("_")
    if number.isdigit() and head:
        name = head
    return _CLASSES.get(name)


def roles_of_arrays(
    class_name: str, arrays: Sequence[Variable | StoredArray]
) -> tuple[tuple[str | None, ...], str]:
    """Infers the roles of a layer's arrays from their shapes and types alone.

    A batch normalization with three vectors has gamma or beta, and without the configuration
    the file does not say which; the last two are the moving statistics in either case.

    Whole numbers are quantized: a vector beside them may be their scale instead of a bias.

    Returns:
        roles in the order of the arrays, None where the shapes leave a choice; and the reason,
        "" if all roles are known.
    """
    shapes = [array.shape for array in arrays]
    either = "it is gamma or beta, the file does not tell which"
    vectors = len(set(shapes)) == 1
    if class_name == "BatchNormalization":
        # 2 to 4 arrays; with renorm=True three more, which follow
        extra = 3 if len(shapes) > 4 else 0
        affine = len(shapes) - extra - 2
        if vectors and len(shapes[0]) == 1 and 0 <= affine <= 2:
            stats = ("moving_mean", "moving_variance", *(None,) * extra)
            return (*_affine(affine), *stats), either if affine == 1 else ""
    elif class_name in ("LayerNormalization", "GroupNormalization"):
        if vectors and len(shapes) <= 2:
            return _affine(len(shapes)), either if len(shapes) == 1 else ""
    elif class_name == "Normalization":
        if len(shapes) == 3 and shapes[0] == shapes[1] and shapes[2] == ():
            return ("moving_mean", "moving_variance", None), ""
    else:
        kernels = 2 if class_name.startswith("Separable") else 1
        rank = 2 if class_name == "Dense" else int(re.search(r"\d", class_name)[0]) + 2
        ranks = [len(shape) for shape in shapes]
        types = [getattr(array.dtype, "name", array.dtype) for array in arrays]
        if any("int" in name for name in types):
            why = f"{types[0]} kernels of {class_name} need their scale"
            return (None,) * len(shapes), why
        if ranks in ([rank] * kernels, [*[rank] * kernels, 1]):
            return (*("kernel",) * kernels, *("bias",) * (1 in ranks)), ""
    unknown = (None,) * len(shapes)
    return unknown, f"{len(shapes)} arrays of these shapes are unusual for {class_name}"


def _affine(count: int) -> tuple[str | None, ...]:
    """Returns the roles of the first arrays of a normalization that has so many of them."""
    return {0: (), 1: (None,), 2: ("gamma", "beta")}[count]


def other_names(class_name: str, array_roles: Sequence[str | None]) -> tuple[str, ...]:
    """Returns Keras's names of the last arrays of a layer, those that have none of the roles.

    Args:
        class_name: class of the layer.
        array_roles: roles of its arrays, as `roles_of_arrays` returns them.

    Returns:
        A name per array, "" where it has a role or its name is unknown.
    """
    names = roles.array_names(class_name) or ()
    roleless = tuple(n for n in names if roles.role_of(class_name, n) is None)
    before = len(array_roles) - len(roleless)
    if not roleless or any(array_roles[before:]) or not any(array_roles):
        return ("",) * len(array_roles)
    return (*("",) * before, *roleless)


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
