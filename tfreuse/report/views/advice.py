"""The advisor's plans that lie beside a study, as cards; read as files that anyone may have written."""

import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from tfreuse import files
from tfreuse.errors import printable
from tfreuse.report.figures import forest, marks

FORMAT = "tfreuse advice plan 1"
LARGEST = 1_000_000  # bytes of plan.json
MOST_FOLDERS = 200  # of one folder that are looked into
MOST = 5
_LONGEST = 200  # characters of a name
_NO_PLAN = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
)  # fmt: skip


def cards(folders: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """What each plan in the folders, or one below, advises; what is no such plan is left out."""
    found: dict[pathlib.Path, dict[str, Any]] = {}
    for path in dict.fromkeys(_candidates(folders)):
        card = _card(path)
        if card:
            found[path] = card
        if len(found) == MOST:
            break
    return list(found.values())


def _candidates(folders: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
    for folder in folders:
        yield folder / "plan.json"
        try:
            inside = sorted(folder.iterdir())[:MOST_FOLDERS]
        except OSError:  # gone, or not ours to read: it holds no plan to show
            continue
        for one in inside:
            if not one.is_symlink():
                yield one / "plan.json"


def _card(path: pathlib.Path) -> dict[str, Any] | None:
    """The card of one plan; None where it is none, or not as the advisor writes it."""
    try:
        if not files.is_own_file(path) or path.stat().st_size > LARGEST:
            return None
        told = files.read_json(path)
        if told["format"] != FORMAT:
            return None
        about, asked, recipe = told["about"], told["advice"], told["recipe"]
        promise = about["promise"]
        gain = {
            "mean": _number(promise["estimate"]),
            "low": _end(promise["low"]),
            "high": _end(promise["high"]),
            "n": int(_number(promise["n"])),
        }
        return {
            "where": printable(path.parent.name, _LONGEST),
            "abstains": about["abstains"] is True,
            "name": _text(told["name"]),
            "default": _text(about["default"]),
            "gain": gain,
            "plot": _plot(gain),
            "confidence": _number(promise["confidence"]),
            "method": _text(promise["method"]),
            "recipe": {
                name: _text(", ".join(value) if isinstance(value, list) else value)
                for name in ("takes", "groups", "copies", "trains", "statistics")
                if (value := recipe.get(name))
            },
            "donors": [_text(one) for one in asked["donor"]][:MOST],
            "labels": int(_number(asked["labels"])),
            "steps": int(_number(told["steps"])),
            "asked_steps": int(_number(asked["steps"])),
            "folds": int(_number(asked["folds"])),
            "minutes": _number(asked["budget"]),
        }  # fmt: skip
    except _NO_PLAN:
        return None


def _plot(gain: dict[str, Any]) -> str:
    """Draws the interval of the expected gain around 0."""
    ends = (gain["mean"], gain["low"], gain["high"])
    reach = max(0.02, *(abs(end) for end in ends if end is not None))
    label = f"expected gain: {marks.words(gain)}"
    axis = (-1.1 * reach, 1.1 * reach)
    return forest.strip([forest.Bar(gain)], axis, label, 0, ticks=(-reach, 0, reach))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return printable(value, _LONGEST)


def _end(value: Any) -> float | None:
    """One end of an interval; None for an infinite one."""
    endless = value is None or isinstance(value, float) and not math.isfinite(value)
    return None if endless else _number(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value
