"""What a report says, in which order: verdicts, figures, checks, methods, words, the command."""

import dataclasses
from collections.abc import Iterator

from tfreuse import specs
from tfreuse.analysis import intervals, verdicts
from tfreuse.analysis.arms import Part
from tfreuse.analysis.tables import Row
from tfreuse.report import checks, methods, results, words
from tfreuse.report.blocks import (
    Block,
    Cards,
    Code,
    Details,
    Fallback,
    Paragraph,
    Picture,
    Report,
    Section,
    Table,
    Warnings,
)
from tfreuse.report.drawings import DRAWINGS, Drawing
from tfreuse.report.source import Source

MOST_OPEN = 2  # parts whose verdicts are shown in full at once


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A figure that was saved: what of, which part of the study, the rows it was drawn from."""

    name: str  # of its files
    drawing: Drawing
    part: Part
    rows: list[Row]
    caption: str
    markup: tuple[str, ...] = ()  # SVG, a panel each; none of a Matplotlib figure


def compose(
    source: Source,
    found: list[verdicts.Verdict],
    figures: list[Drawn],
    labels: Section | None = None,
) -> Report:
    """The report on a study, complete or not; `labels` is what its label curves say."""
    sections = [
        Section("Verdicts", _verdicts(source, found)),
        *([labels] if labels else []),
        _shown("Two reasons", source, figures, results.two_reasons(figures)),
        _shown("All layers at once", source, figures),
        _shown("Where in the network", source, figures),
        _shown("What repairs win back", source, figures, results.repairs(figures)),
        _shown("Which role is to blame", source, figures, results.blame(source)),
        _shown("What predicts reuse", source, figures, results.predictors(figures)),
        _shown("Pictures", source, figures),
        Section("Did the biases move?", _biases(source)),
        Section("Can this be believed?", _checks(source)),
        Section("Networks", _networks(source)),
        Section("What was transplanted", _coverage(source)),
        Section("Methods", tuple(map(Paragraph, methods.paragraphs(source)))),
        Section("Words", (Table(("word", "meaning"), words.WORDS),)),
        Section("Repeat it", _repeat(source)),
    ]
    return Report(
        title="Which parameters can be reused",
        subtitle=_subtitle(source),
        lead=_lead(source),
        sections=tuple(section for section in sections if section.blocks),
    )


def _shown(
    title: str, source: Source, figures: list[Drawn], told: tuple[Block, ...] = ()
) -> Section:
    """A section of figures, part by part; the less important to be opened; what is not there."""
    blocks: list[Block] = list(told)
    for part in source.parts:
        own = [
            one for one in figures if (one.part, one.drawing.section) == (part, title)
        ]
        blocks += [_picture(one) for one in own if not one.drawing.detail]
        for live in (True, False):
            more = [
                one for one in own if one.drawing.detail and one.drawing.live == live
            ]
            if more:
                names = ", ".join(one.drawing.title for one in more)
                inside = Details(f"{part}: {names}", tuple(map(_plain_picture, more)))
                blocks.append(Fallback((inside,)) if live else inside)
    return Section(title, (*blocks, *_missing(title, source, figures)))


def _missing(title: str, source: Source, figures: list[Drawn]) -> Iterator[Block]:
    """Which figures are not there, and what would give them; the page itself says its own."""
    drawn = {one.drawing.kind for one in figures}
    for live in (True, False):
        hints = [
            one.hint(source.spec)
            for one in DRAWINGS
            if (one.section, one.live) == (title, live) and one.kind not in drawn
        ]
        if hints and source.records:
            told = Paragraph(" ".join(hints))
            yield Fallback((told,)) if live else told


def _picture(one: Drawn) -> Block:
    made = _plain_picture(one)
    return Fallback((made,)) if one.drawing.live else made


def _plain_picture(one: Drawn) -> Picture:
    title = f"{one.part}: {one.drawing.title}"
    return Picture(one.name, title, one.caption, one.markup)


def _subtitle(source: Source) -> str:
    data = source.specs.get("data", {})
    measured = (*source.records, *source.labels)
    seeds = {record.seed for record in measured}
    size = "×".join(map(str, data.get("image_size", ())))
    parts = [
        ", ".join(dict.fromkeys(record.architecture for record in measured))
        or ", ".join(dict.fromkeys(part.architecture for part in source.parts)),
        f"{data.get('dataset', '')} {size}".strip(),
        f"{len(seeds)} of {source.spec.seeds} seeds",
        f"{len(measured):,} arms measured",
        f"study {source.name}",
    ]
    return " · ".join(part for part in parts if part)


def _lead(source: Source) -> tuple[Block, ...]:
    missing = (*source.warnings, *checks.missing(source))
    return (Warnings(missing),) if missing else ()


def _verdicts(source: Source, found: list[verdicts.Verdict]) -> tuple[Block, ...]:
    cards = [
        Cards(str(part), own)
        for part in source.parts
        if (own := tuple(one for one in found if one.part == part))
    ]
    if not cards:
        return ()
    table = _verdict_table(source, found)
    if len(cards) <= MOST_OPEN:
        return (Fallback(tuple(cards)), table)
    closed = Fallback(tuple(Details(one.title, (one,)) for one in cards))
    return (_glance(cards), closed, table)


def _glance(cards: list[Cards]) -> Table:
    """Verdicts of every part, a line a part."""
    names = [one.hypothesis for one in cards[0].verdicts]
    rows = tuple(
        (card.title, *(one.verdict for one in card.verdicts)) for card in cards
    )
    return Table(("network, direction", *names), rows)


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
            else intervals.number(one.smallest_margin),
            one.reason,
        )
        for one in found
    )
    note = (
        "Effect: retention, in H1 retention(affine) − retention(stats), in H5 a rank "
        "correlation; its mean over seeds with "
        f"the {source.spec.confidence:.0%} interval (Student t up to 5 seeds, bootstrap-t from "
        "6). A retention below 0 "
        "counts as 0. Margin: retention that may be lost (H2, H4) or kept (H3), declared before "
        "the study ran. Smallest margin: the smallest with which the same interval would have "
        "supported the claim; chosen after the fact, it supports nothing."
    )
    return Table(head, rows, note)


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
        digest = source.digest
        settings = specs.StudySpec.from_json(source.specs["study"]).digest
        blocks.append(
            Paragraph(
                f"Study {digest[:16] or 'without records'}; settings {settings[:16]} (SHA-256)."
            )
        )
    return tuple(blocks)
