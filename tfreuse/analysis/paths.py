"""How far a recipient can be moved towards a donor, and how much of a network can be reused."""

import numpy as np

from tfreuse import specs
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    Row,
    Values,
    cell_columns,
    floored_retentions,
    in_study_order,
    with_intervals,
)

TAUS = tuple(round(0.05 * i, 2) for i in range(21))


def strengths(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Retention along (1 - alpha) recipient + alpha donor, where alphas below 1 were measured.

    For every seed, with retention 1 at alpha = 0 and retentions below 0 counting as 0:

        alpha_star  largest measured alpha up to which every measured one retains at least
                    1 - margin; 0 if none does. It is as fine as the grid of alphas
        aurc        area under retention over alpha in [0, 1], by trapezoids: 1 where nothing
                    is lost on the way

    Returns:
        rows of site_kind, site, depth, group, repair, quantity ("path", "alpha_star",
        "aurc"), alpha (of a path's row, else None), mean, low, high, n, method.
    """
    paths: dict[Arm, dict[float, Values]] = {}
    for arm, seeds in arms.items():
        if arm.control == "transfer" and floored_retentions(seeds):
            paths.setdefault(arm._replace(strength=1.0), {})[arm.strength] = (
                floored_retentions(seeds)
            )
    pending = []
    for arm, path in paths.items():
        if len(path) < 2 or 1.0 not in path:
            continue
        row = cell_columns(arm, arms[arm])
        for alpha, values in sorted(path.items()):
            named = {"quantity": "path", "alpha": alpha}
            pending.append((row | named, list(values.values())))
        for name, values in _summaries(path, 1 - spec.margin).items():
            if values:
                pending.append((row | {"quantity": name, "alpha": None}, values))
    return in_study_order(with_intervals(pending, spec.confidence), spec)


def _summaries(path: dict[float, Values], enough: float) -> dict[str, list[float]]:
    """alpha_star and aurc of every seed that was measured all along the path."""
    shared = sorted(set.intersection(*(set(values) for values in path.values())))
    path = {0.0: dict.fromkeys(shared, 1.0)} | path  # there the recipient is itself
    alphas = sorted(path)
    stars, areas = [], []
    for seed in shared:
        retained = [path[alpha][seed] for alpha in alphas]
        star = 0.0
        for alpha, value in zip(alphas, retained, strict=True):
            if value < enough - 1e-9:  # of rounding
                break
            star = alpha
        stars.append(star)
        areas.append(float(np.trapezoid(retained, alphas)))
    return {"alpha_star": stars, "aurc": areas}


def profiles(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """How much of a network can be reused: share of sites x seeds that retain at least tau.

    Performance profiles (Dolan & More 2002; Agarwal et al. 2021, rliable) with sites in place
    of tasks; and the interquartile mean (IQM) over the sites of each seed, which single
    wrecked or untouched sites do not rule. Intervals are over seeds; only seeds with every
    site count.

    Returns:
        rows of site_kind ("layer" or "stage"), site "", depth -1, group, repair, control
        (transfer, other_seed, ...), quantity ("profile" or "iqm"), tau (of a profile's row,
        else None), sites, mean, low, high, n, method.
    """
    found: dict[tuple, dict[str, Values]] = {}
    for arm, seeds in arms.items():
        if arm.site_kind in ("layer", "stage") and (arm.strength, arm.draw) == (1.0, 0):
            of = (arm.site_kind, arm.group, arm.repair, arm.control)
            found.setdefault(of, {})[arm.site] = floored_retentions(seeds)
    pending = []
    for of, sites in found.items():
        seeds = sorted(set.intersection(*(set(values) for values in sites.values())))
        if not seeds:
            continue
        table = np.array(
            [[values[seed] for values in sites.values()] for seed in seeds]
        )
        names = ("site_kind", "group", "repair", "control")
        row = dict(zip(names, of, strict=True)) | {"site": "", "depth": -1}
        row |= {"sites": len(sites)}
        for tau in TAUS:
            named = {"quantity": "profile", "tau": tau}
            pending.append((row | named, (table >= tau - 1e-9).mean(axis=1)))
        pending.append((row | {"quantity": "iqm", "tau": None}, _middle(table)))
    return in_study_order(with_intervals(pending, spec.confidence), spec)


def _middle(table: np.ndarray) -> np.ndarray:
    """Mean of the middle half of each row, [seeds, sites] -> [seeds]."""
    cut = table.shape[1] // 4
    return np.sort(table, axis=1)[:, cut : table.shape[1] - cut].mean(axis=1)
