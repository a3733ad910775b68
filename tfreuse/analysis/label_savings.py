"""Computes label savings: how many labels scratch needs for a metric, over those of an arm.

    needed = [labels_needed({8: 0.2, 16: 0.3, 32: 0.4}, 0.35)]   # (22.6, ""), a seed each
    columns(needed, 8, 0.95)                                     # mean 2.8, its interval, n

`label_curves.savings` does so for all arms and numbers of labels, and says how.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import Values


def labels_needed(scratch: Mapping[int, float], value: float) -> tuple[float, str]:
    """Interpolates how many labels scratch needs to reach a metric.

    Args:
        scratch: metric by number of labels, of one seed.
        value: the metric to reach.

    Returns:
        the number and ""; the most labels and ">", or the fewest and "<", where that is only
        a bound.
    """
    curve = _monotone(scratch)
    counts, heights = list(curve), list(curve.values())
    if value > heights[-1]:
        return float(counts[-1]), ">"
    if value < heights[0]:
        return float(counts[0]), "<"
    index = int(np.argmax(np.array(heights) >= value))
    if index == 0:
        return float(counts[0]), ""
    low, high = heights[index - 1], heights[index]
    share = (value - low) / (high - low)
    logs = np.log2(counts[index - 1 : index + 1])
    return float(2 ** (logs[0] + share * (logs[1] - logs[0]))), ""


def columns(needed: Sequence[tuple[float, str]], labels: int, confidence: float) -> Row:
    """Returns mean and interval of log2(n_scratch / n), as factors.

    Args:
        needed: `labels_needed` of each seed.
        labels: n.
    """
    logs = [math.log2(count / labels) for count, _ in needed]
    marks = [mark for _, mark in needed]
    ends = intervals.mean_interval(logs, confidence)
    low, high = 2**ends.low, 2**ends.high if ends.high < 1000 else math.inf
    return {
        "mean": 2**ends.estimate,
        "low": 0.0 if "<" in marks else low,
        "high": math.inf if ">" in marks else high,
        "n": ends.n,
        "method": ends.method,
        "censored": "".join(sorted(set(marks))),
        "seeds_censored": len(marks) - marks.count(""),
    }


def by_tests(
    values: Values,
    scratch: Mapping[int, Mapping[int, float]],
    labels: int,
    confidence: float,
) -> Row:
    """Returns the interval of a saving of which each seed knows only a bound.

    Args:
        values: metric of the arm with `labels` labels, by seed.
        scratch: metric by number of labels, by seed.
        labels: n.
        confidence: of the interval.
    """
    heights = {seed: _monotone(scratch[seed]) for seed in values if seed in scratch}
    counts = sorted(next(iter(heights.values())))
    ends = {
        count: intervals.mean_interval(
            [values[seed] - curve[count] for seed, curve in heights.items()],
            confidence,
        )
        for count in counts
    }
    above = list(itertools.takewhile(lambda m: ends[m].low > 0, counts))
    below = list(itertools.takewhile(lambda m: ends[m].high < 0, counts[::-1]))
    return {
        "low": above[-1] / labels if above else 0.0,
        "high": below[-1] / labels if below else math.inf,
        "method": f"tests against scratch, {ends[counts[0]].method}",
    }


def _monotone(scratch: Mapping[int, float]) -> dict[int, float]:
    """Returns a curve that rises with the number of labels, by isotonic regression."""
    from scipy import optimize  # imported late: `--help` must not wait for SciPy

    counts = sorted(scratch)
    rising = optimize.isotonic_regression([scratch[n] for n in counts]).x
    return dict(zip(counts, rising.tolist(), strict=True))
