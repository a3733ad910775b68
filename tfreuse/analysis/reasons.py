"""Separates the reasons why a transplant did no harm, and how much of a loss is due to the donor's task.

The paper gives two reasons for reuse: the features are general, and the parameters lie close to
each other. So a donor's values are compared with random ones that have its distance to the
recipient's, its norm and its cosine with them (control "angle"). Older studies have random values
of that distance alone (control "matched"): for independent networks these keep half of the
recipient's direction, of which the donor has nothing, so that they are too good a control.
"""

from collections.abc import Sequence

import numpy as np

from tfreuse import roles, specs
from tfreuse.analysis import Row, bounded, intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    cell_columns,
    clipped_retentions,
    draws_of,
    in_study_order,
    independent,
    mean_over_draws,
    on_common_seeds,
    paired,
    with_intervals,
)
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION

REASONS = {  # the meaning of a row's `reason`, for captions and glossaries
    "small difference": "Random values as far away do no harm either: the move is too small to "
    "matter, and says nothing about features.",
    "general features": "The donor's values are better than random ones as far away, and more "
    "is retained than after a large loss: what the donor learned is of use here.",
    "worse than random": "The donor's values do harm, and more than random ones as far away: "
    "what the donor learned is in the way here.",
    "neither": "The donor's values do harm, and are at most by the margin better than random "
    "ones as far away, or leave a large loss.",
    "open": "The intervals leave more than one reading.",
}
_STATS = set(roles.GROUPS["stats"])
_BOUNDS = (
    RETENTION,
    RETENTION,
    DIFFERENCE,
)  # of donor, random values, their difference
CONTROLS = ("angle", "matched")  # the first that was measured is compared with


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Assigns one of REASONS to every cell where one of CONTROLS was measured.

    With the donor's retention D and the random R of the same seeds (clipped to [0, 1], R the
    mean over the draws), low and high the ends of their intervals (`bounded`), and the declared
    margin m and large loss l:

        small difference    low(D) >= 1 - m and low(R) >= 1 - m
        worse than random   high(D) < 1 - m and high(D - R) < 0
        neither             high(D) < 1 - m and (high(D - R) < m or high(D) <= l)
        general features    low(D - R) > 0 and low(D) > l
        open                none of these

    The first that holds counts: a gain over random values that is shown to be smaller than the
    margin, or that leaves a large loss, is no reason to reuse anything.

    A cell is judged at one repair, its `decisive` row. Kernels, and gamma or beta together with
    statistics, are judged after recalibration where that was measured: the donor's own statistics
    fit the donor's kernels, and a control's fit nothing. All others are judged as transplanted.
    Statistics alone have no row after recalibration: nothing of the donor is left.

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method of D - R;
        donor_mean, donor_low, donor_high; random_mean, random_low, random_high; draws; control;
        relative_distance (median over the seeds; None if not recorded); reason, one of REASONS;
        decisive, whether the cell is judged at this repair;
        needed_n: of an open row, about how many seeds would settle it if they were distributed
        as these, None if none up to `bounded.MOST_NEEDED` would.
    """
    cells, values = [], []  # values: of D, R and D - R, a number a seed each
    for arm, seeds in arms.items():
        control = _control(arms, arm)
        if arm.control != "transfer" or arm.strength != 1.0 or control is None:
            continue
        if arm.repair == "recalibration" and _members(arm.group) <= _STATS:
            continue
        donor, random = on_common_seeds(
            clipped_retentions(seeds), mean_over_draws(arms, control)
        )
        if donor:
            distances = [record.relative_distance for record in seeds.values()]
            distances = [value for value in distances if value is not None]
            columns = {
                "control": control.control,
                "draws": len(draws_of(arms, control)),
                "relative_distance": float(np.median(distances)) if distances else None,
            }
            cells.append(cell_columns(arm, seeds) | columns)
            values.append((donor, random, [a - b for a, b in zip(donor, random)]))
    ends = [
        intervals.mean_intervals(
            [sides[i] for sides in values], spec.confidence, bounds=_BOUNDS[i]
        )
        for i in range(3)
    ]
    judged = []
    for cell, sides, donor, random, gain in zip(cells, values, *ends, strict=True):
        reason = _reason(donor, random, gain, spec)
        needed_n = _needed_n(sides, spec) if reason == "open" else None
        row = cell | gain.to_row() | _ends("donor", donor) | _ends("random", random)
        judged.append(row | {"reason": reason, "needed_n": needed_n})
    return in_study_order(_with_decisive(judged), spec)


def compared(rows: Sequence[Row]) -> str:
    """Says which random values the donor's were compared with, and after which repair."""
    if any(row["control"] == "matched" for row in rows):
        control = (
            "Random values have the donor's distance alone (control matched) and keep more of "
            "the recipient's direction than an independent donor has: the difference is in part "
            "due to that. The control angle has the donor's direction too."
        )
    else:
        control = (
            "Random values have the donor's distance to the recipient, norm and cosine, array "
            "by array (control angle)."
        )
    if any(row["decisive"] and row["repair"] == "recalibration" for row in rows):
        return (
            f"{control} Kernels, and gamma or beta together with statistics, are judged after "
            "recalibration, others as transplanted."
        )
    return f"{control} Cells are judged as transplanted."


def excess(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns the task-specific excess loss of every cell with the control "other_seed".

    r(other_seed) - r(transfer), paired by seed, retentions r clipped to [0, 1]. Both
    donors are other networks than the recipient, so the effects of that alone (channels in
    another order, other statistics) cancel; the rest is due to the donor's task.

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method of the
        excess; same_task_mean, transfer_mean over the same replicates: pairs of seeds whose
        networks are no other pair's.
    """
    pending = []
    for arm, seeds in arms.items():
        other_seed = arms.get(arm._replace(control="other_seed"))
        if arm.control != "transfer" or arm.strength != 1.0 or not other_seed:
            continue
        sides = [clipped_retentions(records) for records in (other_seed, seeds)]
        values = paired(sides)
        if values:
            same_task, transfer = (
                independent({seed: side[seed] for seed in values}, other_seed)
                for side in sides
            )
            means = {
                "same_task_mean": float(np.mean([*same_task.values()])),
                "transfer_mean": float(np.mean([*transfer.values()])),
            }
            replicates = [*independent(values, other_seed).values()]
            pending.append((cell_columns(arm, seeds) | means, replicates))
    rows = with_intervals(pending, spec.confidence, DIFFERENCE)
    return in_study_order(rows, spec)


def _reason(
    donor: intervals.Interval,
    random: intervals.Interval,
    gain: intervals.Interval,
    spec: specs.StudySpec,
) -> str:
    enough = 1 - spec.margin
    if donor.low >= enough and random.low >= enough:
        return "small difference"
    if donor.high < enough and gain.high < 0:
        return "worse than random"
    if donor.high < enough and (gain.high < spec.margin or donor.high <= spec.large):
        return "neither"
    if gain.low > 0 and donor.low > spec.large:
        return "general features"
    return "open"


def _control(arms: Arms, arm: Arm) -> Arm | None:
    """Returns the first draw of the random control that the arm is compared with."""
    draws = (arm._replace(control=name, draw=0) for name in CONTROLS)
    return next((draw for draw in draws if draw in arms), None)


def _members(group: str) -> set[str]:
    return {role for name in group.split("+") for role in roles.expand(name)}


def _with_decisive(rows: Sequence[Row]) -> list[Row]:
    """Adds `decisive` to each row: whether its cell is judged at its repair."""
    cells = [(row["site_kind"], row["site"], row["group"]) for row in rows]
    refitted = {
        cell
        for cell, row in zip(cells, rows, strict=True)
        if row["repair"] == "recalibration" and _needs_statistics(row["group"])
    }
    return [
        row
        | {
            "decisive": row["repair"]
            == ("recalibration" if cell in refitted else "none")
        }
        for cell, row in zip(cells, rows, strict=True)
    ]


def _needs_statistics(group: str) -> bool:
    """Returns whether the group's values can be compared only with statistics that fit them."""
    members = _members(group)
    affine = members.intersection(roles.GROUPS["affine"])
    return "kernel" in members or bool(affine and members & _STATS)


def _needed_n(sides: Sequence[Sequence[float]], spec: specs.StudySpec) -> int | None:
    """Returns the fewest seeds that would settle an open row; None if none would.

    Args:
        sides: of the donor, of random values and of their difference, a number a seed each.
    """
    means = [float(np.mean(side)) for side in sides]
    enough = 1 - spec.margin
    # Of each reason: thresholds by side; +1 where the mean must be above, -1 where below.
    reasons = (
        {0: (enough, 1), 1: (enough, 1)},
        {0: (enough, -1), 2: (0.0, -1)},
        {0: (enough, -1), 2: (spec.margin, -1)},
        {0: (min(enough, spec.large), -1)},
        {0: (spec.large, 1), 2: (0.0, 1)},
    )
    needed = []
    for conditions in reasons:
        if any(
            sign * (means[i] - threshold) <= 0
            for i, (threshold, sign) in conditions.items()
        ):
            continue  # the means do not point to this reason
        seeds = [
            bounded.needed_n(sides[i], threshold, _BOUNDS[i], spec.confidence)
            for i, (threshold, _) in conditions.items()
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
