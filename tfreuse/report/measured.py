"""The arms that `tfreuse.measure` measured, as rows, as a table and as HTML.

arms = tfreuse.measure(donor, model, images, labels)
arms.rows      # [{"site": "encoder_1", "group": "kernel", "retention": 0.93, ...}, ...]
print(arms.table())
arms.report()  # the path of report.html
"""

import base64
import functools
import html
import pathlib
from typing import Any

from tfreuse import report
from tfreuse.analysis import over_images
from tfreuse.errors import printable
from tfreuse.records import Record
from tfreuse.report import drawings, figures, source
from tfreuse.report.figures import svg
from tfreuse.report.views.snapshot import Snapshot

_FIGURES = ("network", "stage", "layer")
_FIELDS = (
    "direction", "seed", "site_kind", "site", "depth", "group", "control", "draw", "repair",
    "strength", "order", "share", "metric", "before", "after", "floor",
)  # fmt: skip
_SIZES = (
    "images", "parameters", "changed", "rmse", "relative_distance", "cosine", "output_error",
    "cka",
)  # fmt: skip


class Measured:
    """Arms of networks that exist, and where they are stored.

    Attributes:
        out_dir: directory of the study, which TensorBoard's tab and `tools/report.py` read.
    """

    def __init__(self, out_dir: pathlib.Path) -> None:
        """Takes a study's directory, which is read when the arms are asked for."""
        self.out_dir = out_dir

    @functools.cached_property
    def _snapshot(self) -> Snapshot:
        return Snapshot(source.load(self.out_dir))

    @property
    def records(self) -> tuple[Record, ...]:
        return self._snapshot.source.records

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A dict an arm, for `pandas.DataFrame(rows)`.

        `retention` is (after - floor) / (before - floor), None where the recipient is not above its
        floor; `low` and `high` are the ends of its interval over the test images, clipped to
        [0, 1], None with fewer than 20 images.
        """
        study, rows = self._snapshot.source, []
        read = study.counts()
        for part, arms in study.parts.items():
            curves = study.channel_curves.get(part, {}).values()
            points = [seeds for curve in curves for seeds in curve.values()]
            for seeds in (*arms.values(), *points):
                for seed, record in seeds.items():
                    side = {seed: record}
                    counts = over_images.counts_of_sides(arms, [side], read)
                    interval = counts and over_images.image_interval(
                        counts, study.spec.confidence
                    )
                    rows.append(_row(record, interval))
        return rows

    def table(self) -> str:
        """Formats the donor's arms: a line each, with retention and its interval over images."""
        lines = [f"{'site':24} {'group':12} {'repair':14} retention"]
        for row in self.rows:
            if row["control"] != "transfer":
                continue
            retention = "–" if row["retention"] is None else f"{row['retention']:.2f}"
            ends = ""
            if row["low"] is not None:
                ends = f" [{row['low']:.2f}, {row['high']:.2f}]"
            site = "all layers" if row["site_kind"] == "all" else row["site"]
            lines.append(
                f"{printable(site, 24):24} {row['group']:12} {row['repair']:14} {retention}{ends}"
            )
        return "\n".join(lines)

    def report(self) -> pathlib.Path:
        """Writes report.html, report.md and figures/ into `out_dir`; returns report.html's path."""
        report.write(self.out_dir)
        return self.out_dir / "report.html"

    def _repr_html_(self) -> str:
        """Shows the network and the heat map of each part, as in the report."""
        parts = []
        for part, subject in self._snapshot.subjects.items():
            parts.append(f"<p><b>{html.escape(str(part))}</b></p>")
            for drawing in drawings.DRAWINGS:
                if drawing.kind not in _FIGURES:
                    continue
                if rows := self._snapshot.rows(part, drawing):
                    title = f"{part}: {drawing.title}"
                    drawn = figures.draw(drawing.kind, rows, subject)
                    parts.append(
                        _image(svg.standalone(svg.beside(drawn, title)), title)
                    )
                    parts.append(
                        f"<p>{html.escape(drawing.caption(rows, subject))}</p>"
                    )
        return "".join(parts)


def _row(record: Record, interval: Any) -> dict[str, Any]:
    retention = record.retention if record.before > record.floor else None
    return {
        **{name: getattr(record, name) for name in _FIELDS},
        "retention": retention,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        **{name: getattr(record, name) for name in _SIZES},
    }


def _image(drawing: str, title: str) -> str:
    """Embeds an SVG file, so that its styles do not mix with those of the page."""
    content = base64.b64encode(drawing.encode()).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/svg+xml;base64,{content}">'
