"""The computation graph of a model as calls of its layers, the same for live models and files.

calls, outputs = opened.calls()
edges(calls)        # {"conv2": ("relu1",), ...}: the layers that each layer reads from
"""

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer or an operation.

    Attributes:
        name: unique among the calls of a model.
        path: path of the layer; several calls share it where a layer is used twice.
        class_name: class of the layer; "" where the call does more than its class says.
        reads: names of the calls whose outputs it takes, in order.
        channels: length of the output's last axis; None if unknown.
        rank: number of the output's axes, the batch axis included.
        axis: axis of a concatenation, None for other classes.
        padding, strides: of the layer, as Keras writes them; None if it has none.
    """

    name: str
    path: str
    class_name: str
    reads: tuple[str, ...]
    channels: int | None
    rank: int
    axis: int | None = None
    padding: Any = None
    strides: Any = None


# Calls from input to output, and the names of the calls that make the model's outputs.
Graph = tuple[list[Call], list[str]]


def edges(calls: Iterable[Call]) -> dict[str, tuple[str, ...]]:
    """Returns the paths that each layer reads from, by its path.

    A layer that is called several times reads from everything that its calls read from.
    """
    calls = list(calls)
    paths = {call.name: call.path for call in calls}
    sources: dict[str, dict[str, None]] = {}  # a dictionary is a set that keeps order
    for call in calls:
        reads = sources.setdefault(call.path, {})
        reads.update(dict.fromkeys(paths[name] for name in call.reads))
    return {path: tuple(reads) for path, reads in sources.items()}
