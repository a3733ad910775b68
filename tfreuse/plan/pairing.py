"""Compares the settings of paired layers, and notes parameters that a plan leaves behind.

Pairs whose arrays have different meanings are refused. Moving statistics without the kernels
that they describe is a mistake in a migration and the point of a reuse study: a plan has a note
on it and permits it.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tfreuse import roles as roles_module
from tfreuse.errors import first_names, printable
from tfreuse.plan import axes, composites, topology
from tfreuse.plan.variables import Layer, Variable

Layers = Mapping[str, Layer]
_NORMS = ("BatchNormalization",)
_NUMBERS = {
    "epsilon": "outputs scale by sqrt((variance + theirs) / (variance + ours))",
    "momentum": "statistics will drift at another rate in training",
    "strides": "kernels look at other places",
    "dilation_rate": "kernels look at other places",
    "data_format": "kernels keep their meaning, a Dense layer after Flatten does not",
}
_ROLES = {  # roles whose meaning depends on a setting; others depend on it as a whole layer
    "epsilon": ("gamma", "moving_variance"),
    "momentum": ("moving_mean", "moving_variance"),
}


def refusal(source: Layer, target: Layer, agree: axes.Comparison) -> str:
    """Returns why arrays of `source` have another meaning in `target`; "" if they have not.

    Args:
        source, target: the donor's and the recipient's layer.
        agree: compares their axes, see `axes.comparison`.
    """
    if source.class_name != target.class_name:
        if "" in (source.class_name, target.class_name):
            side = "recipient" if source.class_name else "donor"
            return (
                f"the {side}'s file does not say what layer this is, the other has a "
                f"{source.class_name or target.class_name}: give a live model, or move it in "
                "Keras by get_weights and set_weights"
            )
        return f"a {source.class_name}'s arrays mean something else in a {target.class_name}"
    donor, recipient = source.settings, target.settings
    for name in ("groups", "depth_multiplier"):
        if donor.get(name, 1) != recipient.get(name, 1):
            return f"{name} {donor.get(name)} does not fit {recipient.get(name)}"
    if _fit(source, target) and agree(source, target) is False:
        return f"axis {donor.get('axis')} does not fit {recipient.get('axis')}"
    return ""


def _fit(source: Layer, target: Layer) -> bool:
    """Returns whether any array has the same shape in both; other widths explain other axes."""
    shapes = {key: variable.shape for key, variable in source.by_role.items()}
    shared = shapes.keys() & target.by_role.keys()
    return not shared or any(shapes[k] == target.by_role[k].shape for k in shared)


def is_known(layer: Layer) -> bool:
    """Returns whether the names and roles of the layer's arrays are known by its class."""
    return roles_module.array_names(layer.class_name) is not None


def pairs(source: Layer, target: Layer) -> tuple[dict[str, Variable], str]:
    """Pairs the arrays of two layers: by role, those without a role as the layer's others.

    Arrays of unknown roles are paired by name where both models have names, else by position;
    by shape where a file has them in an order of its own, if that leaves no choice.

    Returns:
        The donor's array by path of the recipient's; and why the others cannot be paired, ""
        if they are.
    """
    by_role = {
        variable.path: source.by_role[key]
        for key, variable in target.by_role.items()
        if key[0] is not None and key in source.by_role
    }
    donor_arrays, recipient_arrays = _without_roles(source, target)
    if not recipient_arrays or (is_known(target) and not donor_arrays):
        return by_role, ""
    counts = len(donor_arrays), len(recipient_arrays)
    if counts[0] != counts[1]:
        return (
            by_role,
            f"the donor's layer has {counts[0]} such arrays, not {counts[1]}",
        )
    for key in (_name, _position, _shape):
        keys = [[key(v) for v in side] for side in (donor_arrays, recipient_arrays)]
        if all(None not in side and len(set(side)) == len(side) for side in keys):
            break
    else:
        return by_role, (
            "which of its arrays is which, one of the files does not say; take the model's "
            ".keras files"
        )
    if set(keys[0]) != set(keys[1]):
        words = ", ".join(printable(str(word)) for word in keys[0])
        return by_role, f"the donor's layer has other arrays: {words}"
    of_source = {variable.path: variable for variable in source.variables}
    arrays = [of_source[variable.path] for variable in donor_arrays]
    donor_array = dict(zip(keys[0], arrays, strict=True))
    pairs_of_keys = zip(keys[1], recipient_arrays, strict=True)
    return by_role | {v.path: donor_array[key] for key, v in pairs_of_keys}, ""


def either(layer: Layer, side: str) -> str:
    """Returns why gamma or beta of a layer cannot move: bare weights hold one, which is unknown."""
    roles = [variable.role for variable in layer.variables]
    norm = {"gamma", "beta"} <= {*(roles_module.array_names(layer.class_name) or ())}
    if not norm or roles[:1] != [None] or layer.variables[0].name:
        return ""
    return (
        f"whether the {side}'s layer has gamma or beta, its file does not say; save that model "
        "as .keras"
    )


def _without_roles(
    source: Layer, target: Layer
) -> tuple[list[Variable], list[Variable]]:
    """Returns the arrays of two layers that roles do not pair.

    All of a layer of an unknown class whose arrays have roles by their names, if the other side
    has no names: the kernel of an EinsumDense in a `.h5` file is its array 0 in a `.keras` file.
    """
    sides = [
        [v for v in layer.variables if v.role is None] for layer in (source, target)
    ]
    if not is_known(source) and not is_known(target):
        for side, (layer, twin) in enumerate(((source, target), (target, source))):
            if not sides[side] and len(sides[1 - side]) == len(twin.variables):
                sides[side] = [
                    dataclasses.replace(v, name=v.role or "", position=-1)
                    for v in layer.variables
                ]
    return sides[0], sides[1]


def _name(variable: Variable) -> str | None:
    return variable.name or None


def _position(variable: Variable) -> int | None:
    return None if variable.position < 0 else variable.position


def _shape(variable: Variable) -> tuple[int, ...]:
    return variable.shape


def composite(layer: Layer) -> str:
    """Returns why the arrays of a layer cannot move one by one; "" if they can.

    Quantized kernels need their scales, and a LoRA kernel is a sum of three arrays. Readers give
    such arrays no role, so that a plan that left them out would look complete.
    """
    if kind := composites.of_layer(layer):
        return f"its weight is not plain: {kind}"
    plain = roles_module.layer_roles(layer.class_name, {})
    if not plain or plain[0] != "kernel" or {v.role for v in layer.variables} != {None}:
        return ""
    if any(v.dtype.startswith(("int", "uint")) for v in layer.variables):
        cause = "it is quantized, and whole numbers mean nothing without their scale"
    else:
        cause = (
            "quantized to float8, LoRA, pruned, weight-normalised, of another layout in Keras 1 "
            "or otherwise not plain"
        )
    return (
        f"its {len(layer.variables)} arrays are not those of a plain {layer.class_name} "
        f"({cause}): save the model with plain weights, or leave the layer out"
    )


def notes(
    moved: Mapping[str, tuple[Layer, Layer, set[str]]],
    recipient: Layers,
    edges: topology.Edges | None,
    agree: axes.Comparison,
) -> tuple[str, ...]:
    """Returns a line for each kind of parameter that a plan leaves behind or changes.

    Args:
        moved: the recipient's layer path -> (donor layer, recipient layer, roles that move).
        recipient: all layers of the recipient.
        edges: paths that each layer of the recipient reads from; with None, names and order
            decide which kernels feed a batch normalization.
        agree: compares the axes of a pair, see `axes.comparison`.
    """
    pairs = moved.values()
    return (
        *_incomplete(moved, recipient, edges),
        *_settings(pairs),
        *_axes_by_shape(pairs, agree),
    )


def notes_on_unknown(entries: Iterable[Any]) -> Iterable[str]:
    """Yields a line on layers that stay since neither side says which of their arrays is what.

    Such as a convolution in a block of one's own, in a `.keras` file.

    Args:
        entries: those of a plan that do not move.
    """
    unknown = {
        e.recipient.layer_path
        for e in entries
        if e.reason == "unknown role" and not e.recipient.class_name
    }
    if unknown:
        yield (
            f"{len(unknown)} layers of unknown classes stay as they are "
            f"({first_names(sorted(unknown))}): neither side says which of their arrays have the "
            "selected roles; a live model or a .h5 file does, and --roles=all moves them whole"
        )


def _incomplete(
    moved, recipient: Layers, edges: topology.Edges | None
) -> Iterable[str]:
    stats = {"moving_mean", "moving_variance"}
    no_kernel = no_stats = no_affine = no_norm = 0
    for path, kernels in feeders(recipient, edges).items():
        layer = recipient[path]
        has = {variable.role for variable in layer.variables}
        roles = moved[path][2] if path in moved else set()
        from_donor = [k for k in kernels if k in moved and "kernel" in moved[k][2]]
        no_kernel += bool(roles & stats and kernels and not from_donor)
        no_stats += bool(roles & {"gamma", "beta"} and not stats <= roles)
        no_affine += bool(roles & stats and has & {"gamma", "beta"} - roles)
        no_norm += bool(from_donor and not has <= roles)
    if no_kernel:
        yield (
            f"statistics without their kernels in {no_kernel} layers: they describe features "
            "that the recipient does not compute"
        )
    if no_stats:
        yield (
            f"gamma or beta without their statistics in {no_stats} layers: they scale what the "
            "recipient normalises"
        )
    if no_affine:
        yield (
            f"statistics without gamma and beta in {no_affine} layers: the recipient scales "
            "what the donor normalises"
        )
    if no_norm:
        yield (
            f"kernels without all of their batch norm in {no_norm} layers: recalibrate, or "
            "read the result as kernels alone"
        )


def _settings(pairs: Iterable[tuple[Layer, Layer, set[str]]]) -> Iterable[str]:
    differ: Counter[tuple] = Counter()
    for source, target, roles in pairs:
        if source.variables[0].settings == target.variables[0].settings:
            continue
        donor, recipient = source.settings, target.settings
        for name in _NUMBERS:
            concerned = _ROLES.get(name)
            if concerned and not roles & {*concerned}:
                continue
            values = donor.get(name), recipient.get(name)
            if None not in values and values[0] != values[1]:
                differ[name, str(donor.get(name)), str(recipient.get(name))] += 1
    for (name, donor, recipient), count in sorted(differ.items()):
        yield (
            f"{name} {donor} in the donor, {recipient} in the recipient, in {count} layers: "
            f"{_NUMBERS[name]}"
        )


def _axes_by_shape(pairs, agree: axes.Comparison) -> Iterable[str]:
    """Yields a line on pairs whose axes agree by the shapes of their arrays alone."""
    unknown = Counter(
        (source.settings.get("axis"), target.settings.get("axis"))
        for source, target, _ in pairs
        if agree(source, target) is None
    )
    for (donor, recipient), count in unknown.items():
        if None in (donor, recipient):
            side = "donor" if donor is None else "recipient"
            subject = f"the {side} states no axis of {count} layers"
        else:
            subject = (
                f"axis {donor} in the donor, {recipient} in the recipient, in {count} layers: "
                "no side says how many axes their input has"
            )
        yield f"{subject}; taken as equal, since shapes fit"


def feeders(layers: Layers, edges: topology.Edges | None) -> dict[str, list[str]]:
    """Returns paths of the layers whose kernels feed each batch normalization, by its path.

    Without edges, x_conv feeds x_bn, and any other the layer with a kernel before it.
    """
    feeding: dict[str, list[str]] = {}
    reads = topology.contract(edges, layers) if edges is not None else {}
    last = None
    for path, layer in layers.items():
        if layer.class_name in _NORMS:
            if path in reads:
                before = [p for p in reads[path] if p in layers]
            else:
                stem = path.removesuffix("_bn") + "_conv"
                before = [stem] if stem in layers else [last] if last else []
            feeding[path] = [p for p in before if ("kernel", 0) in layers[p].by_role]
        elif ("kernel", 0) in layer.by_role:
            last = path
    return feeding
