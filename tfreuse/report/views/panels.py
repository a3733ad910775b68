"""The two reasons, the repair ladder and the Shapley values, as the report tells them."""

from typing import Any

from tfreuse.analysis import reasons
from tfreuse.analysis.arms import Part
from tfreuse.report.drawings import DRAWINGS
from tfreuse.report.views.snapshot import Snapshot

NAMES = ("reasons", "ladder", "shapley")
MOST_ROWS = 2_000
_DRAWINGS = {one.kind: one for one in DRAWINGS if one.kind in NAMES}
_MEANINGS = {"reasons": reasons.REASONS}


def panel(snapshot: Snapshot, part: Part, name: str) -> dict[str, Any]:
    """A figure's rows and caption; without rows, what would have to be run to have them."""
    return snapshot.keep(("panel", part, name), lambda: _panel(snapshot, part, name))


def _panel(snapshot: Snapshot, part: Part, name: str) -> dict[str, Any]:
    drawing, subject = _DRAWINGS[name], snapshot.subjects[part]
    rows = snapshot.rows(part, drawing) if subject.arms else []
    return {
        "name": name,
        "rows": rows[:MOST_ROWS],
        "left_out": max(0, len(rows) - MOST_ROWS),
        "caption": drawing.caption(rows, subject) if rows else "",
        "hint": "" if rows else drawing.hint(subject.spec),
        "meanings": _MEANINGS.get(name, {}),
    }
