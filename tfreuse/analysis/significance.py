"""Tests which cells of a heat map differ from "no harm done", corrected for their number."""

import math
from collections.abc import Sequence

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import (
    Arms,
    Values,
    cell_columns,
    floored_retentions,
    in_study_order,
    with_intervals,
)


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Tests the retention of every cell against 1, together with all cells of its heat map.

    A heat map is the treatment's cells of one kind of site after one repair. Retentions below
    0 count as 0: otherwise one extreme value would widen the interval until harm to every seed
    is not significant.

        q     Benjamini-Hochberg's, of the p of `intervals.p_value` against 1. Without spread
              there is no t: p is 1 where every seed is 1, else the sign-flip test's 2 / 2^n
        band  mean ± L x standard error, L from `intervals.largest_t`: holds all cells' means
              at once; None for a cell that lacks seeds that others have, and where n = 1

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method; p, q,
        significant (q < 1 - confidence), band_low, band_high, cells (of the heat map).
    """
    maps: dict[tuple[str, str], list[tuple[Row, Values]]] = {}
    for arm, seeds in arms.items():
        values = floored_retentions(seeds)
        if (arm.control, arm.strength) == ("transfer", 1.0) and values:
            cell = cell_columns(arm, seeds), values
            maps.setdefault((arm.site_kind, arm.repair), []).append(cell)
    tested = []
    for cells in maps.values():
        bands = _bands([values for _, values in cells], spec.confidence)
        p_values = _p_values([list(values.values()) for _, values in cells])
        q_values = intervals.benjamini_hochberg(p_values)
        for (row, values), p, q, band in zip(cells, p_values, q_values, bands):
            row = row | {"p": p, "q": q, "significant": q < 1 - spec.confidence}
            row |= {"band_low": band[0], "band_high": band[1], "cells": len(cells)}
            tested.append((row, list(values.values())))
    return in_study_order(with_intervals(tested, spec.confidence), spec)


def mark(cells: Sequence[Row], arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Adds the tests of `rows` to the rows of a heat map.

    Args:
        cells: rows with site_kind, site, group and repair, as of `tables.heat_rows`.

    Returns:
        the rows with q, significant, band_low, band_high and floored_mean (the band's middle);
        all None where `arms` have no such cell.
    """
    identity = ("site_kind", "site", "group", "repair")
    tests = {tuple(row[key] for key in identity): row for row in rows(arms, spec)}
    marked = []
    for cell in cells:
        test = tests.get(tuple(cell[key] for key in identity), {})
        columns = {
            key: test.get(key) for key in ("q", "significant", "band_low", "band_high")
        }
        marked.append(cell | columns | {"floored_mean": test.get("mean")})
    return marked


def _p_values(cells: Sequence[Sequence[float]]) -> list[float]:
    """Returns p of "nothing is lost or gained" for each cell."""
    p_values = []
    for values, p in zip(cells, intervals.p_values(cells, 1.0), strict=True):
        if p is None and abs(values[0] - 1) > 1e-9:
            p = intervals.smallest_sign_flip_p(len(values))
        p_values.append(1.0 if p is None else p)
    return p_values


def _bands(
    cells: Sequence[Values], confidence: float
) -> list[tuple[float | None, float | None]]:
    """Returns the ends of the simultaneous band for each cell."""
    seeds = set().union(*cells)
    complete = [values for values in cells if set(values) == seeds]
    if len(seeds) < 2 or not complete:
        return [(None, None)] * len(cells)
    retentions = np.array(  # [seeds, cells]
        [[values[seed] for values in complete] for seed in sorted(seeds)]
    )
    largest_t = intervals.largest_t(retentions, confidence)
    bands = []
    for values in cells:
        if set(values) != seeds:
            bands.append((None, None))
            continue
        cell = np.array(list(values.values()))
        reach = largest_t * cell.std(ddof=1) / math.sqrt(len(cell))
        bands.append((float(cell.mean() - reach), float(cell.mean() + reach)))
    return bands
