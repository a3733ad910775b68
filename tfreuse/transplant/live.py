"""A live Keras model as layers, variables and a graph.

for path, layer in layers(model): ...   # nested models entered: "backbone/conv1_bn"
index(model)                            # descriptions, as tfreuse.plan takes them
edges(model)                            # what each layer reads from
variable(model, "backbone/conv1_bn/2")  # the keras.Variable itself
"""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from tfreuse import alignment
from tfreuse import roles as roles_module
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

_PLAIN = "ResourceVariable"  # one device's; others belong to a strategy or to a graph
_PIECE = 2**18  # numbers


def layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Layers that hold arrays of their own, with their paths, in the order of the model.

    A layer that is used twice, or shared between nested models, comes once. Where a subclassed
    model gives two layers one name, the second's path ends in "#2".
    """
    for path, layer in every_layer(model):
        if own_weights(layer):
            yield path, layer


def every_layer(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """All layers below the model, with or without arrays, nested models among them."""
    seen: set[int] = set()

    def walk(container, prefix):
        names: dict[str, int] = {}
        for layer in sublayers(container):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            names[layer.name] = names.get(layer.name, 0) + 1
            again = f"#{names[layer.name]}" if names[layer.name] > 1 else ""
            path = f"{prefix}{layer.name}{again}"
            yield path, layer
            yield from walk(layer, f"{path}/")

    yield from walk(model, "")


def sublayers(container: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that Keras tracks directly below; a Sequential without its inner graph."""
    if isinstance(container, keras.Sequential):
        return list(container.layers)
    return list(container._layers)


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The layer's own arrays in the order of `get_weights`, without its sub-layers'."""
    if not layer._layers:
        return layer.weights
    below = {id(v) for sub in layer._layers for v in sub.weights}
    return [v for v in layer.weights if id(v) not in below]


def read(variable: keras.Variable) -> np.ndarray:
    """A copy of the variable's value in its own dtype.

    From the backend's tensor: numpy.array(variable) warns under NumPy 2 and is slower.
    """
    return variable.value.numpy()


def snapshot(variable: keras.Variable) -> tf.Tensor:
    """The variable's value as it is now; the two share memory until the variable changes."""
    held = variable.value
    if _of_one_device(variable, held):
        return tf.raw_ops.ReadVariableOp(resource=held.handle, dtype=held.dtype)
    return held.value()


def assign(variable: keras.Variable, value: np.ndarray | tf.Tensor) -> None:
    """As `variable.assign`, of a value that has the variable's shape and dtype."""
    held = variable.value
    same = isinstance(value, tf.Tensor) and held.handle.device == value.device
    if same and _of_one_device(variable, held):
        tf.raw_ops.AssignVariableOp(resource=held.handle, value=value)
    else:
        variable.assign(value)


def _of_one_device(variable: keras.Variable, held: tf.Variable) -> bool:
    """Whether TensorFlow's own operations can be called on it, which share memory.

    Keras' and TensorFlow's wrappers would check again what fits, in four times the time.
    """
    return type(variable) is keras.Variable and type(held).__name__ == _PLAIN


def unsound(value: np.ndarray | tf.Tensor, role: str | None) -> str:
    """What is wrong with the numbers; "" if nothing is."""
    numbers = view(value).reshape(-1)
    for at in range(0, numbers.size, _PIECE):  # its noughts and ones stay in the cache
        piece = numbers[at : at + _PIECE]
        if not np.isfinite(piece).all():
            return "values that are not finite"
        if role == "moving_variance" and (piece < 0).any():
            return "a variance below zero"
    return ""


def view(value: np.ndarray | tf.Tensor) -> np.ndarray:
    """The numbers of an array or a snapshot, to read only; a copy only where it must be."""
    if isinstance(value, np.ndarray):
        return value
    if value.dtype == tf.bfloat16 or not value.device.endswith("CPU:0"):
        return value.numpy()  # NumPy's buffers know neither
    return np.asarray(memoryview(value))


def spec(value: np.ndarray | tf.Tensor | keras.Variable) -> tuple[tuple[int, ...], str]:
    """Shape and name of the dtype, however the value is held."""
    dtype = value.dtype
    # a TensorShape is slow to make and slow to go through
    shape = value._shape_tuple() if isinstance(value, tf.Tensor) else value.shape
    return tuple(shape), dtype if isinstance(dtype, str) else dtype.name


def index(model: keras.Model) -> tuple[Variable, ...]:
    """Every array of the model's layers, nested models included, in the order of the layers."""
    found = []
    for path, layer in layers(model):
        class_name, config = type(layer).__name__, _config(layer)
        roles = roles_module.layer_roles(class_name, config)
        settings = roles_module.layer_settings(config)
        arrays = own_weights(layer)
        if roles is not None and len(roles) != len(arrays):
            roles = None  # a subclass keeps more than its class tells: never guess
        for position, array in enumerate(arrays):
            found.append(
                Variable(
                    path=f"{path}/{position}",
                    layer=layer.name,
                    class_name=class_name,
                    role=roles[position] if roles else None,
                    position=position,
                    shape=tuple(array.shape),
                    dtype=str(array.dtype),
                    settings=settings,
                )
            )
    return tuple(found)


def find_layer(model: keras.Model, path: str) -> keras.layers.Layer:
    """The layer at a path, without looking at any other's arrays.

    Raises:
        InputError: there is none.
    """
    layer = model
    for word in path.split("/"):
        name, _, number = word.partition("#")
        same = [sub for sub in sublayers(layer) if sub.name == name]
        place = int(number or 1) - 1
        if place >= len(same):
            return _find_by_walking(model, path)
        layer = same[place]
    return layer


def _find_by_walking(model: keras.Model, path: str) -> keras.layers.Layer:
    for found, layer in every_layer(model):
        if found == path:
            return layer
    raise InputError(f"the model has no layer {printable(path)!r}.")


def edges(model: keras.Model) -> dict[str, tuple[str, ...]] | None:
    """What each layer reads from, by path; nested models are looked through.

    None where the model is no graph of layers (subclassed models). A layer that is called
    several times reads from all that its calls read from.
    """
    graph = calls(model)
    if graph is None:
        return None
    paths = {call.name: call.path for call in graph[0]}
    found: dict[str, dict[str, None]] = {}
    for call in graph[0]:
        sources = found.setdefault(call.path, {})
        sources.update(dict.fromkeys(paths[name] for name in call.reads))
    return {path: tuple(sources) for path, sources in found.items()}


def calls(model: keras.Model) -> alignment.Graph | None:
    """Calls of layers and operations from input to output, and the names of the outputs.

    Nested models are looked through. None where the model is no graph of layers.
    """
    paths = {id(layer): path for path, layer in every_layer(model)}
    found: list[alignment.Call] = []
    outputs = _enter(model, paths, None, found)
    if outputs is None:
        return None
    return found, [name for names in outputs for name in names]


def _enter(
    model, paths: dict[int, str], outer: list[list[str]] | None, found: list
) -> list[list[str]] | None:
    """Adds the calls of one graph; those that make each of its outputs, or None if no graph.

    `outer` is what makes each input of a nested graph, None for the model itself.
    """
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_nodes_by_depth"):
        return None
    prefix = "" if outer is None else f"{paths[id(model)]}/"
    makers: dict[int, list[str]] = {}
    for number, tensor in enumerate(graph._inputs):
        if outer is None:
            layer = tensor._keras_history.operation
            path = paths.get(id(layer), layer.name)
            makers[id(tensor)] = _add(found, path, layer, (), [tensor])[0]
        else:
            makers[id(tensor)] = outer[number]
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input or not node.outputs:
                continue
            reads = [makers.get(id(t), []) for t in node.input_tensors]
            made = None
            if len(reads) == 1 or not isinstance(node.arguments.args[0], dict):
                made = _enter(node.operation, paths, reads, found)
            if made is None:
                operation = None if _by_place(node) else node.operation
                sources = tuple(name for names in reads for name in names)
                path = paths.get(id(node.operation), f"{prefix}{node.operation.name}")
                made = _add(found, path, operation, sources, node.outputs)
            for tensor, names in zip(node.outputs, made, strict=True):
                makers[id(tensor)] = names
    return [makers.get(id(tensor), []) for tensor in graph._outputs]


def _by_place(node) -> bool:
    """Whether a call treats channels by their place, not by its layer's variables alone."""
    values = (*node.arguments.args, *node.arguments.kwargs.values())
    return len(node.outputs) > 1 or any(map(_numbers, values))


def _numbers(value) -> bool:
    """Whether an argument of a call is an array, or a list with numbers in it."""
    if isinstance(value, list | tuple):
        return any(isinstance(v, int | float) or _numbers(v) for v in value)
    return not isinstance(value, keras.KerasTensor) and len(np.shape(value)) > 0


def _add(found: list, path: str, operation, reads, outputs) -> list[list[str]]:
    """Adds a call, once for each of its outputs; the names, by output."""
    names = []
    for tensor in outputs:
        names.append([f"{len(found)}:{path}"])
        shape = tuple(tensor.shape)
        class_name = type(operation).__name__ if operation is not None else ""
        joins = class_name == "Concatenate"
        found.append(
            alignment.Call(
                name=names[-1][0],
                path=path,
                class_name=class_name,
                reads=reads,
                channels=shape[-1] if shape else None,
                rank=len(shape),
                axis=operation.axis if joins else None,
            )
        )
    return names


def _config(layer: keras.layers.Layer) -> dict:
    """The layer's configuration; empty where its class does not give one.

    Only classes whose roles are known are asked for what their configuration says.
    """
    try:
        return layer.get_config()
    except NotImplementedError:
        return {}
