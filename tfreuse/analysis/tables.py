"""Assembles the rows that figures, the tab and CSV files share: one plain dict a cell or line."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tfreuse import specs
from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    Values,
    clipped_retentions,
    independent,
    mean_over_draws,
    order_of,
    unclipped_retentions,
    with_intervals,
)
from tfreuse.analysis.bounded import RETENTION
from tfreuse.records import Record

CRITICAL = 0.02  # metric lost to re-initialisation, below which reuse proves nothing
CONTROL_ORDER = (  # as good as the treatment perhaps, floors, checks of the tool itself
    "transfer", "other_seed", "scrambled", "angle", "matched", "moments", "shuffled", "defaults",
    "initial", "reinitialised", "zeroed", "reordered", "self",
)  # fmt: skip


def heat_rows(
    arms: Arms,
    kind: str,
    spec: specs.StudySpec,
    stage_of: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """Returns the mean retention of each site and declared group, from input to output.

    Args:
        arms: of one part of the study.
        kind: "layer", "stage" or "leave_one_out".
        spec: its groups are the columns; the unions that Shapley values need are left out.
        stage_of: the stages of layers whose names do not begin with their stage's.

    Returns:
        a row a measured cell: mean, low, high, n, method of retention clipped to [0, 1], and
        `unclipped_mean`. `critical` is the interval's lower end of the cost of re-initialising,
        in the metric (of the same group; of a layer's stage where the layer was not
        re-initialised), None where that was not measured.
    """
    stages = {arm.site for arm in arms if arm.site_kind == "stage"}
    criticality = _criticality(arms, spec.confidence)
    pending = []
    for arm, seeds in arms.items():
        if (arm.control, arm.site_kind, arm.strength) != ("transfer", kind, 1.0):
            continue
        values = clipped_retentions(seeds)
        if not values or arm.group not in spec.groups:
            continue
        stage = stage_of.get(arm.site) or _stage(arm.site, stages)
        # a layer's own cost if it was measured, else that of its stage
        owners = (kind, arm.site, arm.group), ("stage", stage, arm.group)
        costs = [criticality[owner] for owner in owners if owner in criticality]
        critical = costs[0] if costs else None
        row = {
            "site_kind": kind,
            "site": arm.site,
            "depth": next(iter(seeds.values())).depth,
            "stage": stage,
            "group": arm.group,
            "repair": arm.repair,
            "unclipped_mean": _mean(unclipped_retentions(seeds)),
            "critical": critical,
            "identifiable": None if critical is None else critical > CRITICAL,
        }
        pending.append((row, [*values.values()]))
    return sorted(
        with_intervals(pending, spec.confidence, RETENTION),
        key=lambda row: (
            order_of(row["repair"], specs.REPAIRS),
            row["depth"],
            row["site"],
            order_of(row["group"], spec.groups),
        ),
    )


def forest_rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns the retention of each arm of all layers: clipped to [0, 1], and by seed as it is.

    A random control's draws are averaged, so that a seed counts once. Seeds that share a
    network count as one in the mean and the interval.
    """
    pending = []
    for arm in arms:
        if arm.site_kind != "all" or arm.strength != 1.0 or arm.draw:
            continue
        if arm.group not in spec.groups:
            continue
        values = mean_over_draws(arms, arm, unclipped_retentions)
        if not values:
            continue
        row = {
            "group": arm.group,
            "control": arm.control,
            "repair": arm.repair,
            "unclipped_mean": _mean(values),
            "seeds": " ".join(map(str, values)),
            "retentions": " ".join(map(repr, values.values())),
        }
        pending.append((row, _replicates(arms, arm)))
    return sorted(
        with_intervals(pending, spec.confidence, RETENTION),
        key=lambda row: (
            order_of(row["group"], spec.groups),
            order_of(row["control"], CONTROL_ORDER),
            order_of(row["repair"], specs.REPAIRS),
        ),
    )


def curve_rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns the retention of each prefix and suffix of the network, by control and repair."""
    pending = []
    for arm, seeds in arms.items():
        if arm.site_kind not in ("prefix", "suffix") or arm.group not in spec.groups:
            continue
        if (arm.strength, arm.draw) == (1.0, 0):
            row = {
                "site_kind": arm.site_kind,
                "site": arm.site,
                "depth": next(iter(seeds.values())).depth,
                "group": arm.group,
                "control": arm.control,
                "repair": arm.repair,
            }
            pending.append((row, _replicates(arms, arm)))
    return sorted(
        with_intervals(pending, spec.confidence, RETENTION),
        key=lambda row: (
            row["site_kind"],
            order_of(row["group"], spec.groups),
            order_of(row["control"], CONTROL_ORDER),
            order_of(row["repair"], specs.REPAIRS),
            row["depth"],
        ),
    )


def reinitialisation_cost(
    arms: Arms, kind: str, site: str, group: str, confidence: float
) -> intervals.Interval | None:
    """Returns the interval of the metric lost to re-initialising; None if not measured.

    A metric below the floor counts as the floor: losing more than everything is no loss. A
    gain counts as no cost.
    """
    costs = _costs(arms.get(Arm("reinitialised", kind, site, group), {}))
    if not costs:
        return None
    return intervals.mean_interval(costs, confidence, bounds=RETENTION)


def _criticality(arms: Arms, confidence: float) -> dict[tuple[str, str, str], float]:
    """Returns the lower end of the cost of re-initialising, by kind of site, site and group."""
    costs = {
        (arm.site_kind, arm.site, arm.group): _costs(seeds)
        for arm, seeds in arms.items()
        if (arm.control, *arm[4:]) == ("reinitialised", "none", 1.0, 0)
    }
    ends = intervals.mean_intervals(costs.values(), confidence, bounds=RETENTION)
    return {cell: end.low for cell, end in zip(costs, ends, strict=True)}


def _costs(seeds: Mapping[int, Record]) -> list[float]:
    """Returns the metric lost, mean IoU or R2, which lies in [0, 1]."""
    return [
        max(0.0, record.before - max(record.after, record.floor))
        for record in seeds.values()
    ]


def _replicates(arms: Arms, arm: Arm) -> list[float]:
    """Returns the clipped retentions of an arm, a value for each independent pair of networks."""
    return [*independent(mean_over_draws(arms, arm), arms[arm]).values()]


def _mean(values: Values) -> float:
    return sum(values.values()) / len(values)


def groups_of(rows: list[Row], spec: specs.StudySpec) -> list[str]:
    """Returns the groups in the rows, in the order that the study declares."""
    groups = {row["group"] for row in rows}
    return sorted(groups, key=lambda group: (order_of(group, spec.groups), group))


def sites_of(rows: list[Row]) -> list[tuple[str, str]]:
    """Returns the sites in the rows with their stages, from input to output."""
    sites = {(row["depth"], row["site"], row["stage"]) for row in rows}
    return [(site, stage) for _, site, stage in sorted(sites)]


def _stage(site: str, stages: Collection[str]) -> str:
    """Returns the stage whose name the site's name begins with; "" if none was measured."""
    candidates = [
        name for name in stages if site == name or site.startswith(f"{name}_")
    ]
    return max(candidates, key=len, default="")
