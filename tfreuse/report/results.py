"""Results in words and tables: the two reasons, repairs, task-specific excess, predictors."""

from collections import Counter
from typing import TYPE_CHECKING

from tfreuse.analysis import intervals, magnitude, reasons
from tfreuse.analysis.arms import raw_r2
from tfreuse.analysis.tables import Row
from tfreuse.report.blocks import Block, Details, Paragraph, Table
from tfreuse.report.source import Source

if TYPE_CHECKING:
    from tfreuse.report.content import Drawn

_MOST_NAMED = 12  # cells that a sentence lists
_MEASURES = ("spearman", "partial", "auroc", "gain")


def two_reasons(figures: list["Drawn"]) -> tuple[Block, ...]:
    """Counts and lists the cells that each of the paper's two reasons explains, by part."""
    blocks: list[Block] = []
    for figure in figures:
        if figure.drawing.kind != "reasons":
            continue
        raw = [row for row in figure.rows if row["decisive"]]
        counts = Counter(row["reason"] for row in raw)
        by_reason = ", ".join(f"{counts[name]} {name}" for name in reasons.REASONS)
        blocks.append(
            Paragraph(
                f"{figure.part}: of {len(raw)} cells (group and site) {by_reason}. "
                f"{reasons.compared(figure.rows)}"
            )
        )
        rows = tuple(
            (name, f"{counts[name]} of {len(raw)}", meaning, _cells(raw, name))
            for name, meaning in reasons.REASONS.items()
            if counts[name]
        )
        head = ("reason", "cells", "what it means", "where")
        blocks.append(Table(head, rows))
    if blocks:
        blocks.insert(
            0,
            Paragraph(
                "The paper gives two reasons why parameters can be reused: the features are "
                "general, and the parameters lie close to the ideal ones. Random values as far "
                "from the recipient as the donor's tell them apart."
            ),
        )
    return tuple(blocks)


def raw_metrics(source: Source) -> tuple[Block, ...]:
    """Tabulates R2 of the outputs as they are beside the fitted one, at all layers."""
    rows = []
    for part, arms in source.parts.items():
        for arm, seeds in arms.items():
            if (arm.control, arm.site, arm.strength) != ("transfer", "all", 1.0):
                continue
            records = [seeds[seed] for seed in sorted(seeds)]
            if arm.group not in source.spec.groups or records[0].metric != "fitted_r2":
                continue
            raw = [raw_r2(record) for record in records]
            texts = [
                ", ".join(map(intervals.number, values))
                for values in (
                    [r.before for r in records],
                    [r.after for r in records],
                    raw,
                )
            ]
            rows.append((str(part), arm.group, arm.repair, *texts, str(len(raw))))
    if not rows:
        return ()
    head = (
        "network, direction", "group", "repair", "fitted R2 before", "after", "raw R2 after", "n",
    )  # fmt: skip
    note = (
        "All layers, a number a seed. Fitted: after a gain and an offset of each output channel, "
        "from calibration images; retention is of this. Raw: of the outputs as they are."
    )
    title = f"R2 of auto-encoders, fitted and raw ({len(rows)} rows)"
    return (Details(title, (Table(head, tuple(rows), note),)),)


def _cells(rows: list[Row], reason: str) -> str:
    """Lists the groups and their sites for which the reason holds."""
    by_group: dict[str, list[str]] = {}
    for row in rows:
        if row["reason"] == reason:
            site = "all layers" if row["site_kind"] == "all" else row["site"]
            by_group.setdefault(row["group"], []).append(site)
    cells = []
    for group, sites in by_group.items():
        left_out = len(sites) - _MOST_NAMED
        suffix = f" and {left_out} more" if left_out > 0 else ""
        cells.append(f"{group}: {', '.join(sites[:_MOST_NAMED])}{suffix}")
    return "; ".join(cells)


def repairs(figures: list["Drawn"]) -> tuple[Block, ...]:
    """Compares a donor with fresh values under the same stitch or fine-tuning."""
    rows = [
        (str(figure.part), row)
        for figure in figures
        if figure.drawing.kind == "ladder"
        for row in figure.rows
        if row["quantity"] == "difference"
    ]
    if not rows:
        return ()
    head = (
        "network, direction",
        "site",
        "group",
        "repair",
        "donor − fresh values",
        "n",
    )
    cells = tuple(
        (
            part,
            "all layers" if row["site_kind"] == "all" else row["site"],
            row["group"],
            row["step"],
            _interval(row),
            str(row["n"]),
        )
        for part, row in rows
    )
    note = (
        "A stitch or a few updates may repair anything: credit the donor only with retention "
        "beyond that of fresh initial values under the same repair. Intervals over seeds: "
        f"{_methods(rows)}."
    )
    title = f"Is it the donor, or the repair? ({len(rows)} rows)"
    return (Details(title, (Table(head, cells, note),)),)


def blame(source: Source) -> tuple[Block, ...]:
    """Tabulates task-specific excess and effects at equal size, below the Shapley values."""
    excess = [
        (str(part), row)
        for part, arms in source.parts.items()
        for row in reasons.excess(_declared(source, arms), source.spec)
        if row["site_kind"] in ("all", "stage")
    ]
    blocks: list[Block] = []
    whole = [(part, row) for part, row in excess if row["site_kind"] == "all"]
    if whole:
        blocks.append(
            Paragraph(
                "Task-specific excess: retention with a donor of the recipient's own task and "
                "another seed, less retention with the donor. The loss that both share is due "
                "to being another network; only the excess is due to the donor's task."
            )
        )
        blocks.append(_excess(whole))
    stages = [(part, row) for part, row in excess if row["site_kind"] == "stage"]
    if stages:
        title = f"Task-specific excess of single stages ({len(stages)} rows)"
        blocks.append(Details(title, (_excess(stages),)))
    size = _beyond_magnitude(source)
    return (*blocks, *size)


def _declared(source: Source, arms):
    return {
        arm: seeds for arm, seeds in arms.items() if arm.group in source.spec.groups
    }


def _excess(rows: list[tuple[str, Row]]) -> Table:
    head = (
        "network, direction", "site", "group", "repair", "same task", "donor", "excess", "n",
    )  # fmt: skip
    cells = tuple(
        (
            part,
            "all layers" if row["site_kind"] == "all" else row["site"],
            row["group"],
            row["repair"],
            intervals.number(row["same_task_mean"]),
            intervals.number(row["transfer_mean"]),
            _interval(row),
            str(row["n"]),
        )
        for part, row in rows
    )
    note = (
        "Mean over pairs that share no network; retentions clipped to 0 to 1. Intervals: "
        f"{_methods(rows)}."
    )
    return Table(head, cells, note)


def _beyond_magnitude(source: Source) -> tuple[Block, ...]:
    """Compares groups at equal size of the move: does the kind of parameter matter?"""
    rows = [
        (str(part), row)
        for part, arms in source.parts.items()
        for row in magnitude.rows(arms, source.spec)
    ]
    if not rows:
        return ()
    head = (
        "network, direction", "sites", "group", "against", "size measured by", "overlap",
        "as it is", "at equal size", "n", "effect",
    )  # fmt: skip
    cells = tuple(
        (
            part,
            f"{row['site_kind']}s",
            row["group"],
            row["against"],
            row["magnitude"].replace("_", " "),
            f"{row['overlap']:.0%}",
            intervals.number(row["raw"]),
            _interval(row),
            str(row["n"]),
            row["effect"],
        )
        for part, row in rows
    )
    note = (
        "Additional loss of retention that a group causes compared with the other: as measured, "
        "and adjusted within each seed for the size of the move (its effect on the inference "
        "map, or on the site's output). Overlap: share of the group's moves within the sizes "
        "of the other's; under half, sizes cannot be compared. Intervals over seeds: "
        f"{_methods(rows)}."
    )
    return (Paragraph("Is it the kind of parameter, or how far it was moved?"),
            Table(head, cells, note))  # fmt: skip


def predictors(figures: list["Drawn"]) -> tuple[Block, ...]:
    """Tabulates the measures of every predictor of reuse."""
    rows = []
    for figure in figures:
        if figure.drawing.kind != "scatter":
            continue
        by_predictor: dict[str, dict[str, Row]] = {}
        for row in figure.rows:
            if row["quantity"] != "point":
                measures = by_predictor.setdefault(row["predictor"], {})
                measures[row["quantity"]] = row
        for name, measures in by_predictor.items():
            cells = [_interval(measures.get(quantity)) for quantity in _MEASURES]
            n = str(max(row["n"] for row in measures.values()))
            rows.append((str(figure.part), name, *cells, n))
    if not rows:
        return ()
    head = ("network, direction", "predictor", "ρ", "ρ beyond depth and size",
            "AUROC in other seeds", "gain in AUROC", "n")  # fmt: skip
    note = (
        "Of kernels of single layers or stages, within each seed; means over seeds with their "
        "intervals. A minus: closeness. AUROC of “retains 1 − margin or more” by a rule learned "
        "from all other seeds, 0.5 is a coin; gain: over depth and size alone."
    )
    return (Table(head, tuple(rows), note),)


def _methods(rows: list[tuple[str, Row]]) -> str:
    """Names the methods of the rows' intervals."""
    return ", ".join(sorted({row["method"] for _, row in rows}))


def _interval(row: Row | None) -> str:
    if row is None:
        return "–"
    number = intervals.number
    return f"{number(row['mean'])} [{number(row['low'])}, {number(row['high'])}]"
