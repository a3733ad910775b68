"""Indexes records by part of the study, arm and seed, and combines the seeds of an arm.

    arms = by_part(records)[Part("unet", "autoencoder-to-segmentation", "independent")]
    retained = clipped_retentions(at_all_layers(arms, "kernel"))  # seed -> retention
    effect_interval([retained], confidence=0.95)

A record is one arm of one seed. Intervals are always over the seeds of an arm. What is judged,
drawn or called significant is retention clipped to [0, 1], with the intervals of `bounded`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tfreuse import specs
from tfreuse.analysis import Row, intervals, metrics
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION, Bounds
from tfreuse.errors import InputError
from tfreuse.records import LabelRecord, Record

LINKS = {  # suffixes that describe the link between donor and recipient; "" is the usual one
    "independent": "",
    "same": ", same initial values",
    "sequential": ", recipient trained on from the donor",
}


class Part(NamedTuple):
    """The unit of a report: verdicts, figures and tables are made once for each part."""

    architecture: str
    direction: str
    link: str

    def __str__(self) -> str:
        direction = self.direction.replace("-to-", " → ")
        return f"{self.architecture}, {direction}{LINKS.get(self.link, self.link)}"


class Arm(NamedTuple):
    """A treatment, the same for every seed."""

    control: str
    site_kind: str
    site: str
    group: str
    repair: str = "none"
    strength: float = 1.0
    draw: int = 0


Arms = Mapping[Arm, Mapping[int, Record]]  # arm -> seed -> record
Values = dict[int, float]  # seed -> retention


def by_part(records: Iterable[Record], updates: int | None = None) -> dict[Part, Arms]:
    """Indexes the records by part, arm and seed.

    Records of channels are left out (`channels.by_part` has them), their parts are not.

    Args:
        records: of a study.
        updates: age of the donor whose records are taken; None: the finished donor, which all
            analyses but `ages` are of.

    Raises:
        InputError: two records are of the same arm and seed.
    """
    parts: dict[Part, dict[Arm, dict[int, Record]]] = {}
    for r in records:
        if r.updates != updates:
            continue
        arms = parts.setdefault(Part(r.architecture, r.direction, r.link), {})
        if r.order:
            continue
        arm = Arm(r.control, r.site_kind, r.site, r.group, r.repair, r.strength, r.draw)
        seeds = arms.setdefault(arm, {})
        add(seeds, r)
    return parts


def add(
    seeds: dict[int, Record | LabelRecord],
    record: Record | LabelRecord,
    log: str = "records.jsonl",
) -> None:
    """Adds a record to those of an arm by seed.

    Raises:
        InputError: the arm has a record of this seed; `log` is the file to mend.
    """
    if record.seed in seeds:
        raise InputError(
            f"expected one record of {record.key}, got two. Delete the line of one of them "
            f"from {log}."
        )
    seeds[record.seed] = record


def at_all_layers(
    arms: Arms, group: str, control: str = "transfer", repair: str = "none"
) -> Mapping[int, Record]:
    """Returns the records by seed of one arm at the site of all layers; {} if not measured."""
    return arms.get(Arm(control, "all", "all", group, repair), {})


def unclipped_retentions(records: Mapping[int, Record]) -> Values:
    """Returns the retention by seed, without seeds whose recipient is not above its floor."""
    return {
        seed: record.retention
        for seed, record in sorted(records.items())
        if not math.isnan(record.retention)
    }


def floored_retentions(records: Mapping[int, Record]) -> Values:
    """Returns max(0, retention) by seed: worse than the floor retains nothing."""
    return {
        seed: max(0.0, retention)
        for seed, retention in unclipped_retentions(records).items()
    }


def raw_r2(record: Record) -> float | None:
    """Returns R2 of an auto-encoder's outputs as they are; None if it was not recorded."""
    sums = record.counts
    if "raw_squared_error" not in sums:
        return None
    return metrics.r2(sums["raw_squared_error"], sums["total_variation"])


def clipped_retentions(records: Mapping[int, Record]) -> Values:
    """Returns retention by seed, clipped to [0, 1]: nothing retained, nothing lost."""
    return {
        seed: min(1.0, retention)
        for seed, retention in floored_retentions(records).items()
    }


def draws_of(arms: Arms, arm: Arm) -> list[Mapping[int, Record]]:
    """Returns the records by seed of every draw of a random control; ignores `arm.draw`."""
    draws = []
    while records := arms.get(arm._replace(draw=len(draws))):
        draws.append(records)
    return draws


def mean_over_draws(
    arms: Arms,
    arm: Arm,
    retentions: Callable[[Mapping[int, Record]], Values] = clipped_retentions,
) -> Values:
    """Returns the mean retention by seed over the draws of a random control."""
    values: dict[int, list[float]] = {}
    for records in draws_of(arms, arm):
        for seed, retention in retentions(records).items():
            values.setdefault(seed, []).append(retention)
    return {seed: sum(drawn) / len(drawn) for seed, drawn in sorted(values.items())}


def on_common_seeds(*sides: Values) -> list[list[float]]:
    """Returns the values of every side over the seeds that all sides have, in one order."""
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    return [[side[seed] for seed in seeds] for side in sides]


def paired(sides: Sequence[Values]) -> Values:
    """Returns the values of one side, or the first minus the second of two, by seed."""
    first, *subtracted = sides
    return {
        seed: value - sum(side[seed] for side in subtracted)
        for seed, value in sorted(first.items())
        if all(seed in side for side in subtracted)
    }


def independent(values: Values, records: Mapping[int, Record]) -> Values:
    """Combines seeds that share a trained network, so that each value is one replicate.

    Donors of the control "other_seed" are the recipients of other seeds. A network that is good
    or bad as a donor and as a recipient would be counted twice. Pairs of the same two networks
    are averaged, under the first of their seeds. A seed that shares one network with a pair
    before it is left out, as in the ring 0 <- 1 <- 2 <- 0 of earlier studies.
    """
    pairs: dict[frozenset[str], list[int]] = {}
    used: set[str] = set()
    for seed in sorted(values):
        record = records[seed]
        if record.control != "other_seed":
            return values
        networks = frozenset((record.donor, record.recipient))
        if networks in pairs:
            pairs[networks].append(seed)
        elif not networks & used:
            pairs[networks] = [seed]
            used |= networks
    return {
        seeds[0]: sum(values[seed] for seed in seeds) / len(seeds)
        for seeds in pairs.values()
    }


def effect_interval(
    sides: Sequence[Values],
    confidence: float,
    records: Mapping[int, Record] | None = None,
) -> intervals.Interval | None:
    """Returns the interval of the mean of `paired(sides)`; None if no seed has every side.

    Args:
        sides: retentions clipped to [0, 1], of one arm or of two.
        confidence: of the interval.
        records: of an arm whose seeds may share networks: see `independent`.
    """
    values = paired(sides)
    values = independent(values, records) if records else values
    bounds = RETENTION if len(sides) == 1 else DIFFERENCE
    if not values:
        return None
    return intervals.mean_interval([*values.values()], confidence, bounds=bounds)


def unclipped_interval(
    sides: Sequence[Values], confidence: float
) -> intervals.Interval | None:
    """Returns the interval of `paired(sides)` for retentions as they are, without bounds."""
    values = [*paired(sides).values()]
    return intervals.mean_interval(values, confidence) if values else None


def with_intervals(
    rows: Iterable[tuple[dict[str, Any], Sequence[float]]],
    confidence: float,
    bounds: Bounds | Mapping[str, Bounds] | None = None,
) -> list[Row]:
    """Adds mean, low, high, n and method of the values, one a seed, to each row.

    Rows without values are left out.

    Args:
        rows: each with its values.
        confidence: of the intervals.
        bounds: range of the values; or the range by a row's `quantity`.
    """
    rows = [(row, values) for row, values in rows if len(values)]
    ranges = [
        bounds.get(row["quantity"]) if isinstance(bounds, Mapping) else bounds
        for row, _ in rows
    ]
    completed: dict[int, Row] = {}
    for range_ in set(ranges):
        chosen = [i for i, of_row in enumerate(ranges) if of_row == range_]
        ends = intervals.mean_intervals(
            [rows[i][1] for i in chosen], confidence, bounds=range_
        )
        for i, end in zip(chosen, ends, strict=True):
            completed[i] = rows[i][0] | end.to_row()
    return [completed[i] for i in range(len(rows))]


def cell_columns(arm: Arm, seeds: Mapping[int, Record]) -> Row:
    """Returns the columns that identify a cell: site_kind, site, depth, group, repair."""
    return {
        "site_kind": arm.site_kind,
        "site": arm.site,
        "depth": next(iter(seeds.values())).depth,
        "group": arm.group,
        "repair": arm.repair,
    }


def in_study_order(rows: Iterable[Row], spec: specs.StudySpec) -> list[Row]:
    """Sorts rows by kind of site, repair, depth and group, as the study declares them."""

    def position(row: Row) -> tuple:
        return (
            -specs.SITES.index(row["site_kind"]),  # all layers first
            order_of(row.get("repair", "none"), specs.REPAIRS),
            row["depth"],
            row["site"],
            order_of(row["group"], spec.groups),
        )

    return sorted(rows, key=position)


def order_of(name: str, names: Sequence[str]) -> int:
    """Returns a sort key: the index of the name among the names; unknown ones come last."""
    return names.index(name) if name in names else len(names)
