"""Measures a trained model on a data set.

  python tools/evaluate.py --model=runs/segmentation/model.keras --dataset=shapes \\
      --image_size=64,64 --out_dir=runs/evaluation

Writes OUT_DIR/metrics.json: mean IoU, per-class IoU, pixel accuracy and the confusion matrix
for a segmentation; PSNR, SSIM and R2 for an auto-encoder.
"""

import sys

from absl import flags

from tfreuse import files, runtime
from tfreuse.cli import app
from tfreuse.cli.train import describe
from tfreuse.specs import TASKS, DataSpec


def define_flags() -> None:
    app.define(DataSpec)
    flags.DEFINE_string("out_dir", "", "directory for metrics.json")
    flags.DEFINE_string("model", "", "model file (.keras)")
    flags.DEFINE_enum("split", "test", ["train", "val", "test"], "what to measure on")
    flags.DEFINE_enum(
        "task",
        None,
        list(TASKS),
        "the model's task; told from its layer names if left out",
    )


def main() -> None:
    data_spec = app.spec(DataSpec)
    out_dir = app.out_dir()
    runtime.start()
    from tfreuse import checkpoint, data, evaluation, training

    model = checkpoint.load(app.FLAGS.model)
    task = app.FLAGS.task or evaluation.task_of(model)
    split = data.load(data_spec, app.FLAGS.split, masks=task == "segmentation")
    metrics = training.evaluate(model, split, task)
    files.write_json(out_dir / "metrics.json", metrics)
    print(describe(metrics))
    print(f"Metrics: {out_dir / 'metrics.json'}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
