"""Legacy `.h5` files of Keras 1 to 3, whole models and weights, by the names they hold.

Keras itself assigns these arrays in order, trainable ones first, so that a model saved with
frozen layers loads with its arrays exchanged. The names beside them are true.
"""

from tfreuse.checkpoints import configs, named
from tfreuse.checkpoints.arrays import Stored
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.configs import Config
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable

ATTRIBUTES = ("layer_names", "weight_names")
ROOT_ATTRIBUTES = ("model_config", "tfreuse")


def is_legacy(root: Group) -> bool:
    """Whether an HDF5 file, read with ATTRIBUTES, is one of these."""
    return "model_weights" in root.groups or "layer_names" in root.attributes


def read(source: Source, root: Group) -> Checkpoint:
    """The variables of a legacy file; `root` was read with the attributes above.

    Raises:
        InputError: a name has no array, or the configuration cannot be read.
    """
    where = printable(source.path)
    text = root.attributes.get("model_config")
    config = configs.parse(text, where) if isinstance(text, str) else None
    weights = root.groups.get("model_weights", root)
    items, seen = [], set()
    for layer_name in _list(weights, "layer_names"):
        group = _below(weights, layer_name.split("/"))
        for name in _list(group, "weight_names") if group else ():
            parent = _below(group, name.split("/")[:-1])
            stored = parent and parent.arrays.get(name.rpartition("/")[2])
            if not stored:
                raise InputError(
                    f"{where} names a weight {printable(name)} that it does not hold. "
                    "It is damaged; copy or save it again."
                )
            seen.add(id(stored))
            path = _layer_path(layer_name, name.split("/")[:-1], config)
            items.append((path, name.rpartition("/")[2], stored))
    found, notes = named.find(items, config)
    provenance = root.attributes.get("tfreuse")
    return Checkpoint(
        "legacy_h5",
        source,
        found,
        others=_others(root, seen),
        edges=config.edges if config else None,
        notes=notes,
        provenance=configs.parse_object(provenance, where) if provenance else None,
    )


def _layer_path(top: str, scopes: list[str], config: Config | None) -> str:
    """The layer's path: `top` is the outermost layer, `scopes` what the weight's name says.

    Names of weights in a nested Functional model begin with the inner layer, in a
    Sequential with the outer one.
    """
    inner = "/".join([top, *scopes])
    if config and inner in config.layers:
        return inner
    if not scopes or scopes[-1] == top:
        return top
    return "/".join(scopes) if scopes[0] == top else inner


def _below(group: Group | None, names: list[str]) -> Group | None:
    for name in names:
        if group is None:
            return None
        group = group.groups.get(name)
    return group


def _list(group: Group, attribute: str) -> list[str]:
    value = group.attributes.get(attribute, [])
    return value if isinstance(value, list) else [value]


def _others(root: Group, seen: set[int]) -> list[tuple[str, Stored, str]]:
    return [
        (
            f"{group.path}/{name}".removeprefix("/"),
            stored,
            "optimizer" if group.path.startswith("/optimizer") else "other",
        )
        for group in root.walk()
        for name, stored in group.arrays.items()
        if id(stored) not in seen
    ]
