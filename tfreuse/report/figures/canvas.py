"""The base of Matplotlib's figures: canvas, fonts, colours, small multiples, PNG and SVG files.

Uses Matplotlib's objects and not pyplot, which would hold global state and need a display.
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
from PIL import Image

from tfreuse.errors import printable

INK, SOFT, FAINT, GRID = "#1d2733", "#3d4a59", "#9aa5b1", "#e3e8ed"
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
}
DPI = 144
DEPTHS = LinearSegmentedColormap.from_list(  # input is dark, output bright
    "depths", matplotlib.colormaps["viridis"]([0.0, 0.25, 0.5, 0.75, 0.93])
)


def canvas(width: float, height: float) -> Figure:
    """Returns a white figure of a size in inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Adds axes whose upper left corner is x, y inches from the figure's upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((x / w, 1 - (y + height) / h, width / w, height / h))


def columns(count: int, most: int) -> tuple[int, int]:
    """Distributes panels evenly: returns their number a line, at most `most`, and the lines."""
    lines = -(-count // max(1, most))
    return -(-count // lines), lines


def plain(axes: Axes, keep: Sequence[str] = ("bottom", "left")) -> None:
    """Removes the box of axes, except the spines to keep, and shortens their ticks."""
    for name, spine in axes.spines.items():
        spine.set_visible(name in keep)
    axes.tick_params(length=2, pad=2, labelsize=7)


def title(axes: Axes, text: str, pad: float = 5) -> None:
    axes.set_title(printable(text, 60), fontsize=8, color=SOFT, pad=pad)


def line(name: str, colour: str, **look) -> matplotlib.lines.Line2D:
    """Returns an entry of a legend."""
    return matplotlib.lines.Line2D(
        [], [], color=colour, label=printable(name, 40), **look
    )


def legend(figure: Figure, handles: list, columns: int = 6, bottom: float = 0) -> None:
    """Adds one legend below the panels, `bottom` inches from the lower end."""
    figure.legend(
        handles=handles, loc="lower center", ncols=min(columns, len(handles)),
        frameon=False, fontsize=7, handlelength=2.4, columnspacing=1.4,
        bbox_to_anchor=(0.5, bottom / figure.get_size_inches()[1]),
    )  # fmt: skip


def picture(figure: Figure) -> bytes:
    """Returns a figure as PNG in 256 colours, a third of the bytes."""
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        # a character that the font lacks becomes a box; the table and the CSV have it
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        figure.set_dpi(DPI)
        figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    data = io.BytesIO()
    _in_256_colours(pixels).save(data, format="png", compress_level=6)
    return data.getvalue()


def vector(figure: Figure) -> bytes:
    """Returns a figure as SVG with its text as text: the same bytes for the same figure."""
    data = io.BytesIO()
    settings = STYLE | {"svg.fonttype": "none", "svg.hashsalt": "tfreuse"}
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing")
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _in_256_colours(pixels: Image.Image) -> Image.Image:
    """Reduces an image to 256 colours.

    Half of them represent the largest areas (text, cells), half the rarest colours (a scale).
    """
    palette = Image.new("P", (1, 1))
    values = [255, 255, 255]  # paper stays white
    sample = pixels.resize(
        [max(1, side // 2) for side in pixels.size], Image.Resampling.NEAREST
    )
    for count, method in (
        (128, Image.Quantize.MEDIANCUT),
        (127, Image.Quantize.MAXCOVERAGE),
    ):
        values += sample.quantize(count, method).getpalette()[: 3 * count]
    palette.putpalette(values)
    numbers = np.array(pixels.quantize(palette=palette, dither=Image.Dither.NONE))
    numbers[(np.asarray(pixels) == 255).all(axis=2)] = 0  # else an off-white
    exact = Image.fromarray(numbers)
    exact.putpalette(values)
    return exact
