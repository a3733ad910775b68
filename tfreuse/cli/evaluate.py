"""Measures a trained model on a data set.

  python tools/evaluate.py --model=runs/segmentation/model.keras --dataset=shapes \\
      --image_size=64,64 --out_dir=runs/evaluation

Writes OUT_DIR/metrics.json: mean IoU, per-class IoU, pixel accuracy and the confusion matrix
for a segmentation; PSNR, SSIM and R2 for an auto-encoder. --labels and --corruption are as in
training unless given.
"""

import sys

from absl import flags

from tfreuse import files, runtime
from tfreuse.cli import app
from tfreuse.cli.train import describe
from tfreuse.specs import CORRUPTIONS, LABELS, TASKS, TrainSpec

_LEFT_OUT = "left out: as run.json beside the model says"


def define_flags() -> None:
    app.define_data()
    flags.DEFINE_string("out_dir", "", "directory for metrics.json")
    flags.DEFINE_string("model", "", "model file (.keras)")
    flags.DEFINE_enum("split", "test", ["train", "val", "test"], "what to measure on")
    flags.DEFINE_enum(
        "task",
        None,
        list(TASKS),
        "the model's task; told from its layer names if left out",
    )
    flags.DEFINE_enum(
        "labels",
        None,
        list(LABELS),
        f"segmentation: classes to tell apart; {_LEFT_OUT}, else all",
    )
    flags.DEFINE_enum(
        "corruption",
        None,
        list(CORRUPTIONS),
        f"autoencoder: what is done to its input; {_LEFT_OUT}, else none",
    )


def main() -> None:
    data_spec = app.data_spec()
    out_dir = app.out_dir()
    runtime.start()
    from tfreuse import data, training
    from tfreuse.models import saving
    from tfreuse.training import evaluation

    model = saving.load(app.FLAGS.model)
    task = app.FLAGS.task or evaluation.task_of(model)
    spec = TrainSpec(task=task, **_as_trained(app.FLAGS.model))  # checks that they fit
    split = data.load(data_spec, app.FLAGS.split, masks=task == "segmentation")
    split = data.relabel(split, spec.labels)
    metrics = training.evaluate(model, split, task, spec.corruption)
    files.write_json(out_dir / "metrics.json", metrics)
    print(describe(metrics))
    print(f"Metrics: {out_dir / 'metrics.json'}")


def _as_trained(model: str) -> dict[str, str]:
    """--labels and --corruption: what was given, else what the model's training had."""
    held = app.trained(model).get("train", {})
    given = {name: app.FLAGS[name].value for name in ("labels", "corruption")}
    return {
        name: value or held[name]
        for name, value in given.items()
        if value or name in held
    }


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
