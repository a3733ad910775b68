"""The values that a plan moves between two open files, checked, a few MB at a time."""

import hashlib
from collections.abc import Iterator

import numpy as np

from tfreuse import plan as plan_module
from tfreuse.checkpoints import Checkpoint, Value
from tfreuse.checkpoints.arrays import Stored
from tfreuse.errors import InputError
from tfreuse.plan import Entry, Plan, Variable

_FIRST, _THEN = 2**12, 2**20  # bytes that are compared at a time


def check(plan: Plan, donor: Checkpoint) -> None:
    """Raises InputError if a value to move is not finite, or a variance below zero."""
    for entry in plan.copies:
        fault = unsound(donor, entry.donor)
        if fault:
            raise InputError(f"donor's {entry.donor} has {fault}. Nothing was written.")


def unsound(checkpoint: Checkpoint, variable: Variable) -> str:
    """What is wrong with a variable's values; empty if nothing is."""
    dtype = checkpoint.stored(variable).dtype
    for piece in checkpoint.pieces(variable):
        numbers = np.frombuffer(piece, dtype)
        if dtype.kind in "fV" and not np.isfinite(numbers).all():
            return "values that are not finite"
        if variable.role == "moving_variance" and (numbers < 0).any():
            return "a variance below zero"
    return ""


def expected(plan: Plan, donor: Checkpoint, recipient: Checkpoint) -> dict[str, Value]:
    """What the recipient's variables shall be, by path, as `checkpoints.write` takes it.

    Only adapted arrays are in memory; others are read when they are written.
    """
    return {
        entry.recipient.path: _adapted(entry, donor, recipient)
        if entry.adapters
        else (donor, entry.donor)
        for entry in plan.copies
    }


def digest(value: Value) -> str:
    """SHA-256, in hex, of the value's bytes in little-endian order."""
    if isinstance(value, tuple):
        return value[0].digest(value[1])
    little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
    return hashlib.sha256(little.reshape(-1).view(np.uint8)).hexdigest()


def equal(entry: Entry, donor: Checkpoint, recipient: Checkpoint) -> bool:
    """Whether the recipient has, bit for bit, what it would get; reads up to a difference."""
    if not entry.adapters:
        theirs, ours = donor.stored(entry.donor), recipient.stored(entry.recipient)
        if theirs.dtype == ours.dtype and theirs.extent and ours.extent:
            return all(
                left == right
                for left, right in zip(_growing(theirs), _growing(ours), strict=True)
            )
        return donor.digest(entry.donor) == recipient.digest(entry.recipient)
    value = _adapted(entry, donor, recipient)
    return digest(value) == recipient.digest(entry.recipient)


def _growing(stored: Stored) -> Iterator[memoryview]:
    """The bytes in pieces, the first of them small: most arrays differ at once."""
    at, size = 0, _FIRST
    while at < stored.nbytes:
        size = min(size, stored.nbytes - at)
        yield from stored.source.pieces(stored.offset + at, size)
        at, size = at + size, _THEN


def _adapted(entry: Entry, donor: Checkpoint, recipient: Checkpoint) -> np.ndarray:
    value, old = donor.read(entry.donor), recipient.read(entry.recipient)
    return plan_module.adapt(entry.adapters, value, old, entry.recipient)
