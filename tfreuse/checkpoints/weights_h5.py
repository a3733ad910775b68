"""Reads Keras 3 weights (`.weights.h5`, or a member of `.keras`) into variables with roles.

A layer's arrays are in a group "vars", named "0", "1", ... in the order of `get_weights`; the
group's attribute "name" is the layer's name. Roles come from the model's configuration. A bare
weights file has none: the class then comes from the group's name, and a role is assigned only
where the shapes leave no choice. Its groups are numbered within a class (conv2d, conv2d_1, ...);
how the classes alternate stands nowhere, since HDF5 puts arrays where it has space.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator

from tfreuse import roles as roles_module
from tfreuse.checkpoints import configs, layouts, named
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.configs import Config, Layer, snake_case
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

# A wrapper whose file repeats the kernel of the layer in it; Keras reads it from that layer.
_WRAPPER = "SpectralNormalization"


def read(source: Source, root: Group) -> Checkpoint:
    """Reads a bare `.weights.h5` file, whose HDF5 structure is `root`.

    Raises:
        InputError: damaged, or not a weights file of Keras.
    """
    where = printable(source.path)
    weights = parse(root, None, where)
    text = root.attributes.get("tfreuse")
    return Checkpoint(
        "weights_h5",
        source,
        weights.variables,
        unaddressed=weights.unaddressed,
        notes=weights.notes,
        ordered=weights.ordered,
        nameless=_is_nameless(root),
        groups=weights.groups,
        provenance=configs.parse_object(text, where) if text else None,
    )


def _is_nameless(root: Group) -> bool:
    layers = root.groups.get("layers")
    groups = (
        [g.groups["vars"] for g in layers.walk() if "vars" in g.groups]
        if layers
        else []
    )
    return bool(groups) and not any("name" in group.attributes for group in groups)


@dataclasses.dataclass
class Weights:
    """Content of a weights file.

    `variables` are the layers' with their arrays; `unaddressed` has (path, array, kind) of all
    other arrays, see `OtherArray`; `notes` says by variable path why a role is unknown;
    `ordered` whether the variables are in the order of the model; `groups` has, by path, the
    classes of layers that are not Keras' own, as groups of bare weights spell them.
    """

    variables: list[tuple[Variable, StoredArray]]
    unaddressed: list[tuple[str, StoredArray, str]]
    notes: dict[str, str]
    ordered: bool = False
    groups: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Saved:
    """An object with a group "vars": a layer, an optimizer or a seed generator."""

    path: str  # names of the enclosing layers and of the object, joined by "/"
    file_path: str
    in_layers: bool  # whether its group is in a "layers" group, named after its class
    arrays: dict[str, StoredArray]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def kind(self) -> str:
        """Kind of its arrays: "layer", or one of `OtherArray`."""
        top = self.file_path.partition("/")[0]
        if top in ("optimizer", "metrics"):  # Keras 2 writes metrics too
            return "optimizer" if top == "optimizer" else "other"
        seed = self.name.startswith("seed_generator") and not self.in_layers
        return "seed" if seed else "layer"


def parse(root: Group, config: Config | None, where: str) -> Weights:
    """Assigns the arrays of a weights file to layers and roles.

    Args:
        root: structure of the HDF5 file, with the attribute "name" of every group.
        config: the model's configuration, if the file has one.
        where: name of the file, for errors.

    Raises:
        InputError: the arrays do not fit the configuration.
    """
    weights = Weights([], [], {})
    top = root.groups.get("vars")
    for name, stored in (top.arrays if top else {}).items():
        weights.unaddressed.append((f"vars/{name}", stored, "other"))
    if config and _is_nameless(root):
        config = _as_keras_2_numbers(config, root)
    by_file_path = {
        layer.file_path: layer
        for layer in (config.layers.values() if config else ())
        if layer.file_path
    }
    for path, (inner, _) in (named.wrapped(config) if config else {}).items():
        if path in config.layers and config.layers[path].file_path:
            around = config.layers[path].file_path
            by_file_path[f"{around}/layer"] = config.layers[inner]
    layer_paths, with_arrays = set(), set()
    for saved in _saved(root, "", "", by_file_path):
        arrays = _in_order(saved.arrays)
        if saved.kind != "layer" or arrays is None:
            kind = "other" if saved.kind == "layer" else saved.kind
            for name, stored in saved.arrays.items():
                weights.unaddressed.append((f"{saved.file_path}/{name}", stored, kind))
            continue
        layer = _layer(saved, config, where) if config else None
        layer_paths.add(saved.path)
        before = len(weights.variables)
        _add(weights, saved, layer, arrays, config is not None, where)
        if _is_changed(saved, config, with_arrays):
            weights.variables[before:] = _without_roles(weights.variables[before:])
        with_arrays |= {saved.path} if arrays else set()
    if config:  # HDF5 lists groups by name
        _check_complete(config, layer_paths, weights, where)
        order = {path: number for number, path in enumerate(config.layers)}
        last = len(order)
        weights.ordered = layer_paths <= order.keys()
        weights.variables.sort(
            key=lambda pair: order.get(pair[0].path.rpartition("/")[0], last)
        )
    return weights


def _as_keras_2_numbers(config: Config, root: Group) -> Config:
    """Returns a configuration whose file paths leave out layers that are stored elsewhere.

    Keras 2.12 to 2.15 does not count a layer that it has stored in another model already; Keras 3
    counts it. So fewer groups of a class are in the file, and their numbers have no gap.
    """
    twins = Counter(_identity(layer) for layer in config.layers.values())
    counted: dict[tuple[str, str], list[Layer]] = {}
    for layer in config.layers.values():
        if layer.file_path:
            container = layer.file_path.rpartition("/")[0]
            counted.setdefault((container, snake_case(layer.class_name)), []).append(
                layer
            )
    changed = dict(config.layers)
    for (container, kind), layers in counted.items():
        group: Group | None = root
        for name in container.split("/"):
            group = group.groups.get(name) if group else None
        names = [kind, *(f"{kind}_{number}" for number in range(1, len(layers)))]
        count = sum(name in group.groups for name in names) if group else 0
        repeated = [layer for layer in layers if twins[_identity(layer)] > 1]
        gap = any(name not in group.groups for name in names[:count]) if group else True
        if gap or len(layers) - count != len(repeated):
            continue
        numbered = iter(names)
        for layer in layers:
            path = None if layer in repeated else f"{container}/{next(numbered)}"
            changed[layer.path] = dataclasses.replace(layer, file_path=path)
    return dataclasses.replace(config, layers=changed)


def _identity(layer: Layer) -> str:
    """Returns name, class and settings as a text; Keras 2 numbers the objects in them."""
    text = json.dumps([layer.name, layer.class_name, layer.config], sort_keys=True)
    return re.sub(r'(, )?"shared_object_id": \d+', "", text)


def _saved(
    group: Group, prefix: str, file_prefix: str, by_file_path: dict[str, Layer]
) -> Iterator[_Saved]:
    """Yields the objects with arrays in and under a group; enclosing ones come first."""
    for name in sorted(group.groups, key=_by_number):
        child = group.groups[name]
        if name == "vars":
            continue
        file_path = f"{file_prefix}{name}"
        arrays = child.groups.get("vars")
        child_prefix = prefix
        if arrays is not None:
            label = arrays.attributes.get("name")
            if not isinstance(label, str):  # Keras before 3.3 wrote no names
                layer = by_file_path.get(file_path)
                label = layer.name if layer else name
            path = f"{prefix}{label}"
            in_layers = group.path.endswith("/layers")
            yield _Saved(path, file_path, in_layers, arrays.arrays)
            child_prefix = f"{path}/"
        yield from _saved(child, child_prefix, f"{file_path}/", by_file_path)


def _by_number(name: str) -> tuple[str, int]:
    """Returns a key that puts conv2d_10 after conv2d_2: Keras numbers the groups of a class."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and number.isdecimal() else (name, 0)


def _in_order(arrays: dict[str, StoredArray]) -> list[StoredArray] | None:
    """Returns the arrays "0", "1", ... in this order; None if they have other names."""
    names = [str(number) for number in range(len(arrays))]
    return [arrays[n] for n in names] if set(names) == set(arrays) else None


def _layer(saved: _Saved, config: Config, where: str) -> Layer | None:
    """Returns the configuration of a saved layer; None if it has no entry."""
    layer = config.layers.get(saved.path)
    if layer is None or not layer.class_name:
        return None
    if saved.in_layers and layer.file_path:
        # Keras numbers the groups of a class: conv2d, conv2d_1, conv2d_2, ...
        kind = snake_case(layer.class_name)
        group = saved.file_path.rpartition("/")[2]
        suffix = group.removeprefix(kind)
        if group != kind and not (suffix[:1] == "_" and suffix[1:].isdigit()):
            raise InputError(
                f"{where}: the configuration calls {printable(saved.path)} a "
                f"{printable(layer.class_name)}, the weights have it as {printable(group)}. "
                "They are not of one model; save it again."
            )
    return layer


def _add(
    weights: Weights,
    saved: _Saved,
    layer: Layer | None,
    arrays: list[StoredArray],
    configured: bool,
    where: str,
) -> None:
    """Adds the variables of one layer to `weights`, with roles where they are certain."""
    roles, why = None, "its class is not known"
    class_name = roles_module.class_of(layer.class_name) if layer else ""
    group = saved.file_path.rpartition("/")[2]
    first = 0
    if class_name == _WRAPPER or group.startswith(snake_case(_WRAPPER)):
        first = len(arrays) - 1
        for position, stored in enumerate(arrays[:first]):
            path = f"{saved.file_path}/{position}"
            weights.unaddressed.append((path, stored, "repeated"))
        arrays = arrays[first:]
    shapes = [stored.shape for stored in arrays]
    if layer:
        roles = roles_module.layer_roles(class_name, layer.config)
        if roles is not None and len(roles) != len(shapes):
            roles = None  # more arrays than its class has, e.g. with LoRA: never guess
            why = f"{class_name} has {len(shapes)} arrays, which its class does not explain"
        elif roles is not None:
            misfit = layouts.misfit(class_name, layer.config, roles, shapes)
            if misfit:
                raise InputError(
                    f"{where}: {printable(saved.path)} does not fit its configuration: "
                    f"{misfit}. Weights and configuration are not of one model."
                )
    elif not configured and saved.in_layers:
        class_name = layouts.class_of_group(group) or ""
        if class_name:
            roles, why = layouts.roles_of_arrays(class_name, arrays)
        else:
            weights.groups[saved.path] = re.sub(r"_\d+$", "", group)
    names = layouts.other_names(class_name, roles) if roles else ("",) * len(arrays)
    if first:
        names = ("vector_u",)
    for number, stored in enumerate(arrays):
        position = first + number
        role = roles[number] if roles else None
        variable = Variable(
            path=f"{saved.path}/{position}",
            layer=saved.name,
            class_name=class_name,
            role=role,
            position=position,
            shape=stored.shape,
            dtype=str(stored.dtype.newbyteorder("=")),
            settings=configs.settings(layer),
            name=names[number],
        )
        if variable.role is None:
            weights.notes[variable.path] = why or "it is no parameter"
        weights.variables.append((variable, stored))


def _is_changed(saved: _Saved, config: Config | None, with_arrays: set[str]) -> bool:
    """Returns whether a layer is in a wrapper that computes with another kernel."""
    parent = saved.path.rpartition("/")[0]
    if config is not None:
        around = config.layers.get(parent)
        return around is not None and configs.is_changed(around, parent in with_arrays)
    *_, around, attribute = ("", "", *saved.file_path.split("/"))
    is_known = around.startswith(snake_case(_WRAPPER))
    return attribute == "layer" and parent in with_arrays and not is_known


def _without_roles(variables: list[tuple[Variable, StoredArray]]):
    """Returns variables without roles, but with names that no plain layer's arrays have."""
    return [
        (dataclasses.replace(v, role=None, name=f"wrapped {v.position}"), stored)
        for v, stored in variables
    ]


def _check_complete(
    config: Config, layer_paths: set[str], weights: Weights, where: str
) -> None:
    """Raises InputError if a layer whose class has arrays has none in the file."""
    names = {variable.layer for variable, _ in weights.variables}
    for layer in config.layers.values():
        needs = roles_module.layer_roles(layer.class_name, layer.config)
        if layer.file_path is None or not needs or layer.path in layer_paths:
            continue
        if layer.name in names:  # a layer shared by two models is stored once
            continue
        raise InputError(
            f"{where}: the weights of {printable(layer.path)} are missing. The file was "
            "not written to its end, or its weights are of another model."
        )
