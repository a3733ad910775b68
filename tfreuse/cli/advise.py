"""Few labels and a donor: says what to reuse, with evidence, or that nothing is shown to help.

  python tools/advise.py --donor=runs/donor/model.keras --dataset=folder --data_dir=DATA \\
      --labels=32 --out_dir=runs/advice

Writes OUT_DIR/advice.html and advice.md, model.keras and savedmodel/ (trained by it on all
labelled images), plan.json, advice.json and config.flags. The recipient is the donor's
architecture unless flags say otherwise. Stopped at any moment, the same command goes on.
--unseal opens the test split, once. --plan=OUT_DIR/plan.json repeats the final training alone.
"""

import pathlib
import sys

from absl import flags

from tfreuse import advisor, files, progress, runtime
from tfreuse.advisor import page, planfile, store
from tfreuse.cli import app
from tfreuse.specs import ModelSpec
from tfreuse.specs.advice import AdviceSpec

# What is the donor's own unless it is given.
_DONORS = {
    "model": tuple(ModelSpec.__dataclass_fields__),
    "data": ("image_size", "channels"),
}


def define_flags() -> None:
    app.define(AdviceSpec)
    app.define(ModelSpec)
    app.define_data()
    flags.DEFINE_string("out_dir", "", "directory of the advice")
    flags.DEFINE_string("plan", "", "plan.json to carry out again, without a search")
    flags.DEFINE_boolean(
        "unseal", False, "measure the advised model on the test split; this works once"
    )


def main() -> None:
    if app.FLAGS.plan:
        return _repeat(pathlib.Path(app.FLAGS.plan))
    _take_over_from_donor()
    specs = app.spec(AdviceSpec), app.data_spec(), app.spec(ModelSpec)
    out_dir = app.out_dir(holds="run.json")
    runtime.start()
    told = _shown(
        lambda report: advisor.run(*specs, out_dir, report=report),
        before=store.done(out_dir / "folds"),
    )
    print(page.summary(told))
    if app.FLAGS.unseal:
        found = advisor.unseal(out_dir)
        print(
            f"Test split: mean IoU {found['mean_iou']:.3f}, n = {found['images']} images."
        )
    print(f"Advice: {out_dir / 'advice.html'}  model: {out_dir / 'model.keras'}")


def _repeat(path: pathlib.Path) -> None:
    plan = planfile.read(path)
    out_dir = app.out_dir()
    runtime.start()
    _shown(lambda report: advisor.repeat(plan, out_dir, report=report))
    print(f"{plan.name}: {out_dir / 'model.keras'}")


def _shown(work, before: int = 0):
    """Runs `work(report)` with a line that shows how far it is.

    `before` trainings were done by an earlier run: they do not enter the pace.
    """
    display = None

    def report(done: float, most: float, text: str) -> None:
        nonlocal display
        if most > 1 and display is None:
            display = progress.Display(most, before)
        if display is None:
            print(text, file=sys.stderr, flush=True)
        elif done >= before:
            display.total = most  # the search may turn out shorter
            display.update(done, text)

    try:
        return work(report)
    finally:
        if display:
            display.close()


def _take_over_from_donor() -> None:
    """Gives the flags of network and image size that are not given the first donor's values."""
    donors = app.FLAGS.donor
    path = pathlib.Path(donors[0]).parent / "run.json" if donors else None
    if path is None or not path.is_file() or app.FLAGS.recipient:
        return
    try:
        told = files.read_json(path)["specs"]
    except (ValueError, KeyError, TypeError):
        return  # no run of ours; provenance says so
    for part, names in _DONORS.items():
        for name in names:
            if not app.FLAGS[name].present and name in told.get(part, {}):
                value = told[part][name]
                if isinstance(value, list):
                    value = [str(one) for one in value]
                app.FLAGS[name].value = value


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
