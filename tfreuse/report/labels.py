"""The report's section on label curves: the number of labels that a donor saves.

pictures = labels.draw(source, directory)    # figures with their rows as CSV
labels.section(source, pictures)             # None where the study has no label curves
labels.summary(source)                       # lines for a terminal
"""

import dataclasses
import math
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from tfreuse.analysis import intervals, label_curves
from tfreuse.analysis.tables import Row
from tfreuse.report import figures, label_tables, words
from tfreuse.report.blocks import (
    Block,
    Details,
    Fallback,
    Paragraph,
    Picture,
    Section,
    Table,
    Warnings,
)
from tfreuse.report.figures import label_curves as panels
from tfreuse.report.figures import svg
from tfreuse.report.source import Source
from tfreuse.specs.labels import FEW, LABELLED, PRETRAINED, SCRATCH, LabelSpec

TITLE = "How many labels it saves"
CURVES = "label_curves"
SAVINGS = "label_savings"
_TRANSDUCTIVE = "unlabelled=all"


@dataclasses.dataclass(frozen=True)
class Figure:
    """Curves or savings of one architecture: its rows, a drawing for each donor, a legend."""

    name: str  # of its files
    title: str
    caption: str
    rows: list[Row]
    drawings: list[svg.Drawing]


def figures_of(source: Source, kind: str) -> list[Figure]:
    """Draws the figures of a kind, CURVES or SAVINGS, for each architecture."""
    arms, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    if kind == CURVES:
        rows, title = label_curves.curves(arms, confidence), "label curves"
        caption, draw_rows = curves_caption, panels.label_curves
    else:
        rows, title = label_curves.savings(arms, confidence), "labels saved"
        caption, draw_rows = _savings_caption, panels.label_savings
    drawn = []
    for architecture in dict.fromkeys(row["architecture"] for row in rows):
        curves = [row for row in rows if row["architecture"] == architecture]
        name = f"{kind}_{re.sub(r'[^A-Za-z0-9]+', '-', architecture)}"
        gains = kind == CURVES and panels.of_one_number(curves)
        heading = f"{architecture}: {'gain over scratch' if gains else title}"
        text = caption(curves, source)
        drawn.append(Figure(name, heading, text, curves, draw_rows(curves)))
    return drawn


def draw(source: Source, directory: pathlib.Path) -> list[Picture]:
    """Draws and saves the figures of each architecture."""
    if not source.labels:
        return []
    pictures = []
    for figure in (*figures_of(source, CURVES), *figures_of(source, SAVINGS)):
        figures.save(figure.drawings, figure.rows, directory, figure.name, figure.title)
        markup = tuple(map(str, figure.drawings))
        pictures.append(Picture(figure.name, figure.title, figure.caption, markup))
    return pictures


def section(source: Source, pictures: Sequence[Picture]) -> Section | None:
    """Returns the section: protocol, figures and tables."""
    if not source.labels:
        return None
    arms, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    blocks: list[Block] = [Paragraph(protocol(source))]
    if warning := missing(source):
        blocks.insert(0, Warnings((warning,)))
    curves = [picture for picture in pictures if picture.name.startswith(CURVES)]
    savings = [picture for picture in pictures if picture not in curves]
    static = (
        label_tables.verdicts(arms, confidence), *curves, label_tables.savings(arms, confidence),
    )  # fmt: skip
    blocks += [Fallback(tuple(filter(_filled, static))), *savings]
    for title, table in (
        ("The metric at every n", label_tables.metrics(arms, confidence)),
        ("By group of test images", label_tables.groups(arms, confidence)),
        (
            "Updates to 90 % of the metric of scratch",
            label_tables.speeds(arms, confidence),
        ),
    ):
        blocks.append(Details(title, (table,)))
    if source.recipes:
        rows = tuple(source.recipes.items())
        blocks.append(
            Details("The recipes", (Table(("recipe", "what it does"), rows),))
        )
    return Section(TITLE, tuple(filter(_filled, blocks)))


def summary(source: Source) -> list[str]:
    """Returns a line for each verdict, and the labels saved below it."""
    if not source.labels:
        return []
    arms, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    savings = label_curves.savings(arms, confidence)
    lines, before = [], None
    for row in label_curves.areas(arms, confidence):
        if row["architecture"] != before:
            before = row["architecture"]
            lines.append(f"{before}, label curves over {row['labels']} labels")
        if row["recipe"] == SCRATCH:
            lines.append(
                f"  scratch: mean height {label_tables.interval(row)}, n = {row['n']}"
            )
            continue
        gain = label_tables.interval(row, "gain_") if "gain_mean" in row else "–"
        name = label_tables.arm_name(row)
        lines.append(f"  {row.get('verdict', 'not testable'):<12}  {gain:<22}  {name}")
        factors = ", ".join(
            f"{saving['labels']}: {label_tables.factor(saving)}"
            for saving in savings
            if label_tables.key(saving) == label_tables.key(row)
        )
        if factors:
            lines.append(f"    labels saved with {factors}")
    return lines or _gains(label_curves.curves(arms, confidence))


def _gains(rows: list[Row]) -> list[str]:
    """Returns a line for each arm, where no arm has two numbers of labels."""
    lines, before = [], None
    for row in sorted(rows, key=lambda row: (row["architecture"], row["labels"])):
        group = row["architecture"], row["labels"]
        if group != before:
            before = group
            name, count = group
            lines.append(f"{name}, gain over scratch with {count:,} labels")
        if row["recipe"] == SCRATCH:
            metric = label_tables.interval(row)
            lines.append(f"  scratch: test metric {metric}, n = {row['n']}")
            continue
        gain = label_tables.interval(row, "gain_") if "gain_mean" in row else "–"
        n = row.get("gain_n", 0)
        lines.append(f"  {gain:<22}  n = {n:<2}  {label_tables.arm_name(row)}")
    return lines


def to_json(source: Source) -> list[Row]:
    """Returns the verdicts on the arms with their label savings; infinite ends become None.

    With one number of labels, which has no verdict, they are means and gains over scratch.
    """
    arms, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    savings = label_curves.savings(arms, confidence)
    return [
        _plain(row)
        | {
            "savings": [
                _plain(s)
                for s in savings
                if label_tables.key(s) == label_tables.key(row)
            ]
        }
        for row in label_curves.areas(arms, confidence)
        or label_curves.curves(arms, confidence)
    ]


def _plain(row: Row) -> Row:
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in row.items()
    }


def protocol(source: Source) -> str:
    """Describes how the label curves were measured, in a paragraph."""
    records = source.labels
    seeds = len({record.seed for record in records})
    spec = _spec(source)
    rates = ", ".join(f"{rate:g}" for rate in spec.learning_rates)
    chosen = (
        f"The peak rate ({rates}) was chosen on a quarter of the n labels, alike for every arm; "
        f"with {FEW} labels or fewer the first was taken."
        if len(spec.learning_rates) > 1
        else f"The peak rate was {rates} in every fit."
    )
    subset = "the subset, the fewer labels being part of the more"
    judged = "A verdict is on the gain over scratch with equally many labels, averaged over log n."
    if len(spec.label_counts) == 1:
        subset = "the subset"
        judged = (
            "The gain over scratch is paired by seed; a verdict, and labels saved, need two "
            "numbers of labels (--label_counts)."
        )
    images = " or ".join(str(n) for n in sorted({record.images for record in records}))
    return (
        f"Segmentation networks were fitted with n labelled images, {spec.label_steps} updates "
        f"each{words.options(source.specs.get('train', {}))}, from scratch and from donors. {_of_donors(spec)} {chosen} All arms of a seed share "
        f"{subset}. {seeds} seeds; {images} test images, which chose nothing. {judged}"
    )


def _of_donors(spec: LabelSpec) -> str:
    """Says what the donors learned from, by kind."""
    kinds = {donor: donor.partition(":")[0] for donor in spec.donors}
    labelled = [donor for donor, kind in kinds.items() if kind in LABELLED]
    unlabelled = [d for d, kind in kinds.items() if kind not in (*LABELLED, PRETRAINED)]
    sentences = []
    if unlabelled:
        text = "saw the training images without labels"
        if any(f":{_TRANSDUCTIVE}" in donor for donor in unlabelled):
            text += f"; with {_TRANSDUCTIVE}, also those of validation and test"
        sentences.append(f"{_names(unlabelled)} {text}.")
    if labelled:
        sentences.append(
            f"{_names(labelled)} learned from the labels of the training images: an upper bound "
            "of the gain from a donor of this network, and no saving of labels."
        )
    if any(":train_examples=" in donor for donor in kinds):
        sentences.append(
            "With train_examples=N a donor learned from the first N training images, its statistics "
            "apart, which all donors take from the calibration images."
        )
    if PRETRAINED in spec.donors:
        sentences.append(
            f"Donor {PRETRAINED} is the encoder with its --encoder_weights."
        )
    return " ".join(sentences)


def _names(donors: list[str]) -> str:
    return f"Donors {', '.join(donors)}" if len(donors) > 1 else f"Donor {donors[0]}"


def _spec(source: Source) -> LabelSpec:
    settings = source.specs.get("labels")
    return LabelSpec.from_json(settings) if settings else LabelSpec()


def missing(source: Source) -> str:
    """Says how many declared fits are not measured yet; "" if all are."""
    spec = _spec(source)
    architectures = len({record.architecture for record in source.labels})
    planned = architectures * source.spec.seeds * len(spec.label_counts)
    planned *= len(spec.arms())
    if len(source.labels) >= planned:
        return ""
    return (
        f"Label curves: {len(source.labels)} of {planned} fits are measured. Run the study "
        "again with the same --out_dir: it goes on where it was."
    )


def curves_caption(rows: list[Row], source: Source) -> str:
    """Describes the curves, or the gains where there is one number of labels."""
    if panels.of_one_number(rows):
        gains = [row for row in rows if "gain_mean" in row]
        measured = [
            {name: row[f"gain_{name}"] for name in ("n", "method")} for row in gains
        ]
        return (
            f"Gain in {source.labels[0].metric} over scratch with {gains[0]['labels']:,} labelled "
            "images, paired by seed, a panel a donor; upright lines: the intervals; horizontal "
            f"line: no gain. {_seeds(measured, source)}."
        )
    counts = Counter(label_tables.key(row) for row in rows).values()
    looks = ("shaded",) * (max(counts) > 1) + ("an upright line",) * (min(counts) == 1)
    return (
        "Test metric against the number of labelled images (logarithmic), a panel a donor; "
        f"{' or '.join(looks)}: the interval; dark: from scratch; dotted: the floor. "
        f"{_tail(rows, source)}"
    )


def _savings_caption(rows: list[Row], source: Source) -> str:
    return (
        "How many times as many labels scratch needs for the same metric; 1: the donor saves "
        "none. Bars: intervals; an arrow: only a bound is known, since the arm does better "
        "than scratch with most labels, or worse than with fewest. "
        f"{_tail(rows, source)}"
    )


def _tail(rows: list[Row], source: Source) -> str:
    floor = min(record.floor for record in source.labels)
    metric = source.labels[0].metric
    return f"{_seeds(rows, source)}. Floor: {metric} {intervals.number(floor)}."


def _seeds(rows: list[Row], source: Source) -> str:
    """Describes the seeds and intervals of rows with n and method."""
    counts = sorted({row["n"] for row in rows})
    n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    methods = ", ".join(sorted({row["method"] for row in rows}))
    return f"n = {n} seeds; {source.spec.confidence:.0%} intervals: {methods}"


def _filled(block: Block) -> bool:
    if isinstance(block, Details):
        return all(map(_filled, block.blocks))
    return not isinstance(block, Table) or bool(block.rows)
