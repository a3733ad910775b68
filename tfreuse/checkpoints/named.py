"""Layers of a file whose arrays have names: roles are read, never inferred from the order.

A name says what an array is ("conv1_bn/moving_mean"), so frozen layers that a file lists in
another order, or a batch normalization without gamma, come out right.
"""

from collections.abc import Iterable

from tfreuse.checkpoints import configs
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.configs import Config
from tfreuse.checkpoints.layouts import NAMED, ORDER
from tfreuse.errors import printable
from tfreuse.plan import Variable

Item = tuple[str, str, StoredArray]  # layer path, name of the array in the layer, array


def clean(name: str) -> str:
    """An array's name as Keras calls it: TensorFlow writes "kernel:0" and "_kernel"."""
    name = name.removesuffix(":0")
    return name[1:] if name[1:] in NAMED else name


def find(
    items: Iterable[Item], config: Config | None = None
) -> tuple[list[tuple[Variable, StoredArray]], dict[str, str]]:
    """Variables with their arrays, and by variable path why a role is not known.

    Args:
        items: in the order of the model. A name may be a number, then it is the position
            in `get_weights` and tells no role.
        config: classes and settings of the layers, if the file has them.
    """
    layers: dict[str, list[tuple[str, StoredArray]]] = {}
    for path, name, stored in items:
        layers.setdefault(path, []).append((clean(name), stored))
    found, notes = [], {}
    for path, arrays in layers.items():
        numbers = all(name.isdecimal() for name, _ in arrays)
        if not numbers:  # sorting is stable: unknown names keep the file's order
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
                role=NAMED.get(name),
                position=position,
                shape=stored.shape,
                dtype=str(stored.dtype.newbyteorder("=")),
                settings=settings,
            )
            if variable.role is None:
                notes[variable.path] = f"the name {printable(name)} tells no role"
            found.append((variable, stored))
    return found, notes


def _class(arrays: list[tuple[str, StoredArray]]) -> str:
    """The class that only arrays of these names have; "" if several do."""
    named = {name: len(stored.shape) - 2 for name, stored in arrays}
    if "moving_mean" in named:
        return "BatchNormalization"
    if "depthwise_kernel" in named:
        kind = "SeparableConv" if "pointwise_kernel" in named else "DepthwiseConv"
        return f"{kind}{named['depthwise_kernel']}D"
    return ""
