"""The calls of a saved model out of its configuration, as `tfreuse.plan.calls` holds them.

    calls(donor)  # what tfreuse.transplant.live_graph.calls says of the model itself

Functional and Sequential models are looked through at any depth. Classes are names here:
nothing is built. What a configuration does not tell is taken for unknown, and what follows
from it stays where it is.
"""

import graphlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfreuse import roles
from tfreuse.checkpoints import Checkpoint, configs, hdf5, keras_file, legacy_h5
from tfreuse.checkpoints.source import MAX_OBJECTS
from tfreuse.errors import InputError, printable
from tfreuse.plan.calls import Call, Graph
from tfreuse.plan.variables import by_layer

_Tensor = tuple[str, int, int]  # layer, which of its calls, which output of it
_Shape = list[int | None]
_SAME_SHAPE = frozenset(  # of what they read and what they make
    (
        *("ReLU", "LeakyReLU", "ELU", "Activation", "Softmax", "Identity"),
        *("BatchNormalization", "LayerNormalization"),
        *("Dropout", "SpatialDropout2D", "GaussianNoise"),
    )
)


def calls(checkpoint: Checkpoint) -> Graph:
    """Calls of layers and operations from input to output, and the names of the outputs.

    Raises:
        InputError: the file has no graph, or one that cannot be followed.
    """
    text = _configuration(checkpoint) if checkpoint.edges is not None else None
    where = printable(checkpoint.path)
    if text is None:
        raise InputError(
            f"the adapter align needs the donor's graph, and {where} has none; give the "
            ".keras file of a Functional or Sequential model."
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
    return reader.found, outputs


def _configuration(checkpoint: Checkpoint) -> bytes | str | None:
    for member in checkpoint.members:
        if member.name == keras_file.CONFIG:
            return member.read()
    if checkpoint.kind == "legacy_h5":
        names = legacy_h5.ROOT_ATTRIBUTES
        return hdf5.read(checkpoint.source, (), names).attributes.get(names[0])
    return None


def _check_arrays(checkpoint: Checkpoint, reader: "_Reader") -> None:
    """Raises InputError if a layer's arrays are stored under a name that is not told."""
    known = by_layer(checkpoint.variables)
    for path, entry in reader.layers.items():
        needs = roles.layer_roles(entry["class_name"], entry["config"])
        if needs and path not in known:
            raise InputError(
                f"layer {printable(path)} of {printable(checkpoint.path)} shares its arrays "
                "with another layer, the file does not tell which; its channels cannot be "
                "aligned."
            )


class _Reader:
    """Calls as they are found, model by model."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.found: list[Call] = []
        self.layers: dict[str, Mapping[str, Any]] = {}  # that are called, by path
        self.steps = 0
        self.twins: dict[int, str] = {}  # path of the entry that another repeats
        self._find_twins(root, "", {}, {})

    def model(
        self,
        config: Mapping[str, Any],
        prefix: str,
        outer: Sequence[str] | None,
        handed: Mapping[int, _Shape],
    ) -> list[str]:
        """Adds a model's calls; the names of those that make its outputs, in order.

        Args:
            config: of a Functional or Sequential model.
            prefix: names of the models around its layers.
            outer: what makes each of its inputs, None for the outermost model.
            handed: shapes of its outputs, as far as those who read them tell.
        """
        self._count(len(config["layers"]))
        if "output_layers" not in config:
            return [self._chain(config["layers"], prefix, outer, handed.get(0))]
        entries = {_name(entry): entry for entry in config["layers"]}
        inputs = [(name, 0, number) for name, _, number in _ends(config, "input")]
        outputs = list(_ends(config, "output"))
        nodes, shapes = _nodes(entries)
        for place, tensor in enumerate(outputs):
            shapes.setdefault(tensor, handed.get(place))
        made = self._inputs(entries, inputs, outer)
        after = {node: [t[:2] for t in reads] for node, (_, reads) in nodes.items()}
        wanted: dict[tuple[str, int], dict[int, _Shape]] = {}
        for (name, call, number), shape in shapes.items():
            wanted.setdefault((name, call), {})[number] = shape
        for node in graphlib.TopologicalSorter(after).static_order():
            if (*node, 0) in made:
                continue
            arguments, reads = nodes[node]
            sources = [made[tensor] for tensor in reads]
            shapes = wanted.get(node, {})
            names = self._call(entries[node[0]], prefix, arguments, sources, shapes)
            made |= {(*node, number): name for number, name in names.items()}
        return [made[tensor] for tensor in outputs]

    def _inputs(self, entries, inputs: list[_Tensor], outer) -> dict[_Tensor, str]:
        """What makes each of a model's inputs; the outermost model's are calls."""
        if outer is not None:
            return dict(zip(inputs, outer, strict=True))
        made = {}
        for tensor in inputs:
            entry = entries[tensor[0]]
            if entry["class_name"] != "InputLayer":
                raise ValueError(f"input {tensor[0]!r} is no InputLayer")
            made[tensor] = self._add(
                tensor[0], "InputLayer", (), entry["config"].get("batch_shape")
            )
        return made

    def _chain(self, entries, prefix: str, outer, shape: _Shape) -> str:
        """Adds a Sequential model's calls; its layers tell only what shape they read."""
        first, layers = entries[:1], entries
        if first and first[0]["class_name"] == "InputLayer":
            layers = entries[1:]
        if outer is None:
            config = first[0]["config"] if layers is not entries else {}
            name = str(config.get("name", "input"))
            outer = [self._add(name, "InputLayer", (), config.get("batch_shape"))]
        (maker,) = outer
        made = []  # shapes, last to first
        for entry in reversed(layers):
            made.append(shape)
            reads = (entry.get("build_config") or {}).get("input_shape")
            if reads or entry["class_name"] not in _SAME_SHAPE:
                shape = reads
        for entry in layers:
            maker = self._call(entry, prefix, (), [maker], {0: made.pop()})[0]
        return maker

    def _call(
        self,
        entry: Mapping[str, Any],
        prefix: str,
        arguments: Sequence[Any],
        sources: list[str],
        wanted: Mapping[int, _Shape],
    ) -> dict[int, str]:
        """Adds a call, once for each output that is wanted; the names by output."""
        path = self.twins.get(id(entry), f"{prefix}{_name(entry)}")
        config = entry["config"]
        class_name = entry["class_name"].rpartition(">")[2]  # .h5: "package>Class"
        named = len(sources) > 1 and any(
            isinstance(value, dict) and not _is_tensor(value) for value in arguments
        )  # inputs by name: which is which depends on code
        if _is_model(entry) and not named:
            return dict(enumerate(self.model(config, f"{path}/", sources, wanted)))
        self.layers[path] = entry
        if max(wanted, default=0) > 0 or any(map(_numbers, arguments)):
            class_name = ""  # channels are known by their place
        axis = config.get("axis")
        return {
            number: self._add(path, class_name, sources, shape, axis)
            for number, shape in sorted((wanted or {0: None}).items())
        }

    def _add(
        self, path: str, class_name: str, reads: Iterable[str], shape, axis=None
    ) -> str:
        self._count()
        shape = shape if isinstance(shape, list) else []
        channels = shape[-1] if shape and isinstance(shape[-1], int) else None
        axis = axis if class_name == "Concatenate" else None
        name, rank = f"{len(self.found)}:{path}", len(shape)
        self.found.append(
            Call(name, path, class_name, tuple(reads), channels, rank, axis)
        )
        return name

    def _count(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > MAX_OBJECTS:  # models that call models twice, and so on
            raise ValueError(f"it has over {MAX_OBJECTS:,} calls")

    def _find_twins(self, config, prefix: str, known: dict, shared: dict) -> None:
        """Notes which entries are layers that stand elsewhere already.

        Keras marks the second and later entries of an object with a number, the first not.
        """
        for entry in config["layers"]:
            path, twin = f"{prefix}{_name(entry)}", entry.get("shared_object_id")
            like = known.setdefault((entry["class_name"], _name(entry)), [])
            if twin is not None and (twin in shared or len(like) == 1):
                self.twins[id(entry)] = shared.setdefault(twin, like[0])
                continue
            like.append(path)
            if _is_model(entry):
                self._find_twins(entry["config"], f"{path}/", known, shared)


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["config"]["name"])


def _is_model(entry: Mapping[str, Any]) -> bool:
    """Whether its calls are those of its layers, in a way that its configuration tells."""
    config = entry["config"]
    whole = entry["class_name"] == "Sequential" or "output_layers" in config
    return whole and isinstance(config.get("layers"), list)


def _ends(config: Mapping[str, Any], side: str) -> Iterator[_Tensor]:
    """The model's inputs or outputs, in the order in which Keras flattens them."""
    todo = [config[f"{side}_layers"]]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo += [value[key] for key in sorted(value, reverse=True)]
        elif value and isinstance(value[0], str):
            name, call, number = value
            yield name, call, number
        else:
            todo += reversed(value)


def _nodes(entries: Mapping[str, Mapping[str, Any]]) -> tuple[dict, dict]:
    """(arguments, tensors read) by (layer, call), and the shapes of all tensors read."""
    nodes: dict[tuple[str, int], tuple[list, list[_Tensor]]] = {}
    shapes: dict[_Tensor, _Shape] = {}
    for name, entry in entries.items():
        for number, node in enumerate(entry.get("inbound_nodes") or ()):
            if type(node) is list:  # as Keras 2 wrote them
                raise ValueError("its connections are of another version of Keras")
            named = node["kwargs"]
            arguments = [*node["args"], *(named[key] for key in sorted(named))]
            reads: list[_Tensor] = []
            for tensor in _tensors(arguments):
                source, call, output = tensor["keras_history"]
                reads.append((source, call, output))
                shapes[reads[-1]] = tensor.get("shape")
            nodes[name, number] = arguments, reads
    return nodes, shapes


def _tensors(arguments: list) -> Iterator[Mapping[str, Any]]:
    todo = arguments[::-1]
    while todo:
        value = todo.pop()
        if _is_tensor(value):
            yield value["config"]
        elif isinstance(value, list):
            todo += reversed(value)
        elif isinstance(value, dict):
            todo += [value[key] for key in sorted(value, reverse=True)]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def _numbers(value: Any) -> bool:
    """Whether an argument of a call is an array, or a list with numbers in it."""
    if isinstance(value, list):
        return any(isinstance(v, int | float) or _numbers(v) for v in value)
    if isinstance(value, dict) and not _is_tensor(value):
        constant = value.get("class_name") in ("__numpy__", "__tensor__")
        return constant or any(map(_numbers, value.values()))
    return False
