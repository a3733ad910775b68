"""Pictures of what a transplant does: input, truth, output before and after, and errors."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse.errors import printable
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import canvas
from tfreuse.report.tables import Row

SIDE, GAP, LEFT, IMAGES = 0.92, 0.06, 1.05, 2  # inches; images shown
_STATES = {"after": "as transplanted", "recalibrated": "recalibrated"}
_ERRORS = matplotlib.colormaps["magma"]


def strip(arrays: Arrays, rows: list[Row]) -> Figure:
    """A block an image: what went in, what came out before, and what after, a column a group.

    Below each output is its error: black is none.
    """
    groups = [str(name) for name in arrays["groups"]]
    count = min(IMAGES, len(arrays["input"]))
    ratio = arrays["input"].shape[1] / arrays["input"].shape[2]
    high = SIDE * ratio
    columns = 3 + len(groups)
    width = LEFT + columns * (SIDE + GAP) + 0.3
    block = 4 * (high + GAP) + 0.2
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, 0.35 + count * block)

        def show(image: np.ndarray, column: int, line: int, number: int) -> Axes:
            left = LEFT + column * (SIDE + GAP) + 0.18 * (column > 2)
            top = 0.3 + number * block + line * (high + GAP)
            axes = canvas.panel(figure, left, top, SIDE, high)
            axes.imshow(image, interpolation="nearest", aspect="auto", cmap=_ERRORS,
                        vmin=0, vmax=255)  # fmt: skip
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            return axes

        for number in range(count):
            for column, name in enumerate(("input", "truth", "before")):
                axes = show(arrays[name][number], column, 0, number)
                if number == 0:
                    axes.set_title(name, fontsize=8, pad=4, color=canvas.SOFT)
            axes = show(arrays["before_error"][number], 2, 1, number)
            _label(axes, "error", -2 * (SIDE + GAP))
            for place, group in enumerate(groups):
                for line, (state, told) in enumerate(_STATES.items()):
                    image = show(
                        arrays[state][place, number], 3 + place, 2 * line, number
                    )
                    error = arrays[f"{state}_error"][place, number]
                    below = show(error, 3 + place, 2 * line + 1, number)
                    _share(below, rows, group, state, number)
                    if place == 0:
                        _label(image, told, -3 * (SIDE + GAP) - 0.18)
                    if place == 0 and line:
                        _label(below, "error", -3 * (SIDE + GAP) - 0.18)
                    if number == line == 0:
                        name = printable(group, 14)
                        image.set_title(name, fontsize=8, pad=4, weight="bold")
    return figure


def _label(axes: Axes, text: str, shift: float) -> None:
    """At the left of the figure, on the height of `axes`."""
    axes.text(
        (shift - 0.08) / SIDE, 0.5, text, transform=axes.transAxes, ha="right",
        va="center", fontsize=7, color=canvas.SOFT,
    )  # fmt: skip


def _share(axes: Axes, rows: list[Row], group: str, state: str, number: int) -> None:
    """The mean error, in the corner of its map."""
    for row in rows:
        if (row["group"], row["output"], row["image"]) == (group, state, number):
            axes.text(
                0.05, 0.07, f"{row['mean_error']:.0%}", fontsize=6, color="white",
                transform=axes.transAxes,
                bbox={"facecolor": "#000000aa", "linewidth": 0, "pad": 1},
            )  # fmt: skip


def strip_rows(arrays: Arrays) -> list[Row]:
    """The mean error of every output of every image, in parts of the largest."""
    rows = [
        {"image": number, "group": "", "output": "before", "mean_error": _mean(error)}
        for number, error in enumerate(arrays["before_error"])
    ]
    for place, group in enumerate(arrays["groups"]):
        for state in _STATES:
            rows += [
                {"image": number, "group": str(group), "output": state,
                 "mean_error": _mean(error)}
                for number, error in enumerate(arrays[f"{state}_error"][place])
            ]  # fmt: skip
    return rows


def _mean(error: np.ndarray) -> float:
    return float(error.mean() / 255)
