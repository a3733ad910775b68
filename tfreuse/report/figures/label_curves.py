"""Label curves and label savings: a drawing a donor, a line a recipe."""

import math
from collections.abc import Callable

from tfreuse.analysis.tables import Row
from tfreuse.report.figures import marks, svg
from tfreuse.report.figures.colours import themed

LEFT, TOP, BOTTOM, WIDTH, HEIGHT = 48, 26, 206, 300, 242  # px
RIGHT = WIDTH - 10
# Okabe and Ito's colours first, for the recipes that are compared most.
LOOKS = {
    "scratch": ("#3d4a59", "o"),
    "encoder": ("#0072b2", "s"),
    "fine_tuned": ("#d55e00", "^"),
    "fine_tuned_recalibrated": ("#009e73", "D"),
    "encoder_frozen": ("#56b4e9", "s"),
    "head_only": ("#cc79a7", "v"),
    "surgical": ("#e69f00", "P"),
    "encoder_stats": ("#aa4499", "D"),
    "encoder_affine": ("#44aa99", "v"),
    "encoder_kernels": ("#d55e00", "<"),
    "encoder_moments": ("#8a94a0", "o"),
    "prefix": ("#332288", "X"),
    "kernels": ("#882255", "<"),
    "affine_only": ("#999933", ">"),
    "moments": ("#8a94a0", "d"),
}
_OTHER = ("#111111", "*")
_Scale = Callable[[float], float]


def label_curves(rows: list[Row]) -> list[svg.Drawing]:
    """Draws the metric against the number of labels n, with scratch in every panel.

    With one number of labels there is no curve, and `label_gains` are drawn.
    """
    if of_one_number(rows):
        return label_gains(rows)
    heights = [row[name] for row in rows for name in ("mean", "floor")]
    room = 0.12 * (max(heights) - min(heights)) + 0.01
    axis = marks.Axis(min(heights) - room, max(heights) + room, BOTTOM, TOP)
    ticks = {value: f"{value:g}" for value in marks.ticks(axis.low, axis.high)}

    def draw(drawing: svg.Drawing, panel_rows: list[Row], x: _Scale) -> None:
        floor = axis(panel_rows[0]["floor"])
        drawing.line(LEFT, floor, RIGHT, floor, class_="dotted")
        for recipe, line in _lines(panel_rows):
            _curve(drawing, recipe, line, x, axis)

    return _panels(rows, "label_curves", "test metric", axis, ticks, draw)


def _curve(
    drawing: svg.Drawing, recipe: str, line: list[Row], x: _Scale, axis: marks.Axis
) -> None:
    """Draws a recipe's means as a line with markers, its intervals as a band."""
    colour, shape = LOOKS.get(recipe, _OTHER)
    pair = themed(colour)
    if len(line) == 1:  # a band of one point has no width
        _point(drawing, recipe, line[0], x(line[0]["labels"]), axis)
        return
    edges = [
        *((x(row["labels"]), axis(marks.ends(row)[1])) for row in line),
        *((x(row["labels"]), axis(marks.ends(row)[0])) for row in reversed(line)),
    ]
    drawing.polyline(edges, fill=pair, opacity=0.13)
    means = [(x(row["labels"]), axis(row["mean"])) for row in line]
    drawing.polyline(means, class_="curve", stroke=pair)
    for (across, y), row in zip(means, line, strict=True):
        tip = _tip(row, marks.words(row))
        with drawing.group(data={"recipe": recipe, "labels": row["labels"]}, tip=tip):
            marks.marker(drawing, across, y, shape, fill=pair)


def _point(
    drawing: svg.Drawing, recipe: str, row: Row, across: float, axis: marks.Axis,
    words: str = "",
) -> None:  # fmt: skip
    """Draws one mean with its interval as an upright line; the words precede it in the tip."""
    colour, shape = LOOKS.get(recipe, _OTHER)
    tip = _tip(row, words + marks.words(row))
    with drawing.group(data={"recipe": recipe, "labels": row["labels"]}, tip=tip):
        marks.interval(drawing, axis, across, row, shape, 3.4, upright=True,
                       fill=themed(colour))  # fmt: skip


def _tip(row: Row, words: str) -> list[str]:
    """Returns a mark's tip: the arm and number of labels, then the words with n."""
    return [
        f"{row['recipe']}, {row['labels']:,} labels",
        f"{words}, n = {row['n']}",
    ]


def of_one_number(rows: list[Row]) -> bool:
    """Returns whether rows of `analysis.label_curves.curves` have one number of labels alone."""
    gains = any("gain_mean" in row for row in rows)
    return gains and len({row["labels"] for row in rows}) == 1


def label_gains(rows: list[Row]) -> list[svg.Drawing]:
    """Draws the gain over scratch at one number of labels, recipes side by side."""
    gains = [
        row | {name: row[f"gain_{name}"] for name in ("mean", "low", "high", "n")}
        for row in rows
        if "gain_mean" in row
    ]
    recipes = list(dict.fromkeys(row["recipe"] for row in gains))
    ends = [end for row in gains for end in (row["mean"], *marks.ends(row))]
    ends = [0.0, *filter(math.isfinite, ends)]
    room = 0.12 * (max(ends) - min(ends)) or 0.01
    axis = marks.Axis(min(ends) - room, max(ends) + room, BOTTOM, TOP)
    values = marks.ticks(axis.low, axis.high)
    ticks = {value: f"{value:g}".replace("-", "−") for value in values}
    step = min(40, (RIGHT - LEFT) / (len(recipes) + 1))

    def draw(drawing: svg.Drawing, panel_rows: list[Row], x: _Scale) -> None:
        drawing.line(LEFT, axis(0), RIGHT, axis(0), class_="axis")
        for recipe, (row,) in _lines(panel_rows):
            shift = step * (recipes.index(recipe) - (len(recipes) - 1) / 2)
            across = x(row["labels"]) + shift
            _point(drawing, recipe, row, across, axis, "gain ")

    return _panels(gains, "label_curves", "gain over scratch", axis, ticks, draw)


def label_savings(rows: list[Row]) -> list[svg.Drawing]:
    """Draws n_scratch / n against n, both logarithmic; recipes side by side at each n."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    means = [abs(math.log2(row["mean"])) for row in rows if row["mean"] > 0]
    reach = max(1.3, 0.4 + max(means))
    axis = marks.Axis(-reach, reach, BOTTOM, TOP)
    powers = range(-math.floor(reach), math.floor(reach) + 1)
    ticks = {
        float(power): f"×{2**power}" if power >= 0 else f"÷{2**-power}"
        for power in powers[:: 1 + len(powers) // 9]
    }

    def draw(drawing: svg.Drawing, panel_rows: list[Row], x: _Scale) -> None:
        drawing.line(LEFT, axis(0), RIGHT, axis(0), class_="axis")
        for recipe, line in _lines(panel_rows):
            shift = 6 * (recipes.index(recipe) - (len(recipes) - 1) / 2)
            _savings(drawing, recipe, line, lambda n, shift=shift: x(n) + shift, axis)

    return _panels(rows, "label_savings", "labels saved", axis, ticks, draw)


def _savings(
    drawing: svg.Drawing, recipe: str, line: list[Row], x: _Scale, axis: marks.Axis
) -> None:
    """Draws a recipe's savings; an arrow where only a bound is known."""
    colour, shape = LOOKS.get(recipe, _OTHER)
    pair = themed(colour)
    logs = [
        row | {end: _log2(row[end]) for end in ("mean", "low", "high")} for row in line
    ]
    points = [(x(row["labels"]), axis(row["mean"])) for row in logs]
    drawing.polyline(points, class_="thin", stroke=pair)
    for row, log in zip(line, logs, strict=True):
        bound = {">": ("up", "at least "), "<": ("down", "at most ")}
        arrow, word = bound.get(row["censored"], (shape, ""))
        tip = _tip(row, f"saves {word}×{marks.words(row)}")
        with drawing.group(data={"recipe": recipe, "labels": row["labels"]}, tip=tip):
            size = 5 if word else 3.4
            marks.interval(drawing, axis, x(row["labels"]), log, arrow, size,
                           upright=True, fill=pair)  # fmt: skip


def _log2(value: float) -> float:
    return math.log2(value) if value > 0 else -math.inf


def _panels(
    rows: list[Row], kind: str, name: str, axis: marks.Axis, ticks: dict[float, str],
    draw: Callable[[svg.Drawing, list[Row], _Scale], None],
) -> list[svg.Drawing]:  # fmt: skip
    """Draws a panel a donor, scratch's rows in each, and a legend."""
    scratch = [row for row in rows if not row["donor"]]
    donors = list(dict.fromkeys(row["donor"] for row in rows if row["donor"])) or [""]
    counts = sorted({row["labels"] for row in rows})
    logs = [math.log2(max(1, count)) for count in counts]
    across = marks.Axis(logs[0] - 0.4, logs[-1] + 0.4, LEFT, RIGHT)

    def x(labels: float) -> float:
        return across(math.log2(max(1, labels)))

    titles = [
        f"{rows[0]['architecture']}, {f'donor {donor}' if donor else 'from scratch'}"
        for donor in donors
    ]
    scale = "labelled images" if len(counts) == 1 else "labelled images (logarithmic)"
    drawings = []
    for donor, title in zip(donors, titles, strict=True):
        drawing = svg.Drawing(WIDTH, HEIGHT, kind, f"{title}: {name}")
        for value, text in ticks.items():
            drawing.line(LEFT, axis(value), RIGHT, axis(value), class_="grid")
            drawing.text(LEFT - 6, axis(value) + 4, text, "end")
        occupied = -math.inf
        for count in counts:
            wide = svg.text_width(f"{count:,}") / 2 + 2
            if x(count) - wide > occupied:  # else it would touch the number before
                drawing.text(x(count), BOTTOM + 15, f"{count:,}", "middle")
                occupied = x(count) + wide
        middle = (LEFT + RIGHT) / 2
        drawing.text(middle, BOTTOM + 32, f"{scale}; {name}", "middle")
        draw(
            drawing,
            scratch + [row for row in rows if donor and row["donor"] == donor],
            x,
        )
        drawings.append(drawing)
    recipes = dict.fromkeys(row["recipe"] for row in rows)
    looks = ((recipe, *LOOKS.get(recipe, _OTHER)) for recipe in recipes)
    legend = [(recipe, themed(colour), shape) for recipe, colour, shape in looks]
    drawings = _titled(drawings, titles, kind, name)
    return [*drawings, marks.legend(kind, legend)]


def _titled(
    panels: list[svg.Drawing], titles: list[str], kind: str, name: str
) -> list[svg.Drawing]:
    """Puts whole titles above panels, on as many lines as the longest takes."""
    wrapped = [svg.wrapped(title, WIDTH - LEFT, 13) for title in titles]
    above = marks.LINE * (max(map(len, wrapped)) - 1)
    drawings = []
    for panel, title, lines in zip(panels, titles, wrapped, strict=True):
        drawing = svg.Drawing(WIDTH, HEIGHT + above, kind, f"{title}: {name}")
        for number, line in enumerate(reversed(lines)):
            drawing.text(LEFT, 12 + above - marks.LINE * number, line, class_="title")
        drawing.put(panel, 0, above)
        drawings.append(drawing)
    return drawings


def _lines(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """Returns the rows recipe by recipe, each by the number of labels."""
    names = dict.fromkeys(row["recipe"] for row in rows)
    return [
        (
            name,
            sorted((r for r in rows if r["recipe"] == name), key=lambda r: r["labels"]),
        )
        for name in names
    ]
