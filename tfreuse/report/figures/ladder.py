"""The repair ladder: what a loss is made of, and what each repair wins back."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

PARTS = {  # in the order in which they are stacked
    "statistics": "#cc79a7",
    "permutation": "#56b4e9",
    "permutation and features": "#7b8fc0",
    "features": "#d55e00",
}
LINE, WIDE, GAP, ACROSS = 0.235, 1.85, 0.3, 3  # inches; panels side by side
AXIS = (-0.25, 1.25)  # of shares
_STEPS = {
    "none": "none",
    "recalibration": "recal.",
    "permutation": "perm.",
    "permutation+recalibration": "both",
    "stitch": "stitch",
    "fine_tuning": "tuned",
}


def shares(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Shares of the loss as stacked bars, a line a site, a panel a group."""
    cells = [
        row for row in rows if row["quantity"] == "level" and row["step"] == "none"
    ]
    cells = [row for row in cells if row["control"] == "transfer"]
    groups = groups_of(cells, spec)
    sites = _sites(cells)
    across, down = canvas.columns(len(groups), ACROSS)
    left = 0.3 + 0.065 * max(len(printable(site, 24)) for site in sites)
    high, head = LINE * len(sites), 0.32
    width = max(left + across * (WIDE + GAP), 4.6)
    height = down * (head + high + 0.3) + 0.35
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(width, height)
        for number, group in enumerate(groups):
            row, column = divmod(number, across)
            axes = canvas.panel(
                figure, left + column * (WIDE + GAP), head + row * (head + high + 0.3),
                WIDE, high,
            )  # fmt: skip
            _bars(axes, [r for r in rows if r["group"] == group], sites)
            canvas.title(axes, group)
            if column == 0:
                names = [
                    "all layers" if s == "all" else printable(s, 24) for s in sites
                ]
                axes.set_yticks(range(len(sites)), names)
        held = {row["step"] for row in rows if row["quantity"] == "share"}
        canvas.legend(
            figure,
            [Patch(color=PARTS[name], label=name) for name in PARTS if name in held]
            or [Patch(color=canvas.EMPTY, label="no loss to share out")],
        )
    return figure


def _sites(rows: list[Row]) -> list[str]:
    """All layers first, then from input to output."""
    found = {(row["depth"], row["site"]) for row in rows}
    return [site for _, site in sorted(found)]


def _bars(axes: Axes, rows: list[Row], sites: list[str]) -> None:
    """A group's bars; what has no loss to share out says so."""
    axes.set(xlim=AXIS, ylim=(len(sites) - 0.4, -0.6))
    for x in (0, 1):
        axes.axvline(x, color=canvas.FAINT, linewidth=0.8, zorder=0)
    for y, site in enumerate(sites):
        own = [row for row in rows if row["site"] == site]
        parts = {row["step"]: row for row in own if row["quantity"] == "share"}
        if not parts:
            nothing = any(row["outcome"] == "nothing lost" for row in own)
            told = "nothing lost" if nothing else "repairs missing" if own else ""
            axes.text(0.03, y, told, va="center", fontsize=6.5, color="#7f8b98")
        else:
            shown = all(row["outcome"] == "lost" for row in parts.values())
            _stack(axes, y, parts, shown)
    canvas.plain(axes, keep=("bottom",))
    axes.set_yticks([])
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.set_xticks([0, 0.5, 1], ["0", "½ of the loss", "1"])


def _stack(axes: Axes, y: float, parts: dict[str, Row], shown: bool) -> None:
    """Positive shares to the right of 0, negative ones to its left; pale: loss not shown."""
    ends = {True: 0.0, False: 0.0}
    for name, colour in PARTS.items():
        if name not in parts:
            continue
        share = parts[name]["mean"]
        start = ends[share >= 0]
        ends[share >= 0] += share
        look = {"color": colour, "alpha": 1 if shown else 0.35, "gid": name}
        canvas.block(axes, start, share, y, 0.72, linewidth=0, **look)
        if abs(share) >= 0.18:
            axes.text(
                start + share / 2, y, f"{share:.0%}", ha="center", va="center_baseline",
                fontsize=6, color="white" if shown and name != "permutation" else canvas.INK, clip_on=True,
            )  # fmt: skip


def steps(rows: list[Row], spec: specs.StudySpec) -> Figure:
    """Retention of all layers after each repair, of the donor and of fresh values."""
    rows = [
        row for row in rows if row["quantity"] == "level" and row["site_kind"] == "all"
    ]
    groups = groups_of(rows, spec)
    names = [name for name in _STEPS if any(row["step"] == name for row in rows)]
    across, down = canvas.columns(len(groups), 4)
    width, high, gap = 1.75, 1.25, 0.22
    figure_width = max(0.62 + across * (width + gap), 4.4)
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(figure_width, down * (high + 0.8) + 0.3)
        for number, group in enumerate(groups):
            row, column = divmod(number, across)
            axes = canvas.panel(
                figure, 0.62 + column * (width + gap), 0.3 + row * (high + 0.8), width,
                high,
            )  # fmt: skip
            _rungs(axes, [r for r in rows if r["group"] == group], names)
            canvas.title(axes, group)
            if column == 0:
                axes.set_ylabel("retention", labelpad=3)
            else:
                axes.set_yticklabels([])
        canvas.legend(
            figure,
            [
                canvas.line(name, *_look(name), linewidth=1.4, markersize=4)
                for name in ("transfer", "reinitialised")
                if any(r["control"] == name for r in rows)
            ],
        )
    return figure


def _look(control: str) -> tuple[str]:
    return (canvas.CONTROLS[control][0],)


def _rungs(axes: Axes, rows: list[Row], names: list[str]) -> None:
    """A dot with its interval a repair; donor and fresh values side by side."""
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(-0.08, 1.12))
    for y in (0, 1):
        axes.axhline(y, color=canvas.GRID, linewidth=0.8, zorder=0)
    for control, shift in (("transfer", -0.1), ("reinitialised", 0.1)):
        own = {row["step"]: row for row in rows if row["control"] == control}
        found = [
            (names.index(step) + shift, own[step]) for step in names if step in own
        ]
        colour, marker = canvas.CONTROLS[control]
        for x, row in found:
            low, high = max(row["low"], -1), min(row["high"], 3)
            axes.plot([x, x], [low, high], color=colour, linewidth=1.2)
        axes.plot(
            [x for x, _ in found], [row["mean"] for _, row in found], marker, color=colour,
            markersize=4, markeredgewidth=0, gid=control,
        )  # fmt: skip
    canvas.plain(axes)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xticks(range(len(names)), [_STEPS[name] for name in names])
    for label in axes.get_xticklabels():
        label.set(rotation=40, ha="right", va="top", rotation_mode="anchor")
