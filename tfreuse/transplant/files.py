"""Writes a transplant into a new file: the recipient's bytes with the donor's variables."""

import os
import pathlib
from typing import Any

from tfreuse import __version__, checkpoints, files, rundir
from tfreuse.checkpoints import Checkpoint
from tfreuse.checkpoints.writable import SUFFIXES, Checksums, check_undo
from tfreuse.errors import InputError, printable
from tfreuse.plan import Plan, adapters
from tfreuse.transplant import pairing
from tfreuse.transplant.applied import Applied
from tfreuse.transplant.moves import Moves
from tfreuse.transplant.opening import InMemory, OpenModel


def write(
    plan: Plan,
    donor: OpenModel,
    recipient: Checkpoint,
    out: pathlib.Path,
    *,
    overwrite: bool,
    crc: bool,
    undo: str,
    dry_run: bool,
) -> Applied:
    """Writes the recipient with the plan's variables to `out`; see `tfreuse.transplant.apply`."""
    plan.check()
    check_undo(undo)
    check_out(out, (donor, recipient), overwrite)
    # a plan outlives its process in a file, so it may be of other models
    pairing.check_same(plan, donor, recipient)
    moves = Moves(plan, donor, recipient)
    moves.check(adapted_only=not dry_run)  # others are checked as they are written
    if dry_run:
        _check_writable(plan, donor, recipient, out, crc)
    in_memory = isinstance(donor, InMemory)
    # arrays that are all adapted leave nothing of the donor for the one pass to check
    all_adapted = all(entry.adapters for entry in plan.copies)
    checked = None
    if all_adapted and crc and not dry_run and not in_memory:
        checked = donor.verify()
    values = {}
    for entry in plan.copies:
        if entry.adapters:
            value = moves.adapted(entry)
        elif in_memory:
            value = donor.view(entry.donor)
        else:
            value = donor, entry.donor  # read when it is written
        values[entry.recipient.path] = value
    notes = _notes(recipient)
    if dry_run:
        return Applied(plan, None, notes)

    def provenance(new: Checksums, old: Checksums) -> dict[str, Any]:
        return _provenance(plan, donor, recipient, new, old)

    written = checkpoints.write(recipient, out, values, provenance, crc=crc, undo=undo)
    if checked:
        written.checked[donor.name] = checked
    return Applied(plan, written, notes)


def check_out(
    out: pathlib.Path, inputs: tuple[OpenModel, ...], overwrite: bool
) -> None:
    """Raises InputError if the output or its undo file would replace a file."""
    for path in (out, out.parent / f"{out.name}.undo"):
        if not path.exists():
            continue
        for model in inputs:
            source = getattr(model, "path", None)
            if source and os.path.exists(source) and os.path.samefile(source, path):
                raise InputError(
                    f"the output {printable(path)} is the input {printable(source)}; an input "
                    "is never written to. Choose another name for the output."
                )
        if not overwrite:
            raise InputError(
                f"{printable(path)} exists already; choose another name for the output, or "
                "replace it with --overwrite."
            )


def _check_writable(
    plan: Plan, donor: OpenModel, recipient: Checkpoint, out: pathlib.Path, crc: bool
) -> None:
    """Raises InputError where `checkpoints.write` would: for a dry run."""
    suffix = SUFFIXES.get(recipient.kind)
    if suffix is None or not out.name.endswith(suffix):
        raise InputError(
            f"the output must be of its recipient's format, one of "
            f"{', '.join(SUFFIXES.values())}; {printable(recipient.path)} is "
            f"{recipient.kind}, the output {printable(out)}."
        )
    for entry in plan.copies:
        if recipient.extent(entry.recipient.path) is None:
            raise InputError(
                f"{entry.recipient} of {printable(recipient.path)} is stored in chunks or "
                "compressed and cannot be written in place. Save the model again with Keras."
            )
    if crc:
        donor.verify()
        recipient.verify()


def _provenance(
    plan: Plan,
    donor: OpenModel,
    recipient: Checkpoint,
    new: Checksums,
    old: Checksums,
) -> dict[str, Any]:
    """Returns the origin of the output: the same for the same inputs, anywhere, at any time.

    `values` are digests of the CRC-32 of every array that moved, or was displaced: they cost
    nothing, since the transplant computes them in any case. A plan file holds SHA-256.
    """
    path = getattr(donor, "path", None)
    origin = {"model": donor.name}
    if path is not None:
        origin = {"file": getattr(donor, "origin", "") or path.name}
    return {
        "plan": plan.hash,
        "roles": plan.roles,
        "layers": plan.layers,
        "donor": {**origin, "values": files.digest(new)},
        "recipient": {"file": recipient.path.name, "values": files.digest(old)},
        "variables": len(plan.copies),
        **({"adapters": adapters.texts(plan.adapters)} if plan.adapters else {}),
        **({"channels": dict(plan.channels)} if plan.channels else {}),
        "versions": {
            "tfreuse": __version__,
            **{name: rundir.version(name) for name in ("numpy", "h5py")},
        },
    }


def _notes(recipient: Checkpoint) -> tuple[str, ...]:
    count = sum(array.kind == "optimizer" for array in recipient.unaddressed)
    if not count:
        return ()
    note = (
        f"the recipient's {count} arrays of optimizer state stay as they are; they belong to "
        "the values before. Compile anew before training on, or load with compile=False."
    )
    return (note,)
