"""Moves parameters between model files: plan, apply, verify, undo, compare; no model is built.

    plan = moving.plan("donor.keras", "recipient.keras", roles="stats", layers=["encoder_*"])
    print(plan.table())                   # what would move; nothing has been written
    moving.apply(plan, "donor.keras", "recipient.keras", "out.keras")
    moving.verify(plan, "donor.keras", "recipient.keras", "out.keras").check()
    moving.undo("out.keras")              # out.keras is recipient.keras again, byte for byte

Formats are those of `tfreuse.checkpoints`; outputs are `.keras`, `.weights.h5` and legacy `.h5`.
TensorFlow is imported only if a file is a TensorFlow checkpoint.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from tfreuse import __version__, checkpoints, files
from tfreuse import diff as diff_module
from tfreuse.checkpoints import Checkpoint, WriteReport
from tfreuse.checkpoints.writing import SUFFIXES, Checksums
from tfreuse.errors import InputError, printable
from tfreuse.moving.about import about
from tfreuse.moving.pairs import make, remade
from tfreuse.moving.planfile import load, save
from tfreuse.moving.proof import Proof, prove
from tfreuse.moving.values import check, equal, expected
from tfreuse.plan import Plan

__all__ = [
    "Applied",
    "Proof",
    "about",
    "apply",
    "compare",
    "load",
    "plan",
    "save",
    "undo",
    "verify",
]

Path = str | os.PathLike


@dataclasses.dataclass(frozen=True)
class Applied:
    """What `apply` did: `written` is None after a dry run.

    `notes` says what else the output holds that the transplant did not touch and a reader
    should know, such as the state of an optimizer.
    """

    plan: Plan
    written: WriteReport | None
    notes: tuple[str, ...]


def plan(donor: Path, recipient: Path, **options: Any) -> Plan:
    """What would move; reads what would move to tell what is equal already, writes nothing.

    Args:
        donor, recipient: model files.
        options: as `tfreuse.plan.make` takes them: roles, layers, stages, depth, mapping,
            allow_missing, allow_unused, adapters.

    Raises:
        InputError: a file cannot be read, a pattern matches nothing, or nothing is selected.
            What is selected and has no place is in `Plan.problems`; `Plan.check` raises.
    """
    with _open(donor, recipient) as (theirs, ours):
        made = make(theirs, ours, **options)
        return made.compared(lambda entry: equal(entry, theirs, ours))


def apply(
    plan: Plan,
    donor: Path,
    recipient: Path,
    out: Path,
    *,
    overwrite: bool = False,
    crc: bool = True,
    dry_run: bool = False,
) -> Applied:
    """Writes the recipient with the plan's variables from the donor to `out`, or nothing.

    Args:
        plan: what `plan` made of these two files.
        out: a name of its own, with the recipient's ending; `out`.undo is left beside it.
        overwrite: replace `out` if it is there.
        crc: read both files whole, to check them against their own checksums.
        dry_run: check everything and write nothing.

    Raises:
        InputError: the plan has problems or is of other files, a value is not finite or is a
            variance below zero, or the output cannot be written. Then nothing was.
    """
    out = pathlib.Path(out)
    plan.check()
    _check_out(out, (donor, recipient), overwrite)
    with _open(donor, recipient) as (theirs, ours):
        remade(plan, theirs, ours)
        notes = _notes(ours)
        if dry_run:
            check(plan, theirs)
            _check_writable(plan, ours, theirs, out, crc)
            return Applied(plan, None, notes)
        values = expected(plan, theirs, ours)

        def provenance(new: Checksums, old: Checksums) -> dict[str, Any]:
            return _provenance(plan, theirs, ours, new, old)

        written = checkpoints.write(ours, out, values, provenance, crc=crc)
    return Applied(plan, written, notes)


def verify(plan: Plan, donor: Path, recipient: Path, out: Path) -> Proof:
    """Whether `out` is the recipient with exactly the plan's variables from the donor.

    Compares the digest of every array, and all else that the file holds. `Proof.check` raises
    unless it is.

    Raises:
        InputError: a file cannot be read, or the plan is not of these files.
    """
    plan.check()
    with _open(donor, recipient, out) as (theirs, ours, made):
        remade(plan, theirs, ours)
        return prove(plan, theirs, ours, made)


def compare(
    donor: Path, recipient: Path, **options: Any
) -> tuple[Plan, list[diff_module.Row]]:
    """What belongs together in the two files, and how far apart it is: see `tfreuse.diff`."""
    with _open(donor, recipient) as (theirs, ours):
        made = make(theirs, ours, **options)
        return made, diff_module.rows(made, theirs.read, ours.read)


def undo(out: Path, *, dry_run: bool = False) -> str:
    """Turns `out` back into its recipient, byte for byte, by the undo file beside it.

    Args:
        out: what `apply` wrote.
        dry_run: do it to a copy that is thrown away.

    Returns:
        "crc32" if the result was proven to be the recipient, "unverified" if its checksum
        was not known, because `apply` was told not to read it.
    """
    if not dry_run:
        return checkpoints.undo(out)
    out = pathlib.Path(out)
    for path in (out, _undo_file(out)):
        if not path.is_file():
            raise InputError(f"{printable(path)} is not there.")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / out.name
        shutil.copyfile(out, copy)
        shutil.copyfile(_undo_file(out), _undo_file(copy))
        return checkpoints.undo(copy)


@contextlib.contextmanager
def _open(*paths: Path) -> Iterator[list[Checkpoint]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(checkpoints.open(path)) for path in paths]


def _undo_file(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f"{out.name}.undo")


def _check_out(out: pathlib.Path, inputs, overwrite: bool) -> None:
    """Raises InputError if an output would replace an input, or what it should not."""
    for path in (out, _undo_file(out)):
        if not path.exists():
            continue
        for given in inputs:
            if os.path.exists(given) and os.path.samefile(given, path):
                raise InputError(
                    f"the output {printable(path)} is the input {printable(given)}; an input "
                    "is never written to. Choose another name for the output."
                )
        if not overwrite:
            raise InputError(
                f"{printable(path)} exists already; choose another name for the output, or "
                "replace it with --overwrite."
            )


def _check_writable(
    plan: Plan, recipient: Checkpoint, donor: Checkpoint, out: pathlib.Path, crc: bool
) -> None:
    """Raises InputError where `checkpoints.write` would: what a dry run must find."""
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
    plan: Plan, donor: Checkpoint, recipient: Checkpoint, new: Checksums, old: Checksums
) -> dict[str, Any]:
    """Where the output comes from: the same for the same inputs, anywhere, at any time.

    `values` stands for the CRC-32 of every array that moved, or was displaced: they cost
    nothing, since the transplant takes them in any case. A plan file holds SHA-256.
    """
    return {
        "plan": plan.hash,
        "roles": plan.roles,
        "layers": plan.layers,
        "donor": {"file": donor.path.name, "values": files.digest(new)},
        "recipient": {"file": recipient.path.name, "values": files.digest(old)},
        "variables": len(plan.copies),
        "versions": {
            "tfreuse": __version__,
            **{name: metadata.version(name) for name in ("numpy", "h5py")},
        },
    }


def _notes(recipient: Checkpoint) -> tuple[str, ...]:
    count = sum(other.kind == "optimizer" for other in recipient.unaddressed)
    if not count:
        return ()
    note = (
        f"the recipient's {count} arrays of optimizer state stay as they are; they belong to "
        "the values before. Compile anew before training on, or load with compile=False."
    )
    return (note,)
