"""Measures a trained model on a data set.

  python tools/evaluate.py --model=runs/segmentation/model.keras --dataset=shapes \\
      --image_size=64,64 --out_dir=runs/evaluation

Writes OUT_DIR/metrics.json: mean IoU, per-class IoU, pixel accuracy and the confusion matrix
for segmentation; PSNR, SSIM and R2 for an auto-encoder. --labels and --corruption default to
those of the training.
"""

import sys

from absl import flags

from tfreuse import files, runtime
from tfreuse.cli import app
from tfreuse.cli.train import describe
from tfreuse.specs import CORRUPTIONS, LABELS, TrainSpec

_DEFAULT = "default: as in run.json beside the model"


def define_flags() -> None:
    app.define_data()
    flags.DEFINE_string("out_dir", "", "directory for metrics.json")
    flags.DEFINE_string("model", "", "model file (.keras)")
    flags.DEFINE_enum("split", "test", ["train", "val", "test"], "split to measure on")
    app.define_task()
    flags.DEFINE_enum(
        "labels",
        None,
        list(LABELS),
        f"segmentation: classes to distinguish; {_DEFAULT}, else all",
    )
    flags.DEFINE_enum(
        "corruption",
        None,
        list(CORRUPTIONS),
        f"autoencoder: corruption of its input; {_DEFAULT}, else none",
    )


def main() -> None:
    from tfreuse import data  # here, since it imports NumPy: --help is faster
    from tfreuse.cli import early

    data_spec = app.data_spec()
    early.model_file("model")
    trained = app.trained(app.FLAGS.model).get("train", {})
    has_masks = (app.FLAGS.task or trained.get("task")) == "segmentation"
    data.check_files(data_spec, [app.FLAGS.split], has_masks)
    out_dir = app.out_dir()
    runtime.start()
    from tfreuse import training
    from tfreuse.models import saving
    from tfreuse.training import evaluation

    model = saving.load(app.FLAGS.model)
    task = app.FLAGS.task or evaluation.task_of(model)
    spec = TrainSpec(
        task=task, **_as_trained(app.FLAGS.model)
    )  # checks the combination
    split = data.load(data_spec, app.FLAGS.split, masks=task == "segmentation")
    split = data.relabel(split, spec.labels)
    metrics = training.evaluate(model, split, task, spec.corruption)
    files.write_json(out_dir / "metrics.json", metrics)
    print(describe(metrics))
    print(f"Metrics: {out_dir / 'metrics.json'}")


def _as_trained(model: str) -> dict[str, str]:
    """Returns --labels and --corruption; by default those of the model's training."""
    trained = app.trained(model).get("train", {})
    values = {
        name: app.FLAGS[name].value or trained.get(name)
        for name in ("labels", "corruption")
    }
    return {name: value for name, value in values.items() if value}


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
