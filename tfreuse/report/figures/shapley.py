"""Shapley values: the share of each role in a loss, and the roles that act together."""

from tfreuse.analysis.intervals import number
from tfreuse.analysis.tables import Row
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import GROUPS, themed

LINE, WIDE, CELL, NAME = (
    22,
    270,
    38,
    150,
)  # px: a bar's line, the plot, a cell, a site's name
_SHORT = {"kernel": "W", "bias": "b", "gamma": "γ", "beta": "β", "stats": "μσ"}
# Interactions: negative ones purple, positive ones orange, as in Matplotlib's PuOr_r.
_NEGATIVE, _POSITIVE = ("#5e3c99", "#9d83cf"), ("#b35806", "#d98a3d")


def shapley(rows: list[Row]) -> list[svg.Drawing]:
    """Draws each site's loss as a bar of the roles' values; then its interactions, a matrix a site."""
    rows = [row for row in rows if row["repair"] == "none"]
    sites = [site for _, site in sorted({(row["depth"], row["site"]) for row in rows})]
    roles = list(
        dict.fromkeys(row["group"] for row in rows if row["quantity"] == "value")
    )
    legend = [
        (f"{name} ({_SHORT.get(name, name)})", themed(GROUPS[name]), "box")
        for name in roles
    ]
    interactions = [row for row in rows if row["quantity"] == "interaction"]
    reach = max(0.05, *(abs(row["mean"]) for row in interactions), 0.0)
    matrices = [
        _matrix(
            [row for row in interactions if row["site"] == site], site, roles, reach
        )
        for site in sites
    ]
    return [_bars(rows, sites, roles), marks.legend("shapley", legend), *matrices]


def _bars(rows: list[Row], sites: list[str], roles: list[str]) -> svg.Drawing:
    """Draws a bar a site, its roles in their order, and the total with its interval across it."""
    values: dict[str, list[Row]] = {site: [] for site in sites}
    for row in sorted(rows, key=lambda row: (*roles, row["group"]).index(row["group"])):
        if row["quantity"] == "value" and not row["absent"]:
            values[row["site"]].append(row)
    totals = {row["site"]: row for row in rows if row["quantity"] == "total"}
    ends = [
        end
        for shares in values.values()
        for bar in marks.stacked([row["mean"] for row in shares])
        for end in bar
    ]
    ends += [min(row["high"], 1.2) for row in totals.values()]
    x0, top, bottom = marks.label_width(sites, NAME), 24, 24 + LINE * len(sites)
    low, high = min(0.0, *ends), max(0.2, *ends)
    axis = marks.Axis(low - 0.02, high + 0.02, x0, x0 + WIDE)
    texts = {site: marks.words(row) for site, row in totals.items()}
    width = x0 + WIDE + 10 + max(map(svg.text_width, texts.values()), default=0)
    title = "loss of retention, divided among the roles"
    drawing = svg.Drawing(width, bottom + 22, "shapley", title)
    drawing.text(x0, 12, title, class_="title")
    for value in (step / 5 for step in range(-5, 11)):
        if axis.low <= value <= axis.high:
            x = axis(value)
            drawing.line(x, top, x, bottom + 4, class_="grid" if value else "axis")
            drawing.text(x, bottom + 16, f"{value:g}".replace("-", "−"), "middle")
    for line, site in enumerate(sites):
        y = top + LINE * (line + 0.5)
        drawing.text(x0 - 8, y + 4, svg.fitted(marks.site(site), NAME), "end")
        _bar(drawing, axis, y, values[site])
        if site in totals:
            total = totals[site]
            tip = [marks.site(site), f"loses {texts[site]}, n = {total['n']}"]
            with drawing.group(data={"site": site}, tip=tip, class_="total"):
                marks.interval(drawing, axis, y, total, "D", 3.2)
                drawing.text(x0 + WIDE + 8, y + 4, texts[site], class_="ink")
    return drawing


def _bar(drawing: svg.Drawing, axis: marks.Axis, y: float, rows: list[Row]) -> None:
    bars = marks.stacked([row["mean"] for row in rows])
    for row, (low, high) in zip(rows, bars, strict=True):
        role, site = row["group"], row["site"]
        tip = [
            f"{marks.site(site)}: {role}",
            f"share of the loss {marks.words(row)}, n = {row['n']}",
        ]
        width = axis(high) - axis(low)
        with drawing.group(data={"site": site, "role": role}, tip=tip):
            drawing.rect(axis(low), y - 7.5, width, 15, fill=themed(GROUPS[role]))


def _matrix(rows: list[Row], site: str, roles: list[str], reach: float) -> svg.Drawing:
    """Draws the interactions of a site's roles below the diagonal; bold: the interval leaves 0 out."""
    side = CELL * (len(roles) - 1)
    width = max(24 + side, svg.text_width(marks.site(site), 12) * 1.05)
    drawing = svg.Drawing(
        width, side + 40, "interactions", f"{marks.site(site)}: interactions"
    )
    drawing.text(0, 12, marks.site(site), class_="title")
    for index, role in enumerate(roles[:-1]):
        x = 24 + CELL * (index + 0.5)
        drawing.text(x, side + 36, _SHORT.get(role, role), "middle")
    for index, role in enumerate(roles[1:]):
        drawing.text(20, 20 + CELL * (index + 0.5) + 4, _SHORT.get(role, role), "end")
    for row in rows:
        x = 24 + CELL * roles.index(row["first"])
        y = 20 + CELL * (roles.index(row["second"]) - 1)
        proven = row["low"] > 0 or row["high"] < 0
        strength = min(1.0, abs(row["mean"]) / reach)
        effect = "cost more together" if row["mean"] > 0 else "cost less together"
        tip = [
            f"{marks.site(site)}: {row['first']} and {row['second']}",
            f"{effect if proven else 'interaction'} {marks.words(row)}, n = {row['n']}",
        ]
        with drawing.group(
            data={"first": row["first"], "second": row["second"]}, tip=tip
        ):
            colour = _POSITIVE if row["mean"] > 0 else _NEGATIVE
            drawing.rect(x, y, CELL - 2, CELL - 2, class_="paper cell")
            drawing.rect(x, y, CELL - 2, CELL - 2, fill=colour, opacity=0.75 * strength)
            text = number(round(row["mean"], 2)).replace("−0.00", "0.00")
            weight = "bold" if proven else None
            drawing.text(x + CELL / 2 - 1, y + CELL / 2 + 3, text, "middle", class_="ink",
                         size=9.5, font_weight=weight)  # fmt: skip
    return drawing
