"""The computation graph of a live Keras model, nested models looked through."""

import keras
import numpy as np

from tfreuse.plan.calls import Call, Graph


def calls(model: keras.Model, paths: dict[int, str]) -> Graph | None:
    """Returns the calls of layers and operations from input to output.

    Args:
        model: any Keras model.
        paths: of its layers, by id of the layer.

    Returns:
        The calls, and the names of those that make the model's outputs; None if the model is
        no graph of layers (subclassed models).
    """
    tracer = _Tracer(paths)
    outputs = tracer.graph(model, None)
    if outputs is None:
        return None
    return tracer.calls, [name for names in outputs for name in names]


class _Tracer:
    """Collects the calls of a graph and of the graphs nested in it."""

    def __init__(self, paths: dict[int, str]) -> None:
        self.paths = paths
        self.calls: list[Call] = []

    def graph(self, model, outer: list[list[str]] | None) -> list[list[str]] | None:
        """Adds the calls of one graph.

        Args:
            model: a layer or a model.
            outer: names of the calls that make each input of a nested model; None for the
                outermost model.

        Returns:
            Names of the calls that make each output; None if `model` is no graph.
        """
        graph = model._functional if isinstance(model, keras.Sequential) else model
        if not isinstance(graph, keras.Model) or not hasattr(graph, "_nodes_by_depth"):
            return None
        prefix = "" if outer is None else f"{self.paths[id(model)]}/"
        makers: dict[int, list[str]] = {}  # by id of a Keras tensor
        for index, tensor in enumerate(graph._inputs):
            if outer is None:
                layer = tensor._keras_history.operation
                path = self.paths.get(id(layer), layer.name)
                makers[id(tensor)] = self._add(path, layer, (), [tensor])[0]
            else:
                makers[id(tensor)] = outer[index]
        for depth in sorted(graph._nodes_by_depth, reverse=True):  # inputs are deepest
            for node in graph._nodes_by_depth[depth]:
                if not node.is_input and node.outputs:
                    self._node(node, prefix, makers)
        return [makers.get(id(tensor), []) for tensor in graph._outputs]

    def _node(self, node, prefix: str, makers: dict[int, list[str]]) -> None:
        """Adds one call, or the calls of a nested model; records the makers of its outputs."""
        reads = [makers.get(id(tensor), []) for tensor in node.input_tensors]
        names = None
        # inputs given by name: their order depends on code of the nested model
        first = (*node.arguments.args, {})[0]  # a call may have keywords alone
        if len(reads) == 1 or not isinstance(first, dict):
            names = self.graph(node.operation, reads)
        if names is None:
            operation = None if _depends_on_index(node) else node.operation
            sources = tuple(name for group in reads for name in group)
            default = f"{prefix}{node.operation.name}"
            path = self.paths.get(id(node.operation), default)
            names = self._add(path, operation, sources, node.outputs)
        for tensor, group in zip(node.outputs, names, strict=True):
            makers[id(tensor)] = group

    def _add(self, path: str, operation, reads, outputs) -> list[list[str]]:
        """Adds a call, once for each of its outputs; returns the names by output."""
        names = []
        class_name = type(operation).__name__ if operation is not None else ""
        axis = operation.axis if class_name == "Concatenate" else None
        moves = [getattr(operation, name, None) for name in ("padding", "strides")]
        for tensor in outputs:
            name = f"{len(self.calls)}:{path}"
            names.append([name])
            shape = tuple(tensor.shape)
            channels = shape[-1] if shape else None
            self.calls.append(
                Call(
                    *(name, path, class_name, tuple(reads), channels),
                    *(len(shape), axis, *moves),
                )
            )
        return names


def _depends_on_index(node) -> bool:
    """Returns whether a call treats channels by their index, beyond its layer's variables.

    It has several outputs, such as a split, or arrays and numbers among its arguments.
    """
    values = (*node.arguments.args, *node.arguments.kwargs.values())
    return len(node.outputs) > 1 or any(map(_has_numbers, values))


def _has_numbers(value) -> bool:
    """Returns whether an argument of a call is an array, or a list with numbers in it."""
    if isinstance(value, list | tuple):
        return any(isinstance(v, int | float) or _has_numbers(v) for v in value)
    return not isinstance(value, keras.KerasTensor) and len(np.shape(value)) > 0
