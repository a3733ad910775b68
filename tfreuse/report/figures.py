"""The figures of a report, drawn from rows of `tables` and saved with a CSV twin of them.

Drawn with Matplotlib's objects, not with pyplot: no global state, no display needed.
"""

import csv
import io
import math
import pathlib
import warnings

import matplotlib
import matplotlib.lines
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfreuse import files, specs, statistics
from tfreuse.errors import printable
from tfreuse.report.tables import CONTROL_ORDER, Row, groups_of, sites_of

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.parse_math": False,  # a layer's name may hold a dollar sign
    "text.color": "#1d2733",
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": "#3d4a59",
    "xtick.color": "#3d4a59",
    "ytick.color": "#3d4a59",
}
PANELS = {"none": "as transplanted", "recalibration": "after recalibration"}
COLOURS = {  # Okabe and Ito: told apart by colour-blind readers too
    "transfer": "#0072b2",
    "other_seed": "#009e73",
    "self": "#8a94a0",
    "defaults": "#e69f00",
    "reinitialised": "#d55e00",
}
AXIS = (-0.25, 1.35)  # of retention in the forest plot; what lies outside is an arrow


def save(figure: Figure, rows: list[Row], directory: pathlib.Path, name: str) -> None:
    """Writes `<name>.png` and, with the same rows, `<name>.csv`."""
    picture = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        # a character that the font lacks becomes a box; the table and the CSV have it
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        figure.savefig(picture, format="png", dpi=160, metadata={"Software": None})
    with files.replacing(directory / f"{name}.png") as path:
        path.write_bytes(picture.getvalue())
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(directory / f"{name}.csv", text.getvalue())


def heat_map(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Sites, input at the top, by groups; one panel a repair; colour is anchored at 1."""
    groups, sites = groups_of(rows, spec), sites_of(rows)
    repairs = [name for name in PANELS if any(row["repair"] == name for row in rows)]
    left = 0.35 + 0.068 * max(len(printable(site, 40)) for site, _ in sites)
    right = 1.15 if any(stage != site for site, stage in sites) else 0.2
    panel, gap = max(0.56 * len(groups), 1.7), 0.25
    width = max(left + right + len(repairs) * panel + (len(repairs) - 1) * gap, 4.6)
    top, bottom = 0.62, 0.72
    height = top + bottom + 0.235 * len(sites)
    with matplotlib.rc_context(STYLE):
        figure = _canvas(width, height)
        for number, repair in enumerate(repairs):
            box = (
                (left + number * (panel + gap)) / width,
                bottom / height,
                panel / width,
                0.235 * len(sites) / height,
            )
            axes = figure.add_axes(box)
            cells = [row for row in rows if row["repair"] == repair]
            image = _heat_panel(axes, cells, groups, sites, PANELS[repair])
            if number == 0:
                axes.set_yticks(
                    range(len(sites)), [printable(site, 40) for site, _ in sites]
                )
        if right > 1:
            _brackets(axes, sites, len(groups) / panel)
        bar = figure.add_axes(
            (left / width, 0.42 / height, panel / width, 0.09 / height)
        )
        figure.colorbar(
            image, cax=bar, orientation="horizontal", ticks=[0, 0.5, 1, 1.5, 2]
        )
        bar.set_xticklabels(["≤ 0", "0.5", "1", "1.5", "≥ 2"], fontsize=7)
        bar.set_xlabel("retention: 0 floor, 1 as before", fontsize=7, labelpad=2)
        bar.tick_params(length=2, pad=2)
        bar.spines[:].set_visible(False)
    return figure


def _heat_panel(
    axes: Axes,
    rows: list[Row],
    groups: list[str],
    sites: list[tuple[str, str]],
    title: str,
):
    """Draws the cells of one repair; returns the image, for the colour bar."""
    names = [site for site, _ in sites]
    grid = [[math.nan] * len(groups) for _ in sites]
    for row in rows:
        grid[names.index(row["site"])][groups.index(row["group"])] = row["mean"]
    axes.set_facecolor("#f1f3f5")
    image = axes.imshow(grid, cmap="RdBu", vmin=0, vmax=2, aspect="auto")
    axes.autoscale(False)
    for row in rows:
        y, x = names.index(row["site"]), groups.index(row["group"])
        mean = row["mean"]
        text = (
            f"{mean:.0f}".replace("-", "−")
            if abs(mean) >= 10
            else statistics.number(mean)
        )
        dark = not 0.42 < mean < 1.58
        if len(text) <= 6:
            axes.text(
                x, y, text, ha="center", va="center_baseline", fontsize=6.5,
                color="white" if dark else "#1d2733",
            )  # fmt: skip
        if row["identifiable"] is False:
            axes.plot(
                x + 0.4, y - 0.3, "o", markersize=2.6, markeredgewidth=0,
                color="white" if dark else "#1d2733",
            )  # fmt: skip
    axes.set_title(title, fontsize=8, color="#3d4a59", pad=20)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_yticks([])
    axes.tick_params(
        length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=2
    )
    axes.spines[:].set_visible(False)
    axes.set_xticks([i - 0.5 for i in range(1, len(groups))], minor=True)
    axes.set_yticks([i - 0.5 for i in range(1, len(sites))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0, top=False)
    return image


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
            color="#9aa5b1", linewidth=0.9, clip_on=False,
        )  # fmt: skip
        axes.text(
            end + 0.06 * inch, (first + last) / 2, printable(stage, 16), va="center",
            fontsize=7,
        )  # fmt: skip


def forest(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Every arm of all layers: a dot a seed, the mean with its interval, the declared margins."""
    repairs = [name for name in PANELS if any(row["repair"] == name for row in rows)]
    lines = list(dict.fromkeys((row["group"], row["control"]) for row in rows))
    places, y = {}, 0.0
    for number, line in enumerate(lines):
        y += 1.0 + 0.55 * (number > 0 and line[0] != lines[number - 1][0])
        places[line] = y
    bottom, top, left, right, gap, panel = 0.78, 0.42, 1.62, 1.25, 1.35, 2.55
    width = left + right + len(repairs) * panel + (len(repairs) - 1) * gap
    height = top + bottom + 0.2 * (y + 0.6)
    with matplotlib.rc_context(STYLE):
        figure = _canvas(width, height)
        for number, repair in enumerate(repairs):
            axes = figure.add_axes(
                (
                    (left + number * (panel + gap)) / width,
                    bottom / height,
                    panel / width,
                    1 - (top + bottom) / height,
                )
            )
            axes.set_ylim(y + 0.7, 0.3)
            _forest_panel(
                axes, [r for r in rows if r["repair"] == repair], places, spec
            )
            axes.set_title(PANELS[repair], fontsize=8, color="#3d4a59", pad=6)
            if number == 0:
                _forest_labels(axes, places)
        _legend(
            figure, [c for c in CONTROL_ORDER if any(c == line[1] for line in lines)]
        )
    return figure


def _forest_panel(
    axes: Axes,
    rows: list[Row],
    places: dict[tuple[str, str], float],
    spec: specs.StudySpec,
) -> None:
    """Draws the arms with one repair."""
    axes.set_xlim(*AXIS)
    for x, style, name in (
        (0.0, "-", ""), (1.0, "-", ""), (1 - spec.margin, "--", f"{1 - spec.margin:g}"),
        (spec.large, ":", f"{spec.large:g}"),
    ):  # fmt: skip
        axes.axvline(x, color="#9aa5b1", linewidth=0.8, linestyle=style, zorder=0)
        if name:
            axes.text(
                x - 0.015, axes.get_ylim()[0] - 0.12, name, fontsize=6, ha="right",
                color="#5b6875",
            )  # fmt: skip
    for row in rows:
        y = places[row["group"], row["control"]]
        colour = COLOURS.get(row["control"], "#3d4a59")
        for value in map(float, row["retentions"].split()):
            _mark(axes, value, y - 0.27, colour, size=3, alpha=0.6)
        low, high = (min(max(row[end], AXIS[0]), AXIS[1]) for end in ("low", "high"))
        axes.plot(
            [low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt"
        )
        _mark(axes, row["mean"], y, colour, size=5.5, alpha=1)
        text = (
            f"{statistics.number(row['mean'])} "
            f"[{statistics.number(row['low'])}, {statistics.number(row['high'])}]"
        )
        axes.text(AXIS[1] + 0.03, y, text, va="center", fontsize=6.5)
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1])
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_xlabel("retention", labelpad=2)
    axes.tick_params(length=2, pad=2)


def _mark(
    axes: Axes, x: float, y: float, colour: str, size: float, alpha: float
) -> None:
    """A dot; at the axis's end an arrow for what lies beyond it."""
    marker = "<" if x < AXIS[0] else ">" if x > AXIS[1] else "o"
    axes.plot(
        min(max(x, AXIS[0] + 0.02), AXIS[1] - 0.02), y, marker, markersize=size,
        color=colour, alpha=alpha, markeredgewidth=0, clip_on=False,
    )  # fmt: skip


def _forest_labels(axes: Axes, places: dict[tuple[str, str], float]) -> None:
    """The controls beside their lines, each group's name at its first."""
    named = set()
    for (group, control), y in places.items():
        axes.text(AXIS[0] - 0.05, y, control, ha="right", va="center", fontsize=7.5)
        if group not in named:
            named.add(group)
            axes.text(
                AXIS[0] - 0.62,
                y,
                group,
                ha="right",
                va="center",
                fontsize=8,
                weight="bold",
            )


def _legend(figure: Figure, controls: list[str]) -> None:
    """One entry a control below the panels, and what the marks mean."""
    handles = [
        matplotlib.lines.Line2D(
            [],
            [],
            color=COLOURS[name],
            marker="o",
            markersize=5,
            linewidth=1.6,
            label=name,
        )
        for name in controls
    ]
    figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False,
        fontsize=7, bbox_to_anchor=(0.5, 0.0), handlelength=1.6,
    )  # fmt: skip


def _canvas(width: float, height: float) -> Figure:
    """A white figure, in inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure
