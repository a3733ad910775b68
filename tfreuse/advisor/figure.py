"""Draws the advice: the gain of every recipe over the default, and the expected gain."""

import pathlib
from typing import Any

from tfreuse.analysis import Row
from tfreuse.report import figures
from tfreuse.report.figures import forest, marks

NAME = "gains"  # of its files
PROMISE = "nested: the expected gain"
_LOOKS = {  # colours in the light and the dark theme, and shape
    "promise": (("#1a2330", "#e6eaf0"), "D"),
    "taken": (("#0072b2", "#4598c7"), "o"),
    "equal": ("#56b4e9", "o"),
    "plan": ("#8a94a0", "o"),
}
_LEGEND = {"taken": "the recipe taken", "equal": "within 1 standard error of the best"}


def rows(advice: dict[str, Any]) -> list[Row]:
    """Returns the expected gain of the choice, then that of each plan, the best first."""
    choice = advice["choice"]
    promise = {"plan": PROMISE, "kind": "promise"} | _interval(choice["promise"])
    plans = []
    for row in choice["rows"]:
        kind = "equal" if row["equal"] else "plan"
        kind = "taken" if row["name"] == choice["best"] else kind
        plans.append({"plan": row["name"], "kind": kind} | _interval(row["gain"]))
    return [promise, *plans]


def draw(advice: dict[str, Any], directory: pathlib.Path) -> tuple[str, ...]:
    """Writes `gains.svg` and its numbers, `gains.csv`; returns the figure's drawings as SVG."""
    numbers = rows(advice)
    lines = []
    for row in numbers:
        colour, shape = _LOOKS[row["kind"]]
        estimate = {"mean": row["gain"]} | {
            end: row[end] for end in ("low", "high", "n")
        }
        strong = row["kind"] in ("promise", "taken")
        tip = (row["plan"], f"gain {_text(row)}, n = {row['n']}")
        lines.append(
            forest.Line(row["plan"], estimate, _text(row), colour, shape, tip=tip,
                        strong=strong)
        )  # fmt: skip
    ends = [0.0, *(row[end] for row in numbers for end in ("low", "high"))]
    margin = 0.05 * (max(ends) - min(ends)) or 0.01
    axis = min(ends) - margin, max(ends) + margin
    name = f"gain in mean IoU over {advice['choice']['default']}"
    ticks = marks.ticks(*axis, most=5)
    table = forest.table(lines, "gains", "", axis, ticks, name, {"axis": 0.0})
    kinds = {row["kind"] for row in numbers}
    entries = [(text, *_LOOKS[kind]) for kind, text in _LEGEND.items() if kind in kinds]
    drawings = [table, *([marks.legend("gains", entries)] if entries else [])]
    figures.save(drawings, numbers, directory, NAME, name)
    return tuple(map(str, drawings))


def _interval(estimate: dict[str, Any]) -> Row:
    """Returns the columns of an estimate; an end that is missing is the estimate itself."""
    value = estimate["estimate"]
    return {
        "gain": value,
        "low": value if estimate["low"] is None else estimate["low"],
        "high": value if estimate["high"] is None else estimate["high"],
        "n": estimate["n"],
    }


def _text(row: Row) -> str:
    text = f"{row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return text.replace("-", "−")
