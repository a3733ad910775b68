"""Heat maps: sites, input at the top, by groups; one panel a repair."""

import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row, groups_of, sites_of
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

CELL, COLUMN, GAP = 0.235, 0.56, 0.25  # inches: a row's height, a column's width
ACROSS, WIDEST = 3, 9.0  # panels side by side; inches they may take


def heat_map(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Mean retention of each cell; colour is anchored at 1.

    A dot marks a cell in which reuse proves nothing; hatching, one whose difference from 1 is
    not significant after correction (where rows say so).
    """
    groups, sites = groups_of(rows, spec), sites_of(rows)
    repairs = [
        name for name in canvas.REPAIRS if any(r["repair"] == name for r in rows)
    ]
    left = 0.35 + 0.068 * max(len(printable(site, 40)) for site, _ in sites)
    right = 1.15 if any(stage != site for site, stage in sites) else 0.2
    wide, high = max(COLUMN * len(groups), 1.7), CELL * len(sites)
    most = min(ACROSS, int(WIDEST / (wide + GAP)))
    across, down = canvas.columns(len(repairs), most)
    slanted = max(len(printable(name, 40)) for name in groups) > 7
    head = 0.42 + (0.62 if slanted else 0.2)
    width = max(left + right + across * wide + (across - 1) * GAP, 4.6)
    height = down * (head + high) + 0.72
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        for number, repair in enumerate(repairs):
            row, column = divmod(number, across)
            axes = canvas.panel(
                figure, left + column * (wide + GAP), head + row * (head + high),
                wide, high,
            )  # fmt: skip
            cells = [r for r in rows if r["repair"] == repair]
            _panel(axes, cells, groups, sites, slanted)
            canvas.title(axes, canvas.REPAIRS[repair], pad=72 * (head - 0.26))
            if column == 0:
                names = [printable(site, 40) for site, _ in sites]
                axes.set_yticks(range(len(sites)), names)
            last = column == across - 1 or number == len(repairs) - 1
            if right > 1 and last:
                _brackets(axes, sites, len(groups) / wide)
        bar = canvas.panel(figure, left, height - 0.51, min(wide, 2.4), 0.09)
        canvas.retention_bar(figure, bar)
    return figure


def _panel(
    axes: Axes,
    rows: list[Row],
    groups: list[str],
    sites: list[tuple[str, str]],
    slanted: bool,
) -> None:
    """Draws the cells of one repair."""
    names = {site: y for y, (site, _) in enumerate(sites)}
    columns = {group: x for x, group in enumerate(groups)}
    grid = [[math.nan] * len(groups) for _ in sites]
    axes.set_facecolor(canvas.EMPTY)
    for row in rows:
        grid[names[row["site"]]][columns[row["group"]]] = row["mean"]
    axes.imshow(grid, cmap=canvas.RETENTION, vmin=0, vmax=2, aspect="auto")
    axes.autoscale(False)
    for row in rows:
        _cell(axes, columns[row["group"]], names[row["site"]], row)
    axes.set_xticks(range(len(groups)), [printable(name, 40) for name in groups])
    axes.set_yticks([])
    axes.tick_params(
        length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=2
    )
    if slanted:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="left", va="bottom", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    axes.set_xticks([i - 0.5 for i in range(1, len(groups))], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, len(sites))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0, top=False)


def _cell(axes: Axes, x: int, y: int, row: Row) -> None:
    """The number of a cell, its hatching and its dot."""
    mean = row["mean"]
    ink = "white" if not 0.42 < mean < 1.58 else canvas.INK
    unproven = row.get("significant") is False
    if unproven:
        box = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, linewidth=0)
        box.set(hatch="/////", edgecolor="#00000026")
        axes.add_patch(box)
    text = cell_text(mean)
    if len(text) <= 6:
        axes.text(
            x, y, text, ha="center", va="center_baseline", fontsize=6.5, color=ink
        )
    if row["identifiable"] is False:
        axes.plot(x + 0.4, y - 0.3, "o", markersize=2.6, markeredgewidth=0, color=ink)


def cell_text(mean: float) -> str:
    """A retention in as few characters as a cell has room for."""
    if abs(mean) >= 10:
        return f"{mean:.0f}".replace("-", "−")
    return intervals.number(mean)


def _brackets(axes: Axes, sites: list[tuple[str, str]], inch: float) -> None:
    """Names each stage at the right of its layers; an inch is so many columns."""
    stages = [stage for _, stage in sites]
    x = axes.get_xlim()[1] + 0.06 * inch
    for stage in filter(None, dict.fromkeys(stages)):
        places = [i for i, name in enumerate(stages) if name == stage]
        first, last = places[0] - 0.35, places[-1] + 0.35
        end = x + 0.07 * inch
        axes.plot(
            [x, end, end, x], [first, first, last, last],
            color=canvas.FAINT, linewidth=0.9, clip_on=False,
        )  # fmt: skip
        axes.text(
            end + 0.06 * inch, (first + last) / 2, printable(stage, 16), va="center",
            fontsize=7,
        )  # fmt: skip
