"""Is it the kind of parameter that matters, or just how far it was moved?

    beyond_magnitude(arms, spec)

H1 as such is about unequal moves: a donor's statistics lie orders of magnitude away, its gamma
and beta close to 1 and 0. Here losses are compared at equal size of the move.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse import specs
from tfreuse.analysis.arms import Arms, with_intervals
from tfreuse.records import Record

# What measures the size of a move: two numbers of the inference map y = a x + c, which kernels
# do not change; or what happens to the site's output, which every group changes.
MAGNITUDES = {
    "shifts": ("scale_shift", "offset_shift"),
    "output_error": ("output_error",),
}
AGAINST = "affine"  # the group that others are compared with, where it was measured


def rows(arms: Arms, spec: specs.StudySpec) -> list[dict[str, Any]]:
    """The loss that a group causes beyond what the size of its move explains.

    For each seed on its own, over the treatment's cells (sites x groups, no repair):

        loss = site + b1 log(1 + |da/a|) + b2 log(1 + |dc|/sigma) + group

    by least squares, with loss = 1 - retention (below 0 counting as 0), an intercept a site and
    a term a group; the interval is over the seeds' terms (Ibragimov & Mueller 2010: it holds
    for few clusters, where cluster-robust errors of a pooled fit do not). `magnitude` "shifts"
    is as above, for groups without kernels; "output_error" has the log of 1 + the relative
    change of the site's output instead, for every group but all, conv and bn.

    A fitted line cannot compare moves of quite different size: `overlap` tells what share of
    the group's moves is within the sizes of the other group's.

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
            cells = _cells(arms, kind, fields, spec.groups)
            groups = sorted({c[1] for seed in cells.values() for c in seed})
            if len(groups) < 2:
                continue
            against = AGAINST if AGAINST in groups else groups[0]
            groups.remove(against)
            fits = [_fit(seed, groups) for seed in cells.values()]
            fits = [fit for fit in fits if fit is not None]
            every = [cell for seed in cells.values() for cell in seed]
            for i, group in enumerate(groups):
                row = {"site_kind": kind, "site": "", "depth": -1, "group": group}
                row |= {"against": against, "repair": "none", "magnitude": magnitude}
                row |= {"overlap": _overlap(every, group, against)}
                row |= {"raw": _raw(every, group, against)}
                pending.append((row, [fit[i] for fit in fits]))
    rows = with_intervals(pending, spec.confidence)
    return [row | {"effect": _effect(row, spec.margin)} for row in rows]


Cell = tuple[str, str, float, tuple[float, ...]]  # site, group, loss, sizes


def _cells(
    arms: Arms, kind: str, fields: Sequence[str], groups: Sequence[str]
) -> dict[int, list[Cell]]:
    """The cells by seed whose size of move is known, of groups that do not hold one another."""
    chosen = {g for g in groups if g not in ("all", "conv", "bn")}
    if "scale_shift" in fields:
        chosen.discard("kernel")
    found: dict[int, list[Cell]] = {}
    for arm, seeds in arms.items():
        if arm[:2] != ("transfer", kind) or arm[4:] != ("none", 1.0, 0):
            continue
        if arm.group in chosen:
            for seed, cell in _measured(seeds, fields):
                found.setdefault(seed, []).append((arm.site, arm.group, *cell))
    return dict(sorted(found.items()))


def _measured(
    seeds: Mapping[int, Record], fields: Sequence[str]
) -> Iterator[tuple[int, tuple[float, tuple[float, ...]]]]:
    for seed, record in seeds.items():
        sizes = [getattr(record, field) for field in fields]
        if None not in sizes and not np.isnan(record.retention):
            loss = 1 - max(0.0, record.retention)
            yield seed, (loss, tuple(np.log1p(np.abs(sizes))))


def _fit(cells: Sequence[Cell], groups: Sequence[str]) -> np.ndarray | None:
    """The terms of the groups in one seed; None where they cannot be told from the rest."""
    sites = sorted({cell[0] for cell in cells})
    columns = [[float(cell[0] == site) for cell in cells] for site in sites]
    columns += [[float(cell[1] == group) for cell in cells] for group in groups]
    columns += zip(*(cell[3] for cell in cells), strict=True)
    design = np.array(columns).T  # [cells, sites + groups + sizes]
    design = design[:, np.abs(design).max(axis=0) > 0]
    loss = np.array([cell[2] for cell in cells])
    if len(design) <= design.shape[1]:
        return None
    terms, _, rank, _ = np.linalg.lstsq(design, loss, rcond=None)
    if rank < design.shape[1] or not {c[1] for c in cells} > set(groups):
        return None
    return terms[len(sites) : len(sites) + len(groups)]


def _raw(cells: Sequence[Cell], group: str, against: str) -> float:
    own, other = (
        np.mean([cell[2] for cell in cells if cell[1] == name])
        for name in (group, against)
    )
    return float(own - other)


def _overlap(cells: Sequence[Cell], group: str, against: str) -> float:
    """Share of the group's moves that lie, in every size, within the other's."""
    own, other = (
        np.array([cell[3] for cell in cells if cell[1] == name])
        for name in (group, against)
    )
    inside = (own >= other.min(axis=0)) & (own <= other.max(axis=0))
    return float(inside.all(axis=1).mean())


def _effect(row: Mapping[str, Any], margin: float) -> str:
    if row["overlap"] < 0.5:
        return "no overlap"
    if -margin < row["low"] and row["high"] < margin:
        return "vanishes"
    if row["low"] > 0 or row["high"] < 0:
        return "stays"
    return "open"
