"""A study's records as verdicts, figures and pages that can be read, shared and checked.

    found = report.write("runs/study")  # verdicts.json, report.html, report.md, figures/
    print(report.summary(found))

Works on a study that is not complete, and says what is missing. Imports no TensorFlow; figures
are drawn, and Matplotlib imported, only by `write`.
"""

import functools
import os
import pathlib
import textwrap
from collections.abc import Sequence

from tfreuse import files
from tfreuse.analysis.verdicts import Verdict
from tfreuse.errors import printable
from tfreuse.report import (
    arrays,
    content,
    drawings,
    embedded,
    figures,
    labels,
    markdown,
    page,
    source,
)
from tfreuse.report.views.snapshot import Snapshot

__all__ = ["FILES", "summary", "write"]

FILES = ("verdicts.json", "report.md", "figures", "report.html")  # that `write` writes

LARGEST = 4_800_000  # bytes of the page, answers included
LEAST = 800_000  # ... that answers may take, however large the rest is
WIDTH = 100  # columns of a terminal that `summary` may fill


def write(study_dir: str | os.PathLike) -> list[Verdict]:
    """Writes `verdicts.json`, `figures/`, `report.md` and `report.html` into a study's directory.

    Every file is replaced at once or not at all; the pages come last.

    Returns:
        the verdicts, in the order of architectures, directions and hypotheses.

    Raises:
        InputError: the directory holds no study, or a file of it cannot be read.
    """
    study_dir = pathlib.Path(study_dir)
    version = source.version(study_dir)  # before reading: of a study that grows, older
    study = source.load(study_dir)
    found = study.verdicts()
    snapshot = Snapshot(
        study,
        version,
        judged=found,
        arrays_of=functools.partial(arrays.load, study.path),
    )
    told = {
        "study": study.digest or None,
        "settings": study.spec.to_json(),
        "verdicts": [one.to_json() for one in found],
    }
    if study.labels:
        told["labels"] = labels.to_json(study)
    files.write_json(study_dir / "verdicts.json", told)
    drawn = _draw(snapshot, study_dir / "figures")
    curves = labels.draw(study, study_dir / "figures")
    made = content.compose(study, found, drawn, labels.section(study, curves))
    files.write_text(study_dir / "report.md", markdown.render(made))

    measured = study.records or study.labels

    def answers(taken: int, body: str) -> str:
        room = max(LEAST, min(embedded.BUDGET, LARGEST - taken))
        return embedded.script(study.name, snapshot, room, body) if measured else ""

    text = page.render(made, study_dir / "figures", answers)
    files.write_text(study_dir / "report.html", text)
    return found


def summary(
    verdicts: Sequence[Verdict], study_dir: str | os.PathLike | None = None
) -> str:
    """The verdicts as text for a terminal, at most 100 columns wide.

    A line a verdict with effect, interval and n; its reason below it. Given the study's
    directory, what its label curves say too.
    """
    curves = _label_lines(study_dir) if study_dir else []
    if not verdicts:
        return "\n".join(curves) or "No verdict: no arm has been measured yet."
    lines, before = [], None
    for one in verdicts:
        if one.part != before:
            lines += [*([""] if lines else []), printable(str(one.part), WIDTH)]
            before = one.part
        effect = f"{one.effect}" if one.effect else "–"
        line = f"  {one.hypothesis}  {one.verdict:<12}  {effect:<22}  n = {one.n:<2}  "
        lines += textwrap.wrap(
            one.reason, WIDTH, initial_indent=line, subsequent_indent=" " * len(line)
        )
    return "\n".join([*lines, *([""] if curves else []), *curves])


def _label_lines(study_dir: str | os.PathLike) -> list[str]:
    return [
        wrapped
        for line in labels.summary(source.load(pathlib.Path(study_dir)))
        for wrapped in textwrap.wrap(
            line, WIDTH, subsequent_indent=" " * 6, drop_whitespace=False
        )
    ]


def _draw(snapshot: Snapshot, directory: pathlib.Path) -> list[content.Drawn]:
    """Draws and saves the figures of every part of the study that has rows for them."""
    drawn, names = [], set()
    for part, subject in snapshot.subjects.items():
        for drawing in drawings.DRAWINGS:
            rows = snapshot.rows(part, drawing)
            if not rows:
                continue
            name = f"{drawing.kind}_{arrays.file_name(part)}"
            while name in names:  # two hostile names may be made safe alike
                name += "-2"
            names.add(name)
            figure = figures.draw(drawing.kind, rows, subject)
            title = f"{part}: {drawing.title}"
            figures.save(figure, rows, directory, name, title, drawing.exact)
            caption = drawing.caption(rows, subject)
            markup = tuple(map(str, figure)) if isinstance(figure, list) else ()
            drawn.append(content.Drawn(name, drawing, part, rows, caption, markup))
    return drawn
