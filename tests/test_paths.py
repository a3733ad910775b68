"""Strength paths and profiles, on planted records."""

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import paths

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6)


def along(path, noise=planted.NOISE, **changes):
    site = {"site_kind": "stage", "site": "stage_0", "depth": 0, "group": "kernel"}
    found = []
    for alpha, one in path.items():
        found += planted.arm(one + noise, strength=alpha, **(site | changes))
    return found


def test_alpha_star_and_the_area_are_those_of_the_planted_path():
    path = {0.25: 1.0, 0.5: 0.97, 0.75: 0.6, 1.0: 0.2}
    rows = paths.strengths(planted.only_part(along(path)), SPEC)
    told = {row["quantity"]: row["mean"] for row in rows if row["quantity"] != "path"}
    assert told["alpha_star"] == 0.5
    # trapezoids of 0.25: (1 + 1) / 2 + (1 + .97) / 2 + (.97 + .6) / 2 + (.6 + .2) / 2
    # less what is clipped at 1: the mean of .012, .003 and .008 over six seeds
    lost = 0.25 * (0.023 / 6)
    area = 0.25 * (1 + 0.985 + 0.785 + 0.4) - lost
    assert told["aurc"] == pytest.approx(area, abs=1e-6)
    told = {row["alpha"]: row["mean"] for row in rows if row["quantity"] == "path"}
    clipped = {
        alpha: np.minimum(1, mean + planted.NOISE).mean()
        for alpha, mean in path.items()
    }
    assert told == pytest.approx(clipped)


def test_a_path_that_recovers_counts_only_up_to_its_first_fall():
    path = {0.25: 0.5, 0.5: 1.0, 1.0: 1.0}
    rows = paths.strengths(planted.only_part(along(path)), SPEC)
    (star,) = (row for row in rows if row["quantity"] == "alpha_star")
    assert star["mean"] == star["low"] == 0
    assert star["high"] == pytest.approx(1 - 0.025 ** (1 / 6))


def test_full_transplants_alone_are_no_path():
    assert paths.strengths(planted.only_part(along({1.0: 0.5})), SPEC) == []
    assert paths.strengths(planted.only_part(along({0.25: 1.0, 0.5: 0.9})), SPEC) == []


def test_profiles_tell_the_share_of_sites_that_retain_enough():
    rows = paths.profiles(
        planted.only_part(planted.row_of_stages([0.0, 0.3, 0.52, 1.0], np.zeros(6))),
        SPEC,
    )
    told = {row["tau"]: row["mean"] for row in rows if row["quantity"] == "profile"}
    assert [told[tau] for tau in (0.0, 0.3, 0.35, 0.5, 0.55, 1.0)] == pytest.approx(
        [1, 0.75, 0.5, 0.5, 0.25, 0.25], abs=1e-9
    )
    (iqm,) = (row for row in rows if row["quantity"] == "iqm")
    assert iqm["mean"] == pytest.approx((0.3 + 0.52) / 2)
    assert (iqm["sites"], iqm["n"], iqm["control"]) == (4, 6, "transfer")


def test_the_middle_half_of_seven_sites_leaves_one_out_at_each_end():
    retained = [0.0, 0.2, 0.3, 0.4, 0.6, 0.7, 1.0]
    rows = paths.profiles(
        planted.only_part(planted.row_of_stages(retained, np.zeros(6))), SPEC
    )
    (iqm,) = (row for row in rows if row["quantity"] == "iqm")
    assert iqm["mean"] == pytest.approx((0.2 + 0.3 + 0.4 + 0.6 + 0.7) / 5)


def test_a_seed_without_every_site_does_not_count_in_a_profile():
    records = [
        r
        for r in planted.row_of_stages([0.2, 0.9])
        if (r.site, r.seed) != ("stage_1", 3)
    ]
    assert {row["n"] for row in paths.profiles(planted.only_part(records), SPEC)} == {5}
