"""A plan in a file, bound to what the two models held when it was made."""

import os

from tfreuse import checkpoints, files
from tfreuse.errors import InputError, printable
from tfreuse.moving import aligning
from tfreuse.moving.pairs import paired
from tfreuse.plan import Plan

Path = str | os.PathLike


def save(plan: Plan, path: Path, donor: Path, recipient: Path) -> None:
    """Writes the plan as JSON, with the digests of what it would move and displace.

    Of a plan that aligns, with those of all arrays that decide where channels go.

    The same plan of the same files gives the same bytes.

    Raises:
        InputError: the plan has problems, or a file is not the one that it was made of.
    """
    files.write_json(path, document(plan, donor, recipient))


def document(plan: Plan, donor: Path, recipient: Path) -> dict:
    """What `save` writes: {"plan": ..., "donor": {variable: SHA-256}, "recipient": ...}."""
    return {"plan": plan.check().to_json(), **_digests(plan, donor, recipient)}


def load(path: Path, donor: Path, recipient: Path) -> Plan:
    """The plan in a file, if both models still hold what they held when it was made.

    Raises:
        InputError: it is no plan, was changed, or a variable has changed since.
    """
    try:
        content = files.read_json(path)
    except (OSError, ValueError) as error:  # a UnicodeError is a ValueError
        raise InputError(
            f"plan file {printable(path)} cannot be read: {printable(error)}. Make one with "
            "tools/transplant.py plan --plan=FILE."
        ) from error
    stated = content if isinstance(content, dict) else {}
    plan = Plan.from_json(stated.get("plan") or {})
    found = _digests(plan, donor, recipient)
    for side, model in (("donor", donor), ("recipient", recipient)):
        then = stated.get(side)
        for variable, digest in found[side].items():
            if not isinstance(then, dict) or then.get(variable) != digest:
                raise InputError(
                    f"{printable(model)} changed since the plan {printable(path)} was made: "
                    f"{printable(variable)} holds other values. Make the plan again."
                )
    return plan


def _digests(plan: Plan, donor: Path, recipient: Path) -> dict[str, dict[str, str]]:
    with checkpoints.open(donor) as theirs, checkpoints.open(recipient) as ours:
        entries = plan.copies
        if aligning.aligns(plan):  # what stays decides too where channels go
            entries = paired(plan, theirs, ours)
        return {
            "donor": {e.donor.path: theirs.digest(e.donor) for e in entries},
            "recipient": {e.recipient.path: ours.digest(e.recipient) for e in entries},
        }
