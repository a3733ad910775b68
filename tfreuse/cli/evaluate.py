"""Measures a trained model on a data set.

  python tools/evaluate.py --model=runs/segmentation/model.keras --out_dir=runs/evaluation

Writes OUT_DIR/metrics.json: mean IoU, per-class IoU, pixel accuracy and the confusion matrix
for segmentation; PSNR, SSIM and R2 for an auto-encoder. The data set, how its images are read,
--labels and --corruption are those of the training (MODEL.run.json, else run.json beside the
model) unless flags say otherwise; of another --dataset only size and channels of the images are.
"""

import sys

from absl import flags

from tfreuse import files, runtime
from tfreuse.cli import app, as_trained
from tfreuse.cli.train import describe
from tfreuse.errors import InputError, printable
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

    early.model_file("model")
    settings = _take_from_training(app.FLAGS.model)
    data_spec = app.data_spec()
    print(settings)
    has_masks = app.FLAGS.task == "segmentation"
    data.check_files(data_spec, [app.FLAGS.split], has_masks)
    out_dir = app.out_dir()
    runtime.start()
    from tfreuse import models, training
    from tfreuse.models import saving
    from tfreuse.training import evaluation

    model = saving.load(app.FLAGS.model)
    task = app.FLAGS.task or evaluation.task_of(model)
    options = {"labels": app.FLAGS.labels, "corruption": app.FLAGS.corruption}
    spec = TrainSpec(task=task, **{k: v for k, v in options.items() if v})
    models.images.check(model, data_spec.image_size, data_spec.channels)
    model = models.custom.from_unit_range(model)
    split = data.load(data_spec, app.FLAGS.split, masks=task == "segmentation")
    split = data.relabel(split, spec.labels)
    metrics = training.evaluate(model, split, task, spec.corruption)
    files.write_json(out_dir / "metrics.json", metrics)
    print(describe(metrics))
    print(f"Metrics: {out_dir / 'metrics.json'}")


def _take_from_training(model: str) -> str:
    """Sets flags that are not given to the training's values; returns a line that says so.

    Raises:
        InputError: nothing says on which data set to measure.
    """
    if not app.trained(model):
        if not (app.FLAGS["dataset"].present or app.FLAGS.data_dir):
            raise InputError(
                f"no run.json beside {printable(model)} says on which data it was trained: "
                "expected --dataset=folder --data_dir=DATA, --dataset=tfds:NAME or "
                "--dataset=shapes; got none."
            )
        return (
            f"No run.json beside {printable(model)} says how it was trained: flags that are not "
            "given have their defaults."
        )
    words = as_trained.take_data(model)
    words += as_trained.take(model, {"train": ("task", "labels", "corruption")})
    return f"As in the training: {' '.join(words) or 'all flags that are not given'}"


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
