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
import math
from collections.abc import Sequence
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


def interval(
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
    values = _checked(values)
    mean, error, n = _mean(values), _standard_error(values), len(values)
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1, "one value", confidence)
    if error == 0:
        return Interval(mean, mean, mean, n, "no spread", confidence)
    ratios = _bootstrap_ratios(values, seed) if n >= SMALLEST_BOOTSTRAP else None
    tail = (1 - confidence) / 2
    if ratios is None:
        reach = _student_quantile(1 - tail, n - 1) * error
        return Interval(mean, mean - reach, mean + reach, n, "Student t", confidence)
    below, above = np.quantile(ratios, [tail, 1 - tail])
    return Interval(
        mean,
        float(mean - above * error),
        float(mean - below * error),
        n,
        "bootstrap-t",
        confidence,
    )


def p_value(
    values: Sequence[float], against: float = 0.0, seed: int = 0
) -> float | None:
    """Two-sided p of "the mean is `against`": below 0.05 just where the 95 % interval excludes it.

    None where there is no spread to measure the difference by.
    """
    values = _checked(values)
    error, n = _standard_error(values), len(values)
    if n == 1 or error == 0:
        return None
    ratio = (_mean(values) - against) / error
    ratios = _bootstrap_ratios(values, seed) if n >= SMALLEST_BOOTSTRAP else None
    if ratios is None:
        return 2 * _student_below(-abs(ratio), n - 1)
    rarer = min((ratios >= ratio).sum(), (ratios <= ratio).sum())
    return float(min(1.0, 2 * (rarer + 1) / (len(ratios) + 1)))


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


def needed_n(sd: float, half_width: float, confidence: float = 0.95) -> int | None:
    """Fewest replicates whose t interval is at most `half_width` to each side of the mean.

    None if over 1,000 would be needed (`half_width` of 0 included).
    """
    if sd == 0:
        return 2
    for n in range(2, MOST_NEEDED + 1):
        reach = _student_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
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


def _bootstrap_ratios(values: np.ndarray, seed: int) -> np.ndarray | None:
    """(mean* - mean) / standard error* of each resample [RESAMPLES].

    None where over a thousandth of the resamples has no spread of its own (many equal values).
    """
    n = len(values)
    draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    centred = values - values.mean()
    samples = centred[draws]  # [RESAMPLES, n]
    means = samples.mean(axis=1)
    errors = samples.std(axis=1, ddof=1) / math.sqrt(n)
    useful = errors > 1e-9 * np.abs(centred).max()
    if (~useful).mean() > 1e-3:
        return None
    return means[useful] / errors[useful]


def _student_quantile(probability: float, freedom: int) -> float:
    from scipy import special  # here, so that `--help` need not wait for it

    return float(special.stdtrit(freedom, probability))


def _student_below(ratio: float, freedom: int) -> float:
    from scipy import special

    return float(special.stdtr(freedom, ratio))
