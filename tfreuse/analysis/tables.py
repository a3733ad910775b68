"""Assembles the rows that figures, the tab and CSV files share: one plain dict a cell or line."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tfreuse import specs
from tfreuse.analysis import Row, intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    effect_interval,
    mean_over_draws,
    order_of,
    unclipped_retentions,
    with_intervals,
)

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
        a row a measured cell. `critical` is the interval's lower end of the cost of
        re-initialising, in the metric (of the same group; of a layer's stage where the layer
        was not re-initialised), None where that was not measured.
    """
    stages = {arm.site for arm in arms if arm.site_kind == "stage"}
    criticality: dict[tuple[str, str], float | None] = {}  # by site and group
    rows = []
    for arm, seeds in arms.items():
        if (arm.control, arm.site_kind, arm.strength) != ("transfer", kind, 1.0):
            continue
        site, group = arm.site, arm.group
        effect = effect_interval([unclipped_retentions(seeds)], spec.confidence)
        if effect is None or group not in spec.groups:
            continue
        stage = stage_of.get(site) or _stage(site, stages)
        if (site, group) not in criticality:
            # a layer's own cost if it was measured, else that of its stage
            costs = [
                reinitialisation_cost(arms, *owner, group, spec.confidence)
                for owner in ((kind, site), ("stage", stage))
            ]
            lows = [cost.low for cost in costs if cost]
            criticality[site, group] = lows[0] if lows else None
        critical = criticality[site, group]
        rows.append(
            {
                "site_kind": kind,
                "site": site,
                "depth": next(iter(seeds.values())).depth,
                "stage": stage,
                "group": group,
                "repair": arm.repair,
                **effect.to_row(),
                "critical": critical,
                "identifiable": None if critical is None else critical > CRITICAL,
            }
        )
    return sorted(
        rows,
        key=lambda row: (
            order_of(row["repair"], specs.REPAIRS),
            row["depth"],
            row["site"],
            order_of(row["group"], spec.groups),
        ),
    )


def forest_rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Returns the retention of each arm of all layers, unclipped and floored at 0, and by seed.

    A random control's draws are averaged, so that a seed counts once.
    """
    rows = []
    for arm in arms:
        if arm.site_kind != "all" or arm.strength != 1.0 or arm.draw:
            continue
        if arm.group not in spec.groups:
            continue
        values = mean_over_draws(arms, arm, unclipped_retentions)
        if not values:
            continue
        floored = effect_interval([mean_over_draws(arms, arm)], spec.confidence)
        rows.append(
            {
                "group": arm.group,
                "control": arm.control,
                "repair": arm.repair,
                **effect_interval([values], spec.confidence).to_row(),
                "floored_mean": floored.estimate,
                "floored_low": floored.low,
                "floored_high": floored.high,
                "seeds": " ".join(map(str, values)),
                "retentions": " ".join(map(repr, values.values())),
            }
        )
    return sorted(
        rows,
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
            values = mean_over_draws(arms, arm, unclipped_retentions)
            pending.append((row, list(values.values())))
    return sorted(
        with_intervals(pending, spec.confidence),
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

    A metric below the floor counts as the floor: losing more than everything is no loss.
    """
    seeds = arms.get(Arm("reinitialised", kind, site, group), {})
    costs = {
        seed: record.before - max(record.after, record.floor)
        for seed, record in seeds.items()
    }
    return effect_interval([costs], confidence)


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
