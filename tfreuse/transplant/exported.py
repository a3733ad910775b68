"""Compares a donor whose file has its graph, as ONNX, with the recipient: settings, not guesses.

Strides, dilations, groups and epsilon stand in the layers' settings, which every plan compares. Here
are normalizations that the exporter has folded into kernels, and paddings.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfreuse.errors import InputError, first_names
from tfreuse.plan import COPY, MISSING, REFUSED, Entry, Plan, structure, topology
from tfreuse.plan.calls import Call
from tfreuse.plan.variables import Layer, Variable
from tfreuse.transplant import same_function
from tfreuse.transplant.opening import OpenModel

Layers = Mapping[str, Layer]
REASON = "same place in both graphs, and same shapes"
_FOLDED = "the recipient normalizes what it computes and the donor does not: "
_WRITERS = {  # by the producer that the file names
    "tf2onnx": (
        "tf2onnx, by which tools/export.py writes ONNX, folds batch normalizations into kernels. "
        "Take the .keras file that was exported"
    ),
    "pytorch": (
        "torch.onnx.export folds batch normalizations into kernels. Export in training mode "
        "(torch.onnx.export(..., training=TrainingMode.PRESERVE, do_constant_folding=False)), or "
        "take the state dict"
    ),
}
_ANY_WRITER = (
    "exporters fold batch normalizations into kernels. Take the weights of the network that was "
    "exported"
)


def pair(
    donor: Layers, recipient: Layers, edges: Sequence[topology.Edges], mapping
) -> tuple[structure.Pairs, structure.Unclear]:
    """Pairs layers by their place in both graphs; names say nothing here.

    Args:
        donor, recipient: layers by path.
        edges: paths that each layer reads from, for donor and recipient.
        mapping: donor layer by recipient layer, as a map pairs them.
    """
    labels = [_shapes(donor), _shapes(recipient)]
    graphs = [topology.contract(e, side) for e, side in zip(edges, labels, strict=True)]
    pairs, unclear = topology.align(*graphs, *labels, mapping)
    return {target: (source, REASON) for target, source in pairs.items()}, unclear


def _shapes(layers: Layers) -> dict[str, tuple]:
    return {
        p: shape for p, layer in layers.items() if (shape := structure.shape_of(layer))
    }


def without_folded(
    entries: Iterable[Entry],
    donor: OpenModel,
    recipient: OpenModel,
    layers: Sequence[Layers],
) -> tuple[Entry, ...]:
    """Refuses kernels that hold a batch normalization which the recipient computes itself.

    Where the donor has none at all, also arrays without a counterpart for that reason.

    Args:
        entries: of a plan.
        donor: a model with edges.
        recipient: a model; a PyTorch file has no edges.
        layers: of the donor and of the recipient, by path.
    """
    normalized = [
        _normalized(model.edges or {}, side)
        for model, side in zip((donor, recipient), layers, strict=True)
    ]
    batch = [
        {path for path, shape in _shapes(side).items() if shape[0] == "batch"}
        for side in layers
    ]
    lost = set() if batch[0] else batch[1] | normalized[1]
    reason = _FOLDED + _WRITERS.get(donor.producer, _ANY_WRITER)
    checked = []
    for entry in entries:
        path = entry.recipient.layer_path if entry.recipient else ""
        kernel = entry.status == COPY and entry.recipient.role in ("kernel", "bias")
        missing = entry.status == MISSING and not (entry.allowed or entry.donor)
        if (missing and path in lost) or (
            kernel
            and path in normalized[1]
            and entry.donor.layer_path not in normalized[0]
        ):
            entry = dataclasses.replace(entry, status=REFUSED, reason=reason)
        checked.append(entry)
    return tuple(checked)


def _normalized(edges: topology.Edges, layers: Layers) -> set[str]:
    """Returns layers whose output a batch normalization reads."""
    shapes = _shapes(layers)
    return {
        source
        for path, sources in topology.contract(edges, shapes).items()
        if shapes[path][0] == "batch"
        for source in sources
    }


def notes(plan: Plan, recipient: OpenModel) -> list[str]:
    """Returns lines on paddings that differ, and on those that no file shows."""
    kernels = [
        e for e in plan.entries if e.status == COPY and e.recipient.role == "kernel"
    ]
    try:
        calls, _ = recipient.calls()
    except InputError:
        calls = []
    lines = list(_paddings(kernels, calls))
    if kernels:
        variables = [entry.recipient for entry in kernels]
        lines += same_function.of_images(variables, calls, back=False)
    return lines


def _paddings(kernels: Sequence[Entry], calls: Sequence[Call]) -> Iterator[str]:
    by_name = {call.name: call for call in calls}
    by_path = {call.path: call for call in calls}
    differ: dict[tuple[str, str], list[str]] = {}
    unknown = []
    for entry in kernels:
        call = by_path.get(entry.recipient.layer_path)
        padding = dict(entry.donor.settings).get("padding")
        if padding is None or "Transpose" in entry.recipient.class_name:
            continue
        of_donor = _by_sides(padding, entry.donor)
        of_recipient = _padding(entry.recipient, call, by_name) if call else "other"
        if "other" in (of_donor, of_recipient):
            unknown.append(entry.recipient.layer)
        elif of_donor != of_recipient:
            differ.setdefault((str(of_donor), str(of_recipient)), []).append(
                entry.recipient.layer
            )
    for (of_donor, of_recipient), names in differ.items():
        yield (
            f"padding {of_donor} in the donor, {of_recipient} in the recipient, in {len(names)} layers "
            f"({first_names(names)}): outputs differ, most at borders"
        )
    if unknown:
        yield (
            f"paddings of {len(unknown)} layers cannot be compared ({first_names(unknown)})"
        )


def _padding(variable: Variable, call: Call, by_name: Mapping[str, Call]) -> Any:
    """Returns the paddings of a recipient's layer, a ZeroPadding before it included."""
    window = variable.shape[:-2]
    if str(call.padding).lower() != "valid":
        same = str(call.padding).lower() == "same"
        return _by_sides("same" if same else "other", variable)
    before = by_name[call.reads[0]] if len(call.reads) == 1 else None
    if before is None or not before.class_name.startswith("ZeroPadding"):
        return ((0, 0),) * len(window)
    sides = before.padding
    if isinstance(sides, int):
        return ((sides, sides),) * len(window)
    return tuple(
        (side, side) if isinstance(side, int) else tuple(side) for side in sides
    )


def _by_sides(padding: Any, variable: Variable) -> Any:
    """Returns paddings as ((before, after), ...), also "same" and "same_lower" of a kernel.

    Those depend on the image where the layer strides; here its sides are multiples of strides.
    """
    if padding not in ("same", "same_lower"):
        return padding
    settings, window = dict(variable.settings), variable.shape[:-2]
    strides, dilations = (
        _by_axis(settings.get(name, 1), len(window))
        for name in ("strides", "dilation_rate")
    )
    totals = [
        max((side - 1) * dilation + 1 - step, 0)
        for side, dilation, step in zip(window, dilations, strides, strict=True)
    ]
    sides = tuple((total // 2, total - total // 2) for total in totals)
    return sides if padding == "same" else tuple(pair[::-1] for pair in sides)


def _by_axis(value: Any, count: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count
