"""Reads legacy `.h5` files of Keras 1 to 3, whole models and weights, by their arrays' names.

Keras itself loads these arrays by position, trainable ones first, so that in a model saved with
frozen layers arrays end up exchanged. The names in the file are right.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfreuse import roles
from tfreuse.checkpoints import configs, keras_1, named
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.configs import Config
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.layouts import class_of_group
from tfreuse.checkpoints.source import Source
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

ATTRIBUTES = ("layer_names", "weight_names")
ROOT_ATTRIBUTES = ("model_config", "tfreuse", "keras_version")


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
    weights = root.groups.get("model_weights", root)
    tops = _list(weights, "layer_names")
    config = configs.parse(text, where, tops) if isinstance(text, str) else None
    groups = {}
    for top in tops:
        group = _descend(weights, top.split("/"))
        groups[top] = group, _list(group, "weight_names") if group else []
    first = keras_1.is_version(root.attributes.get("keras_version"))
    scoped = keras_1.scoped if first else str
    scopes = {
        top: [scoped(name) for name in names] for top, (_, names) in groups.items()
    }
    paths = _Paths(config, scopes)
    arrays, weight_ids = [], set()
    for top, (group, names) in groups.items():
        for name, full, path in zip(names, scopes[top], paths.of(top), strict=True):
            parent = _descend(group, name.split("/")[:-1])
            stored = parent and parent.arrays.get(name.rpartition("/")[2])
            if not stored:
                raise InputError(
                    f"{where} names a weight {printable(name)} that it does not hold. "
                    "It is damaged; copy or save it again."
                )
            weight_ids.add(id(stored))
            arrays.append((path, full.rpartition("/")[2], stored))
    if first:
        arrays = keras_1.renamed(arrays, config.layers if config else {})
    variables, duplicates, notes = named.variables(arrays, config)
    provenance = root.attributes.get("tfreuse")
    return Checkpoint(
        "legacy_h5",
        source,
        variables,
        unaddressed=[*duplicates, *_unaddressed(root, weight_ids)],
        edges=config.edges if config else None,
        notes=notes,
        repeats=_repeats(variables),
        provenance=configs.parse_object(provenance, where) if provenance else None,
    )


def _repeats(variables: Sequence[tuple[Variable, StoredArray]]) -> dict[str, str]:
    """Returns the two paths of each layer that stands in a model and in an inner model of it.

    Keras stores such a layer twice, and reads both. Their names, settings and values are equal,
    and not all values the same number, as in new normalizations.
    """
    layers: dict[str, list[tuple[Variable, StoredArray]]] = {}
    for variable, stored in variables:
        layers.setdefault(variable.layer_path, []).append((variable, stored))
    repeats = {}
    for inner_path, arrays in layers.items():
        *models, name = inner_path.split("/")
        for depth in range(len(models)):
            path = "/".join([*models[:depth], name])
            if path in layers and _are_equal(layers[path], arrays):
                repeats |= {path: inner_path, inner_path: path}
    return repeats


def _are_equal(first, second) -> bool:
    """Returns whether two layers have equal descriptions, and equal values that vary."""
    descriptions = [
        [dataclasses.replace(variable, path="") for variable, _ in side]
        for side in (first, second)
    ]
    if descriptions[0] != descriptions[1]:
        return False
    try:
        values = [[stored.read() for _, stored in side] for side in (first, second)]
    except InputError:  # stored in chunks, which do not move either
        return False
    equal = all(np.array_equal(*pair) for pair in zip(*values, strict=True))
    return equal and any(np.ptp(array) > 0 for array in values[0] if array.size)


class _Paths:
    """Finds the paths of layers from the scopes in the names of their weights.

    In a nested Functional model the names begin with the inner layer, in a nested Sequential
    with the outer model; deeper nesting is not in the names. Layers in a wrapper of a Sequential
    model begin with that model. The configuration, if there is
    one, resolves the rest. TensorFlow 1 numbers the scopes of a model that was built twice, as
    in a file that is saved after loading: "conv2d_1_1/kernel:0" in the group "conv2d_1".

    Args:
        config: of the model, if the file has it.
        names: names of the weights in each group, by the name of the outermost layer.
    """

    def __init__(self, config: Config | None, names: Mapping[str, list[str]]):
        self._layers = config.layers if config else {}
        self._scopes = {
            top: [n.split("/")[:-1] for n in ns] for top, ns in names.items()
        }
        self._by_name: dict[str, list[str]] = {}
        for path, layer in self._layers.items():
            self._by_name.setdefault(layer.name, []).append(path)
        pairs = self._scopes.items()
        heads = [(top, "/".join(scope)) for top, scopes in pairs for scope in scopes]
        self._all_numbered = config is None and all(
            _unnumbered(scope) == top for top, scope in heads
        )

    def of(self, top: str) -> list[str]:
        """Returns the path of the layer of each weight in the outermost layer `top`."""
        scopes = self._scopes[top]
        if self._all_numbered or self._is_plain(top):
            return [top] * len(scopes)
        return [self._path(top, scope) for scope in self._without_number(top, scopes)]

    def _is_plain(self, top: str) -> bool:
        """Returns whether the layer has no layers inside, whatever the scopes say."""
        layer = self._layers.get(top)
        if layer is None:  # a name that Keras makes up for such a class
            return not self._layers and class_of_group(top) is not None
        return roles.layer_roles(layer.class_name, layer.config) is not None

    def _without_number(self, top: str, scopes: list[list[str]]) -> list[list[str]]:
        """Returns scopes without TensorFlow's number, if taking it away gives layers' names."""
        below = f"{top}/"
        inner = {
            layer.name for path, layer in self._layers.items() if path.startswith(below)
        }
        inner.add(top)
        heads = {scope[0] for scope in scopes if scope}
        numbers = {head.removeprefix(_unnumbered(head)) for head in heads - inner}
        if len(numbers) != 1 or not {_unnumbered(head) for head in heads} <= inner:
            return scopes
        return [
            [_unnumbered(scope[0]), *scope[1:]] if scope else [] for scope in scopes
        ]

    def _path(self, top: str, scopes: list[str]) -> str:
        scope, nested = "/".join(scopes), "/".join([top, *scopes])
        candidates = self._by_name.get(scopes[-1] if scopes else top, ())
        if nested in candidates:
            return nested
        if not scopes or top in (scope, scopes[-1]):
            return top
        if scopes[0] == top:
            return scope
        matches = [
            path
            for path in candidates
            if path.startswith(f"{top}/")
            and (path.endswith(f"/{scope}") or scope.endswith(f"/{path}"))
        ]
        return matches[0] if len(matches) == 1 else nested


def _unnumbered(scope: str) -> str:
    """Returns a scope without the number that TensorFlow appends to its name."""
    return re.sub(r"_\d+$", "", scope)


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
