"""The values that a plan moves between two open files, checked, a few MB at a time."""

import functools
import hashlib
from collections.abc import Iterator

import numpy as np

from tfreuse import plan as plan_module
from tfreuse.checkpoints import Checkpoint, Value
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.errors import InputError
from tfreuse.moving import aligning
from tfreuse.moving.pairs import paired
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


class Moved:
    """What a plan's arrays become on their way from one open file to another."""

    def __init__(self, plan: Plan, donor: Checkpoint, recipient: Checkpoint) -> None:
        self.plan, self.donor, self.recipient = plan, donor, recipient

    def values(self) -> dict[str, Value]:
        """What the recipient's variables shall be, by path, as `checkpoints.write` takes it.

        Only adapted arrays are in memory; others are read when they are written.
        """
        return {
            entry.recipient.path: self._adapted(entry)
            if entry.adapters
            else (self.donor, entry.donor)
            for entry in self.plan.copies
        }

    def equal(self, entry: Entry) -> bool:
        """Whether the recipient has what it would get, bit for bit; reads up to a difference."""
        if entry.adapters:
            wanted = digest(self._adapted(entry))
            return wanted == self.recipient.digest(entry.recipient)
        theirs = self.donor.stored(entry.donor)
        ours = self.recipient.stored(entry.recipient)
        if theirs.dtype == ours.dtype and theirs.extent and ours.extent:
            pieces = zip(_growing(theirs), _growing(ours), strict=True)
            return all(left == right for left, right in pieces)
        return theirs.digest() == ours.digest()

    def _adapted(self, entry: Entry) -> np.ndarray:
        names = [name for name in entry.adapters if name != "align"]
        value = None
        if len(names) < len(entry.adapters):
            value = self._in_order.get(entry.donor.path)
        if value is None:
            value = self.donor.read(entry.donor)
        old = self.recipient.read(entry.recipient)
        return plan_module.adapt(names, value, old, entry.recipient)

    @functools.cached_property
    def _in_order(self) -> dict[str, np.ndarray]:
        pairs = paired(self.plan, self.donor, self.recipient)
        return aligning.aligned(pairs, self.donor, self.recipient)


def digest(value: Value) -> str:
    """SHA-256, in hex, of the value's bytes in little-endian order."""
    if isinstance(value, tuple):
        return value[0].digest(value[1])
    little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
    return hashlib.sha256(little.reshape(-1).view(np.uint8)).hexdigest()


def _growing(stored: StoredArray) -> Iterator[memoryview]:
    """The bytes in pieces, the first of them small: most arrays differ at once."""
    at, size = 0, _FIRST
    while at < stored.nbytes:
        size = min(size, stored.nbytes - at)
        yield from stored.source.pieces(stored.offset + at, size)
        at, size = at + size, _THEN
