"""Compares orders in which channels move: retention against the share of channels moved.

arms = channels.by_part(records)[part]
channels.rows(arms, spec)
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row
from tfreuse.analysis.arms import (
    Part,
    Values,
    add,
    clipped_retentions,
    in_study_order,
    order_of,
    paired,
    with_intervals,
)
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION
from tfreuse.records import Record


class Curve(NamedTuple):
    """Retention against the share moved, of one order at one site."""

    site: str
    group: str
    repair: str
    order: str


# curve -> (share, draw) -> seed -> record
Curves = Mapping[Curve, Mapping[tuple[float, int], Mapping[int, Record]]]


def by_part(records: Iterable[Record]) -> dict[Part, Curves]:
    """Indexes the records of channels by part, curve, point and seed; ignores all others.

    Raises:
        InputError: two records are of the same point and seed.
    """
    parts: dict[Part, dict] = {}
    for r in records:
        if not r.order:
            continue
        curves = parts.setdefault(Part(r.architecture, r.direction, r.link), {})
        points = curves.setdefault(Curve(r.site, r.group, r.repair, r.order), {})
        seeds = points.setdefault((r.share, r.draw), {})
        add(seeds, r)
    return parts


def rows(curves: Curves, spec: specs.StudySpec) -> list[Row]:
    """Returns retention against the share of channels moved, and its area, for each order.

    Retentions are clipped to [0, 1]; those of random draws are averaged first. The area is by
    trapezoids from 0, where the recipient is unchanged, to the largest share of `specs.SHARES`,
    divided by that share: the mean retention on the way. At a share of 1 all orders are equal.

    Returns:
        rows of site_kind, site, depth, group, repair, order, quantity ("path", "area", or
        "excess": the area less that of the random orders of the same seed), share (of a path's
        row, else None), mean, low, high, n, method.
    """
    pending = []
    areas: dict[Curve, Values] = {}
    depths: dict[Curve, int] = {}
    for curve, points in curves.items():
        if curve.group not in spec.groups:
            continue
        first = next(iter(next(iter(points.values())).values()))
        depths[curve] = first.depth
        path = _mean_path(points)
        for share, values in sorted(path.items()):
            columns = {"quantity": "path", "share": share}
            pending.append((_columns(curve, first.depth) | columns, [*values.values()]))
        areas[curve] = _areas(path)
    for curve, values in areas.items():
        row = _columns(curve, depths[curve]) | {"share": None}
        pending.append((row | {"quantity": "area"}, [*values.values()]))
        random = areas.get(curve._replace(order="random"))
        if random and curve.order != "random":
            excess = paired([values, random])
            pending.append((row | {"quantity": "excess"}, [*excess.values()]))
    bounds = {"path": RETENTION, "area": RETENTION, "excess": DIFFERENCE}
    measured = with_intervals(pending, spec.confidence, bounds)
    measured.sort(key=lambda row: order_of(row["order"], specs.ORDERS))
    return in_study_order(measured, spec)


def _mean_path(points: Mapping[tuple[float, int], Mapping]) -> dict[float, Values]:
    """Returns retention by share and seed, the mean over draws."""
    drawn: dict[float, dict[int, list[float]]] = {}
    for (share, _), seeds in points.items():
        for seed, value in clipped_retentions(seeds).items():
            drawn.setdefault(share, {}).setdefault(seed, []).append(value)
    return {
        share: {seed: float(np.mean(values)) for seed, values in by_seed.items()}
        for share, by_seed in drawn.items()
    }


def _areas(path: Mapping[float, Values]) -> Values:
    """Returns the mean retention on the way of every seed that has every share."""
    if set(path) != set(specs.SHARES):
        return {}  # the study has not come to it yet
    shares = [0.0, *sorted(path)]
    seeds = sorted(set.intersection(*(set(values) for values in path.values())))
    return {
        seed: float(
            np.trapezoid([1.0, *(path[share][seed] for share in shares[1:])], shares)
            / shares[-1]
        )
        for seed in seeds
    }


def _columns(curve: Curve, depth: int) -> Row:
    return {"site_kind": "channels", "depth": depth, **curve._asdict()}
