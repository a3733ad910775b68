"""Measures how far a recipient can move towards a donor, and how much of it can be reused."""

from collections.abc import Mapping

import numpy as np

from tfreuse import specs
from tfreuse.analysis import Row
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    Values,
    cell_columns,
    clipped_retentions,
    in_study_order,
    independent,
    with_intervals,
)
from tfreuse.analysis.bounded import RETENTION
from tfreuse.records import Record

TAUS = tuple(round(0.05 * i, 2) for i in range(21))
ROUNDING = 1e-9  # retentions that miss a threshold by less than this reach it


def strengths(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns retention along (1 - alpha) recipient + alpha donor, and two summaries of it.

    Only cells with a measured alpha below 1. For every seed, with retention 1 at alpha = 0 and
    retentions clipped to [0, 1]:

        alpha_star  largest measured alpha up to which every measured one retains at least
                    1 - margin; 0 if none does. Its resolution is the grid of alphas
        aurc        area under retention over alpha in [0, 1], by trapezoids: 1 where nothing
                    is lost anywhere on the path

    Returns:
        rows of site_kind, site, depth, group, repair, quantity ("path", "alpha_star",
        "aurc"), alpha (of a path's row, else None), mean, low, high, n, method.
    """
    pending = []
    for arm, path in to_donors(arms).items():
        if (arm.control, arm.repair) != ("transfer", "none"):
            continue
        row = cell_columns(arm, arms[arm])
        for alpha, values in sorted(path.items()):
            columns = {"quantity": "path", "alpha": alpha}
            pending.append((row | columns, list(values.values())))
        for quantity, values in _summaries(path, 1 - spec.margin).items():
            pending.append((row | {"quantity": quantity, "alpha": None}, values))
    return in_study_order(with_intervals(pending, spec.confidence, RETENTION), spec)


def to_donors(arms: Arms) -> dict[Arm, dict[float, Values]]:
    """Returns the clipped retentions at every alpha, by the full transplant at the path's end.

    Full transplants without a measured alpha below 1 have no path, and are left out.
    """
    paths: dict[Arm, dict[float, Values]] = {}
    for arm, seeds in arms.items():
        if values := clipped_retentions(seeds):
            paths.setdefault(arm._replace(strength=1.0), {})[arm.strength] = values
    return {arm: path for arm, path in paths.items() if len(path) > 1 and 1.0 in path}


def _summaries(path: dict[float, Values], enough: float) -> dict[str, list[float]]:
    """Returns alpha_star and aurc of every seed that was measured at every alpha."""
    seeds = sorted(set.intersection(*(set(values) for values in path.values())))
    path = {0.0: dict.fromkeys(seeds, 1.0)} | path  # at 0 the recipient is unchanged
    alphas = sorted(path)
    alpha_stars, areas = [], []
    for seed in seeds:
        retained = [path[alpha][seed] for alpha in alphas]
        alpha_star = 0.0
        for alpha, value in zip(alphas, retained, strict=True):
            if value < enough - ROUNDING:
                break
            alpha_star = alpha
        alpha_stars.append(alpha_star)
        areas.append(float(np.trapezoid(retained, alphas)))
    return {"alpha_star": alpha_stars, "aurc": areas}


def profiles(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns the share of sites x seeds that retain at least tau, for tau from 0 to 1.

    Performance profiles (Dolan & More 2002; Agarwal et al. 2021, rliable) with sites in place
    of tasks; and the interquartile mean (IQM) over the sites of each seed, which does not
    depend on single destroyed or untouched sites. Intervals are over seeds; only seeds with
    every site count, and two that are each other's donor of the same task count once.

    Returns:
        rows of site_kind ("layer" or "stage"), site "", depth -1, group, repair, control
        (transfer, other_seed, ...), quantity ("profile" or "iqm"), tau (of a profile's row,
        else None), sites, mean, low, high, n, method.
    """
    curves: dict[tuple, dict[str, Values]] = {}  # by kind of site, group, ... and site
    records: dict[tuple, Mapping[int, Record]] = {}  # of one site, with both networks
    for arm, seeds in arms.items():
        if arm.site_kind in ("layer", "stage") and (arm.strength, arm.draw) == (1.0, 0):
            key = (arm.site_kind, arm.group, arm.repair, arm.control)
            curves.setdefault(key, {})[arm.site] = clipped_retentions(seeds)
            records[key] = seeds
    pending = []
    for key, sites in curves.items():
        seeds = sorted(set.intersection(*(set(values) for values in sites.values())))
        if not seeds:
            continue
        retained = np.array(  # [seeds, sites]
            [[values[seed] for values in sites.values()] for seed in seeds]
        )
        names = ("site_kind", "group", "repair", "control")
        row = dict(zip(names, key, strict=True)) | {"site": "", "depth": -1}
        row |= {"sites": len(sites)}
        quantities = [
            (
                {"quantity": "profile", "tau": tau},
                (retained >= tau - ROUNDING).mean(axis=1),
            )
            for tau in TAUS
        ]
        means = _interquartile_means(retained)
        quantities.append(({"quantity": "iqm", "tau": None}, means))
        for columns, values in quantities:
            by_seed = dict(zip(seeds, values.tolist(), strict=True))
            replicates = independent(by_seed, records[key])
            pending.append((row | columns, [*replicates.values()]))
    return in_study_order(with_intervals(pending, spec.confidence, RETENTION), spec)


def _interquartile_means(values: np.ndarray) -> np.ndarray:
    """Returns the mean of the middle half of each row, [seeds, sites] -> [seeds]."""
    cut = values.shape[1] // 4
    return np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1)
