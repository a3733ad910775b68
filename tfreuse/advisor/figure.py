"""The advice as a picture: every recipe's gain over the default, and what the search promises."""

import pathlib
from typing import Any

import matplotlib

from tfreuse.analysis.tables import Row
from tfreuse.errors import printable
from tfreuse.report.figures import canvas

PROMISE = "nested: what the search promises"
_LINE, _LEFT, _PANEL, _RIGHT, _TOP, _FOOT = 0.24, 2.35, 3.3, 1.45, 0.12, 0.62  # inches


def rows(told: dict[str, Any]) -> list[Row]:
    """What is drawn: the promise, then the plans from the best on."""
    choice = told["choice"]
    found = [{"plan": PROMISE, "kind": "promise"} | _interval(choice["promise"])]
    for row in choice["rows"]:
        kind = "taken" if row["name"] == choice["best"] else "plan"
        if kind == "plan" and row["equal"]:
            kind = "equal"
        found.append({"plan": row["name"], "kind": kind} | _interval(row["gain"]))
    return found


def draw(told: dict[str, Any], directory: pathlib.Path, name: str = "gains") -> None:
    """Writes `<directory>/<name>.png` and its numbers, `<name>.csv`."""
    drawn = rows(told)
    colours = {
        "promise": canvas.INK, "taken": "#0072b2", "equal": "#56b4e9", "plan": canvas.FAINT
    }  # fmt: skip
    high = _LINE * (len(drawn) + 1.2)
    with matplotlib.rc_context(canvas.STYLE):
        figure = canvas.canvas(_LEFT + _PANEL + _RIGHT, _TOP + high + _FOOT)
        axes = canvas.panel(figure, _LEFT, _TOP, _PANEL, high)
        ends = [0.0, *(row[end] for row in drawn for end in ("low", "high"))]
        low, high = min(ends), max(ends)
        margin = 0.05 * (high - low) or 0.01
        axes.set_xlim(low - margin, high + margin)
        axes.set_ylim(len(drawn) + 0.6, -0.7)
        axes.axvline(0, color=canvas.FAINT, linewidth=0.8, zorder=0)
        for place, row in enumerate(drawn):
            y, colour = place + 0.5 * (place > 0), colours[row["kind"]]
            axes.hlines(y, row["low"], row["high"], color=colour, linewidth=1.8)
            axes.plot(
                row["gain"], y, "D" if not place else "o", color=colour, markersize=5
            )
            look = {
                "va": "center",
                "fontsize": 7,
                "transform": axes.get_yaxis_transform(),
            }
            weight = "bold" if row["kind"] in ("promise", "taken") else "normal"
            axes.text(
                -0.02, y, printable(row["plan"], 40), ha="right", weight=weight, **look
            )
            axes.text(1.02, y, _told(row), **look)
        canvas.plain(axes, keep=("bottom",))
        axes.locator_params(axis="x", nbins=5)
        axes.set_yticks([])
        axes.set_xlabel(
            f"gain in mean IoU over {told['choice']['default']}", labelpad=2
        )
        labels = {
            "taken": "the recipe taken",
            "equal": "within 1 standard error of the best",
        }
        kinds = {row["kind"] for row in drawn}
        handles = [
            canvas.line(text, colours[kind], marker="o", markersize=5, linewidth=1.8)
            for kind, text in labels.items()
            if kind in kinds
        ]
        canvas.legend(figure, handles)
    canvas.save(figure, drawn, directory, name)


def _interval(found: dict[str, Any]) -> Row:
    return {
        "gain": found["estimate"],
        "low": found["estimate"] if found["low"] is None else found["low"],
        "high": found["estimate"] if found["high"] is None else found["high"],
        "n": found["n"],
    }


def _told(row: Row) -> str:
    text = f"{row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return text.replace("-", "−")
