"""How many labels a donor saves: the curves and tables of the report, for the page."""

from typing import Any

from tfreuse.analysis import label_curves
from tfreuse.report import labels
from tfreuse.report.blocks import Table
from tfreuse.report.views.snapshot import Snapshot

MOST_ROWS = 5_000
HINT = (
    "No label curves: they need --label_counts, as in --label_counts=8,16,32,64 "
    "(flags/labels.flags)."
)


def curves(snapshot: Snapshot) -> dict[str, Any]:
    """Rows of the curves, and tables; without records, what would have to be run."""
    return snapshot.keep(("labels",), lambda: _curves(snapshot))


def _curves(snapshot: Snapshot) -> dict[str, Any]:
    source = snapshot.source
    if not source.labels:
        return {"curves": [], "hint": HINT}
    found, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    rows = label_curves.curves(found, confidence)
    kept = ("architecture", "donor", "recipe", "labels", "mean", "low", "high", "n")
    return {
        "curves": [
            {name: row[name] for name in (*kept, "floor")} for row in rows[:MOST_ROWS]
        ],
        "left_out": max(0, len(rows) - MOST_ROWS),
        "metric": source.labels[0].metric,
        "missing": labels.missing(source),
        "told": labels.told(source),
        "caption": labels.curves_caption(rows, source),
        "tables": [
            _plain(title, table)
            for title, table in (
                ("Gain over scratch", labels.verdict_table(found, confidence)),
                ("Labels saved", labels.savings_table(found, confidence)),
            )
            if table.rows
        ],
        "hint": "",
    }


def _plain(title: str, table: Table) -> dict[str, Any]:
    return {
        "title": title, "head": table.head, "rows": table.rows[:MOST_ROWS],
        "note": table.note,
    }  # fmt: skip
