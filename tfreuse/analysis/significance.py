"""Tests which cells of a heat map retain enough, or lose more, corrected for their number."""

from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import (
    Arms,
    cell_columns,
    clipped_retentions,
    in_study_order,
    with_intervals,
)
from tfreuse.analysis.bounded import RETENTION


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Tests the retention of every cell against 1 - margin, with all cells of its heat map.

    A heat map is the treatment's cells of one kind of site after one repair. The values, the
    interval, the threshold and the p are those of the verdict on H2: retention clipped to
    [0, 1] and the bounds of `bounded`, so that a heat map and a verdict agree on the same seeds.
    A test against 1 would not do: of values that cannot exceed 1, one below it proves that the
    mean is.

        q     Benjamini-Hochberg's, of the p of "the mean is 1 - margin"
        band  the interval of confidence 1 - (1 - c) / cells (Bonferroni): holds the means of
              all cells at once

    Returns:
        rows of site_kind, site, depth, group, repair; mean, low, high, n, method; threshold, p,
        q, significant (q < 1 - confidence), band_low, band_high, cells (of the heat map).
    """
    rows = with_intervals(_tests(arms, spec), spec.confidence, RETENTION)
    return in_study_order(rows, spec)


def _tests(arms: Arms, spec: specs.StudySpec) -> list[tuple[Row, list[float]]]:
    """Returns the rows of `rows` without the cells' own intervals, each with its values."""
    maps: dict[tuple[str, str], list[tuple[Row, list[float]]]] = {}
    for arm, seeds in arms.items():
        values = [*clipped_retentions(seeds).values()]
        if (arm.control, arm.strength) == ("transfer", 1.0) and values:
            cell = cell_columns(arm, seeds), values
            maps.setdefault((arm.site_kind, arm.repair), []).append(cell)
    threshold, level = 1 - spec.margin, 1 - spec.confidence
    tested = []
    for cells in maps.values():
        values = [seeds for _, seeds in cells]
        p_values = intervals.p_values(values, threshold, bounds=RETENTION)
        q_values = intervals.benjamini_hochberg(p_values)
        bands = intervals.mean_intervals(
            values, 1 - level / len(cells), bounds=RETENTION
        )
        for (row, seeds), p, q, band in zip(
            cells, p_values, q_values, bands, strict=True
        ):
            row = row | {"threshold": threshold, "p": p, "q": q}
            row |= {"significant": q < level, "cells": len(cells)}
            tested.append((row | {"band_low": band.low, "band_high": band.high}, seeds))
    return tested


def mark(cells: Sequence[Row], arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Adds the tests of `rows` to the rows of a heat map.

    Args:
        cells: rows with site_kind, site, group and repair, as of `tables.heat_rows`.
        arms: of the same cells.
        spec: the study's settings.

    Returns:
        the rows with threshold, q, significant, band_low and band_high; all None where `arms`
        have no such cell.
    """
    identity = ("site_kind", "site", "group", "repair")
    columns = ("threshold", "q", "significant", "band_low", "band_high")
    tests = {tuple(row[key] for key in identity): row for row, _ in _tests(arms, spec)}
    marked = []
    for cell in cells:
        test = tests.get(tuple(cell[key] for key in identity), {})
        marked.append(cell | {key: test.get(key) for key in columns})
    return marked
