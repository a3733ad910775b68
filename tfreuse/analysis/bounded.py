"""Intervals and tests of the mean of bounded values that hold for few seeds of any distribution.

    ends([[0, 0, 0]], RETENTION)               # [0, 0.71]: three seeds at 0 are no certainty
    p_values([[0, 0, 0]], 0.5, RETENTION)      # 0.25, from the same distribution
    fewest(0.5, RETENTION, confidence=0.95)    # six seeds, at best, to be above 0.5 or below

Retention lies in [0, 1], a difference of two retentions in [-1, 1]. Values that are clipped,
tied, skewed or in two clusters are common there, and Student's t and the bootstrap fail on them:
of three normal values of mean -0.3 and standard deviation 0.3, clipped at 0, their 95 % intervals
hold the mean in 38 % of samples. Gaffke's bounds (2005) assume nothing but the range [a, b].
With the sorted values x and weights D, spacings of uniform numbers (a flat Dirichlet):

    upper end   quantile (1 + c) / 2 of  D_1 x_1 + ... + D_n x_n + D_{n+1} b
    lower end   quantile (1 - c) / 2 of  D_1 x_1 + ... + D_n x_n + D_{n+1} a
    p           2 min(P(the first >= m), P(the second <= m)): the same interval, inverted

For values that are all a or b they are Clopper and Pearson's. That they hold for every
distribution is conjectured (Learned-Miller & Thomas 2020, arXiv:1905.06208) and not proved;
no counterexample is known, and `tests/test_planted_truth.py` simulates hard cases. Bounds with a
proof exist (Anderson 1969; Phan et al. 2021; by betting, Waudby-Smith & Ramdas 2024); how much
wider they are for 3 to 10 values was not measured here.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

Bounds = tuple[float, float]
RETENTION: Bounds = (0.0, 1.0)
DIFFERENCE: Bounds = (-1.0, 1.0)
METHOD = "Gaffke's bounds"
MOST_NEEDED = 200  # seeds; nobody trains more
_DIGITS = 24  # binary digits of an end, of its range


def ends(
    cells: Sequence[Sequence[float]], bounds: Bounds, confidence: float = 0.95
) -> tuple[list[float], list[float]]:
    """Computes the lower ends and the upper ends of all cells.

    Args:
        cells: a value a seed; cells may have unequal numbers of seeds.
        bounds: the range that values can lie in.
        confidence: both tails have half of the rest.

    Raises:
        ValueError: a value lies outside the bounds.
    """
    values = _checked(cells, bounds)
    upper = _upper_ends(values, bounds[1], (1 - confidence) / 2)
    lower = -_upper_ends(-values, -bounds[0], (1 - confidence) / 2)
    return (lower + 0.0).tolist(), (upper + 0.0).tolist()  # never -0.0


def p_values(
    cells: Sequence[Sequence[float]], against: float, bounds: Bounds
) -> list[float]:
    """Computes the two-sided p of "the mean is `against`" for each cell.

    It is below 1 - confidence exactly where the interval of `ends` excludes `against`.

    Raises:
        ValueError: a value lies outside the bounds.
    """
    values = _checked(cells, bounds)
    means = np.full(len(values), float(against))
    below = _chance_of_more(values, means, bounds[1])
    above = _chance_of_more(-values, -means, -bounds[0])
    return np.minimum(1.0, 2 * np.minimum(below, above)).tolist()


def fewest(
    threshold: float, bounds: Bounds, confidence: float = 0.95
) -> tuple[int | None, int | None]:
    """Returns the fewest seeds that can show a mean above the threshold, and one below it.

    They are those of the clearest values: all at the upper bound, or all at the lower. None
    where no number suffices.
    """
    position = (threshold - bounds[0]) / (bounds[1] - bounds[0])
    return tuple(
        _exceed((1 - confidence) / 2, share) for share in (position, 1 - position)
    )


def needed_n(
    values: Sequence[float], threshold: float, bounds: Bounds, confidence: float = 0.95
) -> int | None:
    """Returns about how many seeds distributed as `values` would settle the mean's side.

    More than there are: these have not settled it. A beta distribution with the same mean,
    variance and range takes the position of the sum's. It is exact for equal values, and for
    values at the bounds alone. None if more than MOST_NEEDED would be needed.
    """
    from scipy import special  # imported late: `--help` must not wait for SciPy

    (values,) = _checked([values], bounds)
    largest = bounds[1]
    if values.mean() > threshold:  # the same question of the mirrored values
        values, threshold, largest = -values, -threshold, -bounds[0]
    if not values.mean() < threshold <= largest:
        return None
    width = largest - values.min()
    values = (values - values.min()) / width
    n = np.arange(values.size + 1, MOST_NEEDED + 1)
    mean = (n * values.mean() + 1) / (n + 1)
    variance = ((n * (values**2).mean() + 1) / (n + 1) - mean**2) / (n + 2)
    size = mean * (1 - mean) / variance - 1
    position = 1 - (largest - threshold) / width
    p = 2 * special.betainc((1 - mean) * size, mean * size, 1 - position)
    settled = np.flatnonzero(p < 1 - confidence)
    return int(n[settled[0]]) if len(settled) else None


def means(cells: Sequence[Sequence[float]]) -> list[float]:
    """Computes the mean of every cell, exactly where its values are equal."""
    values = _table(cells)
    counts = np.isfinite(values).sum(axis=1)
    means = np.empty(len(values))
    for n in set(counts.tolist()):
        rows = values[counts == n, :n]
        means[counts == n] = rows[:, 0] + (rows - rows[:, :1]).mean(axis=1)
    return means.tolist()


def _table(cells: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns the values, float64 [cells, most n]; NaN where a cell has fewer.

    Raises:
        ValueError: a cell has no values, or one is not finite.
    """
    counts = np.fromiter(map(len, cells), np.int64, len(cells))
    values = np.full((len(cells), max(counts, default=1)), np.nan)
    flat = itertools.chain.from_iterable(cells)
    present = np.arange(values.shape[1]) < counts[:, None]
    values[present] = np.fromiter(flat, np.float64, counts.sum())
    wrong = np.isfinite(values).sum(axis=1) < np.maximum(counts, 1)
    if wrong.any():
        first = list(cells[int(wrong.argmax())])
        raise ValueError(f"An interval takes finite numbers [n], n > 0; got {first}.")
    return values


def _checked(cells: Sequence[Sequence[float]], bounds: Bounds) -> np.ndarray:
    """Returns `_table`, with rounding errors beyond the bounds clipped."""
    values = _table(cells)
    slack = 1e-9 * (bounds[1] - bounds[0])  # of rounding
    outside = (values < bounds[0] - slack) | (values > bounds[1] + slack)
    if outside.any():
        first = cells[int(outside.any(axis=1).argmax())]
        raise ValueError(f"Values must lie in {list(bounds)}; got {list(first)}.")
    return np.clip(values, *bounds)


def _exceed(tail: float, share: float) -> int | None:
    """Returns the least n with tail^(1 / n) > share; None if there is none."""
    if share >= 1:
        return None
    return 1 if share <= tail else math.floor(math.log(tail) / math.log(share)) + 1


def _upper_ends(values: np.ndarray, largest: float, tail: float) -> np.ndarray:
    """Returns the mean of each row [cells, n] above which p of "at least it" is `tail`."""
    low = np.nanmin(values, axis=1)
    high = np.full(len(values), largest)
    rows = np.arange(len(values))
    # few cells: many means at once, in few rounds; many cells: bisection
    affordable = (4096 // max(1, len(values))).bit_length() - 1
    digits = max(count for count in (1, 2, 3, 4, 6) if count <= max(1, affordable))
    splits = 2**digits
    for _ in range(_DIGITS // digits):  # as many digits for any number of cells
        grid = low[:, None] + np.arange(splits + 1) / splits * (high - low)[:, None]
        chances = _chance_of_more(
            np.repeat(values, splits - 1, axis=0), grid[:, 1:-1].ravel(), largest
        ).reshape(len(values), splits - 1)
        last = (chances >= tail).sum(axis=1)  # chances fall along the grid
        low, high = grid[rows, last], grid[rows, last + 1]
    return high


def _chance_of_more(
    values: np.ndarray, means: np.ndarray, largest: float
) -> np.ndarray:
    """Returns P(D_1 x_1 + ... + D_n x_n + D_{n+1} largest >= mean) for each row [cells, n].

    The spacings D are exponential numbers E over their sum, so this is the chance that
    sum(E (x - mean)) is not negative. Exponential numbers have no memory: of u E_1 and d E_2
    the first is larger with probability u / (u + d), and the rest of it is distributed as
    u E_1 again. So the positive terms are set against the negative ones, one pair after another:

        C[r, s] = u_r / (u_r + d_s) C[r, s - 1] + d_s / (u_r + d_s) C[r - 1, s]

    is the chance that the first r of the ones exceed the first s of the others. All C with the
    same r + s are computed at once.
    """
    ceiling = np.full((len(values), 1), largest)
    # without weight, a missing value changes nothing
    weights = np.nan_to_num(np.hstack([values, ceiling]) - means[:, None])
    weights.sort(axis=1)
    up, down = np.maximum(weights, 0.0), np.maximum(-weights, 0.0)
    up, down = (side[:, side.any(axis=0)] for side in (up, down))
    ups, downs = up.shape[1], down.shape[1]
    chance = np.zeros((len(values), ups + 1))
    chance[:, 1:] = np.logical_or.accumulate(up > 0, axis=1)
    for drawn in range(2, ups + downs + 1):
        r = slice(max(1, drawn - downs), min(ups, drawn - 1) + 1)
        u = up[:, r.start - 1 : r.stop - 1]
        d = down[:, drawn - r.stop : drawn - r.start][:, ::-1]
        total = u + d
        share = np.divide(u, total, out=np.ones_like(u), where=total > 0)
        before = chance[:, r.start - 1 : r.stop - 1]
        chance[:, r] = share * chance[:, r] + (1 - share) * before
    return np.where(weights.any(axis=1), chance[:, -1], 1.0)
