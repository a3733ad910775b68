"""A live Keras model as an open model: layers, variables, values and a graph.

for path, layer in layers(model): ...    # nested models entered: "backbone/conv1_bn"
index(model)                             # descriptions, as tfreuse.plan takes them
LiveModel(model).read(index(model)[0])   # the value of one variable
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import roles as roles_module
from tfreuse.checkpoints import ranks
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable
from tfreuse.plan.calls import Graph
from tfreuse.plan.calls import edges as edges_of
from tfreuse.transplant import live_graph, optimizer_state
from tfreuse.transplant.opening import InMemory, check_spec

_PLAIN = "ResourceVariable"  # of one device; others belong to a strategy or to a graph


class LiveModel(InMemory):
    """A live model, seen as an open file; see `opening.OpenModel`.

    Structure and descriptions are computed when they are first asked for, so that a transplant
    of few variables looks at few layers.

    Raises:
        InputError: `model` is no keras.Model.
    """

    kind = "live"

    def __init__(self, model: keras.Model) -> None:
        if not isinstance(model, keras.Model):
            raise InputError(
                f"a model is a keras.Model or the path of a model file; got a "
                f"{type(model).__name__}."
            )
        self.model = model
        self.notes: Mapping[str, str] = {}
        self._weights: dict[str, list[keras.Variable]] = {}  # by path of the layer

    @property
    def name(self) -> str:
        return f"model {printable(self.model.name)!r}"

    @functools.cached_property
    def variables(self) -> tuple[Variable, ...]:
        return index(self.model)

    @functools.cached_property
    def graph(self) -> Graph | None:
        """Calls of the layers, None for a subclassed model."""
        paths = {id(layer): path for path, layer in every_layer(self.model)}
        return live_graph.calls(self.model, paths)

    @functools.cached_property
    def edges(self) -> dict[str, tuple[str, ...]] | None:
        return None if self.graph is None else edges_of(self.graph[0])

    def calls(self) -> Graph:
        if self.graph is None:
            raise InputError(
                f"the adapter align needs the donor's graph, and {self.name} is no graph of "
                "layers (it is subclassed); give a Functional or Sequential model."
            )
        return self.graph

    def array(self, path: str) -> keras.Variable:
        """Returns the variable at a path, looking at the arrays of no other layer.

        Raises:
            InputError: there is none.
        """
        layer, _, position = path.rpartition("/")
        if layer not in self._weights:
            if layer == optimizer_state.LAYER:
                weights = list(optimizer_state.variables(self.model).values())
            else:
                weights = own_weights(find_layer(self.model, layer))
            self._weights[layer] = weights
        weights = self._weights[layer]
        if int(position) >= len(weights):
            raise InputError(f"the model has no variable {printable(path)!r}.")
        return weights[int(position)]

    def value(self, variable: Variable) -> tf.Tensor:
        """Returns the present value without a copy; InputError if its shape has changed."""
        value = snapshot(self.array(variable.path))
        check_spec(self.name, variable, spec(value))
        return value

    def view(self, variable: Variable) -> np.ndarray:
        return view(self.value(variable))

    def read(self, variable: Variable) -> np.ndarray:
        array = self.array(variable.path)
        check_spec(self.name, variable, spec(array))
        return read(array)


def layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields layers with variables, and their paths, in the order of the model.

    A layer that is used twice, or shared between nested models, comes once. Where a subclassed
    model gives two layers one name, the second's path ends in "#2".
    """
    for path, layer in every_layer(model):
        if own_weights(layer):
            yield path, layer


def every_layer(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields all layers below the model, with or without variables, nested models too."""
    visited: set[int] = set()

    def walk(container, prefix):
        names: dict[str, int] = {}
        for layer in sublayers(container):
            if id(layer) in visited:
                continue
            visited.add(id(layer))
            names[layer.name] = names.get(layer.name, 0) + 1
            number = f"#{names[layer.name]}" if names[layer.name] > 1 else ""
            path = f"{prefix}{layer.name}{number}"
            yield path, layer
            yield from walk(layer, f"{path}/")

    yield from walk(model, "")


def sublayers(container: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that Keras tracks directly below a layer or model.

    A Sequential also tracks its inner graph, which holds the same layers again.
    """
    if isinstance(container, keras.Sequential):
        return list(container.layers)
    return list(container._layers)


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns a layer's variables in the order of `get_weights`, without its sub-layers'."""
    if not layer._layers:
        return layer.weights
    below = {id(v) for sub in layer._layers for v in sub.weights}
    return [v for v in layer.weights if id(v) not in below]


def read(variable: keras.Variable) -> np.ndarray:
    """Copies a variable's value, in its dtype."""
    # from the backend's tensor: numpy.array(variable) warns under NumPy 2 and is slower
    return np.asarray(variable.value.numpy())  # of a scalar NumPy has no array


def snapshot(variable: keras.Variable) -> tf.Tensor:
    """Returns the present value; it shares memory with the variable until that changes."""
    resource = variable.value
    if _of_one_device(variable, resource):
        return tf.raw_ops.ReadVariableOp(resource=resource.handle, dtype=resource.dtype)
    return resource.value()


def assign(variable: keras.Variable, value: np.ndarray | tf.Tensor) -> None:
    """Assigns a value that has the variable's shape and dtype.

    A tensor of the same device is shared, not copied.
    """
    resource = variable.value
    if not _of_one_device(variable, resource):
        variable.assign(value)
        return
    device = resource.handle.device
    if not isinstance(value, tf.Tensor):
        with tf.device(device):
            value = tf.constant(value)
    if value.device == device:
        tf.raw_ops.AssignVariableOp(resource=resource.handle, value=value)
    else:
        variable.assign(value)


def _of_one_device(variable: keras.Variable, resource: tf.Variable) -> bool:
    """Returns whether TensorFlow's raw operations can be called, which share memory.

    The wrappers of Keras and TensorFlow check shape and dtype again, in four times the time.
    """
    return type(variable) is keras.Variable and type(resource).__name__ == _PLAIN


def view(value: np.ndarray | tf.Tensor) -> np.ndarray:
    """Returns the numbers of an array or a tensor, only to be read; copies where it must."""
    if isinstance(value, np.ndarray):
        return value
    if value.dtype == tf.bfloat16 or not value.device.endswith("CPU:0"):
        # the buffer protocol has no bfloat16, and no memory of a GPU
        return value.numpy()
    return np.asarray(memoryview(value))


def spec(value: np.ndarray | tf.Tensor | keras.Variable) -> tuple[tuple[int, ...], str]:
    """Returns shape and name of the dtype of an array, a tensor or a variable."""
    dtype = value.dtype
    # a TensorShape is slow to make; isinstance(value, tf.Tensor) checks a protocol, slowly too
    shape_tuple = getattr(value, "_shape_tuple", None)
    shape = value.shape if shape_tuple is None else shape_tuple()
    return tuple(shape), dtype if isinstance(dtype, str) else dtype.name


def index(model: keras.Model) -> tuple[Variable, ...]:
    """Describes the variables of a model, nested models included, in the order of layers."""
    descriptions, wrappers = [], set()
    for path, layer in layers(model):
        class_name = roles_module.class_of(type(layer).__name__)
        config = _config(layer)
        roles = roles_module.layer_roles(class_name, config)
        rank = ranks.of_shape(_input_shape(layer)) if "axis" in config else None
        settings = roles_module.layer_settings(config, rank)
        arrays = own_weights(layer)
        if roles is not None and len(roles) != len(arrays):
            roles = None  # a subclass with more variables than its class: never guess
        if isinstance(layer, keras.layers.Wrapper):
            is_changing = roles_module.changes_kernel(class_name, has_arrays=True)
            wrappers |= {path} if is_changing else set()
        if path.rpartition("/")[0] in wrappers:
            roles = None
        for position, array in enumerate(arrays):
            descriptions.append(
                Variable(
                    path=f"{path}/{position}",
                    layer=layer.name,
                    class_name=class_name,
                    role=roles[position] if roles else None,
                    position=position,
                    shape=tuple(array.shape),
                    dtype=str(array.dtype),
                    settings=settings,
                    name=""
                    if roles and roles[position]
                    else roles_module.own_name(array.name),
                )
            )
    return tuple(descriptions)


def find_layer(model: keras.Model, path: str) -> keras.layers.Layer:
    """Returns the layer at a path, looking at the variables of no other layer.

    Raises:
        InputError: there is none.
    """
    layer = model
    for word in path.split("/"):
        name, _, number = word.partition("#")
        same = [sub for sub in sublayers(layer) if sub.name == name]
        index = int(number or 1) - 1
        if index >= len(same):  # a shared layer has the path of its first use only
            return _find_by_walking(model, path)
        layer = same[index]
    return layer


def _find_by_walking(model: keras.Model, path: str) -> keras.layers.Layer:
    for layer_path, layer in every_layer(model):
        if layer_path == path:
            return layer
    raise InputError(f"the model has no layer {printable(path)!r}.")


def _config(layer: keras.layers.Layer) -> dict:
    """Returns a layer's configuration; empty where its class has none."""
    try:
        return layer.get_config()
    except NotImplementedError:
        return {}


def _input_shape(layer: keras.layers.Layer) -> Any:
    """Returns the shape that a layer was built for, as `.keras` files state it; else None."""
    return (layer.get_build_config() or {}).get("input_shape")


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the model's variables by path."""
    return {
        f"{path}/{position}": variable
        for path, layer in layers(model)
        for position, variable in enumerate(own_weights(layer))
    }
