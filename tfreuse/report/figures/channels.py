"""Which channels: retention against the share of channels moved, and the gain of a score's order."""

from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis.arms import order_of
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import REPAIRS, themed

LEFT, TOP, WIDTH, HEIGHT = 44, 40, 170, 130  # px
LINE, NAME = 12, 150  # px: of a mark, and of a site's name
ORDERS = {  # colour and marker; Okabe and Ito's colours
    "activation": ("#0072b2", "o"),
    "distance": ("#e69f00", "D"),
    "gamma": ("#009e73", "s"),
    "random": ("#8a94a0", "X"),
}


def channels(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws for each group and repair the paths of all layers, and the excess at each site."""
    curves, gains = [], []
    repairs = {row["repair"] for row in rows}
    for group in groups_of(rows, spec):
        for repair in sorted(repairs, key=lambda name: order_of(name, specs.REPAIRS)):
            of_panel = [r for r in rows if (r["group"], r["repair"]) == (group, repair)]
            title = f"{group}, {REPAIRS[repair]}"
            paths = [r for r in of_panel if r["quantity"] == "path"]
            whole = [row for row in paths if row["site"] == "all"]
            if whole:
                curves.append(_paths(whole, title))
            excess = [row for row in of_panel if row["quantity"] == "excess"]
            if excess:
                gains.append(_excess(excess, title))
    names = [name for name in ORDERS if any(row["order"] == name for row in rows)]
    entries = [(name, themed(ORDERS[name][0]), ORDERS[name][1]) for name in names]
    return [*curves, marks.legend("channels", entries), *gains]


def _paths(rows: list[Row], title: str) -> svg.Drawing:
    """Draws retention of all layers against the share of their channels that moved."""
    edge, bottom = LEFT + WIDTH, TOP + HEIGHT
    drawing = svg.Drawing(edge + 8, bottom + 34, "channels", f"{title}: retention")
    x, y = marks.Axis(0, 1, LEFT, edge), marks.Axis(0, 1.05, bottom, TOP)
    _titled(drawing, LEFT + WIDTH / 2, title, "retention, all layers")
    for value in (0, 0.25, 0.5, 0.75, 1):
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
        if value in (0, 0.5, 1):
            drawing.text(LEFT - 5, y(value) + 4, f"{value:g}", "end")
            drawing.line(LEFT, y(value), edge, y(value), class_="grid")
    drawing.line(LEFT, bottom, edge, bottom, class_="axis")
    drawing.text(LEFT + WIDTH / 2, bottom + 30, "share of channels moved", "middle")
    for number, order in enumerate(ORDERS):
        path = sorted(
            (row for row in rows if row["order"] == order), key=lambda row: row["share"]
        )
        if path:
            _path(drawing, path, x, y, 3 * (number - 1.5))
    return drawing


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


def _excess(rows: list[Row], title: str) -> svg.Drawing:
    """Draws the area of each order less that of random orders, by site from input to output."""
    sites = [site for _, site in sorted({(row["depth"], row["site"]) for row in rows})]
    orders = [name for name in ORDERS if any(row["order"] == name for row in rows)]
    x0 = marks.label_width(sites, NAME)
    step = LINE * len(orders) + 8
    bottom = TOP + step * len(sites)
    reach = _reach(rows)
    x = marks.Axis(-reach, reach, x0, x0 + WIDTH)
    drawing = svg.Drawing(
        x0 + WIDTH + 8, bottom + 34, "channels", f"{title}: order less random"
    )
    _titled(drawing, x0 + WIDTH / 2, title, "mean retention less random's")
    for value in (-reach, 0, reach):
        drawing.line(x(value), TOP, x(value), bottom, class_="grid")
        text = f"{value:+g}".replace("-", "−") if value else "0"
        drawing.text(x(value), bottom + 15, text, "middle")
    drawing.text(x0 + WIDTH / 2, bottom + 30, "better than random →", "middle")
    for line, site in enumerate(sites):
        top = TOP + step * line
        label = svg.fitted(marks.site(site), NAME)
        drawing.text(x0 - 8, top + step / 2 + 2, label, "end")
        for row in rows:
            if row["site"] == site:
                y = top + LINE * (orders.index(row["order"]) + 0.5) + 4
                colour, shape = ORDERS[row["order"]]
                data = {"order": row["order"], "site": site}
                with drawing.group(data=data, tip=_tip(row)):
                    marks.interval(drawing, x, y, row, shape, 3, fill=themed(colour))
    return drawing


def _reach(rows: Sequence[Row]) -> float:
    """Returns the end of the axis of differences: 0.25, 0.5 or 1."""
    ends = [abs(end) for row in rows for end in (*marks.ends(row), row["mean"])]
    return next((reach for reach in (0.25, 0.5) if max(ends) <= reach), 1.0)


def _titled(drawing: svg.Drawing, x: float, title: str, below: str) -> None:
    drawing.text(x, 12, svg.fitted(title, WIDTH + 40), "middle", class_="title")
    drawing.text(x, 28, below, "middle", size=10)


def _tip(row: Row) -> list[str]:
    measure = {
        "path": f"retention at a share of {row['share'] or 0:g}",
        "excess": "mean retention less that of random orders",
    }[row["quantity"]]
    return [
        f"{marks.site(row['site'])} · {row['group']}: order {row['order']}",
        f"{measure} {marks.words(row)}, n = {row['n']}",
    ]
