"""Heat maps: sites, input at the top, by groups; one drawing a repair."""

import functools
import math
from collections.abc import Sequence

from tfreuse import specs
from tfreuse.analysis.intervals import LARGE, number
from tfreuse.analysis.tables import Row, groups_of, sites_of
from tfreuse.report.figures import colours, marks, svg

HEIGHT, COLUMN, GAP = 22, 52, 2  # px: a cell and the space around it
NAME = 210  # px: the widest site's name
BAR, STEPS = 180, 21  # px: the colour scale; its steps
KINDS = {
    "all": "all layers",
    "stage": "single stages",
    "layer": "single layers",
    "leave_one_out": "all but one",
    "prefix": "from the input to one stage",
    "suffix": "from one stage to the output",
}
QUANTITIES = {"retention": "retention", "drop": "drop", "index": "reusability index"}
INK = colours.ink(0)  # of the text in most cells


def heat_map(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws mean retention of each cell, a drawing a repair.

    Args:
        rows: of one kind of site, from `tables.heat_rows`.
        spec: the study's settings.
    """
    return [
        panel([row for row in rows if row["repair"] == repair], spec, repair)
        for repair in colours.REPAIRS
        if any(row["repair"] == repair for row in rows)
    ]


def panel(
    rows: Sequence[Row],
    spec: specs.StudySpec,
    repair: str,
    quantity: str = "retention",
    seed: int = -1,
) -> svg.Drawing:
    """Draws the cells of one repair.

    A dot marks a cell that is not identifiable (fresh values cost nothing there). Hatching marks
    a cell that is neither shown to retain 1 - margin nor to lose more, where the rows say so.

    Args:
        rows: a cell each, with site, stage, group, mean, low, high and n.
        spec: the study's settings, which order the groups.
        repair: applied after the transplant.
        quantity: of the means: "retention", "drop" or "index".
        seed: of the values; -1 for means over all seeds.
    """
    groups, sites = groups_of(list(rows), spec), sites_of(list(rows))
    kind = rows[0]["site_kind"]
    names = [marks.site(site) for site, _ in sites]
    bracket = 20 if kind == "layer" and any(stage for _, stage in sites) else 0
    x0 = bracket + round(min(max(map(svg.text_width, names)), NAME)) + 8
    slanted = any(svg.text_width(name) > COLUMN - 4 for name in groups)
    slope = round(0.64 * max(map(svg.text_width, groups)))
    top = 38 + (slope + 4 if slanted else 18)
    bottom = top + HEIGHT * len(sites)
    overhang = 0.77 * svg.text_width(groups[-1]) - COLUMN / 2 if slanted else 0
    width = max(x0 + COLUMN * len(groups) + max(0, overhang) + 2, 310)
    head, detail = colours.REPAIRS[repair], describe(quantity, kind, seed, spec)
    drawing = svg.Drawing(width, bottom + 50, "heat", f"{head}: {detail}")
    drawing.text(0, 12, head, class_="title")
    drawing.text(0, 27, detail)
    _column_names(drawing, groups, x0, top - 6, slanted)
    if bracket:
        _brackets(drawing, [stage for _, stage in sites], top)
    wide, high = COLUMN * len(groups) - GAP, HEIGHT * len(sites) - GAP
    drawing.rect(x0, top, wide, high, class_="ground")
    limit = reach(rows, quantity)
    for line, (site, _) in enumerate(sites):
        y = top + HEIGHT * line
        name = svg.fitted(marks.site(site), NAME)
        drawing.text(x0 - 8, y + HEIGHT / 2 + 4, name, anchor="end")
        look = {"text_anchor": "middle", "fill": INK}
        with drawing.group(data={"kind": kind, "site": site}, **look):
            for row in rows:
                if row["site"] == site:
                    x = x0 + COLUMN * groups.index(row["group"])
                    _cell(drawing, x, y, row, quantity, limit)
    scale_bar(drawing, 0, bottom + 12, quantity, limit)
    marks_key(drawing, bottom + 12, rows)
    return drawing


def describe(quantity: str, kind: str, seed: int, spec: specs.StudySpec) -> str:
    """Returns a figure's second line: which values it shows."""
    over = "mean over seeds" if seed < 0 else f"seed {seed}"
    if spec.seeds == 1:
        over = "one pair of networks"
    return f"{QUANTITIES[quantity]} of {KINDS[kind]}, {over}"


def reach(rows: Sequence[Row], quantity: str) -> float:
    """Returns the largest drop that the colour scale distinguishes; 1 for other quantities."""
    if quantity != "drop":
        return 1.0
    return max(0.05, *(abs(row["mean"]) for row in rows if has_value(row)), 0.0)


def tip(row: Row, quantity: str = "retention") -> list[str]:
    """Returns a cell's value in words: interval, n, and the meaning of its marks."""
    lines = [
        f"{marks.site(row['site'])} · {row['group']}",
        f"{QUANTITIES[quantity]} {marks.words(row)}, n = {row['n']}",
    ]
    if row.get("significant") is not None:
        q = "" if row.get("q") is None else f" (q = {row['q']:.2g})"
        enough = row["threshold"]
        if not row["significant"]:
            lines.append(f"not shown to retain {enough:g}, nor to retain less{q}")
        else:
            side = "at least" if row["mean"] > enough else "less than"
            lines.append(f"shown to retain {side} {enough:g}{q}")
    if row["identifiable"] is False:
        lines.append("not identifiable: fresh values cost nothing here")
    return lines


def cell_text(mean: float) -> str:
    """Returns a retention in as few characters as a cell has room for."""
    if 10 <= abs(mean) < LARGE:
        return f"{mean:.0f}".replace("-", "−")
    return number(mean)


def scale_bar(
    drawing: svg.Drawing, x: float, y: float, quantity: str, limit: float
) -> None:
    """Draws the part of the colour scale that values can reach, with its meaning; 24 px high.

    A retention is clipped to [0, 1], that of a single seed too, so that its scale ends at 1.
    """
    texts = {
        "retention": ("≤ 0: floor", "", "≥ 1: as before"),
        "index": ("≤ 0: fresh", "1: as before", "≥ 2"),
        "drop": (number(limit), "0: as before", number(-limit)),
    }[quantity]
    drawing.put(_bar(0 if quantity == "retention" else 1, *texts), x, y)


@functools.lru_cache(64)
def _bar(highest: int, low: str, middle: str, high: str) -> svg.Drawing:
    """Draws the scale from -1 to `highest`, with texts at its ends and at its middle."""
    bar, width = svg.Drawing(BAR, 24, "heat", "scale"), BAR / STEPS
    with bar.group(stroke_width=9):
        for step in range(STEPS):
            colour = colours.scale((highest + 1) * step / (STEPS - 1) - 1)
            bar.path(f"M{step * width:.4g} 4.5h{width + 0.3:.2g}", stroke=colour)
    bar.text(0, 21, low, size=10)
    if middle:
        bar.text(BAR / 2, 21, middle, "middle", size=10)
    bar.text(BAR, 21, high, "end", size=10)
    return bar


def marks_key(drawing: svg.Drawing, y: float, rows: Sequence[Row]) -> None:
    """Explains hatching and dots beside the colour scale, where there are any."""
    x = BAR + 22
    if any(row.get("significant") is False for row in rows):
        drawing.rect(x, y, 16, 10, class_="empty")
        drawing.path(hatching(x, y, 16, 10, 5), class_="hatch")
        drawing.text(x + 21, y + 9, "not significant", size=10)
        y += 14
    if any(row["identifiable"] is False for row in rows):
        drawing.rect(x, y, 16, 10, class_="empty")
        drawing.circle(x + 12, y + 4, 1.8, class_="ink")
        drawing.text(x + 21, y + 9, "not identifiable", size=10)


def fill(row: Row, quantity: str, limit: float) -> svg.Colour | None:
    """Returns the colour of a row's mean."""
    if not has_value(row):
        return None
    return colours.scale(colours.position(row["mean"], quantity, limit))


def ink(row: Row, quantity: str, limit: float) -> svg.Colour:
    """Returns the colour of text on `fill`."""
    return colours.ink(colours.position(row["mean"], quantity, limit))


def has_value(row: Row) -> bool:
    """Returns whether the row has a value: an index needs a cost of fresh values."""
    return row["mean"] is not None and not math.isnan(row["mean"])


def _cell(
    drawing: svg.Drawing, x: float, y: float, row: Row, quantity: str, limit: float
) -> None:
    """Draws a cell: its colour, its number, its hatching and its dot."""
    width, height = COLUMN - GAP, HEIGHT - GAP
    with drawing.group(data={"group": row["group"]}, tip=tip(row, quantity)):
        if not has_value(row):
            drawing.rect(x, y, width, height, class_="empty")
            drawing.text(x + width / 2, y + 14, "–", fill="var(--soft)")
            return
        colour, text_colour = fill(row, quantity, limit), ink(row, quantity, limit)
        text_colour = None if text_colour == INK else text_colour  # that of its group
        drawing.rect(x, y, width, height, class_="cell", rx=2, fill=colour)
        if row.get("significant") is False:
            drawing.path(hatching(x, y, width, height), class_="hatch")
        text = cell_text(row["mean"])
        drawing.text(x + width / 2, y + 14, text, fill=text_colour)
        if row["identifiable"] is False:
            drawing.circle(x + width - 4, y + 4, 1.8, fill=text_colour)


def hatching(x: float, y: float, width: float, height: float, apart: int = 12) -> str:
    """Returns the path of slanted lines over a box."""
    lines = []
    for shift in range(apart // 2, int(width + height), apart):
        # from the left or lower edge up to the upper or right one
        start, end = max(0, shift - height), min(shift, width)
        length = end - start
        lines.append(f"M{x + start:g} {y + shift - start:g}l{length:g}-{length:g}")
    return "".join(lines)


def _column_names(
    drawing: svg.Drawing, groups: Sequence[str], x0: float, y: float, slanted: bool
) -> None:
    """Writes the groups above their columns, slanted where a name is too long."""
    for column, group in enumerate(groups):
        x = x0 + COLUMN * (column + 0.5)
        turn = f"rotate(-40 {x:.2f} {y:.2f})" if slanted else None
        drawing.text(x, y, group, "start" if slanted else "middle", transform=turn)


def _brackets(drawing: svg.Drawing, stages: list[str], top: float) -> None:
    """Draws a bracket beside the layers of each stage, with the stage's name in it."""
    begin = 0
    for end in range(1, len(stages) + 1):
        if end < len(stages) and stages[end] == stages[begin]:
            continue
        y, high = top + HEIGHT * begin, HEIGHT * (end - begin) - GAP
        if stages[begin] and end > begin + 1:  # one line has no room for a name
            drawing.path(f"M18 {y:g}h-3v{high:g}h3", class_="bracket")
            middle = y + high / 2
            name = svg.fitted(stages[begin], high, 9.5)
            turn = f"rotate(-90 10 {middle:g})"
            drawing.text(10, middle, name, "middle", size=9.5, transform=turn)
        begin = end
