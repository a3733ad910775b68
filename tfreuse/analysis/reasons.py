"""Tells apart why a transplant did no harm, and how much of a loss is due to the donor's task.

The paper gives two reasons for reuse: the features are general, and the parameters lie close to
each other. So a donor's values are compared with random ones at the same distance from the
recipient's (control "matched"): theta + |donor - theta| u, u of random direction.
"""

from collections.abc import Sequence

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import (
    Arms,
    cell_columns,
    draws_of,
    floored_retentions,
    in_study_order,
    mean_over_draws,
    on_common_seeds,
    with_intervals,
)

REASONS = {  # the meaning of a row's `reason`, for captions and glossaries
    "small difference": "Random values at the donor's distance do no harm either: the move is "
    "too small to matter, and says nothing about features.",
    "general features": "The donor's values are better than random ones at the same distance: "
    "what the donor learned is of use here, beyond lying close.",
    "neither": "The donor's values do harm, and are at most by the margin better than random "
    "ones at the same distance.",
    "open": "The intervals leave more than one reading.",
}


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Assigns one of REASONS to every cell where the control "matched" was measured.

    With the donor's retention D and the random R of the same seeds (below 0 counting as 0, R
    the mean over the draws), low and high the ends of `intervals.mean_interval`, and the
    declared margin m:

        small difference   low(D) >= 1 - m and low(R) >= 1 - m
        neither            high(D) < 1 - m and high(D - R) < m
        general features   low(D - R) > 0
        open               none of these

    The first that holds counts: a gain over random values that is shown to be smaller than the
    margin, where the donor is shown to do harm, is no reason to reuse anything.

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method of D - R;
        donor_mean, donor_low, donor_high; random_mean, random_low, random_high; draws;
        relative_distance (median over the seeds; None if not recorded); reason, one of REASONS;
        needed_n: of an open row, about how many seeds would settle it if means and spreads
        stayed as they are, None if none up to 1,000 would.
    """
    cells, values = [], []  # values: of D, R and D - R, a number a seed each
    for arm, seeds in arms.items():
        matched = arm._replace(control="matched", draw=0)
        if arm.control != "transfer" or arm.strength != 1.0 or matched not in arms:
            continue
        donor, random = on_common_seeds(
            floored_retentions(seeds), mean_over_draws(arms, matched)
        )
        if donor:
            distances = [record.relative_distance for record in seeds.values()]
            distances = [value for value in distances if value is not None]
            columns = {
                "draws": len(draws_of(arms, matched)),
                "relative_distance": float(np.median(distances)) if distances else None,
            }
            cells.append(cell_columns(arm, seeds) | columns)
            values.append((donor, random, [a - b for a, b in zip(donor, random)]))
    ends = [
        intervals.mean_intervals([sides[i] for sides in values], spec.confidence)
        for i in range(3)
    ]
    judged = []
    for cell, sides, donor, random, gain in zip(cells, values, *ends, strict=True):
        reason = _reason(donor, random, gain, spec.margin)
        needed_n = _needed_n(sides, spec) if reason == "open" else None
        row = cell | gain.to_row() | _ends("donor", donor) | _ends("random", random)
        judged.append(row | {"reason": reason, "needed_n": needed_n})
    return in_study_order(judged, spec)


def excess(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns the task-specific excess loss of every cell with the control "other_seed".

    r(other_seed) - r(transfer), paired by seed, retentions r below 0 counting as 0. Both
    donors are other networks than the recipient, so the effects of that alone (channels in
    another order, other statistics) cancel; the rest is due to the donor's task.

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method of the
        excess; same_task_mean, transfer_mean over the same seeds.
    """
    pending = []
    for arm, seeds in arms.items():
        other_seed = arms.get(arm._replace(control="other_seed"))
        if arm.control != "transfer" or arm.strength != 1.0 or not other_seed:
            continue
        same_task, transfer = on_common_seeds(
            floored_retentions(other_seed), floored_retentions(seeds)
        )
        if same_task:
            means = {
                "same_task_mean": float(np.mean(same_task)),
                "transfer_mean": float(np.mean(transfer)),
            }
            values = [a - b for a, b in zip(same_task, transfer)]
            pending.append((cell_columns(arm, seeds) | means, values))
    return in_study_order(with_intervals(pending, spec.confidence), spec)


def _reason(
    donor: intervals.Interval,
    random: intervals.Interval,
    gain: intervals.Interval,
    margin: float,
) -> str:
    if donor.low >= 1 - margin and random.low >= 1 - margin:
        return "small difference"
    if donor.high < 1 - margin and gain.high < margin:
        return "neither"
    if gain.low > 0:
        return "general features"
    return "open"


def _needed_n(sides: Sequence[Sequence[float]], spec: specs.StudySpec) -> int | None:
    """Returns the fewest seeds that would settle an open row; None if none would.

    Args:
        sides: of the donor, of random values and of their difference, a number a seed each.
    """
    if len(sides[0]) < 2:
        return None
    donor, random, gain = (float(np.mean(side)) for side in sides)
    spreads = [float(np.std(side, ddof=1)) for side in sides]
    enough = 1 - spec.margin
    # Of each reason that the means point to: by side, how far its mean is beyond the threshold.
    reasons = []
    if min(donor, random) > enough:
        reasons.append({0: donor - enough, 1: random - enough})
    if donor < enough and gain < spec.margin:
        reasons.append({0: enough - donor, 2: spec.margin - gain})
    if gain > 0:
        reasons.append({2: gain})
    needed = []
    for distances in reasons:
        seeds = [
            intervals.needed_n(spreads[side], distance, spec.confidence)
            for side, distance in distances.items()
        ]
        if None not in seeds:
            needed.append(max(seeds))
    return min(needed, default=None)


def _ends(name: str, interval: intervals.Interval) -> Row:
    return {
        f"{name}_mean": interval.estimate,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
    }
