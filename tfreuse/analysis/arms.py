"""Records by part of the study, arm and seed, and what the seeds of an arm say together.

    parts = by_part(records)
    found = parts[Part("unet", "autoencoder-to-segmentation", "independent")]
    effect_interval([floored_retentions(at_all_layers(found, "kernel"))], confidence=0.95)

An arm of one seed is a record; what is said of an arm is said of all its seeds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.errors import InputError
from tfreuse.records import Record

LINKS = {  # how a link between donor and recipient is told; independence is the rule
    "independent": "",
    "same": ", same initial values",
    "sequential": ", recipient trained on from the donor",
}


class Part(NamedTuple):
    """What is judged on its own: verdicts, figures and tables come once for each part."""

    architecture: str
    direction: str
    link: str

    def __str__(self) -> str:
        direction = self.direction.replace("-to-", " → ")
        return f"{self.architecture}, {direction}{LINKS.get(self.link, self.link)}"


class Arm(NamedTuple):
    """A treatment, whatever the seed."""

    control: str
    site_kind: str
    site: str
    group: str
    repair: str = "none"
    strength: float = 1.0
    draw: int = 0


Arms = Mapping[Arm, Mapping[int, Record]]  # arm -> seed -> record
Values = dict[int, float]  # seed -> retention
Row = dict[str, Any]


def by_part(records: Iterable[Record]) -> dict[Part, Arms]:
    """The records by part, arm and seed.

    Raises:
        InputError: two records are of the same arm and seed.
    """
    parts: dict[Part, dict[Arm, dict[int, Record]]] = {}
    for r in records:
        arms = parts.setdefault(Part(r.architecture, r.direction, r.link), {})
        arm = Arm(r.control, r.site_kind, r.site, r.group, r.repair, r.strength, r.draw)
        seeds = arms.setdefault(arm, {})
        if r.seed in seeds:
            raise InputError(
                f"expected one record of {r.key}, got two. Delete the line of one of them from "
                "records.jsonl."
            )
        seeds[r.seed] = r
    return parts


def at_all_layers(
    arms: Arms, group: str, control: str = "transfer", repair: str = "none"
) -> Mapping[int, Record]:
    """The records, by seed, of one arm at the site of all layers; empty if it is missing."""
    return arms.get(Arm(control, "all", "all", group, repair), {})


def unclipped_retentions(records: Mapping[int, Record]) -> Values:
    """Retention by seed; a recipient that is not above its floor has none."""
    return {
        seed: record.retention
        for seed, record in sorted(records.items())
        if not math.isnan(record.retention)
    }


def floored_retentions(records: Mapping[int, Record]) -> Values:
    """Retention by seed, a value below 0 counting as 0: worse than knowing nothing is nothing."""
    return {
        seed: max(0.0, retention)
        for seed, retention in unclipped_retentions(records).items()
    }


def mean_over_draws(arms: Arms, arm: Arm, values=floored_retentions) -> Values:
    """Mean retention by seed over the draws of a random control, `arm.draw` aside."""
    draws: dict[int, list[float]] = {}
    number = 0
    while records := arms.get(arm._replace(draw=number)):
        for seed, value in values(records).items():
            draws.setdefault(seed, []).append(value)
        number += 1
    return {seed: sum(found) / len(found) for seed, found in sorted(draws.items())}


def paired(sides: Sequence[Values]) -> list[float]:
    """The values of one side, or first minus second, over the seeds that every side has."""
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    if len(sides) == 1:
        return [sides[0][seed] for seed in seeds]
    first, second = sides
    return [first[seed] - second[seed] for seed in seeds]


def effect_interval(
    sides: Sequence[Values], confidence: float
) -> intervals.Interval | None:
    """Interval of the mean of `paired(sides)`; None if no seed has every side."""
    values = paired(sides)
    return intervals.mean_interval(values, confidence) if values else None


def with_intervals(
    rows: Iterable[tuple[dict[str, Any], Sequence[float]]], confidence: float
) -> list[dict[str, Any]]:
    """The rows with mean, low, high, n and method of their values, one a seed; none without."""
    rows = [(row, values) for row, values in rows if len(values)]
    found = intervals.mean_intervals([values for _, values in rows], confidence)
    return [row | one.to_row() for (row, _), one in zip(rows, found, strict=True)]


def cell_columns(arm: Arm, seeds: Mapping[int, Record]) -> Row:
    """Where the arm's rows belong: site_kind, site, depth, group and repair."""
    return {
        "site_kind": arm.site_kind,
        "site": arm.site,
        "depth": next(iter(seeds.values())).depth,
        "group": arm.group,
        "repair": arm.repair,
    }


def on_common_seeds(*sides: Values) -> list[list[float]]:
    """The values of every side, over the seeds that all of them have, in their order."""
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    return [[side[seed] for seed in seeds] for side in sides]


def in_study_order(rows: Iterable[Row], spec: specs.StudySpec) -> list[Row]:
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
