"""Tests of the cells of a heat map, on planted records."""

import math

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import intervals, significance

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6)


def test_cells_that_lose_are_significant_and_those_that_do_not_are_not():
    rows = significance.rows(
        planted.only_part(planted.row_of_stages([0.5, 1.0, 0.7, 1.0])), SPEC
    )
    assert [row["significant"] for row in rows] == [True, False, True, False]
    # both lowest p are 2 / 10000 or so: q = p x 4 cells / rank 2
    assert rows[0]["q"] == pytest.approx(2 * rows[0]["p"], rel=0.6)
    assert {row["cells"] for row in rows} == {4}
    reach = intervals.largest_t(
        np.stack([0.5 + np.roll(planted.NOISE, i) for i in range(4)], axis=1)
    )
    error = planted.NOISE.std(ddof=1) / math.sqrt(6)
    assert rows[2]["band_low"] == pytest.approx(0.7 - reach * error, rel=0.01)
    assert rows[2]["band_high"] > rows[2]["high"] > 0.7


def test_each_heat_map_is_a_family_of_its_own():
    records = planted.row_of_stages([0.5, 0.6]) + planted.row_of_stages(
        [0.9] * 5, repair="recalibration"
    )
    rows = significance.rows(planted.only_part(records), SPEC)
    cells = {(row["repair"], row["cells"]) for row in rows}
    assert cells == {("none", 2), ("recalibration", 5)}


def test_cells_without_spread_are_judged_by_signs():
    flat = np.zeros(6)
    rows = significance.rows(
        planted.only_part(
            planted.row_of_stages([1.0, 0.0], flat)
            + planted.row_of_stages([-7.0], group="stats")
        ),
        SPEC,
    )
    told = {(row["site"], row["group"]): row for row in rows}
    assert told["stage_0", "kernel"]["p"] == 1
    assert told["stage_1", "kernel"]["p"] == 2 / 64
    assert told["stage_0", "stats"]["p"] == 2 / 64  # all below 0: nothing is retained
    assert told["stage_0", "stats"]["band_low"] == 0


def test_a_cell_that_lacks_seeds_has_no_band():
    records = [
        r
        for r in planted.row_of_stages([0.5, 0.6])
        if (r.site, r.seed) != ("stage_1", 3)
    ]
    rows = significance.rows(planted.only_part(records), SPEC)
    assert rows[0]["band_low"] is not None and rows[1]["band_low"] is None


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
        rows, planted.only_part(planted.row_of_stages([0.5, 1.0])), SPEC
    )
    assert first["significant"] and first["x"] == 1
    assert first["floored_mean"] == pytest.approx(0.5)
    assert second["q"] is None and second["band_low"] is None and second["x"] == 1
