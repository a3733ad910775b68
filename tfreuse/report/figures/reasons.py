"""The paper's two reasons: each cell of group and site in the colour of the reason that holds."""

from tfreuse import specs
from tfreuse.analysis.intervals import number
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import REPAIRS

# Letter, background and ink (light, dark): distinguishable in grey as well.
LOOKS: dict[str, tuple[str, svg.Colour, svg.Colour]] = {
    "general features": ("G", "#00795a", "#ffffff"),
    "small difference": ("S", ("#a9d4f0", "#2a5f86"), ("#10161e", "#ffffff")),
    "worse than random": ("W", ("#7a2f3a", "#a34a57"), "#ffffff"),
    "neither": ("N", ("#f0c9a8", "#7d5634"), ("#10161e", "#ffffff")),
    "open": ("?", ("#eceff2", "#29323e"), ("#56626f", "#a0acba")),
}
HEIGHT, COLUMN, GAP, NAME = (
    34,
    86,
    2,
    200,
)  # px: a cell, the space around it, a site's name


def two_reasons(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws donor less comparable random values, with the interval, a drawing a repair."""
    panels = [
        _panel([row for row in rows if row["repair"] == repair], repair, spec)
        for repair in REPAIRS
        if any(row["repair"] == repair for row in rows)
    ]
    legend = [
        (f"{letter}: {name}", ground, "box")
        for name, (letter, ground, _) in LOOKS.items()
    ]
    return [*panels, marks.legend("reasons", legend)]


def _panel(rows: list[Row], repair: str, spec: specs.StudySpec) -> svg.Drawing:
    groups = groups_of(rows, spec)
    sites = [site for _, site in sorted({(row["depth"], row["site"]) for row in rows})]
    x0 = marks.label_width(sites, NAME)
    width, top = x0 + COLUMN * len(groups), 40
    drawing = svg.Drawing(width, top + HEIGHT * len(sites), "reasons", REPAIRS[repair])
    drawing.text(0, 12, REPAIRS[repair], class_="title")
    for column, group in enumerate(groups):
        x = x0 + COLUMN * (column + 0.5)
        drawing.text(x, top - 6, svg.fitted(group, COLUMN - 4), "middle")
    for line, site in enumerate(sites):
        y = top + HEIGHT * line
        drawing.text(x0 - 8, y + 20, svg.fitted(marks.site(site), NAME), "end")
        for row in rows:
            if row["site"] == site:
                _cell(drawing, x0 + COLUMN * groups.index(row["group"]), y, row)
    return drawing


def _cell(drawing: svg.Drawing, x: float, y: float, row: Row) -> None:
    # a cell has one reason: where it is judged at another repair, only numbers stand here
    reason = row["reason"] if row["decisive"] else "judged at the other repair"
    letter, ground, ink = LOOKS.get(reason, ("", *LOOKS["open"][1:]))
    tip = [
        f"{marks.site(row['site'])} · {row['group']}: {reason}",
        f"donor less random values: {marks.words(row)}, n = {row['n']}",
        f"donor retains {number(row['donor_mean'])}, random values {number(row['random_mean'])}",
    ]
    data = {"group": row["group"], "site": row["site"], "reason": reason}
    data["kind"] = row["site_kind"]
    with drawing.group(data=data, tip=tip):
        drawing.rect(x, y, COLUMN - GAP, HEIGHT - GAP, rx=2, fill=ground)
        drawing.text(x + 6, y + 14, letter, fill=ink, size=12, font_weight="bold")
        middle = x + (COLUMN - GAP) / 2
        drawing.text(middle, y + 14, _signed(row["mean"]), "middle", fill=ink)
        low, high = map(number, marks.ends(row))
        drawing.text(middle, y + 27, f"[{low}, {high}]", "middle", fill=ink, size=9)


def _signed(value: float) -> str:
    text = number(value)
    return f"+{text}" if value > 0 and text != "0.000" else text
