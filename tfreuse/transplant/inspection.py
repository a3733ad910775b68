"""Describes a model, and finds arrays that a transplant cannot address or should not trust.

for finding in examine(model):
    print(finding)   # "shared: twice: called 2 times: arrays that move, move for all calls"
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tfreuse import checkpoints
from tfreuse.checkpoints import Checkpoint
from tfreuse.checkpoints.provenance import EARLIER, LEFT_OUT
from tfreuse.checkpoints.writable import SUFFIXES
from tfreuse.errors import InputError, first_names, printable
from tfreuse.plan import channels, inventory, soundness
from tfreuse.plan.matching import automatic
from tfreuse.plan.variables import by_layer
from tfreuse.transplant.opening import OpenModel

_STEPS = 10  # former steps of a file that are printed
_OTHER_ARRAYS = {
    "optimizer": "stay as they are, and belong to the values before a transplant",
    "seed": "random generators; never moved",
    "duplicate": "several have one path, so that none of them can be addressed",
    "repeated": "Keras reads them from the layer within",
    "count": "of the batches that statistics are of; Keras has no such array",
    "other": "of the model itself, or stored in a way of their layer's own",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One oddity of a model.

    Attributes:
        kind: short name of the oddity, such as "shared".
        where: layers or variables that have it; "" for the whole model.
        consequence: effect on a transplant or on a saved file.
    """

    kind: str
    where: str
    consequence: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.kind, self.where, self.consequence)))


def examine(model: OpenModel) -> tuple[Finding, ...]:
    """Returns all findings; none for an ordinary model."""
    if isinstance(model, Checkpoint):
        specific = _file(model)
    else:
        from tfreuse.transplant import live_inspection  # imports TensorFlow

        specific = live_inspection.findings(model)
    checks = (_graph, _shared, _unknown, _names, _values)
    return (*specific, *(finding for check in checks for finding in check(model)))


def info(model: OpenModel) -> dict[str, Any]:
    """Describes an open model; see `tfreuse.transplant.info`."""
    description = {
        "file": model.name,
        "kind": model.kind,
        "checked": model.verify(),
        "layers": len(by_layer(model.variables)),
        "variables": len(model.variables),
        "parameters": sum(v.size for v in model.variables),
        "bytes": sum(v.bytes for v in model.variables),
        "stages": inventory.rows(model.variables),
        "doctor": [str(finding) for finding in examine(model)],
        "provenance": getattr(model, "provenance", None),
    }
    text = _text(description, inventory.table(model.variables))
    return {**description, "text": text}


def _text(description: dict[str, Any], table: str) -> str:
    name, kind = printable(description["file"]), description["kind"]
    lines = [f"{name}: {kind}, {description['checked']}", table]
    lines += [f"doctor: {line}" for line in description["doctor"]]
    lines += _history(description["provenance"])
    return "\n".join(lines)


def _history(provenance: Any) -> list[str]:
    """Returns a line for each step that made a file, the last one last."""
    if not isinstance(provenance, dict):
        return [] if provenance is None else [_origin(provenance)]
    earlier = provenance.get(EARLIER)
    steps = earlier if isinstance(earlier, list) else []
    lines = [_origin(step) for step in (*steps[-_STEPS:], provenance)]
    if len(steps) > _STEPS or LEFT_OUT in provenance:
        lines.insert(0, "written by tfreuse in several steps, the last of which are")
    return lines


def _origin(provenance: Any) -> str:
    """Returns a line on the origin of a file; its provenance may be anything."""
    fields = provenance if isinstance(provenance, dict) else {}
    if isinstance(fields.get("recalibration"), dict):
        count = printable(fields["recalibration"].get("images"), 20)
        recipient = fields.get("recipient")
        name = recipient.get("file") if isinstance(recipient, dict) else "?"
        return f"written by tfreuse: {printable(name)}, recalibrated on {count} images"
    donor, recipient = (
        printable(side.get("file", side.get("model")))
        if isinstance(side, dict)
        else "?"
        for side in (fields.get("donor"), fields.get("recipient"))
    )
    plan = printable(fields.get("plan"))[:12]
    part = "variables"
    with contextlib.suppress(
        InputError
    ):  # layers moved whole, or it is of another kind
        part = f"output channels {channels.summary(channels.parse(fields.get('channels')))}"
    adapters = fields.get("adapters")
    if isinstance(adapters, list) and adapters:
        part += f" ({printable(', '.join(map(str, adapters)), 60)})"
    return f"written by tfreuse: {recipient} with {part} of {donor}, plan {plan}"


def _file(model: Checkpoint) -> Iterator[Finding]:
    """Yields findings that only files have."""
    if model.remark:
        yield Finding("not read", "", model.remark)
    if not model.members:
        consequence = "the format has no checksum; damage to values cannot be seen"
        yield Finding(checkpoints.UNVERIFIED, "", consequence)
    if model.kind not in SUFFIXES:
        consequence = f"{model.kind} can be a donor, not a recipient"
        yield Finding("read only", "", consequence)
    kinds = Counter(array.kind for array in model.unaddressed)
    for kind, count in sorted(kinds.items()):
        paths = [array.path for array in model.unaddressed if array.kind == kind]
        consequence = _OTHER_ARRAYS.get(kind, "not addressed")
        yield Finding(kind, f"{count} arrays ({first_names(paths)})", consequence)
    layers = by_layer(model.variables)
    if layers and not any(layer.settings for layer in layers.values()):
        consequence = "epsilon, axis ... are taken from the other model"
        yield Finding("no settings", "", consequence)


def _graph(model: OpenModel) -> Iterator[Finding]:
    if model.edges is None:
        pairing = (
            "shapes, order and the other's graph" if model.pytorch else "name, path"
        )
        yield Finding("no graph", "", f"layers are paired by {pairing} or --map")


def _shared(model: OpenModel) -> Iterator[Finding]:
    try:
        calls, _ = model.calls()
    except InputError:  # no graph, or none that can be followed: alignment says so
        return
    layers = by_layer(model.variables)
    for path, count in Counter(call.path for call in calls).items():
        if count > 1 and path in layers:
            consequence = f"called {count} times: arrays that move, move for all calls"
            yield Finding("shared", path, consequence)


def _unknown(model: OpenModel) -> Iterator[Finding]:
    reasons: dict[str, list[str]] = {}
    for variable in model.variables:
        if variable.role is None:
            why = model.notes.get(variable.path, "it is no parameter")
            kind = f"class {variable.class_name}" if variable.class_name else "no class"
            reasons.setdefault(f"{kind}, {why}", []).append(variable.path)
    for why, paths in reasons.items():
        where = f"{first_names(paths)} ({printable(why)})"
        yield Finding("unknown role", where, "moves only with its whole layer")


def _names(model: OpenModel) -> Iterator[Finding]:
    layers = by_layer(model.variables)
    by_keras = [path for path, layer in layers.items() if automatic(layer)]
    if by_keras:
        consequence = (
            "they pair layers only where both models have the same ones; else the place in "
            "the graph decides, or --map"
        )
        yield Finding("names that Keras made up", first_names(by_keras), consequence)
    counts = Counter(layer.name for layer in layers.values())
    several = [name for name, count in counts.items() if count > 1]
    if several:
        where = first_names(several)
        yield Finding("names of several layers", where, "paired by path or --map")


def _values(model: OpenModel) -> Iterator[Finding]:
    faults: dict[str, list[str]] = {}
    for variable in model.variables:
        try:
            fault = soundness.first_fault(model.numbers(variable), variable.role)
        except InputError:
            fault = "values in chunks or compressed, which cannot be read by offset"
        if fault:
            faults.setdefault(fault, []).append(str(variable))
        if variable.dtype.startswith(("int", "uint")) and variable.role:
            faults.setdefault("whole numbers: quantized?", []).append(str(variable))
    for fault, names in faults.items():
        yield Finding(fault, first_names(names), "")
