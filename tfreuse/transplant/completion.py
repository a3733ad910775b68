"""Completes descriptions of layers that a file leaves out, by those of the other model."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from tfreuse import roles
from tfreuse.checkpoints import configs, layouts
from tfreuse.plan import Variable, matching, structure
from tfreuse.plan.variables import Layer


def completed(
    layers: Mapping[str, Layer],
    counterparts: Mapping[str, Layer],
    mapping: Mapping[str, Layer],
    other_decides: bool = False,
    groups: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[Variable], int]:
    """Completes the classes and settings of layers that lack them.

    Args:
        layers: by path, of the model to complete.
        counterparts: layers of the other model, by path.
        mapping: counterparts that a map names, by the path of the layer to complete.
        other_decides: whether the counterpart's class holds, since a state dict has no
            classes: a depthwise convolution looks like any other.
        groups: classes in the spelling of weights files, by path; another class is not taken.

    Returns:
        The variables of all layers, and how many layers were completed.
    """
    by_name: dict[str, Layer] = {layer.name: layer for layer in counterparts.values()}
    ends = dict(matching.same_ends(layers.keys() - counterparts.keys(), counterparts))
    variables, count = [], 0
    for path, layer in layers.items():
        twin = mapping.get(path) or counterparts.get(path)
        twin = twin or counterparts.get(ends.get(path)) or by_name.get(layer.name)
        if twin is None and not layer.settings:
            twin = counterparts.get(matching.inside(path, counterparts) or "")
        members = layer.variables
        if twin and path in groups and groups[path] not in _groups_of(twin):
            twin = None
        if other_decides and twin:
            members = _read_as(layer, twin)
            count += members != layer.variables and not layer.settings
        elif not layer.settings and twin and layer.class_name in ("", twin.class_name):
            members = _with_class(layer, twin)
            count += members != layer.variables
        variables += members
    return variables, count


def _groups_of(layer: Layer) -> set[str]:
    """Returns the names that groups of weights files have for the class of a layer."""
    return set(map(configs.snake_case, roles.spellings(layer.class_name)))


def _read_as(layer: Layer, twin: Layer) -> tuple[Variable, ...]:
    """Returns a PyTorch layer's variables as arrays of its counterpart's class.

    A kernel gets the counterpart's shape where its bytes can be read so, and so does the only
    array of a layer of unknown roles, which also gets the name.
    """
    shape = structure.shape_of(layer)
    if shape != structure.shape_of(twin):
        return layer.variables
    if shape and shape[0] == "factor":
        (array,), (like,) = layer.variables, twin.variables
        dtype, path = array.dtype, array.path
        return (dataclasses.replace(like, path=path, layer=array.layer, dtype=dtype),)
    members = []
    for variable in _with_class(layer, twin):
        kernel = twin.by_role.get(("kernel", 0))
        if variable.role == "kernel" and structure.same_bytes(
            variable.shape, kernel.shape
        ):
            variable = dataclasses.replace(variable, shape=kernel.shape)
        members.append(variable)
    return tuple(members)


def _with_class(layer: Layer, twin: Layer) -> tuple[Variable, ...]:
    """Returns a layer's variables with the class and the settings of its counterpart.

    Roles are those that names or shapes determine in a layer of this class.
    """
    class_name = twin.class_name
    settings_of_file = layer.settings  # of an ONNX file, which has some
    if class_name.startswith("DepthwiseConv"):
        settings_of_file.pop("groups", None)  # as many as channels
    settings = tuple(sorted((twin.settings | settings_of_file).items()))
    members = layer.variables
    array_roles = [variable.role for variable in members]
    bare = not any(v.role or v.name for v in members)
    if class_name and roles.array_names(class_name) is None:  # as in files that name it
        array_roles = [None] * len(members)
    elif class_name and not layer.class_name and bare:
        array_roles = layouts.roles_of_arrays(class_name, members)[0]
    names = layouts.other_names(class_name, array_roles)
    completed = []
    for variable, role, name in zip(members, array_roles, names, strict=True):
        fields = {"class_name": class_name, "settings": settings, "role": role}
        if variable.role and not role:  # the role was its name; its position is unknown
            fields |= {"name": variable.role, "position": -1}
        elif bare:
            fields["name"] = name
        completed.append(dataclasses.replace(variable, **fields))
    return tuple(completed)
