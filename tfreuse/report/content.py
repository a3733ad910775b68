"""Composes a report: verdicts, figures, checks, methods, glossary and commands, in order."""

import dataclasses
from collections.abc import Iterator

from tfreuse import rundir, specs
from tfreuse.analysis import caveats, intervals, verdicts
from tfreuse.analysis.arms import Part
from tfreuse.analysis.tables import Row
from tfreuse.records import UNMOVED
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
    """A saved figure with the rows that it was drawn from."""

    name: str  # of its files
    drawing: Drawing
    part: Part
    rows: list[Row]
    caption: str
    markup: tuple[str, ...] = ()  # SVG, a panel each; none of a Matplotlib figure


def compose(
    source: Source,
    judged: list[verdicts.Verdict],
    figures: list[Drawn],
    labels: Section | None = None,
) -> Report:
    """Composes the report on a study, complete or not; `labels` reports its label curves."""
    sections = [
        Section("Verdicts", _verdicts(source, judged)),
        *([labels] if labels else []),
        _figures("Two reasons", source, figures, results.two_reasons(figures)),
        _figures("All layers at once", source, figures, results.raw_metrics(source)),
        _figures("Where in the network", source, figures),
        _figures("Between donor and recipient", source, figures),
        _figures("Which channels", source, figures),
        _figures("What repairs win back", source, figures, results.repairs(figures)),
        _figures("Which role is to blame", source, figures, results.blame(source)),
        _figures("When reuse appears", source, figures),
        _figures("What predicts reuse", source, figures, results.predictors(figures)),
        _figures("Pictures", source, figures),
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


def _figures(
    title: str, source: Source, figures: list[Drawn], results: tuple[Block, ...] = ()
) -> Section:
    """Builds a section: results in words, figures by part, hints on absent figures.

    Less important figures are folded away. Figures that the interactive views show too are
    fallbacks, for paper and for pages without scripts.
    """
    blocks: list[Block] = list(results)
    for part in source.parts:
        drawn = [
            figure
            for figure in figures
            if (figure.part, figure.drawing.section) == (part, title)
        ]
        blocks += [_block(figure) for figure in drawn if not figure.drawing.detail]
        for live in (True, False):
            details = [
                figure
                for figure in drawn
                if figure.drawing.detail and figure.drawing.live == live
            ]
            if details:
                names = ", ".join(figure.drawing.title for figure in details)
                folded = Details(f"{part}: {names}", tuple(map(_picture, details)))
                blocks.append(Fallback((folded,)) if live else folded)
    return Section(title, (*blocks, *_missing(title, source, figures)))


def _missing(title: str, source: Source, figures: list[Drawn]) -> Iterator[Block]:
    """Names the flags that would add absent figures; the views have hints of their own."""
    drawn = {figure.drawing.kind for figure in figures}
    for live in (True, False):
        hints = [
            drawing.hint(source.spec)
            for drawing in DRAWINGS
            if (drawing.section, drawing.live) == (title, live)
            and drawing.kind not in drawn
        ]
        if hints and source.records:
            text = Paragraph(" ".join(hints))
            yield Fallback((text,)) if live else text


def _block(figure: Drawn) -> Block:
    picture = _picture(figure)
    return Fallback((picture,)) if figure.drawing.live else picture


def _picture(figure: Drawn) -> Picture:
    title = f"{figure.part}: {figure.drawing.title}"
    return Picture(figure.name, title, figure.caption, figure.markup)


def _subtitle(source: Source) -> str:
    data = source.specs.get("data", {})
    measured = (*source.records, *source.labels)
    seeds = {record.seed for record in measured}
    size = "×".join(map(str, data.get("image_size", ())))
    parts = [
        ", ".join(dict.fromkeys(record.architecture for record in measured))
        or ", ".join(dict.fromkeys(part.architecture for part in source.parts)),
        f"{data.get('dataset', '')} {size}".strip(),
        "one pair of networks"
        if source.spec.seeds == 1
        else f"{len(seeds)} of {source.spec.seeds} seeds",
        f"{len(measured):,} arms measured",
        f"study {source.name}",
    ]
    return " · ".join(part for part in parts if part)


def _lead(source: Source) -> tuple[Block, ...]:
    untrained = (
        caveats.untrained(source.records, source.spec),
        caveats.untrained_fits(source.labels, source.spec),
    )
    missing = (*source.warnings, *checks.missing(source))
    images = min((record.images for record in source.records), default=0)
    caution = caveats.few_seeds(source.spec, images) if source.records else ""
    return (
        *(Warnings((text,), "Hardly trained") for text in untrained if text),
        *((Paragraph(caution),) if caution else ()),
        *((Warnings(missing),) if missing else ()),
    )


def _verdicts(source: Source, judged: list[verdicts.Verdict]) -> tuple[Block, ...]:
    cards = [
        Cards(str(part), of_part)
        for part in source.parts
        if (of_part := tuple(verdict for verdict in judged if verdict.part == part))
    ]
    if not cards:
        return ()
    table = _verdict_table(source, judged)
    if len(cards) <= MOST_OPEN:
        return (Fallback(tuple(cards)), table)
    closed = Fallback(tuple(Details(card.title, (card,)) for card in cards))
    return (_overview(cards), closed, table)


def _overview(cards: list[Cards]) -> Table:
    """Tabulates the verdicts of every part, a line per part."""
    names = [verdict.hypothesis for verdict in cards[0].verdicts]
    rows = tuple(
        (card.title, *(verdict.verdict for verdict in card.verdicts)) for card in cards
    )
    return Table(("network, direction", *names), rows)


def _verdict_table(source: Source, judged: list[verdicts.Verdict]) -> Table:
    head = (
        "hypothesis", "network, direction", "verdict", "effect", "n", "p (Holm)",
        "margin", "smallest margin", "reason",
    )  # fmt: skip
    rows = tuple(
        (
            verdict.hypothesis,
            str(verdict.part),
            verdict.verdict,
            str(verdict.effect) if verdict.effect else "–",
            str(verdict.n),
            "–" if verdict.p_holm is None else f"{verdict.p_holm:.2g}",
            f"{verdict.margin:g}" if verdict.threshold else "–",
            "–"
            if verdict.smallest_margin is None
            else intervals.number(verdict.smallest_margin),
            verdict.reason,
        )
        for verdict in judged
    )
    note = (
        "Effect: retention, in H1 retention(affine) − retention(stats), in H5 a rank "
        "correlation; its mean over seeds with "
        f"the {source.spec.confidence:.0%} interval (Gaffke's bounds). A retention below 0 "
        "counts as 0, one above 1 as 1. Margin: retention that may be lost (H2, H4) or kept (H3), declared before "
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
            "zero up to rounding, because the mean is subtracted again: biases stay at their "
            "initial 0, and can be replaced by construction. H4 is judged by the biases that "
            f"differ by at least {UNMOVED:g} standard deviations of the channel."
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
            ("network", "metric", "value", "floor", "further", "parameters", "seconds"),
            rows,
            (
                "On test images, as they are. "
                if "given" in source.specs
                else "On test images, as trained: before moving statistics are re-estimated. "
            )
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
            "Heads, including the auxiliary one, are never transplanted: they belong to their "
            "task. A retention of 1 therefore concerns all layers but the heads."
        ),
        Table(head, rows, "All layers, plain transfer; the fewest over seeds."),
    )


def _repeat(source: Source) -> tuple[Block, ...]:
    path = source.path.resolve() if source.directory else source.path
    flags = f"--flagfile={path / 'config.flags'}", "--out_dir=ANOTHER_DIR"
    versions = ", ".join(f"{k} {v}" for k, v in sorted(source.versions.items()))
    blocks: list[Block] = [
        Code(
            f"{rundir.command(source.directory, 'study', *flags)}\n"
            f"{rundir.command(source.directory, 'report', f'--study_dir={path}')}"
        )
    ]
    if versions:
        blocks.append(Paragraph(f"Measured with {versions}."))
    if "study" in source.specs:
        digest = source.digest
        settings = specs.StudySpec.from_json(source.specs["study"]).digest
        blocks.append(
            Paragraph(
                f"Study {digest[:16] or 'without records'}; settings {settings[:16]} (SHA-256)."
            )
        )
    return tuple(blocks)
