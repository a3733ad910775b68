"""Answers for each group, in one word, whether it can be reused, from the arms of all layers.

The rules are those of the verdicts: retentions are clipped to [0, 1], the intervals are the same,
and a group is called reusable or not reusable only where its whole interval lies on one side of
1 - margin.
"""

from collections.abc import Mapping
from typing import Any

from tfreuse import roles, specs
from tfreuse.analysis import caveats, intervals, over_images, tables
from tfreuse.analysis.arms import (
    Arm,
    at_all_layers,
    clipped_retentions,
    effect_interval,
)
from tfreuse.records import Record
from tfreuse.report.drawings import Subject
from tfreuse.report.figures import colours, forest, marks

ENDS = (-0.05, 1.15)  # of the retention's axis
# Stitching and fine-tuning are left out: they may repair anything, whatever the donor was.
REPAIRS = {
    name: colours.REPAIRS[name]
    for name in ("none", "recalibration", "permutation", "permutation+recalibration")
}
WORDS = (
    "reusable", "reusable once repaired", "replaceable", "not reusable", "open after repair",
    "open", "not testable",
)  # fmt: skip
_HEADLINES = {"open after repair": "not reusable as transplanted, open after repair"}
_STATISTICS = {"moving_mean", "moving_variance"}  # re-estimated by recalibration


def answers(subject: Subject) -> list[dict[str, Any]]:
    """Returns a row for each declared group: word, reason, intervals after each repair, plot."""
    rows = []
    for group in subject.spec.groups:
        records = {
            repair: at_all_layers(subject.arms, group, repair=repair)
            for repair in REPAIRS
        }
        effects = {
            repair: interval
            for repair, seeds in records.items()
            if seeds and (interval := _effect(subject, group, repair, seeds))
        }
        word, why = _answer(subject, group, records["none"], effects)
        bars = [
            {"repair": repair} | interval.to_row()
            for repair, interval in effects.items()
        ]
        plot = _plot(group, bars, 1 - subject.spec.margin)
        rows.append(
            {"group": group, "word": word, "why": why, "effects": bars, "plot": plot}
        )
    return rows


def _effect(
    subject: Subject, group: str, repair: str, seeds: Mapping[int, Record]
) -> intervals.Interval | None:
    """Returns the interval of a group's retention: over images of one pair, else over seeds."""
    arm = Arm("transfer", "all", "all", group, repair)
    if subject.pair and (interval := subject.pair.interval(arm)):
        return interval
    return effect_interval([clipped_retentions(seeds)], subject.spec.confidence)


def _plot(group: str, rows: list[dict[str, Any]], enough: float) -> str:
    """Draws the intervals of a group, one below the other; the side of reuse is shaded."""
    bars, words = [], []
    for row in rows:
        words.append(f"{REPAIRS[row['repair']]} {marks.words(row)}, n = {row['n']}")
        class_ = f"repair-{row['repair'].replace('+', '-')}"
        bars.append(forest.Bar(row, class_, (group, words[-1])))
    return forest.strip(bars, ENDS, f"{group}: {'; '.join(words)}", enough)


def axis() -> str:
    """Draws the axis below the intervals of all groups."""
    return forest.strip([], ENDS, "retention", ticks=(0, 0.5, 1))


def headline(rows: list[dict[str, Any]]) -> str:
    """Returns the answers in a sentence or two: the groups of each word."""
    sentences = []
    for word in WORDS:
        groups = [row["group"] for row in rows if row["word"] == word]
        if groups:
            words = _HEADLINES.get(word, word)
            sentences.append(f"{words[0].upper()}{words[1:]}: {', '.join(groups)}.")
    return " ".join(sentences)


def _answer(
    subject: Subject,
    group: str,
    records: Mapping[int, Record],
    effects: Mapping[str, intervals.Interval],
) -> tuple[str, str]:
    """Returns one of WORDS and the sentence that justifies it.

    Args:
        subject: the part of the study.
        group: of roles.
        records: as transplanted, by seed.
        effects: retention after each repair.
    """
    spec = subject.spec
    if not effects:
        return "open", "All layers have not been measured with this group yet."
    obstacle = _obstacle(subject, group, records)
    if obstacle:
        return "not testable", obstacle
    cost = subject.pair.cost("all", "all", group) if subject.pair else None
    cost = cost or tables.reinitialisation_cost(
        subject.arms, "all", "all", group, spec.confidence
    )
    unit = "test images" if cost and cost.method == over_images.METHOD else "seeds"
    if cost is not None and cost.estimate <= tables.CRITICAL:
        return "not testable", (
            "Re-initialising them costs nothing either: reuse would prove nothing."
        )
    enough = 1 - spec.margin
    for repair, interval in effects.items():
        if interval.low < enough:
            continue
        after = "" if repair == "none" else f" after {repair.replace('+', ' and ')}"
        if cost is not None and cost.low <= tables.CRITICAL:
            return "open", (
                f"Retains {interval}, but n = {cost.n} {unit} do not show that re-initialising "
                "would cost anything."
            )
        if _replaces(repair, group):
            return "replaceable", (
                f"Retains {interval}{after}, which estimates them "
                "anew from unlabelled images: no donor's are needed."
            )
        word = "reusable" if repair == "none" else "reusable once repaired"
        return word, f"Retains {interval}{after}: all of it at least {enough:g}."
    if all(interval.high < enough for interval in effects.values()):
        best = max(effects.values(), key=lambda interval: interval.estimate)
        return "not reusable", f"Retains {best} at best: all of it under {enough:g}."
    n = max(interval.n for interval in effects.values())
    if n == 1:
        return "open", f"One seed of {spec.seeds} settles nothing."
    sides = f"lies on both sides of {enough:g}, n = {n} {unit}"
    plain = effects.get("none")
    if plain is None or plain.high >= enough:
        return "open", f"The interval as transplanted {sides}."
    repair = max(effects, key=lambda repair: effects[repair].high)
    return "open after repair", (
        f"Not reusable as transplanted ({plain}), open after "
        f"{repair.replace('+', ' and ')}: there the interval {sides}."
    )


def _replaces(repair: str, group: str) -> bool:
    """Returns whether the repair overwrites every moved parameter."""
    return "recalibration" in repair and set(roles.expand(group)) <= _STATISTICS


def _obstacle(subject: Subject, group: str, records: Mapping[int, Record]) -> str:
    """Says why the retention proves nothing; "" if it does."""
    if not records:
        return ""
    if not any(record.variables for record in records.values()):
        return "The networks have no such parameters."
    if not any(record.changed for record in records.values()):
        return "Donor and recipient have the same values."
    weak = caveats.too_little_to_lose(records.values(), subject.spec)
    if weak:
        return weak
    return caveats.unmoved_biases(records.values()) if group == "bias" else ""


def margins(spec: specs.StudySpec) -> dict[str, float]:
    return {"enough": 1 - spec.margin, "large": spec.large}
