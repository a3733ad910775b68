"""Reads legacy `.h5` files of Keras 1 to 3, whole models and weights, by their arrays' names.

Keras itself loads these arrays by position, trainable ones first, so that in a model saved with
frozen layers arrays end up exchanged. The names in the file are right.
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
    """Returns whether an HDF5 file, read with ATTRIBUTES, has the legacy layout."""
    return "model_weights" in root.groups or "layer_names" in root.attributes


def read(source: Source, root: Group) -> Checkpoint:
    """Reads a legacy file, whose HDF5 structure `root` has the attributes above.

    Raises:
        InputError: a name has no array, or the configuration cannot be read.
    """
    where = printable(source.path)
    text = root.attributes.get("model_config")
    config = configs.parse(text, where) if isinstance(text, str) else None
    weights = root.groups.get("model_weights", root)
    paths = _Paths(config)
    arrays, weight_ids = [], set()
    for layer_name in _list(weights, "layer_names"):
        group = _descend(weights, layer_name.split("/"))
        for name in _list(group, "weight_names") if group else ():
            parent = _descend(group, name.split("/")[:-1])
            stored = parent and parent.arrays.get(name.rpartition("/")[2])
            if not stored:
                raise InputError(
                    f"{where} names a weight {printable(name)} that it does not hold. "
                    "It is damaged; copy or save it again."
                )
            weight_ids.add(id(stored))
            path = paths.of(layer_name, name.split("/")[:-1])
            arrays.append((path, name.rpartition("/")[2], stored))
    variables, duplicates, notes = named.variables(arrays, config)
    provenance = root.attributes.get("tfreuse")
    return Checkpoint(
        "legacy_h5",
        source,
        variables,
        unaddressed=[*duplicates, *_unaddressed(root, weight_ids)],
        edges=config.edges if config else None,
        notes=notes,
        provenance=configs.parse_object(provenance, where) if provenance else None,
    )


class _Paths:
    """Finds a layer's path from the scopes in the names of its weights.

    In a nested Functional model the names begin with the inner layer, in a nested Sequential
    with the outer model; deeper nesting is not in the names. The configuration, if there is
    one, resolves the rest.
    """

    def __init__(self, config: Config | None):
        self._by_name: dict[str, list[str]] = {}
        for path, layer in (config.layers if config else {}).items():
            self._by_name.setdefault(layer.name, []).append(path)

    def of(self, top: str, scopes: list[str]) -> str:
        """Returns the path of the layer at `scopes` in the outermost layer `top`."""
        scope, nested = "/".join(scopes), "/".join([top, *scopes])
        candidates = self._by_name.get(scopes[-1] if scopes else top, ())
        if nested in candidates:
            return nested
        if not scopes or scopes[-1] == top:
            return top
        if scopes[0] == top:
            return scope
        matches = [
            path
            for path in candidates
            if path.startswith(f"{top}/") and path.endswith(f"/{scope}")
        ]
        return matches[0] if len(matches) == 1 else nested


def _descend(group: Group | None, names: list[str]) -> Group | None:
    """Follows names from group to group; None if one is missing."""
    for name in names:
        if group is None:
            return None
        group = group.groups.get(name)
    return group


def _list(group: Group, attribute: str) -> list[str]:
    """Returns an attribute as a list; a single name may be stored as a plain string."""
    value = group.attributes.get(attribute, [])
    return value if isinstance(value, list) else [value]


def _unaddressed(
    root: Group, weight_ids: set[int]
) -> list[tuple[str, StoredArray, str]]:
    """Lists (path, array, kind) of all arrays that are no layer's weights."""
    return [
        (
            f"{group.path}/{name}".removeprefix("/"),
            stored,
            "optimizer" if group.path.startswith("/optimizer") else "other",
        )
        for group in root.walk()
        for name, stored in group.arrays.items()
        if id(stored) not in weight_ids
    ]
