"""One cell of a heat map: every measurement of one site and one group."""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse.analysis import tables
from tfreuse.analysis.arms import (
    Arms,
    Part,
    independent,
    mean_over_draws,
    raw_r2,
    unclipped_retentions,
    with_intervals,
)
from tfreuse.analysis.bounded import RETENTION
from tfreuse.analysis.tables import Row
from tfreuse.errors import InputError
from tfreuse.records import Record
from tfreuse.report import figures
from tfreuse.report.drawings import Subject
from tfreuse.report.views.snapshot import Snapshot

Cell = tuple[str, str, str]  # kind of site, site, group
_FACTS = (
    "variables", "parameters", "changed", "rmse", "relative_distance", "cosine",
    "scale_shift", "offset_shift", "output_error", "cka", "bias_shift",
)  # fmt: skip


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
    return cells(snapshot, part, [(kind, site, group)])[0]


def cells(
    snapshot: Snapshot, part: Part, names: Sequence[Cell]
) -> list[dict[str, Any]]:
    """Returns `cell` of each of several, whose intervals are computed at once."""
    subject, by_cell = snapshot.subjects[part], arms_by_cell(snapshot, part)
    arms = [by_cell.get(name, {}) for name in names]
    plain = [transfers(of_cell) for of_cell in arms]
    if None in plain:
        raise InputError("there is no such cell.")
    rows = _arms(subject, arms)
    return [
        _cell(snapshot, part, *of_cell)
        for of_cell in zip(names, plain, rows, strict=True)
    ]


def _cell(
    snapshot: Snapshot, part: Part, names: Cell, plain: Mapping[int, Record],
    rows: list[Row],
) -> dict[str, Any]:  # fmt: skip
    kind, site, group = names
    first = next(iter(plain.values()))
    return {
        "site": site,
        "group": group,
        "kind": kind,
        "metric": first.metric,
        "seeds": [_seed(seed, record) for seed, record in sorted(plain.items())],
        "n": max((row["n"] for row in rows), default=0),
        # none of a recipient at its floor, which has nothing that could be retained
        "drawings": [str(figures.forest.cell(rows, snapshot.source.spec))]
        if rows
        else [],
        "facts": _facts(plain),
        "commands": commands(snapshot, part, group, kind, site, first),
    }


def _arms(subject: Subject, cells_arms: Sequence[Arms]) -> list[list[Row]]:
    """Returns each cell's arms, draws averaged: the interval, and each seed's retention as it is."""
    rows = []
    for number, arms in enumerate(cells_arms):
        for arm in arms:
            if arm.draw:
                continue
            values = mean_over_draws(arms, arm, unclipped_retentions)
            row = arm._asdict()
            replicates = independent(mean_over_draws(arms, arm), arms[arm])
            row |= {"seeds": values, "cell": number}
            rows.append((row, [*replicates.values()]))
    rows = with_intervals(rows, subject.spec.confidence, RETENTION)
    rows = subject.over_images(rows)
    controls = {name: number for number, name in enumerate(tables.CONTROL_ORDER)}
    repairs = {name: number for number, name in enumerate(subject.spec.repairs)}
    rows.sort(
        key=lambda row: (
            controls.get(row["control"], 99), repairs.get(row["repair"], 99),
            -row["strength"],
        )
    )  # fmt: skip
    by_cell: list[list[Row]] = [[] for _ in cells_arms]
    for row in rows:
        by_cell[row.pop("cell")].append(row)
    return by_cell


def _seed(seed: int, record: Record) -> dict[str, Any]:
    names = ("before", "after", "floor", "retention", "drop", "donor", "recipient")
    values = {name: getattr(record, name) for name in names} | {"raw": raw_r2(record)}
    rounded = {
        name: _rounded(value) if isinstance(value, float) else value
        for name, value in values.items()
    }
    return {"seed": seed} | rounded


def _rounded(value: float) -> float:
    """Returns six digits: the page shows three, and all of them would double its size."""
    return float(f"{value:.6g}")


def _facts(seeds: Mapping[int, Record]) -> list[dict[str, Any]]:
    """Returns facts on the transplant itself: medians over seeds."""
    facts = []
    for name in _FACTS:
        records = seeds.values()
        values = [v for r in records if (v := getattr(r, name)) is not None]
        if values:
            facts.append({"name": name, "median": _rounded(np.median(values))})
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
    of_part = [
        f"--architectures={part.architecture}", f"--directions={part.direction}",
        f"--links={part.link}",
    ]  # fmt: skip
    if "given" in snapshot.source.specs:  # networks that exist: the flagfile names them
        of_part = []
    flags = [
        f"--flagfile={name}/config.flags", *of_part, f"--groups={group}", f"--sites={kind}",
        "--out_dir=ANOTHER_DIR",
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
