"""The paper's two reasons and the excess loss, on planted records: each comes back as planted."""

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import reasons

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=4)
STAGE = {"site_kind": "stage", "site": "encoder_1", "depth": 0}
NOISE = np.array([0.01, -0.005, 0.0, -0.005])  # of four seeds, mean 0


def cell(donor, random, spread=NOISE, control="angle", **changes):
    """Donor and two draws of a random control, which lie 0.02 to each side."""
    site = STAGE | {"group": "kernel"} | changes
    found = planted.arm(donor + spread, **site)
    for draw, away in enumerate((0.02, -0.02)):
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
    assert (row["n"], row["draws"], row["relative_distance"]) == (4, 2, 1.0)
    assert {key: row[key] for key in STAGE} == STAGE


def test_a_wide_spread_leaves_the_reason_open_and_tells_the_seeds_needed():
    wide = np.array([0.3, -0.1, 0.0, -0.2])
    (row,) = reasons.rows(planted.only_part(cell(0.8, 0.6, wide)), SPEC)
    assert row["reason"] == "open"
    # donor - random by seed: .2 + (.3 + .2, -.1 - 0, 0 + .1, -.2 - .3) = .7 .1 .3 -.3: sd .4163.
    # t(n - 1) x .4163 / sqrt(n) <= .2 first at n = 20 (2.093 x .4163 / 4.472 = .1948)
    assert row["needed_n"] == 20


def test_the_seeds_needed_are_those_of_the_condition_that_takes_most():
    """Both at 0.97, of which 0.02 is to spare; the donor spreads least."""
    site = STAGE | {"group": "kernel"}
    narrow, wide = np.array([1, -1, 1, -1]) * 0.02, np.array([1, 1, -1, -1]) * 0.04
    records = planted.arm(0.97 + narrow, **site)
    records += planted.arm(0.97 + wide, control="angle", **site)
    (row,) = reasons.rows(planted.only_part(records), SPEC)
    assert row["reason"] == "open"
    # sd .0462 (random): t(n - 1) x .0462 / sqrt(n) <= .02 first at n = 23 (2.0739 / 4.7958);
    # sd .0231 (donor): first at n = 8
    assert row["needed_n"] == 23


def test_reasons_come_only_where_random_values_were_tried():
    assert reasons.rows(planted.only_part(planted.study()), SPEC) == []


def test_absurd_images_count_as_nothing_retained_in_the_reasons():
    (row,) = reasons.rows(planted.only_part(cell(-50.0, -3.0)), SPEC)
    assert (row["mean"], row["donor_high"], row["reason"]) == (0.0, 0.0, "neither")


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
    (row,) = reasons.rows(planted.only_part(old + cell(0.2, 0.2)[4:]), SPEC)
    assert (row["control"], row["reason"]) == ("angle", "neither")
    assert "distance alone" not in reasons.compared([row])


def test_excess_is_paired_by_seed():
    shared = np.array([0.0, 0.1, 0.2, 0.3])
    site = STAGE | {"group": "kernel"}
    records = planted.arm(0.2 + shared, **site)
    records += planted.arm(0.5 + shared, control="other_seed", **site)
    (row,) = reasons.excess(planted.only_part(records), SPEC)
    assert row["mean"] == pytest.approx(0.3)
    assert row["high"] - row["low"] < 1e-9
    assert row["same_task_mean"] == pytest.approx(0.65)
