"""Advises which parameters of a donor to reuse with few labels, or that none helps.

  python tools/advise.py --donor=runs/donor/model.keras --dataset=folder --data_dir=DATA \\
      --labels=32 --out_dir=runs/advice

Writes OUT_DIR/advice.html and advice.md, model.keras and savedmodel/ (trained as advised on all
labelled images), plan.json, advice.json and config.flags. The recipient has the donor's
architecture unless flags say otherwise. After an interruption, the same command goes on.
--unseal measures the advised model on the test split, once. --plan=OUT_DIR/plan.json repeats
only the final training.
"""

import pathlib
import sys

from absl import flags

from tfreuse import advisor, progress, runtime
from tfreuse.advisor import page, planfile, store
from tfreuse.checkpoints import loadable
from tfreuse.cli import app, as_trained, early
from tfreuse.errors import printable
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.specs.advice import AdviceSpec

# Flags by spec that default to the values of the donor's training.
_FROM_DONOR = {
    "model": tuple(ModelSpec.__dataclass_fields__),
    "data": ("image_size", "channels"),
}


def define_flags() -> None:
    app.define(AdviceSpec)
    app.define(ModelSpec)
    app.define_data()
    flags.DEFINE_string("out_dir", "", "directory of the advice")
    flags.DEFINE_string("plan", "", "plan.json to repeat, without a search")
    flags.DEFINE_boolean(
        "unseal", False, "measure the advised model on the test split; works only once"
    )


def main() -> None:
    if app.FLAGS.plan:
        return _repeat(pathlib.Path(app.FLAGS.plan))
    if app.FLAGS.donor and not app.FLAGS.recipient:
        as_trained.take(app.FLAGS.donor[0], _FROM_DONOR)
        _take_structure(app.FLAGS.donor[0])
    specs = app.spec(AdviceSpec), app.data_spec(), app.spec(ModelSpec)
    _check_early(*specs)
    with app.sole_out_dir("this search", holds="run.json") as out_dir:
        runtime.start()
        advice = _with_progress(
            lambda report: advisor.run(*specs, out_dir, report=report),
            done_before=store.number_of_trainings(out_dir / "folds"),
        )
    print(page.summary(advice))
    if app.FLAGS.unseal:
        metrics = advisor.unseal(out_dir)
        print(
            f"Test split: mean IoU {metrics['mean_iou']:.3f}, n = {metrics['images']} images."
        )
    print(f"Advice: {out_dir / 'advice.html'}  model: {out_dir / 'model.keras'}")


def _take_structure(donor: str) -> None:
    """Gives the recipient the donor's structure if neither flags nor a run.json say another."""
    structure = set(ModelSpec.__dataclass_fields__) - {"stages"}
    is_file = donor.endswith(".keras")
    if is_file and not any(app.FLAGS[name].present for name in structure):
        app.FLAGS["model"].value, app.FLAGS["model"].present = donor, 1
        flag = printable(f"--model={donor}", 300)
        print(f"The recipient has the structure of the donor's file: {flag}")


def _check_early(spec: AdviceSpec, data_spec: DataSpec, model_spec: ModelSpec) -> None:
    """Checks files and settings before TensorFlow is imported."""
    for donor in spec.donor:
        loadable.check(donor, "donor")
    if spec.recipient:
        loadable.check(spec.recipient, "recipient")
    else:
        early.network(model_spec, data_spec)
    specs = {"advice": spec, "data": data_spec, "model": model_spec}
    early.run(pathlib.Path(app.FLAGS.out_dir) / "run.json", specs, ["train"])


def _repeat(path: pathlib.Path) -> None:
    plan = planfile.read(path)
    out_dir = app.out_dir()
    runtime.start()
    _with_progress(lambda report: advisor.repeat(plan, out_dir, report=report))
    print(f"{plan.name}: {out_dir / 'model.keras'}")


def _with_progress(work, done_before: int = 0):
    """Runs `work(report)` and shows its progress.

    Args:
        done_before: trainings of an earlier run, which must not enter the time left.
    """
    display = None

    def report(done: float, total: float, text: str) -> None:
        nonlocal display
        if total > 1 and display is None:
            display = progress.Display(total, done_before)
        if display is None:
            print(text, file=sys.stderr, flush=True)
        elif done >= done_before:
            display.total = total  # the search may end early
            display.update(done, text)

    try:
        return work(report)
    finally:
        if display:
            display.close()


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
