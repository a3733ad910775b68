"""What all figures share: canvas, fonts, colours, small multiples; and how they are saved.

Drawn with Matplotlib's objects, not with pyplot: no global state, no display needed.
"""

import io
import warnings
from collections.abc import Sequence

import matplotlib
import matplotlib.lines
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from tfreuse.errors import printable
from tfreuse.report.figures.colours import CONTROLS, GROUPS, REPAIRS  # noqa: F401

INK, SOFT, FAINT, GRID = "#1d2733", "#3d4a59", "#9aa5b1", "#e3e8ed"
EMPTY = "#f1f3f5"  # where nothing was measured
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.parse_math": False,  # a layer's name may hold a dollar sign
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "hatch.linewidth": 0.6,
}
DPI = 144
# Retention: 0 is red, 1 white, above 1 blue.
RETENTION = matplotlib.colormaps["RdBu"]
DEPTHS = LinearSegmentedColormap.from_list(  # input is dark, output bright
    "depths", matplotlib.colormaps["viridis"]([0.0, 0.25, 0.5, 0.75, 0.93])
)


def canvas(width: float, height: float) -> Figure:
    """A white figure, in inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes whose upper left corner is so many inches from the figure's."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def columns(count: int, most: int) -> tuple[int, int]:
    """How many panels side by side, at most so many and evenly, and in how many lines."""
    lines = -(-count // max(1, most))
    return -(-count // lines), lines


def plain(axes: Axes, keep: Sequence[str] = ("bottom", "left")) -> None:
    """Thin axes without a box, with short ticks."""
    for name, spine in axes.spines.items():
        spine.set_visible(name in keep)
    axes.tick_params(length=2, pad=2, labelsize=7)


def title(axes: Axes, text: str, pad: float = 5) -> None:
    axes.set_title(printable(text, 60), fontsize=8, color=SOFT, pad=pad)


def band(axes: Axes, low: float, high: float, colour: str) -> None:
    """A level stretch across the axes."""
    axes.axhspan(low, high, color=colour, alpha=0.13, linewidth=0, zorder=0)


def block(
    axes: Axes, left: float, width: float, y: float, height: float, **look
) -> None:
    """One piece of a stacked bar, centred on y; `Axes.barh` takes ten times as long."""
    axes.add_patch(Rectangle((left, y - height / 2), width, height, **look))


def retention_bar(figure: Figure, axes: Axes) -> None:
    """The colour scale of retention, lying in `axes`."""
    norm = matplotlib.colors.Normalize(0, 2)
    scale = matplotlib.cm.ScalarMappable(norm, RETENTION)
    figure.colorbar(
        scale, cax=axes, orientation="horizontal", ticks=[0, 0.5, 1, 1.5, 2]
    )
    axes.set_xticklabels(["≤ 0", "0.5", "1", "1.5", "≥ 2"], fontsize=7)
    axes.set_xlabel("retention: 0 floor, 1 as before", fontsize=7, labelpad=2)
    axes.tick_params(length=2, pad=2)
    axes.spines[:].set_visible(False)


def line(name: str, colour: str, **look) -> matplotlib.lines.Line2D:
    """A legend's entry."""
    return matplotlib.lines.Line2D(
        [], [], color=colour, label=printable(name, 40), **look
    )


def legend(figure: Figure, handles: list, columns: int = 6, bottom: float = 0) -> None:
    """One legend below the panels, `bottom` inches from the lower end."""
    figure.legend(
        handles=handles, loc="lower center", ncols=min(columns, len(handles)),
        frameon=False, fontsize=7, handlelength=2.4, columnspacing=1.4,
        bbox_to_anchor=(0.5, bottom / figure.get_size_inches()[1]),
    )  # fmt: skip


def picture(figure: Figure, exact: bool = False) -> bytes:
    """The figure as PNG: in 256 colours, a third of the bytes, or in all that it has."""
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        # a character that the font lacks becomes a box; the table and the CSV have it
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        figure.set_dpi(DPI)
        figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    if not exact:
        pixels = _in_256_colours(pixels)
    data = io.BytesIO()
    pixels.save(data, format="png", compress_level=6)
    return data.getvalue()


def _in_256_colours(pixels: Image.Image) -> Image.Image:
    """Half the colours serve what covers most (text, cells), half the rarest (a colour scale)."""
    palette = Image.new("P", (1, 1))
    values = [255, 255, 255]  # paper stays white
    some = pixels.resize(
        [max(1, side // 2) for side in pixels.size], Image.Resampling.NEAREST
    )
    for count, method in (
        (128, Image.Quantize.MEDIANCUT),
        (127, Image.Quantize.MAXCOVERAGE),
    ):
        values += some.quantize(count, method).getpalette()[: 3 * count]
    palette.putpalette(values)
    found = pixels.quantize(palette=palette, dither=Image.Dither.NONE)
    numbers = np.array(found)
    numbers[(np.asarray(pixels) == 255).all(axis=2)] = 0  # the nearest was an off-white
    exact = Image.fromarray(numbers)
    exact.putpalette(values)
    return exact
