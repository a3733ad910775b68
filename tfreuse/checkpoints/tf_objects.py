"""Assigns the variables of a TensorFlow checkpoint to layers, by its graph of objects.

The graph has the attribute under which each object holds another: "enc" holds a layer, "_kernel"
its kernel. A variable's own name has the layers' names ("conv1/kernel"), but Keras leaves inner
models out of it, and gives all layers of a subclassed model the model's name. So variables are
grouped by the object that holds them. A group takes the name that its variables have, if no other
group has it; else the attributes that lead to it, if the model is no list of numbered operations.
"""

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any

from tfreuse.checkpoints import named
from tfreuse.roles import NAMED

_VALUE = "VARIABLE_VALUE"
# Edges beside those of layers: metrics, functions, and second copies of variables.
_ASIDE = ("keras_api", "signatures", "metrics", "_metrics", "_compile_metrics")
_COPIES = "_all_variables"  # `Model.export` lists each variable a second time here
_NUMBERED = ("_operations", "_layers", "_tracked")  # lists of a Functional's layers
_OPTIMIZER = {"_variables", "_iterations", "iter", "_learning_rate"}


@dataclasses.dataclass(frozen=True)
class Named:
    """A variable of a checkpoint: key, layer path, name in the layer, and kind.

    `kind` is "layer", or one of `OtherArray`.
    """

    key: str
    layer: str
    name: str
    kind: str


@dataclasses.dataclass
class _Position:
    """A position of an object: the shortest route from the root, and the last holder.

    Attributes:
        route: names of the edges from the root.
        holder: number of the last object that holds it under a name; None if there is none.
        attribute: that name.
    """

    route: tuple[str, ...]
    holder: int | None = None
    attribute: str = ""


def variables(graph: Any) -> list[Named]:
    """Returns the variables of a `TrackableObjectGraph`, in its order."""
    positions = _walk(graph)
    groups: dict[Any, list[tuple[str, str, str]]] = {}  # (key, full name, attribute)
    unaddressed: dict[str, Named] = {}
    order = []
    for number, node in enumerate(graph.nodes):
        for attribute in node.attributes:
            if attribute.name != _VALUE:
                continue
            key, full_name = attribute.checkpoint_key, attribute.full_name
            if number not in positions and key.startswith(f"{_COPIES}/"):
                continue
            order.append(key)
            position = positions.get(number)
            scope = full_name.rpartition("/")[0]
            if position is None or "seed_generator" in full_name:
                aside = {*_ASIDE} & {*key.split("/")}
                kind = "other" if aside else "optimizer"
                kind = "seed" if "seed_generator" in full_name else kind
                unaddressed[key] = Named(key, "", full_name, kind)
            elif position.holder in (None, 0) and not scope:  # a counter of steps
                unaddressed[key] = Named(key, "", full_name, "other")
            else:
                holder = scope if position.holder is None else position.holder
                group = groups.setdefault(holder, [])
                group.append((key, full_name, position.attribute))
    members = _labelled(groups, positions)
    by_key = {member.key: member for member in members} | unaddressed
    return [by_key[key] for key in dict.fromkeys(order)]


def _walk(graph: Any) -> dict[int, _Position]:
    """Returns the positions of all objects of the model; those of optimizers are left out."""
    nodes = graph.nodes
    aside = {*_ASIDE}
    if any(child.local_name == "variables" for child in nodes[0].children):
        aside.add(_COPIES)
    positions, queue = {0: _Position(())}, deque([0])
    while queue:
        number = queue.popleft()
        position = positions[number]
        for child in nodes[number].children:
            name, below = child.local_name, child.node_id
            if name in aside or _is_optimizer(name, nodes[below]):
                continue
            if below not in positions:
                positions[below] = _Position((*position.route, name))
                queue.append(below)
            if not name.isdecimal() and nodes[below].attributes:
                # a wrapper may hold the kernel of its layer too: the inner one is met later
                positions[below].holder, positions[below].attribute = number, name
    return positions


def _is_optimizer(name: str, node: Any) -> bool:
    children = {child.local_name for child in node.children}
    return (
        name in ("optimizer", "_optimizer")
        or bool(node.slot_variables)
        or bool(children & _OPTIMIZER)
    )


def _labelled(
    groups: Mapping[Any, list[tuple[str, str, str]]], positions: Mapping[int, _Position]
) -> list[Named]:
    """Returns the variables of all groups under the label of their group."""
    scopes = {
        holder: {full_name.rpartition("/")[0] for _, full_name, _ in members}
        for holder, members in groups.items()
    }
    claims: dict[str, int] = {}
    for names in scopes.values():
        for name in names:
            claims[name] = claims.get(name, 0) + 1
    # tf.train.Checkpoint(model=...): the first attribute is no part of the model
    first = {positions[h].route[:1] for h in groups if isinstance(h, int)}
    start = int(len(first) == 1 and len(groups) > 1 and () not in first)
    labelled = []
    for holder, members in groups.items():
        kind, scope = "layer", next(iter(scopes[holder]))
        if len(scopes[holder]) > 1 or not scope or claims[scope] > 1:
            route = positions[holder].route[start:] if isinstance(holder, int) else ()
            if route and not any(r in _NUMBERED or "-" in r for r in route):
                scope = "/".join(route)
            elif not scope or claims[scope] > 1:
                kind = "duplicate"
        for key, full_name, attribute in members:
            name = _array_name(full_name, attribute)
            labelled.append(Named(key, scope, name, kind))
    return labelled


def _array_name(full_name: str, attribute: str) -> str:
    name = named.clean(full_name.rpartition("/")[2])
    return name if name in NAMED or not attribute or "/" in full_name else attribute
