"""Retention on the path from the recipient to a donor, and the barrier on that path."""

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import marks, panels, svg
from tfreuse.report.figures.colours import REPAIRS
from tfreuse.report.figures.panels import LINE, Panel

WIDTH, HEIGHT = 122, 100  # px, of a panel
HEAD, BELOW = 20, 40  # px: above the first panel, and below each
GAP = 24  # px, above each panel
NAME = 62  # px, of a donor's name
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
    return [*columns, panels.legend("barriers", _repairs(rows), LOOKS, REPAIRS)]


def _repairs(rows: list[Row]) -> list[str]:
    return [name for name in LOOKS if any(row["repair"] == name for row in rows)]


def _column(rows: list[Row], group: str) -> svg.Drawing:
    paths = [row for row in rows if row["quantity"] == "path"]
    heights = [row for row in rows if row["quantity"] == "barrier"]
    donors = [name for name in DONORS if any(row["control"] == name for row in paths)]
    repairs = _repairs(rows)
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
    panel = Panel(x0, last + GAP, WIDTH, step * len(donors))
    panel.titled(drawing, "barrier", "below the straight line")
    for value in (0, 0.5, 1):
        drawing.line(x(value), panel.top, x(value), panel.bottom, class_="grid")
        drawing.text(x(value), panel.bottom + 15, f"{value:g}", "middle")
    for number, control in enumerate(donors):
        top = panel.top + step * number
        drawing.text(x0 - 8, top + step / 2 + 2, DONORS[control], "end")
        of_donor = [row for row in heights if row["control"] == control]
        panels.below_each_other(
            drawing, of_donor, "repair", repairs, LOOKS, x, top, _tagged
        )
    return drawing


def _paths(drawing: svg.Drawing, rows: list[Row], x0: float, top: float) -> None:
    """Draws retention from alpha 0, the unchanged recipient, to 1, a line a repair."""
    title = f"path to: {DONORS[rows[0]['control']]}"
    panel = Panel(x0, top, WIDTH, HEIGHT)
    x, y = panel.paths(drawing, title, "α, share of the donor", (0, 0.5, 1), 1)
    upright = top + HEIGHT / 2
    turn = f"rotate(-90 {x0 - 34:g} {upright:g})"
    drawing.text(x0 - 34, upright, "retention", "middle", transform=turn)
    for number, (repair, look) in enumerate(LOOKS.items()):
        path = [row for row in rows if row["repair"] == repair]
        shift = 3 * (number - 1.5)
        panels.path(drawing, path, "alpha", look, x, y, shift, _tagged)


def _tagged(row: Row) -> tuple[dict[str, object], list[str]]:
    """Returns the data and the tip of a mark."""
    column = "alpha" if row["quantity"] == "path" else "control"
    return {name: row[name] for name in ("group", "repair", column)}, _tip(row)


def _tip(row: Row) -> list[str]:
    measure = "barrier"
    if row["quantity"] == "path":
        measure = f"at α = {row['alpha']:g} retains"
    return [
        f"{row['group']}, path to {DONORS[row['control']]}, {REPAIRS[row['repair']]}",
        f"{measure} {marks.words(row)}, n = {row['n']}",
    ]
