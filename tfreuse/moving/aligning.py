"""The adapter `align` between two open files: a donor's channels in the recipient's order.

The donor's file must tell its graph; of the recipient only the arrays matter. The order is
chosen by all trained arrays that the two have in common, whatever the plan moves, so those
arrays of both are in memory, in double precision: about six times what the donor weighs.
"""

import dataclasses
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from tfreuse import alignment
from tfreuse.checkpoints import Checkpoint
from tfreuse.errors import InputError
from tfreuse.moving.graph import calls
from tfreuse.plan import Entry, Plan, Variable
from tfreuse.plan.variables import by_layer


class Readable(Protocol):
    """An open file, or a live model as one."""

    def read(self, variable: Variable) -> np.ndarray: ...


def aligns(plan: Plan) -> bool:
    """Whether an array that the plan moves is to be aligned."""
    return any("align" in entry.adapters for entry in plan.copies)


def done(plan: Plan) -> Plan:
    """The plan for arrays that have been aligned already."""
    entries = [
        dataclasses.replace(
            entry, adapters=tuple(name for name in entry.adapters if name != "align")
        )
        for entry in plan.entries
    ]
    return dataclasses.replace(plan, entries=tuple(entries))


def noted(plan: Plan, pairs: Iterable[Entry], donor: Checkpoint) -> Plan:
    """The plan with a note on what alignment can do and by what it would choose.

    `pairs` are all arrays of the two files that belong together.

    Raises:
        InputError: the donor's file tells no graph, or there is nothing to choose.
    """
    ties = _ties(donor)
    pairs = [entry for entry in pairs if entry.donor.path in ties.trained]
    free = {
        path: {group for segments in axes for group, _ in segments or ()}
        & {*ties.sizes}
        for path, axes in ties.axes.items()
    }
    told = set().union(*(free[e.donor.path] for e in pairs if e.donor.path in free))
    if not told:
        raise InputError(
            "the adapter align changes nothing: the donor has no channels that may change "
            "places and are compared with the recipient's. Leave it out."
        )
    fixed = sum(
        not free.get(entry.donor.path, set()) & told
        for entry in plan.copies
        if "align" in entry.adapters
    )
    note = (
        f"align: {sum(ties.sizes[group] for group in told):,} channels in {len(told)} groups "
        f"may change places, as {len(pairs)} trained arrays that both models have agree best "
        f"(a local optimum); {fixed} of the moved arrays have none of these channels"
    )
    return dataclasses.replace(plan, notes=(*plan.notes, note))


def aligned(
    pairs: Iterable[Entry], donor: Checkpoint, recipient: Readable
) -> dict[str, np.ndarray]:
    """The donor's arrays with channels in the order that fits the recipient's best, by path.

    Arrays without channels, such as those of a layer that is not known, are left out.

    Raises:
        InputError: the donor's file tells no graph, or a value is not finite.
    """
    ties = _ties(donor)
    reference = {
        entry.donor.path: recipient.read(entry.recipient)
        for entry in pairs
        if entry.donor.path in ties.axes and entry.donor.path in ties.trained
    }
    values = {path: donor.read(path) for path in ties.axes}
    order = alignment.match(ties, reference, values)
    return alignment.permute(ties, values, order)


def _ties(donor: Checkpoint) -> alignment.Ties:
    return alignment.tie(*calls(donor), by_layer(donor.variables))
