"""The heat map of sites by groups, one cell of it, and the network in the same colours."""

import os
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfreuse.analysis import intervals, tables
from tfreuse.analysis.arms import (
    Arm,
    Arms,
    Part,
    clipped_retentions,
    independent,
    mean_over_draws,
    raw_r2,
    unclipped_retentions,
    with_intervals,
)
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION
from tfreuse.analysis.tables import Row
from tfreuse.errors import InputError
from tfreuse.records import Record
from tfreuse.report import figures
from tfreuse.report.drawings import Subject
from tfreuse.report.views.snapshot import Snapshot

Cell = tuple[str, str, str]  # kind of site, site, group
QUANTITIES = ("retention", "drop", "index")
MOST_CELLS = 6_000  # of one answer; a ResNet-50 has 107 layers
_FACTS = (
    "variables", "parameters", "changed", "rmse", "relative_distance", "cosine",
    "scale_shift", "offset_shift", "output_error", "cka", "bias_shift",
)  # fmt: skip


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
        hint = (
            f"The index needs the control reinitialised at {figures.heat.KINDS[kind]}."
        )
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
    return {"drawings": [str(drawing)], "hint": ""}


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


def arms_by_cell(snapshot: Snapshot, part: Part) -> dict[Cell, Arms]:
    """Returns the arms of every cell, by kind of site, site and group."""

    def group() -> dict[Cell, Arms]:
        cells: dict[Cell, Arms] = {}
        for arm, seeds in snapshot.subjects[part].arms.items():
            cells.setdefault((arm.site_kind, arm.site, arm.group), {})[arm] = seeds
        return cells

    return snapshot.keep(("arms by cell", part), group)


def transfers(arms: Arms) -> Mapping[int, Record] | None:
    """Returns a cell's transfer records by seed: without repair and blending if measured."""
    donors = [arm for arm in arms if arm.control == "transfer"]
    plain = min(
        donors,
        key=lambda arm: (arm.repair != "none", arm.strength != 1.0),
        default=None,
    )
    return arms[plain] if plain else None


def cell(
    snapshot: Snapshot, part: Part, kind: str, site: str, group: str
) -> dict[str, Any]:
    """Returns every measurement of one site and one group.

    Raises:
        InputError: nothing was measured there.
    """
    subject = snapshot.subjects[part]
    arms = arms_by_cell(snapshot, part).get((kind, site, group), {})
    plain = transfers(arms)
    if plain is None:
        raise InputError("there is no such cell.")
    first = next(iter(plain.values()))
    rows = _arms(subject, arms)
    return {
        "site": site,
        "group": group,
        "kind": kind,
        "metric": first.metric,
        "seeds": [_seed(seed, record) for seed, record in sorted(plain.items())],
        "n": max(row["n"] for row in rows),
        "drawings": [str(figures.forest.cell(rows, subject.spec))],
        "facts": _facts(plain),
        "commands": commands(snapshot, part, group, kind, site, first),
    }


def _arms(subject: Subject, arms: Arms) -> list[dict]:
    """Returns a row an arm, draws averaged: its interval, and each seed's retention as it is."""
    rows = []
    for arm in arms:
        if arm.draw:
            continue
        values = mean_over_draws(arms, arm, unclipped_retentions)
        row = {"control": arm.control, "repair": arm.repair, "strength": arm.strength}
        replicates = independent(mean_over_draws(arms, arm), arms[arm])
        rows.append((row | {"seeds": values}, [*replicates.values()]))
    controls = {name: number for number, name in enumerate(tables.CONTROL_ORDER)}
    repairs = {name: number for number, name in enumerate(subject.spec.repairs)}
    return sorted(
        with_intervals(rows, subject.spec.confidence, RETENTION),
        key=lambda row: (
            controls.get(row["control"], 99), repairs.get(row["repair"], 99),
            -row["strength"],
        ),
    )  # fmt: skip


def _seed(seed: int, record: Record) -> dict[str, Any]:
    names = ("before", "after", "floor", "retention", "drop", "donor", "recipient")
    values = {name: getattr(record, name) for name in names}
    return {"seed": seed, "raw": raw_r2(record)} | values


def _facts(seeds: Mapping[int, Record]) -> list[dict[str, Any]]:
    """Returns facts on the transplant itself: medians over seeds."""
    facts = []
    for name in _FACTS:
        records = seeds.values()
        values = [v for r in records if (v := getattr(r, name)) is not None]
        if values:
            facts.append({"name": name, "median": float(np.median(values))})
    return facts


def layers_of(snapshot: Snapshot, part: Part, kind: str, site: str) -> list[str]:
    """Returns names or globs of the layers at a site: all, one stage, or one layer."""
    if kind != "stage":
        return ["*" if kind == "all" else site]
    stages = snapshot.source.stages.get(part.architecture, {})
    layers = [layer for layer, stage in stages.items() if stage == site]
    return layers or [f"{site}_*"]


def commands(
    snapshot: Snapshot, part: Part, group: str, kind: str, site: str, record: Record
) -> list[dict[str, str]]:
    """Returns commands, quoted for a shell: one repeats a cell's arms, one writes its model.

    Paths are relative where they are below the directory that TensorBoard was started in.
    """
    path = snapshot.source.path
    relative = os.path.relpath(path)
    name = path.as_posix() if relative.startswith("..") else relative
    flags = [
        f"--flagfile={name}/config.flags", f"--architectures={part.architecture}",
        f"--directions={part.direction}", f"--links={part.link}", f"--groups={group}",
        f"--sites={kind}", "--out_dir=ANOTHER_DIR",
    ]  # fmt: skip
    entries = [
        {
            "title": "Measure such cells again",
            "text": shlex.join(["python", "tools/study.py", *flags]),
        }
    ]
    if kind in ("all", "stage", "layer") and record.control == "transfer":
        models = f"{name}/models"
        flags = [
            f"--donor={models}/{record.donor}/model.keras",
            f"--recipient={models}/{record.recipient}/model.keras",
            f"--roles={group}",
            f"--layers={','.join(layers_of(snapshot, part, kind, site))}",
            "--out=transplanted.keras",
        ]  # fmt: skip
        words = ["python", "tools/transplant.py", "apply", *flags]
        title = f"Make this model (seed {record.seed})"
        entries.append({"title": title, "text": shlex.join(words)})
    return entries
