"""Parts that columns of panels share: paths from the unchanged recipient, intervals below each other.

panel = panels.Panel(x0=44, top=58, width=176, height=130)
x, y = panel.paths(drawing, "retention, all layers", "share of channels moved", (0, 0.5, 1), 1.0)
panels.path(drawing, rows, "share", look, x, y, shift=-3, tagged=tagged)
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tfreuse.analysis.tables import Row
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import themed

LINE = 12  # px, of an interval
_ROOM = 10  # px, right of the last intervals
_SIZE = 3  # px, of a marker
Look = tuple[str, str]  # colour and marker
Tagged = Callable[[Row], tuple[dict[str, Any], list[str]]]  # data and tip of a mark


@dataclasses.dataclass(frozen=True)
class Panel:
    """A rectangle of a drawing, in pixels."""

    x0: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x0 + self.width / 2

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def titled(self, drawing: svg.Drawing, above: str, below: str) -> None:
        """Draws the panel's title, and that of its horizontal axis."""
        drawing.text(self.middle, self.top - 8, above, "middle", size=10)
        below = svg.fitted(below, self.width + 24)
        drawing.text(self.middle, self.bottom + 30, below, "middle")

    def paths(
        self, drawing: svg.Drawing, above: str, below: str, ticks: Iterable[float], end: float
    ) -> tuple[marks.Axis, marks.Axis]:  # fmt: skip
        """Draws the axes of paths that begin at the unchanged recipient; returns them.

        Args:
            drawing: to draw on.
            above, below: titles.
            ticks: values along the path.
            end: the last of them.
        """
        edge = self.x0 + self.width
        x = marks.Axis(0, end, self.x0, edge - _ROOM)
        y = marks.Axis(0, 1.05, self.bottom, self.top)
        self.titled(drawing, above, below)
        for value in ticks:
            drawing.text(x(value), self.bottom + 15, f"{value:g}", "middle")
        for value in (0, 0.5, 1):
            drawing.text(self.x0 - 5, y(value) + 4, f"{value:g}", "end")
            drawing.line(self.x0, y(value), edge, y(value), class_="grid")
        drawing.line(self.x0, self.bottom, edge, self.bottom, class_="axis")
        return x, y


def path(
    drawing: svg.Drawing, rows: Iterable[Row], column: str, look: Look, x: marks.Axis,
    y: marks.Axis, shift: float, tagged: Tagged,
) -> None:  # fmt: skip
    """Draws a line from the unchanged recipient through the rows, with their intervals.

    Args:
        drawing: to draw on.
        rows: with `column`, the position along the path.
        column: name of that column.
        look: of the line.
        x, y: axes.
        shift: px to the right, so that intervals of several lines stand side by side.
        tagged: returns data and tip of a row.
    """
    rows = sorted(rows, key=lambda row: row[column])
    if not rows:
        return
    colour, shape = themed(look[0]), look[1]
    points = [(x(row[column]) + shift, y(row["mean"])) for row in rows]
    drawing.polyline([(x(0), y(1)), *points], class_="curve", stroke=colour)
    for row, (across, _) in zip(rows, points, strict=True):
        data, tip = tagged(row)
        with drawing.group(data=data, tip=tip):
            marks.interval(
                drawing, y, across, row, shape, _SIZE, upright=True, fill=colour
            )


def below_each_other(
    drawing: svg.Drawing, rows: Iterable[Row], column: str, names: Sequence[str],
    looks: dict[str, Look], x: marks.Axis, top: float, tagged: Tagged,
) -> None:  # fmt: skip
    """Draws the rows' intervals, each in the line of its name.

    Args:
        drawing: to draw on.
        rows: with `column`, their name; others than `names` are left out.
        column: name of that column.
        names: from top to bottom.
        looks: by name.
        x: the axis.
        top: px, of the first line.
        tagged: returns data and tip of a row.
    """
    for row in rows:
        if (name := row[column]) not in names:
            continue
        y = top + LINE * (names.index(name) + 0.5) + 4
        data, tip = tagged(row)
        with drawing.group(data=data, tip=tip):
            colour, shape = looks[name]
            marks.interval(drawing, x, y, row, shape, _SIZE, fill=themed(colour))


def legend(
    kind: str, names: Iterable[str], looks: dict[str, Look], words: dict[str, str] | None = None
) -> svg.Drawing:  # fmt: skip
    """Draws the legend of `looks`; `words` are for names that a reader would not know."""
    entries = [
        ((words or {}).get(n, n), themed(looks[n][0]), looks[n][1]) for n in names
    ]
    return marks.legend(kind, entries)
