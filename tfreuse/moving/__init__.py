"""Moves parameters between model files: plan, apply, verify, undo, compare; no model is built.

    plan = moving.plan("donor.keras", "recipient.keras", roles="stats", layers=["encoder_*"])
    print(plan.table())                   # what would move; nothing has been written
    moving.apply(plan, "donor.keras", "recipient.keras", "out.keras")
    moving.verify(plan, "donor.keras", "recipient.keras", "out.keras").check()
    moving.undo("out.keras")              # out.keras is recipient.keras again, byte for byte

    with moving.opened("donor.keras", "recipient.keras") as pair:  # the same, files opened once
        pair.apply(pair.plan(roles="stats"), "out.keras")

Formats are those of `tfreuse.checkpoints`; outputs are `.keras`, `.weights.h5` and legacy `.h5`.
TensorFlow is imported only if a file is a TensorFlow checkpoint.
"""

import os
from typing import Any

from tfreuse import checkpoints
from tfreuse import diff as diff_module
from tfreuse.moving.about import about
from tfreuse.moving.pair import Applied, Pair, opened
from tfreuse.moving.pairs import make, remade
from tfreuse.moving.planfile import load, save
from tfreuse.moving.proof import Proof, prove
from tfreuse.plan import Plan

__all__ = [
    "Applied",
    "Pair",
    "Proof",
    "about",
    "apply",
    "compare",
    "load",
    "opened",
    "plan",
    "save",
    "undo",
    "verify",
]

Path = str | os.PathLike


def plan(donor: Path, recipient: Path, **options: Any) -> Plan:
    """What would move; reads of what would move what tells if it is equal already.

    Args:
        donor, recipient: model files; nothing is written.
        options: as `tfreuse.plan.make` takes them: roles, layers, stages, depth, mapping,
            allow_missing, allow_unused, adapters.

    Raises:
        InputError: a file cannot be read, a pattern matches nothing, or nothing is selected.
            What is selected and has no place is in `Plan.problems`; `Plan.check` raises.
    """
    with opened(donor, recipient) as pair:
        return pair.plan(**options)


def apply(
    plan: Plan, donor: Path, recipient: Path, out: Path, **options: Any
) -> Applied:
    """Writes the recipient with the plan's variables from the donor to `out`, or nothing.

    Args:
        plan: what `plan` made of these two files.
        out: a name of its own, with the recipient's ending; `out`.undo is left beside it.
        options: overwrite, crc, dry_run, as `Pair.apply` takes them.

    Raises:
        InputError: the plan has problems or is of other files, a value is not finite or is a
            variance below zero, or the output cannot be written. Then nothing was.
    """
    with opened(donor, recipient) as pair:
        return pair.apply(plan, out, **options)


def verify(plan: Plan, donor: Path, recipient: Path, out: Path) -> Proof:
    """Whether `out` is the recipient with exactly the plan's variables from the donor.

    Compares the digest of every array, and all else that the file holds. `Proof.check` raises
    unless it is.

    Raises:
        InputError: a file cannot be read, or the plan is not of these files.
    """
    plan.check()
    with opened(donor, recipient) as pair, checkpoints.open(out) as made:
        remade(plan, pair.donor, pair.recipient)
        return prove(plan, pair.donor, pair.recipient, made)


def compare(
    donor: Path, recipient: Path, **options: Any
) -> tuple[Plan, list[diff_module.Row]]:
    """What belongs together in the two files, and how far apart it is: see `tfreuse.diff`."""
    with opened(donor, recipient) as pair:
        made = make(pair.donor, pair.recipient, **options)
        return made, diff_module.rows(made, pair.donor.read, pair.recipient.read)


def undo(out: Path, *, dry_run: bool = False) -> str:
    """Turns `out` back into its recipient, byte for byte, by the undo file beside it.

    Args:
        out: what `apply` wrote.
        dry_run: check all that would be put together, and write nothing.

    Returns:
        "crc32" if the result was proven to be the recipient, "unverified" if its checksum
        was not known, because `apply` was told not to read it.
    """
    return checkpoints.undo(out, dry_run=dry_run)
