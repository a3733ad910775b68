"""Variables of a file whose arrays have names; roles come from the names, not from the order.

So arrays of frozen layers, which some files list in another order, and a batch normalization
without gamma get the right roles ("conv1_bn/moving_mean").
"""

from collections.abc import Iterable

from tfreuse import roles as roles_module
from tfreuse.checkpoints import configs
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.configs import Config
from tfreuse.errors import printable
from tfreuse.plan import Variable
from tfreuse.roles import NAMED

NamedArray = tuple[str, str, StoredArray]  # (layer path, name in the layer, array)
Unaddressed = tuple[str, StoredArray, str]  # (path, array, kind of `OtherArray`)

_ORDER = {name: number for number, name in enumerate(NAMED)}
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
# Arrays of wrappers that change the kernel of the layer within, in files without classes: of
# weight normalization, pruning, clustering and training for quantization.
_OF_CHANGING = ("g", "mask", "pruning_step", "cluster_centroids", "kernel_min")


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
    within = wrapped(config) if config else {}
    for path, name, stored in named_arrays:
        name = clean(name)
        inner, names = within.get(path, ("", ()))
        layers.setdefault(inner if name in names else path, []).append((name, stored))
    pairs, duplicates, notes = [], [], {}
    for path, arrays in layers.items():
        names = [name for name, _ in arrays]
        if len(set(names)) < len(names):
            duplicates += [
                (f"{path}/{name}", stored, "duplicate") for name, stored in arrays
            ]
            continue
        numbers = all(name.isdecimal() for name in names)
        if not numbers:  # the sort is stable: unknown names keep the file's order
            arrays.sort(key=lambda pair: _ORDER.get(pair[0], len(_ORDER)))
        layer = config.layers.get(path) if config else None
        class_name = (
            roles_module.class_of(layer.class_name) if layer else _class(arrays)
        )
        array_roles, why = _roles(class_name, [name for name, _ in arrays])
        around = config.layers.get(path.rpartition("/")[0]) if config else None
        beside = {name for name, _ in layers.get(path.rpartition("/")[0], ())}
        if around and configs.is_changed(around, bool(beside)):
            array_roles = [None] * len(arrays)
            why = f"{around.class_name} computes with it"
        elif config is None and not beside.isdisjoint(_OF_CHANGING):
            array_roles = [None] * len(arrays)
            why = "a wrapper with arrays of its own computes with it"
        for rank, (name, stored) in enumerate(arrays):
            role = array_roles[rank]
            # only its name identifies an array without a role
            by_name = role is None and not numbers
            variable = Variable(
                path=f"{path}/{rank if role else name}",
                layer=path.rpartition("/")[2],
                class_name=class_name,
                role=role,
                position=int(name) if numbers else -1 if by_name else rank,
                shape=stored.shape,
                dtype=str(stored.dtype.newbyteorder("=")),
                settings=configs.settings(layer),
                name=roles_module.own_name(name) if by_name else "",
            )
            if role is None:
                notes[variable.path] = (
                    why or f"the name {printable(name)} tells no role"
                )
            pairs.append((variable, stored))
    return pairs, duplicates, notes


def wrapped(config: Config) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns the only layer in each layer that has one, with the names of its arrays.

    Keras 2 calls the arrays of a layer in a TimeDistributed after the wrapper: "td/kernel".
    """
    below: dict[str, list[str]] = {}
    for path, layer in config.layers.items():
        if layer.class_name == "DTypePolicy":  # a named object, but no layer
            continue
        parts = path.split("/")
        for depth in range(1, len(parts)):
            below.setdefault("/".join(parts[:depth]), []).append(path)
    only = {}
    for path, inner_paths in below.items():
        names = roles_module.array_names(config.layers[inner_paths[0]].class_name)
        if names and len(inner_paths) == 1:
            only[path] = inner_paths[0], names
    return only


def _roles(class_name: str, names: list[str]) -> tuple[list[str | None], str]:
    """Returns the roles of a layer's arrays by their names, and why all are None.

    An array without a role may change the meaning of those beside it: a mask, a scale, the
    recurrent kernel of an LSTM. No array of such a layer has a role then.
    """
    none: list[str | None] = [None] * len(names)
    if any(_COMPLETED.get(name) in names for name in names):
        return none, "the layer is quantized or has LoRA arrays"
    expected = roles_module.array_names(class_name)
    if expected is None and class_name:
        return none, "its class is not known"
    array_roles = [roles_module.role_of(class_name, name) for name in names]
    for name, role in zip(names, array_roles, strict=True):
        if role is None and name not in (expected or ()):
            if all(name.isdecimal() for name in names):
                return none, ""
            return none, f"it has an array {printable(name)}, which tells no role"
    return array_roles, ""


def is_companion(name: str) -> bool:
    """Returns whether an array belongs to a quantized kernel, or to one with LoRA."""
    return clean(name) in _COMPLETED


def _class(arrays: list[tuple[str, StoredArray]]) -> str:
    """Returns the only layer class with arrays of these names; "" if there are several."""
    ranks = {name: len(stored.shape) - 2 for name, stored in arrays}  # of images
    if set(ranks) == {"mean", "variance", "count"}:
        return "Normalization"
    if "moving_mean" in ranks:
        return "BatchNormalization"
    if "depthwise_kernel" in ranks:
        kind = "SeparableConv" if "pointwise_kernel" in ranks else "DepthwiseConv"
        return f"{kind}{ranks['depthwise_kernel']}D"
    return ""
