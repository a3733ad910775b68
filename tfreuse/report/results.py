"""Named results in words and tables: the two reasons, whose task, what predicts, magnitude."""

from collections import Counter
from typing import TYPE_CHECKING

from tfreuse.analysis import intervals, magnitude, reasons
from tfreuse.analysis.tables import Row
from tfreuse.report.blocks import Block, Details, Paragraph, Table
from tfreuse.report.source import Source

if TYPE_CHECKING:
    from tfreuse.report.content import Drawn

_MOST_NAMED = 12  # cells that a sentence lists
_MEASURES = ("spearman", "partial", "auroc", "gain")


def two_reasons(figures: list["Drawn"]) -> tuple[Block, ...]:
    """One sentence a class of cells, with counts and the cells' names, for every part."""
    blocks: list[Block] = []
    for one in figures:
        if one.drawing.kind != "reasons":
            continue
        raw = [row for row in one.rows if row["repair"] == "none"]
        counts = Counter(row["reason"] for row in raw)
        told = ", ".join(f"{counts[name]} {name}" for name in reasons.REASONS)
        blocks.append(
            Paragraph(
                f"{one.part}: of {len(raw)} cells (group and site, as transplanted) {told}."
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
                "general, and the parameters lie close to the ideal ones. Random values at the "
                "donor's distance from the recipient tell them apart."
            ),
        )
    return tuple(blocks)


def _cells(rows: list[Row], reason: str) -> str:
    """Where the reason holds: groups with their sites."""
    by_group: dict[str, list[str]] = {}
    for row in rows:
        if row["reason"] == reason:
            site = "all layers" if row["site_kind"] == "all" else row["site"]
            by_group.setdefault(row["group"], []).append(site)
    told = []
    for group, sites in by_group.items():
        more = len(sites) - _MOST_NAMED
        named = ", ".join(sites[:_MOST_NAMED]) + (
            f" and {more} more" if more > 0 else ""
        )
        told.append(f"{group}: {named}")
    return "; ".join(told)


def repairs(figures: list["Drawn"]) -> tuple[Block, ...]:
    """What a donor has over fresh values where a stitch or training may do it all."""
    rows = [
        (str(one.part), row)
        for one in figures
        if one.drawing.kind == "ladder"
        for row in one.rows
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
    made = ", ".join(sorted({row["method"] for _, row in rows}))
    note = (
        "A stitch or a few updates may repair anything: only what the donor retains beyond "
        f"fresh initial values with the same repair is its own. Intervals over seeds: {made}."
    )
    title = f"Is it the donor, or the repair? ({len(rows)} rows)"
    return (Details(title, (Table(head, cells, note),)),)


def blame(source: Source) -> tuple[Block, ...]:
    """Tables below the Shapley values: whose task, and whether size explains it."""
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
                "another seed, less retention with the donor. What both lose is due to being "
                "another network; only the excess is due to the donor's task."
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
    made = ", ".join(sorted({row["method"] for _, row in rows}))
    note = f"Mean over seeds, paired; retentions below 0 count as 0. Intervals: {made}."
    return Table(head, cells, note)


def _beyond_magnitude(source: Source) -> tuple[Block, ...]:
    """Whether the kind of parameter matters once the size of the move is known."""
    rows = [
        (str(part), row)
        for part, arms in source.parts.items()
        for row in magnitude.rows(arms, source.spec)
    ]
    if not rows:
        return ()
    head = (
        "network, direction", "sites", "group", "against", "size told by", "overlap",
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
    made = ", ".join(sorted({row["method"] for _, row in rows}))
    note = (
        "Loss of retention that a group causes more than the other: as it is, and with the size "
        "of the move (its effect on the inference map, or on the site's output) taken out "
        "within each seed. Overlap: share of the group's moves within the sizes of the "
        f"other's; under half, sizes cannot be compared. Intervals over seeds: {made}."
    )
    return (Paragraph("Is it the kind of parameter, or how far it was moved?"),
            Table(head, cells, note))  # fmt: skip


def predictors(figures: list["Drawn"]) -> tuple[Block, ...]:
    """The measures of every predictor, as a table."""
    rows = []
    for one in figures:
        if one.drawing.kind != "scatter":
            continue
        found: dict[str, dict[str, Row]] = {}
        for row in one.rows:
            if row["quantity"] != "point":
                found.setdefault(row["predictor"], {})[row["quantity"]] = row
        for name, measured in found.items():
            told = [_interval(measured.get(quantity)) for quantity in _MEASURES]
            counts = str(max(row["n"] for row in measured.values()))
            rows.append((str(one.part), name, *told, counts))
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


def _interval(row: Row | None) -> str:
    if row is None:
        return "–"
    number = intervals.number
    return f"{number(row['mean'])} [{number(row['low'])}, {number(row['high'])}]"
