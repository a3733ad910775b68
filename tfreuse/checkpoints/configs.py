"""Reads layers and their connections from the JSON configuration of a Keras model.

The configuration is data: nothing is built, and no class that it names is looked up. Files
whose configuration is incomplete still open; `graph` reads the same JSON strictly, call by
call, for alignment. Both walk it by `leaves`.
"""

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tfreuse import roles
from tfreuse.checkpoints.source import MAX_DEPTH, MAX_HEADER
from tfreuse.errors import InputError, printable


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a configuration.

    Attributes:
        path: the names of the models around it, and its name: "backbone/conv1".
        name: name of the layer.
        class_name: "" where two layers of different classes have one path.
        config: settings as Keras writes them.
        file_path: its group in a weights file, e.g. "layers/conv2d_1"; None if unknown.
    """

    path: str
    name: str
    class_name: str
    config: Mapping[str, Any]
    file_path: str | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """All layers by path, and the layers that each reads from.

    `edges` has layers and operations alike. Nested models are looked through: a layer after
    one reads from the layer that makes its output. None for a subclassed model, whose
    connections are code.
    """

    layers: Mapping[str, Layer]
    edges: Mapping[str, tuple[str, ...]] | None


def parse(text: bytes | str, where: str) -> Config:
    """Reads the layers of a model's JSON configuration.

    Args:
        text: UTF-8 JSON as Keras writes it.
        where: name of the file, for errors.

    Raises:
        InputError: it is no JSON, too large, too deep, or no model's configuration.
    """
    root = parse_object(text, where)
    reader = _Reader()
    try:
        if not _is_object(root):
            raise ValueError("it names no class")
        reader.model(root["config"], "", "", 0)
        graph = isinstance(root["config"].get("layers"), list)
        return Config(reader.layers, reader.edges() if graph else None)
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, error) from error


def parse_object(text: bytes | str, where: str) -> dict[str, Any]:
    """Parses a JSON object; InputError if it is none, or over MAX_HEADER bytes."""
    try:
        if len(text) > MAX_HEADER:
            raise ValueError(f"it has over {MAX_HEADER:,} bytes")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # a UnicodeError is a ValueError
        raise _unreadable(where, error) from error
    if not isinstance(value, dict):
        raise _unreadable(where, "it is no object")
    return value


def _unreadable(where: str, error: object) -> InputError:
    return InputError(
        f"{where} holds JSON that cannot be read: {printable(error)}. "
        "Save the model again."
    )


def settings(layer: Layer | None) -> tuple[tuple[str, Any], ...]:
    """Returns `roles.layer_settings` of the layer, without values that Keras never writes."""
    pairs = roles.layer_settings(layer.config) if layer else ()
    return tuple((name, value) for name, value in pairs if _is_plain(value))


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(part, str | int | float) for part in values)


def snake_case(class_name: str) -> str:
    """Returns the name of a class as Keras spells it in weights files: Conv2D is conv2d."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class _Reader:
    """Collects layers and connections, model by model."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        # path -> (path, index of the output) of each tensor it reads: models have several
        self.reads: dict[str, list[tuple[str, int]]] = {}
        self.inputs: dict[str, list[str]] = {}  # model -> layers that take its inputs
        self.outputs: dict[
            str, list[tuple[str, int]]
        ] = {}  # model -> tensors it returns

    def model(
        self, config: Mapping[str, Any], prefix: str, file_prefix: str, depth: int
    ) -> None:
        """Adds the layers of a Functional or Sequential model, nested ones included."""
        if depth > MAX_DEPTH:
            raise ValueError(f"models are nested over {MAX_DEPTH} deep")
        path = prefix.removesuffix("/")
        entries = config.get("layers") if isinstance(config, dict) else None
        if not isinstance(entries, list):
            return self.parts(config, path, depth)
        sequential = "output_layers" not in config
        chain: list[str] = []
        used: Counter[str] = Counter()
        for entry in entries:
            if not _is_object(entry):
                continue
            name = entry_name(entry)
            file_path = None
            if _is_saved(entry, sequential):
                kind = snake_case(entry["class_name"])
                number = f"_{used[kind]}" if used[kind] else ""
                file_path = f"{file_prefix}layers/{kind}{number}"
                used[kind] += 1
            self.layer(entry, name, prefix, file_path, depth)
            chain.append(f"{prefix}{name}")
        if not sequential:
            self.inputs[path] = [
                f"{prefix}{name}" for name, _ in _ends(config, "input")
            ]
            self.outputs[path] = [
                (f"{prefix}{name}", index) for name, index in _ends(config, "output")
            ]
        elif chain:  # Sequential: each layer reads from the one before it
            for before, after in itertools.pairwise(chain):
                self.reads[after] = [(before, 0)]
            self.inputs[path], self.outputs[path] = chain[:1], [(chain[-1], 0)]

    def layer(
        self, entry, name: str, prefix: str, file_path: str | None, depth: int
    ) -> None:
        path, config = f"{prefix}{name}", entry["config"]
        if path in self.layers:
            raise ValueError(f"two layers are called {path!r}")
        self.layers[path] = Layer(
            path, name, str(entry["class_name"]), config, file_path
        )
        self.reads[path] = [
            (f"{prefix}{source}", index) for source, index in _histories(entry)
        ]
        # layers whose arrays are known have no layers in them
        if roles.layer_roles(str(entry["class_name"]), config) is None:
            self.model(config, f"{path}/", f"{file_path}/", depth + 1)

    def parts(self, config: Any, path: str, depth: int) -> None:
        """Adds layers inside a layer that is no model, such as a wrapper; without edges."""
        for part in _objects(config, depth):
            name = str(part["config"].get("name"))
            below = f"{path}/{name}" if path else name
            known = self.layers.get(below)
            layer = Layer(below, name, str(part["class_name"]), part["config"])
            if known is not None and known.class_name != layer.class_name:
                layer = dataclasses.replace(layer, class_name="")  # two claim the name
            self.layers[below] = layer

    def edges(self) -> dict[str, tuple[str, ...]]:
        """Returns the paths that each layer reads from; nested models are looked through."""
        edges: dict[str, dict[str, None]] = {}
        for path, tensors in self.reads.items():
            ends = [end for tensor in tensors for end in self._makers(*tensor)]
            takers = self._takers(path)
            for number, taker in enumerate(takers):
                # a model of several inputs takes them in order
                in_order = len(takers) == len(ends)
                sources = ends[number : number + 1] if in_order else ends
                edges.setdefault(taker, {}).update(dict.fromkeys(sources))
        return {path: tuple(sources) for path, sources in edges.items()}

    def _makers(self, path: str, index: int) -> Iterator[str]:
        """Yields the layers that make an output of a layer or a nested model."""
        outputs = self.outputs.get(path)
        if outputs is None:
            yield path
        elif index < len(outputs):
            yield from self._makers(*outputs[index])

    def _takers(self, path: str) -> list[str]:
        """Returns the layers that take the inputs of a layer or a nested model."""
        if path not in self.inputs:
            return [path]
        return [end for taker in self.inputs[path] for end in self._takers(taker)]


def entry_name(entry: Mapping[str, Any]) -> str:
    """Returns the name of a layer's entry, which older files hold in its configuration."""
    return str(entry.get("name") or entry["config"].get("name"))


def is_tensor(value: Any) -> bool:
    """Returns whether Keras writes this for a tensor that a layer is called on."""
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def leaves(value: Any, is_leaf: Callable[[Any], bool]) -> Iterator[Any]:
    """Yields the leaves of nested lists and dictionaries.

    In the order in which Keras flattens structures: dictionaries by sorted key.
    """
    stack = [value]
    while stack:
        value = stack.pop()
        if is_leaf(value):
            yield value
        elif isinstance(value, list):
            stack += reversed(value)
        elif isinstance(value, dict):
            stack += [value[key] for key in sorted(value, reverse=True)]


def _is_object(value: Any) -> bool:
    """Returns whether Keras writes this for an object that has a configuration."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("class_name"), str)
        and isinstance(value.get("config"), dict)
    )


def _is_saved(entry: Mapping[str, Any], sequential: bool) -> bool:
    """Returns whether Keras numbers the entry in a weights file: operations are no layers."""
    if str(entry.get("module")).startswith("keras.src.ops"):
        return False
    return not (sequential and entry["class_name"] == "InputLayer")


def _objects(value: Any, depth: int) -> Iterator[dict]:
    """Yields named objects anywhere in a configuration."""
    if depth > 4 * MAX_DEPTH:
        raise ValueError("it is nested too deep")
    if _is_object(value) and isinstance(value["config"].get("name"), str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _objects(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part, depth + 1)


def _histories(entry: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Returns (layer, output) of every tensor that the layer is called on, in order."""
    histories: dict[tuple[str, int], None] = {}
    for tensor in leaves(entry.get("inbound_nodes"), is_tensor):
        config = tensor.get("config")
        history = (
            _node(config.get("keras_history")) if isinstance(config, dict) else None
        )
        if history:
            histories[history] = None
    return list(histories)


def _ends(config: Mapping[str, Any], side: str) -> list[tuple[str, int]]:
    """Returns (layer, output) of the model's inputs or outputs, however they are nested."""
    nodes = leaves(config.get(f"{side}_layers"), lambda value: _node(value) is not None)
    return [_node(node) for node in nodes]


def _node(value: Any) -> tuple[str, int] | None:
    """Returns (layer, output) of [layer, call, output]; None for anything else."""
    if (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and isinstance(value[2], int)
        and value[2] >= 0
    ):
        return value[0], value[2]
    return None
