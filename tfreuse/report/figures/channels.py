"""Which channels: retention against the share of channels moved, and gains over random orders."""

from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis.arms import order_of
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import REPAIRS, themed

LEFT, WIDTH, HEIGHT = 44, 176, 130  # px
HEAD, BELOW = 34, 40  # px: above the first panel, and below each
GAP = 24  # px, above the second panel
LINE, NAME = 12, 150  # px: of a mark, and of a site's name
ORDERS = {  # colour and marker; Okabe and Ito's colours
    "activation": ("#0072b2", "o"),
    "distance": ("#e69f00", "D"),
    "gamma": ("#009e73", "s"),
    "random": ("#8a94a0", "X"),
}


def channels(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws a column for each group and repair: paths of all layers, gains at each site below."""
    repairs = {row["repair"] for row in rows}
    columns = []
    for group in groups_of(rows, spec):
        for repair in sorted(repairs, key=lambda name: order_of(name, specs.REPAIRS)):
            of_column = [
                row for row in rows if (row["group"], row["repair"]) == (group, repair)
            ]
            if of_column:
                columns.append(_column(of_column, group, REPAIRS[repair]))
    names = _orders(rows)
    entries = [(name, themed(ORDERS[name][0]), ORDERS[name][1]) for name in names]
    return [*columns, marks.legend("channels", entries)]


def _column(rows: list[Row], group: str, repair: str) -> svg.Drawing:
    paths = [row for row in rows if (row["quantity"], row["site"]) == ("path", "all")]
    gains = [row for row in rows if row["quantity"] == "excess"]
    sites = [site for _, site in sorted({(row["depth"], row["site"]) for row in gains})]
    x0 = max(LEFT, marks.label_width(sites, NAME))
    step = LINE * len(_orders(gains)) + 8
    second = HEAD + (GAP + HEIGHT + BELOW if paths else 0)
    height = second + (GAP + step * len(sites) + BELOW if gains else 0)
    width = x0 + WIDTH + 12
    title = f"{group}, {repair}: which channels to move"
    drawing = svg.Drawing(width, height, "channels", title)
    drawing.text(4, 12, svg.fitted(group, width - 8), class_="title")
    drawing.text(4, 28, svg.fitted(repair, width - 8))
    if paths:
        _paths(drawing, paths, x0, HEAD + GAP)
    if gains:
        _gains(drawing, gains, sites, x0, second + GAP)
    return drawing


def _orders(rows: list[Row]) -> list[str]:
    return [name for name in ORDERS if any(row["order"] == name for row in rows)]


def _paths(drawing: svg.Drawing, rows: list[Row], x0: float, top: float) -> None:
    """Draws retention of all layers against the share of their channels that moved."""
    edge, bottom = x0 + WIDTH, top + HEIGHT
    shares = sorted({row["share"] for row in rows})
    x = marks.Axis(0, shares[-1], x0, edge - 10)  # room for the last intervals
    y = marks.Axis(0, 1.05, bottom, top)
    drawing.text(x0 + WIDTH / 2, top - 8, "retention, all layers", "middle", size=10)
    for value in (0, *shares):
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
    for value in (0, 0.5, 1):
        drawing.text(x0 - 5, y(value) + 4, f"{value:g}", "end")
        drawing.line(x0, y(value), edge, y(value), class_="grid")
    drawing.line(x0, bottom, edge, bottom, class_="axis")
    drawing.text(x0 + WIDTH / 2, bottom + 30, "share of channels moved", "middle")
    for number, order in enumerate(ORDERS):
        path = sorted(
            (row for row in rows if row["order"] == order), key=lambda row: row["share"]
        )
        if path:
            _path(drawing, path, x, y, 3 * (number - 1.5))


def _path(
    drawing: svg.Drawing, path: list[Row], x: marks.Axis, y: marks.Axis, shift: float
) -> None:
    """Draws one order's path from 0, where the recipient is unchanged; intervals side by side."""
    order = path[0]["order"]
    colour, shape = themed(ORDERS[order][0]), ORDERS[order][1]
    points = [
        (x(0), y(1)),
        *((x(row["share"]) + shift, y(row["mean"])) for row in path),
    ]
    drawing.polyline(points, class_="curve", stroke=colour)
    for row in path:
        data, tip = {"order": order, "site": row["site"]}, _tip(row)
        with drawing.group(data=data, tip=tip):
            marks.interval(
                drawing, y, x(row["share"]) + shift, row, shape, 3, upright=True,
                fill=colour,
            )  # fmt: skip


def _gains(
    drawing: svg.Drawing, rows: list[Row], sites: list[str], x0: float, top: float
) -> None:
    """Draws what each order gains over random orders, by site from input to output."""
    orders = _orders(rows)
    step = LINE * len(orders) + 8
    bottom = top + step * len(sites)
    reach = _reach(rows)
    x, middle = marks.Axis(-reach, reach, x0, x0 + WIDTH), x0 + WIDTH / 2
    drawing.text(middle, top - 8, "gain over random order", "middle", size=10)
    for value in (-reach, 0, reach):
        drawing.line(x(value), top, x(value), bottom, class_="grid")
        text = f"{value:+g}".replace("-", "−") if value else "0"
        drawing.text(x(value), bottom + 15, text, "middle")
    drawing.text(middle, bottom + 30, "better than random →", "middle")
    for line, site in enumerate(sites):
        upper = top + step * line
        label = svg.fitted(marks.site(site), NAME)
        drawing.text(x0 - 8, upper + step / 2 + 2, label, "end")
        for row in rows:
            if row["site"] == site:
                y = upper + LINE * (orders.index(row["order"]) + 0.5) + 4
                colour, shape = ORDERS[row["order"]]
                data = {"order": row["order"], "site": site}
                with drawing.group(data=data, tip=_tip(row)):
                    marks.interval(drawing, x, y, row, shape, 3, fill=themed(colour))


def _reach(rows: Sequence[Row]) -> float:
    """Returns the end of the axis of differences: 0.25, 0.5 or 1."""
    ends = [abs(end) for row in rows for end in (*marks.ends(row), row["mean"])]
    return next((reach for reach in (0.25, 0.5) if max(ends) <= reach), 1.0)


def _tip(row: Row) -> list[str]:
    measure = {
        "path": f"retention at a share of {row['share'] or 0:g}",
        "excess": "mean retention minus that of random orders",
    }[row["quantity"]]
    return [
        f"{marks.site(row['site'])} · {row['group']}: order {row['order']}",
        f"{measure} {marks.words(row)}, n = {row['n']}",
    ]
