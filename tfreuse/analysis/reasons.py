"""Why a transplant did no harm: general features, or just a small difference; and whose task.

The paper gives two reasons for reuse: the features are general, and the parameters lie close to
each other. A donor's values are therefore held against random ones at the same distance from
the recipient's (control "matched"): theta + |donor - theta| u, u of random direction.
"""

from collections.abc import Sequence

import numpy as np

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    Row,
    cell_columns,
    floored_retentions,
    in_study_order,
    mean_over_draws,
    on_common_seeds,
    with_intervals,
)

REASONS = {  # what a row's `reason` means, for captions and glossaries
    "small difference": "Random values at the donor's distance do no harm either: the move is "
    "too small to matter, and says nothing about features.",
    "general features": "The donor's values are better than random ones at the same distance: "
    "what the donor learned is of use here, beyond lying close.",
    "neither": "The donor's values do harm, and are at most by the margin better than random "
    "ones at the same distance.",
    "open": "The intervals leave more than one reading.",
}


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """The paper's two reasons, told apart wherever the control "matched" was measured.

    Retentions below 0 count as 0, as in the verdicts; a random control's is the mean over its
    draws. With the donor's retention D and the random R of the same seeds, interval ends as in
    `intervals.mean_interval`, and the declared margin m:

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
        stayed as they are, None if that cannot be told or is over 1,000.
    """
    places, sides = [], []
    for arm, seeds in arms.items():
        random = arm._replace(control="matched", draw=0)
        if arm.control != "transfer" or arm.strength != 1.0 or random not in arms:
            continue
        donor, other = on_common_seeds(
            floored_retentions(seeds), mean_over_draws(arms, random)
        )
        if donor:
            distances = [record.relative_distance for record in seeds.values()]
            known = [value for value in distances if value is not None]
            more = {
                "draws": _draws(arms, random),
                "relative_distance": float(np.median(known)) if known else None,
            }
            places.append(cell_columns(arm, seeds) | more)
            sides.append((donor, other, [a - b for a, b in zip(donor, other)]))
    found = [
        intervals.mean_intervals([side[i] for side in sides], spec.confidence)
        for i in range(3)
    ]
    rows = []
    for row, values, *told_apart in zip(places, sides, *found, strict=True):
        donor, random, gain = told_apart
        reason = _reason(donor, random, gain, spec.margin)
        needed = _needed(values, spec) if reason == "open" else None
        ends = _ends("donor", donor) | _ends("random", random)
        rows.append(
            row | gain.to_row() | ends | {"reason": reason, "needed_n": needed},
        )
    return in_study_order(rows, spec)


def excess(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Task-specific excess: retention with a donor of the same task, less that with the donor.

    Ret(other_seed) - Ret(transfer), paired by seed, retentions below 0 counting as 0. Both
    donors are other networks than the recipient, so what comes of that alone (channels in
    another order, other statistics) cancels; what is left is due to the donor's task.

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method of the
        excess; same_task_mean, transfer_mean over the same seeds.
    """
    pending = []
    for arm, seeds in arms.items():
        same_task = arms.get(arm._replace(control="other_seed"))
        if arm.control != "transfer" or arm.strength != 1.0 or not same_task:
            continue
        same, other = on_common_seeds(
            floored_retentions(same_task), floored_retentions(seeds)
        )
        if same:
            means = {
                "same_task_mean": float(np.mean(same)),
                "transfer_mean": float(np.mean(other)),
            }
            values = [a - b for a, b in zip(same, other)]
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


def _needed(values: Sequence[Sequence[float]], spec: specs.StudySpec) -> int | None:
    """Fewest seeds that settle an open row one way or another; None if none would."""
    if len(values[0]) < 2:
        return None
    donor, random, gain = (float(np.mean(side)) for side in values)
    spreads = [float(np.std(side, ddof=1)) for side in values]
    harmless = 1 - spec.margin
    ways = []  # of the condition: how far each mean is on the right side
    if min(donor, random) > harmless:
        ways.append({0: donor - harmless, 1: random - harmless})
    if donor < harmless and gain < spec.margin:
        ways.append({0: harmless - donor, 2: spec.margin - gain})
    if gain > 0:
        ways.append({2: gain})
    found = []
    for way in ways:
        each = [
            intervals.needed_n(spreads[side], distance, spec.confidence)
            for side, distance in way.items()
        ]
        if None not in each:
            found.append(max(each))
    return min(found, default=None)


def _draws(arms: Arms, arm: Arm) -> int:
    number = 0
    while arm._replace(draw=number) in arms:
        number += 1
    return number


def _ends(name: str, found: intervals.Interval) -> Row:
    return {
        f"{name}_mean": found.estimate,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
    }
