"""Permutes a network's channels into the order of another's; the function stays the same.

The order of a layer's channels is arbitrary: permute the outputs of a convolution, the batch
normalization after it and the inputs of each layer that reads it, and the network computes the
same function. Two trained networks may hold like features at different indices. `match` finds
the order in which the donor's kernels agree most with the recipient's: weight matching of
Ainsworth et al. 2023, "Git Re-Basin" (arXiv:2209.04836), algorithm 1, by assignment problems.

    ties = tie(calls, outputs, layers)            # which axes share an order
    order = match(ties, reference, values)        # {group: permutation}
    same_function = permute(ties, values, order)  # variable path -> array

A group is a set of axes that must be permuted alike: residual sums tie their terms,
concatenations lay groups side by side. Groups that reach an input, an output, or a layer of
unknown meaning are fixed.

The adapter `align` of a plan matches by all trained arrays that two models have in common,
whatever the plan moves. Of both models those arrays are in memory then, in double precision:
about six times the size of the donor. No TensorFlow here.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from tfreuse.errors import InputError, printable
from tfreuse.plan import Entry, Plan
from tfreuse.plan.variables import by_layer
from tfreuse.transplant.opening import OpenModel
from tfreuse.transplant.tying import Segments, Ties, tie

__all__ = ["Order", "Segments", "Ties", "match", "permute", "tie", "ties"]

Order = dict[int, np.ndarray]  # group -> permutation; new channel i is old order[i]
_Pairs = Mapping[str, tuple[np.ndarray, np.ndarray]]  # (reference, values) by path
_SWEEPS = 100


def permute(
    ties: Ties, values: Mapping[str, np.ndarray], order: Mapping[int, np.ndarray]
) -> dict[str, np.ndarray]:
    """Permutes the values' channels; the network computes the same function.

    Equal up to rounding: sums over channels are taken in another order.
    """
    permuted = dict(values)
    for path, axes in ties.axes.items():
        if path in permuted:
            permuted[path] = _ordered(permuted[path], axes, order)
    return permuted


def match(
    ties: Ties, reference: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> Order:
    """Finds the order in which `values` agree most with `reference`.

    Maximises the sum of products of trained parameters, one group at a time given the others:
    first from input to output, over the groups that have an order already, then in turn until
    none changes. Each step is optimal (an assignment problem), the whole a local optimum.

    Args:
        ties: of the network that `values` belong to.
        reference, values: arrays by variable path; only paths that both have, with equal
            shapes, are compared.

    Raises:
        InputError: a number to compare is not finite.
    """
    pairs = {
        path: (np.asarray(reference[path], np.float64), np.asarray(value, np.float64))
        for path, value in values.items()
        if path in ties.trained
        and path in ties.axes
        and path in reference
        and np.shape(reference[path]) == np.shape(value)
    }
    for path, pair in pairs.items():
        if not all(np.isfinite(side).all() for side in pair):
            raise InputError(
                f"{printable(path)} has values that are not finite; channels cannot be "
                "matched by them."
            )
    positions = _positions(ties, pairs)
    order: Order = {}
    for group in ties.sizes:
        if group in positions:
            settled = [
                position
                for position in positions[group]
                if _settled(ties, position[0], order, group)
            ]
            score = _score(ties, pairs, settled or positions[group], order, group)
            order[group] = _best(score)
    for _ in range(_SWEEPS):
        improved = [_improve(ties, pairs, positions[g], order, g) for g in order]
        if True not in improved:
            break
    return order


def _improve(ties: Ties, pairs: _Pairs, positions, order: Order, group: int) -> bool:
    """Improves the group's permutation, given the others; returns whether it could."""
    score, old = _score(ties, pairs, positions, order, group), order[group]
    new, rows = _best(score), np.arange(len(old))
    gain = score[rows, new].sum() - score[rows, old].sum()
    if gain <= 1e-9 * np.abs(score).max():  # rounding: would go round in circles
        return False
    order[group] = new
    return True


def _best(score: np.ndarray) -> np.ndarray:
    """Returns the permutation with the largest sum of scores."""
    from scipy import optimize  # here, so that plans without alignment need not wait

    return optimize.linear_sum_assignment(score, maximize=True)[1]


def _ordered(
    value: np.ndarray,
    axes: Iterable[Segments | None],
    order: Mapping[int, np.ndarray],
    without: tuple[int, int] | None = None,
) -> np.ndarray:
    """Permutes the axes of `value`, but for the (axis, group) in `without`."""
    for axis, segments in enumerate(axes):
        if segments is None:
            continue
        index, start = [], 0
        for group, size in segments:
            steps = np.arange(size)
            if group in order and (axis, group) != without:
                steps = order[group]
            index.append(start + steps)
            start += size
        value = np.take(value, np.concatenate(index), axis=axis)
    return value


def _positions(
    ties: Ties, paths: Iterable[str]
) -> dict[int, list[tuple[str, int, int]]]:
    """Returns (variable path, axis, first channel) of each occurrence of each group."""
    positions: dict[int, list[tuple[str, int, int]]] = {}
    for path in paths:
        for axis, segments in enumerate(ties.axes[path]):
            start = 0
            for group, size in segments or ():
                if group in ties.sizes:
                    positions.setdefault(group, []).append((path, axis, start))
                start += size
    return positions


def _score(
    ties: Ties,
    pairs: _Pairs,
    positions: Iterable[tuple[str, int, int]],
    order: Order,
    group: int,
) -> np.ndarray:
    """Returns [n, n]: agreement of the reference's channel i with channel j of the values."""
    size = ties.sizes[group]
    score = np.zeros((size, size))
    for path, axis, start in positions:
        reference, values = pairs[path]
        values = _ordered(values, ties.axes[path], order, (axis, group))
        rows = slice(start, start + size)
        a = np.moveaxis(reference, axis, 0)[rows].reshape(size, -1)
        b = np.moveaxis(values, axis, 0)[rows].reshape(size, -1)
        score += a @ b.T
    return score


def _settled(ties: Ties, path: str, order: Order, group: int) -> bool:
    """Returns whether all other groups of the variable have an order.

    Products of channels in an unknown order mean nothing.
    """
    groups = {g for segments in ties.axes[path] for g, _ in segments or ()}
    return all(g == group or g in order or g not in ties.sizes for g in groups)


# The adapter `align` of a plan


def ties(model: OpenModel) -> Ties:
    """Finds the axes of a model's variables that share an order.

    Raises:
        InputError: the model is no graph of layers, or has channels first.
    """
    return tie(*model.calls(), by_layer(model.variables))


def aligns(plan: Plan) -> bool:
    """Returns whether the plan moves an array that must be aligned."""
    return any("align" in entry.adapters for entry in plan.copies)


def note(plan: Plan, pairs: Iterable[Entry], donor: OpenModel) -> str:
    """Returns the plan's note on the channels that alignment can permute.

    Args:
        plan: has the adapter `align`.
        pairs: all pairs of variables of donor and recipient.
        donor: the model whose channels are permuted.

    Raises:
        InputError: the donor is no graph of layers, or no channel can be permuted.
    """
    donor_ties = ties(donor)
    pairs = [entry for entry in pairs if entry.donor.path in donor_ties.trained]
    free = {
        path: {group for segments in axes for group, _ in segments or ()}
        & {*donor_ties.sizes}
        for path, axes in donor_ties.axes.items()
    }
    groups = set().union(*(free.get(entry.donor.path, ()) for entry in pairs))
    if not groups:
        raise InputError(
            "the adapter align changes nothing: the donor has no channels that may change "
            "places and are compared with the recipient's. Leave it out."
        )
    fixed = sum(
        not free.get(entry.donor.path, set()) & groups
        for entry in plan.copies
        if "align" in entry.adapters
    )
    channels = sum(donor_ties.sizes[group] for group in groups)
    return (
        f"align: {channels:,} channels in {len(groups)} groups "
        f"may change places, as {len(pairs)} trained arrays that both models have agree best "
        f"(a local optimum); {fixed} of the moved arrays have none of these channels"
    )


def aligned(
    donor_ties: Ties, pairs: Iterable[Entry], donor: OpenModel, recipient: OpenModel
) -> dict[str, np.ndarray]:
    """Returns the donor's arrays, by path, with channels in the order of the recipient's.

    Arrays without channels, such as those of an unknown layer, are left out.

    Raises:
        InputError: a value is not finite.
    """
    variables = {variable.path: variable for variable in donor.variables}
    values = {path: donor.read(variables[path]) for path in donor_ties.axes}
    reference = {
        entry.donor.path: recipient.read(entry.recipient)
        for entry in pairs
        if entry.donor.path in donor_ties.axes
        and entry.donor.path in donor_ties.trained
    }
    return permute(donor_ties, values, match(donor_ties, reference, values))
