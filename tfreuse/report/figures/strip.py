"""Images before and after a transplant: input, truth, outputs, and their errors."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import canvas

SIDE, GAP, LEFT, IMAGES = 0.92, 0.06, 1.05, 2  # inches; images shown
STATES = ("after", "recalibrated")
_ERRORS = matplotlib.colormaps["magma"]


def strip(arrays: Arrays, rows: list[Row]) -> Figure:
    """Draws a block an image: input, truth, output before, and outputs after, a column a group.

    Below each output is its error: black is none.
    """
    groups = [str(name) for name in arrays["groups"]]
    count = min(IMAGES, len(arrays["input"]))
    ratio = arrays["input"].shape[1] / arrays["input"].shape[2]
    high = SIDE * ratio
    columns = 3 + len(groups)
    width = LEFT + columns * (SIDE + GAP) + 0.3
    block = 4 * (high + GAP) + 0.2
    shares = {(r["group"], r["output"], r["image"]): r["mean_error"] for r in rows}
    height = 0.35 + count * block
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        axes = canvas.panel(figure, 0, 0, width, height)  # of all images, in inches
        for number in range(count):
            tops = [0.3 + number * block + line * (high + GAP) for line in range(4)]
            for column, name in enumerate(("input", "truth", "before")):
                _show(axes, arrays[name][number], _x(column), tops[0], high)
                if number == 0:
                    _write(axes, name, _x(column) + SIDE / 2, 0.18)
            error = arrays["before_error"][number]
            _show(axes, error, _x(2), tops[1], high)
            labels = ("as transplanted", "error", "recalibrated", "error")
            for top, label in zip(tops, labels, strict=True):
                _write(axes, label, LEFT - 0.08, top + high / 2, ha="right")
            for index, group in enumerate(groups):
                x = _x(3 + index)
                if number == 0:
                    name = printable(group, 14)
                    _write(axes, name, x + SIDE / 2, 0.18, weight="bold")
                for line, state in enumerate(STATES):
                    output = arrays[state][index, number]
                    error = arrays[f"{state}_error"][index, number]
                    _show(axes, output, x, tops[2 * line], high)
                    _show(axes, error, x, tops[2 * line + 1], high)
                    share = shares[group, state, number]
                    bottom = tops[2 * line + 1] + high - 0.09
                    box = {"facecolor": "#000000aa", "linewidth": 0, "pad": 1}
                    axes.text(x + 0.05, bottom, f"{share:.0%}", fontsize=6,
                              color="white", va="center", bbox=box)  # fmt: skip
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
    return figure


def _x(column: int) -> float:
    """Returns the left edge of a column in inches; the groups stand a little apart."""
    return LEFT + column * (SIDE + GAP) + 0.18 * (column > 2)


def _show(axes: Axes, image: np.ndarray, x: float, y: float, high: float) -> None:
    """Draws an image whose upper left corner is at x, y; all in inches."""
    axes.imshow(
        image, cmap=_ERRORS, vmin=0, vmax=255, interpolation="nearest", aspect="auto",
        extent=(x, x + SIDE, y + high, y),
    )  # fmt: skip


def _write(
    axes: Axes, text: str, x: float, y: float, ha: str = "center", **look
) -> None:
    look = {"fontsize": 7.5, "color": canvas.SOFT} | look
    axes.text(x, y, text, ha=ha, va="center", **look)


def strip_rows(arrays: Arrays) -> list[Row]:
    """Returns the mean error of every output of every image, as a share of the largest."""
    rows = [
        {"image": number, "group": "", "output": "before", "mean_error": _mean(error)}
        for number, error in enumerate(arrays["before_error"])
    ]
    for index, group in enumerate(arrays["groups"]):
        for state in STATES:
            rows += [
                {"image": number, "group": str(group), "output": state,
                 "mean_error": _mean(error)}
                for number, error in enumerate(arrays[f"{state}_error"][index])
            ]  # fmt: skip
    return rows


def _mean(error: np.ndarray) -> float:
    return float(error.mean() / 255)
