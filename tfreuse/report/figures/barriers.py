"""Retention on the way from the recipient to a donor, and the barrier on that way."""

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import REPAIRS, themed

LEFT, TOP, WIDTH, HEIGHT = 44, 40, 150, 110  # px
LINE, NAME = 12, 100  # px: of a mark, and of a control's name
LOOKS = {  # repair -> colour and marker; Okabe and Ito's colours
    "none": ("#0072b2", "o"),
    "recalibration": ("#d55e00", "s"),
    "permutation": ("#009e73", "^"),
    "permutation+recalibration": ("#cc79a7", "D"),
}
DONORS = {  # control -> its title
    "transfer": "donor",
    "other_seed": "donor of the same task",
    "reordered": "recipient with channels reordered",
}


def barriers(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws each donor's ways, a panel a group, then a panel of barriers for each group."""
    ways, heights = [], []
    for group in groups_of(rows, spec):
        of_group = [row for row in rows if row["group"] == group]
        for control, donor in DONORS.items():
            way = [row for row in of_group if row["control"] == control]
            way = [row for row in way if row["quantity"] == "path"]
            if way:
                ways.append(_ways(way, group, donor))
        heights.append(
            _heights([r for r in of_group if r["quantity"] == "barrier"], group)
        )
    repairs = {row["repair"] for row in rows}
    entries = [
        (REPAIRS[name], themed(colour), shape)
        for name, (colour, shape) in LOOKS.items()
        if name in repairs
    ]
    return [*ways, marks.legend("barriers", entries), *heights]


def _ways(rows: list[Row], group: str, donor: str) -> svg.Drawing:
    """Draws retention from alpha 0, the unchanged recipient, to 1, a line a repair."""
    edge, bottom = LEFT + WIDTH, TOP + HEIGHT
    title = f"{group}, {donor}: retention on the way"
    drawing = svg.Drawing(edge + 8, bottom + 34, "barriers", title)
    x, y = marks.Axis(0, 1, LEFT, edge), marks.Axis(0, 1.05, bottom, TOP)
    _titled(drawing, LEFT + WIDTH / 2, group, donor)
    for value in (0, 0.5, 1):
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
        drawing.text(LEFT - 5, y(value) + 4, f"{value:g}", "end")
        drawing.line(LEFT, y(value), edge, y(value), class_="grid")
    drawing.line(LEFT, bottom, edge, bottom, class_="axis")
    drawing.text(LEFT + WIDTH / 2, bottom + 30, "α, share of the donor", "middle")
    upright = TOP + HEIGHT / 2
    turn = f"rotate(-90 10 {upright:g})"
    drawing.text(10, upright, "retention", "middle", transform=turn)
    for number, repair in enumerate(LOOKS):
        way = sorted(
            (row for row in rows if row["repair"] == repair),
            key=lambda row: row["alpha"],
        )
        if way:
            _way(drawing, way, x, y, 3 * (number - 1.5))
    return drawing


def _way(
    drawing: svg.Drawing, way: list[Row], x: marks.Axis, y: marks.Axis, shift: float
) -> None:
    """Draws one repair's line; the intervals of the repairs stand side by side."""
    colour, shape = LOOKS[way[0]["repair"]]
    pair = themed(colour)
    points = [(x(row["alpha"]) + shift, y(row["mean"])) for row in way]
    drawing.polyline([(x(0), y(1)), *points], class_="curve", stroke=pair)
    for row, (across, _) in zip(way, points, strict=True):
        data = {"group": row["group"], "repair": row["repair"], "alpha": row["alpha"]}
        with drawing.group(data=data, tip=_tip(row)):
            marks.interval(drawing, y, across, row, shape, 3, upright=True, fill=pair)


def _heights(rows: list[Row], group: str) -> svg.Drawing:
    """Draws the barrier of each donor, a mark a repair."""
    donors = [name for name in DONORS if any(row["control"] == name for row in rows)]
    repairs = [name for name in LOOKS if any(row["repair"] == name for row in rows)]
    x0 = NAME + 8
    step = LINE * len(repairs) + 8
    bottom = TOP + step * len(donors)
    drawing = svg.Drawing(
        x0 + WIDTH + 12, bottom + 34, "barriers", f"{group}: barriers"
    )
    x = marks.Axis(0, 1, x0, x0 + WIDTH)
    _titled(drawing, x0 + WIDTH / 2, group, "barrier")
    for value in (0, 0.5, 1):
        drawing.line(x(value), TOP, x(value), bottom, class_="grid")
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
    drawing.text(
        x0 + WIDTH / 2, bottom + 30, "retention below the straight line", "middle"
    )
    for line, control in enumerate(donors):
        top = TOP + step * line
        name = {"reordered": "reordered recipient", "other_seed": "same task"}
        label = svg.fitted(name.get(control, "donor"), NAME)
        drawing.text(x0 - 8, top + step / 2 + 2, label, "end")
        for row in rows:
            if row["control"] == control and row["repair"] in repairs:
                y = top + LINE * (repairs.index(row["repair"]) + 0.5) + 4
                colour, shape = LOOKS[row["repair"]]
                data = {"group": group, "control": control, "repair": row["repair"]}
                with drawing.group(data=data, tip=_tip(row)):
                    marks.interval(drawing, x, y, row, shape, 3, fill=themed(colour))
    return drawing


def _titled(drawing: svg.Drawing, x: float, title: str, below: str) -> None:
    drawing.text(x, 12, title, "middle", class_="title")
    drawing.text(x, 28, svg.fitted(below, WIDTH + 30), "middle", size=10)


def _tip(row: Row) -> list[str]:
    measure = "barrier"
    if row["quantity"] == "path":
        measure = f"at α = {row['alpha']:g} retains"
    return [
        f"{row['group']}, {DONORS[row['control']]}, {REPAIRS[row['repair']]}",
        f"{measure} {marks.words(row)}, n = {row['n']}",
    ]
