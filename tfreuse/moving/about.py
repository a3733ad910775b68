"""What a model file holds, and what in it a transplant cannot address or should not trust."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tfreuse import checkpoints
from tfreuse.checkpoints import Checkpoint, OtherArray
from tfreuse.checkpoints.writing import SUFFIXES
from tfreuse.errors import InputError, printable
from tfreuse.moving.pairs import describe
from tfreuse.moving.values import unsound
from tfreuse.plan import inventory
from tfreuse.plan.matching import automatic
from tfreuse.plan.variables import by_layer

_OTHERS = {
    "optimizer": "stay as they are, and belong to the values before a transplant",
    "seed": "random generators; never moved",
    "duplicate": "several have one path, so which is meant cannot be told",
    "other": "of the model itself, or stored in a way of their layer's own",
}


def about(path: str | os.PathLike) -> dict[str, Any]:
    """What the file holds, as plain values; "text" is the same to read.

    Reads the whole file once: "checked" says whether its own checksums were held against it,
    "doctor" lists what a transplant cannot address or should not trust.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    with checkpoints.open(path) as model:
        checked = model.verify()
        found = {
            "file": str(path),
            "kind": model.kind,
            "checked": checked,
            "layers": len(by_layer(model.variables)),
            "variables": len(model.variables),
            "parameters": sum(v.size for v in model.variables),
            "bytes": sum(v.bytes for v in model.variables),
            "stages": inventory.rows(model.variables),
            "doctor": list(_doctor(model, checked)),
            "provenance": model.provenance,
        }
        table = inventory.table(model.variables)
    return {**found, "text": _text(found, table)}


def _text(found: dict[str, Any], table: str) -> str:
    lines = [f"{printable(found['file'])}: {found['kind']}, {found['checked']}", table]
    lines += [f"doctor: {line}" for line in found["doctor"]]
    if found["provenance"] is not None:
        lines.append(_origin(found["provenance"]))
    return "\n".join(lines)


def _origin(provenance: Any) -> str:
    """A line on where the file comes from; the file may say anything."""
    fields = provenance if isinstance(provenance, dict) else {}
    donor, recipient = (
        printable(side.get("file")) if isinstance(side, dict) else "?"
        for side in (fields.get("donor"), fields.get("recipient"))
    )
    plan = printable(fields.get("plan"))[:12]
    return f"written by tfreuse: {recipient} with variables of {donor}, plan {plan}"


def _doctor(model: Checkpoint, checked: str) -> Iterator[str]:
    if checked == checkpoints.UNVERIFIED:
        yield "unverified: the format has no checksum; damage to values cannot be seen"
    if model.kind not in SUFFIXES:
        yield f"read only: {model.kind} can be a donor, not a recipient"
    yield from _unaddressed(model.unaddressed)
    yield from _unknown(model)
    yield from _names(model)
    yield from _values(model)


def _unaddressed(others: tuple[OtherArray, ...]) -> Iterator[str]:
    for kind, count in sorted(Counter(other.kind for other in others).items()):
        paths = [other.path for other in others if other.kind == kind]
        what = _OTHERS.get(kind, "not addressed")
        yield f"{kind}: {count} arrays ({describe(paths)}): {what}"


def _unknown(model: Checkpoint) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for variable in model.variables:
        if variable.role is None:
            why = model.notes.get(variable.path, "it is no parameter")
            kind = f"class {variable.class_name}" if variable.class_name else "no class"
            reasons.setdefault(f"{kind}, {why}", []).append(variable.path)
    for why, paths in reasons.items():
        shown = printable(why)
        yield f"unknown role: {describe(paths)} ({shown}): never moved by role"


def _names(model: Checkpoint) -> Iterator[str]:
    layers = by_layer(model.variables)
    made_up = [path for path, layer in layers.items() if automatic(layer)]
    if made_up:
        yield (
            f"names that Keras made up: {describe(made_up)}: they pair layers only where both "
            "models have the same ones; else the place in the graph decides, or --map"
        )
    counts = Counter(layer.name for layer in layers.values())
    several = [name for name, count in counts.items() if count > 1]
    if several:
        yield f"names of several layers: {describe(several)}: paired by path or --map"
    if model.edges is None:
        yield "no graph in the file: layers are paired by name, path or --map"
    if layers and not any(layer.settings for layer in layers.values()):
        yield "no settings in the file: epsilon, axis ... are taken from the other model"


def _values(model: Checkpoint) -> Iterator[str]:
    faults: dict[str, list[str]] = {}
    for variable in model.variables:
        try:
            fault = unsound(model, variable)
        except InputError:
            fault = "values in chunks or compressed, which cannot be read by offset"
        if fault:
            faults.setdefault(fault, []).append(str(variable))
        if variable.dtype.startswith(("int", "uint")) and variable.role:
            faults.setdefault("whole numbers: quantized?", []).append(str(variable))
    for fault, names in faults.items():
        yield f"{fault}: {describe(names)}"
