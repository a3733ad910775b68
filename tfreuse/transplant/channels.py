"""Finds the batch normalization behind each layer whose output channels move, and checks both.

A batch normalization follows a layer if it reads this layer alone (`plan.topology`) and has its
channels in the same order (`alignment.ties`): channel i of the kernel is then channel i of gamma.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from tfreuse import plan as plan_module
from tfreuse.errors import InputError, nearest, printable
from tfreuse.plan import Plan, selection, topology
from tfreuse.plan import channels as plan_channels
from tfreuse.plan.channels import Channels
from tfreuse.plan.variables import Layer, by_layer
from tfreuse.transplant import alignment
from tfreuse.transplant.opening import OpenModel
from tfreuse.transplant.tying import Ties


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Output channels of a recipient's layers.

    Attributes:
        indices: of every layer with channels that move, batch normalizations included, by path.
        groups: paths of each layer that was named and of the batch normalizations behind it.
        sizes: number of output channels of the first layer of each group.
    """

    indices: dict[str, tuple[int, ...]]
    groups: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...]


def choose(channels: Channels, recipient: OpenModel) -> Chosen:
    """Returns the named channels with those of the batch normalizations behind.

    Args:
        channels: indices of output channels by the name or path of a layer of the recipient.
        recipient: a model with a graph.

    Raises:
        InputError: it has no graph, a layer is unknown, or an index is outside its channels.
    """
    channels = plan_channels.parse(channels)
    if recipient.edges is None:
        raise InputError(
            f"channels are chosen by the recipient's graph, and {recipient.name} has none that "
            "can be read; give the .keras file of a Functional or Sequential model, or select "
            "whole layers with --layers."
        )
    layers = by_layer(recipient.variables)
    ties = alignment.ties(recipient)
    behind = _followers(layers, recipient.edges)
    lists = _by_path(channels, layers)
    indices, groups, sizes = {}, [], []
    leads = {path: lead for lead, paths in behind.items() for path in paths}
    for path, numbers in lists.items():
        _check(layers[path], numbers, ties)
        if leads.get(path) in lists:  # moves with its convolution
            if numbers != lists[leads[path]]:
                raise InputError(
                    f"channels: {printable(path)} normalizes the output of "
                    f"{printable(leads[path])}, which has other channels in the list; leave "
                    "one of them out."
                )
            continue
        group = (path, *behind.get(path, ()))
        if path_behind := _other_order(group, layers, ties):
            raise InputError(
                f"channels: {printable(path_behind)} normalizes the output of {printable(path)}, and its "
                "arrays have no slices of the same channels (renorm, another axis, a class of "
                "your own); move both whole, without --channels."
            )
        indices.update(dict.fromkeys(group, numbers))
        groups.append(group)
        sizes.append(output_channels(layers[path]))
    return Chosen(indices, tuple(groups), tuple(sizes))


def groups(model: OpenModel) -> dict[str, tuple[str, ...]]:
    """Returns each layer with known output channels, and the layers that move with it.

    Returns:
        By path of the layer its own and those of the batch normalizations behind it. A model
        without a graph has none.
    """
    if model.edges is None:
        return {}
    layers, ties = by_layer(model.variables), alignment.ties(model)
    behind = _followers(layers, model.edges)
    following = {path for paths in behind.values() for path in paths}
    grouped = {
        path: (path, *behind.get(path, ()))
        for path, layer in layers.items()
        if path not in following and _order(layer, ties) is not None
    }
    return {
        path: group
        for path, group in grouped.items()
        if not _other_order(group, layers, ties)
    }


def _followers(
    layers: Mapping[str, Layer], edges: topology.Edges
) -> dict[str, list[str]]:
    """Returns the paths of the batch normalizations behind each layer with a kernel, by its path.

    Channels of either may be unknown, or lie in another order; see `_other_order`.
    """
    behind: dict[str, list[str]] = {}
    reads = topology.contract(edges, layers)
    for path, layer in layers.items():
        lead = reads[path][0] if len(reads.get(path, ())) == 1 else None
        norm = layer.class_name == "BatchNormalization" and lead in layers
        if norm and ("kernel", 0) in layers[lead].by_role:
            behind.setdefault(lead, []).append(path)
    return behind


def _other_order(group: Iterable[str], layers: Mapping[str, Layer], ties: Ties) -> str:
    """Returns the first layer of a group whose channels are not the first's, in its order; or ""."""
    first, *behind = group
    order = _order(layers[first], ties)
    return next((path for path in behind if _order(layers[path], ties) != order), "")


def _order(layer: Layer, ties: Ties) -> object | None:
    """Returns the segments of a layer's output channels; None if they are not known."""
    orders = set()
    for variable in layer.variables:
        axis = plan_channels.output_axis(variable)
        axes = ties.axes.get(variable.path)
        if axis is None or axes is None:
            return None
        orders.add(axes[axis])
    return orders.pop() if len(orders) == 1 else None


def output_channels(layer: Layer) -> int:
    """Returns the number of a layer's output channels, which are known."""
    variable = layer.variables[0]
    return variable.shape[plan_channels.output_axis(variable)]


def _by_path(
    channels: Channels, layers: Mapping[str, Layer]
) -> dict[str, tuple[int, ...]]:
    names = selection.paths_by_name(layers)
    by_path: dict[str, tuple[int, ...]] = {}
    for name, indices in channels.items():
        paths = names.get(name, [])
        if not paths:
            raise InputError(
                f"channels: the recipient has no layer {printable(name)!r} with parameters; "
                f"nearest: {nearest(name, names)}."
            )
        if len(paths) > 1:
            raise InputError(
                f"channels: {printable(name)!r} means several layers: "
                f"{[printable(path) for path in paths]}. Write a whole path."
            )
        if paths[0] in by_path:
            raise InputError(
                f"channels: {printable(paths[0])} is named by its name and by its path; leave "
                "one out."
            )
        by_path[paths[0]] = tuple(indices)
    return by_path


def _check(layer: Layer, indices: tuple[int, ...], ties: Ties) -> None:
    path = printable(layer.path)
    if _order(layer, ties) is None:
        raise InputError(
            f"channels: {path} is a {printable(layer.class_name or 'layer of unknown class')} "
            "whose output channels have no slices of their own here (separable, in groups, "
            "several outputs a channel, or a class of your own); move it whole, without "
            "--channels."
        )
    count = output_channels(layer)
    outside = [index for index in indices if not 0 <= index < count]
    if outside:
        raise InputError(
            f"channels: {path} has output channels 0 to {count - 1}; got {outside[0]}."
        )


def check_moved(plan: Plan, groups: Iterable[tuple[str, ...]]) -> None:
    """Raises InputError if nothing of a named layer is selected, so that it would stay whole."""
    selected = {
        entry.recipient.layer_path
        for entry in plan.entries
        if entry.recipient and entry.status != plan_module.KEEP
    }
    for group in groups:
        if selected.isdisjoint(group):
            raise InputError(
                f"channels: nothing of {printable(group[0])} moves: --roles, --layers, --stages or "
                "--depth leave it out. Select it, or take it out of the channels."
            )


def note(chosen: Chosen) -> str:
    """Returns the plan's note on the channels that move and the arrays that stay."""
    moving = sum(len(chosen.indices[group[0]]) for group in chosen.groups)
    behind = sum(len(group) - 1 for group in chosen.groups)
    return (
        f"channels: {moving:,} of {sum(chosen.sizes):,} output channels of {len(chosen.groups)} "
        f"layers, with {behind} batch normalizations behind them; all else stays the "
        "recipient's, also the slices by which the next layers read these channels"
    )
