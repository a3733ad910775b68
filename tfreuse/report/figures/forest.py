"""Forest plots: estimates with their intervals, a line each.

forest(rows, spec)      # every arm of all layers, a drawing a repair
table(lines, axis, ...) # any estimates: a cell's arms, the advisor's recipes
strip(bars, axis, ...)  # some intervals in a card or a line of the page, as wide as it is
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tfreuse import specs
from tfreuse.analysis.intervals import number
from tfreuse.analysis.tables import Row
from tfreuse.analysis.verdicts import Verdict
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import CONTROLS, REPAIRS, themed

ENDS = (-0.25, 1.35)  # of the retention's axis; arrows stand for values outside
LINE, PLOT, GAP, HEAD = 17, 190, 9, 26  # px
LABEL = 200  # px, the widest label
BOLD = 1.15  # width of bold text
NAMES = {  # of controls, in a cell's own plot
    "transfer": "donor",
    "other_seed": "same task, other seed",
    "reinitialised": "re-initialised",
    "initial": "its own initial values",
    "defaults": "default values",
    "angle": "random, same distance and angle",
    "matched": "random, same distance",
    "moments": "random, same moments",
    "shuffled": "shuffled",
    "scrambled": "donor of scrambled images",
    "zeroed": "zeros",
    "reordered": "channels reordered",
    "self": "its own values",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One estimate of a table.

    Attributes:
        label: beside the plot.
        row: mean, low, high and n.
        text: the numbers at the right.
        colour, shape: of the marker.
        group: heading of the line, shown where it differs from that of the line above.
        values: of single seeds, small dots above the interval.
        tip: lines of the tooltip.
        data: attributes of the mark.
        strong: the label is bold.
    """

    label: str
    row: Row
    text: str
    colour: svg.Colour
    shape: str = "o"
    group: str = ""
    values: Sequence[float] = ()
    tip: Sequence[str] = ()
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    strong: bool = False


def forest(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws the retention of every arm of all layers, a drawing a repair, and a legend."""
    panels = [
        _panel([row for row in rows if row["repair"] == repair], repair, spec)
        for repair in REPAIRS
        if any(row["repair"] == repair for row in rows)
    ]
    controls = {row["control"] for row in rows}
    entries = [
        (name, themed(colour), shape)
        for name, (colour, shape) in CONTROLS.items()
        if name in controls
    ]
    return [*panels, marks.legend("forest", entries)]


def _panel(rows: list[Row], repair: str, spec: specs.StudySpec) -> svg.Drawing:
    lines = []
    for row in rows:
        colour, shape = CONTROLS[row["control"]]
        values = list(map(float, row["retentions"].split()))
        tip = [
            f"{row['group']} · {row['control']}, {REPAIRS[repair]}",
            f"retention {marks.words(row)}, n = {row['n']}",
            f"seeds: {', '.join(map(number, values))}",
        ]
        data = {"group": row["group"], "control": row["control"]}
        lines.append(
            Line(row["control"], row, marks.words(row), themed(colour), shape,
                 row["group"], values, tip, data)
        )  # fmt: skip
    limits = {"margin": 1 - spec.margin, "dotted": spec.large}
    return table(
        lines, "forest", REPAIRS[repair], ENDS, (0, 0.5, 1), "retention", limits
    )


def cell(arms: list[Row], spec: specs.StudySpec) -> svg.Drawing:
    """Draws the retention of every arm of one cell.

    Args:
        arms: control, repair, strength, seeds (retention by seed), mean, low, high, n.
        spec: the study's settings.
    """
    lines = []
    most = max(arm["n"] for arm in arms)
    for arm in arms:
        strength = "" if arm["strength"] == 1 else f", α = {arm['strength']:g}"
        name = NAMES.get(arm["control"], arm["control"])
        label = f"{REPAIRS[arm['repair']]}{strength}"
        values = [value for _, value in sorted(arm["seeds"].items())]
        seeds = (
            f"seed {seed}: {number(value)}" for seed, value in arm["seeds"].items()
        )
        count = "" if arm["n"] == most else f", n = {arm['n']}"
        tip = [f"{name}, {label}", f"retention {marks.words(arm)}", *seeds]
        colour, shape = CONTROLS[arm["control"]]
        lines.append(
            Line(label, arm, marks.words(arm) + count, themed(colour), shape, name, values,
                 tip, {"control": arm["control"], "repair": arm["repair"]})
        )  # fmt: skip
    limits = {"margin": 1 - spec.margin}
    return table(lines, "cell", "", ENDS, (0, 0.5, 1), "retention", limits)


def table(
    lines: Sequence[Line],
    kind: str,
    title: str,
    ends: tuple[float, float],
    ticks: Sequence[float],
    name: str,
    limits: dict[str, float] | None = None,
) -> svg.Drawing:
    """Draws estimates one below the other: heading, label, interval, numbers.

    Args:
        lines: from top to bottom.
        kind, title: of the drawing.
        ends: values at the ends of the axis.
        ticks: values that are written below the axis.
        name: of the axis.
        limits: values of vertical lines by their class.
    """
    groups = max(svg.text_width(line.group) for line in lines) * BOLD
    labels = max(
        svg.text_width(line.label) * (BOLD if line.strong else 1) for line in lines
    )
    start = min(groups, LABEL) + min(labels, LABEL) + (20 if groups else 8)
    end = start + PLOT
    top = HEAD if title else 6
    ys, y = [], top
    for above, line in zip((None, *lines), lines, strict=False):
        y += LINE + (GAP if above and line.group != above.group else 0)
        ys.append(y - LINE / 2)
    width = end + 10 + max(svg.text_width(line.text) for line in lines)
    limits = limits or {}
    bottom = y + (12 if set(limits.values()) - set(ticks) else 4)
    drawing = svg.Drawing(width, bottom + 34, kind, title or name)
    drawing.text(start + PLOT / 2, 12, title, "middle", class_="title")
    axis = marks.Axis(*ends, start, end)
    _scale(drawing, axis, top, bottom, ticks, name, limits)
    for above, line, y in zip((None, *lines), lines, ys, strict=False):
        if line.group and (above is None or line.group != above.group):
            heading = svg.fitted(line.group, LABEL)
            drawing.text(min(groups, LABEL), y + 4, heading, "end", class_="strong")
        _line(drawing, axis, line, y)
    return drawing


def _scale(
    drawing: svg.Drawing, axis: marks.Axis, top: float, bottom: float,
    ticks: Sequence[float], name: str, limits: dict[str, float],
) -> None:  # fmt: skip
    """Draws the axis below the lines, and vertical lines at ticks and limits."""
    for value in ticks:
        x = axis(value)
        drawing.line(x, top, x, bottom + 4, class_="grid")
        drawing.text(x, bottom + 16, f"{value:g}".replace("-", "−"), "middle")
    drawing.line(axis.start, bottom, axis.end, bottom, class_="axis")
    drawing.text((axis.start + axis.end) / 2, bottom + 30, name, "middle")
    for class_, value in limits.items():
        x = axis(value)
        drawing.line(x, top, x, bottom, class_=class_)
        if value not in ticks:
            drawing.text(x - 3, bottom - 1, f"{value:g}", "end", size=9)


def _line(drawing: svg.Drawing, axis: marks.Axis, line: Line, y: float) -> None:
    with drawing.group(data=line.data, tip=line.tip):
        strong = "strong" if line.strong else None
        drawing.rect(
            axis.start, y - LINE / 2, axis.end - axis.start, LINE, class_="area"
        )
        label = svg.fitted(line.label, LABEL)
        drawing.text(axis.start - 8, y + 4, label, "end", class_=strong)
        marks.dots(drawing, axis, y - 5, line.values, line.colour)
        marks.interval(drawing, axis, y, line.row, line.shape, fill=line.colour)
        drawing.text(axis.end + 8, y + 4, line.text, class_="ink")


def verdict_strip(verdict: Verdict) -> str:
    """Draws a verdict's interval and threshold; the side that supports the claim is shaded."""
    ends, ticks = (
        ((-1.05, 1.05), (-1, 0, 1))
        if verdict.threshold == 0
        else ((-0.05, 1.15), (0, 0.5, 1))
    )
    label = f"{verdict.quantity}: {verdict.effect}, threshold {verdict.threshold:g}"
    bar = Bar(verdict.effect.to_row())
    return strip(
        [bar], ends, label, verdict.threshold, verdict.hypothesis != "H3", ticks
    )


@dataclasses.dataclass(frozen=True)
class Bar:
    """An interval of a strip: mean, low, high and n; the class that colours it; its tooltip."""

    row: Row
    class_: str = "own"
    tip: Sequence[str] = ()


def strip(
    bars: Sequence[Bar],
    ends: tuple[float, float],
    label: str,
    threshold: float | None = None,
    above: bool = True,
    ticks: Sequence[float] = (),
) -> str:
    """Draws intervals on one axis, as wide as their frame is: lengths along it are percentages.

    Args:
        bars: from top to bottom.
        ends: values at the ends of the axis.
        label: the content in words.
        threshold: where the side begins that supports a claim.
        above: whether that side is the upper one.
        ticks: values that are written below the axis.
    """
    axis = marks.Axis(*ends, unit="%")
    high = max(24, 10 + 13 * len(bars)) if bars else 0
    drawing = svg.Drawing("100%", high + 16 * bool(ticks), "strip", label)
    if threshold is not None:
        low, top = (threshold, ends[1]) if above else (ends[0], threshold)
        x0, x1 = (float(axis(value).rstrip("%")) for value in (low, top))
        drawing.rect(axis(low), 0, f"{x1 - x0:.2f}%", high, class_="side")
        drawing.line(axis(threshold), 0, axis(threshold), high, class_="margin")
    for index, bar in enumerate(bars):
        y = high / 2 + 13 * (index - (len(bars) - 1) / 2)
        with drawing.group(class_=f"bar {bar.class_}", tip=bar.tip):
            marks.interval(drawing, axis, y, bar.row, size=4.5)
    for value in ticks:
        text = number(value).rstrip("0").rstrip(".") if value else "0"
        drawing.text(axis(value), high + 13, text, "middle")
    return str(drawing)
