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
# Edges beside those of layers: metrics, functions, and what is stored a second time.
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
class _Place:
    """Where the walk from the root first met an object, and the last layer that holds it."""

    route: tuple[str, ...]
    holder: int | None = None
    attribute: str = ""


def variables(graph: Any) -> list[Named]:
    """Returns the variables of a `TrackableObjectGraph`, in its order."""
    places = _walk(graph)
    groups: dict[Any, list[tuple[str, str, str]]] = {}  # (key, full name, attribute)
    others: dict[str, Named] = {}
    order = []
    for number, node in enumerate(graph.nodes):
        for attribute in node.attributes:
            if attribute.name != _VALUE:
                continue
            key, full_name = attribute.checkpoint_key, attribute.full_name
            if number not in places and key.startswith(f"{_COPIES}/"):
                continue
            order.append(key)
            place = places.get(number)
            scope = full_name.rpartition("/")[0]
            if place is None or "seed_generator" in full_name:
                aside = {*_ASIDE} & {*key.split("/")}
                kind = "other" if aside else "optimizer"
                kind = "seed" if "seed_generator" in full_name else kind
                others[key] = Named(key, "", full_name, kind)
            elif place.holder in (None, 0) and not scope:  # a counter of steps
                others[key] = Named(key, "", full_name, "other")
            else:
                holder = scope if place.holder is None else place.holder
                group = groups.setdefault(holder, [])
                group.append((key, full_name, place.attribute))
    members = _labelled(groups, places)
    found = {member.key: member for member in members} | others
    return [found[key] for key in dict.fromkeys(order)]


def _walk(graph: Any) -> dict[int, _Place]:
    """Returns the places of all objects of the model; those of optimizers are left out."""
    nodes = graph.nodes
    aside = {*_ASIDE}
    if any(child.local_name == "variables" for child in nodes[0].children):
        aside.add(_COPIES)
    places, queue = {0: _Place(())}, deque([0])
    while queue:
        number = queue.popleft()
        place = places[number]
        for child in nodes[number].children:
            name, below = child.local_name, child.node_id
            if name in aside or _is_optimizer(name, nodes[below]):
                continue
            if below not in places:
                places[below] = _Place((*place.route, name))
                queue.append(below)
            if not name.isdecimal() and nodes[below].attributes:
                # a wrapper may hold the kernel of its layer too: the inner one is met later
                places[below].holder, places[below].attribute = number, name
    return places


def _is_optimizer(name: str, node: Any) -> bool:
    children = {child.local_name for child in node.children}
    return (
        name in ("optimizer", "_optimizer")
        or bool(node.slot_variables)
        or bool(children & _OPTIMIZER)
    )


def _labelled(
    groups: Mapping[Any, list[tuple[str, str, str]]], places: Mapping[int, _Place]
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
    first = {places[h].route[:1] for h in groups if isinstance(h, int)}
    start = int(len(first) == 1 and len(groups) > 1 and () not in first)
    labelled = []
    for holder, members in groups.items():
        (scope, *more), kind = scopes[holder], "layer"
        if more or not scope or claims[scope] > 1:
            route = places[holder].route[start:] if isinstance(holder, int) else ()
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
