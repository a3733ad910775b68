"""Label curves and label savings: a panel a donor, a line a recipe."""

import math

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfreuse.analysis.tables import Row
from tfreuse.report.figures import canvas

WIDE, HIGH, GAP, LEFT = 2.7, 2.1, 0.55, 0.7  # inches, like the next
RIGHT, TOP, FOOT = 0.2, 0.35, 0.7
ACROSS = 3  # panels side by side
# Okabe and Ito's colours first, for what is compared most.
LOOKS = {
    "scratch": (canvas.SOFT, "o"),
    "encoder": ("#0072b2", "s"),
    "fine_tuned": ("#d55e00", "^"),
    "fine_tuned_recalibrated": ("#009e73", "D"),
    "encoder_frozen": ("#56b4e9", "s"),
    "head_only": ("#cc79a7", "v"),
    "surgical": ("#e69f00", "P"),
    "prefix": ("#332288", "X"),
    "kernels": ("#882255", "<"),
    "affine_only": ("#999933", ">"),
    "moments": ("#8a94a0", "d"),
}
_OTHER = ("#111111", "*")


def label_curves(rows: list[Row]) -> Figure:
    """The metric against n, with scratch in every panel."""

    def draw(axes: Axes, own: list[Row]) -> None:
        axes.axhline(
            own[0]["floor"], color=canvas.FAINT, linewidth=0.8, linestyle=":", zorder=0
        )
        for recipe, line in _lines(own):
            colour, marker = LOOKS.get(recipe, _OTHER)
            counts = [row["labels"] for row in line]
            ends = zip(*[(_open(row, "low"), _open(row, "high")) for row in line])
            axes.fill_between(counts, *ends, color=colour, alpha=0.13, linewidth=0)
            axes.plot(
                counts, [row["mean"] for row in line], color=colour, marker=marker,
                markersize=3.5, linewidth=1.5, gid=recipe,
            )  # fmt: skip
        heights = [row["mean"] for row in rows] + [row["floor"] for row in rows]
        room = 0.12 * (max(heights) - min(heights)) + 0.01
        axes.set_ylim(min(heights) - room, max(heights) + room)

    return _panels(rows, draw, "test metric")


def label_savings(rows: list[Row]) -> Figure:
    """n_scratch / n against n, both logarithmic; recipes side by side at each n."""
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    means = [abs(math.log2(row["mean"])) for row in rows if row["mean"] > 0]
    reach = 2 ** max(1.3, 0.4 + max(means))

    def draw(axes: Axes, own: list[Row]) -> None:
        axes.set_yscale("log", base=2)
        axes.set_ylim(1 / reach, reach)
        axes.axhline(1, color=canvas.FAINT, linewidth=0.9, zorder=0)
        for recipe, line in _lines(own):
            colour, marker = LOOKS.get(recipe, _OTHER)
            aside = 2 ** (0.09 * (recipes.index(recipe) - (len(recipes) - 1) / 2))
            counts = [row["labels"] * aside for row in line]
            values = [row["mean"] for row in line]
            axes.plot(counts, values, color=colour, linewidth=0.7, alpha=0.6)
            for x, row in zip(counts, line, strict=True):
                low, high = max(row["low"], 1 / reach / 2), min(row["high"], 2 * reach)
                axes.plot([x, x], [low, high], color=colour, linewidth=1.1, alpha=0.8)
                mark = {">": "$\\uparrow$", "<": "$\\downarrow$"}.get(row["censored"])
                axes.plot(
                    x, row["mean"], color=colour, gid=recipe, zorder=3,
                    marker=mark or marker, markersize=7 if mark else 4,
                )  # fmt: skip
        axes.yaxis.set_major_formatter(
            lambda value, _: f"×{value:g}" if value >= 1 else f"÷{1 / value:g}"
        )
        axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())

    return _panels(rows, draw, "labels saved")


def _panels(rows: list[Row], draw, ylabel: str) -> Figure:
    """A panel a donor, scratch's rows in each."""
    scratch = [row for row in rows if not row["donor"]]
    donors = list(dict.fromkeys(row["donor"] for row in rows if row["donor"])) or [""]
    counts = sorted({row["labels"] for row in rows})
    across, down = canvas.columns(len(donors), ACROSS)
    width = max(LEFT + across * (WIDE + GAP) - GAP + RIGHT, 4.4)
    height = down * (TOP + HIGH + 0.45) + FOOT - 0.4
    with matplotlib.rc_context(canvas.STYLE | {"text.parse_math": True}):
        figure = canvas.canvas(width, height)
        for number, donor in enumerate(donors):
            row, column = divmod(number, across)
            left, top = LEFT + column * (WIDE + GAP), TOP + row * (TOP + HIGH + 0.45)
            axes = canvas.panel(figure, left, top, WIDE, HIGH)
            canvas.plain(axes)
            axes.set_xscale("log", base=2)
            axes.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)
            draw(axes, scratch + [r for r in rows if r["donor"] == donor and donor])
            axes.set_xticks(counts, [str(n) for n in counts])
            axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axes.set_xlabel("labelled images", labelpad=2, fontsize=7)
            if column == 0:
                axes.set_ylabel(ylabel, labelpad=3)
            canvas.title(axes, f"donor: {donor}" if donor else "from scratch")
        named = dict.fromkeys(row["recipe"] for row in rows)
        canvas.legend(
            figure,
            [
                canvas.line(
                    recipe, LOOKS.get(recipe, _OTHER)[0], markersize=3.5,
                    marker=LOOKS.get(recipe, _OTHER)[1], linewidth=1.5,
                )
                for recipe in named
            ],
            columns=max(2, 3 * across),
        )  # fmt: skip
    return figure


def _lines(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """The rows recipe by recipe, each by the number of labels."""
    names = dict.fromkeys(row["recipe"] for row in rows)
    return [
        (
            name,
            sorted((r for r in rows if r["recipe"] == name), key=lambda r: r["labels"]),
        )
        for name in names
    ]


def _open(row: Row, end: str) -> float:
    """An infinite end of an interval as what lies beyond every axis."""
    return max(-1e3, min(1e3, row[end]))
