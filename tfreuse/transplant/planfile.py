"""A plan in a file, bound to the values that the two models held when it was made."""

import os

from tfreuse import files
from tfreuse.errors import InputError, printable, reason
from tfreuse.plan import Plan
from tfreuse.transplant import alignment, pairing
from tfreuse.transplant.opening import Model
from tfreuse.transplant.pair import Pair, opened

Path = str | os.PathLike


def save(plan: Plan, path: Path, donor: Model, recipient: Model) -> None:
    """Writes the plan as JSON, with the digests of the arrays to move and to displace.

    If the plan aligns, with those of all arrays that decide the order of channels. The same
    plan of the same models gives the same bytes.

    Raises:
        InputError: the plan has problems, or a model is not the one that it was made of.
    """
    files.write_json(path, document(plan, donor, recipient))


def document(plan: Plan, donor: Model, recipient: Model) -> dict:
    """Returns the content of a plan file.

    {"plan": ..., "donor": {variable: SHA-256}, "recipient": {variable: SHA-256}}
    """
    plan.check()
    with opened(donor, recipient) as pair:
        return {"plan": plan.to_json(), **_digests(plan, pair)}


def load(path: Path, donor: Model, recipient: Model) -> Plan:
    """Reads a plan from a file, if both models still hold the values it was made of.

    Raises:
        InputError: it is no plan, was changed, or a variable has changed since.
    """
    remedy = "Make a plan with tools/transplant.py plan --plan=FILE."
    try:
        content = files.read_json(path, remedy)
    except OSError as error:
        raise InputError(
            f"plan file {printable(path)} cannot be read: {reason(error)}. {remedy}"
        ) from error
    stated = content if isinstance(content, dict) else {}
    plan = Plan.from_json(stated.get("plan") or {})
    with opened(donor, recipient) as pair:
        digests = _digests(plan, pair)
        names = {"donor": pair.donor.name, "recipient": pair.recipient.name}
    for side, name in names.items():
        old = stated.get(side)
        for variable, digest in digests[side].items():
            if not isinstance(old, dict) or old.get(variable) != digest:
                raise InputError(
                    f"{printable(name)} changed since the plan {printable(path)} was made: "
                    f"{printable(variable)} holds other values. Make the plan again."
                )
    return plan


def _digests(plan: Plan, pair: Pair) -> dict[str, dict[str, str]]:
    """Returns SHA-256 by variable path, for each side."""
    entries = plan.copies
    if alignment.aligns(plan):  # arrays that stay decide the order of channels too
        entries = pairing.all_pairs(plan, pair.donor, pair.recipient)
    return {
        "donor": {e.donor.path: pair.donor.digest(e.donor) for e in entries},
        "recipient": {
            e.recipient.path: pair.recipient.digest(e.recipient) for e in entries
        },
    }
