"""Trains one network for segmentation or as an auto-encoder.

  python tools/train.py --task=segmentation --architecture=unet --dataset=shapes \\
      --image_size=64,64 --width=16 --depth=3 --steps=1000 --out_dir=runs/segmentation

Writes OUT_DIR/model.keras (best on the validation split), metrics.json (test split),
config.flags and tensorboard/. After an interruption, the same command goes on.
--check_data checks the data set and stops; with --out_dir it also draws images with their masks
over them, as --augment may change them, to OUT_DIR/data.png, and lists the images of each split of a
folder in OUT_DIR/splits.csv.
"""

import pathlib
import sys

from absl import flags

from tfreuse import progress, runtime
from tfreuse.cli import app
from tfreuse.specs import DataSpec, DeviceSpec, ModelSpec, TrainSpec


def define_flags() -> None:
    app.define(TrainSpec)
    app.define(ModelSpec)
    app.define_data()
    app.define(DeviceSpec)
    flags.DEFINE_string("out_dir", "", "directory of the run")
    flags.DEFINE_boolean(
        "recalibrate",
        True,
        "measure and save the model with moving statistics that are re-estimated on training "
        "images; the moving averages of a short training lag behind",
    )
    flags.DEFINE_boolean("check_data", False, "describe the data set, and stop")


def main() -> None:
    from tfreuse.cli import early  # imports NumPy: --help is faster without

    data_spec = app.data_spec()
    if app.FLAGS.check_data:
        _check_data(data_spec)
        return
    model_spec, train_spec = app.spec(ModelSpec), app.spec(TrainSpec)
    early.network(model_spec, data_spec)
    early.run(
        pathlib.Path(app.FLAGS.out_dir) / "run.json",
        {"model": model_spec, "data": data_spec, "train": train_spec},
        masks=train_spec.task == "segmentation",
    )
    with app.sole_out_dir("this training", holds="run.json") as out_dir:
        print(f"Training in {out_dir}; watch it with: tensorboard --logdir={out_dir}")
        runtime.start(deterministic=train_spec.deterministic)
        from tfreuse import training

        metrics = _train(training, model_spec, data_spec, train_spec, out_dir)
    print(describe(metrics))
    if count := metrics.get("recalibration_images"):
        print(
            f"Moving statistics re-estimated on {count} training images (--recalibrate)"
        )
    print(f"Model: {out_dir / 'model.keras'}  metrics: {out_dir / 'metrics.json'}")


def _check_data(data_spec: DataSpec) -> None:
    from tfreuse import data

    if data_spec.dataset != "folder":  # TFDS imports TensorFlow
        data.check_files(data_spec)
        runtime.start()
    print(data.check(data_spec))
    if app.FLAGS.out_dir:
        runtime.start()
        from tfreuse.data import contact_sheet, folder

        path = pathlib.Path(app.FLAGS.out_dir) / "data.png"
        contact_sheet.write(data_spec, path, app.spec(TrainSpec).augment)
        print(f"\nImages with their masks: {path}")
        if data_spec.dataset == "folder":
            path = path.with_name("splits.csv")
            folder.Folder(data_spec).write_splits(path)
            print(f"Images of each split: {path}")


def _train(training, model_spec, data_spec, train_spec, out_dir: pathlib.Path) -> dict:
    display = None

    def report(step: int, text: str) -> None:
        nonlocal display  # made at the first step, so that start-up is not in the time left
        if display is None and step > 1:
            print(f"{out_dir} was begun before: it goes on after step {step - 1}.")
        display = display or progress.Display(train_spec.steps, step - 1)
        display.update(step, f"{train_spec.task} step {step}/{train_spec.steps} {text}")

    try:
        return training.train(
            model_spec,
            data_spec,
            train_spec,
            out_dir,
            device_spec=app.spec(DeviceSpec),
            recalibrate=app.FLAGS.recalibrate,
            report=report,
        )
    finally:
        if display:
            display.close()


def describe(metrics: dict) -> str:
    """Formats test metrics in a few lines, with the number of images."""
    images = f"on {metrics['images']} {metrics['split']} images"
    if metrics.get("corruption", "none") != "none":
        images += f", input corrupted: {metrics['corruption']}"
    if metrics.get("unlabelled") == "all":
        images += ", which the training saw too"
    if metrics["task"] == "autoencoder":
        side = metrics.get("ssim_window")
        window = f" (in windows of {side} pixels, not 11)" if side else ""
        return (
            f"R2 {metrics['r2']:.3f}, PSNR {metrics['psnr']:.1f} dB, "
            f"SSIM {metrics['ssim']:.3f}{window} {images}"
        )
    classes = "\n".join(
        f"  {name:20} {'absent' if value is None else f'{value:.3f}'}"
        for name, value in metrics["per_class_iou"].items()
    )
    return (
        f"mean IoU {metrics['mean_iou']:.3f} (always the most frequent class: "
        f"{metrics['floor']:.3f}), pixel accuracy {metrics['pixel_accuracy']:.3f} "
        f"{images}\nIoU by class:\n{classes}"
    )


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
