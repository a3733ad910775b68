"""Divides a loss into the parts that each repair restores: the repair ladder."""

from collections.abc import Iterator

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
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
    """Returns the levels of the ladder and the shares of the loss.

    For every cell that was measured after "none" and another repair. With L the retention
    (below 0 counting as 0) after each repair:

        statistics   (L_recalibration - L_none) / (1 - L_none)
        permutation  (L_permutation+recalibration - L_recalibration) / (1 - L_none)
        features     (1 - L_permutation+recalibration) / (1 - L_none)

    They sum to 1. Without the permutation repairs the last two are one share, "permutation and
    features" = (1 - L_recalibration) / (1 - L_none). A share is a ratio of means over the same
    seeds with Fieller's interval (`intervals.ratio_interval`): a mean of ratios would be
    dominated by the seed that lost least.

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
        outcome = _outcome(levels["transfer"]["none"], spec)
        cell = cell_columns(arm, seeds)
        for control, values_of in levels.items():
            for step, values in values_of.items():
                row = cell | _columns("level", step, control, outcome)
                pending.append((row, list(values.values())))
        for step, values in _differences(levels):
            row = cell | _columns("difference", step, "transfer", outcome)
            pending.append((row, values))
        if outcome != "nothing lost":
            for step, ratio in _shares(levels["transfer"], spec.confidence):
                row = cell | _columns("share", step, "transfer", outcome)
                shares.append(row | ratio.to_row())
    return in_study_order(with_intervals(pending, spec.confidence) + shares, spec)


def _columns(quantity: str, step: str, control: str, outcome: str) -> Row:
    return {"quantity": quantity, "step": step, "control": control, "outcome": outcome}


def _levels(arms: Arms, arm: Arm, control: str) -> dict[str, Values]:
    """Returns retention by seed after each repair that was measured."""
    levels = {
        step: floored_retentions(
            arms.get(arm._replace(control=control, repair=step), {})
        )
        for step in STEPS
    }
    return {step: values for step, values in levels.items() if values}


def _outcome(values: Values, spec: specs.StudySpec) -> str:
    loss = intervals.mean_interval([1 - v for v in values.values()], spec.confidence)
    if loss.estimate < spec.margin:
        return "nothing lost"
    return "lost" if loss.low > 0 else "loss not shown"


def _differences(
    levels: dict[str, dict[str, Values]],
) -> Iterator[tuple[str, list[float]]]:
    """Yields donor less fresh values after repairs that might restore everything alone."""
    for step in ("stitch", "fine_tuning"):
        sides = [levels[control].get(step, {}) for control in CONTROLS]
        donor, fresh = on_common_seeds(*sides)
        if donor:
            yield step, [a - b for a, b in zip(donor, fresh)]


def _shares(
    levels: dict[str, Values], confidence: float
) -> Iterator[tuple[str, intervals.Interval]]:
    """Yields each part as a share of the loss; nothing where no seed has all the levels."""
    aligned = "permutation+recalibration"
    steps = [step for step in ("none", "recalibration", aligned) if step in levels]
    if steps[:2] != ["none", "recalibration"]:
        return
    retained = np.array(on_common_seeds(*(levels[step] for step in steps)))
    if not retained.size:  # [steps, seeds]
        return
    loss = 1 - retained[0]
    parts = {"statistics": retained[1] - retained[0]}
    if aligned in steps:
        parts["permutation"] = retained[2] - retained[1]
        parts["features"] = 1 - retained[2]
    else:
        parts["permutation and features"] = 1 - retained[1]
    for step, part in parts.items():
        yield step, intervals.ratio_interval(part, loss, confidence)
