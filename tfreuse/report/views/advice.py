"""The advisor's plans beside a study, as cards.

A plan.json is untrusted: anyone may have written it, so that every field is checked.
"""

import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from tfreuse import files
from tfreuse.errors import printable
from tfreuse.report.figures import forest, marks

FORMAT = "tfreuse advice plan 1"
LARGEST = 1_000_000  # bytes of plan.json
MOST_FOLDERS = 200  # subfolders of a folder that are searched
MOST = 5  # cards, and donors of a card
_LONGEST = 200  # characters of a name
_NO_PLAN = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
)  # fmt: skip


def cards(folders: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """Returns a card for each valid plan in the folders or their subfolders, at most MOST."""
    plans: dict[pathlib.Path, dict[str, Any]] = {}
    for path in dict.fromkeys(_candidates(folders)):
        card = _card(path)
        if card:
            plans[path] = card
        if len(plans) == MOST:
            break
    return list(plans.values())


def _candidates(folders: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
    for folder in folders:
        yield folder / "plan.json"
        try:
            subfolders = sorted(folder.iterdir())[:MOST_FOLDERS]
        except OSError:  # deleted meanwhile, or not readable
            continue
        for subfolder in subfolders:
            if not subfolder.is_symlink():
                yield subfolder / "plan.json"


def _card(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the card of a plan; None if the file is missing or no plan of the advisor."""
    try:
        if not files.is_own_file(path) or path.stat().st_size > LARGEST:
            return None
        plan = files.read_json(path)
        if plan["format"] != FORMAT:
            return None
        about, settings, recipe = plan["about"], plan["advice"], plan["recipe"]
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
            "name": _text(plan["name"]),
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
            "donors": [_text(donor) for donor in settings["donor"]][:MOST],
            "labels": int(_number(settings["labels"])),
            "steps": int(_number(plan["steps"])),
            "asked_steps": int(_number(settings["steps"])),
            "folds": int(_number(settings["folds"])),
            "minutes": _number(settings["budget"]),
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
    """Returns an end of an interval; None for an infinite one."""
    infinite = value is None or isinstance(value, float) and not math.isfinite(value)
    return None if infinite else _number(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value
