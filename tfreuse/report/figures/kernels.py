"""The first kernels of both networks, and the similarity of their layers' features."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.arrays import Arrays
from tfreuse.report.figures import canvas

TILE, MATRIX, MOST = 0.3, 3.0, 32  # inches; kernels shown


def kernels(arrays: Arrays, rows: list[Row]) -> Figure:
    """Draws kernels as small images, donor's above recipient's, and the CKA matrix."""
    count = min(MOST, arrays["kernels_donor"].shape[-1])
    across = min(8, count)
    down = -(-count // across)
    layers = [printable(str(name), 24) for name in arrays["cka_layers"]]
    names = 0.25 + 0.058 * max(map(len, layers))
    grid = across * (TILE + 0.05)
    edge = 0.35 + grid + 0.45 + names  # of the matrix
    side = max(MATRIX, 0.12 * len(layers))
    height = 0.4 + max(side + names + 0.5, 2 * (down * (TILE + 0.05) + 0.4))
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(edge + side + 0.7, height)
        wall = canvas.panel(figure, 0, 0, edge, height)  # of all tiles, in inches
        for index, network in enumerate(("donor", "recipient")):
            top = 0.4 + index * (down * (TILE + 0.05) + 0.4)
            tiles = _tiles(arrays[f"kernels_{network}"][..., :count])
            for number, tile in enumerate(tiles):
                y, x = divmod(number, across)
                x, y = 0.35 + x * (TILE + 0.05), top + y * (TILE + 0.05)
                image = wall.imshow(
                    tile, cmap="gray", vmin=0, vmax=1, interpolation="nearest",
                    aspect="auto", extent=(x, x + TILE, y + TILE, y),
                )  # fmt: skip
                image.set_gid(network)
            _head(figure, f"{network}: {arrays['kernel_layer']}", 0.35, top - 0.12)
        wall.set(xlim=(0, edge), ylim=(height, 0))
        wall.set_axis_off()
        axes = canvas.panel(figure, edge, 0.4, side, side)
        _matrix(figure, axes, arrays["cka"], layers)
    return figure


def _head(figure: Figure, text: str, x: float, y: float) -> None:
    """Writes a heading at a position in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(x / width, 1 - y / height, printable(text, 40), fontsize=8,
                color=canvas.SOFT)  # fmt: skip


def _tiles(kernel: np.ndarray) -> np.ndarray:
    """Scales kernels [kh, kw, channels, K] to [K, kh, kw] or [K, kh, kw, 3] in [0, 1]; 0 is 0.5."""
    tiles = np.moveaxis(kernel, -1, 0)
    tiles = tiles if tiles.shape[-1] == 3 else tiles.mean(axis=-1)
    reach = np.abs(tiles).reshape(len(tiles), -1).max(axis=1)
    reach = np.maximum(reach, 1e-12).reshape(-1, *(1,) * (tiles.ndim - 1))
    return 0.5 + 0.5 * tiles / reach


def _matrix(figure: Figure, axes: Axes, cka: np.ndarray, layers: list[str]) -> None:
    """Draws CKA of each layer of the donor, downwards, with each of the recipient."""
    image = axes.imshow(cka, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    size = max(4.0, min(7.0, 180 / max(1, len(layers))))
    axes.set_xticks(range(len(layers)), layers, rotation=60, ha="right",
                    rotation_mode="anchor", fontsize=size)  # fmt: skip
    axes.set_yticks(range(len(layers)), layers, fontsize=size)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("recipient", labelpad=3)
    axes.set_ylabel("donor", labelpad=3)
    canvas.title(axes, "debiased linear CKA of features")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.03, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=7)


def cka_rows(arrays: Arrays) -> list[Row]:
    """Returns a row a pair of layers."""
    layers = [str(name) for name in arrays["cka_layers"]]
    return [
        {"donor_layer": donor, "recipient_layer": recipient, "cka": float(value)}
        for donor, line in zip(layers, arrays["cka"], strict=True)
        for recipient, value in zip(layers, line, strict=True)
    ]
