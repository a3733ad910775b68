"""Moving statistics against those that images cause: a curve over the layers, as PNG and SVG."""

from collections.abc import Sequence
from math import ceil, log10
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

PANELS = {
    "mean_shift": "|mean shift| / sd",
    "log_variance_ratio": "|log variance ratio|",
}
LEFT, WIDE, HIGH, GAP = 0.75, 6.2, 1.5, 0.35  # inches
_FAR = 20  # times the median, from which on the axis is logarithmic above the median
_NAMED = 30  # layers whose names stand at the axis
_COLOUR = "#0072b2"


def draw(rows: Sequence[Row], title: str, headline: str = "") -> Figure:
    """Draws the median over channels of each layer, and the range of the middle half of them.

    Args:
        rows: a layer each, with "layer", and for each of PANELS "NAME", "NAME_low", "NAME_high".
        title: of the figure.
        headline: line under the title, "" for none.
    """
    names = [printable(row["layer"], 28) for row in rows]
    longest = max(map(len, names)) if len(rows) <= _NAMED else 0
    foot = 0.45 + 0.052 * longest
    with matplotlib.rc_context(canvas.STYLE):
        start = 0.6 if headline else 0.4
        height = start + len(PANELS) * (HIGH + GAP) + foot
        figure = canvas.canvas(LEFT + WIDE + 0.2, height)
        for number, (key, label) in enumerate(PANELS.items()):
            top = start + number * (HIGH + GAP)
            axes = canvas.panel(figure, LEFT, top, WIDE, HIGH)
            _curve(axes, rows, key)
            axes.set_ylabel(label, labelpad=3)
            is_last = number == len(PANELS) - 1
            if len(rows) <= _NAMED:
                labels = names if is_last else []
                axes.set_xticks(range(len(rows)), labels or [""] * len(rows))
                axes.tick_params(axis="x", rotation=90)
            elif is_last:
                axes.set_xlabel("batch normalization, from input to output", labelpad=2)
        figure.text(
            LEFT / (LEFT + WIDE + 0.2), 1 - 0.2 / height, printable(title, 100),
            fontsize=9, color=canvas.INK, va="center",
        )  # fmt: skip
        figure.text(
            LEFT / (LEFT + WIDE + 0.2), 1 - 0.4 / height, printable(headline, 130),
            fontsize=7, color=canvas.SOFT, va="center",
        )  # fmt: skip
        canvas.legend(
            figure,
            [
                canvas.line(
                    "median over the layer's channels",
                    _COLOUR,
                    marker="o",
                    markersize=3,
                ),
                canvas.line(
                    "middle half of the channels", _COLOUR, linewidth=5, alpha=0.16
                ),
            ],
        )
    return figure


def _curve(axes: Axes, rows: Sequence[Row], key: str) -> None:
    x = list(range(len(rows)))

    def column(end: str = "") -> list[Any]:
        return [row[key + end] for row in rows]

    axes.fill_between(
        x, column("_low"), column("_high"), color=_COLOUR, alpha=0.16, linewidth=0
    )
    axes.plot(
        x, column(), color=_COLOUR, linewidth=1.3, marker="o", markersize=3, gid=key
    )
    middle = float(np.median(column()))
    if max(column()) > _FAR * middle > 0:  # one layer would flatten all others
        axes.set_yscale("symlog", linthresh=middle)
        powers = range(ceil(log10(middle)), ceil(log10(max(column()))) + 1)
        axes.set_yticks([0, *(10.0**power for power in powers)])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.grid(axis="y", color=canvas.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    canvas.plain(axes)
