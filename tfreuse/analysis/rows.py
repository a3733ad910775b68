"""What the tables of this package share: where a row belongs, its interval, the order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfreuse import specs
from tfreuse.analysis.arms import Arm, Values
from tfreuse.records import Record

Row = dict[str, Any]


def place(arm: Arm, seeds: Mapping[int, Record]) -> Row:
    """Where the arm's rows belong: site_kind, site, depth, group and repair."""
    return {
        "site_kind": arm.site_kind,
        "site": arm.site,
        "depth": next(iter(seeds.values())).depth,
        "group": arm.group,
        "repair": arm.repair,
    }


def common(*sides: Values) -> list[list[float]]:
    """The values of every side, over the seeds that all of them have, in their order."""
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    return [[side[seed] for seed in seeds] for side in sides]


def ordered(rows: Iterable[Row], spec: specs.StudySpec) -> list[Row]:
    """By kind of site, repair, depth and group, as the study declares them."""
    repairs, groups = (*specs.REPAIRS,), (*spec.groups,)

    def position(row: Row) -> tuple:
        return (
            -specs.SITES.index(row["site_kind"]),  # all layers first
            _index(row.get("repair", "none"), repairs),
            row["depth"],
            row["site"],
            _index(row["group"], groups),
        )

    return sorted(rows, key=position)


def _index(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
