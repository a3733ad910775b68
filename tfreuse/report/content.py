"""What a report says, in which order: verdicts, figures, checks, methods, words, the command."""

import dataclasses

from tfreuse import specs, statistics, verdicts
from tfreuse.report import checks, methods
from tfreuse.report.blocks import (
    Block,
    Cards,
    Code,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
    Warnings,
)
from tfreuse.report.source import Source
from tfreuse.report.tables import Row
from tfreuse.verdicts.arms import Part


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure that was saved: which part of the study it shows, and the rows it was drawn from."""

    name: str  # of the PNG and the CSV
    kind: str  # "stage", "layer" or "forest"
    part: Part
    rows: list[Row]


_KINDS = {"forest": "all layers", "stage": "single stages", "layer": "single layers"}


def compose(
    source: Source, found: list[verdicts.Verdict], figures: list[Drawn]
) -> Report:
    """The report on a study, complete or not."""
    sections = [
        Section("Verdicts", _verdicts(source, found)),
        Section("All layers at once", _figures(source, figures, ("forest",))),
        Section("Where in the network", _figures(source, figures, ("stage", "layer"))),
        Section("Did the biases move?", _biases(source)),
        Section("Can this be believed?", _checks(source)),
        Section("Networks", _networks(source)),
        Section("What was transplanted", _coverage(source)),
        Section("Methods", tuple(map(Paragraph, methods.paragraphs(source)))),
        Section("Words", (Table(("word", "meaning"), methods.WORDS),)),
        Section("Repeat it", _repeat(source)),
    ]
    return Report(
        title="Which parameters can be reused",
        subtitle=_subtitle(source),
        sections=tuple(section for section in sections if section.blocks),
    )


def _subtitle(source: Source) -> str:
    data, seeds = source.specs.get("data", {}), {r.seed for r in source.records}
    size = "×".join(map(str, data.get("image_size", ())))
    parts = [
        ", ".join(dict.fromkeys(part.architecture for part in source.parts)),
        f"{data.get('dataset', '')} {size}".strip(),
        f"{len(seeds)} of {source.spec.seeds} seeds",
        f"{len(source.records):,} arms measured",
        f"study {source.name}",
    ]
    return " · ".join(part for part in parts if part)


def _verdicts(source: Source, found: list[verdicts.Verdict]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    missing = (*source.warnings, *checks.missing(source))
    if missing:
        blocks.append(Warnings(missing))
    for part in source.parts:
        own = tuple(one for one in found if one.part == part)
        if own:
            blocks.append(Cards(str(part), own))
    if found:
        blocks.append(_verdict_table(source, found))
    return tuple(blocks)


def _verdict_table(source: Source, found: list[verdicts.Verdict]) -> Table:
    head = (
        "hypothesis", "network, direction", "verdict", "effect", "n", "p (Holm)",
        "margin", "smallest margin", "reason",
    )  # fmt: skip
    rows = tuple(
        (
            one.hypothesis,
            str(one.part),
            one.verdict,
            str(one.effect) if one.effect else "–",
            str(one.n),
            "–" if one.p_holm is None else f"{one.p_holm:.2g}",
            f"{one.margin:g}" if one.threshold else "–",
            "–"
            if one.smallest_margin is None
            else statistics.number(one.smallest_margin),
            one.reason,
        )
        for one in found
    )
    note = (
        "Effect: retention, in H1 retention(affine) − retention(stats); its mean over seeds with "
        f"the {source.spec.confidence:.0%} interval (Student t up to 5 seeds, bootstrap-t from "
        "6). A retention below 0 "
        "counts as 0. Margin: retention that may be lost (H2, H4) or kept (H3), declared before "
        "the study ran. Smallest margin: the smallest with which the same interval would have "
        "supported the claim; chosen after the fact, it supports nothing."
    )
    return Table(head, rows, note)


def _figures(
    source: Source, figures: list[Drawn], kinds: tuple[str, ...]
) -> tuple[Block, ...]:
    return tuple(
        Picture(
            one.name,
            f"{one.part}: {_KINDS[one.kind]}",
            _caption(source, one),
        )
        for one in figures
        if one.kind in kinds
    )


def _caption(source: Source, one: Drawn) -> str:
    """What the figure shows, with n, the interval's method and the floor."""
    own = [record for arm in source.parts[one.part].values() for record in arm.values()]
    floors = [record.floor for record in own]
    floor = (
        f"Floor: {own[0].metric} {statistics.number(min(floors))}"
        + (f" to {statistics.number(max(floors))}" if max(floors) > min(floors) else "")
        + "."
    )
    counts = sorted({row["n"] for row in one.rows})
    n = (
        "n = "
        + " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
        + " seeds"
    )
    made = sorted({row["method"] for row in one.rows})
    made = f"{source.spec.confidence:.0%} intervals: {', '.join(made)}"
    if one.kind == "forest":
        return (
            "Retention of every arm of all layers, unclipped: a small dot a seed, a "
            "large one the mean, a line its interval; an arrow points to what lies beyond the "
            f"axis. Dashed: 1 − margin; dotted: what counts as sensitive. {n}; {made}. {floor}"
        )
    what = "stage" if one.kind == "stage" else "layer"
    dots = [row["identifiable"] for row in one.rows]
    told = (
        f"A dot: re-initialising the same parameters{' of its stage' * (what == 'layer')} is "
        "not shown to cost more than 0.02 of the metric, so reuse proves nothing there "
        f"({dots.count(False)} of {len(dots)} cells"
        + (f"; {dots.count(None)} were not tried" if None in dots else "")
        + "). "
    )
    return (
        f"Mean retention where one {what} is taken from the donor, input at the top. "
        f"1 is white; the colour ends at 0 and 2, the number does not. {told}{n}; the dots "
        f"use {source.spec.confidence:.0%} intervals, and the CSV has one for each cell "
        f"({made.split(': ')[1]}). {floor}"
    )


def _biases(source: Source) -> tuple[Block, ...]:
    rows = checks.bias_shifts(source)
    if not rows:
        return ()
    return (
        Paragraph(
            "A bias can only matter where donor and recipient differ in it. In a convolution "
            "followed directly by batch normalization the training gradient of the bias is "
            "zero but for rounding, because the mean is taken off again: biases stay at their "
            "initial 0, and that they can be replaced is true by construction. H4 is judged only where "
            f"the median difference is at least {verdicts.UNMOVED:g} standard deviations of "
            "the channel."
        ),
        Table(("network, direction", "median bias difference a seed [sd]"), rows),
    )


def _checks(source: Source) -> tuple[Block, ...]:
    rows = checks.rows(source)
    return (Table(("check", "result", "what it means"), rows),) if rows else ()


def _networks(source: Source) -> tuple[Block, ...]:
    rows = checks.networks(source)
    if not rows:
        return ()
    return (
        Table(
            ("network", "metric", "value", "floor", "also", "parameters", "seconds"),
            rows,
            "On test images, as trained: before moving statistics are re-estimated. "
            + checks.network_means(source),
        ),
    )


def _coverage(source: Source) -> tuple[Block, ...]:
    rows = checks.coverage(source)
    if not rows:
        return ()
    head = (
        "network, direction",
        "group",
        "arrays",
        "numbers moved",
        "changed",
        "share of network",
    )
    return (
        Paragraph(
            "Heads, the auxiliary one included, are never transplanted: they belong to their "
            "task. A retention of 1 therefore speaks of everything but the head."
        ),
        Table(head, rows, "All layers, plain transfer; the fewest over seeds."),
    )


def _repeat(source: Source) -> tuple[Block, ...]:
    name = source.name or "STUDY_DIR"
    told = ", ".join(f"{k} {v}" for k, v in sorted(source.versions.items()))
    blocks: list[Block] = [
        Code(
            f"python tools/study.py --flagfile={name}/config.flags --out_dir=ANOTHER_DIR\n"
            f"python tools/report.py --study_dir={name}"
        )
    ]
    if told:
        blocks.append(Paragraph(f"Measured with {told}."))
    if "study" in source.specs:
        digest = source.records[0].study if source.records else ""
        settings = specs.StudySpec.from_json(source.specs["study"]).digest
        blocks.append(
            Paragraph(
                f"Study {digest[:16] or 'without records'}; settings {settings[:16]} (SHA-256)."
            )
        )
    return tuple(blocks)
