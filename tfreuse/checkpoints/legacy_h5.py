"""Legacy `.h5` files of Keras 1 to 3, whole models and weights, by the names they hold.

Keras itself assigns these arrays in order, trainable ones first, so that a model saved with
frozen layers loads with its arrays exchanged. The names beside them are true.
"""

from tfreuse.checkpoints import configs, named
from tfreuse.checkpoints.arrays import StoredArray
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
    paths = _Paths(config)
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
            path = paths.of(layer_name, name.split("/")[:-1])
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


class _Paths:
    """Finds a layer's path from what a weight's name says of it.

    Names of weights in a nested Functional model begin with the inner layer, in a Sequential
    with the outer one; of models nested deeper nothing is said. The configuration tells, if
    there is one.
    """

    def __init__(self, config: Config | None):
        self._by_name: dict[str, list[str]] = {}
        for path, layer in (config.layers if config else {}).items():
            self._by_name.setdefault(layer.name, []).append(path)

    def of(self, top: str, scopes: list[str]) -> str:
        """The path of the layer at `scopes` in the outermost layer `top`."""
        outer, inner = "/".join(scopes), "/".join([top, *scopes])
        known = self._by_name.get(scopes[-1] if scopes else top, ())
        if inner in known:
            return inner
        if not scopes or scopes[-1] == top:
            return top
        if scopes[0] == top:
            return outer
        below = [
            path
            for path in known
            if path.startswith(f"{top}/") and path.endswith(f"/{outer}")
        ]
        return below[0] if len(below) == 1 else inner


def _below(group: Group | None, names: list[str]) -> Group | None:
    for name in names:
        if group is None:
            return None
        group = group.groups.get(name)
    return group


def _list(group: Group, attribute: str) -> list[str]:
    value = group.attributes.get(attribute, [])
    return value if isinstance(value, list) else [value]


def _others(root: Group, seen: set[int]) -> list[tuple[str, StoredArray, str]]:
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
