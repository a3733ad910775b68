"""Records by arm and seed, and what the seeds of an arm say together.

    found = arms.index(records, "unet", "autoencoder-to-segmentation")
    arms.effect([arms.floored(arms.everywhere(found, "kernel"))], confidence=0.95)

An arm of one seed is a record; what is said of an arm is said of all its seeds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from tfreuse import statistics
from tfreuse.errors import InputError
from tfreuse.records import Record

Arm = tuple[str, str, str, str, str]  # control, kind of site, site, group, repair
Arms = Mapping[Arm, Mapping[int, Record]]  # arm -> seed -> record
Values = dict[int, float]  # seed -> retention


def index(records: Iterable[Record], architecture: str, direction: str) -> Arms:
    """The records of one architecture and direction by arm and seed.

    Raises:
        InputError: two records are of the same arm and seed.
    """
    arms: dict[Arm, dict[int, Record]] = {}
    for r in records:
        if (r.architecture, r.direction) != (architecture, direction):
            continue
        seeds = arms.setdefault((r.control, r.site_kind, r.site, r.group, r.repair), {})
        if r.seed in seeds:
            raise InputError(
                f"expected one record of {r.key}, got two. Delete the line of one of them from "
                "records.jsonl."
            )
        seeds[r.seed] = r
    return arms


def everywhere(
    arms: Arms, group: str, control: str = "transfer", repair: str = "none"
) -> Mapping[int, Record]:
    """The records, by seed, of one arm at the site of all layers; empty if it is missing."""
    return arms.get((control, "all", "all", group, repair), {})


def unclipped(records: Mapping[int, Record]) -> Values:
    """Retention by seed; a recipient that is not above its floor has none."""
    return {
        seed: record.retention
        for seed, record in sorted(records.items())
        if not math.isnan(record.retention)
    }


def floored(records: Mapping[int, Record]) -> Values:
    """Retention by seed, a value below 0 counting as 0: worse than knowing nothing is nothing."""
    return {seed: max(0.0, retention) for seed, retention in unclipped(records).items()}


def paired(sides: Sequence[Values]) -> list[float]:
    """The values of one side, or first minus second, over the seeds that every side has."""
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    if len(sides) == 1:
        return [sides[0][seed] for seed in seeds]
    first, second = sides
    return [first[seed] - second[seed] for seed in seeds]


def effect(sides: Sequence[Values], confidence: float) -> statistics.Interval | None:
    """Interval of the mean of `paired(sides)`; None if no seed has every side."""
    values = paired(sides)
    return statistics.interval(values, confidence) if values else None
