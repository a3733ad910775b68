"""The rows behind the figures: one plain dict a cell or a line, as the CSV twins hold them."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    effect_interval,
    mean_over_draws,
    unclipped_retentions,
)
from tfreuse.records import Record

Row = dict[str, Any]

CRITICAL = 0.02  # metric lost to re-initialisation, below which reuse proves nothing
CONTROL_ORDER = (  # what may be as good as the treatment, what is a floor, what is plumbing
    "transfer", "other_seed", "scrambled", "matched", "moments", "shuffled", "defaults",
    "initial", "reinitialised", "zeroed", "reordered", "self",
)  # fmt: skip
_REPAIRS = {name: place for place, name in enumerate(specs.REPAIRS)}


def heat_rows(
    arms: Arms,
    kind: str,
    spec: specs.StudySpec,
    stage_of: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """Mean retention of each site and declared group, input to output.

    Args:
        arms: of one part of the study.
        kind: "layer", "stage" or "leave_one_out".
        spec: its groups are the columns; unions of roles that Shapley values need are none.
        stage_of: the stages of layers whose names do not begin with their stage's.

    Returns:
        a row a measured cell. `critical` is the interval's lower end of what re-initialising
        costs in the metric (of the same group; of a layer's stage where the layer was not
        tried), None where that was not measured.
    """
    stages = {arm.site for arm in arms if arm.site_kind == "stage"}
    costs: dict[
        tuple[str, str], float | None
    ] = {}  # of re-initialising, by site, group
    rows = []
    for arm, seeds in arms.items():
        if (arm.control, arm.site_kind, arm.strength) != ("transfer", kind, 1.0):
            continue
        site, group = arm.site, arm.group
        found = effect_interval([unclipped_retentions(seeds)], spec.confidence)
        if found is None or group not in spec.groups:
            continue
        stage = stage_of.get(site) or _stage(site, stages)
        if (site, group) not in costs:
            costs[site, group] = _criticality(
                arms, kind, site, stage, group, spec.confidence
            )
        critical = costs[site, group]
        rows.append(
            {
                "site_kind": kind,
                "site": site,
                "depth": next(iter(seeds.values())).depth,
                "stage": stage,
                "group": group,
                "repair": arm.repair,
                **found.to_row(),
                "critical": critical,
                "identifiable": None if critical is None else critical > CRITICAL,
            }
        )
    return sorted(
        rows,
        key=lambda row: (
            _REPAIRS[row["repair"]], row["depth"], row["site"],
            _place(row["group"], spec.groups),
        ),
    )  # fmt: skip


def forest_rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Retention of each arm of all layers, unclipped and floored at 0, with each seed's.

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
            _place(row["group"], spec.groups),
            _place(row["control"], CONTROL_ORDER),
            _REPAIRS[row["repair"]],
        ),
    )


def curve_rows(arms: Arms, spec: specs.StudySpec) -> list[Row]:
    """Retention of each prefix and suffix of the network, by control, group and repair."""
    found = [
        (arm, seeds, mean_over_draws(arms, arm, unclipped_retentions))
        for arm, seeds in arms.items()
        if arm.site_kind in ("prefix", "suffix")
        and (arm.strength, arm.draw) == (1.0, 0)
        and arm.group in spec.groups
    ]
    found = [(arm, seeds, values) for arm, seeds, values in found if values]
    told = intervals.mean_intervals(
        [list(values.values()) for *_, values in found], spec.confidence
    )
    rows = [
        {
            "site_kind": arm.site_kind,
            "site": arm.site,
            "depth": next(iter(seeds.values())).depth,
            "group": arm.group,
            "control": arm.control,
            "repair": arm.repair,
            **one.to_row(),
        }
        for (arm, seeds, _), one in zip(found, told, strict=True)
    ]
    return sorted(
        rows,
        key=lambda row: (
            row["site_kind"], _place(row["group"], spec.groups),
            _place(row["control"], CONTROL_ORDER), _REPAIRS[row["repair"]], row["depth"],
        ),
    )  # fmt: skip


def groups_of(rows: list[Row], spec: specs.StudySpec) -> list[str]:
    """The groups in the rows, in the order that the study declares."""
    return sorted({row["group"] for row in rows}, key=lambda g: _place(g, spec.groups))


def sites_of(rows: list[Row]) -> list[tuple[str, str]]:
    """The sites in the rows with their stages, from input to output."""
    found = {(row["depth"], row["site"], row["stage"]) for row in rows}
    return [(site, stage) for _, site, stage in sorted(found)]


def _stage(site: str, stages: Collection[str]) -> str:
    """The stage whose name the site's name begins with; "" if no stage was measured."""
    held = [name for name in stages if site == name or site.startswith(f"{name}_")]
    return max(held, key=len, default="")


def _criticality(
    arms: Arms, kind: str, site: str, stage: str, group: str, confidence: float
) -> float | None:
    """Lower end of the metric lost to re-initialising; what lies below the floor is no loss."""
    for where in ((kind, site), ("stage", stage)):
        arm = Arm("reinitialised", *where, group)
        seeds: Mapping[int, Record] = arms.get(arm, {})
        if seeds:
            lost = {
                seed: record.before - max(record.after, record.floor)
                for seed, record in seeds.items()
            }
            return effect_interval([lost], confidence).low
    return None


def _place(name: str, order: tuple[str, ...]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)
