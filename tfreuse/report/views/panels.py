"""The two reasons, the repair ladder, the Shapley values, ages, channels and barriers, as figures."""

from collections import Counter
from typing import Any

from tfreuse.analysis import reasons
from tfreuse.analysis.arms import Part
from tfreuse.analysis.tables import Row
from tfreuse.report import figures
from tfreuse.report.drawings import DRAWINGS
from tfreuse.report.views.snapshot import Snapshot

NAMES = ("reasons", "ladder", "shapley", "ages", "channels", "barriers")
_DRAWINGS = {drawing.kind: drawing for drawing in DRAWINGS if drawing.kind in NAMES}


def panel(snapshot: Snapshot, part: Part, name: str) -> dict[str, Any]:
    """Returns a figure of a part.

    Returns:
        `drawings` as SVG, their `caption`, and `notes`: pairs of a heading and a sentence. Without
        measurements a `hint` names the flags that would give them.
    """
    return snapshot.keep(("panel", part, name), lambda: _panel(snapshot, part, name))


def _panel(snapshot: Snapshot, part: Part, name: str) -> dict[str, Any]:
    drawing, subject = _DRAWINGS[name], snapshot.subjects[part]
    rows = snapshot.rows(part, drawing) if subject.arms else []
    drawn = figures.draw(name, rows, subject) if rows else []
    return {
        "drawings": list(map(str, drawn)),
        "caption": drawing.caption(rows, subject) if rows else "",
        "hint": "" if rows else drawing.hint(subject.spec),
        "notes": _reasons(rows) if name == "reasons" else [],
    }


def _reasons(rows: list[Row]) -> list[tuple[str, str]]:
    """Counts the cells of each reason, and explains it."""
    plain = [row for row in rows if row["decisive"]]
    counts = Counter(row["reason"] for row in plain)
    return [
        (f"{reason}: {counts[reason]} of {len(plain)} cells", meaning)
        for reason, meaning in reasons.REASONS.items()
        if plain
    ]
