"""Compares losses at equal size of the move: does the kind of parameter matter by itself?

    magnitude.rows(arms, spec)

H1 as such compares unequal moves: a donor's statistics lie orders of magnitude away from the
recipient's, its gamma and beta close to 1 and 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row
from tfreuse.analysis.arms import Arms, floored_retentions, with_intervals
from tfreuse.records import Record

# Measures of the size of a move, as fields of a record: the two coefficients of the inference
# map y = a x + c, which kernels do not change; or the error of the site's output, which every
# group changes.
MAGNITUDES = {
    "shifts": ("scale_shift", "offset_shift"),
    "output_error": ("output_error",),
}
REFERENCE = "affine"  # the group that the others are compared with, if it was measured

Cell = tuple[str, str, float, tuple[float, ...]]  # site, group, loss, log sizes


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Estimates the loss that a group causes beyond the loss that the size of its move explains.

    For each seed on its own, over the treatment's cells (sites x groups, no repair):

        loss = site + b1 log(1 + |da/a|) + b2 log(1 + |dc|/sigma) + group

    by least squares, with loss = 1 - retention (below 0 counting as 0), an intercept a site and
    a term a group; the interval is over the seeds' terms (Ibragimov & Mueller 2010: it holds
    for few clusters, where cluster-robust errors of a pooled fit do not). `magnitude` "shifts"
    is as above, for groups without kernels; "output_error" has the log of 1 + the relative
    change of the site's output instead, for every group but all, conv and bn.

    A fitted line cannot compare moves of quite different size: `overlap` is the share of the
    group's moves that lie within the sizes of the other group's.

    Returns:
        rows of site_kind ("layer" or "stage"), site "", depth -1, group, against (the group
        it is compared with), repair "none", magnitude, overlap, raw (mean difference of the
        losses without the size), effect, and mean, low, high, n, method of the group's term
        over seeds. `effect`: "no overlap" (under half), "vanishes" (the whole interval within
        the margin), "stays" (it excludes 0 and is not within the margin) or "open".
    """
    pending = []
    for kind in ("layer", "stage"):
        for magnitude, fields in MAGNITUDES.items():
            cells_by_seed = _cells(arms, kind, fields, spec.groups)
            cells = [cell for seed in cells_by_seed.values() for cell in seed]
            groups = sorted({group for _, group, *_ in cells})
            if len(groups) < 2:
                continue
            reference = REFERENCE if REFERENCE in groups else groups[0]
            groups.remove(reference)
            fits = [_fit(seed, groups) for seed in cells_by_seed.values()]
            fits = [terms for terms in fits if terms is not None]
            for i, group in enumerate(groups):
                row = {"site_kind": kind, "site": "", "depth": -1, "group": group}
                row |= {"against": reference, "repair": "none", "magnitude": magnitude}
                row |= {"overlap": _overlap(cells, group, reference)}
                row |= {"raw": _mean_difference(cells, group, reference)}
                pending.append((row, [terms[i] for terms in fits]))
    return [
        row | {"effect": _effect(row, spec.margin)}
        for row in with_intervals(pending, spec.confidence)
    ]


def _cells(
    arms: Arms, kind: str, fields: Sequence[str], groups: Sequence[str]
) -> dict[int, list[Cell]]:
    """Returns by seed the cells whose size of move was recorded, of disjoint groups."""
    disjoint = {g for g in groups if g not in ("all", "conv", "bn")}
    if "scale_shift" in fields:
        disjoint.discard("kernel")
    cells: dict[int, list[Cell]] = {}
    for arm, seeds in arms.items():
        # control and kind of site; repair, strength and draw
        if arm[:2] != ("transfer", kind) or arm[4:] != ("none", 1.0, 0):
            continue
        if arm.group in disjoint:
            for seed, loss, sizes in _losses(seeds, fields):
                cells.setdefault(seed, []).append((arm.site, arm.group, loss, sizes))
    return dict(sorted(cells.items()))


def _losses(
    seeds: Mapping[int, Record], fields: Sequence[str]
) -> Iterator[tuple[int, float, tuple[float, ...]]]:
    """Yields seed, loss and log sizes where all of them are known."""
    for seed, retention in floored_retentions(seeds).items():
        sizes = [getattr(seeds[seed], field) for field in fields]
        if None not in sizes:
            yield seed, 1 - retention, tuple(np.log1p(np.abs(sizes)))


def _fit(cells: Sequence[Cell], groups: Sequence[str]) -> np.ndarray | None:
    """Fits one seed by least squares; returns the terms of `groups`, [groups].

    None where the cells do not determine them: too few, collinear, or a group is missing.
    """
    sites = sorted({site for site, *_ in cells})
    columns = [[float(cell[0] == site) for cell in cells] for site in sites]
    columns += [[float(cell[1] == group) for cell in cells] for group in groups]
    columns += zip(*(sizes for *_, sizes in cells), strict=True)
    design = np.array(columns).T  # [cells, sites + groups + sizes]
    # a size that is 0 in all cells would make the rank deficient
    design = design[:, np.abs(design).max(axis=0) > 0]
    losses = np.array([loss for _, _, loss, _ in cells])
    if len(design) <= design.shape[1]:
        return None
    terms, _, rank, _ = np.linalg.lstsq(design, losses, rcond=None)
    if rank < design.shape[1] or not {cell[1] for cell in cells} > set(groups):
        return None
    return terms[len(sites) : len(sites) + len(groups)]


def _mean_difference(cells: Sequence[Cell], group: str, reference: str) -> float:
    """Returns the mean loss of the group less that of the reference."""
    group_mean, reference_mean = (
        np.mean([loss for _, name, loss, _ in cells if name == chosen])
        for chosen in (group, reference)
    )
    return float(group_mean - reference_mean)


def _overlap(cells: Sequence[Cell], group: str, reference: str) -> float:
    """Returns the share of the group's moves whose every size the reference's moves span."""
    sizes, spanned = (
        np.array([sizes for _, name, _, sizes in cells if name == chosen])
        for chosen in (group, reference)
    )
    inside = (sizes >= spanned.min(axis=0)) & (sizes <= spanned.max(axis=0))
    return float(inside.all(axis=1).mean())


def _effect(row: Mapping[str, Any], margin: float) -> str:
    if row["overlap"] < 0.5:
        return "no overlap"
    if -margin < row["low"] and row["high"] < margin:
        return "vanishes"
    if row["low"] > 0 or row["high"] < 0:
        return "stays"
    return "open"
