"""Runs an exported model on image files.

  python tools/predict.py --model=served --images='photos/*.jpg' --out_dir=predictions

Writes, for each image, OUT_DIR/<stem>_mask.png (labels as grey values) and
<stem>_overlay.png (the labels' colours over the image) for a segmentation, or
<stem>_reconstruction.png for an auto-encoder. Images may have any size.
"""

import pathlib
import sys

from absl import flags

from tfreuse import progress, runtime
from tfreuse.cli import app
from tfreuse.errors import InputError


def define_flags() -> None:
    flags.DEFINE_string("model", "", "directory that tools/export.py wrote to")
    flags.DEFINE_string(
        "images", "", "glob of image files, in quotes; ** for any folder"
    )
    flags.DEFINE_string("out_dir", "", "directory for the predictions")


def main() -> None:
    for name in ("model", "images", "out_dir"):
        if not app.FLAGS[name].value:
            raise InputError(f"--{name} is not given; see --help.")
    runtime.start()
    from tfreuse import prediction

    paths = prediction.images(app.FLAGS.images, pathlib.Path(app.FLAGS.out_dir))
    predictor = prediction.Predictor(app.FLAGS.model)
    out_dir = app.out_dir()
    display = progress.Display(len(paths))
    try:
        for done, path in enumerate(paths):
            display.update(done, f"image {done + 1}/{len(paths)} {path.name}")
            prediction.write(predictor, path, out_dir)
    finally:
        display.close()
    print(f"{len(paths)} images predicted ({predictor.task}): {out_dir}")


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
