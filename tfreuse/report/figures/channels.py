"""Which channels: retention against the share of channels moved, and gains over random orders."""

from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis.arms import order_of
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, panels, svg
from tfreuse.report.figures.colours import REPAIRS
from tfreuse.report.figures.panels import LINE, Panel

LEFT, WIDTH, HEIGHT = 44, 176, 130  # px
HEAD, BELOW = 34, 40  # px: above the first panel, and below each
GAP = 24  # px, above the second panel
NAME = 150  # px, of a site's name
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
    return [*columns, panels.legend("channels", _orders(rows), ORDERS)]


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
    shares = sorted({row["share"] for row in rows})
    panel = Panel(x0, top, WIDTH, HEIGHT)
    x, y = panel.paths(
        drawing, "retention, all layers", "share of channels moved", (0, *shares), shares[-1]
    )  # fmt: skip
    for number, (order, look) in enumerate(ORDERS.items()):
        path = [row for row in rows if row["order"] == order]
        shift = 3 * (number - 1.5)
        panels.path(drawing, path, "share", look, x, y, shift, _tagged)


def _gains(
    drawing: svg.Drawing, rows: list[Row], sites: list[str], x0: float, top: float
) -> None:
    """Draws what each order gains over random orders, by site from input to output."""
    orders, reach = _orders(rows), _reach(rows)
    step = LINE * len(orders) + 8
    panel = Panel(x0, top, WIDTH, step * len(sites))
    panel.titled(drawing, "gain over random order", "better than random →")
    x = marks.Axis(-reach, reach, x0, x0 + WIDTH)
    for value in (-reach, 0, reach):
        drawing.line(x(value), top, x(value), panel.bottom, class_="grid")
        text = f"{value:+g}".replace("-", "−") if value else "0"
        drawing.text(x(value), panel.bottom + 15, text, "middle")
    for line, site in enumerate(sites):
        upper = top + step * line
        label = svg.fitted(marks.site(site), NAME)
        drawing.text(x0 - 8, upper + step / 2 + 2, label, "end")
        of_site = [row for row in rows if row["site"] == site]
        panels.below_each_other(
            drawing, of_site, "order", orders, ORDERS, x, upper, _tagged
        )


def _tagged(row: Row) -> tuple[dict[str, object], list[str]]:
    """Returns the data and the tip of a mark."""
    return {"order": row["order"], "site": row["site"]}, _tip(row)


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
