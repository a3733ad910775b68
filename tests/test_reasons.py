"""The paper's two reasons and the excess loss, on planted records: each comes back as planted."""

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import intervals, reasons
from tfreuse.analysis.bounded import DIFFERENCE

SEEDS = 200  # so many are needed to show that a loss or a gain is under the margin
SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=SEEDS)
STAGE = {"site_kind": "stage", "site": "encoder_1", "depth": 0}
NOISE = np.tile([0.005, -0.0025, 0.0, -0.0025], SEEDS // 4)  # mean 0


def cell(donor, random, spread=NOISE, control="angle", **changes):
    """Donor and two draws of a random control, which lie 0.004 to each side."""
    site = STAGE | {"group": "kernel"} | changes
    found = planted.arm(donor + spread, **site)
    for draw, away in enumerate((0.004, -0.004)):
        values = random + away + spread[::-1]
        found += planted.arm(values, control=control, draw=draw, **site)
    return found


@pytest.mark.parametrize(
    ("donor", "random", "reason"),
    [
        (0.99, 0.98, "small difference"),
        (0.98, 0.40, "general features"),
        (0.99, 0.90, "general features"),  # random values do some harm
        (0.60, 0.20, "general features"),
        (0.30, 0.30, "neither"),
        (0.23, 0.03, "neither"),  # better than random, and not worth having
        (0.55, 0.20, "general features"),
        (0.50, 0.20, "open"),  # a large loss, or not
        (0.10, 0.50, "worse than random"),
        (0.90, 0.99, "worse than random"),  # though most is retained
        (0.97, 0.99, "small difference"),
        (0.325, 0.30, "neither"),  # better, but by less than the margin
        (0.95, 0.95, "open"),
    ],
)
def test_the_two_reasons_are_told_apart(donor, random, reason):
    (row,) = reasons.rows(planted.only_part(cell(donor, random)), SPEC)
    assert row["reason"] == reason and reason in reasons.REASONS
    assert row["mean"] == pytest.approx(donor - random)
    assert row["donor_mean"] == pytest.approx(donor)
    assert row["random_mean"] == pytest.approx(random)
    assert (row["n"], row["draws"], row["relative_distance"]) == (SEEDS, 2, 1.0)
    assert {key: row[key] for key in STAGE} == STAGE


def test_four_seeds_leave_the_reason_open_and_tell_the_seeds_needed():
    few = np.array([0.03, -0.01, 0.0, -0.02])
    (row,) = reasons.rows(planted.only_part(cell(0.8, 0.2, few)), SPEC)
    assert row["reason"] == "open"
    # "general features" needs low(D - R) > 0 and low(D) > 0.5, which takes more seeds
    again = np.tile(np.sort(few), -(-row["needed_n"] // 4))
    (row,) = reasons.rows(planted.only_part(cell(0.8, 0.2, again)), SPEC)
    assert 8 <= row["n"] < 30 and row["reason"] == "general features"
    (row,) = reasons.rows(planted.only_part(cell(0.8, 0.2, again[:6])), SPEC)
    assert row["reason"] == "open"


def test_the_seeds_needed_are_those_of_the_condition_that_takes_most():
    """Both lose little, the random values more: they take the most seeds."""
    site = STAGE | {"group": "kernel"}
    records = planted.arm([1.0] * 4, **site)
    records += planted.arm([0.98] * 4, control="angle", **site)
    (row,) = reasons.rows(planted.only_part(records), SPEC)
    assert row["reason"] == "open"
    # .98 x .025^(1/n) + 0 >= .95 first at n = 119; 1 x .025^(1/n) at n = 72
    assert row["needed_n"] == 119


def test_reasons_come_only_where_random_values_were_tried():
    assert reasons.rows(planted.only_part(planted.study()), SPEC) == []


def test_absurd_images_count_as_nothing_retained_in_the_reasons():
    (row,) = reasons.rows(planted.only_part(cell(-50.0, -3.0)), SPEC)
    assert (row["mean"], row["donor_mean"], row["reason"]) == (0.0, 0.0, "neither")
    assert row["donor_high"] == pytest.approx(1 - 0.025 ** (1 / SEEDS), abs=1e-6)


def test_each_cell_is_judged_once_kernels_with_statistics_that_fit_them():
    records = []
    for group in ("kernel", "bias", "affine", "stats", "bn", "all"):
        records += cell(0.2, 0.6, group=group)
        records += cell(0.9, 0.3, group=group, repair="recalibration")
    rows = reasons.rows(planted.only_part(records), SPEC)
    judged = {row["group"]: row for row in rows if row["decisive"]}
    assert {group: row["repair"] for group, row in judged.items()} == {
        "kernel": "recalibration",
        "bias": "none",
        "affine": "none",
        "stats": "none",
        "bn": "recalibration",
        "all": "recalibration",
    }
    assert len(judged) == sum(row["decisive"] for row in rows)
    assert judged["all"]["reason"] == "general features"
    assert judged["affine"]["reason"] == "worse than random"
    # re-estimated statistics hold nothing of the donor's
    assert ("stats", "recalibration") not in {(r["group"], r["repair"]) for r in rows}
    assert "after recalibration" in reasons.compared(rows)


def test_older_studies_are_read_with_the_control_that_they_have():
    """`matched` is a control of distance alone; where both are there the better one counts."""
    old = cell(0.2, 0.6, control="matched")
    (row,) = reasons.rows(planted.only_part(old), SPEC)
    assert (row["control"], row["decisive"]) == ("matched", True)
    assert "distance alone" in reasons.compared([row])
    (row,) = reasons.rows(planted.only_part(old + cell(0.2, 0.2)[SEEDS:]), SPEC)
    assert (row["control"], row["reason"]) == ("angle", "neither")
    assert "distance alone" not in reasons.compared([row])


def test_excess_is_paired_by_seed():
    shared = np.array([0.0, 0.1, 0.2, 0.3])
    site = STAGE | {"group": "kernel"}
    records = planted.arm(0.2 + shared, **site)
    records += planted.arm(0.5 + shared, control="other_seed", **site)
    (row,) = reasons.excess(planted.only_part(records), SPEC)
    assert row["mean"] == pytest.approx(0.3)
    equal = intervals.mean_interval([0.3] * 4, bounds=DIFFERENCE)
    assert (row["low"], row["high"]) == pytest.approx((equal.low, equal.high))
    assert row["same_task_mean"] == pytest.approx(0.65)
