"""Curves of retention: along the network, and along the strength."""

from collections.abc import Callable

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.errors import printable
from tfreuse.report.figures import canvas, colours

WIDE, HIGH, GAP, LEFT, RIGHT = 1.75, 1.35, 0.22, 0.62, 0.15  # inches
ACROSS = 4  # panels side by side
AXIS = (-0.08, 1.15)  # of retention
_DASHES = {"none": "-", "recalibration": (0, (3, 1.5))}
_BANDS = ("other_seed", "reinitialised")
_KINDS = {
    "prefix": "from the input up to the stage",
    "suffix": "from the stage down to the output",
}


def cumulative(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Draws retention after transplants of all stages up to one, or from one on; a panel a group.

    The controls, a donor of the same task and fresh initial values, are bands: their intervals.
    """
    groups = groups_of(rows, spec)
    kinds = [kind for kind in _KINDS if any(row["site_kind"] == kind for row in rows)]
    sites = list(
        dict.fromkeys(r["site"] for r in sorted(rows, key=lambda row: row["depth"]))
    )
    foot = 0.2 + 0.046 * max(len(printable(site, 24)) for site in sites)
    across, bands = canvas.columns(len(groups), ACROSS)
    line = HIGH + foot + 0.3
    height = len(kinds) * (bands * line + 0.3) + 0.35
    width = max(LEFT + across * (WIDE + GAP) - GAP + RIGHT, 4.4)
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        for number, kind in enumerate(kinds):
            top = number * (bands * line + 0.3)
            figure.text(
                LEFT / width, 1 - (top + 0.14) / height, f"{kind}: {_KINDS[kind]}",
                fontsize=9, color=canvas.SOFT, va="center",
            )  # fmt: skip
            for index, group in enumerate(groups):
                down, column = divmod(index, across)
                axes = canvas.panel(
                    figure, LEFT + column * (WIDE + GAP),
                    top + 0.5 + down * line, WIDE, HIGH,
                )  # fmt: skip
                curve = [
                    row
                    for row in rows
                    if (row["site_kind"], row["group"]) == (kind, group)
                ]
                _along(axes, curve, sites, first=column == 0)
                canvas.title(axes, group)
        canvas.legend(figure, _entries(rows))
    return figure


def _along(axes: Axes, rows: list[Row], sites: list[str], first: bool) -> None:
    """Draws curves of one group over the sites, input at the left."""
    _retention_axis(axes, labelled=first)
    _by_control(axes, rows, lambda row: sites.index(row["site"]))
    axes.set_xlim(-0.3, len(sites) - 0.7)
    axes.set_xticks(range(len(sites)), [printable(site, 24) for site in sites])
    for label in axes.get_xticklabels():
        label.set(rotation=50, ha="right", va="top", rotation_mode="anchor")
        label.set_fontsize(6.5)


def _by_control(axes: Axes, rows: list[Row], x: Callable[[Row], float]) -> None:
    """Draws a curve of the treatment for each repair, and the controls' bands."""
    for control in (*_BANDS, "transfer"):
        for repair, dashes in _DASHES.items():
            line = [r for r in rows if (r["control"], r["repair"]) == (control, repair)]
            if not line or (control in _BANDS and repair != "none"):
                continue
            line.sort(key=x)
            thin = control in _BANDS
            look = {"linestyle": dashes, "marker": None if thin else "o"}
            look |= {"linewidth": 0.8 if thin else 1.6, "zorder": 2 if thin else 3}
            colour, name = colours.CONTROLS[control][0], f"{control} {repair}"
            _curve(axes, [x(row) for row in line], line, colour, gid=name, **look)


def _curve(axes: Axes, x: list[float], rows: list[Row], colour: str, **look) -> None:
    """Draws the means as a line, the intervals as a band."""
    low, high = ([_finite(row[end]) for row in rows] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0, zorder=1)
    axes.plot(x, [row["mean"] for row in rows], color=colour, markersize=3, **look)


def _finite(value: float) -> float:
    """Replaces the infinite end of an interval by a number beyond every axis."""
    return max(-1e6, min(1e6, value))


def _retention_axis(axes: Axes, labelled: bool) -> None:
    """Sets the same vertical axis for all panels; the first of a line has its label."""
    canvas.plain(axes)
    axes.set_ylim(*AXIS)
    axes.set_yticks([0, 0.5, 1])
    for y in (0, 1):
        axes.axhline(y, color=canvas.GRID, linewidth=0.8, zorder=0)
    if labelled:
        axes.set_ylabel("retention", labelpad=3)
    else:
        axes.set_yticklabels([])


def _entries(rows: list[Row]) -> list:
    """Returns the legend's entries: treatment by repair, then the bands."""
    drawn = {(row["control"], row["repair"]) for row in rows}
    curves = [
        canvas.line(
            f"transfer, {colours.REPAIRS[repair]}", colours.CONTROLS["transfer"][0],
            linestyle=dashes, linewidth=1.6,
        )
        for repair, dashes in _DASHES.items()
        if ("transfer", repair) in drawn
    ]  # fmt: skip
    return curves + [
        canvas.line(name, colours.CONTROLS[name][0], linewidth=5, alpha=0.35)
        for name in _BANDS
        if (name, "none") in drawn
    ]


def strengths(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Draws retention along (1 - alpha) recipient + alpha donor, a panel a group.

    All layers as a thick line with its interval, single stages as thin ones, input dark.
    """
    stages = sorted(
        {(r["depth"], r["site"]) for r in rows if r["site_kind"] == "stage"}
    )

    def draw(axes: Axes, of_group: list[Row]) -> None:
        axes.axhline(1 - spec.margin, color=canvas.FAINT, linewidth=0.8, linestyle="--")
        for number, (_, site) in enumerate(stages):
            line = _path([row for row in of_group if row["site"] == site])
            axes.plot(
                [r["alpha"] for r in line], [r["mean"] for r in line], linewidth=0.9,
                color=canvas.DEPTHS(number / max(1, len(stages) - 1)), gid=site,
            )  # fmt: skip
        whole = [r for r in of_group if r["site_kind"] == "all"]
        line = _path(whole)
        if whole:
            _curve(axes, [r["alpha"] for r in line], line, canvas.INK, linewidth=1.6,
                   marker="o", gid="all")  # fmt: skip
        star = [r["mean"] for r in whole if r["quantity"] == "alpha_star"]
        if star:
            axes.text(0.03, 0.05, f"α* = {intervals.number(star[0])}", fontsize=7,
                      transform=axes.transAxes)  # fmt: skip
        axes.set_xlim(-0.03, 1.03)

    handles = [
        canvas.line("all layers", canvas.INK, linewidth=1.6, marker="o", markersize=3)
    ]
    handles += [
        canvas.line(site, canvas.DEPTHS(i / max(1, len(stages) - 1)), linewidth=1.2)
        for i, (_, site) in enumerate(stages)
    ]
    return _grid(rows, spec, draw, "strength α", handles)


def _path(rows: list[Row]) -> list[Row]:
    """Returns a path's rows from alpha 0, where the recipient is unchanged, to 1."""
    start = {"alpha": 0.0, "mean": 1.0, "low": 1.0, "high": 1.0}
    path = [row for row in rows if row["quantity"] == "path"]
    if not any(row["alpha"] == 0 for row in path):
        path.insert(0, start)
    return sorted(path, key=lambda row: row["alpha"])


def _grid(
    rows: list[Row],
    spec: specs.StudySpec,
    draw: Callable[[Axes, list[Row]], None],
    name: str,
    handles: list,
) -> Figure:
    """Draws a panel a group, each from its rows."""
    groups = groups_of(rows, spec)
    across, down = canvas.columns(len(groups), ACROSS)
    width = max(LEFT + across * (WIDE + GAP) - GAP + RIGHT, 4.4)
    foot = 0.1 + 0.17 * -(-len(handles) // 6)
    height = down * (HIGH + 0.75) + foot
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        for number, group in enumerate(groups):
            row, column = divmod(number, across)
            x, y = LEFT + column * (WIDE + GAP), 0.3 + row * (HIGH + 0.75)
            axes = canvas.panel(figure, x, y, WIDE, HIGH)
            _retention_axis(axes, labelled=column == 0)
            draw(axes, [r for r in rows if r["group"] == group])
            axes.set_xticks([0, 0.5, 1])
            axes.set_xlabel(name, labelpad=2, fontsize=7)
            canvas.title(axes, group)
        canvas.legend(figure, handles)
    return figure
