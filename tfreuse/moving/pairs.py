"""The plan of two open files; what one does not say of its layers is taken from the other.

A bare weights file or an array of `.npz` knows no epsilon and no axis, and often no class. The
layer of the same path or name in the other file tells, and the plan notes it. Roles are never
taken over: that is how gamma becomes beta.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfreuse import plan as plan_module
from tfreuse.checkpoints import Checkpoint
from tfreuse.errors import InputError, printable
from tfreuse.moving import aligning
from tfreuse.plan import Entry, Plan, Variable, selection
from tfreuse.plan.variables import Layer, by_layer

_OPTIONS = (
    "roles",
    "layers",
    "stages",
    "depth",
    "mapping",
    "allow_missing",
    "allow_unused",
    "adapters",
)


def make(donor: Checkpoint, recipient: Checkpoint, **options: Any) -> Plan:
    """What would move from one open file to the other: see `tfreuse.plan.make`."""
    made = _made(donor, recipient, **options)
    if not aligning.aligns(made):
        return made
    return aligning.noted(made, paired(made, donor, recipient), donor)


def paired(plan: Plan, donor: Checkpoint, recipient: Checkpoint) -> tuple[Entry, ...]:
    """All that belongs together, moved or not: what the order of channels is chosen by."""
    return _made(donor, recipient, mapping=plan.mapping).copies


def _made(donor: Checkpoint, recipient: Checkpoint, **options: Any) -> Plan:
    pairs = selection.mapping_pairs(options.get("mapping", ()))
    theirs, ours = by_layer(donor.variables), by_layer(recipient.variables)
    mapped = selection.expand_mapping(pairs, theirs, ours) if pairs else {}
    from_donor = {target: theirs[source] for target, source in mapped.items()}
    from_recipient = {source: ours[target] for target, source in mapped.items()}
    left, few = _completed(theirs, ours, from_recipient)
    right, many = _completed(ours, theirs, from_donor)
    made = plan_module.make(
        left, right, donor_edges=donor.edges, recipient_edges=recipient.edges, **options
    )
    notes = [
        f"the {side}'s file does not say the settings (epsilon, axis ...) of {count} layers; "
        f"taken to be those of the {other}'s layers of the same name"
        for side, other, count in (
            ("donor", "recipient", few),
            ("recipient", "donor", many),
        )
        if count
    ]
    return dataclasses.replace(made, notes=(*made.notes, *notes))


def remade(plan: Plan, donor: Checkpoint, recipient: Checkpoint) -> None:
    """Raises InputError unless the plan is what these two files give, variable by variable."""
    options = {name: getattr(plan, name) for name in _OPTIONS}
    options["adapters"] = ["=".join(pair) for pair in plan.adapters]
    again = make(donor, recipient, **options)
    for old, new in zip(plan.entries, again.entries, strict=False):
        if _essence(old) != _essence(new):
            raise _other(
                f"{new.variable} is {new.status}, was {old.variable} {old.status}"
            )
    if (len(plan.entries), plan.notes) != (len(again.entries), again.notes):
        raise _other("they hold other variables, or other settings")


def _essence(entry: plan_module.Entry) -> tuple:
    status = plan_module.COPY if entry.status == plan_module.SAME else entry.status
    return status, entry.donor, entry.recipient, entry.adapters, entry.allowed


def _other(what: str) -> InputError:
    return InputError(
        f"the plan is not of these files: {what}. Make the plan again with "
        "tools/transplant.py plan."
    )


def _completed(
    layers: Mapping[str, Layer],
    others: Mapping[str, Layer],
    mapped: Mapping[str, Layer],
) -> tuple[list[Variable], int]:
    """The variables with classes and settings, and of how many layers they were taken over."""
    named: dict[str, Layer] = {layer.name: layer for layer in others.values()}
    found, count = [], 0
    for path, layer in layers.items():
        other = mapped.get(path) or others.get(path) or named.get(layer.name)
        members = layer.variables
        if other and not layer.settings and _fits(layer, other):
            new = {"class_name": other.class_name}
            new["settings"] = other.variables[0].settings
            members = [dataclasses.replace(v, **new) for v in members]
            count += list(members) != list(layer.variables)
        found += members
    return found, count


def _fits(layer: Layer, other: Layer) -> bool:
    """Whether the other's class may be this one's too."""
    return layer.class_name in ("", other.class_name)


def describe(names: Iterable[str], limit: int = 3) -> str:
    """The first names and how many more there are, safe to print."""
    names = [printable(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
