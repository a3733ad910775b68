"""Intervals that stay honest with three to ten seeds, and what so few seeds cannot show.

    interval([0.91, 0.95, 0.93])       # Student t: 0.93 [0.88, 0.98], n = 3
    smallest_sign_flip_p(3)            # 0.25: three seeds never reach p < 0.05
    holm([0.01, 0.04, 0.03])           # [0.03, 0.06, 0.06]
    needed_n(sd=0.1, half_width=0.05)  # 18 seeds

One value is one replicate: a pair of trained networks. Images of one test set are no replicates.
Student's t serves up to five values; from six on the bootstrap-t does (Efron & Tibshirani 1993,
section 12.5), which also covers skewed data. Percentile and BCa bootstraps are not offered:
at these sizes their nominal 95 % is 70 to 93 %.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

RESAMPLES = 9999
SMALLEST_BOOTSTRAP = 6  # values; with fewer, resamples are too much alike
MOST_NEEDED = 1000  # seeds; nobody trains more


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate of a mean with its confidence interval; infinite ends where n = 1."""

    estimate: float
    low: float
    high: float
    n: int
    method: str  # "Student t", "bootstrap-t", "no spread" or "one value"
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; an infinite end becomes None."""
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def to_row(self) -> dict[str, Any]:
        """The columns that every table of intervals has."""
        return {
            "mean": self.estimate,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "method": self.method,
        }

    def __str__(self) -> str:
        return f"{number(self.estimate)} [{number(self.low)}, {number(self.high)}]"


def number(value: float) -> str:
    """Two decimals; three where only those tell a value from 0 or 1; no minus before a zero."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 100:
        text = f"{value:.0f}"
    elif 0 < min(abs(value), abs(value - 1)) < 0.01:
        text = f"{value:.3f}"
    else:
        text = f"{value:.2f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Two-sided confidence interval of the mean of independent replicates [n].

    Args:
        values: one finite number a replicate.
        confidence: e.g. 0.95; what lies outside is shared equally by both sides.
        seed: of the bootstrap; the same values and seed give the same interval.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    return mean_intervals([values], confidence, seed)[0]


def mean_intervals(
    cells: Iterable[Sequence[float]], confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """`interval` of each of many cells, at a hundredth of the time of a call a cell.

    Cells of equal n share the draws of the bootstrap, so the result is the same.
    """
    cells = [_checked(values) for values in cells]
    found: list[Interval | None] = [None] * len(cells)
    varied: dict[int, list[int]] = {}
    for i, values in enumerate(cells):
        mean, error, n = _mean(values), _standard_error(values), len(values)
        if n == 1:
            found[i] = Interval(mean, -math.inf, math.inf, 1, "one value", confidence)
        elif error == 0:
            found[i] = Interval(mean, mean, mean, n, "no spread", confidence)
        else:
            varied.setdefault(n, []).append(i)
    tail = (1 - confidence) / 2
    for n, places in varied.items():
        for i, ratios in zip(places, _ratios([cells[i] for i in places], seed)):
            if ratios is None:
                above, method = student_quantile(1 - tail, n - 1), "Student t"
                below = -above
            else:
                below, above = _quantiles(ratios, (tail, 1 - tail))
                method = "bootstrap-t"
            mean, error = _mean(cells[i]), _standard_error(cells[i])
            low, high = float(mean - above * error), float(mean - below * error)
            found[i] = Interval(mean, low, high, n, method, confidence)
    return found


def p_value(
    values: Sequence[float], against: float = 0.0, seed: int = 0
) -> float | None:
    """Two-sided p of "the mean is `against`": below 0.05 just where the 95 % interval excludes it.

    None where there is no spread to measure the difference by.
    """
    return p_values([values], against, seed)[0]


def p_values(
    cells: Iterable[Sequence[float]], against: float = 0.0, seed: int = 0
) -> list[float | None]:
    """`p_value` of each of many cells."""
    cells = [_checked(values) for values in cells]
    found: list[float | None] = [None] * len(cells)
    varied: dict[int, list[int]] = {}
    for i, values in enumerate(cells):
        if _standard_error(values) > 0:
            varied.setdefault(len(values), []).append(i)
    for n, places in varied.items():
        for i, ratios in zip(places, _ratios([cells[i] for i in places], seed)):
            ratio = (_mean(cells[i]) - against) / _standard_error(cells[i])
            if ratios is None:
                found[i] = 2 * _student_below(-abs(ratio), n - 1)
                continue
            rarer = min((ratios <= ratio).sum(), (ratios >= ratio).sum())
            found[i] = float(min(1.0, 2 * (rarer + 1) / (len(ratios) + 1)))
    return found


def largest_t(
    values: np.ndarray, confidence: float = 0.95, seed: int = 0, draws: int = 1999
) -> float:
    """What max |t| over cells stays below with that confidence where every mean is true.

    mean ± this x standard error holds all cells' means at once (simultaneous band). Normal
    replicates with the cells' own correlation are drawn and max |t| is taken of each draw
    (single-step max-T; Westfall & Young 1993, section 2.3). Resampling the replicates
    themselves instead gives a limit twice to four times as wide at n = 6. Up to five
    replicates do not tell a correlation: there the limit is Bonferroni's.

    Args:
        values: [n, cells], one row a replicate, n at least 2; a cell without spread is left
            aside.
    """
    n = len(values)
    spread = values.std(axis=0, ddof=1)
    varied = spread > 1e-12 * np.abs(values).max(axis=0)
    alone = student_quantile((1 + confidence) / 2, n - 1)
    if varied.sum() <= 1:
        return alone
    if n < SMALLEST_BOOTSTRAP:
        return student_quantile(1 - (1 - confidence) / 2 / varied.sum(), n - 1)
    values = values[:, varied]
    # rows of `shape` make the correlation: shape.T @ shape
    shape = (values - values.mean(axis=0)) / spread[varied] / math.sqrt(n - 1)
    generator, largest = np.random.default_rng(seed), []
    for _ in range(draws):
        drawn = generator.standard_normal((n, n)) @ shape
        ratios = drawn.mean(axis=0) / drawn.std(axis=0, ddof=1)
        largest.append(math.sqrt(n) * np.abs(ratios).max())
    return max(alone, float(np.quantile(largest, confidence)))


def ratio_interval(
    above: Sequence[float], below: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Interval of mean(above) / mean(below) of paired replicates, by Fieller's theorem.

    It holds the ratios r for which a t test does not reject "the mean of above - r below is
    0" (Fieller 1954). The delta method and the jackknife pretend that the denominator is
    known to be away from 0; where it is not, this interval is without ends, as it must be.
    """
    above, below = _checked(above), _checked(below)
    n, top, bottom = len(above), _mean(above), _mean(below)
    estimate = top / bottom if bottom else math.nan
    endless = Interval(estimate, -math.inf, math.inf, n, "Fieller", confidence)
    if n == 1:
        return dataclasses.replace(endless, method="one value")
    t = student_quantile((1 + confidence) / 2, n - 1)
    # a r^2 - 2 b r + c <= 0
    joint = np.cov(above, below) * t * t / n
    a, b, c = bottom**2 - joint[1, 1], top * bottom - joint[0, 1], top**2 - joint[0, 0]
    if a <= 0:
        return endless
    half = math.sqrt(max(0.0, b * b - a * c))
    return Interval(estimate, (b - half) / a, (b + half) / a, n, "Fieller", confidence)


def smallest_sign_flip_p(n: int) -> float:
    """Smallest two-sided p of a sign-flip test of n replicates: 2 of the 2^n sign patterns."""
    return min(1.0, 2.0 ** (1 - n))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being a family (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = so_far
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """q-values: the share of false discoveries if this and all smaller p are called real.

    Benjamini & Hochberg 1995; in the order given.
    """
    order = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    adjusted, so_far = [0.0] * len(p_values), 1.0
    for behind, i in enumerate(order):
        rank = len(p_values) - behind
        so_far = min(so_far, p_values[i] * len(p_values) / rank)
        adjusted[i] = so_far
    return adjusted


def needed_n(sd: float, half_width: float, confidence: float = 0.95) -> int | None:
    """Fewest replicates whose t interval is at most `half_width` to each side of the mean.

    None if over 1,000 would be needed (`half_width` of 0 included).
    """
    if sd == 0:
        return 2
    for n in range(2, MOST_NEEDED + 1):
        reach = student_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
        if reach <= half_width:
            return n
    return None


def _checked(values: Sequence[float]) -> np.ndarray:
    """The values as an array [n] of float64."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"An interval takes finite numbers [n], n > 0; got {values}.")
    return values


def _mean(values: np.ndarray) -> float:
    return float(values[0] + (values - values[0]).mean())  # exact where all are equal


def _standard_error(values: np.ndarray) -> float:
    """Standard error of the mean; exactly 0 where the values are equal but for rounding."""
    if len(values) < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _ratios(cells: list[np.ndarray], seed: int) -> Iterable[np.ndarray | None]:
    """(mean* - mean) / standard error* of the resamples of each cell of n values.

    None where n is under SMALLEST_BOOTSTRAP, or over a thousandth of the resamples has no
    spread of its own (many equal values).
    """
    n = len(cells[0])
    if n < SMALLEST_BOOTSTRAP:
        yield from (None for _ in cells)
        return
    weights = _weights(n, seed)
    for start in range(0, len(cells), 4):  # fits a cache, and is too small for threads
        centred = np.stack([c - c.mean() for c in cells[start : start + 4]])
        centred /= np.abs(centred).max(axis=1, keepdims=True)
        means = centred @ weights  # [cells, RESAMPLES]
        squares = (centred**2 @ weights - means**2) / (n - 1)
        useful = squares > 1e-14  # of a difference of rounded numbers about 1
        ratios = means / np.sqrt(np.where(useful, squares, 1.0))
        for row, kept in zip(ratios, useful, strict=True):
            share = np.count_nonzero(kept) / RESAMPLES
            yield row if share == 1 else row[kept] if share >= 1 - 1e-3 else None


def _quantiles(values: np.ndarray, levels: tuple[float, float]) -> list[float]:
    """`np.quantile`, at a third of its time."""
    places = [(len(values) - 1) * level for level in levels]
    wanted = [int(place) + more for place in places for more in (0, 1)]
    wanted = [min(place, len(values) - 1) for place in wanted]
    parted = np.partition(values, sorted(set(wanted)))
    return [
        float(parted[low] + (place - int(place)) * (parted[high] - parted[low]))
        for place, low, high in zip(places, wanted[::2], wanted[1::2], strict=True)
    ]


@functools.lru_cache(maxsize=8)
def _weights(n: int, seed: int) -> np.ndarray:
    """How often each of n values is drawn in each resample, over n: [n, RESAMPLES]."""
    draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    weights = np.zeros((RESAMPLES, n))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], draws), 1 / n)
    return np.ascontiguousarray(weights.T)


def student_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t is below with that probability."""
    from scipy import special  # here, so that `--help` need not wait for it

    return float(special.stdtrit(freedom, probability))


def _student_below(ratio: float, freedom: int) -> float:
    from scipy import special

    return float(special.stdtr(freedom, ratio))
