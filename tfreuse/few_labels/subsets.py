"""Selects the labelled images: nested subsets, and folds that keep a subject together.

    chosen = nested(histogram, [8, 16, 64], seed=0, groups=by_prefix(ids))
    chosen[16][:8] == chosen[8]              # nested: the smaller is the larger's beginning
    for train, test in folds(32, 5, seed=0, groups=...): ...

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
    """Orders the images and returns the beginning of that order for each size.

    Stratified image by image (Sechidis et al. 2011, "On the stratification of multi-label
    data"): the class, or the group, that is furthest behind its share of images gets the next
    image; while some class has none, the rarest of these goes first. The image is drawn at
    random among those that contain the class, so that images with many classes are not
    preferred.

    Args:
        masks_histogram: pixels of each class in each image, [N, C].
        sizes: numbers of images, from 1 to N.
        seed: of the order.
        groups: name of each image's group [N], e.g. its subject; each group gets its share.

    Returns:
        {size: int64 [size]}, the indices in order.

    Raises:
        InputError: a size is out of range.
    """
    present = np.asarray(masks_histogram) > 0
    count = len(present)
    impossible = [size for size in sizes if not 1 <= size <= count]
    if impossible:
        raise InputError(
            f"expected subsets of 1 to {count} images, got {impossible}; there are {count} images "
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
    """Returns the first `size` images of the stratified order; `present` is bool [N, C]."""
    shuffled = np.random.default_rng(seed).permutation(len(present))
    candidates = present[
        shuffled
    ]  # shuffled once: the first free image is a random image
    free = np.ones(len(candidates), bool)
    share = present.mean(axis=0)
    counts = np.zeros(present.shape[1])  # images of each class so far
    order = []
    for number in range(size):
        # A class without any image has a deficit above every other, the rarest the largest.
        urgency = (counts == 0) * (2.0 - share)
        deficit = np.where(
            counts == 0, len(candidates) * urgency, share * number - counts
        )
        index = _next(candidates, free, deficit)
        free[index] = False
        counts += candidates[index]
        order.append(index)
    return shuffled[np.array(order, int)]


def _next(candidates: np.ndarray, free: np.ndarray, deficit: np.ndarray) -> int:
    """Returns the first free image of the class with the largest deficit that has any."""
    for column in np.argsort(-deficit, kind="stable"):
        if deficit[column] <= 0:
            break
        indices = np.flatnonzero(free & candidates[:, column])
        if len(indices):
            return int(indices[0])
    return int(np.flatnonzero(free)[0])


def folds(
    n: int, k: int, seed: int, groups: Sequence[str] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns k pairs (training indices, test indices); each index is tested once.

    Args:
        n: number of images.
        k: number of folds, at least 2.
        seed: of the assignment to folds.
        groups: name of each image's group [n]; a group is never on both sides. Groups are
            assigned from the largest to the smallest, to the fold with the fewest images.

    Raises:
        InputError: there are fewer images, or groups, than folds.
    """
    names = np.arange(n) if groups is None else np.asarray(_checked(groups, n))
    rng = np.random.default_rng(seed)
    distinct, sizes = np.unique(names, return_counts=True)
    if not 2 <= k <= len(distinct):
        unit = "images" if groups is None else "groups of images"
        raise InputError(
            f"expected 2 to {len(distinct)} folds of {len(distinct)} {unit}, got {k}."
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
    """Returns each image's name up to the last separator: "0001TP" of "0001TP_006690".

    An image whose name has no separator is the only member of its group.
    """
    return tuple(name.rpartition(separator)[0] or name for name in ids)


def _checked(groups: Sequence[str], count: int) -> list[str]:
    """Returns the groups if there is one for each image. Raises InputError."""
    if len(groups) != count:
        raise InputError(
            f"expected a group for each of the {count} images, got {len(groups)}."
        )
    return list(groups)
