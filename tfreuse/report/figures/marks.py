"""Marks that figures share: markers of several shapes, intervals on an axis, legends.

axis = marks.Axis(0, 1, 120, 300)
marks.interval(drawing, axis, 40, row, "D", fill="#0072b2")
marks.legend("forest", [("transfer", "#0072b2", "o")])
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from tfreuse.analysis.intervals import number
from tfreuse.analysis.tables import Row
from tfreuse.report.figures import svg

_CROSS = (
    (-1, -0.4), (-0.4, -0.4), (-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4),
    (1, 0.4), (0.4, 0.4), (0.4, 1), (-0.4, 1), (-0.4, 0.4), (-1, 0.4),
)  # fmt: skip
# Corners of markers by Matplotlib's letters for them, and of arrows; "o" is a circle of radius 1.
_CORNERS = {
    "s": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "D": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "d": ((0, -1.4), (0.8, 0), (0, 1.4), (-0.8, 0)),
    "^": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
    "v": ((0, 1.2), (1.1, -0.9), (-1.1, -0.9)),
    "<": ((-1.2, 0), (0.9, -1.1), (0.9, 1.1)),
    ">": ((1.2, 0), (-0.9, -1.1), (-0.9, 1.1)),
    "up": ((0, -1.3), (0.9, 0), (0.3, 0), (0.3, 1.2), (-0.3, 1.2), (-0.3, 0), (-0.9, 0)),
    "down": ((0, 1.3), (0.9, 0), (0.3, 0), (0.3, -1.2), (-0.3, -1.2), (-0.3, 0), (-0.9, 0)),
    "P": _CROSS,
    "X": tuple((0.8 * (x - y), 0.8 * (x + y)) for x, y in _CROSS),  # turned by 45°
    "*": tuple(
        (radius * math.sin(angle * math.pi / 5), -radius * math.cos(angle * math.pi / 5))
        for angle, radius in zip(range(10), (1.4, 0.6) * 5, strict=True)
    ),
}  # fmt: skip
LINE = 17  # px, height of a legend's line


@dataclasses.dataclass(frozen=True)
class Axis:
    """A linear map from values to positions; values outside are drawn at the nearer end.

    Attributes:
        low, high: values at the ends.
        start, end: positions of `low` and of `high`.
        unit: "" for pixels, "%" for drawings that are as wide as their frame.
    """

    low: float
    high: float
    start: float = 2
    end: float = 98
    unit: str = ""

    def __call__(self, value: float) -> Any:
        share = (min(max(value, self.low), self.high) - self.low) / (
            self.high - self.low
        )
        position = self.start + share * (self.end - self.start)
        return f"{position:.2f}%" if self.unit else position

    def beyond(self, value: float) -> str:
        """Returns the arrow for a value outside of the axis, "" for one inside."""
        return "<" if value < self.low else ">" if value > self.high else ""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Returns round values inside an axis: multiples of 1, 2 or 5 times a power of 10."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        power * times for times in (1, 2, 5, 10) if power * times * most >= high - low
    )
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number_ * step, 10) for number_ in range(first, last + 1)]


def marker(
    drawing: svg.Drawing,
    x: float,
    y: float,
    shape: str = "o",
    size: float = 3.4,
    **look,
) -> None:
    """Draws a marker of about `size` pixels around its centre."""
    if shape == "o":
        drawing.circle(x, y, size, **look)
        return
    corners = (f"{x + size * dx:.4g} {y + size * dy:.4g}" for dx, dy in _CORNERS[shape])
    drawing.path(f"M{'L'.join(corners)}Z", **look)


def dots(
    drawing: svg.Drawing,
    axis: Axis,
    y: float,
    values: Iterable[float],
    colour: svg.Colour,
) -> None:
    """Draws the values of single seeds at a height: small dots as one path, arrows beyond the axis."""
    path = ""
    for value in values:
        if arrow := axis.beyond(value):
            marker(drawing, axis(value), y, arrow, 1.7, fill=colour, opacity=0.55)
        else:
            path += f"M{axis(value):.4g} {y:g}z"  # a line without length has round ends
    if path:
        drawing.path(path, class_="seeds", stroke=colour)


def interval(
    drawing: svg.Drawing, axis: Axis, y: float, row: Row, shape: str = "o",
    size: float = 3.4, upright: bool = False, **look,
) -> None:  # fmt: skip
    """Draws an interval as a line and its mean as a marker; arrows point to values beyond the axis.

    Args:
        y: position of the line, across the axis.
        upright: the axis is vertical.
        row: mean, low, high and n; an end may be None or infinite. One replicate without bounds has no
            interval.
        look: colour as `fill`, or a class.
    """
    low, high = ends(row)
    turned = slice(None, None, -1 if upright else 1)
    if row["n"] != 1 or not math.isinf(low):
        stroke = {"stroke": look["fill"]} if "fill" in look else {}
        start, end = (axis(low), y)[turned], (axis(high), y)[turned]
        drawing.line(*start, *end, class_="interval", **stroke)
        beyond = {axis.beyond(low), axis.beyond(high)} - {"", axis.beyond(row["mean"])}
        for end in sorted(beyond):  # a set of strings has another order in each run
            value = {"<": axis.low, ">": axis.high}[end]
            _head(drawing, axis, value, y, end, size - 0.8, upright, look)
    if arrow := axis.beyond(row["mean"]):
        _head(drawing, axis, row["mean"], y, arrow, size, upright, look)
    else:
        marker(drawing, *(axis(row["mean"]), y)[turned], shape, size, **look)


def _head(
    drawing: svg.Drawing, axis: Axis, value: float, y: float, arrow: str, size: float,
    upright: bool, look: dict[str, Any],
) -> None:  # fmt: skip
    """Draws an arrow, "<" or ">" along the axis, at a value."""
    if axis.unit:  # a path has no position in percent
        text = {"<": "◂", ">": "▸"}[arrow]
        drawing.text(
            axis(value), y + size, text, "middle", size=3 * size, class_="arrow"
        )
        return
    shape = {"<": "v", ">": "^"}[arrow] if upright else arrow
    position = (y, axis(value)) if upright else (axis(value), y)
    marker(drawing, *position, shape, size, **look)


def ends(row: Row) -> tuple[float, float]:
    """Returns the ends of a row's interval; missing ones are infinite."""
    low, high = row["low"], row["high"]
    return -math.inf if low is None else low, math.inf if high is None else high


def words(row: Row) -> str:
    """Returns a mean with its interval as text; one replicate without bounds has none."""
    if row["mean"] is None or math.isnan(row["mean"]):
        return "–"
    low, high = ends(row)
    if row["n"] == 1 and math.isinf(low):
        return number(row["mean"])
    return f"{number(row['mean'])} [{number(low)}, {number(high)}]"


def site(name: str) -> str:
    """Returns a site as a reader calls it."""
    return "all layers" if name == "all" else name


def label_width(sites: Iterable[str], most: float) -> float:
    """Returns the width of the sites' labels with the gap behind them, at most `most` + 8."""
    return min(max(svg.text_width(site(name)) for name in sites), most) + 8


def stacked(values: Sequence[float]) -> list[tuple[float, float]]:
    """Returns the ends of stacked bars: positive ones right of 0, negative ones left of it."""
    ends = {True: 0.0, False: 0.0}
    bars = []
    for value in values:
        start = ends[value >= 0]
        ends[value >= 0] = start + value
        bars.append((min(start, start + value), max(start, start + value)))
    return bars


def legend(kind: str, entries: Sequence[tuple[str, Any, str]]) -> svg.Drawing:
    """Draws a list of names, each with its marker.

    Args:
        kind: of the figure that the legend belongs to.
        entries: name, colour or pair of colours, and shape; "box" is a filled box.
    """
    width = 26 + max(svg.text_width(name) for name, *_ in entries)
    drawing = svg.Drawing(width, LINE * len(entries) + 4, kind, "legend")
    for line, (name, colour, shape) in enumerate(entries):
        y = LINE * line + 9
        if shape == "box":
            drawing.rect(2, y - 5, 14, 11, fill=colour)
        else:
            drawing.line(0, y, 18, y, class_="interval", stroke=colour)
            marker(drawing, 9, y, shape, fill=colour)
        drawing.text(24, y + 4, name)
    return drawing
