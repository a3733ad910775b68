"""Shapley values: which role a loss is due to, and which two act together."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tfreuse import specs
from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

LINE, WIDE, SIDE, GAP, ACROSS = 0.3, 4.6, 1.2, 0.3, 4  # inches; matrices side by side
_MAP = matplotlib.colormaps["PuOr_r"]
_SHORT = {"kernel": "W", "bias": "b", "gamma": "γ", "beta": "β", "stats": "μσ"}


def shapley(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Each site's loss as a bar of the roles' values, with the total; below, interactions."""
    rows = [row for row in rows if row["repair"] == "none"]
    sites = [site for _, site in sorted({(r["depth"], r["site"]) for r in rows})]
    players = list(
        dict.fromkeys(row["group"] for row in rows if row["quantity"] == "value")
    )
    left = 0.3 + 0.065 * max(len(printable(site, 24)) for site in sites)
    high = LINE * len(sites)
    across, down = canvas.columns(len(sites), ACROSS)
    width = max(left + WIDE + 1.35, 0.45 + across * (SIDE + GAP))
    below = 0.3 + high + 0.8
    height = below + down * (SIDE + 0.45) + 0.5
    reach = _reach(rows)
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        axes = canvas.panel(figure, left, 0.3, WIDE, high)
        _bars(axes, rows, sites, players)
        canvas.title(axes, "loss of retention, shared out among the roles")
        handles = [Patch(color=canvas.GROUPS[name], label=name) for name in players]
        canvas.legend(figure, handles, bottom=height - below + 0.12)
        for number, site in enumerate(sites):
            row, column = divmod(number, across)
            matrix = canvas.panel(
                figure, 0.45 + column * (SIDE + GAP), below + 0.25 + row * (SIDE + 0.45),
                SIDE, SIDE,
            )  # fmt: skip
            own = [r for r in rows if r["site"] == site]
            _matrix(matrix, own, players, reach, first=column == 0)
            canvas.title(matrix, "all layers" if site == "all" else site)
        _scale(figure, height, reach)
    return figure


def _reach(rows: list[Row]) -> float:
    """End of the colour scale of interactions."""
    found = [abs(r["mean"]) for r in rows if r["quantity"] == "interaction"]
    return max(0.05, max(found, default=0.0))


def _bars(axes: Axes, rows: list[Row], sites: list[str], players: list[str]) -> None:
    lows, highs = [0.0], [0.2]
    for y, site in enumerate(sites):
        own = {
            (row["quantity"], row["group"]): row for row in rows if row["site"] == site
        }
        ends = {True: 0.0, False: 0.0}
        for player in players:
            row = own.get(("value", player))
            if row is None or row["absent"]:
                continue
            start = ends[row["mean"] >= 0]
            ends[row["mean"] >= 0] += row["mean"]
            look = {"color": canvas.GROUPS[player], "linewidth": 0, "gid": player}
            canvas.block(axes, start, row["mean"], y, 0.66, **look)
        lows.append(ends[False])
        highs.append(ends[True])
        if total := own.get(("total", "all")):
            _total(axes, y, total)
            highs.append(min(total["high"], 1.2))
    axes.set_xlim(min(lows) - 0.03, max(highs) + 0.03)
    axes.set_ylim(len(sites) - 0.45, -0.55)
    axes.axvline(0, color=canvas.FAINT, linewidth=0.8, zorder=0)
    canvas.plain(axes, keep=("bottom",))
    names = ["all layers" if site == "all" else printable(site, 24) for site in sites]
    axes.set_yticks(range(len(sites)), names)
    axes.tick_params(axis="y", length=0, labelsize=7.5)


def _total(axes: Axes, y: float, row: Row) -> None:
    """What all roles together cost, with its interval, in ink across the bar."""
    low, high = max(row["low"], -2), min(row["high"], 3)
    axes.plot([low, high], [y, y], color=canvas.INK, linewidth=1)
    axes.plot(row["mean"], y, "D", color=canvas.INK, markersize=3.6, gid="total",
              markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
    text = (
        f"{intervals.number(row['mean'])} "
        f"[{intervals.number(row['low'])}, {intervals.number(row['high'])}]"
    )
    axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center",
              fontsize=6.5)  # fmt: skip


def _matrix(
    axes: Axes, rows: list[Row], players: list[str], reach: float, first: bool
) -> None:
    """Interactions below the diagonal."""
    n = len(players)
    axes.set(xlim=(-0.5, n - 1.5), ylim=(n - 1.5, -0.5))
    for row in rows:
        if row["quantity"] != "interaction":
            continue
        x, y = players.index(row["first"]), players.index(row["second"]) - 1
        colour = _MAP(0.5 + 0.5 * row["mean"] / reach)
        axes.fill_between([x - 0.47, x + 0.47], y - 0.47, y + 0.47, color=colour,
                          linewidth=0)  # fmt: skip
        proven = row["low"] > 0 or row["high"] < 0
        axes.text(
            x, y, f"{row['mean']:.2f}".replace("-", "−").replace("−0.00", "0.00"), ha="center", va="center_baseline",
            fontsize=5.5, weight="bold" if proven else "normal",
            color="white" if abs(row["mean"]) > 0.62 * reach else canvas.INK,
        )  # fmt: skip
    short = [_SHORT.get(name, name) for name in players]
    axes.set_xticks(range(n - 1), short[:-1])
    axes.set_yticks(range(n - 1), short[1:])
    axes.tick_params(length=0, pad=1, labelsize=7)
    axes.spines[:].set_visible(False)


def _scale(figure: Figure, height: float, reach: float) -> None:
    axes = canvas.panel(figure, 0.45, height - 0.38, 2.0, 0.08)
    norm = matplotlib.colors.Normalize(-reach, reach)
    scale = matplotlib.cm.ScalarMappable(norm, _MAP)
    figure.colorbar(scale, cax=axes, orientation="horizontal", ticks=[-reach, 0, reach])
    number = intervals.number
    axes.set_xticklabels([number(-reach), "0", number(reach)], fontsize=6.5)
    axes.set_xlabel("interaction: − one mends the other, + together they cost more",
                    fontsize=7, labelpad=2, loc="left")  # fmt: skip
    axes.tick_params(length=2, pad=2)
    axes.spines[:].set_visible(False)
