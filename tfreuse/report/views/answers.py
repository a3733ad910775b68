"""What can be reused: one plain answer a group, from the arms of all layers.

Held to the same rules as the verdicts: retentions of seeds, below 0 counting as 0; a word only
where the whole interval lies on one side of the declared margin.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfreuse import roles, specs
from tfreuse.analysis import caveats, intervals, tables
from tfreuse.analysis.arms import (
    at_all_layers,
    effect_interval,
    floored_retentions,
)
from tfreuse.records import UNMOVED, Record
from tfreuse.report.drawings import Subject
from tfreuse.report.figures import colours, forest, marks

ENDS = (-0.05, 1.15)  # of the retention's axis
# A stitch or training may repair anything: they say nothing of the donor by themselves.
REPAIRS = {
    name: colours.REPAIRS[name]
    for name in ("none", "recalibration", "permutation", "permutation+recalibration")
}
WORDS = (
    "reusable", "reusable once repaired", "replaceable", "not reusable", "open",
    "not testable",
)  # fmt: skip
_STATISTICS = {"moving_mean", "moving_variance"}  # what recalibration sets anew


def answers(subject: Subject) -> list[dict[str, Any]]:
    """A row a declared group: its word, the reason, and the effect after each repair."""
    found = []
    for group in subject.spec.groups:
        sides = {
            repair: at_all_layers(subject.arms, group, repair=repair)
            for repair in REPAIRS
        }
        effects = {
            repair: effect_interval([floored_retentions(side)], subject.spec.confidence)
            for repair, side in sides.items()
            if side
        }
        effects = {repair: one for repair, one in effects.items() if one}
        word, why = _answer(subject, group, sides["none"], effects)
        rows = [{"repair": repair} | one.to_row() for repair, one in effects.items()]
        plot = _plot(group, rows, 1 - subject.spec.margin)
        told = {"group": group, "word": word, "why": why, "effects": rows, "plot": plot}
        found.append(told)
    return found


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


def headline(found: list[dict[str, Any]]) -> str:
    """The answers in a sentence or two."""
    told = []
    for word in WORDS:
        groups = [row["group"] for row in found if row["word"] == word]
        if groups:
            told.append(f"{word[0].upper()}{word[1:]}: {', '.join(groups)}.")
    return " ".join(told)


def _answer(
    subject: Subject,
    group: str,
    records: Mapping[int, Record],
    effects: Mapping[str, intervals.Interval],
) -> tuple[str, str]:
    spec = subject.spec
    if not effects:
        return "open", "All layers have not been measured with this group yet."
    obstacle = _obstacle(subject, group, records)
    if obstacle:
        return "not testable", obstacle
    cost = tables.reinitialisation_cost(
        subject.arms, "all", "all", group, confidence=spec.confidence
    )
    if cost is not None and cost.estimate <= tables.CRITICAL:
        return "not testable", (
            "Re-initialising them costs nothing either: reuse would prove nothing."
        )
    enough = 1 - spec.margin
    for repair, one in effects.items():
        if one.low >= enough and cost is not None and cost.low <= tables.CRITICAL:
            return "open", (
                f"Retains {one}, but n = {cost.n} seeds do not show that re-initialising "
                "would cost anything."
            )
        if one.low >= enough and _replaces(repair, group):
            return "replaceable", (
                f"Retains {one} after {repair.replace('+', ' and ')}, which estimates them "
                "anew from unlabelled images: no donor's are needed."
            )
        if one.low >= enough:
            word = "reusable" if repair == "none" else "reusable once repaired"
            told = "" if repair == "none" else f" after {repair.replace('+', ' and ')}"
            return word, f"Retains {one}{told}: all of it at least {enough:g}."
    if all(one.high < enough for one in effects.values()):
        best = max(effects.values(), key=lambda one: one.estimate)
        return "not reusable", f"Retains {best} at best: all of it under {enough:g}."
    n = max(one.n for one in effects.values())
    if n == 1:
        return "open", f"One seed of {spec.seeds} has no interval."
    return "open", f"The interval lies on both sides of {enough:g}, n = {n} seeds."


def _replaces(repair: str, group: str) -> bool:
    """Whether the repair leaves nothing of what was moved."""
    return "recalibration" in repair and set(roles.expand(group)) <= _STATISTICS


def _obstacle(subject: Subject, group: str, records: Mapping[int, Record]) -> str:
    """Why nothing can be said, whatever the retention is; "" if something can."""
    if not records:
        return ""
    if not any(record.variables for record in records.values()):
        return "The networks have no such parameters."
    if not any(record.changed for record in records.values()):
        return "Donor and recipient have the same values."
    weak = caveats.too_little_to_lose(records.values(), subject.spec)
    if weak:
        return weak
    shifts = [record.bias_shift for record in records.values()]
    if group == "bias" and None not in shifts and np.median(shifts) < UNMOVED:
        return (
            "The biases hardly moved in training, as batch normalization takes them off "
            "again: reusing them would prove nothing."
        )
    return ""


def margins(spec: specs.StudySpec) -> dict[str, float]:
    return {"enough": 1 - spec.margin, "large": spec.large}
