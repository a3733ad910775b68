"""The part of a report that tells how many labels a donor saves.

pictures = labels.draw(source, directory)    # figures with their CSV twins
labels.section(source, pictures)             # None where the study has no label curves
labels.summary(source)                       # the same for a terminal, in lines
"""

import math
import pathlib
import re
from collections.abc import Sequence

from tfreuse.analysis import intervals, label_curves
from tfreuse.analysis.tables import Row
from tfreuse.report import figures
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
from tfreuse.report.source import Source
from tfreuse.specs.labels import FEW, SCRATCH, LabelSpec

TITLE = "How many labels it saves"
CURVES = "label_curves"
SAVINGS = "label_savings"


def draw(source: Source, directory: pathlib.Path) -> list[Picture]:
    """Draws and saves the figures of each architecture."""
    if not source.labels:
        return []
    from tfreuse.report.figures import plots  # imports Matplotlib

    found = label_curves.by_arm(source.labels)
    confidence = source.spec.confidence
    pictures = []
    for kind, rows, title, caption in (
        (
            CURVES,
            label_curves.curves(found, confidence),
            "label curves",
            curves_caption,
        ),
        (
            SAVINGS,
            label_curves.savings(found, confidence),
            "labels saved",
            _savings_caption,
        ),
    ):
        for architecture in dict.fromkeys(row["architecture"] for row in rows):
            own = [row for row in rows if row["architecture"] == architecture]
            name = f"{kind}_{re.sub(r'[^A-Za-z0-9]+', '-', architecture)}"
            figures.save(plots.LABELS[kind](own), own, directory, name)
            pictures.append(
                Picture(name, f"{architecture}: {title}", caption(own, source))
            )
    return pictures


def section(source: Source, pictures: Sequence[Picture]) -> Section | None:
    """What was found, with its figures and tables."""
    if not source.labels:
        return None
    found, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    blocks: list[Block] = [Paragraph(told(source))]
    if lacking := missing(source):
        blocks.insert(0, Warnings((lacking,)))
    of_curves = [one for one in pictures if one.name.startswith(CURVES)]
    shown = (
        verdict_table(found, confidence),
        *of_curves,
        savings_table(found, confidence),
    )
    blocks.append(Fallback(tuple(block for block in shown if _filled(block))))
    blocks += [one for one in pictures if one not in of_curves]
    blocks.append(Details("The metric at every n", (_metrics(found, confidence),)))
    blocks.append(Details("By group of test images", (_groups(found, confidence),)))
    blocks.append(
        Details(
            "Updates to 90 % of what scratch reaches", (_speeds(found, confidence),)
        )
    )
    if source.recipes:
        rows = tuple(source.recipes.items())
        blocks.append(
            Details("The recipes", (Table(("recipe", "what it does"), rows),))
        )
    return Section(TITLE, tuple(block for block in blocks if _filled(block)))


def summary(source: Source) -> list[str]:
    """A line a verdict, and the labels saved below it."""
    if not source.labels:
        return []
    found, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    saved = label_curves.savings(found, confidence)
    lines, before = [], None
    for row in label_curves.areas(found, confidence):
        if row["architecture"] != before:
            before = row["architecture"]
            lines.append(f"{before}, label curves over {row['labels']} labels")
        if row["recipe"] == SCRATCH:
            lines.append(f"  scratch: mean height {_interval(row)}, n = {row['n']}")
            continue
        gain = _interval(row, "gain_") if "gain_mean" in row else "–"
        name = _arm(row)
        lines.append(f"  {row.get('verdict', 'not testable'):<12}  {gain:<22}  {name}")
        own = [s for s in saved if _arm_key(s) == _arm_key(row)]
        factors = ", ".join(f"{s['labels']}: {factor(s)}" for s in own)
        if factors:
            lines.append(f"    labels saved with {factors}")
    if lines:
        return lines
    fits = len(source.labels)
    return [
        f"{fits} fits are measured; a curve needs two numbers of labels (--label_counts)."
    ]


def factor(row: Row) -> str:
    """A label saving as text: "×2.60 [1.10, 6.10]", with "≥" or "≤" where it is a bound."""
    mark = {">": "≥ ", "<": "≤ ", "<>": "? "}.get(row["censored"], "")
    low, high = intervals.number(row["low"]), intervals.number(row["high"])
    return f"{mark}×{intervals.number(row['mean'])} [{low}, {high}]"


def to_json(source: Source) -> list[Row]:
    """The verdicts on the arms, each with its label savings; infinite ends become None."""
    found, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    saved = label_curves.savings(found, confidence)
    return [
        _plain(row)
        | {"savings": [_plain(s) for s in saved if _arm_key(s) == _arm_key(row)]}
        for row in label_curves.areas(found, confidence)
    ]


def _plain(row: Row) -> Row:
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in row.items()
    }


def told(source: Source) -> str:
    """How it was done, as a paragraph."""
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
    tests = " or ".join(str(n) for n in sorted({record.images for record in records}))
    return (
        f"Segmentation networks were fitted with n labelled images, {spec.label_steps} updates "
        "each, from scratch and from donors that saw all training images without labels. "
        f"{chosen} All arms of a seed share the subset, the "
        f"fewer labels being part of the more. {seeds} seeds; {tests} test images, looked at "
        "by no choice. A verdict is on the gain over scratch with equally many labels, "
        "averaged over log n."
    )


def _spec(source: Source) -> LabelSpec:
    told = source.specs.get("labels")
    return LabelSpec.from_json(told) if told else LabelSpec()


def missing(source: Source) -> str:
    """What is declared and not measured yet, as a sentence; "" if nothing is."""
    spec = _spec(source)
    architectures = len({record.architecture for record in source.labels})
    wanted = architectures * source.spec.seeds * len(spec.label_counts)
    wanted *= len(spec.arms())
    if len(source.labels) >= wanted:
        return ""
    return (
        f"Label curves: {len(source.labels)} of {wanted} fits are measured. Run the study "
        "again with the same --out_dir: it goes on where it was."
    )


def verdict_table(found: label_curves.Arms, confidence: float) -> Table:
    ends = {_arm_key(row): row for row in label_curves.crossovers(found, confidence)}
    rows = []
    for row in label_curves.areas(found, confidence):
        if "verdict" not in row:
            continue
        end = ends.get(_arm_key(row), {})
        rows.append(
            (
                row["architecture"],
                _arm(row),
                row["verdict"],
                _interval(row, "gain_") if "gain_mean" in row else "–",
                str(row.get("gain_n", 1)),
                "–" if row.get("p") is None else f"{row['p_holm']:.2g}",
                end.get("helps_at") or "none",
                end.get("harms_at") or "none",
                _crossover(end),
            )
        )
    head = ("network", "arm", "verdict", "gain over scratch", "n", "p (Holm)",
            "surely better at", "surely worse at", "gain ends at")  # fmt: skip
    note = (
        "Gain: difference of the mean heights of the curves over log2 n, paired by seed. "
        f"Surely: the {confidence:.0%} interval of the gain at that n leaves 0 out, for each n "
        "on its own. Gain ends: number of labels at which the mean gain falls to 0."
    )
    return Table(head, tuple(rows), note)


def savings_table(found: label_curves.Arms, confidence: float) -> Table:
    rows = label_curves.savings(found, confidence)
    counts = sorted({row["labels"] for row in rows})
    cells = {(_arm_key(row), row["labels"]): factor(row) for row in rows}
    arms = list(dict.fromkeys(_arm_key(row) for row in rows))
    named = {_arm_key(row): (row["architecture"], _arm(row)) for row in rows}
    note = (
        "Label saving: how many times as many labels scratch needs for the same metric "
        "(isotonic curve of the same seed, linear over log n); geometric mean over seeds and "
        "its interval. ≥: at least one seed does better than scratch with most labels, so that "
        "only a bound is known; ≤: worse than scratch with fewest."
    )
    table = tuple(
        (*named[arm], *(cells.get((arm, n), "–") for n in counts)) for arm in arms
    )
    return Table(("network", "arm", *(f"{n} labels" for n in counts)), table, note)


def _metrics(found: label_curves.Arms, confidence: float) -> Table:
    rows = tuple(
        (
            row["architecture"],
            _arm(row),
            str(row["labels"]),
            _interval(row),
            _interval(row, "gain_") if "gain_mean" in row else "–",
            str(row["n"]),
            row["method"],
            ", ".join(dict.fromkeys(row["rates"].split())),
        )
        for row in label_curves.curves(found, confidence)
    )
    head = ("network", "arm", "labels", "metric", "gain over scratch", "n", "method",
            "rates chosen")  # fmt: skip
    return Table(head, rows)


def _groups(found: label_curves.Arms, confidence: float) -> Table:
    rows = tuple(
        (
            row["architecture"],
            _arm(row),
            str(row["labels"]),
            row["group"],
            "in training too" if row["seen"] else "new",
            _interval(row),
            _interval(row, "gain_") if "gain_mean" in row else "–",
            str(row["n"]),
        )
        for row in label_curves.by_group(found, confidence)
    )
    note = (
        "The metric of the test images of one subject or sequence (--group_by). A gain that is "
        "there only where training has images of the same group is no gain on new ones."
    )
    head = ("network", "arm", "labels", "group", "group is", "metric",
            "gain over scratch", "n")  # fmt: skip
    return Table(head, rows, note)


def _speeds(found: label_curves.Arms, confidence: float) -> Table:
    rows = tuple(
        (
            row["architecture"],
            _arm(row),
            str(row["labels"]),
            _interval(row) if "mean" in row else "–",
            f"{row['reached']} of {row['n']}",
        )
        for row in label_curves.speeds(found, confidence)
    )
    note = (
        "Updates until the test metric is 90 % of the way from the floor to what scratch ends "
        "with, with as many labels and on the same seed; the rate falls along all updates. A "
        "mean only where every seed gets there."
    )
    return Table(("network", "arm", "labels", "updates", "seeds that do"), rows, note)


def curves_caption(rows: list[Row], source: Source) -> str:
    return (
        "Test metric against the number of labelled images (logarithmic), a panel a donor; "
        "shaded: the interval; dark: from scratch; dotted: the floor. "
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
    counts = sorted({row["n"] for row in rows})
    n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    made = ", ".join(sorted({row["method"] for row in rows}))
    floor = min(record.floor for record in source.labels)
    metric = source.labels[0].metric
    return (
        f"n = {n} seeds; {source.spec.confidence:.0%} intervals: {made}. "
        f"Floor: {metric} {intervals.number(floor)}."
    )


def _crossover(row: Row) -> str:
    if not row:
        return "–"
    if row["crossover"] is not None:
        return f"{row['crossover']:.0f}"
    return "not in range" if row["censored"] == ">" else "no gain"


def _arm(row: Row) -> str:
    return str(label_curves.Arm(*_arm_key(row)))


def _arm_key(row: Row) -> tuple[str, str, str]:
    return row["architecture"], row["donor"], row["recipe"]


def _interval(row: Row, prefix: str = "") -> str:
    mean, low, high = (
        intervals.number(row[f"{prefix}{end}"]) for end in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def _filled(block: Block) -> bool:
    if isinstance(block, Details):
        return all(map(_filled, block.blocks))
    return not isinstance(block, Table) or bool(block.rows)
