"""Reads layers and their connections from the JSON configuration of a Keras model.

The configuration is data: nothing is built, and no class that it names is looked up. Files
whose configuration is incomplete still open; `graph` reads the same JSON strictly, call by
call, for alignment. Both walk it by `leaves`.
"""

import dataclasses
import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfreuse import roles
from tfreuse.checkpoints import keras_1, nodes, ranks
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
        rank: number of axes of its input, the batch axis included; None if unknown.
    """

    path: str
    name: str
    class_name: str
    config: Mapping[str, Any]
    file_path: str | None = None
    rank: int | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """All layers by path, and the layers that each reads from.

    `edges` has layers and operations alike. Nested models are looked through: a layer after
    one reads from the layer that makes its output. None where connections are code, as of a
    subclassed model, or are written in no form that is known.
    """

    layers: Mapping[str, Layer]
    edges: Mapping[str, tuple[str, ...]] | None


def parse(text: bytes | str, where: str, names: Sequence[str] = ()) -> Config:
    """Reads the layers of a model's JSON configuration.

    Args:
        text: UTF-8 JSON as Keras writes it.
        where: name of the file, for errors.
        names: of the outermost layers, as far as another part of the file has them: Keras
            before 2.2.3 leaves out those of models within a Sequential model.

    Raises:
        InputError: it is no JSON, too large, too deep, or no model's configuration.
    """
    root = parse_object(text, where)
    reader = _Reader()
    try:
        if not _is_object(root):
            raise ValueError("it names no class")
        if isinstance(root["config"], list) and len(root["config"]) == len(names):
            for entry, name in zip(root["config"], names, strict=True):
                if _is_object(entry) and not entry_name(entry):
                    entry["name"] = name
        reader.model(root["config"], "", "", 0)
        edges = reader.edges()
        layers = ranks.with_ranks(reader.layers, edges, reader.shapes)
        graph = nodes.layers_of(root["config"]) is not None and reader.connected
        return Config(layers, edges if graph else None)
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
    pairs = roles.layer_settings(layer.config, layer.rank) if layer else ()
    return tuple((name, value) for name, value in pairs if _is_plain(value))


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(part, str | int | float) for part in values)


@functools.lru_cache(maxsize=1000)
def snake_case(class_name: str) -> str:
    """Returns the name of a class as Keras spells it in weights files: Conv2D is conv2d."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def is_changed(around: Layer, has_arrays: bool) -> bool:
    """Returns whether a wrapper computes with another kernel than the layer in it has.

    Args:
        around: the layer around one, a wrapper or not.
        has_arrays: whether it has arrays of its own.
    """
    is_wrapper = _is_object(around.config.get("layer"))
    return is_wrapper and roles.changes_kernel(around.class_name, has_arrays)


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
        self.shapes: dict[str, Any] = {}  # path -> shape of the input, as far as stated
        self.connected = True  # whether all connections could be read

    def model(
        self, config: Mapping[str, Any], prefix: str, file_prefix: str, depth: int
    ) -> None:
        """Adds the layers of a Functional or Sequential model, nested ones included."""
        if depth > MAX_DEPTH:
            raise ValueError(f"models are nested over {MAX_DEPTH} deep")
        path = prefix.removesuffix("/")
        entries = nodes.layers_of(config)
        if entries is None:
            return self.parts(config, path, file_prefix, depth)
        sequential = isinstance(config, list) or "output_layers" not in config
        entries = [entry for entry in entries if _is_object(entry)]
        names = {entry_name(entry) for entry in entries}
        chain: list[str] = []
        used: Counter[str] = Counter()
        for entry in entries:
            kind = snake_case(entry["class_name"])
            number = f"_{used[kind]}" if used[kind] else ""
            file_path = None
            if _is_saved(entry, sequential):
                file_path = f"{file_prefix}layers/{kind}{number}"
                used[kind] += 1
            name = entry_name(entry) or f"{kind}{number}"
            self.connected &= bool(entry_name(entry))
            layer_path = f"{prefix}{name}"
            self.layer(entry, name, layer_path, file_path, depth)
            self.node(entry, layer_path, prefix, names)
            chain.append(layer_path)
        if not sequential:
            self.inputs[path] = [
                f"{prefix}{name}" for name, _ in _ends(config, "input")
            ]
            self.outputs[path] = [
                (f"{prefix}{name}", index) for name, index in _ends(config, "output")
            ]
            for layer_path in {*chain} - {*self.inputs[path]}:
                reads = (
                    self.reads[layer_path]
                    or self.layers[layer_path].class_name == "InputLayer"
                )
                self.connected &= bool(reads)
        elif chain:  # Sequential: each layer reads from the one before it
            for before, after in itertools.pairwise(chain):
                self.reads[after] = [(before, 0)]
            self.inputs[path], self.outputs[path] = chain[:1], [(chain[-1], 0)]
            # Keras 1 put the branches of a network into its first layer
            self.connected &= self.layers[chain[0]].class_name != "Merge"

    def layer(
        self, entry, name: str, path: str, file_path: str | None, depth: int
    ) -> None:
        config, class_name = entry["config"], str(entry["class_name"])
        if path in self.layers:
            raise ValueError(f"two layers are called {path!r}")
        settings = keras_1.settings(config) if isinstance(config, dict) else {}
        self.layers[path] = Layer(path, name, class_name, settings, file_path)
        # layers whose arrays are known have no layers in them
        if roles.layer_roles(class_name, settings) is None:
            self.model(config, f"{path}/", f"{file_path}/", depth + 1)

    def node(self, entry, path: str, prefix: str, names: set[str]) -> None:
        """Adds the tensors that a layer reads, and the shape of the first."""
        calls = []
        try:
            calls = nodes.nodes(entry, names)
        except ValueError:
            self.connected = False
        self.reads[path] = list(
            dict.fromkeys(
                (f"{prefix}{t.layer}", t.output) for c in calls for t in c.reads
            )
        )
        build = entry.get("build_config")
        stated = build.get("input_shape") if isinstance(build, dict) else None
        if stated is None and calls and calls[0].reads:
            stated = calls[0].shapes.get(calls[0].reads[0])
        self.shapes[path] = stated

    def parts(self, config: Any, path: str, file_prefix: str, depth: int) -> None:
        """Adds layers inside a layer that is no model, such as a wrapper; without edges.

        Of a model in a wrapper, its layers too.
        """
        within = config.get("layer") if isinstance(config, dict) else None
        if _is_object(within) and nodes.layers_of(within["config"]) is not None:
            below = f"{path}/{entry_name(within)}"
            self.layers[below] = Layer(
                below,
                entry_name(within),
                str(within["class_name"]),
                within["config"],
                f"{file_prefix}layer",
            )
            return self.model(
                within["config"], f"{below}/", f"{file_prefix}layer/", depth + 1
            )
        for part in _objects(config, depth):
            name = str(part["config"].get("name"))
            below = f"{path}/{name}" if path else name
            earlier = self.layers.get(below)
            layer = Layer(below, name, str(part["class_name"]), part["config"])
            if earlier is not None and earlier.class_name != layer.class_name:
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
    """Returns the name of a layer's entry, which older files hold in its configuration.

    "" where none is stored, as for a Sequential model within another in Keras before 2.2.3.
    """
    config = entry["config"]
    inner = config.get("name") if isinstance(config, dict) else None
    return str(entry.get("name") or inner or "")


def _is_object(value: Any) -> bool:
    """Returns whether Keras writes this for an object that has a configuration."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("class_name"), str)
        and (
            isinstance(value.get("config"), dict)
            or (
                value["class_name"] == "Sequential"
                and isinstance(value["config"], list)
            )
        )
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
    if _is_object(value) and entry_name(value):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _objects(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part, depth + 1)


def _ends(config: Mapping[str, Any], side: str) -> list[tuple[str, int]]:
    """Returns (layer, output) of the model's inputs or outputs, however they are nested."""
    tensors = nodes.leaves(
        config.get(f"{side}_layers"), lambda value: nodes.tensor(value) is not None
    )
    return [(tensor[0], tensor[2]) for tensor in tensors]
