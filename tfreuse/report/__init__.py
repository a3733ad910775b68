"""Turns a study's records into verdicts, figures and pages.

    verdicts = report.write("runs/study")  # verdicts.json, report.html, report.md, figures/
    print(report.summary(verdicts))

Works on an incomplete study, and reports the missing parts. Imports no TensorFlow; figures are
drawn, and Matplotlib imported, only by `write`.
"""

import functools
import os
import pathlib
import textwrap
from collections.abc import Callable, Sequence

from tfreuse import files
from tfreuse.analysis import caveats
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

LARGEST = 4_800_000  # bytes of the page, embedded answers included
LEAST = 800_000  # bytes granted to embedded answers, however large the page is
# Shares of the time of a report of 100,000 records at which its steps begin and end
_STEPS = {
    "read the records": (0.0, 0.3),
    "draw the figures": (0.35, 0.6),
    "draw the page's views": (0.65, 1.0),
}
WIDTH = 100  # columns of a terminal that `summary` may fill


def write(
    study_dir: str | os.PathLike,
    report: Callable[[float, str], None] = lambda share, text: None,
) -> list[Verdict]:
    """Writes `verdicts.json`, `figures/`, `report.md` and `report.html` into a study's directory.

    Every file is replaced atomically; the pages come last.

    Args:
        study_dir: the study's directory.
        report: called with the share of the work that is done, and the present step.

    Returns:
        the verdicts, in the order of architectures, directions and hypotheses.

    Raises:
        InputError: the directory holds no study, or a file of it cannot be read.
    """
    study_dir = pathlib.Path(study_dir)
    # Taken before the records are read: a study that grows meanwhile then has a newer version,
    # so that the tab does not take this report for up to date.
    version = source.version(study_dir)
    steps = {step: functools.partial(_report_step, report, step) for step in _STEPS}
    study = source.load(study_dir, report=steps["read the records"])
    judged = study.verdicts()
    snapshot = Snapshot(
        study,
        version,
        judged=judged,
        arrays_of=functools.partial(arrays.load, study.path),
    )
    document = {
        "study": study.digest or None,
        "settings": study.spec.to_json(),
        "verdicts": [verdict.to_json() for verdict in judged],
    }
    if study.labels:
        document["labels"] = labels.to_json(study)
    files.write_json(study_dir / "verdicts.json", document)
    drawn = _draw(snapshot, study_dir / "figures", steps["draw the figures"])
    curves = labels.draw(study, study_dir / "figures")
    composed = content.compose(study, judged, drawn, labels.section(study, curves))
    files.write_text(study_dir / "report.md", markdown.render(composed))

    measured = study.records or study.labels

    def answers(size: int, body: str) -> str:
        room = max(LEAST, min(embedded.BUDGET, LARGEST - size))
        if not measured:
            return ""
        step = steps["draw the page's views"]
        return embedded.script(study.name, snapshot, room, body, step)

    text = page.render(composed, study_dir / "figures", answers)
    files.write_text(study_dir / "report.html", text)
    return judged


def summary(
    verdicts: Sequence[Verdict], study_dir: str | os.PathLike | None = None
) -> str:
    """Formats the verdicts for a terminal, at most 100 columns wide.

    A line per verdict with effect, interval, n and reason. Given the study's directory, a
    warning of recipients that learnt too little precedes them, and the results of label curves
    follow.
    """
    untrained, curves = [], []
    if study_dir:
        study = source.load(pathlib.Path(study_dir))
        untrained = textwrap.wrap(caveats.untrained(study.records, study.spec), WIDTH)
        poor = caveats.untrained_fits(study.labels, study.spec)
        curves = [*textwrap.wrap(poor, WIDTH), *_label_lines(study)]
    if not verdicts:
        return "\n".join(curves) or "No verdict: no arm has been measured yet."
    lines, part = untrained, None
    for verdict in verdicts:
        if verdict.part != part:
            lines += [*([""] if lines else []), printable(str(verdict.part), WIDTH)]
            part = verdict.part
        effect = f"{verdict.effect}" if verdict.effect else "–"
        head = (
            f"  {verdict.hypothesis}  {verdict.verdict:<12}  {effect:<22}  "
            f"n = {verdict.n:<2}  "
        )
        lines += textwrap.wrap(
            verdict.reason,
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
        )
    return "\n".join([*lines, *([""] if curves else []), *curves])


def _label_lines(study: source.Source) -> list[str]:
    return [
        wrapped
        for line in labels.summary(study)
        for wrapped in textwrap.wrap(
            line, WIDTH, subsequent_indent=" " * 6, drop_whitespace=False
        )
    ]


def _report_step(report: Callable[[float, str], None], step: str, share: float) -> None:
    """Reports the share of a step that is done as one of the whole."""
    begin, end = _STEPS[step]
    report(begin + (end - begin) * share, step)


def _draw(
    snapshot: Snapshot, directory: pathlib.Path, report: Callable[[float], None]
) -> list[content.Drawn]:
    """Draws and saves the figures of every part of the study that has rows for them."""
    _remove_former(snapshot, directory)
    drawn, names = [], set()
    for number, (part, subject) in enumerate(snapshot.subjects.items()):
        report(number / len(snapshot.subjects))
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
            figures.save(figure, rows, directory, name, title)
            caption = drawing.caption(rows, subject)
            markup = tuple(map(str, figure)) if isinstance(figure, list) else ()
            drawn.append(content.Drawn(name, drawing, part, rows, caption, markup))
    return drawn


def _remove_former(snapshot: Snapshot, directory: pathlib.Path) -> None:
    """Removes PNG files of figures that are SVG now, those without rows by now included."""
    for part in snapshot.subjects:
        # before links were a factor, names ended with the direction
        stems = {
            arrays.file_name(variant)
            for variant in (part, part._replace(link="independent"))
        }
        for kind in figures.DRAWINGS:
            for stem in stems:
                (directory / f"{kind}_{stem}.png").unlink(missing_ok=True)
