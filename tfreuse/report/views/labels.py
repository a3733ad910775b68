"""Label curves for the page: the report's figures and tables of the labels that a donor saves."""

from typing import Any

from tfreuse.analysis import label_curves
from tfreuse.report import label_tables, labels
from tfreuse.report.blocks import Table
from tfreuse.report.views.snapshot import Snapshot

MOST_ROWS = 5_000  # of a table
HINT = (
    "No label curves: they need --label_counts, as in --label_counts=8,16,32,64 "
    "(flags/labels.flags)."
)


def curves(snapshot: Snapshot) -> dict[str, Any]:
    """Returns the curves as `drawings`, and tables; without records, a `hint` on the flags."""
    return snapshot.keep(("labels",), lambda: _curves(snapshot))


def _curves(snapshot: Snapshot) -> dict[str, Any]:
    source = snapshot.source
    if not source.labels:
        return {"drawings": [], "hint": HINT}
    arms, confidence = label_curves.by_arm(source.labels), source.spec.confidence
    figures = labels.figures_of(source, labels.CURVES)
    tables = {
        "Gain over scratch": label_tables.verdicts(arms, confidence),
        "Labels saved": label_tables.savings(arms, confidence),
    }
    return {
        "drawings": [str(drawing) for figure in figures for drawing in figure.drawings],
        "missing": labels.missing(source),
        "protocol": labels.protocol(source),
        "caption": " ".join(dict.fromkeys(figure.caption for figure in figures)),
        "tables": [
            _plain(title, table) for title, table in tables.items() if table.rows
        ],
        "hint": "",
    }


def _plain(title: str, table: Table) -> dict[str, Any]:
    return {
        "title": title, "head": table.head, "rows": table.rows[:MOST_ROWS],
        "note": table.note,
    }  # fmt: skip
