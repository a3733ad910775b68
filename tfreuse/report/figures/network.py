"""The network as a drawing, each stage in the colour of its retention: a small one a group.

A U for encoder, bottleneck and decoder; a column with a pyramid for PSPNet; a plain column for
any other names.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of, sites_of
from tfreuse.errors import printable
from tfreuse.report.figures import canvas
from tfreuse.report.figures.heat import cell_text

REPAIRS = ("none", "recalibration")  # a line of drawings each
UNIT, WIDEST = 0.27, 6.2  # inches: of a unit of a drawing; of drawings side by side
HIGH, PITCH = 0.74, 1.12  # units: height of a stage, distance of levels
_LEVEL = re.compile(r"(encoder|decoder)_(\d+)")
_BINS = (1, 2, 3, 6)  # of the pyramid


@dataclasses.dataclass(frozen=True)
class Box:
    """A stage in a drawing: its centre and size, in units; y grows downwards."""

    x: float
    y: float
    width: float
    height: float = HIGH


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the stages are, and what connects them."""

    boxes: dict[str, Box]
    width: float
    arrows: tuple[tuple[tuple[float, float], tuple[float, float]], ...]
    skips: tuple[tuple[tuple[float, float], ...], ...]  # polylines

    @property
    def height(self) -> float:
        ends = [box.y + box.height / 2 for box in self.boxes.values()]
        return max(*ends, *(end[1] for _, end in self.arrows)) + 0.38


def network(rows: list[Row], spec: specs.StudySpec, *, skips: bool = True) -> Figure:
    """The stages' retention in the network's own shape, a drawing a group.

    Args:
        rows: of single stages, as `tables.heat_rows` gives them.
        spec: the study's settings.
        skips: whether encoder and decoder are connected at equal size.
    """
    rows = [row for row in rows if row["repair"] in REPAIRS]
    groups, stages = groups_of(rows, spec), [site for site, _ in sites_of(rows)]
    repairs = [name for name in REPAIRS if any(row["repair"] == name for row in rows)]
    layout = arrange(stages, skips)
    wide, high = UNIT * layout.width, UNIT * layout.height
    across, bands = canvas.columns(len(groups), int(WIDEST / wide))
    names = 0.2 + 0.062 * max(len(printable(name, 24)) for name in stages)
    left, right = names, names if _right(layout) else 0.15
    width = max(left + across * (wide + 0.12) + right, 4.2)
    line = high + 0.3
    height = len(repairs) * (bands * line + 0.3) + 0.62
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        for number, repair in enumerate(repairs):
            top = number * (bands * line + 0.3)
            _heading(figure, canvas.REPAIRS[repair], left, top + 0.17)
            for place, group in enumerate(groups):
                down, column = divmod(place, across)
                axes = canvas.panel(
                    figure, left + column * (wide + 0.12), top + 0.5 + down * line,
                    wide, high,
                )  # fmt: skip
                found = {
                    row["site"]: row
                    for row in rows
                    if (row["repair"], row["group"]) == (repair, group)
                }
                _drawing(axes, layout, found)
                axes.set_title(printable(group, 24), fontsize=8.5, weight="bold", pad=3)
                last = column == across - 1 or place == len(groups) - 1
                _names(axes, layout, left=column == 0, right=last)
        bar = canvas.panel(
            figure, left, height - 0.46, min(2.2, width - left - 0.3), 0.09
        )
        canvas.retention_bar(figure, bar)
    return figure


def arrange(stages: Sequence[str], skips: bool) -> Layout:
    """The layout that the names of the stages, from input to output, call for."""
    levels = {name: int(m[2]) for name in stages if (m := _LEVEL.fullmatch(name))}
    sides = {name.split("_")[0] for name in levels}
    if sides == {"encoder", "decoder"} and set(stages) - set(levels) <= {"bottleneck"}:
        return _u_shape(stages, levels, skips)
    return _column(stages)


def _u_shape(stages: Sequence[str], levels: dict[str, int], skips: bool) -> Layout:
    """Down at the left, across at the bottom, up at the right."""
    depth = max(levels.values())
    boxes = {}
    for name in stages:
        level = levels.get(name, depth + 1)
        side = {"encoder": -1, "decoder": 1}.get(name.split("_")[0], 0)
        x = side * (2.05 - 0.62 * (level - 1) / max(depth, 1))
        wide = 2.15 - 0.06 * level if side else 3.4
        boxes[name] = Box(3.55 + x, 0.85 + PITCH * (level - 1), wide)
    arrows = [_between(boxes[a], boxes[b]) for a, b in itertools.pairwise(stages)]
    first, last = boxes[stages[0]], boxes[stages[-1]]
    arrows.insert(0, ((first.x, 0.08), (first.x, first.y - first.height / 2)))
    arrows.append(((last.x, last.y - last.height / 2), (last.x, 0.08)))
    across = []
    for level in range(1, depth + 1):
        ends = [boxes.get(f"{side}_{level}") for side in ("encoder", "decoder")]
        if skips and all(ends):
            a, b = ends
            across.append(((a.x + a.width / 2, a.y), (b.x - b.width / 2, b.y)))
    return Layout(boxes, 7.1, tuple(arrows), tuple(across))


def _column(stages: Sequence[str]) -> Layout:
    """One below the other; a pyramid is taller, and its input passes by it."""
    boxes, y, width = {}, 0.48, 2.5
    for name in stages:
        height = 2 * HIGH if name == "pyramid" else HIGH
        shrunk = max(width - 0.22 * min(len(boxes), 3), 1.8)
        boxes[name] = Box(
            1.75, y + height / 2, 2.5 if name == "pyramid" else shrunk, height
        )
        y += height + PITCH - HIGH
    arrows = [_between(boxes[a], boxes[b]) for a, b in itertools.pairwise(stages)]
    first, last = boxes[stages[0]], boxes[stages[-1]]
    arrows.insert(0, ((first.x, 0.08), (first.x, first.y - HIGH / 2)))
    arrows.append(((last.x, last.y + HIGH / 2), (last.x, last.y + HIGH / 2 + 0.4)))
    around = ()
    if "pyramid" in boxes and 0 < list(stages).index("pyramid") < len(stages) - 1:
        at = list(stages).index("pyramid")
        before, after = boxes[stages[at - 1]], boxes[stages[at + 1]]
        right = 1.75 + 1.25 + 0.25
        around = (
            (
                (before.x + before.width / 2, before.y), (right, before.y),
                (right, after.y), (after.x + after.width / 2, after.y),
            ),
        )  # fmt: skip
    return Layout(boxes, 3.5, tuple(arrows), around)


def _between(one: Box, two: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """A vertical arrow from box to box, where both are; else from side to bottom."""
    left = max(box.x - box.width / 2 for box in (one, two))
    right = min(box.x + box.width / 2 for box in (one, two))
    x = (left + right) / 2
    sign = 1 if two.y > one.y else -1
    if left > right:  # no bottleneck is between them
        return (one.x + one.width / 2, one.y), (two.x, two.y - sign * two.height / 2)
    return (x, one.y + sign * one.height / 2), (x, two.y - sign * two.height / 2)


def _right(layout: Layout) -> bool:
    return any(name.startswith("decoder") for name in layout.boxes)


def _heading(figure: Figure, text: str, left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, fontsize=9, color=canvas.SOFT,
                va="center")  # fmt: skip


def _drawing(axes: Axes, layout: Layout, rows: dict[str, Row]) -> None:
    """One group: a card with the network on it."""
    axes.set(xlim=(0, layout.width), ylim=(layout.height, 0))
    axes.set_axis_off()
    card = FancyBboxPatch(
        (0.1, 0.1), layout.width - 0.2, layout.height - 0.2, linewidth=0,
        boxstyle="round,pad=0,rounding_size=0.3", facecolor="#eef1f5", zorder=0,
    )  # fmt: skip
    axes.add_patch(card)
    for points in layout.skips:
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, color="#b3bcc7", linewidth=1.1, zorder=1,
                  gid="skip")  # fmt: skip
    for start, end in layout.arrows:
        axes.annotate(
            "", end, start, zorder=1,
            arrowprops={"arrowstyle": "-|>", "color": "#7f8b98", "linewidth": 0.9,
                        "shrinkA": 0, "shrinkB": 0.5, "mutation_scale": 6},
        )  # fmt: skip
    for name, box in layout.boxes.items():
        _stage(axes, name, box, rows.get(name))


def _stage(axes: Axes, name: str, box: Box, row: Row | None) -> None:
    """A stage's box in its colour, with its number; empty where nothing was measured."""
    mean = row["mean"] if row else math.nan
    face = "#dfe4ea" if row is None else canvas.RETENTION(min(max(mean / 2, 0), 1))
    left, top = box.x - box.width / 2, box.y - box.height / 2
    patch = FancyBboxPatch(
        (left, top), box.width, box.height, facecolor=face, edgecolor="#5b6875",
        linewidth=0.8, boxstyle="round,pad=0,rounding_size=0.13", zorder=2, gid=name,
    )  # fmt: skip
    axes.add_patch(patch)
    ink = "white" if row and not 0.42 < mean < 1.58 else canvas.INK
    y = box.y + (0.26 * box.height if name == "pyramid" else 0)
    if name == "pyramid":
        _bins(axes, box, ink)
    axes.text(
        box.x, y, cell_text(mean) if row else "–", ha="center", va="center_baseline",
        fontsize=7, color=ink, weight="bold", zorder=4,
    )  # fmt: skip
    if row and row["identifiable"] is False:
        axes.plot(left + box.width - 0.17, top + 0.17, "o", markersize=2.4,
                  markeredgewidth=0, color=ink, zorder=4)  # fmt: skip


def _bins(axes: Axes, box: Box, ink: str) -> None:
    """The pyramid's averages: over the whole image, and over 2, 3 and 6 parts a side."""
    side, gap = 0.42, 0.12
    start = box.x - (4 * side + 3 * gap) / 2
    top = box.y - box.height / 2 + 0.25
    for number, bins in enumerate(_BINS):
        x = start + number * (side + gap)
        part = Rectangle((x, top), side, side, fill=False, linewidth=0.6, zorder=3)
        part.set_edgecolor(ink)
        axes.add_patch(part)
        for cut in range(1, bins):
            at = cut * side / bins
            axes.plot(
                [x + at] * 2, [top, top + side], color=ink, linewidth=0.35, zorder=3
            )
            axes.plot(
                [x, x + side], [top + at] * 2, color=ink, linewidth=0.35, zorder=3
            )


def _names(axes: Axes, layout: Layout, *, left: bool, right: bool) -> None:
    """The stages' names beside the outer drawings, each at its level."""
    for name, box in layout.boxes.items():
        decoder = name.startswith("decoder") and _right(layout)
        if decoder and right:
            axes.text(layout.width + 0.1, box.y, printable(name, 24), va="center",
                      fontsize=7, color=canvas.SOFT)  # fmt: skip
        elif left and not decoder:
            axes.text(-0.1, box.y, printable(name, 24), va="center", ha="right",
                      fontsize=7, color=canvas.SOFT)  # fmt: skip
