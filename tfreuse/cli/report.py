"""Makes the report of a study again from its records, finished or not.

  python tools/report.py --study_dir=runs/quickstart

Writes STUDY_DIR/report.html, report.md, verdicts.json and figures/.
"""

import pathlib
import sys

from absl import flags

from tfreuse.cli import app
from tfreuse.errors import InputError


def define_flags() -> None:
    flags.DEFINE_string("study_dir", "", "directory that tools/study.py wrote to")


def main() -> None:
    study_dir = pathlib.Path(app.FLAGS.study_dir)
    if not app.FLAGS.study_dir or not (study_dir / "study.json").exists():
        raise InputError(
            f"--study_dir={study_dir} holds no study: expected {study_dir / 'study.json'}."
        )
    from tfreuse import report, study  # import NumPy: --help does without

    study.collect(study_dir)
    verdicts = report.write(study_dir)
    print(report.summary(verdicts, study_dir))
    print(f"Report: {study_dir / 'report.html'}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
