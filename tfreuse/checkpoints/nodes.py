"""Reads the connections of a layer from a model's configuration, as Keras 1, 2 and 3 write them.

Keras 3 writes {"args": [tensor], "kwargs": {}} for a call, and a tensor as an object with a
"keras_history". Keras 1 and 2 write [[layer, call, output, kwargs], ...], in lists or
dictionaries as the layer takes its inputs, or one alone; a tensor in kwargs is [layer, call,
output], and a constant has the layer "_CONSTANT_VALUE".

    node([["conv1", 0, 0, {}]], {"conv1"}).reads   # (Tensor("conv1", 0, 0),)
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

_CONSTANT = "_CONSTANT_VALUE"
_UNKNOWN = "a connection is not [layer, call, output]"


class Tensor(NamedTuple):
    """An output of a call of a layer."""

    layer: str
    call: int
    output: int


@dataclasses.dataclass(frozen=True)
class Node:
    """One call of a layer.

    Attributes:
        reads: the tensors that it takes, in order.
        shapes: of these tensors, as far as the file states them.
        by_name: whether inputs are given by name: which is which depends on the layer's code.
        constants: whether an argument is an array, or a list with numbers in it.
    """

    reads: tuple[Tensor, ...]
    shapes: Mapping[Tensor, Any]
    by_name: bool
    constants: bool


def layers_of(config: Any) -> list | None:
    """Returns the entries of a model's layers; None if the configuration is no model's.

    Keras before 2.2.3 writes a Sequential model's entries as its whole configuration.
    """
    if isinstance(config, dict):
        config = config.get("layers")
    return config if isinstance(config, list) else None


def nodes(entry: Mapping[str, Any], names: Collection[str]) -> list[Node]:
    """Returns the calls of a layer.

    Args:
        entry: of the layer in its model's configuration.
        names: of the layers of that model.

    Raises:
        ValueError: a call is of no form that is known.
    """
    calls = entry.get("inbound_nodes") or []
    if not isinstance(calls, list):
        raise ValueError(_UNKNOWN)  # noqa: TRY004
    return [node(call, names) for call in calls]


def node(call: Any, names: Collection[str]) -> Node:
    """Returns one call; see `nodes`."""
    if isinstance(call, dict) and isinstance(call.get("args"), list):
        return _of_keras_3(call)
    return _of_keras_2(call, names)


def is_tensor(value: Any) -> bool:
    """Returns whether Keras 3 writes this for a tensor that a layer is called on."""
    return isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"


def tensor(value: Any) -> Tensor | None:
    """Returns the tensor of [layer, call, output]; None for anything else."""
    if not (isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)):
        return None
    counts = all(isinstance(number, int) and number >= 0 for number in value[1:])
    return Tensor(*value) if counts else None


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


def is_end(value: Any) -> bool:
    """Returns whether a value is [layer, ...], or anything but a container.

    A leaf of `leaves` then is a tensor, or it is wrong: none is overlooked.
    """
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str)
    return not isinstance(value, dict)


def _of_keras_3(call: Mapping[str, Any]) -> Node:
    kwargs = call.get("kwargs") or {}
    if not isinstance(kwargs, dict):
        raise ValueError(_UNKNOWN)  # noqa: TRY004
    arguments = [*call["args"], *(kwargs[key] for key in sorted(kwargs))]
    reads, shapes = [], {}
    for value in leaves(arguments, is_tensor):
        config = value.get("config")
        config = config if isinstance(config, dict) else {}
        reads.append(_checked(config.get("keras_history")))
        shapes[reads[-1]] = config.get("shape")
    by_name = any(isinstance(v, dict) and not is_tensor(v) for v in arguments)
    constants = any(_numbers(value, is_tensor) for value in arguments)
    return Node(tuple(reads), shapes, by_name, constants)


def _of_keras_2(call: Any, names: Collection[str]) -> Node:
    def is_keyword_tensor(value: Any) -> bool:
        return tensor(value) is not None and value[0] in names

    reads, kwargs, constants = [], {}, False
    for value in leaves(call, is_end):
        if not isinstance(value, list) or len(value) not in (3, 4):
            raise ValueError(_UNKNOWN)
        if value[0] == _CONSTANT:
            constants |= _numbers(value[2], is_keyword_tensor)
        else:
            reads.append(_checked(value[:3]))
        if isinstance(value[-1], dict):  # the same for all inputs of a call
            kwargs = value[-1]
    reads += [Tensor(*value) for value in leaves(kwargs, is_keyword_tensor)]
    constants |= any(_numbers(value, is_keyword_tensor) for value in kwargs.values())
    return Node(tuple(reads), {}, isinstance(call, dict), constants)


def _checked(value: Any) -> Tensor:
    source = tensor(value)
    if source is None:
        raise ValueError(_UNKNOWN)
    return source


def _numbers(value: Any, is_tensor: Callable[[Any], bool]) -> bool:
    """Returns whether an argument of a call is an array, or a list with numbers in it."""
    if is_tensor(value):
        return False
    if isinstance(value, list):
        return any(isinstance(v, int | float) or _numbers(v, is_tensor) for v in value)
    if isinstance(value, dict):
        constant = value.get("class_name") in ("__numpy__", "__tensor__")
        return constant or any(_numbers(v, is_tensor) for v in value.values())
    return False
