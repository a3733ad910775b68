"""The first kernels of both networks, and how alike their layers' features are."""

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
    """Kernels as small pictures, donor's above recipient's; beside them the CKA matrix."""
    shown = min(MOST, arrays["kernels_donor"].shape[-1])
    across = min(8, shown)
    down = -(-shown // across)
    layers = [printable(str(name), 24) for name in arrays["cka_layers"]]
    names = 0.25 + 0.058 * max(map(len, layers))
    grid = across * (TILE + 0.05)
    left = 0.35 + grid + 0.45 + names
    side = max(MATRIX, 0.12 * len(layers))
    height = 0.4 + max(side + names + 0.5, 2 * (down * (TILE + 0.05) + 0.4))
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(left + side + 0.7, height)
        wall = canvas.panel(figure, 0, 0, left, height)  # one for all: in inches
        for place, who in enumerate(("donor", "recipient")):
            top = 0.4 + place * (down * (TILE + 0.05) + 0.4)
            tiles = _tiles(arrays[f"kernels_{who}"][..., :shown])
            for number, tile in enumerate(tiles):
                y, x = divmod(number, across)
                x, y = 0.35 + x * (TILE + 0.05), top + y * (TILE + 0.05)
                image = wall.imshow(
                    tile, cmap="gray", vmin=0, vmax=1, interpolation="nearest",
                    aspect="auto", extent=(x, x + TILE, y + TILE, y),
                )  # fmt: skip
                image.set_gid(who)
            _head(figure, f"{who}: {arrays['kernel_layer']}", 0.35, top - 0.12)
        wall.set(xlim=(0, left), ylim=(height, 0))
        wall.set_axis_off()
        axes = canvas.panel(figure, left, 0.4, side, side)
        _matrix(figure, axes, arrays["cka"], layers)
    return figure


def _head(figure: Figure, text: str, left: float, top: float) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, printable(text, 40), fontsize=8,
                color=canvas.SOFT)  # fmt: skip


def _tiles(kernel: np.ndarray) -> np.ndarray:
    """[kh, kw, channels, K] -> [K, kh, kw] or [K, kh, kw, 3] in [0, 1], 0.5 being zero."""
    tiles = np.moveaxis(kernel, -1, 0)
    tiles = tiles if tiles.shape[-1] == 3 else tiles.mean(axis=-1)
    reach = np.abs(tiles).reshape(len(tiles), -1).max(axis=1)
    reach = np.maximum(reach, 1e-12).reshape(-1, *(1,) * (tiles.ndim - 1))
    return 0.5 + 0.5 * tiles / reach


def _matrix(figure: Figure, axes: Axes, cka: np.ndarray, layers: list[str]) -> None:
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
    """A row a pair of layers."""
    layers = [str(name) for name in arrays["cka_layers"]]
    return [
        {"donor_layer": donor, "recipient_layer": recipient, "cka": float(value)}
        for donor, line in zip(layers, arrays["cka"], strict=True)
        for recipient, value in zip(layers, line, strict=True)
    ]
