"""An open donor and an open recipient: what would move between them, and moving it."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from tfreuse import __version__, checkpoints, files
from tfreuse.checkpoints import Checkpoint, WriteReport
from tfreuse.checkpoints.writing import SUFFIXES, Checksums
from tfreuse.errors import InputError, printable
from tfreuse.moving.pairs import make, remade
from tfreuse.moving.values import Moved, check
from tfreuse.plan import Plan

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


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two open files; what was found out of them once serves the plan and the move."""

    donor: Checkpoint
    recipient: Checkpoint

    def plan(self, **options: Any) -> Plan:
        """What would move: see `tfreuse.moving.plan`."""
        made = make(self.donor, self.recipient, **options)
        return made.compared(Moved(made, self.donor, self.recipient).equal)

    def apply(
        self,
        plan: Plan,
        out: Path,
        *,
        overwrite: bool = False,
        crc: bool = True,
        dry_run: bool = False,
    ) -> Applied:
        """Writes the recipient with the plan's variables to `out`: see `tfreuse.moving.apply`.

        Args:
            plan: of these two files.
            out: a name of its own, with the recipient's ending.
            overwrite: replace `out` if it is there.
            crc: read both files whole, to check them against their own checksums.
            dry_run: check everything and write nothing.
        """
        donor, recipient, out = self.donor, self.recipient, pathlib.Path(out)
        plan.check()
        _check_out(out, (donor.path, recipient.path), overwrite)
        remade(plan, donor, recipient)
        notes = _notes(recipient)
        adapted = all(entry.adapters for entry in plan.copies)
        if dry_run:
            check(plan, donor)
            _check_writable(plan, recipient, donor, out, crc)
        checked = donor.verify() if adapted and crc and not dry_run else None
        values = Moved(plan, donor, recipient).values()
        if dry_run:
            return Applied(plan, None, notes)

        def provenance(new: Checksums, old: Checksums) -> dict[str, Any]:
            return _provenance(plan, donor, recipient, new, old)

        written = checkpoints.write(recipient, out, values, provenance, crc=crc)
        if checked:  # nothing was left of the donor for the one pass to read
            written.checked[str(donor.path)] = checked
        return Applied(plan, written, notes)


@contextlib.contextmanager
def opened(donor: Path, recipient: Path) -> Iterator[Pair]:
    """Both files, open: planning and moving within the block reads their structure once.

    Raises:
        InputError: one of them cannot be read.
    """
    with checkpoints.open(donor) as theirs, checkpoints.open(recipient) as ours:
        yield Pair(theirs, ours)


def undo_file(out: pathlib.Path) -> pathlib.Path:
    return out.with_name(f"{out.name}.undo")


def _check_out(out: pathlib.Path, inputs, overwrite: bool) -> None:
    """Raises InputError if an output would replace an input, or what it should not."""
    for path in (out, undo_file(out)):
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
