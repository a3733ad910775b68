"""Reads the calls of a saved model's layers from its configuration, for alignment.

    calls(donor)  # as tfreuse.transplant.live_graph.calls returns them for the model itself

Functional and Sequential models are looked through at any depth. Classes are names here:
nothing is built. A shape or class that the configuration lacks is unknown, and channels that
depend on it are never permuted.
"""

import graphlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tfreuse import roles
from tfreuse.checkpoints import (
    Checkpoint,
    configs,
    hdf5,
    keras_file,
    legacy_h5,
    nodes,
    ranks,
)
from tfreuse.checkpoints.nodes import Node, Tensor
from tfreuse.checkpoints.source import MAX_OBJECTS
from tfreuse.errors import InputError, printable
from tfreuse.plan.calls import Call, Graph
from tfreuse.plan.variables import by_layer

_Shape = list[int | None]
_SAME_SHAPE = frozenset(  # classes whose output has the shape of their input
    (
        *("ReLU", "LeakyReLU", "ELU", "Activation", "Softmax", "Identity"),
        *("BatchNormalization", "LayerNormalization"),
        *("Dropout", "SpatialDropout2D", "GaussianNoise"),
    )
)


def calls(checkpoint: Checkpoint) -> Graph:
    """Returns calls from input to output, and the names of those that make the outputs.

    Raises:
        InputError: the file has no graph, or one that cannot be followed.
    """
    text = _configuration(checkpoint) if checkpoint.edges is not None else None
    where = printable(checkpoint.path)
    if text is None:
        raise InputError(
            f"the adapter align needs the donor's graph, and {where} has none that can be "
            "read; give the .keras file of a Functional or Sequential model."
        )
    root = configs.parse_object(text, where)
    try:
        reader = _Reader(root["config"])
        outputs = reader.model(root["config"], "", None, {})
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"the graph of {where} cannot be followed: {printable(error)}. Load the model "
            "and save it again as .keras."
        ) from error
    _check_arrays(checkpoint, reader)
    return reader.calls, outputs


def _configuration(checkpoint: Checkpoint) -> bytes | str | None:
    for member in checkpoint.members:
        if member.name == keras_file.CONFIG:
            return member.read()
    if checkpoint.kind == "legacy_h5":
        names = legacy_h5.ROOT_ATTRIBUTES
        return hdf5.read(checkpoint.source, (), names).attributes.get(names[0])
    return None


def _check_arrays(checkpoint: Checkpoint, reader: "_Reader") -> None:
    """Raises InputError if a layer's arrays are stored under a name that is unknown."""
    stored_layers = by_layer(checkpoint.variables)
    for path, entry in reader.layers.items():
        needs = roles.layer_roles(entry["class_name"], entry["config"])
        if needs and path not in stored_layers:
            raise InputError(
                f"layer {printable(path)} of {printable(checkpoint.path)} shares its arrays "
                "with another layer, the file does not tell which; its channels cannot be "
                "aligned."
            )


class _Reader:
    """Collects calls, model by model."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.calls: list[Call] = []
        self.layers: dict[str, Mapping[str, Any]] = {}  # called ones, by path
        self.steps = 0
        # id of an entry -> path of the layer that it repeats
        self.twins: dict[int, str] = {}
        self._find_twins(root, "", {}, {})

    def model(
        self,
        config: Mapping[str, Any],
        prefix: str,
        outer: Sequence[str] | None,
        output_shapes: Mapping[int, _Shape],
    ) -> list[str]:
        """Adds a model's calls; returns the names of those that make its outputs, in order.

        Args:
            config: of a Functional or Sequential model.
            prefix: names of the models around its layers.
            outer: names of the calls that make its inputs, None for the outermost model.
            output_shapes: by index of the output, as far as the layers after it state them.
        """
        listed = nodes.layers_of(config)
        self._count(len(listed))
        if listed is config or "output_layers" not in config:
            return [self._chain(listed, prefix, outer, output_shapes.get(0))]
        entries = {configs.entry_name(entry): entry for entry in listed}
        inputs = [Tensor(end.layer, 0, end.output) for end in _ends(config, "input")]
        outputs = list(_ends(config, "output"))
        calls = _calls(entries, outputs)
        shapes = {}
        for call in calls.values():
            shapes |= call.shapes
        for index, tensor in enumerate(outputs):
            shapes.setdefault(tensor, output_shapes.get(index))
        makers = self._inputs(entries, inputs, outer)
        after = {
            node: [tensor[:2] for tensor in call.reads] for node, call in calls.items()
        }
        # a call states the shapes that it reads, not those that it makes
        shapes_of: dict[tuple[str, int], dict[int, _Shape]] = {}
        for (name, call, number), shape in shapes.items():
            shapes_of.setdefault((name, call), {})[number] = shape
        for node in graphlib.TopologicalSorter(after).static_order():
            if (*node, 0) in makers:
                continue
            sources = [makers[tensor] for tensor in calls[node].reads]
            shapes = shapes_of.get(node, {})
            names = self._call(entries[node[0]], prefix, calls[node], sources, shapes)
            makers |= {(*node, number): name for number, name in names.items()}
        return [makers[tensor] for tensor in outputs]

    def _inputs(self, entries, inputs: list[Tensor], outer) -> dict[Tensor, str]:
        """Returns the call that makes each of a model's inputs; adds the outermost model's."""
        if outer is not None:
            return dict(zip(inputs, outer, strict=True))
        makers = {}
        for tensor in inputs:
            entry = entries[tensor[0]]
            if entry["class_name"] != "InputLayer":
                raise ValueError(f"input {tensor[0]!r} is no InputLayer")
            shape = ranks.input_shape(entry["config"])
            makers[tensor] = self._add(tensor[0], "InputLayer", (), shape)
        return makers

    def _chain(self, entries, prefix: str, outer, shape: _Shape) -> str:
        """Adds a Sequential model's calls; its layers state only the shape that they read."""
        first, layers = entries[:1], entries
        if first and first[0]["class_name"] == "InputLayer":
            layers = entries[1:]
        if outer is None:
            config = first[0]["config"] if layers is not entries else {}
            name = str(config.get("name", "input"))
            outer = [self._add(name, "InputLayer", (), ranks.input_shape(config))]
        (maker,) = outer
        shapes = []  # of the outputs, last to first
        for entry in reversed(layers):
            shapes.append(shape)
            reads = (entry.get("build_config") or {}).get("input_shape")
            if reads or entry["class_name"] not in _SAME_SHAPE:
                shape = reads
        for entry in layers:
            maker = self._call(entry, prefix, None, [maker], {0: shapes.pop()})[0]
        return maker

    def _call(
        self,
        entry: Mapping[str, Any],
        prefix: str,
        call: Node | None,
        sources: list[str],
        shapes: Mapping[int, _Shape],
    ) -> dict[int, str]:
        """Adds a call, once for each output that is read; returns the names by output."""
        path = self.twins.get(id(entry), f"{prefix}{configs.entry_name(entry)}")
        config = entry["config"]
        class_name = entry["class_name"].rpartition(">")[2]  # .h5: "package>Class"
        by_name = len(sources) > 1 and call is not None and call.by_name
        if _is_model(entry) and not by_name:
            return dict(enumerate(self.model(config, f"{path}/", sources, shapes)))
        self.layers[path] = entry
        if max(shapes, default=0) > 0 or (call is not None and call.constants):
            class_name = ""  # the call treats channels by their index
        return {
            number: self._add(path, class_name, sources, shape, config)
            for number, shape in sorted((shapes or {0: None}).items())
        }

    def _add(
        self,
        path: str,
        class_name: str,
        reads: Iterable[str],
        shape,
        config: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        self._count()
        shape = shape if isinstance(shape, list) else []
        channels = shape[-1] if shape and isinstance(shape[-1], int) else None
        axis = config.get("axis") if class_name == "Concatenate" else None
        moves = config.get("padding"), config.get("strides")
        name, rank = f"{len(self.calls)}:{path}", len(shape)
        self.calls.append(
            Call(name, path, class_name, tuple(reads), channels, rank, axis, *moves)
        )
        return name

    def _count(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > MAX_OBJECTS:  # models that call models twice, and so on
            raise ValueError(f"it has over {MAX_OBJECTS:,} calls")

    def _find_twins(self, config, prefix: str, by_name: dict, shared: dict) -> None:
        """Finds entries that repeat a layer, by the number that Keras marks them with.

        Keras gives the number to the second and later entries of an object, not to the first.
        """
        for entry in nodes.layers_of(config):
            if not configs.entry_name(entry):
                raise ValueError("a model within has no name")
            path, twin = (
                f"{prefix}{configs.entry_name(entry)}",
                entry.get("shared_object_id"),
            )
            like = by_name.setdefault(
                (entry["class_name"], configs.entry_name(entry)), []
            )
            if twin is not None and (twin in shared or len(like) == 1):
                self.twins[id(entry)] = shared.setdefault(twin, like[0])
                continue
            like.append(path)
            if _is_model(entry):
                self._find_twins(entry["config"], f"{path}/", by_name, shared)


def _is_model(entry: Mapping[str, Any]) -> bool:
    """Returns whether an entry is a model whose configuration describes its calls."""
    config = entry["config"]
    whole = entry["class_name"] == "Sequential" or "output_layers" in config
    return whole and nodes.layers_of(config) is not None


def _ends(config: Mapping[str, Any], side: str) -> Iterator[Tensor]:
    """Yields the model's inputs or outputs in the order in which Keras flattens them.

    Strict, so that no output is overlooked whose channels must keep their order.
    """
    for end in nodes.leaves(config[f"{side}_layers"], nodes.is_end):
        yield Tensor(*end)


def _calls(
    entries: Mapping[str, Mapping[str, Any]], outputs: Sequence[Tensor]
) -> dict[tuple[str, int], Node]:
    """Returns the calls of a model's layers by (layer, index of the call)."""
    calls_of = {name: nodes.nodes(entry, entries) for name, entry in entries.items()}
    last: dict[str, int] = {}  # index of the last call that is read
    for tensor in [
        *outputs,
        *(t for calls in calls_of.values() for c in calls for t in c.reads),
    ]:
        last[tensor.layer] = max(tensor.call, last.get(tensor.layer, 0))
    # every call is read; Keras counts a nested model's own graph as its first call, or does not
    return {
        (name, max(0, last.get(name, 0) + 1 - len(calls)) + number): call
        for name, calls in calls_of.items()
        for number, call in enumerate(calls)
    }
