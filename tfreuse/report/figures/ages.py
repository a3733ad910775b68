"""Retention against the donor's age, a panel a group."""

import math

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import colours, marks, svg

LEFT, TOP, WIDTH, HEIGHT = 44, 24, 190, 120  # px
RETENTION = (-0.08, 1.08)  # of the vertical axis
TICKS = (0, 0.5, 1)
ZERO = 0.6  # decades that 0 lies left of the first age above it
LOOKS = {  # repair -> colour, dashes, marker
    "none": ("#0072b2", None, "o"),
    "recalibration": ("#d55e00", "5 2.5", "s"),
}
FINISHED = "D"  # marker


def ages(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws retention against the updates of the donor's training, a panel a group.

    All layers are lines with their intervals as bands; single stages, as transplanted, are thin.
    """
    rows = [row for row in rows if row["quantity"] == "age" and row["repair"] in LOOKS]
    updates = sorted({row["updates"] for row in rows})
    panels = [
        _panel(group, [row for row in rows if row["group"] == group], updates, spec)
        for group in groups_of(rows, spec)
    ]
    return [*panels, _legend(rows)]


def _across(updates: list[int]) -> dict[int, float]:
    """Returns the position of each number of updates: logarithmic, with 0 left of the others."""
    first = math.log10(next((number for number in updates if number), 1))
    logs = {n: math.log10(n) if n else first - ZERO for n in updates}
    axis = marks.Axis(
        min(logs.values()) - 0.12, max(logs.values()) + 0.12, LEFT, LEFT + WIDTH
    )
    return {number: axis(log) for number, log in logs.items()}


def _panel(
    group: str, rows: list[Row], updates: list[int], spec: specs.StudySpec
) -> svg.Drawing:
    end, bottom = LEFT + WIDTH, TOP + HEIGHT
    drawing = svg.Drawing(end + 12, bottom + 34, "ages", f"{group}: retention by age")
    x, y = _across(updates), marks.Axis(*RETENTION, bottom, TOP)
    middle = LEFT + WIDTH / 2
    drawing.text(middle, 12, svg.fitted(group, WIDTH), "middle", class_="title")
    for value in TICKS:
        drawing.text(LEFT - 5, y(value) + 4, f"{value:g}", "end")
        if value != 0.5:
            drawing.line(LEFT, y(value), end, y(value), class_="grid")
    drawing.line(LEFT, bottom, end, bottom, class_="axis")
    occupied = math.inf
    for number in reversed(
        updates
    ):  # the finished donor's first, then those left of it
        wide = svg.text_width(f"{number:,}") / 2 + 1
        drawing.line(x[number], bottom, x[number], bottom + 3, class_="axis")
        if x[number] + wide < occupied:
            drawing.text(x[number], bottom + 15, f"{number:,}", "middle")
            occupied = x[number] - wide
    upright = TOP + HEIGHT / 2
    turn = f"rotate(-90 10 {upright:g})"
    drawing.text(10, upright, "retention", "middle", transform=turn)
    drawing.text(middle, bottom + 30, "updates of the donor (logarithmic)", "middle")
    enough = y(1 - spec.margin)
    drawing.line(LEFT, enough, end, enough, class_="margin")
    for site in _stages(rows):
        line = [row for row in rows if (row["site"], row["repair"]) == (site, "none")]
        points = [(x[row["updates"]], y(row["mean"])) for row in _by_age(line)]
        drawing.polyline(points, class_="thin", stroke=_depth(site, rows))
    for repair in LOOKS:
        line = [r for r in rows if (r["site_kind"], r["repair"]) == ("all", repair)]
        if line:
            _curve(drawing, repair, _by_age(line), x, y)
    return drawing


def _by_age(line: list[Row]) -> list[Row]:
    return sorted(line, key=lambda row: row["updates"])


def _curve(
    drawing: svg.Drawing, repair: str, line: list[Row], x: dict[int, float],
    y: marks.Axis,
) -> None:  # fmt: skip
    """Draws the means as a line with markers, the intervals as a band."""
    colour, dashes, shape = LOOKS[repair]
    pair = colours.themed(colour)
    ends = [(x[row["updates"]], *map(y, marks.ends(row))) for row in line]
    edges = [(x, high) for x, _, high in ends]
    edges += [(x, low) for x, low, _ in reversed(ends)]
    drawing.polyline(edges, fill=pair, opacity=0.13)
    means = [(x[row["updates"]], y(row["mean"])) for row in line]
    drawing.polyline(means, class_="curve", stroke=pair, stroke_dasharray=dashes)
    for (across, height), row in zip(means, line, strict=True):
        age = "finished donor" if row["finished"] else f"{row['updates']:,} updates"
        tip = [
            f"{row['group']}, {age}, {colours.REPAIRS[repair]}",
            f"retains {marks.words(row)}, n = {row['n']}",
        ]
        data = {"group": row["group"], "updates": row["updates"], "repair": repair}
        with drawing.group(data=data, tip=tip):
            mark = FINISHED if row["finished"] else shape
            marks.marker(drawing, across, height, mark, fill=pair)


def _stages(rows: list[Row]) -> list[str]:
    """Returns the single stages in the rows, from input to output."""
    stages = {
        (row["depth"], row["site"]) for row in rows if row["site_kind"] == "stage"
    }
    return [site for _, site in sorted(stages)]


def _depth(site: str, rows: list[Row]) -> tuple[str, str]:
    stages = _stages(rows)
    share = stages.index(site) / max(1, len(stages) - 1)
    return colours.themed(colours.depth(share))


def _legend(rows: list[Row]) -> svg.Drawing:
    """Draws the names of the lines, then those of the stages."""
    drawn = {row["repair"] for row in rows if row["site_kind"] == "all"}
    entries = [
        (f"all layers, {colours.REPAIRS[repair]}", colours.themed(colour), shape)
        for repair, (colour, _, shape) in LOOKS.items()
        if repair in drawn
    ]
    if any(row["finished"] for row in rows):
        entries.append(("finished donor (best validation)", "var(--soft)", FINISHED))
    entries += [(site, _depth(site, rows), "box") for site in _stages(rows)]
    return marks.legend("ages", entries)
