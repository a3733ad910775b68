"""What a repair wins back tells what the loss was made of: the repair ladder."""

import numpy as np

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    Row,
    Values,
    cell_columns,
    floored_retentions,
    in_study_order,
    on_common_seeds,
    with_intervals,
)

STEPS = specs.REPAIRS  # from none on, each a level of the ladder
CONTROLS = ("transfer", "reinitialised")  # a stitch of fresh values is a stitch's floor


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Levels of the repair ladder and the shares of the loss, wherever none and another ran.

    With L the retention (below 0 counting as 0) after each repair (none, recalibration,
    permutation, permutation+recalibration):

        statistics   (L_recalibration - L_none) / (1 - L_none)
        permutation  (L_permutation+recalibration - L_recalibration) / (1 - L_none)
        features     (1 - L_permutation+recalibration) / (1 - L_none)

    They sum to 1. Without the permutation repairs the last two come as one, "permutation and
    features" = (1 - L_recalibration) / (1 - L_none). A share is a ratio of means over the same
    seeds, its interval Fieller's (`intervals.ratio_interval`): a mean of ratios would be ruled
    by the seed that lost least, and a bootstrap or jackknife of the ratio pretends that the
    loss is known to be away from 0.

    Returns:
        rows of site_kind, site, depth, group, repair (always "none": the cell), quantity,
        step, control, outcome, mean, low, high, n, method. `quantity` is
        "level": retention after the repair `step`, of the donor (control "transfer") or of
        fresh values (control "reinitialised"); "difference": at step stitch or fine_tuning,
        transfer less reinitialised, paired; "share": `step` is one of the parts above.
        `outcome` is "nothing lost" (mean loss under the margin: no shares), "loss not shown"
        (its interval holds 0: shares without ends) or "lost".
    """
    pending, shares = [], []
    for arm, seeds in arms.items():
        if (arm.control, arm.repair, arm.strength) != ("transfer", "none", 1.0):
            continue
        levels = {control: _levels(arms, arm, control) for control in CONTROLS}
        if len(levels["transfer"]) < 2:
            continue
        row = cell_columns(arm, seeds)
        outcome = _outcome(levels["transfer"]["none"], spec)
        for control, held in levels.items():
            for step, values in held.items():
                named = _named("level", step, control, outcome)
                pending.append((row | named, list(values.values())))
        pending += [
            (row | _named("difference", step, "transfer", outcome), values)
            for step, values in _differences(levels)
        ]
        if outcome != "nothing lost":
            for step, found in _shares(levels["transfer"], spec.confidence):
                named = _named("share", step, "transfer", outcome)
                shares.append(row | named | found.to_row())
    return in_study_order(with_intervals(pending, spec.confidence) + shares, spec)


def _named(quantity: str, step: str, control: str, outcome: str) -> Row:
    return {
        "quantity": quantity,
        "step": step,
        "control": control,
        "outcome": outcome,
    }


def _levels(arms: Arms, arm: Arm, control: str) -> dict[str, Values]:
    """Retention by seed after each repair that was measured."""
    found = {}
    for step in STEPS:
        values = floored_retentions(
            arms.get(arm._replace(control=control, repair=step), {})
        )
        if values:
            found[step] = values
    return found


def _outcome(levels: Values, spec: specs.StudySpec) -> str:
    lost = intervals.mean_interval([1 - v for v in levels.values()], spec.confidence)
    if lost.estimate < spec.margin:
        return "nothing lost"
    return "lost" if lost.low > 0 else "loss not shown"


def _differences(levels: dict[str, dict[str, Values]]):
    """What the donor has over fresh values where a repair alone might do it all."""
    for step in ("stitch", "fine_tuning"):
        sides = [levels[control].get(step, {}) for control in CONTROLS]
        donor, fresh = on_common_seeds(*sides)
        if donor:
            yield step, [a - b for a, b in zip(donor, fresh)]


def _shares(levels: dict[str, Values], confidence: float):
    """Each part of the loss, as a share of it; none where no seed has all the levels."""
    both = "permutation+recalibration"
    chosen = [step for step in ("none", "recalibration", both) if step in levels]
    if chosen[:2] != ["none", "recalibration"]:
        return
    found = np.array(
        on_common_seeds(*(levels[step] for step in chosen))
    )  # [steps, seeds]
    if not found.size:
        return
    lost = 1 - found[0]
    parts = {"statistics": found[1] - found[0]}
    if both in chosen:
        parts["permutation"] = found[2] - found[1]
        parts["features"] = 1 - found[2]
    else:
        parts["permutation and features"] = 1 - found[1]
    for step, part in parts.items():
        yield step, intervals.ratio_interval(part, lost, confidence)
