"""The repair ladder on planted records: the shares of a loss come back and sum to 1."""

import math

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import ladder

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=4)
STAGE = {"site_kind": "stage", "site": "encoder_1", "depth": 0}
NOISE = np.array([0.01, -0.005, 0.0, -0.005])  # of four seeds, mean 0


def rungs(raw, recalibrated, both, noise=NOISE, **changes):
    site = STAGE | {"group": "kernel"} | changes
    found = planted.arm(raw + noise, **site)
    found += planted.arm(recalibrated + noise, repair="recalibration", **site)
    if both is not None:
        repair = "permutation+recalibration"
        found += planted.arm(both + noise, repair=repair, **site)
        found += planted.arm(raw + noise, repair="permutation", **site)
    return found


def steps(rows, quantity):
    return {row["step"]: row for row in rows if row["quantity"] == quantity}


def test_the_shares_of_a_loss_are_those_that_were_planted_and_sum_to_one():
    rows = ladder.rows(planted.only_part(rungs(0.2, 0.4, 0.8)), SPEC)
    shares = steps(rows, "share")
    told = {step: row["mean"] for step, row in shares.items()}
    assert told == pytest.approx(
        {"statistics": 0.25, "permutation": 0.5, "features": 0.25}
    )
    assert math.fsum(told.values()) == pytest.approx(1)
    assert {row["outcome"] for row in rows} == {"lost"}
    assert shares["statistics"]["method"] == "Fieller"
    assert steps(rows, "level")["recalibration"]["mean"] == pytest.approx(0.4)


def test_without_permutation_what_recalibration_leaves_is_one_share():
    rows = ladder.rows(planted.only_part(rungs(0.2, 0.4, None)), SPEC)
    shares = {step: row["mean"] for step, row in steps(rows, "share").items()}
    assert shares == pytest.approx(
        {"statistics": 0.25, "permutation and features": 0.75}
    )


def test_shares_of_next_to_nothing_are_not_told():
    rows = ladder.rows(planted.only_part(rungs(0.97, 0.99, 1.0)), SPEC)
    assert {row["outcome"] for row in rows} == {"nothing lost"}
    assert not steps(rows, "share") and len(steps(rows, "level")) == 4


def test_shares_of_a_loss_that_may_be_none_have_no_ends():
    noise = np.array([0.3, -0.3, 0.1, -0.1])
    rows = ladder.rows(planted.only_part(rungs(0.85, 0.9, 0.95, noise)), SPEC)
    assert {row["outcome"] for row in rows} == {"loss not shown"}
    assert steps(rows, "share")["statistics"]["high"] == math.inf


def test_a_stitch_is_held_against_a_stitch_of_fresh_values():
    site = STAGE | {"group": "kernel"}
    records = rungs(0.2, 0.4, 0.8)
    records += planted.arm(0.9 + NOISE, repair="stitch", **site)
    records += planted.arm(
        0.7 + NOISE, repair="stitch", control="reinitialised", **site
    )
    rows = ladder.rows(planted.only_part(records), SPEC)
    assert steps(rows, "difference")["stitch"]["mean"] == pytest.approx(0.2)
    levels = {
        row["control"]: row["mean"]
        for row in rows
        if (row["quantity"], row["step"]) == ("level", "stitch")
    }
    assert levels == pytest.approx({"transfer": 0.9, "reinitialised": 0.7})
