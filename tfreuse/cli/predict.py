"""Runs an exported model on image files.

  python tools/predict.py --model=served --images='photos/*.jpg' --out_dir=predictions

Writes, for each image, OUT_DIR/<stem>_mask.png (labels as grey values) and
<stem>_overlay.png (the labels' colours over the image) for a segmentation, or
<stem>_reconstruction.png for an auto-encoder; and OUT_DIR/shares.csv, the share of each class
in each image. Images may have any size: large ones are processed in tiles. After an
interruption, the same command goes on.
"""

import pathlib
import sys

from absl import flags

from tfreuse import progress, runtime
from tfreuse.cli import app
from tfreuse.errors import InputError, printable
from tfreuse.specs import PredictSpec


def define_flags() -> None:
    flags.DEFINE_string("model", "", "directory that tools/export.py wrote to")
    flags.DEFINE_string(
        "images", "", "glob pattern of image files, in quotes; ** matches any folder"
    )
    flags.DEFINE_string("out_dir", "", "directory for the predictions")
    app.define(PredictSpec)


def main() -> None:
    for name in ("model", "images", "out_dir"):
        if not app.FLAGS[name].value:
            raise InputError(f"--{name} is not given; see --help.")
    from tfreuse import prediction  # here, since it imports NumPy: --help is faster

    prediction.saved_model(pathlib.Path(app.FLAGS.model))
    paths = prediction.images(app.FLAGS.images, pathlib.Path(app.FLAGS.out_dir))
    spec = app.spec(PredictSpec)
    runtime.start()
    predictor = prediction.Predictor(app.FLAGS.model, spec)
    out_dir = app.out_dir(holds="predictions.json")
    prediction.claim(predictor, out_dir)
    todo = [path for path in paths if not prediction.done(predictor, path, out_dir)]
    display = progress.Display(len(todo))
    try:
        for i, path in enumerate(todo):
            name = printable(path.name)

            def report(share: float, i=i, name=name) -> None:
                display.update(i + share, f"image {i + 1}/{len(todo)} {name}")

            report(0.0)
            prediction.write(predictor, path, out_dir, report)
    finally:
        display.close()
    prediction.tabulate(predictor, paths, out_dir)
    before = len(paths) - len(todo)
    earlier = f", {before} of them by an earlier run" if before else ""
    print(f"{len(paths)} images predicted ({predictor.task}){earlier}: {out_dir}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
