"""The layers of a Keras 3 weights file (`.weights.h5`), with a configuration or without.

A layer's arrays stand in a group "vars" as "0", "1" ... in the order of `get_weights`; the
group's attribute "name" is the layer's name. Roles come from the configuration. Without one
(a bare weights file) the class is taken from the group's name, and a role is given only where
the shapes leave no choice.
"""

import dataclasses
from collections.abc import Iterator

from tfreuse import roles as roles_module
from tfreuse.checkpoints import configs, layouts
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.configs import Config, Layer, snake_case
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable


def read(source: Source, root: Group) -> Checkpoint:
    """The variables of a bare `.weights.h5` file of this structure.

    Raises:
        InputError: it is damaged, or made to be something else than a weights file.
    """
    where = printable(source.path)
    found = find(root, None, where)
    text = root.attributes.get("tfreuse")
    return Checkpoint(
        "weights_h5",
        source,
        found.variables,
        others=found.others,
        notes=found.notes,
        provenance=configs.parse_object(text, where) if text else None,
    )


@dataclasses.dataclass
class Found:
    """What a weights file holds: variables with their arrays, other arrays, and notes."""

    variables: list[tuple[Variable, StoredArray]]
    others: list[tuple[str, StoredArray, str]]
    notes: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _Saved:
    """A group that holds a layer's arrays (or an optimizer's, or a seed's)."""

    path: str  # names of the layers around it and its own
    file_path: str
    in_layers: bool  # whether the file names it by its class
    arrays: dict[str, StoredArray]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def kind(self) -> str:
        """What its arrays are: a layer's, or which kind of other."""
        if self.file_path.startswith("optimizer"):
            return "optimizer"
        seed = self.name.startswith("seed_generator") and not self.in_layers
        return "seed" if seed else "layer"


def find(root: Group, config: Config | None, where: str) -> Found:
    """The variables of a weights file.

    Args:
        root: the file's structure, attributes "name" read.
        config: the model's configuration, if the file has one.
        where: the file, for errors.

    Raises:
        InputError: the arrays are not those of the configuration, or the file holds no
            layer at all.
    """
    found = Found([], [], {})
    top = root.groups.get("vars")
    for name, stored in (top.arrays if top else {}).items():
        found.others.append((f"vars/{name}", stored, "other"))
    by_file_path = {
        layer.file_path: layer
        for layer in (config.layers.values() if config else ())
        if layer.file_path
    }
    seen = set()
    for saved in _saved(root, "", "", by_file_path):
        numbered = _numbered(saved.arrays)
        if saved.kind != "layer" or numbered is None:
            kind = "other" if saved.kind == "layer" else saved.kind
            for name, stored in saved.arrays.items():
                found.others.append((f"{saved.file_path}/{name}", stored, kind))
            continue
        layer = _layer(saved, config, where) if config else None
        seen.add(saved.path)
        _add(found, saved, layer, numbered, config is not None, where)
    if config:
        _check_complete(config, seen, found, where)
        order = {path: number for number, path in enumerate(config.layers)}
        last = len(order)
        found.variables.sort(
            key=lambda pair: order.get(pair[0].path.rpartition("/")[0], last)
        )
    else:  # arrays are written in the order of the model
        found.variables.sort(key=lambda pair: pair[1].offset or 0)
    return found


def _saved(
    group: Group, prefix: str, file_prefix: str, by_file_path: dict[str, Layer]
) -> Iterator[_Saved]:
    for name, child in group.groups.items():
        if name == "vars":
            continue
        file_path = f"{file_prefix}{name}"
        own = child.groups.get("vars")
        below = prefix
        if own is not None:
            label = own.attributes.get("name")
            if not isinstance(label, str):  # Keras before 3.3 wrote no names
                layer = by_file_path.get(file_path)
                label = layer.name if layer else name
            path = f"{prefix}{label}"
            in_layers = group.path.endswith("/layers")
            yield _Saved(path, file_path, in_layers, own.arrays)
            below = f"{path}/"
        yield from _saved(child, below, f"{file_path}/", by_file_path)


def _numbered(arrays: dict[str, StoredArray]) -> list[StoredArray] | None:
    """The arrays "0", "1", ... in this order; None if they are called otherwise."""
    names = [str(number) for number in range(len(arrays))]
    return [arrays[n] for n in names] if set(names) == set(arrays) else None


def _layer(saved: _Saved, config: Config, where: str) -> Layer | None:
    """The configuration of a saved layer; None if it has none of its own."""
    layer = config.layers.get(saved.path)
    if layer is None or not layer.class_name:
        return None
    if saved.in_layers and layer.file_path:
        kind = snake_case(layer.class_name)
        group = saved.file_path.rpartition("/")[2]
        tail = group.removeprefix(kind)
        if group != kind and not (tail[:1] == "_" and tail[1:].isdigit()):
            raise InputError(
                f"{where}: the configuration calls {printable(saved.path)} a "
                f"{printable(layer.class_name)}, the weights have it as {printable(group)}. "
                "They are not of one model; save it again."
            )
    return layer


def _add(
    found: Found,
    saved: _Saved,
    layer: Layer | None,
    numbered: list[StoredArray],
    configured: bool,
    where: str,
) -> None:
    shapes = [stored.shape for stored in numbered]
    roles, why = None, "its class is not known"
    class_name = layer.class_name if layer else ""
    if layer:
        roles = roles_module.layer_roles(class_name, layer.config)
        if roles is not None and len(roles) != len(shapes):
            roles = None  # more than its class tells, e.g. LoRA: never guess
            why = f"{class_name} has {len(shapes)} arrays, which its class does not explain"
        elif roles is not None:
            misfit = layouts.misfit(class_name, layer.config, roles, shapes)
            if misfit:
                raise InputError(
                    f"{where}: {printable(saved.path)} does not fit its configuration: "
                    f"{misfit}. Weights and configuration are not of one model."
                )
    elif not configured and saved.in_layers:
        class_name = layouts.class_of_group(saved.file_path.rpartition("/")[2]) or ""
        if class_name:
            roles, why = layouts.roles_of_shapes(class_name, shapes)
    for position, stored in enumerate(numbered):
        variable = Variable(
            path=f"{saved.path}/{position}",
            layer=saved.name,
            class_name=class_name,
            role=roles[position] if roles else None,
            position=position,
            shape=stored.shape,
            dtype=str(stored.dtype.newbyteorder("=")),
            settings=configs.settings(layer),
        )
        if variable.role is None:
            found.notes[variable.path] = why
        found.variables.append((variable, stored))


def _check_complete(config: Config, seen: set[str], found: Found, where: str) -> None:
    """Raises InputError if a layer that must have arrays has none in the file."""
    names = {variable.layer for variable, _ in found.variables}
    for layer in config.layers.values():
        needs = roles_module.layer_roles(layer.class_name, layer.config)
        if layer.file_path is None or not needs or layer.path in seen:
            continue
        if layer.name in names:  # shared with another model: its arrays are stored once
            continue
        raise InputError(
            f"{where}: the weights of {printable(layer.path)} are missing. The file was "
            "not written to its end, or its weights are of another model."
        )
