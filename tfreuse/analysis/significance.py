"""Which cells of a heat map differ from "no harm done", all of them looked at together."""

import math
from collections.abc import Sequence

import numpy as np

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.arms import (
    Arms,
    Row,
    Values,
    cell_columns,
    floored_retentions,
    in_study_order,
    with_intervals,
)


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Retention of every cell, tested against 1 with all cells of the same heat map.

    A heat map is the treatment's cells of one kind of site after one repair. Retentions below
    0 count as 0, so that one absurd image does not hide that every seed was harmed.

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
    found = []
    for cells in maps.values():
        bands = _bands([values for _, values in cells], spec.confidence)
        p_values = _p_values([list(values.values()) for _, values in cells])
        q_values = intervals.benjamini_hochberg(p_values)
        for (row, values), p, q, band in zip(cells, p_values, q_values, bands):
            row = row | {"p": p, "q": q, "significant": q < 1 - spec.confidence}
            row |= {"band_low": band[0], "band_high": band[1], "cells": len(cells)}
            found.append((row, list(values.values())))
    return in_study_order(with_intervals(found, spec.confidence), spec)


def mark(cells: Sequence[Row], arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """The rows of a heat map with what `significance` says of their cells.

    Args:
        cells: rows with site_kind, site, group and repair, as `report.tables.heat_rows` gives.

    Returns:
        the rows with q, significant, band_low, band_high and floored_mean (the band's middle);
        all None where there is no such cell.
    """
    identity = ("site_kind", "site", "group", "repair")
    told = {tuple(row[key] for key in identity): row for row in rows(arms, spec)}
    added = ("q", "significant", "band_low", "band_high")
    marked = []
    for row in cells:
        found = told.get(tuple(row[key] for key in identity), {})
        more = {key: found.get(key) for key in added}
        marked.append(row | more | {"floored_mean": found.get("mean")})
    return marked


def _p_values(cells: Sequence[Sequence[float]]) -> list[float]:
    """p of "nothing is lost or gained" for each cell."""
    found = []
    for values, p in zip(cells, intervals.p_values(cells, 1.0), strict=True):
        if p is None and abs(values[0] - 1) > 1e-9:
            p = intervals.smallest_sign_flip_p(len(values))
        found.append(1.0 if p is None else p)
    return found


def _bands(
    cells: Sequence[Values], confidence: float
) -> list[tuple[float | None, float | None]]:
    """Ends of the simultaneous band for each cell."""
    seeds = set().union(*cells)
    whole = [values for values in cells if set(values) == seeds]
    if len(seeds) < 2 or not whole:
        return [(None, None)] * len(cells)
    table = np.array([[values[seed] for values in whole] for seed in sorted(seeds)])
    reach = intervals.largest_t(table, confidence)
    found = []
    for values in cells:
        if set(values) != seeds:
            found.append((None, None))
            continue
        one = np.array(list(values.values()))
        error = reach * one.std(ddof=1) / math.sqrt(len(one))
        found.append((float(one.mean() - error), float(one.mean() + error)))
    return found
