"""Writes the report of a study from its records, finished or not.

  python tools/report.py --study_dir=runs/quickstart

Writes STUDY_DIR/report.html, report.md, verdicts.json and figures/.
"""

import pathlib
import sys

from absl import flags

from tfreuse import progress
from tfreuse.cli import app
from tfreuse.errors import InputError
from tfreuse.runners import storage


def define_flags() -> None:
    flags.DEFINE_string("study_dir", "", "directory that tools/study.py wrote to")


def main() -> None:
    name = app.FLAGS.study_dir
    url = name if storage.is_url(name) else ""
    study_dir = storage.scratch(url) if url else pathlib.Path(name)
    mirror = storage.mirror_of(url, study_dir)
    mirror.pull("study.json")
    if not name or not (study_dir / "study.json").exists():
        raise InputError(
            f"--study_dir={name} holds no study: expected {name or '.'}/study.json."
        )
    from tfreuse import report, study  # here, since they import NumPy: --help is faster

    study.collect(study_dir, url)
    with progress.Display(1.0, delay=progress.PATIENCE) as display:
        verdicts = report.write(study_dir, display.update)
    mirror.push(*report.FILES)
    print(report.summary(verdicts, study_dir))
    print(f"Report: {study_dir / 'report.html'}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
