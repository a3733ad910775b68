"""The heat map of sites by groups, and the network in the same colours."""

from typing import Any

from tfreuse.analysis import intervals, tables
from tfreuse.analysis.arms import (
    Arm,
    Part,
    clipped_retentions,
    mean_over_draws,
)
from tfreuse.analysis.bounded import DIFFERENCE
from tfreuse.analysis.tables import Row
from tfreuse.records import Record
from tfreuse.report import figures
from tfreuse.report.drawings import Subject
from tfreuse.report.views.snapshot import Snapshot

QUANTITIES = ("retention", "drop", "index")
MOST_CELLS = 6_000  # of one answer; a ResNet-50 has 107 layers


def heat(
    snapshot: Snapshot, part: Part, kind: str, quantity: str, repair: str, seed: int
) -> dict[str, Any]:
    """Draws one heat map.

    Args:
        snapshot: of the study.
        part: of the study.
        kind: of site: "stage", "layer", ...
        quantity: "retention"; "drop", before - after in units of the metric, down to the floor; or "index", the
            reusability index: the share of the cost of fresh values that the donor saves,
            (transfer - reinitialised) / (before - reinitialised), where that cost is shown
            (a ratio of means over seeds, its interval Fieller's).
        repair: applied after the transplant.
        seed: one seed's values; -1 for the mean over all.

    Returns:
        `drawings`, the map as SVG or nothing; and `hint`, a sentence about values that are missing.
    """
    rows = _values(snapshot, part, kind, quantity, repair, seed)
    hint, spec = "", snapshot.subjects[part].spec
    if not rows:
        hint = "No such cells have been measured in this part."
    elif not any(map(figures.heat.has_value, rows)):
        hint = _without_index(kind, repair)
    elif len(rows) > MOST_CELLS:
        hint = (
            f"{len(rows) - MOST_CELLS:,} more cells are in the CSV file of the report."
        )
        rows = rows[:MOST_CELLS]
    maps = [figures.heat.panel(rows, spec, repair, quantity, seed)] if rows else []
    return {"drawings": list(map(str, maps)), "hint": hint}


def network(
    snapshot: Snapshot, part: Part, quantity: str, repair: str, seed: int
) -> dict[str, Any]:
    """Draws the network, its stages and layers in the colours of the heat maps' values.

    Args and returns are those of `heat`. Where no stage was measured, each layer is drawn as one.
    """
    subject = snapshot.subjects[part]
    kind = "stage" if _measured(snapshot, part, "stage") else "layer"
    rows, layers = (
        _values(snapshot, part, of, quantity, repair, seed) for of in (kind, "layer")
    )
    if not rows:
        hint = "The network is drawn once single stages are measured: stage in --sites."
        return {"drawings": [], "hint": hint}
    layers = layers if kind == "stage" else []
    stages = figures.network.stages_of(
        _measured(snapshot, part, kind), _measured(snapshot, part, "layer")
    )
    drawing = figures.network.panel(
        rows, layers, stages, subject.spec, repair, quantity, seed, skips=subject.skips
    )
    has_values = any(map(figures.heat.has_value, (*rows, *layers)))
    return {
        "drawings": [str(drawing)],
        "hint": "" if has_values else _without_index(kind, repair),
    }


def _without_index(kind: str, repair: str) -> str:
    """Returns why no cell of a kind of site has a reusability index."""
    after = "" if repair == "none" else f", {figures.colours.REPAIRS[repair]}"
    sites = figures.heat.KINDS[kind]
    return f"The index needs the control reinitialised at {sites}{after}."


def _measured(snapshot: Snapshot, part: Part, kind: str) -> list[Row]:
    """Returns the retention of every cell of a kind of site, after each repair."""
    return snapshot.keep(
        ("heat", part, kind), lambda: snapshot.subjects[part].heat(kind)
    )


def _values(
    snapshot: Snapshot, part: Part, kind: str, quantity: str, repair: str, seed: int
) -> list[Row]:
    """Returns the rows of one repair, with the values of a quantity."""
    subject = snapshot.subjects[part]
    rows = [row for row in _measured(snapshot, part, kind) if row["repair"] == repair]
    if seed >= 0:
        values = [_of_seed(subject, _arm(row), quantity, seed) for row in rows]
        return [row | _single(value) for row, value in zip(rows, values, strict=True)]
    means = snapshot.keep(
        ("means", part, kind, quantity, repair), lambda: _means(subject, rows, quantity)
    )
    return [row | mean for row, mean in zip(rows, means, strict=True)]


def _arm(row: Row) -> Arm:
    return Arm("transfer", row["site_kind"], row["site"], row["group"], row["repair"])


def _single(value: float | None) -> dict[str, Any]:
    """Returns the fields of one seed's value, which has no interval and no test."""
    return {
        "mean": value, "low": None, "high": None, "q": None, "significant": None,
        "n": int(value is not None),
    }  # fmt: skip


def _means(subject: Subject, rows: list[Row], quantity: str) -> list[dict[str, Any]]:
    """Returns the fields of each row that differ from those of retention: mean, interval, n."""
    confidence = subject.spec.confidence
    if quantity == "retention":
        return [{} for _ in rows]
    if quantity == "drop":
        drops = [[*map(_drop, subject.arms[_arm(row)].values())] for row in rows]
        ends = intervals.mean_intervals(drops, confidence, bounds=DIFFERENCE)
        return list(map(_fields, ends))
    ratios = []
    for row in rows:
        pairs = []
        if row["identifiable"] is not False:  # else the ratio's denominator may be 0
            pairs = _index_pairs(subject, _arm(row))
        ratio = intervals.ratio_interval(*zip(*pairs), confidence) if pairs else None
        ratios.append(_fields(ratio))
    return ratios


def _fields(interval: intervals.Interval | None) -> dict[str, Any]:
    """Returns the fields of a drop or an index; the test against 1 is of retention alone."""
    untested = {"q": None, "significant": None}
    if interval is None:
        return {"mean": None, "low": None, "high": None, "n": 0} | untested
    row = interval.to_row()
    return {name: row[name] for name in ("mean", "low", "high", "n")} | untested


def _index_pairs(subject: Subject, arm: Arm) -> list[tuple[float, float]]:
    """Returns the donor's saving and the cost of fresh values, a pair a seed."""
    fresh = _after_fresh(subject, arm)
    return [
        (record.after - fresh[seed], record.before - fresh[seed])
        for seed, record in sorted(subject.arms[arm].items())
        if seed in fresh
    ]


def _after_fresh(subject: Subject, arm: Arm) -> dict[int, float]:
    """Returns the metric with fresh values and the same repair, by seed; a mean over draws."""
    fresh = arm._replace(control="reinitialised")
    return mean_over_draws(
        subject.arms, fresh, lambda seeds: {s: r.after for s, r in seeds.items()}
    )


def _drop(record: Record) -> float:
    """Returns the metric lost, at most all of it down to the floor."""
    return record.before - max(record.after, record.floor)


def _of_seed(subject: Subject, arm: Arm, quantity: str, seed: int) -> float | None:
    record = subject.arms[arm].get(seed)
    if record is None:
        return None
    if quantity == "retention":
        return clipped_retentions({seed: record}).get(seed)
    if quantity == "drop":
        return _drop(record)
    fresh = _after_fresh(subject, arm).get(seed)
    cost = None if fresh is None else record.before - fresh
    return (record.after - fresh) / cost if cost and cost > tables.CRITICAL else None
