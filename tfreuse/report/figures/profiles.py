"""Profiles: the share of a network's sites that retain at least a threshold, a panel a group."""

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.report.figures import colours, marks, svg

LEFT, TOP, WIDTH, HEIGHT = 44, 24, 150, 110  # px
SHARES = (-0.08, 1.15)  # of the vertical axis
TICKS = (0, 0.5, 1)
CONTROLS = ("other_seed", "reinitialised")  # bands, as transplanted
REPAIRS = ("none", "recalibration")  # solid and dashed


def profiles(rows: list[Row], spec: specs.StudySpec) -> list[svg.Drawing]:
    """Draws the share of sites and seeds that retain at least tau, a panel a group.

    The controls, a donor of the same task and fresh initial values, are bands: their intervals.
    """
    rows = [row for row in rows if row["quantity"] == "profile"]
    panels = [
        _panel(group, [row for row in rows if row["group"] == group], spec)
        for group in groups_of(rows, spec)
    ]
    return [*panels, _legend({(row["control"], row["repair"]) for row in rows})]


def _panel(group: str, rows: list[Row], spec: specs.StudySpec) -> svg.Drawing:
    edge, bottom = LEFT + WIDTH, TOP + HEIGHT
    drawing = svg.Drawing(edge + 6, bottom + 34, "profiles", f"{group}: share of sites")
    x, y = marks.Axis(-0.03, 1.03, LEFT, edge), marks.Axis(*SHARES, bottom, TOP)
    title = svg.fitted(group, WIDTH)
    drawing.text(LEFT + WIDTH / 2, 12, title, "middle", class_="title")
    for value in TICKS:
        drawing.text(LEFT - 5, y(value) + 4, f"{value:g}", "end")
        drawing.text(x(value), bottom + 15, f"{value:g}", "middle")
        if value != 0.5:
            drawing.line(LEFT, y(value), edge, y(value), class_="grid")
    drawing.line(LEFT, bottom, edge, bottom, class_="axis")
    middle = TOP + HEIGHT / 2
    turn = f"rotate(-90 10 {middle:g})"
    drawing.text(10, middle, "share of sites", "middle", transform=turn)
    drawing.text(LEFT + WIDTH / 2, bottom + 30, "retention of at least τ", "middle")
    margin = x(1 - spec.margin)
    drawing.line(margin, TOP, margin, bottom, class_="margin")
    for control in (*CONTROLS, "transfer"):
        for repair in REPAIRS if control == "transfer" else REPAIRS[:1]:
            line = [r for r in rows if (r["control"], r["repair"]) == (control, repair)]
            if line:
                _curve(drawing, sorted(line, key=lambda row: row["tau"]), x, y)
    return drawing


def _curve(drawing: svg.Drawing, line: list[Row], x: marks.Axis, y: marks.Axis) -> None:
    """Draws the means as a line, the intervals as a band."""
    control, repair = line[0]["control"], line[0]["repair"]
    pair = colours.themed(colours.CONTROLS[control][0])
    ends = [(x(row["tau"]), *map(y, marks.ends(row))) for row in line]
    edges = [(tau, high) for tau, _, high in ends]
    edges += [(tau, low) for tau, low, _ in reversed(ends)]
    with drawing.group(data={"control": control, "repair": repair}):
        drawing.polyline(edges, fill=pair, opacity=0.16)
        means = [(x(row["tau"]), y(row["mean"])) for row in line]
        drawing.polyline(means, **_look(control, repair), stroke=pair)


def _look(control: str, repair: str) -> dict[str, str | None]:
    dashes = None if repair == "none" else "5 2.5"
    class_ = "curve" if control == "transfer" else "thin"
    return {"class_": class_, "stroke_dasharray": dashes}


def _legend(drawn: set[tuple[str, str]]) -> svg.Drawing:
    """Draws the names of the curves, then those of the bands."""
    entries = [
        (f"transfer, {colours.REPAIRS[repair]}", "transfer", repair)
        for repair in REPAIRS
    ] + [(control, control, "none") for control in CONTROLS]
    entries = [entry for entry in entries if entry[1:] in drawn]
    width = 34 + max((svg.text_width(name) for name, *_ in entries), default=0)
    drawing = svg.Drawing(width, marks.LINE * len(entries) + 4, "profiles", "legend")
    for number, (name, control, repair) in enumerate(entries):
        y = marks.LINE * number + 9
        pair = colours.themed(colours.CONTROLS[control][0])
        if control != "transfer":
            drawing.rect(0, y - 4, 26, 8, fill=pair, opacity=0.16)
        drawing.line(0, y, 26, y, **_look(control, repair), stroke=pair)
        drawing.text(32, y + 4, name)
    return drawing
