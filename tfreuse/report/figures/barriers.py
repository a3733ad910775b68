"""Retention on the path from the recipient to a donor, and the barrier on that path."""

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import REPAIRS, themed

WIDTH, HEIGHT = 122, 100  # px, of a panel
HEAD, BELOW = 20, 40  # px: above the first panel, and below each
GAP = 24  # px, above each panel
LINE, NAME = 12, 62  # px: of a mark, and of a donor's name
LOOKS = {  # repair -> colour and marker; Okabe and Ito's colours
    "none": ("#0072b2", "o"),
    "recalibration": ("#d55e00", "s"),
    "permutation": ("#009e73", "^"),
    "permutation+recalibration": ("#cc79a7", "D"),
}
DONORS = {"transfer": "donor", "other_seed": "same task", "reordered": "reordered"}


def barriers(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws a column for each group: the path to each donor, and the barriers below."""
    columns = [
        _column([row for row in rows if row["group"] == group], group)
        for group in groups_of(rows, spec)
    ]
    repairs = {row["repair"] for row in rows}
    entries = [
        (REPAIRS[name], themed(colour), shape)
        for name, (colour, shape) in LOOKS.items()
        if name in repairs
    ]
    return [*columns, marks.legend("barriers", entries)]


def _column(rows: list[Row], group: str) -> svg.Drawing:
    paths = [row for row in rows if row["quantity"] == "path"]
    heights = [row for row in rows if row["quantity"] == "barrier"]
    donors = [name for name in DONORS if any(row["control"] == name for row in paths)]
    repairs = [name for name in LOOKS if any(row["repair"] == name for row in rows)]
    x0, panel = NAME + 8, GAP + HEIGHT + BELOW
    last = HEAD + panel * len(donors)
    step = LINE * len(repairs) + 8
    drawing = svg.Drawing(
        x0 + WIDTH + 12,
        last + GAP + step * len(donors) + BELOW,
        "barriers",
        f"{group}: the barrier between donor and recipient",
    )
    drawing.text(4, 12, svg.fitted(group, WIDTH + NAME), class_="title")
    for number, control in enumerate(donors):
        of_donor = [row for row in paths if row["control"] == control]
        _paths(drawing, of_donor, x0, HEAD + panel * number + GAP)
    x = marks.Axis(0, 1, x0, x0 + WIDTH)
    bottom = last + GAP + step * len(donors)
    drawing.text(x0 + WIDTH / 2, last + GAP - 8, "barrier", "middle", size=10)
    for value in (0, 0.5, 1):
        drawing.line(x(value), last + GAP, x(value), bottom, class_="grid")
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
    below = "below the straight line"
    drawing.text(x0 + WIDTH / 2, bottom + 30, svg.fitted(below, WIDTH + 24), "middle")
    for number, control in enumerate(donors):
        top = last + GAP + step * number
        drawing.text(x0 - 8, top + step / 2 + 2, DONORS[control], "end")
        of_donor = [row for row in heights if row["control"] == control]
        _heights(drawing, of_donor, repairs, x, top)
    return drawing


def _paths(drawing: svg.Drawing, rows: list[Row], x0: float, top: float) -> None:
    """Draws retention from alpha 0, the unchanged recipient, to 1, a line a repair."""
    edge, bottom = x0 + WIDTH, top + HEIGHT
    x = marks.Axis(0, 1, x0, edge - 8)  # room for the last intervals
    y = marks.Axis(0, 1.05, bottom, top)
    middle = x0 + WIDTH / 2
    title = f"path to: {DONORS[rows[0]['control']]}"
    drawing.text(middle, top - 8, title, "middle", size=10)
    for value in (0, 0.5, 1):
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
        drawing.text(x0 - 5, y(value) + 4, f"{value:g}", "end")
        drawing.line(x0, y(value), edge, y(value), class_="grid")
    drawing.line(x0, bottom, edge, bottom, class_="axis")
    drawing.text(middle, bottom + 30, "α, share of the donor", "middle")
    upright = top + HEIGHT / 2
    turn = f"rotate(-90 {x0 - 34:g} {upright:g})"
    drawing.text(x0 - 34, upright, "retention", "middle", transform=turn)
    for number, repair in enumerate(LOOKS):
        path = sorted(
            (row for row in rows if row["repair"] == repair),
            key=lambda row: row["alpha"],
        )
        if path:
            _path(drawing, path, x, y, 3 * (number - 1.5))


def _path(
    drawing: svg.Drawing, path: list[Row], x: marks.Axis, y: marks.Axis, shift: float
) -> None:
    """Draws one repair's line; the intervals of the repairs stand side by side."""
    colour, shape = LOOKS[path[0]["repair"]]
    pair = themed(colour)
    points = [(x(row["alpha"]) + shift, y(row["mean"])) for row in path]
    drawing.polyline([(x(0), y(1)), *points], class_="curve", stroke=pair)
    for row, (across, _) in zip(path, points, strict=True):
        data = {"group": row["group"], "repair": row["repair"], "alpha": row["alpha"]}
        with drawing.group(data=data, tip=_tip(row)):
            marks.interval(drawing, y, across, row, shape, 3, upright=True, fill=pair)


def _heights(
    drawing: svg.Drawing, rows: list[Row], repairs: list[str], x: marks.Axis, top: float
) -> None:
    """Draws a donor's barrier, a mark a repair."""
    for row in rows:
        if row["repair"] not in repairs:
            continue
        y = top + LINE * (repairs.index(row["repair"]) + 0.5) + 4
        colour, shape = LOOKS[row["repair"]]
        data = {"group": row["group"], "control": row["control"]}
        with drawing.group(data=data | {"repair": row["repair"]}, tip=_tip(row)):
            marks.interval(drawing, x, y, row, shape, 3, fill=themed(colour))


def _tip(row: Row) -> list[str]:
    measure = "barrier"
    if row["quantity"] == "path":
        measure = f"at α = {row['alpha']:g} retains"
    return [
        f"{row['group']}, path to {DONORS[row['control']]}, {REPAIRS[row['repair']]}",
        f"{measure} {marks.words(row)}, n = {row['n']}",
    ]
