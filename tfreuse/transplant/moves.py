"""The values that a plan moves from one open model to another, adapters applied."""

import functools

import numpy as np

from tfreuse import plan as plan_module
from tfreuse.plan import Entry, Plan, soundness
from tfreuse.transplant import alignment, opening, pairing
from tfreuse.transplant.opening import OpenModel


class Moves:
    """The values that the plan's variables of the recipient shall hold.

    Adapted arrays are computed when they are asked for; with the adapter `align`, all arrays
    of the donor that alignment permutes are kept in memory from then on.
    """

    def __init__(self, plan: Plan, donor: OpenModel, recipient: OpenModel) -> None:
        self.plan, self.donor, self.recipient = plan, donor, recipient

    def adapted(self, entry: Entry) -> np.ndarray:
        """Returns the donor's array after the entry's adapters."""
        names = [name for name in entry.adapters if name != "align"]
        value = None
        if len(names) < len(entry.adapters):
            value = self._aligned.get(entry.donor.path)
        present = self.recipient.read(entry.recipient)
        if names in (["zero"], ["one"]):  # which take no value of the donor
            value = present
        if value is None:  # not aligned, or an array that alignment leaves alone
            value = self.donor.read(entry.donor)
        to_pytorch = self.recipient.pytorch and not self.donor.pytorch
        return plan_module.adapt(names, value, present, entry.recipient, to_pytorch)

    def digest(self, entry: Entry) -> str:
        """Returns the SHA-256 of the array that the recipient shall hold."""
        if entry.adapters:
            return opening.digest(self.adapted(entry))
        return self.donor.digest(entry.donor)

    def digest_in_file(self, entry: Entry) -> str:
        """Returns the SHA-256 of the bytes that the recipient, a file, shall hold."""
        stored = self.recipient.stored(entry.recipient.path)
        if stored.in_file is stored:
            return self.digest(entry)
        value = self.adapted(entry) if entry.adapters else self.donor.read(entry.donor)
        return opening.digest(self.recipient.laid_out(entry.recipient.path, value))

    def equal(self, entry: Entry) -> bool:
        """Returns whether the recipient holds the array already, bit for bit.

        Reads both up to the first difference.
        """
        if entry.adapters:
            return self.digest(entry) == self.recipient.digest(entry.recipient)
        pieces = zip(
            self.donor.growing_pieces(entry.donor),
            self.recipient.growing_pieces(entry.recipient),
            strict=True,
        )
        # as bytes: memoryviews are compared number by number, 20 times as slowly
        return all(bytes(donor) == bytes(recipient) for donor, recipient in pieces)

    def check(self, *, adapted_only: bool = False) -> None:
        """Raises InputError if a donor's value is not finite, or a variance below zero."""
        for entry in self.plan.copies:
            if entry.adapters or not adapted_only:
                numbers = self.donor.numbers(entry.donor)
                fault = soundness.first_fault(numbers, entry.donor.role)
                soundness.refuse(entry.recipient, fault)

    @functools.cached_property
    def _aligned(self) -> dict[str, np.ndarray]:
        ties = alignment.ties(self.donor)  # first: values without a graph have no pairs
        entries = pairing.all_pairs(self.plan, self.donor, self.recipient)
        return alignment.aligned(ties, entries, self.donor, self.recipient)
