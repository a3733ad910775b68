"""Tells which parameters can be reused: trains, transplants, measures, judges, reports.

  python tools/study.py --flagfile=flags/quickstart.flags --out_dir=runs/quickstart

How many labels a donor saves, on the built-in data and on your own:

  python tools/study.py --flagfile=flags/labels.flags --out_dir=runs/labels
  python tools/study.py --flagfile=flags/labels.flags --dataset=folder --data_dir=DIR

Writes OUT_DIR/report.html, report.md, verdicts.json, records.jsonl and labels.jsonl (one arm a
line), figures/, tensorboard/, models/ and savedmodel/. Stopped at any moment, the same command goes on.
"""

import sys

from absl import flags

from tfreuse import report, study
from tfreuse.cli import app
from tfreuse.labels.spec import LabelSpec
from tfreuse.specs import ModelSpec, StudySpec, TrainSpec

# What a study sets itself, network by network.
_VARIED = ("task", "corruption", "labels", "initial_seed", "initial_model")


def define_flags() -> None:
    app.define(StudySpec)
    app.define(LabelSpec)
    app.define(TrainSpec, leave_out=_VARIED)
    app.define(ModelSpec)
    app.define_data()
    flags.DEFINE_string("out_dir", "runs/study", "directory of the study")
    flags.DEFINE_integer(
        "jobs", 0, "processes at a time; 0: one a CPU core, or one a GPU", lower_bound=0
    )
    flags.DEFINE_boolean(
        "dry_run",
        False,
        "print what would be done, what it costs in time and disk, and stop",
    )


def main() -> None:
    specs = study.Specs(
        app.spec(StudySpec),
        app.data_spec(),
        app.spec(ModelSpec),
        app.spec(TrainSpec, **{name: getattr(TrainSpec, name) for name in _VARIED}),
        app.spec(LabelSpec),
    )
    if app.FLAGS.dry_run:
        print(specs.describe())
        print(study.forecast(specs, app.FLAGS.jobs))
        return
    out_dir = app.out_dir(holds="study.json")
    print(specs.describe())
    print(f"Study in {out_dir}; trainings: tensorboard --logdir={out_dir / 'models'}")
    study.run(specs, out_dir, jobs=app.FLAGS.jobs)
    verdicts = report.write(out_dir)
    print(report.summary(verdicts, out_dir))
    print(
        f"Live: tensorboard --logdir={out_dir}, then http://localhost:6006/#reusability (what "
        "can be reused) or #hparams (every arm a row)"
    )
    print(f"Report: {out_dir / 'report.html'}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
