"""Which images have labels: nested subsets, and folds that keep a subject together.

    chosen = nested(histogram, [8, 16, 64], seed=0, groups=by_prefix(ids))
    chosen[16][:8] == chosen[8]              # nested: the smaller is the larger's beginning
    for rest, held in folds(32, 5, seed=0, groups=...): ...

Plain NumPy; the same arguments give the same indices.
"""

from collections.abc import Sequence

import numpy as np

from tfreuse.errors import InputError


def nested(
    masks_histogram: np.ndarray,
    sizes: Sequence[int],
    seed: int,
    groups: Sequence[str] | None = None,
) -> dict[int, np.ndarray]:
    """One order of the images, cut off at each size.

    Stratified one image at a time (Sechidis et al. 2011): the class, or the group, that is
    furthest behind its share of images gets the next one, the rarest first while some class
    has none. Which of the images that hold it is left to chance, so that images with much in
    them are not preferred.

    Args:
        masks_histogram: pixels of each class in each image, [N, C].
        sizes: how many images; each at least 1 and at most N.
        seed: of the order.
        groups: of each image [N], e.g. its subject; each gets its share too.

    Returns:
        {size: int64 [size]}, in the order in which they were chosen.

    Raises:
        InputError: a size is out of range.
    """
    present = np.asarray(masks_histogram) > 0
    count = len(present)
    wrong = [size for size in sizes if not 1 <= size <= count]
    if wrong:
        raise InputError(
            f"expected subsets of 1 to {count} images, got {wrong}; there are {count} images "
            "with labels."
        )
    if groups is not None:
        names = np.asarray(_checked(groups, count))
        present = np.concatenate(
            [present, names[:, None] == np.unique(names)[None]], axis=1
        )
    order = _order(present[:, present.any(axis=0)], max(sizes, default=0), seed)
    return {size: order[:size] for size in sizes}


def _order(present: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The first `size` images of the stratified order; `present` bool [N, C]."""
    shuffled = np.random.default_rng(seed).permutation(len(present))
    waiting = present[shuffled]  # the order within a class is that of chance
    free = np.ones(len(waiting), bool)
    share = present.mean(axis=0)
    have = np.zeros(present.shape[1])
    chosen = []
    for number in range(size):
        # a class without any image first, the rarest of these before the others
        missing = (have == 0) * (2.0 - share)
        behind = np.where(have == 0, len(waiting) * missing, share * number - have)
        place = _next(waiting, free, behind)
        free[place] = False
        have += waiting[place]
        chosen.append(place)
    return shuffled[np.array(chosen, int)]


def _next(waiting: np.ndarray, free: np.ndarray, behind: np.ndarray) -> int:
    """The first free image that holds the class that is furthest behind and can be had."""
    for column in np.argsort(-behind, kind="stable"):
        if behind[column] <= 0:
            break
        holders = np.flatnonzero(free & waiting[:, column])
        if len(holders):
            return int(holders[0])
    return int(np.flatnonzero(free)[0])


def folds(
    n: int, k: int, seed: int, groups: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """k times (indices to learn from, indices held out); each index is held out once.

    Args:
        n: how many images.
        k: how many folds, at least 2.
        seed: of who is with whom.
        groups: of each image [n]; a group is never on both sides. Groups are dealt out from
            the largest to the smallest, to the fold that has fewest images.

    Raises:
        InputError: there are fewer images, or groups, than folds.
    """
    names = np.arange(n) if groups is None else np.asarray(_checked(groups, n))
    rng = np.random.default_rng(seed)
    distinct, sizes = np.unique(names, return_counts=True)
    if not 2 <= k <= len(distinct):
        what = "images" if groups is None else "groups of images"
        raise InputError(
            f"expected 2 to {len(distinct)} folds of {len(distinct)} {what}, got {k}."
        )
    order = rng.permutation(len(distinct))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load, fold_of = np.zeros(k, int), np.empty(len(distinct), int)
    for group in order:
        fold_of[group] = load.argmin()
        load[load.argmin()] += sizes[group]
    fold = fold_of[np.searchsorted(distinct, names)]
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(k)]


def by_prefix(ids: Sequence[str], separator: str = "_") -> tuple[str, ...]:
    """The group of each image: its name up to the last separator ("0001TP" of "0001TP_006690").

    A name without a separator is a group of its own.
    """
    return tuple(one.rpartition(separator)[0] or one for one in ids)


def _checked(groups: Sequence[str], count: int) -> list[str]:
    if len(groups) != count:
        raise InputError(
            f"expected a group for each of the {count} images, got {len(groups)}."
        )
    return list(groups)
