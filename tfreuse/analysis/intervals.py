"""Computes intervals that stay honest with three to ten seeds, and the limits of so few seeds.

    mean_interval([0.91, 0.95, 0.93], bounds=RETENTION)  # 0.93 [0.27, 0.98], n = 3
    mean_interval([31.2, 30.8, 31.6])                    # Student t: 31.20 [30.21, 32.19]
    holm([0.01, 0.04, 0.03])                             # [0.03, 0.06, 0.06]
    needed_n(sd=0.1, half_width=0.05)                    # 18 seeds

One value is one replicate: a pair of trained networks. Images of one test set are no replicates.
Values within known bounds (retention, its differences, correlations) have the intervals of
`bounded`, which hold for every distribution. None can for unbounded values (Bahadur & Savage
1956): for nearly normal ones Student's t serves up to five, the bootstrap-t from six on (Efron &
Tibshirani 1993, section 12.5), and equal ones have an infinite interval. Percentile and BCa
bootstraps are not offered: at these sizes their nominal 95 % is 70 to 93 %.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfreuse.analysis import bounded
from tfreuse.analysis.bounded import Bounds

RESAMPLES = 9999
SMALLEST_BOOTSTRAP = 6  # values; with fewer, resamples are too much alike
MOST_NEEDED = 1000  # seeds; nobody trains more
LARGE = 10_000  # from here on numbers are written with a power of 10
_MOST_KEPT = 100_000  # intervals that are kept, of 0.5 kB each
EQUAL = 1e-12  # relative spread up to which values count as equal: rounding errors


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate of a mean with its confidence interval; infinite ends where nothing bounds it."""

    estimate: float
    low: float
    high: float
    n: int
    method: str  # bounded.METHOD, "Student t", "bootstrap-t", "no spread", "one value"
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON; an infinite end becomes None."""
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def to_row(self) -> dict[str, Any]:
        """Returns the columns that every table of intervals has."""
        return {
            "mean": self.estimate,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "method": self.method,
        }

    def __str__(self) -> str:
        return f"{number(self.estimate)} [{number(self.low)}, {number(self.high)}]"


@functools.lru_cache(1 << 14)
def number(value: float) -> str:
    """Formats with two decimals, three within 0.01 of 0 or 1; never a minus before a zero.

    From LARGE on with a power of 10: −409324826 is −4.1e8, short enough for a label.
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= LARGE:
        text = f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    elif abs(value) >= 100:
        text = f"{value:.0f}"
    elif 0 < min(abs(value), abs(value - 1)) < 0.01:
        text = f"{value:.3f}"
    else:
        text = f"{value:.2f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def mean_interval(
    values: Sequence[float],
    confidence: float = 0.95,
    seed: int = 0,
    bounds: Bounds | None = None,
) -> Interval:
    """Computes the two-sided confidence interval of the mean of independent replicates [n].

    Args:
        values: one finite number a replicate.
        confidence: e.g. 0.95; both tails have half of the rest.
        seed: of the bootstrap; the same values and seed give the same interval.
        bounds: the range of the values, if they have one.

    Raises:
        ValueError: `values` is empty, or one of them is not finite or out of bounds.
    """
    return mean_intervals([values], confidence, seed, bounds)[0]


def mean_intervals(
    cells: Iterable[Sequence[float]],
    confidence: float = 0.95,
    seed: int = 0,
    bounds: Bounds | None = None,
) -> list[Interval]:
    """Computes `mean_interval` of many cells, in a hundredth of the time of single calls.

    Cells of equal n share the draws of the bootstrap, so the intervals are the same. Those that
    were computed before are not computed again: the views of a report share most of theirs.
    """
    cells = [tuple(_checked(values).tolist()) for values in cells]
    memory = _memory(confidence, seed, bounds)
    intervals = {cell: memory.get(cell) for cell in cells}
    if new := [cell for cell, interval in intervals.items() if interval is None]:
        computed = _computed(new, confidence, seed, bounds)
        intervals.update(zip(new, computed, strict=True))
        if len(memory) > _MOST_KEPT:
            memory.clear()
        memory.update(intervals)
    return [intervals[cell] for cell in cells]


@functools.lru_cache(maxsize=16)
def _memory(
    confidence: float, seed: int, bounds: Bounds | None
) -> dict[tuple[float, ...], Interval]:
    """Returns the intervals that were computed, by their values."""
    return {}


def _computed(
    cells: Sequence[tuple[float, ...]],
    confidence: float,
    seed: int,
    bounds: Bounds | None,
) -> list[Interval]:
    if bounds:
        ends = bounded.ends(cells, bounds, confidence)
        columns = bounded.means(cells), *ends, map(len, cells)
        return [
            Interval(*values, bounded.METHOD, confidence)
            for values in zip(*columns, strict=True)
        ]
    cells = [np.array(values) for values in cells]
    intervals = []
    for values in cells:
        mean, n, ends = _mean(values), len(values), (-math.inf, math.inf)
        method = "one value" if n == 1 else "no spread"
        intervals.append(Interval(mean, *ends, n, method, confidence))
    tail = (1 - confidence) / 2
    for i, ratios in _ratios_by_cell(cells, seed):
        mean, n = intervals[i].estimate, intervals[i].n
        if ratios is None:
            above, method = student_quantile(1 - tail, n - 1), "Student t"
            below = -above
        else:
            below, above = _quantiles(ratios, (tail, 1 - tail))
            method = "bootstrap-t"
        error = _standard_error(cells[i])
        # the upper quantile of t makes the lower end, and the other way round
        low, high = float(mean - above * error), float(mean - below * error)
        intervals[i] = Interval(mean, low, high, n, method, confidence)
    return intervals


def p_value(
    values: Sequence[float],
    against: float = 0.0,
    seed: int = 0,
    bounds: Bounds | None = None,
) -> float:
    """Computes the two-sided p of "the mean is `against`"; 1 where the interval is infinite.

    It is below 0.05 exactly where the 95 % interval excludes `against`.
    """
    return p_values([values], against, seed, bounds)[0]


def p_values(
    cells: Iterable[Sequence[float]],
    against: float = 0.0,
    seed: int = 0,
    bounds: Bounds | None = None,
) -> list[float]:
    """Computes `p_value` of many cells."""
    cells = [_checked(values) for values in cells]
    if bounds:
        return bounded.p_values(cells, against, bounds)
    p_values = [1.0] * len(cells)
    for i, ratios in _ratios_by_cell(cells, seed):
        ratio = (_mean(cells[i]) - against) / _standard_error(cells[i])
        if ratios is None:
            p_values[i] = 2 * _student_below(-abs(ratio), len(cells[i]) - 1)
            continue
        rarer = min((ratios <= ratio).sum(), (ratios >= ratio).sum())
        # + 1: a p-value from random draws is never 0 (Phipson & Smyth 2010)
        p_values[i] = float(min(1.0, 2 * (rarer + 1) / (len(ratios) + 1)))
    return p_values


def ratio_interval(
    above: Sequence[float], below: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Computes the interval of mean(above) / mean(below) of paired replicates (Fieller 1954).

    It holds the ratios r for which a t test does not reject "the mean of above - r below is
    0". The delta method and the jackknife assume that the denominator differs from 0; where
    the data do not show that, this interval is infinite, as it must be.
    """
    above, below = _checked(above), _checked(below)
    n, top, bottom = len(above), _mean(above), _mean(below)
    estimate = top / bottom if bottom else math.nan
    unbounded = Interval(estimate, -math.inf, math.inf, n, "Fieller", confidence)
    if n == 1:
        return dataclasses.replace(unbounded, method="one value")
    if not _standard_error(above) and not _standard_error(below):
        return dataclasses.replace(unbounded, method="no spread")
    t = student_quantile((1 + confidence) / 2, n - 1)
    # the ratios r of the interval: a r^2 - 2 b r + c <= 0
    joint = np.cov(above, below) * t * t / n
    a, b, c = bottom**2 - joint[1, 1], top * bottom - joint[0, 1], top**2 - joint[0, 0]
    if a <= 0:
        return unbounded
    half = math.sqrt(max(0.0, b * b - a * c))
    return Interval(estimate, (b - half) / a, (b + half) / a, n, "Fieller", confidence)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts the p-values of one family (Holm 1979); keeps their order."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = so_far
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Computes q-values (Benjamini & Hochberg 1995); keeps the order of the p-values.

    q is the expected share of false discoveries if this and all smaller p are called real.
    """
    order = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    adjusted, so_far = [0.0] * len(p_values), 1.0
    for larger, i in enumerate(order):  # how many p-values are larger
        rank = len(p_values) - larger
        so_far = min(so_far, p_values[i] * len(p_values) / rank)
        adjusted[i] = so_far
    return adjusted


def needed_n(sd: float, half_width: float, confidence: float = 0.95) -> int | None:
    """Returns the fewest replicates whose t interval is the mean ± at most `half_width`.

    None if more than MOST_NEEDED would be needed, a `half_width` of 0 included.
    """
    if sd == 0:
        return 2
    for n in range(2, MOST_NEEDED + 1):
        reach = student_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
        if reach <= half_width:
            return n
    return None


def _checked(values: Sequence[float]) -> np.ndarray:
    """Returns the values as an array [n] of float64.

    Raises:
        ValueError: there is none, or one is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"An interval takes finite numbers [n], n > 0; got {values}.")
    return values


def _mean(values: np.ndarray) -> float:
    # exact where all values are equal, unlike values.mean()
    return float(values[0] + (values - values[0]).mean())


def _standard_error(values: np.ndarray) -> float:
    """Returns the standard error of the mean: exactly 0 where values differ by rounding only."""
    if len(values) < 2 or np.ptp(values) <= EQUAL * np.abs(values).max():
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _ratios_by_cell(
    cells: Sequence[np.ndarray], seed: int
) -> Iterable[tuple[int, np.ndarray | None]]:
    """Yields the index and the `_ratios` of each cell whose values differ."""
    by_n: dict[int, list[int]] = {}
    for i, values in enumerate(cells):
        if _standard_error(values) > 0:
            by_n.setdefault(len(values), []).append(i)
    for indices in by_n.values():
        yield from zip(indices, _ratios([cells[i] for i in indices], seed), strict=True)


def _ratios(cells: list[np.ndarray], seed: int) -> Iterable[np.ndarray | None]:
    """Yields the t ratios of each cell's resamples, (mean* - mean) / standard error*.

    None where n is under SMALLEST_BOOTSTRAP, or where more than a thousandth of the resamples
    consist of equal values, whose standard error is 0.
    """
    n = len(cells[0])
    if n < SMALLEST_BOOTSTRAP:
        yield from (None for _ in cells)
        return
    # Mean and variance of all resamples are two matrix products with their shares of each value.
    weights = _weights(n, seed)
    for start in range(0, len(cells), 4):  # fits a cache, and is too small for threads
        centred = np.stack([c - c.mean() for c in cells[start : start + 4]])
        centred /= np.abs(centred).max(axis=1, keepdims=True)
        means = centred @ weights  # [cells, RESAMPLES]
        squares = (centred**2 @ weights - means**2) / (n - 1)
        varied = squares > 1e-14  # rounding error of a difference of numbers about 1
        ratios = means / np.sqrt(np.where(varied, squares, 1.0))
        for row, valid in zip(ratios, varied, strict=True):
            share = np.count_nonzero(valid) / RESAMPLES
            yield row if share == 1 else row[valid] if share >= 1 - 1e-3 else None


def _quantiles(values: np.ndarray, levels: tuple[float, float]) -> list[float]:
    """Computes `np.quantile` in a third of its time: it partitions once for both levels."""
    positions = [(len(values) - 1) * level for level in levels]
    indices = [int(position) + step for position in positions for step in (0, 1)]
    indices = [min(index, len(values) - 1) for index in indices]
    parted = np.partition(values, sorted(set(indices)))
    return [
        float(parted[low] + (position - int(position)) * (parted[high] - parted[low]))
        for position, low, high in zip(
            positions, indices[::2], indices[1::2], strict=True
        )
    ]


@functools.lru_cache(maxsize=8)
def _weights(n: int, seed: int) -> np.ndarray:
    """Draws the resamples of n values: the share of each value in each, [n, RESAMPLES]."""
    draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    weights = np.zeros((RESAMPLES, n))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], draws), 1 / n)
    return np.ascontiguousarray(weights.T)


def student_quantile(probability: float, freedom: int) -> float:
    """Returns the value that Student's t is below with that probability."""
    from scipy import special  # imported late: `--help` must not wait for SciPy

    return float(special.stdtrit(freedom, probability))


def _student_below(ratio: float, freedom: int) -> float:
    from scipy import special

    return float(special.stdtr(freedom, ratio))
