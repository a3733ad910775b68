"""The repair ladder: the parts of a loss, and the retention after each repair."""

from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import CONTROLS, REPAIRS, themed

PARTS = {  # background and ink, in the order in which they are stacked
    "statistics": ("#cc79a7", "#10161e"),
    "permutation": ("#56b4e9", "#10161e"),
    "permutation and features": ("#7b8fc0", "#10161e"),
    "features": ("#d55e00", "#ffffff"),
}
LINE, WIDE, NAME = 19, 190, 150  # px: a bar's line, the plot, a site's name
LEAST, MOST = -0.25, 1.25  # ends of the axis of shares, at most
ARROW = 12  # px, room of an arrow in a bar that the axis cuts
WIDEST = 0.16  # share of the loss from which a bar holds its percentage
_STEPS = {  # of the ladder, as short as an axis needs them
    "none": "none",
    "recalibration": "recal.",
    "permutation": "perm.",
    "permutation+recalibration": "both",
    "stitch": "stitch",
    "fine_tuning": "tuned",
}


def shares(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws the shares of the loss as stacked bars, a line a site, a drawing a group."""
    cells = [
        row
        for row in rows
        if (row["quantity"], row["step"], row["control"])
        == ("level", "none", "transfer")
    ]
    sites = [site for _, site in sorted({(row["depth"], row["site"]) for row in cells})]
    groups = groups_of(cells, spec)
    ends = [
        end
        for group in groups
        for site in sites
        for bar in marks.stacked([row["mean"] for row in _parts(rows, group, site)])
        for end in bar
    ]
    span = max(LEAST, min(0, *ends) - 0.03), min(MOST, max(1, *ends) + 0.03)
    panels = [
        _shares([row for row in rows if row["group"] == group], group, sites, span)
        for group in groups
    ]
    steps = {row["step"] for row in rows if row["quantity"] == "share"}
    names = [name for name in PARTS if name in steps]
    legend = [(name, PARTS[name][0], "box") for name in names]
    return [*panels, *([marks.legend("ladder", legend)] if legend else [])]


def _parts(rows: list[Row], group: str, site: str) -> list[Row]:
    """Returns the shares of one bar in the order of stacking."""
    parts = {
        row["step"]: row
        for row in rows
        if (row["quantity"], row["group"], row["site"]) == ("share", group, site)
    }
    return [parts[name] for name in PARTS if name in parts]


def _shares(
    rows: list[Row], group: str, sites: Sequence[str], ends: tuple[float, float]
) -> svg.Drawing:
    x0 = marks.label_width(sites, NAME)
    top, bottom = 24, 24 + LINE * len(sites)
    axis = marks.Axis(*ends, x0, x0 + WIDE)
    drawing = svg.Drawing(
        x0 + WIDE, bottom + 22, "ladder", f"{group}: shares of the loss"
    )
    drawing.text(x0 + WIDE / 2, 12, group, "middle", class_="title")
    for value, text in ((0, "0"), (0.5, "½ of the loss"), (1, "1")):
        x = axis(value)
        if value != 0.5:
            drawing.line(x, top, x, bottom + 4, class_="grid")
        drawing.text(x, bottom + 16, text, "middle", size=10)
    for line, site in enumerate(sites):
        y = top + LINE * line
        drawing.text(x0 - 8, y + 13, svg.fitted(marks.site(site), NAME), "end")
        _bar(drawing, axis, y, [row for row in rows if row["site"] == site])
    return drawing


def _bar(drawing: svg.Drawing, axis: marks.Axis, y: float, rows: list[Row]) -> None:
    """Draws one site's bar, pale where the loss is not shown; words where there is no loss."""
    parts = _parts(rows, rows[0]["group"], rows[0]["site"]) if rows else []
    if not parts:
        nothing = any(row["outcome"] == "nothing lost" for row in rows)
        text = "nothing lost" if nothing else "repairs missing" if rows else ""
        drawing.text(axis(0) + 4, y + 13, text, size=10)
        return
    lost = all(row["outcome"] == "lost" for row in parts)
    for row, (low, high) in zip(
        parts, marks.stacked([row["mean"] for row in parts]), strict=True
    ):
        fill, ink = PARTS[row["step"]]
        tip = [
            f"{row['group']} · {marks.site(row['site'])}: {row['step']}",
            f"share of the loss {marks.words(row)}, n = {row['n']}",
            *([] if lost else ["the loss itself is not shown: its interval holds 0"]),
        ]
        x, width = axis(low), axis(high) - axis(low)
        with drawing.group(data={"site": row["site"], "part": row["step"]}, tip=tip):
            opacity = None if lost else 0.35
            drawing.rect(x, y + 2, width, LINE - 4, fill=fill, opacity=opacity)
            look = {"fill": ink} if lost else {"class_": "ink"}
            text = f"{row['mean']:.0%}".replace("-", "−")
            free = width - svg.text_width(text, 10)  # negative behind the axis's end
            arrow = axis.beyond(high) or axis.beyond(low)
            if arrow and not 0 <= free < ARROW:
                end = {"<": axis.start + ARROW / 3, ">": axis.end - ARROW / 3}[arrow]
                marks.marker(drawing, end, y + LINE / 2, arrow, ARROW / 5, **look)
            if abs(row["mean"]) >= WIDEST and free >= 0:
                drawing.text(x + width / 2, y + 13, text, "middle", size=10, **look)


def steps(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws the retention of all layers after each repair, a drawing a group."""
    rows = [
        row for row in rows if row["quantity"] == "level" and row["site_kind"] == "all"
    ]
    names = [name for name in _STEPS if any(row["step"] == name for row in rows)]
    controls = [
        name for name in ("transfer", "reinitialised")
        if any(row["control"] == name for row in rows)
    ]  # fmt: skip
    panels = [
        _steps([row for row in rows if row["group"] == group], group, names)
        for group in groups_of(rows, spec)
    ]
    legend = [(name, themed(CONTROLS[name][0]), CONTROLS[name][1]) for name in controls]
    return [*panels, marks.legend("steps", legend)]


def _steps(rows: list[Row], group: str, names: Sequence[str]) -> svg.Drawing:
    """Draws a marker with its interval a repair; donor and fresh values side by side."""
    column, x0, top, bottom = 40, 34, 24, 144
    width = x0 + column * len(names)
    axis = marks.Axis(-0.08, 1.12, bottom, top)
    drawing = svg.Drawing(
        width, bottom + 20, "steps", f"{group}: retention after each repair"
    )
    drawing.text(x0, 12, group, class_="title")
    for value in (0, 0.5, 1):
        drawing.line(x0, axis(value), width, axis(value), class_="grid")
        drawing.text(x0 - 6, axis(value) + 4, f"{value:g}", "end")
    for index, name in enumerate(names):
        drawing.text(
            x0 + column * (index + 0.5), bottom + 14, _STEPS[name], "middle", size=10
        )
    for control, shift in (("transfer", -5), ("reinitialised", 5)):
        colour, shape = CONTROLS[control]
        for row in (row for row in rows if row["control"] == control):
            x = x0 + column * (names.index(row["step"]) + 0.5) + shift
            tip = [
                f"{group} · {control}, {REPAIRS[row['step']]}",
                f"retention {marks.words(row)}, n = {row['n']}",
            ]
            data = {"control": control, "repair": row["step"]}
            with drawing.group(data=data, tip=tip):
                look = {"fill": themed(colour)}
                marks.interval(drawing, axis, x, row, shape, upright=True, **look)
    return drawing
