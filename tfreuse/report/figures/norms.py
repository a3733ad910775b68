"""Batch normalization: the donor's vectors against the recipient's, and the change of each
channel's affine map by a transplant."""

from collections.abc import Sequence

import numpy as np

from tfreuse.analysis.tables import Row
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import colours, marks, svg

SIDE, LEFT, TOP, RIGHT, MOST = 110, 50, 22, 12, 4  # px; groups shown
FINE = 2  # steps a pixel that a dot's place is rounded to
LAYERS = 2  # of dots over each other, so that many at one place are darker
VECTORS = ("moving mean", "moving sd", "gamma", "beta")
_MAP = ("scale a", "offset c")
_STATES = {
    "after": ("#d55e00", "as transplanted"),
    "recalibrated": ("#0072b2", "recalibrated"),
}
Dots = tuple[np.ndarray, np.ndarray, str]  # x, y, colour


def norms(arrays: Arrays, rows: list[Row]) -> list[svg.Drawing]:
    """Draws the vectors of both networks, and the maps y = a x + c of each channel.

    First a dot a channel, donor against recipient, input dark and output bright. Then scale and
    offset of each channel, before against after a transplant.
    """
    depth = np.repeat(np.arange(len(arrays["bn_layers"])), arrays["bn_channels"])
    panels = []
    for i, name in enumerate(VECTORS):
        recipient, donor = arrays["bn_recipient"][i], arrays["bn_donor"][i]
        title = f"{name}   r = {_correlation(recipient, donor)}"
        dots = [
            (recipient[depth == layer], donor[depth == layer], colour)
            for layer, colour in enumerate(_depths(len(arrays["bn_layers"])))
        ]
        panels.append(_panel(title, ("recipient", "donor"), dots))
    for line, name in enumerate(_MAP):
        for index, group in _first_groups([str(name) for name in arrays["groups"]]):
            before = arrays["map_recipient"][line]
            dots = [
                (before, arrays[f"map_{state}"][index, line], colour)
                for state, (colour, _) in _STATES.items()
            ]
            panels.append(_panel(f"{name}: {group}", ("before", "after"), dots))
    entries = [(name, colours.themed(colour), "o") for colour, name in _STATES.values()]
    return [*panels, marks.legend("norms", entries)]


def _depths(layers: int) -> list[str]:
    """Returns a colour a layer of batch normalization: input dark, output bright."""
    return [colours.depth(layer / max(1, layers - 1)) for layer in range(layers)]


def _first_groups(groups: list[str]) -> list[tuple[int, str]]:
    """Returns indices and names of the groups to draw, the usual ones first."""
    usual = [name for name in ("kernel", "affine", "stats", "all") if name in groups]
    further = [name for name in groups if name not in usual]
    return [(groups.index(name), name) for name in (*usual, *further)[:MOST]]


def _panel(title: str, names: tuple[str, str], dots: Sequence[Dots]) -> svg.Drawing:
    """Draws dots and the identity; dots beyond the middle 98 % of all values lie at the edge."""
    edge, bottom = LEFT + SIDE, TOP + SIDE
    drawing = svg.Drawing(edge + RIGHT, bottom + 32, "norms", title)
    drawing.text(8, 12, svg.fitted(title, edge + RIGHT - 8), class_="ink")
    values = np.concatenate([*(x for x, _, _ in dots), *(y for _, y, _ in dots)])
    low, high = np.quantile(values[np.isfinite(values)], [0.01, 0.99])
    low, high = low - 0.06 * (high - low) - 1e-9, high + 0.06 * (high - low) + 1e-9
    x, y = marks.Axis(low, high, LEFT, edge), marks.Axis(low, high, bottom, TOP)
    with drawing.group(font_size=9):
        for value in marks.ticks(low, high, 4):
            text = f"{value:g}".replace("-", "−")
            drawing.text(x(value), bottom + 14, text, "middle")
            drawing.text(LEFT - 5, y(value) + 3, text, "end")
    drawing.line(LEFT, bottom, edge, bottom, class_="axis")
    drawing.line(LEFT, TOP, LEFT, bottom, class_="axis")
    drawing.line(LEFT, bottom, edge, TOP, class_="grid")
    drawing.text(LEFT + SIDE / 2, bottom + 28, names[0], "middle")
    middle = TOP + SIDE / 2
    turn = f"rotate(-90 10 {middle:g})"
    drawing.text(10, middle, names[1], "middle", transform=turn)
    move = f"translate({LEFT} {TOP})scale({1 / FINE:g})"
    with drawing.group(transform=move, class_="dots"):
        for across, up, colour in dots:
            positions = _positions(across, up, low, high)
            for start in range(LAYERS if len(positions) > LAYERS else 1):
                step = LAYERS if len(positions) > LAYERS else 1
                path = _path(positions[start::step])
                drawing.path(path, stroke=colours.themed(colour))
    return drawing


def _positions(x: np.ndarray, y: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns the positions of finite dots in steps from the upper left corner, [n, 2], sorted."""
    points = np.stack([x, y], axis=1)[np.isfinite(x) & np.isfinite(y)]
    share = (np.clip(points, low, high) - low) / (high - low)
    share[:, 1] = 1 - share[:, 1]
    steps = np.rint(share * SIDE * FINE).astype(int)
    return steps[np.lexsort(steps.T[::-1])]


def _path(positions: np.ndarray) -> str:
    """Returns a path of lines without length, whose round ends are dots."""
    moves = np.diff(positions, axis=0, prepend=[[0, 0]])
    return "".join(f"m{x}{y if y < 0 else f' {y}'}z" for x, y in moves.tolist())


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
