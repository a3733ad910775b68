"""Tests of the cells of a heat map, on planted records."""

import dataclasses

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import intervals, significance
from tfreuse.analysis.bounded import RETENTION

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6)


def test_cells_that_lose_are_significant_and_those_that_do_not_are_not():
    rows = significance.rows(
        planted.only_part(planted.row_of_stages([0.1, 0.97, 0.3, 1.0])), SPEC
    )
    assert [row["significant"] for row in rows] == [True, False, True, False]
    assert {row["threshold"] for row in rows} == {0.95}
    # sorted p times 4 cells over their rank
    assert rows[0]["q"] == pytest.approx(min(4 * rows[0]["p"], 2 * rows[2]["p"]))
    assert {row["cells"] for row in rows} == {4}
    values = np.clip(0.3 + np.roll(planted.NOISE, 2), 0, 1)
    band = intervals.mean_interval(values, 1 - 0.05 / 4, bounds=RETENTION)
    assert (rows[2]["band_low"], rows[2]["band_high"]) == (band.low, band.high)
    assert rows[2]["band_high"] > rows[2]["high"] > 0.3


@pytest.mark.parametrize("n", [3, 6])
def test_wrecks_are_significant_with_three_seeds_and_nothing_lost_is_not_shown(n):
    """Against 1 without a margin 70 of 70 cells were hatched, those at -62 included."""
    spec = dataclasses.replace(SPEC, seeds=n)
    records = planted.row_of_stages([-62.0] * 40 + [1.0] * 30, np.zeros(n))
    rows = significance.rows(planted.only_part(records), spec)
    assert [row["significant"] for row in rows] == [True] * 40 + [False] * 30
    # all at 0 where the mean is 0.95: (1 - 0.95)^n, two-sided
    assert rows[0]["p"] == pytest.approx(2 * 0.05**n)


def test_each_heat_map_is_a_family_of_its_own():
    records = planted.row_of_stages([0.5, 0.6]) + planted.row_of_stages(
        [0.9] * 5, repair="recalibration"
    )
    rows = significance.rows(planted.only_part(records), SPEC)
    cells = {(row["repair"], row["cells"]) for row in rows}
    assert cells == {("none", 2), ("recalibration", 5)}


def test_rows_of_a_heat_map_are_marked_and_keep_what_they_had():
    rows = [
        {
            "site_kind": "stage",
            "site": site,
            "group": "kernel",
            "repair": "none",
            "x": 1,
        }
        for site in ("stage_0", "stage_9")
    ]
    first, second = significance.mark(
        rows, planted.only_part(planted.row_of_stages([0.2, 1.0])), SPEC
    )
    assert first["significant"] and first["x"] == 1
    assert first["threshold"] == 0.95
    assert second["q"] is None and second["band_low"] is None and second["x"] == 1
