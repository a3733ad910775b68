"""Writes a copy of a recipient with some arrays replaced; all of it or nothing.

Order of the writes: (1) one pass over all files checks them and fills a temporary file in the
output's folder; (2) its checksums are updated and provenance is added; (3) the undo file, then
the output, is synced and renamed. A failed check or a crash leaves the previous output. No model is
built, and memory stays within a few MB.
"""

import contextlib
import os
import pathlib
from collections.abc import Mapping

from tfreuse import files
from tfreuse.checkpoints import edits, onepass, restoring
from tfreuse.checkpoints import provenance as provenance_module
from tfreuse.checkpoints.checkpoint import CRC32, UNVERIFIED, Checkpoint
from tfreuse.checkpoints.journal import Journal
from tfreuse.checkpoints.writable import (
    RECIPIENT,
    SUFFIXES,
    Provenance,
    Value,
    WriteReport,
    check_recipient,
    check_undo,
)
from tfreuse.errors import InputError


def write(
    recipient: Checkpoint,
    out_path: str | os.PathLike,
    values: Mapping[str, Value],
    provenance: Provenance,
    *,
    crc: bool = True,
    undo: str = RECIPIENT,
) -> WriteReport:
    """Implements `tfreuse.checkpoints.write` for an open recipient."""
    check_undo(undo)
    out_path = pathlib.Path(out_path)
    donors = {id(v[0]): v[0] for v in values.values() if isinstance(v, tuple)}
    _check_output(recipient, out_path, donors.values())
    changes = sorted(
        (edits.make(recipient, path, value) for path, value in values.items()),
        key=lambda edit: edit.target.extent,
    )
    undo_path = pathlib.Path(f"{out_path}.undo")
    try:
        with _temporary(out_path, recipient, undo_path) as (descriptor, undo_file):
            origin = None
            if undo == RECIPIENT:
                origin = restoring.recipient_paths(recipient.source.path, out_path)
            journal = Journal(descriptor, undo_file, origin)
            copied = journal.record_copy(
                lambda into: onepass.run(recipient, changes, descriptor, into, crc)
            )
            if callable(provenance):
                paths = [edit.variable.path for edit in changes]
                provenance = provenance(
                    dict(zip(paths, copied.new)), dict(zip(paths, copied.old))
                )
            text = provenance_module.text(
                provenance_module.following(provenance, recipient.provenance)
            )
            deltas = [old ^ new for old, new in zip(copied.old, copied.new)]
            provenance_module.finish(recipient, journal, changes, deltas, text)
            journal.close({"crc": copied.whole})
    except OSError as error:
        raise InputError(
            f"{out_path} cannot be written: {error.strerror or error}. Nothing changed."
        ) from error
    checked = {
        str(donor.path): CRC32 if crc and donor.members else UNVERIFIED
        for donor in donors.values()
    }
    checked[str(recipient.path)] = CRC32 if crc and recipient.members else UNVERIFIED
    size = sum(edit.target.nbytes for edit in changes)
    return WriteReport(
        str(out_path),
        str(undo_path),
        len(changes),
        size,
        copied.method,
        checked,
    )


def _check_output(recipient: Checkpoint, out_path: pathlib.Path, donors) -> None:
    """Raises InputError unless `out_path` has the right suffix and is not an input."""
    check_recipient(recipient)
    suffix = SUFFIXES[recipient.kind]
    if not out_path.name.endswith(suffix):
        raise InputError(
            f"the output must end in {suffix}, as its recipient {recipient.path} does; got "
            f"{out_path}."
        )
    if out_path.is_symlink() or (out_path.exists() and not out_path.is_file()):
        raise InputError(f"{out_path} is not a regular file; choose another name.")
    if out_path.exists():
        for file in (recipient, *donors):
            if os.path.samestat(os.fstat(file.source.descriptor), out_path.stat()):
                raise InputError(
                    f"{out_path} is the same file as {file.path}; an input is never "
                    "written to. Choose another name for the output."
                )


@contextlib.contextmanager
def _temporary(out_path: pathlib.Path, recipient: Checkpoint, undo_path):
    """Yields the descriptor of the file that becomes `out_path`, and the open undo file.

    The contexts end in reverse order, so the undo file is renamed before the output: after a
    crash in between, an output never lacks its undo file.
    """
    with contextlib.ExitStack() as stack:
        suffix = SUFFIXES[recipient.kind]
        path = stack.enter_context(files.replacing(out_path, suffix))
        undo_temporary = stack.enter_context(files.replacing(undo_path))
        undo_file = stack.enter_context(open(undo_temporary, "wb"))
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        yield descriptor, undo_file
