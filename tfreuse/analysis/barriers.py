"""Measures the barrier on the straight way from a recipient to a donor, for each role and repair."""

from collections.abc import Mapping

from tfreuse import specs
from tfreuse.analysis import Row, paths
from tfreuse.analysis.arms import (
    Arms,
    Values,
    cell_columns,
    in_study_order,
    independent,
    order_of,
    paired,
    with_intervals,
)
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION

_BOUNDS = {"path": RETENTION, "barrier": RETENTION, "lowered": DIFFERENCE}


def rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns retention along (1 - alpha) recipient + alpha donor at all layers, and its barrier.

    With R(alpha) a seed's retention, clipped to [0, 1], and R(0) = 1 for the unchanged recipient:

        barrier  max over the measured alphas of (1 - alpha) R(0) + alpha R(1) - R(alpha), or 0
                 where that is negative: how far the worst network on the way lies below the
                 straight line between both ends (Frankle et al. 2020, arXiv:1912.05671, which
                 compares errors). Its resolution is the grid of alphas
        lowered  barrier without a repair minus barrier with it, paired by seed

    Statistics re-estimated at every alpha are REPAIR's (Jordan et al. 2023, arXiv:2211.08403) for
    networks with batch normalization; there channels are aligned first, as by `permutation`.
    Two seeds that are each other's donor of the same task count once (`arms.independent`).

    Returns:
        rows of site_kind "all", site, depth, group, repair, control, quantity ("path", "barrier",
        "lowered"), alpha (of a path's row, else None), mean, low, high, n, method.
    """
    pending = []
    at_all = {arm: seeds for arm, seeds in arms.items() if arm.site_kind == "all"}
    donor_paths = paths.to_donors(at_all)
    values = {arm: _barriers(path) for arm, path in donor_paths.items()}
    for arm, path in donor_paths.items():
        row = cell_columns(arm, arms[arm]) | {"control": arm.control}
        quantities = [
            ({"quantity": "path", "alpha": alpha}, retained)
            for alpha, retained in sorted(path.items())
        ]
        quantities.append(({"quantity": "barrier", "alpha": None}, values[arm]))
        if arm.repair != "none":
            plain = values.get(arm._replace(repair="none"), {})
            less = paired([plain, values[arm]])
            quantities.append(({"quantity": "lowered", "alpha": None}, less))
        for columns, by_seed in quantities:
            replicates = independent(by_seed, arms[arm])
            pending.append((row | columns, [*replicates.values()]))
    listed = in_study_order(with_intervals(pending, spec.confidence, _BOUNDS), spec)
    controls = "transfer", *spec.controls
    return sorted(listed, key=lambda row: order_of(row["control"], controls))


def _barriers(path: Mapping[float, Values]) -> Values:
    """Returns the barrier of every seed that was measured at every alpha."""
    seeds = sorted(set.intersection(*(set(retained) for retained in path.values())))
    return {
        seed: max(
            0.0,
            *(
                (1 - alpha) + alpha * path[1.0][seed] - retained[seed]
                for alpha, retained in path.items()
            ),
        )
        for seed in seeds
    }
