"""Batch normalization: the donor's vectors against the recipient's, and the change of each
channel's affine map by a transplant."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import canvas

SIDE, GAP, LEFT, MOST = 1.45, 0.48, 0.6, 4  # inches; groups shown
VECTORS = ("moving mean", "moving sd", "gamma", "beta")
_MAP = ("scale a", "offset c")
_STATES = {
    "after": ("#d55e00", "as transplanted"),
    "recalibrated": ("#0072b2", "recalibrated"),
}


def norms(arrays: Arrays, rows: list[Row]) -> Figure:
    """Draws the vectors of both networks, and the maps y = a x + c of each channel.

    Above: a dot a channel, donor against recipient, input dark and output bright. Below: scale
    and offset of each channel, before against after a transplant.
    """
    groups = _first_groups([str(name) for name in arrays["groups"]])
    across = max(4, len(groups))
    width, pitch = LEFT + across * (SIDE + GAP), SIDE + 0.72
    depth = np.repeat(np.arange(len(arrays["bn_layers"])), arrays["bn_channels"])
    colours = canvas.DEPTHS(depth / max(1, len(arrays["bn_layers"]) - 1))
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, 0.3 + 3 * pitch + 0.2)
        for i, name in enumerate(VECTORS):
            axes = canvas.panel(figure, LEFT + i * (SIDE + GAP), 0.3, SIDE, SIDE)
            recipient, donor = arrays["bn_recipient"][i], arrays["bn_donor"][i]
            _scatter(axes, recipient, [(donor, colours)])
            canvas.title(axes, f"{name}   r = {_correlation(recipient, donor)}")
            axes.set_xlabel("recipient", labelpad=1, fontsize=7)
            if i == 0:
                axes.set_ylabel("donor", labelpad=1)
        for line, name in enumerate(_MAP):
            for column, (index, group) in enumerate(groups):
                top = 0.3 + (line + 1) * pitch
                axes = canvas.panel(
                    figure, LEFT + column * (SIDE + GAP), top, SIDE, SIDE
                )
                sides = [
                    (arrays[f"map_{state}"][index, line], colour)
                    for state, (colour, _) in _STATES.items()
                ]
                _scatter(axes, arrays["map_recipient"][line], sides)
                canvas.title(axes, f"{name}: {printable(group, 14)}")
                axes.set_xlabel("before", labelpad=1, fontsize=7)
                if column == 0:
                    axes.set_ylabel("after", labelpad=1)
        canvas.legend(
            figure,
            [
                canvas.line(name, colour, marker="o", linestyle="", markersize=4)
                for colour, name in _STATES.values()
            ],
        )
    return figure


def _first_groups(groups: list[str]) -> list[tuple[int, str]]:
    """Returns indices and names of the groups to draw, the usual ones first."""
    usual = [name for name in ("kernel", "affine", "stats", "all") if name in groups]
    further = [name for name in groups if name not in usual]
    return [(groups.index(name), name) for name in (*usual, *further)[:MOST]]


def _scatter(axes: Axes, x: np.ndarray, sides: list) -> None:
    """Draws dots and the identity; dots beyond the middle 98 % of all values lie at the edge."""
    values = np.concatenate([x, *(y for y, _ in sides)])
    low, high = np.quantile(values[np.isfinite(values)], [0.01, 0.99])
    low, high = low - 0.06 * (high - low) - 1e-9, high + 0.06 * (high - low) + 1e-9
    axes.plot([low, high], [low, high], color=canvas.FAINT, linewidth=0.8, zorder=0)
    for y, colour in sides:
        axes.scatter(
            np.clip(x, low, high), np.clip(y, low, high), s=5, c=colour, alpha=0.55,
            linewidths=0, clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.locator_params(nbins=4)
    canvas.plain(axes)
    axes.tick_params(labelsize=6)


def _correlation(x: np.ndarray, y: np.ndarray) -> str:
    """Returns Pearson's r as text; a dash where one side is constant."""
    if len(x) < 2 or not x.std() or not y.std():
        return "–"
    return f"{np.corrcoef(x, y)[0, 1]:.2f}".replace("-", "−")


def norm_rows(arrays: Arrays) -> list[Row]:
    """Returns a row a channel: the four vectors of both networks, and the maps."""
    layers = np.repeat(arrays["bn_layers"], arrays["bn_channels"])
    channels = np.concatenate([np.arange(n) for n in arrays["bn_channels"]])
    columns = {"layer": layers.tolist(), "channel": channels.tolist()}
    for i, name in enumerate(VECTORS):
        for side in ("donor", "recipient"):
            key = f"{side}_{name.replace(' ', '_')}"
            columns[key] = arrays[f"bn_{side}"][i].tolist()
    for line, name in enumerate(("a", "c")):
        columns[f"{name}_before"] = arrays["map_recipient"][line].tolist()
        for index, group in enumerate(arrays["groups"]):
            for state in _STATES:
                values = arrays[f"map_{state}"][index, line].tolist()
                columns[f"{name}_{state}_{group}"] = values
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]
