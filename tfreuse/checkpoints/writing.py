"""A copy of a recipient with some of its arrays replaced: all of it, or nothing.

The recipient is copied to a temporary name in the output's folder, arrays are written in
place at their offsets, the checksum is mended, provenance is added; then the file is synced
and renamed. No model is built, and at most a few MB are in memory at a time.
"""

import contextlib
import dataclasses
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfreuse import files
from tfreuse.checkpoints import crc as crc_module
from tfreuse.checkpoints import provenance as provenance_module
from tfreuse.checkpoints.archive import Member
from tfreuse.checkpoints.arrays import Stored
from tfreuse.checkpoints.checkpoint import CRC32, UNVERIFIED, Checkpoint
from tfreuse.checkpoints.journal import Journal
from tfreuse.checkpoints.source import PIECE, Source
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable

Value = np.ndarray | tuple[Checkpoint, Variable]
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
    provenance: Mapping[str, Any],
    *,
    crc: bool = True,
    undo: bool = True,
) -> WriteReport:
    """What `tfreuse.checkpoints.write` says, of an open recipient."""
    out_path = pathlib.Path(out_path)
    donors = {id(v[0]): v[0] for v in values.values() if isinstance(v, tuple)}
    _check_output(recipient, out_path, donors.values())
    edits = sorted(
        (_edit(recipient, path, value) for path, value in values.items()),
        key=lambda edit: edit.target.extent,
    )
    text = provenance_module.text(provenance)
    checked = {
        str(donor.path): donor.verify() if crc else UNVERIFIED
        for donor in donors.values()
    }
    undo_path = pathlib.Path(f"{out_path}.undo") if undo else None
    try:
        with _temporary(out_path, recipient, undo_path) as (descriptor, undo_file):
            copied, checksum = _copy(recipient, descriptor, crc)
            journal = Journal(descriptor, undo_file)
            deltas = [edit.carry_out(journal) for edit in edits]
            provenance_module.finish(recipient, journal, edits, deltas, text)
            journal.close({"crc": checksum})
    except OSError as error:
        raise InputError(
            f"{out_path} cannot be written: {error.strerror or error}. Nothing changed."
        ) from error
    proof = CRC32 if crc and recipient.members else UNVERIFIED
    checked[str(recipient.path)] = proof
    size = sum(edit.target.nbytes for edit in edits)
    return WriteReport(
        str(out_path),
        str(undo_path) if undo_path else None,
        len(edits),
        size,
        copied,
        checked,
    )


@dataclasses.dataclass(frozen=True)
class Edit:
    """One array to write: where, what, and what it must be."""

    variable: Variable
    target: Stored
    value: Value

    def carry_out(self, journal: Journal) -> int:
        """Writes the value; returns by how much the CRC-32 of the array's bytes changed.

        Raises:
            InputError: a number is not finite, or is a variance below zero.
        """
        at, old_crc, new_crc = self.target.extent[0], 0, 0
        old_pieces = self.target.pieces()
        for new in self._pieces():
            old = next(old_pieces)
            old_crc, new_crc = zlib.crc32(old, old_crc), zlib.crc32(new, new_crc)
            journal.write(at, new)
            at += len(old)
        return old_crc ^ new_crc

    def _pieces(self) -> Iterator[memoryview]:
        """The value's bytes in the recipient's byte order, in the recipient's pieces."""
        if isinstance(self.value, tuple):
            source = self.value[0].stored(self.value[1])
            pieces, dtype = source.pieces(), source.dtype
        else:
            array = np.ascontiguousarray(self.value)
            dtype = array.dtype
            flat = array.reshape(-1).view(np.uint8)
            step = PIECE // dtype.itemsize * dtype.itemsize
            pieces = (flat[at : at + step] for at in range(0, flat.size, step))
        for piece in pieces:
            numbers = np.frombuffer(piece, dtype)
            self._check(numbers)
            if dtype != self.target.dtype:  # the other byte order
                numbers = numbers.astype(self.target.dtype)
            yield memoryview(numbers.view(np.uint8))

    def _check(self, numbers: np.ndarray) -> None:
        if numbers.dtype.kind in "fV" and not np.isfinite(numbers).all():
            raise InputError(
                f"the value for {self.variable} has numbers that are not finite."
            )
        if self.variable.role == "moving_variance" and (numbers < 0).any():
            raise InputError(
                f"the value for {self.variable} has a variance below zero."
            )


def _edit(recipient: Checkpoint, path: str, value: Value) -> Edit:
    target = recipient.stored(path)
    variable = recipient.variable(path)
    if isinstance(value, tuple):
        source = value[0].stored(value[1])
        shape, dtype = source.shape, source.dtype
    else:
        shape, dtype = value.shape, value.dtype
    native = str(dtype.newbyteorder("="))
    if shape != variable.shape or native != variable.dtype:
        raise InputError(
            f"the value for {variable} is {native} {shape}, {printable(recipient.path)} has "
            f"{variable.dtype} {variable.shape}. Name an adapter, or leave the layer out."
        )
    if target.extent is None:
        raise InputError(
            f"{variable} of {printable(recipient.path)} cannot be written in place: "
            f"{target.why or 'it is empty'}. Save the model again with Keras."
        )
    return Edit(variable, target, value)


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


def _copy(recipient: Checkpoint, descriptor: int, crc: bool) -> tuple[str, int | None]:
    """Copies the recipient; returns how, and the CRC-32 of all of it if it was read."""
    source = recipient.source
    if not crc:
        return _copy_unread(source, descriptor), None
    total, at = 0, 0
    for start, size, member in _segments(source, recipient.members):
        checksum = 0
        for piece in source.pieces(start, size):
            checksum = zlib.crc32(piece, checksum)
            at += _write(descriptor, piece, at)
        if member is not None:
            member.check_crc(checksum)
        total = crc_module.combine(total, checksum, size)
    return "read and write", total


def _segments(
    source: Source, members: tuple[Member, ...]
) -> Iterator[tuple[int, int, Member | None]]:
    """(first byte, bytes, member) that tile the file."""
    at = 0
    for member in sorted(members, key=lambda m: m.offset):
        yield at, member.offset - at, None
        yield member.offset, member.data.size, member
        at = member.offset + member.data.size
    yield at, source.size - at, None


def _copy_unread(source: Source, descriptor: int) -> str:
    """Lets the system copy, which shares blocks where the file system can."""
    at = 0
    if hasattr(os, "copy_file_range"):
        with contextlib.suppress(
            OSError
        ):  # not on every file system: read and write then
            while at < source.size:
                count = os.copy_file_range(
                    source.descriptor, descriptor, 2 * PIECE, at, at
                )
                if count == 0:
                    break
                at += count
            if at == source.size:
                return "copy_file_range"
    for piece in source.pieces(at):
        at += _write(descriptor, piece, at)
    return "read and write"


def _write(descriptor: int, piece: memoryview, at: int) -> int:
    done = 0
    while done < len(piece):
        done += os.pwrite(descriptor, piece[done:], at + done)
    return done
