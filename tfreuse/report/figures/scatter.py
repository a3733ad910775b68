"""Predictors of retention: retention against each of them, a dot a layer and seed."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row
from tfreuse.report.figures import canvas

SIDE, GAP, LEFT, ACROSS = 1.75, 0.3, 0.62, 3  # inches; panels side by side
NAMES = {
    "-rmse": "RMSE",
    "-relative_distance": "relative distance",
    "cosine": "cosine",
    "-z_rmse": "z of RMSE",
    "cka": "CKA of the output",
    "-output_error": "relative output error",
}


def scatter(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Draws retention of single kernels by each predictor, input dark, output bright.

    Args:
        rows: points (quantity "point") and measures, as `drawings` gives them.
        spec: the study's settings.
    """
    points = [row for row in rows if row["quantity"] == "point"]
    names = [
        name
        for name in NAMES
        if any(row[name] is not None and np.isfinite(row[name]) for row in points)
    ]
    across, down = canvas.columns(len(names), ACROSS)
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(
            LEFT + across * (SIDE + GAP), down * (SIDE + 0.72) + 0.55
        )
        for number, name in enumerate(names):
            line, column = divmod(number, across)
            axes = canvas.panel(
                figure, LEFT + column * (SIDE + GAP), 0.3 + line * (SIDE + 0.72), SIDE,
                SIDE,
            )  # fmt: skip
            _panel(axes, points, name, spec)
            _correlation(axes, rows, name)
            if column == 0:
                axes.set_ylabel("retention", labelpad=3)
            else:
                axes.set_yticklabels([])
        _depths(figure)
    return figure


def _panel(axes: Axes, points: list[Row], name: str, spec: specs.StudySpec) -> None:
    """Draws the dots of one predictor; retention beyond the axis lies at its end."""
    sign = -1 if name.startswith("-") else 1
    x = np.array([sign * row[name] for row in points], float)
    y = np.array([row["retention"] for row in points], float)
    finite = np.isfinite(x)
    colours = canvas.DEPTHS([row["depth"] for row in points])
    for level in (0, 1):
        axes.axhline(level, color=canvas.GRID, linewidth=0.8, zorder=0)
    axes.axhline(1 - spec.margin, color=canvas.FAINT, linewidth=0.8, linestyle="--")
    axes.scatter(
        x[finite], np.clip(y[finite], -0.08, 1.25), s=11, c=colours[finite], alpha=0.8,
        linewidths=0, clip_on=False,
    )  # fmt: skip
    axes.set_ylim(-0.08, 1.28)
    axes.set_yticks([0, 0.5, 1])
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel(NAMES[name], labelpad=2)
    canvas.plain(axes)


def _correlation(axes: Axes, rows: list[Row], name: str) -> None:
    """Writes the rank correlation with closeness: above 0 where the predictor works."""
    for row in rows:
        if (row["quantity"], row.get("predictor")) == ("spearman", name):
            number = intervals.number
            text = f"ρ = {number(row['mean'])} [{number(row['low'])}, {number(row['high'])}]"
            canvas.title(axes, text)


def _depths(figure: Figure) -> None:
    """Draws the scale of depths below the panels."""
    _, height = figure.get_size_inches()
    axes = canvas.panel(figure, LEFT, height - 0.36, 1.6, 0.08)
    scale = matplotlib.cm.ScalarMappable(
        matplotlib.colors.Normalize(0, 1), canvas.DEPTHS
    )
    figure.colorbar(scale, cax=axes, orientation="horizontal", ticks=[0, 1])
    axes.set_xticklabels(["input", "output"], fontsize=7)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
