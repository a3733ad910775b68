"""Forest plots: every arm of all layers, a dot a seed, the mean with its interval."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

AXIS = (-0.25, 1.35)  # of retention; what lies outside is an arrow
LINE, PANEL, GAP, LEFT, RIGHT, TOP = 0.2, 2.55, 1.35, 1.95, 1.25, 0.42  # inches
_PAIRS = (  # repairs side by side
    ("none", "recalibration"),
    ("permutation", "permutation+recalibration"),
    ("stitch", "fine_tuning"),
)


def forest(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """The arms of all layers with the declared margins; two repairs side by side."""
    held = {row["repair"] for row in rows}
    shown = [
        pair for names in _PAIRS if (pair := [name for name in names if name in held])
    ]
    blocks = [
        (pair, _places([row for row in rows if row["repair"] in pair]))
        for pair in shown
    ]
    across = max(map(len, shown))
    highs = [LINE * (max(places.values()) + 0.6) for _, places in blocks]
    controls = [c for c in canvas.CONTROLS if any(row["control"] == c for row in rows)]
    foot = 0.36 + 0.17 * -(-len(controls) // 6)
    width = LEFT + RIGHT + across * PANEL + (across - 1) * GAP
    height = sum(highs) + len(blocks) * (TOP + 0.3) + foot
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        top = 0.0
        for (pair, places), high in zip(blocks, highs, strict=True):
            top += TOP
            for number, repair in enumerate(pair):
                axes = canvas.panel(
                    figure, LEFT + number * (PANEL + GAP), top, PANEL, high
                )
                axes.set_ylim(max(places.values()) + 0.7, 0.3)
                own = [row for row in rows if row["repair"] == repair]
                _panel(axes, own, places, spec)
                canvas.title(axes, canvas.REPAIRS[repair])
                if number == 0:
                    _labels(axes, places)
            top += high + 0.3
        canvas.legend(figure, [_handle(name) for name in controls])
    return figure


def _places(rows: list[Row]) -> dict[tuple[str, str], float]:
    """How far down each group and control is drawn; groups stand apart."""
    lines = list(dict.fromkeys((row["group"], row["control"]) for row in rows))
    places, y = {}, 0.0
    for number, line in enumerate(lines):
        y += 1.0 + 0.55 * (number > 0 and line[0] != lines[number - 1][0])
        places[line] = y
    return places


def _panel(
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
        axes.axvline(x, color=canvas.FAINT, linewidth=0.8, linestyle=style, zorder=0)
        if name:
            axes.text(
                x - 0.015, axes.get_ylim()[0] - 0.12, name, fontsize=6, ha="right",
                color="#5b6875",
            )  # fmt: skip
    for control, look in canvas.CONTROLS.items():
        own = [row for row in rows if row["control"] == control]
        if own:
            ys = [places[row["group"], control] for row in own]
            _arms(axes, own, ys, *look)
    canvas.plain(axes, keep=("bottom",))
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("retention", labelpad=2)


def _arms(
    axes: Axes, rows: list[Row], ys: list[float], colour: str, marker: str
) -> None:
    """Seeds, means, intervals and their numbers of one control."""
    seeds = [
        (value, y - 0.27)
        for row, y in zip(rows, ys, strict=True)
        for value in map(float, row["retentions"].split())
    ]
    _marks(axes, seeds, colour, "o", size=3, alpha=0.6)
    ends = np.clip([[row["low"], row["high"]] for row in rows], *AXIS)
    axes.hlines(ys, ends[:, 0], ends[:, 1], color=colour, linewidth=1.6)
    means = [(row["mean"], y) for row, y in zip(rows, ys, strict=True)]
    _marks(axes, means, colour, marker, size=5.5, alpha=1)
    for row, y in zip(rows, ys, strict=True):
        text = (
            f"{intervals.number(row['mean'])} "
            f"[{intervals.number(row['low'])}, {intervals.number(row['high'])}]"
        )
        axes.text(AXIS[1] + 0.03, y, text, va="center", fontsize=6.5)


def _marks(
    axes: Axes,
    points: list[tuple[float, float]],
    colour: str,
    marker: str,
    size: float,
    alpha: float,
) -> None:
    """Marks; at the axis's ends arrows for what lies beyond it."""
    kinds: dict[str, list[tuple[float, float]]] = {}
    for x, y in points:
        kind = "<" if x < AXIS[0] else ">" if x > AXIS[1] else marker
        kinds.setdefault(kind, []).append((x, y))
    for kind, found in kinds.items():
        xs, ys = np.transpose(found)
        axes.plot(
            np.clip(xs, AXIS[0] + 0.02, AXIS[1] - 0.02), ys, kind, markersize=size,
            color=colour, alpha=alpha, markeredgewidth=0, clip_on=False,
        )  # fmt: skip


def _labels(axes: Axes, places: dict[tuple[str, str], float]) -> None:
    """The controls beside their lines, each group's name at its first."""
    named = set()
    for (group, control), y in places.items():
        axes.text(AXIS[0] - 0.05, y, control, ha="right", va="center", fontsize=7.5)
        if group not in named:
            named.add(group)
            axes.text(
                AXIS[0] - 0.62, y, printable(group, 16), ha="right", va="center",
                fontsize=8, weight="bold",
            )  # fmt: skip


def _handle(control: str):
    """A control's entry in the legend."""
    colour, marker = canvas.CONTROLS[control]
    return canvas.line(control, colour, marker=marker, markersize=5, linewidth=1.6)
