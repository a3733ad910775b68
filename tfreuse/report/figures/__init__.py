"""The figures of a report, drawn from plain rows and saved with their rows as CSV.

    rows = drawing.rows(subject)
    drawn = figures.draw(drawing.kind, rows, subject)
    figures.save(drawn, rows, directory, name, title)

Figures of DRAWINGS are SVG: a list of drawings, one a panel, that page, tab and files show alike.
All others are drawn by Matplotlib (`plots`), which is imported when the first of them is asked for.
"""

import csv
import io
import pathlib
from typing import TYPE_CHECKING

from tfreuse import files
from tfreuse.analysis.tables import Row
from tfreuse.report.figures import (
    ages,
    barriers,
    channels,
    forest,
    heat,
    ladder,
    network,
    norms,
    profiles,
    reasons,
    shapley,
    strip,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DRAWINGS", "draw", "save"]

# Kind of figure -> the function that draws it as SVG from its rows and their subject.
DRAWINGS = {
    "reasons": lambda rows, s: reasons.two_reasons(rows, s.spec),
    "forest": lambda rows, s: forest.forest(rows, s.spec),
    "ladder": lambda rows, s: ladder.shares(rows, s.spec),
    "steps": lambda rows, s: ladder.steps(rows, s.spec),
    "shapley": lambda rows, s: shapley.shapley(rows),
    "barriers": lambda rows, s: barriers.barriers(rows, s.spec),
    "channels": lambda rows, s: channels.channels(rows, s.spec),
    "network": lambda rows, s: network.network(
        rows, s.spec, s.heat("layer"), skips=s.skips
    ),
    "stage": lambda rows, s: heat.heat_map(rows, s.spec),
    "layer": lambda rows, s: heat.heat_map(rows, s.spec),
    "leave_one_out": lambda rows, s: heat.heat_map(rows, s.spec),
    "norms": lambda rows, s: norms.norms(s.arrays, rows),
    "ages": lambda rows, s: ages.ages(rows, s.spec),
    "profiles": lambda rows, s: profiles.profiles(rows, s.spec),
    "strip": lambda rows, s: strip.strip(s.arrays, rows),
}


def draw(kind: str, rows: list[Row], subject) -> "list[svg.Drawing] | Figure":
    """Draws a kind of figure that `report.drawings` lists."""
    if kind in DRAWINGS:
        return DRAWINGS[kind](rows, subject)
    from tfreuse.report.figures import plots  # imports Matplotlib

    return plots.DRAW[kind](rows, subject)


def save(
    drawn: "list[svg.Drawing] | Figure",
    rows: list[Row],
    directory: pathlib.Path,
    name: str,
    title: str = "",
) -> None:
    """Writes `<name>.svg`, or `<name>.png` of a Matplotlib figure, and the rows as `<name>.csv`."""
    if isinstance(drawn, list):
        suffix = "svg"
        # reports of earlier versions drew it as PNG, whose numbers may now be outdated
        (directory / f"{name}.png").unlink(missing_ok=True)
        data = svg.standalone(svg.beside(drawn, title)).encode()
    else:
        from tfreuse.report.figures import canvas

        suffix, data = "png", canvas.picture(drawn)
    with files.replacing(directory / f"{name}.{suffix}", durable=False) as path:
        path.write_bytes(data)
    text = io.StringIO(newline="")
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with files.replacing(directory / f"{name}.csv", durable=False) as path:
        path.write_text(text.getvalue(), encoding="utf-8")
