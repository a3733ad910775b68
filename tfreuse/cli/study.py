"""Finds which parameters can be reused: trains, transplants, measures, judges, reports.

  python tools/study.py --flagfile=flags/quickstart.flags --out_dir=runs/quickstart

To find how many labels a donor saves, on the built-in data and on your own:

  python tools/study.py --flagfile=flags/labels.flags --out_dir=runs/labels
  python tools/study.py --flagfile=flags/labels.flags --dataset=folder --data_dir=DIR

To measure networks that exist, without training any, on your test images:

  python tools/study.py --recipient=R.keras --donors=A.keras,B.pth --dataset=folder --data_dir=DIR

On a Ray cluster, or as one task of a job array; see docs/cluster.md:

  python tools/study.py --flagfile=flags/paper.flags --runner=ray --out_dir=/mnt/shared/paper
  python tools/study.py --flagfile=flags/paper.flags --runner=index --unit_index=3

Writes OUT_DIR/report.html, report.md, verdicts.json, records.jsonl and labels.jsonl (one arm a
line), figures/, tensorboard/, models/ and savedmodel/. After an interruption, the same command
goes on.
"""

import pathlib
import sys

from absl import flags

from tfreuse import data, progress, report, study
from tfreuse.cli import app, early
from tfreuse.errors import InputError, printable
from tfreuse.runners import RunnerSpec, storage
from tfreuse.specs import GivenSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.specs.labels import LabelSpec
from tfreuse.study import given

# Fields of TrainSpec that a study sets itself, network by network.
_VARIED = (
    "task",
    "corruption",
    "unlabelled",
    "labels",
    "initial_seed",
    "initial_model",
)
_OF_FILES = ("files", "digests")  # fields of GivenSpec that are read, not typed
_RUNNER_FLAGS = ("runner", "unit_index", "ray_address")  # may differ from run to run
_MAX_FAILURES = 10  # printed


def define_flags() -> None:
    app.define(StudySpec)
    app.define(LabelSpec)
    app.define(GivenSpec, leave_out=_OF_FILES)
    app.define(TrainSpec, leave_out=_VARIED)
    app.define(ModelSpec)
    app.define_data()
    flags.DEFINE_string("out_dir", "runs/study", "directory of the study")
    app.define(RunnerSpec)
    flags.DEFINE_boolean(
        "dry_run",
        False,
        "print the work to be done and its cost in time and disk, and stop",
    )


def main() -> None:
    specs = _specs()
    runner_spec = app.spec(RunnerSpec)
    _check_early(specs, runner_spec)
    if app.FLAGS.dry_run:
        count = len(study.plan(specs, pathlib.Path(app.FLAGS.out_dir)))
        forecast = study.forecast(specs, runner_spec)  # refuses as the run would
        print(specs.describe())
        print(f"{count} units of work: --runner=index --unit_index=0 to {count - 1}")
        print(forecast)
        return
    out_dir = app.out_dir(holds="study.json", leave_out=_RUNNER_FLAGS, remote=True)
    url = app.FLAGS.out_dir if storage.is_url(app.FLAGS.out_dir) else ""
    if runner_spec.runner == "index":
        _run_unit(specs, out_dir, runner_spec, url)
        return
    print(specs.describe())
    if url:
        print(f"{url} is mirrored in {out_dir}")
    print(f"Study in {out_dir}; trainings: tensorboard --logdir={out_dir / 'models'}")
    failed = study.run(specs, out_dir, runner_spec, url)
    with progress.Display(1.0, delay=progress.PATIENCE) as display:
        verdicts = report.write(out_dir, display.update)
    storage.mirror_of(url, out_dir).push(*report.FILES)
    print(report.summary(verdicts, out_dir))
    print(
        f"Live: tensorboard --logdir={out_dir}, then http://localhost:6006/#reusability (what "
        "can be reused) or #hparams (every arm a row)"
    )
    print(f"Report: {out_dir / 'report.html'}")
    if failed:
        for name, failure in sorted(failed.items())[:_MAX_FAILURES]:
            print(f"failed: {name}: {printable(failure.message, 400)}", file=sys.stderr)
        raise InputError(
            f"{len(failed)} units of work failed, and units that need them were not done; all "
            "others are in the report. Run the same command again to retry them."
        )


def _specs() -> study.Specs:
    """Returns the study of the flags; reads the files of networks that exist."""
    settings = {
        "study": app.spec(StudySpec),
        "model": app.spec(ModelSpec),
        "train": app.spec(
            TrainSpec, **{name: getattr(TrainSpec, name) for name in _VARIED}
        ),
    }
    networks = app.spec(GivenSpec, **{name: () for name in _OF_FILES})
    if networks:
        trained = app.trained(networks.recipient).get("train", {})
        settings = given.settings(networks, trained=trained, **settings)
    return study.Specs(data=app.data_spec(), labels=app.spec(LabelSpec), **settings)


def _check_early(specs: study.Specs, runner_spec: RunnerSpec) -> None:
    """Checks files and settings before a unit of work imports TensorFlow."""
    splits = data.SPLITS
    if specs.given:
        splits = ("train", "test")
    for name in specs.architectures:
        early.network(specs.model.variant(name), specs.data)
    out_dir = app.FLAGS.out_dir
    # a cluster's workers may have data that this machine lacks
    if runner_spec.runner != "ray" and not storage.is_url(out_dir):
        kinds = "".join(specs.study.directions)
        masks = "segmentation" in kinds or "foreground" in kinds
        if specs.given:
            masks = specs.train.task == "segmentation"
        early.run(
            pathlib.Path(out_dir) / "study.json",
            specs.named(),
            splits,
            masks=masks or bool(specs.labels.label_counts),
        )


def _run_unit(
    specs: study.Specs, out_dir: pathlib.Path, runner_spec: RunnerSpec, url: str
) -> None:
    """Runs one unit, as a task of a job array."""
    unit, failure = study.run_one(specs, out_dir, runner_spec, url)
    if failure is not None:
        raise InputError(f"{unit.name}: {failure.message}")
    print(
        f"{unit.name} is done. When all units are, run the same command without --runner and "
        f"--unit_index; until then, for a report: tools/report.py --study_dir={url or out_dir}"
    )


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
