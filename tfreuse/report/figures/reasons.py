"""The paper's two reasons, told apart: the class of each cell as its colour."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

COLOURS = {  # ground, ink: told apart in grey as well
    "general features": ("#00795a", "white"),
    "small difference": ("#a9d4f0", canvas.INK),
    "neither": ("#f0c9a8", canvas.INK),
    "open": ("#eceff2", "#5b6875"),
}
CELL, COLUMN = 0.36, 0.92  # inches


def two_reasons(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Why each cell did no harm: donor less random values at its distance, with the interval."""
    groups = groups_of(rows, spec)
    panels = [
        (name, own)
        for name in canvas.REPAIRS
        if (own := [row for row in rows if row["repair"] == name])
    ]
    longest = max(len(printable(row["site"], 24)) for row in rows)
    left, wide, head = 0.3 + 0.065 * max(longest, 10), COLUMN * len(groups), 0.55
    highs = [CELL * len(_sites(own)) for _, own in panels]
    width = max(left + wide + 0.2, 4.8)
    height = sum(highs) + head * len(panels) + 0.4
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        top = 0.0
        for (repair, own), high in zip(panels, highs, strict=True):
            axes = canvas.panel(figure, left, top + head, wide, high)
            top += head + high
            _panel(axes, own, groups, _sites(own))
            canvas.title(axes, canvas.REPAIRS[repair], pad=18)
        canvas.legend(
            figure,
            [Patch(color=ground, label=name) for name, (ground, _) in COLOURS.items()],
        )
    return figure


def _sites(rows: list[Row]) -> list[str]:
    """All layers first, then from input to output."""
    return [site for _, site in sorted({(row["depth"], row["site"]) for row in rows})]


def _panel(axes: Axes, rows: list[Row], groups: list[str], sites: list[str]) -> None:
    axes.set(xlim=(-0.5, len(groups) - 0.5), ylim=(len(sites) - 0.5, -0.5))
    axes.set_facecolor("white")
    for row in rows:
        x, y = groups.index(row["group"]), sites.index(row["site"])
        ground, ink = COLOURS[row["reason"]]
        box = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=ground, gid=row["reason"])
        box.set(edgecolor="white", linewidth=1.2)
        axes.add_patch(box)
        axes.text(x, y - 0.14, _signed(row["mean"]), ha="center", va="center",
                  fontsize=7, color=ink, weight="bold")  # fmt: skip
        ends = f"[{intervals.number(row['low'])}, {intervals.number(row['high'])}]"
        axes.text(x, y + 0.24, ends, ha="center", va="center", fontsize=5.5, color=ink)
    axes.set_xticks(range(len(groups)), [printable(name, 16) for name in groups])
    names = ["all layers" if s == "all" else printable(s, 24) for s in sites]
    axes.set_yticks(range(len(sites)), names)
    axes.tick_params(
        length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=2
    )
    axes.spines[:].set_visible(False)


def _signed(value: float) -> str:
    text = intervals.number(value)
    return f"+{text}" if value > 0 and text != "0.000" else text
