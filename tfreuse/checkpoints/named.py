"""Variables of a file whose arrays have names; roles come from the names, not from the order.

So arrays of frozen layers, which some files list in another order, and a batch normalization
without gamma get the right roles ("conv1_bn/moving_mean").
"""

from collections.abc import Iterable

from tfreuse.checkpoints import configs
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.configs import Config
from tfreuse.checkpoints.layouts import NAMED, ORDER
from tfreuse.errors import printable
from tfreuse.plan import Variable

NamedArray = tuple[str, str, StoredArray]  # (layer path, name in the layer, array)
Unaddressed = tuple[str, StoredArray, str]  # (path, array, kind of `OtherArray`)

# Keras's names of arrays without which another means nothing, as a quantized kernel without its
# scale, and the name of that other.
_COMPLETED = {
    companion: name
    for name in NAMED
    for companion in (
        *(f"{name}_{part}" for part in ("scale", "zero", "amax_history")),
        *(f"lora_{name}_{part}" for part in ("a", "b")),
    )
}


def clean(name: str) -> str:
    """Returns Keras's name of an array: TensorFlow writes "kernel:0" and "_kernel"."""
    name = name.removesuffix(":0")
    return name[1:] if name[1:] in NAMED else name


def variables(
    named_arrays: Iterable[NamedArray], config: Config | None = None
) -> tuple[list[tuple[Variable, StoredArray]], list[Unaddressed], dict[str, str]]:
    """Groups named arrays into layers.

    Names may leave out the inner models that layers belong to. Two arrays of one role under one
    path then are of different layers, and which is which is unknown: none is addressed.

    Args:
        named_arrays: in the order of the model. A name may be a number: the position in
            `get_weights`, without a role.
        config: classes and settings of the layers, if the file has them.

    Returns:
        variables with their arrays; arrays of several layers under one path; and notes by
        variable path: why a role is unknown.
    """
    layers: dict[str, list[tuple[str, StoredArray]]] = {}
    for path, name, stored in named_arrays:
        layers.setdefault(path, []).append((clean(name), stored))
    pairs, duplicates, notes = [], [], {}
    for path, arrays in layers.items():
        with_role = [name for name, _ in arrays if name in NAMED]
        if len(set(with_role)) < len(with_role):
            duplicates += [
                (f"{path}/{name}", stored, "duplicate") for name, stored in arrays
            ]
            continue
        composite = any(_COMPLETED.get(name) in with_role for name, _ in arrays)
        numbers = all(name.isdecimal() for name, _ in arrays)
        if not numbers:  # the sort is stable: unknown names keep the file's order
            arrays.sort(key=lambda pair: ORDER.get(pair[0], len(ORDER)))
        layer = config.layers.get(path) if config else None
        class_name = layer.class_name if layer else _class(arrays)
        settings = configs.settings(layer)
        for rank, (name, stored) in enumerate(arrays):
            position = int(name) if numbers else rank
            variable = Variable(
                path=f"{path}/{position}",
                layer=path.rpartition("/")[2],
                class_name=class_name,
                role=None if composite else NAMED.get(name),
                position=position,
                shape=stored.shape,
                dtype=str(stored.dtype.newbyteorder("=")),
                settings=settings,
            )
            if composite:
                notes[variable.path] = "the layer is quantized or has LoRA arrays"
            elif variable.role is None:
                notes[variable.path] = f"the name {printable(name)} tells no role"
            pairs.append((variable, stored))
    return pairs, duplicates, notes


def is_companion(name: str) -> bool:
    """Whether an array belongs to a quantized kernel, or to one with LoRA."""
    return clean(name) in _COMPLETED


def _class(arrays: list[tuple[str, StoredArray]]) -> str:
    """Returns the only layer class with arrays of these names; "" if there are several."""
    ranks = {name: len(stored.shape) - 2 for name, stored in arrays}  # of images
    if "moving_mean" in ranks:
        return "BatchNormalization"
    if "depthwise_kernel" in ranks:
        kind = "SeparableConv" if "pointwise_kernel" in ranks else "DepthwiseConv"
        return f"{kind}{ranks['depthwise_kernel']}D"
    return ""
