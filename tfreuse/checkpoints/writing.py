"""A copy of a recipient with some of its arrays replaced: all of it, or nothing.

One pass over the files checks them and writes a temporary file in the output's folder; its
checksum is mended, provenance is added; then the file is synced and renamed. What the checks
find makes the temporary file go away. No model is built, and a few MB are in memory at a time.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tfreuse import files
from tfreuse.checkpoints import edits, onepass
from tfreuse.checkpoints import provenance as provenance_module
from tfreuse.checkpoints.checkpoint import CRC32, UNVERIFIED, Checkpoint
from tfreuse.checkpoints.edits import Value
from tfreuse.checkpoints.journal import Journal
from tfreuse.errors import InputError

Checksums = Mapping[str, int]  # CRC-32 by the recipient's variable path
Provenance = Mapping[str, Any] | Callable[[Checksums, Checksums], Mapping[str, Any]]
SUFFIXES = {"keras": ".keras", "weights_h5": ".weights.h5", "legacy_h5": ".h5"}


@dataclasses.dataclass(frozen=True)
class WriteReport:
    """What `write` did.

    `undo_path` is what `undo` takes, None if none was asked for. `copied` is how the rest of
    the recipient was copied. `checked` tells of every file that was read, by its path, how
    its bytes were checked: "crc32" or "unverified".
    """

    path: str
    undo_path: str | None
    variables: int
    bytes: int
    copied: str
    checked: dict[str, str]


def write(
    recipient: Checkpoint,
    out_path: str | os.PathLike,
    values: Mapping[str, Value],
    provenance: Provenance,
    *,
    crc: bool = True,
    undo: bool = True,
) -> WriteReport:
    """What `tfreuse.checkpoints.write` says, of an open recipient."""
    out_path = pathlib.Path(out_path)
    donors = {id(v[0]): v[0] for v in values.values() if isinstance(v, tuple)}
    _check_output(recipient, out_path, donors.values())
    made = (edits.make(recipient, path, value) for path, value in values.items())
    changes = sorted(made, key=lambda edit: edit.target.extent)
    undo_path = pathlib.Path(f"{out_path}.undo") if undo else None
    try:
        with _temporary(out_path, recipient, undo_path) as (descriptor, undo_file):
            journal = Journal(descriptor, undo_file)
            passed = journal.copied(
                lambda into: onepass.run(recipient, changes, descriptor, into, crc)
            )
            crcs = [
                {edit.variable.path: checksum for edit, checksum in zip(changes, side)}
                for side in (passed.new, passed.old)
            ]
            known = provenance(*crcs) if callable(provenance) else provenance
            text = provenance_module.text(known)
            deltas = [old ^ new for old, new in zip(passed.old, passed.new)]
            provenance_module.finish(recipient, journal, changes, deltas, text)
            journal.close({"crc": passed.whole})
    except OSError as error:
        raise InputError(
            f"{out_path} cannot be written: {error.strerror or error}. Nothing changed."
        ) from error
    checked = {
        str(donor.path): CRC32 if crc and donor.members else UNVERIFIED
        for donor in donors.values()
    }
    proof = CRC32 if crc and recipient.members else UNVERIFIED
    checked[str(recipient.path)] = proof
    size = sum(edit.target.nbytes for edit in changes)
    return WriteReport(
        str(out_path),
        str(undo_path) if undo_path else None,
        len(changes),
        size,
        passed.how,
        checked,
    )


def _check_output(recipient: Checkpoint, out_path: pathlib.Path, donors) -> None:
    suffix = SUFFIXES.get(recipient.kind)
    if suffix is None:
        raise InputError(
            f"a {recipient.kind} file cannot be written; the recipient must be one of "
            f"{', '.join(SUFFIXES.values())}. Load {recipient.path} and save it so."
        )
    if not out_path.name.endswith(suffix):
        raise InputError(
            f"the output must end in {suffix}, as its recipient {recipient.path} does; got "
            f"{out_path}."
        )
    if out_path.is_symlink() or (out_path.exists() and not out_path.is_file()):
        raise InputError(f"{out_path} is not a regular file; choose another name.")
    if out_path.exists():
        for given in (recipient, *donors):
            if os.path.samestat(os.fstat(given.source.descriptor), out_path.stat()):
                raise InputError(
                    f"{out_path} is the same file as {given.path}; an input is never "
                    "written to. Choose another name for the output."
                )


@contextlib.contextmanager
def _temporary(out_path: pathlib.Path, recipient: Checkpoint, undo_path):
    """Descriptor of the file that becomes `out_path`, and the open undo file or None.

    The undo file is renamed first: an output never stands there without it.
    """
    with contextlib.ExitStack() as stack:
        suffix = SUFFIXES[recipient.kind]
        path = stack.enter_context(files.replacing(out_path, suffix))
        undo_file = None
        if undo_path is not None:
            undo_temporary = stack.enter_context(files.replacing(undo_path))
            undo_file = stack.enter_context(open(undo_temporary, "wb"))
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        yield descriptor, undo_file
