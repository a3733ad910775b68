"""Measures the barrier on the straight way from a recipient to a donor, for each role and repair."""

from collections.abc import Mapping

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
    walks = _walks(arms)
    values = {arm: _barriers(walk) for arm, walk in walks.items()}
    for arm, walk in walks.items():
        row = cell_columns(arm, arms[arm]) | {"control": arm.control}
        quantities = [
            ({"quantity": "path", "alpha": alpha}, retained)
            for alpha, retained in sorted(walk.items())
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
    return sorted(listed, key=lambda row: order_of(row["control"], _controls(spec)))


def _controls(spec: specs.StudySpec) -> tuple[str, ...]:
    return ("transfer", *spec.controls)


def _walks(arms: Arms) -> dict[Arm, dict[float, Values]]:
    """Returns the retentions at every alpha of the full transplants that have a way."""
    walks: dict[Arm, dict[float, Values]] = {}
    for arm, seeds in arms.items():
        if arm.site_kind == "all" and not arm.draw:
            retained = clipped_retentions(seeds)
            walks.setdefault(arm._replace(strength=1.0), {})[arm.strength] = retained
    return {arm: walk for arm, walk in walks.items() if len(walk) > 1 and 1.0 in walk}


def _barriers(walk: Mapping[float, Values]) -> Values:
    """Returns the barrier of every seed that was measured at every alpha."""
    seeds = sorted(set.intersection(*(set(retained) for retained in walk.values())))
    return {
        seed: max(
            0.0,
            *(
                (1 - alpha) + alpha * walk[1.0][seed] - retained[seed]
                for alpha, retained in walk.items()
            ),
        )
        for seed in seeds
    }
