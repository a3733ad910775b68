"""Writes a trained model as a SavedModel, for TensorFlow Serving or any TensorFlow program.

  python tools/export.py --model=runs/segmentation/model.keras --out_dir=served

Writes OUT_DIR/1/, which takes uint8 images of any size, and what is known of the model to
OUT_DIR/1/assets.extra/tfreuse.json. What was written is loaded again and compared with the
model first; if they differ, nothing is written.
"""

import os
import pathlib
import sys

from absl import flags

from tfreuse import runtime
from tfreuse.cli import app
from tfreuse.errors import InputError
from tfreuse.specs import TASKS


def define_flags() -> None:
    flags.DEFINE_string("model", "", "model file (.keras)")
    flags.DEFINE_string("out_dir", "", "directory for the SavedModel, as OUT_DIR/1/")
    flags.DEFINE_boolean("overwrite", False, "replace the SavedModel that is there")
    flags.DEFINE_list(
        "class_names", [], "names of the labels 0, 1, ..., comma-separated"
    )
    flags.DEFINE_enum(
        "task",
        None,
        list(TASKS),
        "the model's task; told from its layer names if left out",
    )


def main() -> None:
    if not app.FLAGS.out_dir:
        raise InputError("--out_dir is not given: where should the SavedModel go?")
    runtime.start()
    from tfreuse import checkpoint, export

    model = pathlib.Path(app.FLAGS.model)
    path = export.export(
        checkpoint.load(model),
        app.FLAGS.out_dir,
        overwrite=app.FLAGS.overwrite,
        class_names=tuple(app.FLAGS.class_names),
        notes={"model": str(model)},
        task=app.FLAGS.task,
    )
    app.out_dir()  # only now: a refused export leaves the flags of the one that is there
    print(_describe(export.about(path), export.OUTPUTS))
    print(f"SavedModel: {path}{os.sep}")


def _describe(about: dict, outputs: dict) -> str:
    """What the SavedModel takes, gives, and how it was checked."""
    channels, (derived, direct) = about["channels"], outputs[about["task"]]
    check = about["check"]
    if about["task"] == "segmentation":
        gives = f"{derived} int32 [B, H, W], {direct} float32 [B, H, W, classes]"
    else:
        gives = f"{derived} uint8 and {direct} float32, both [B, H, W, {channels}]"
    inputs = {
        "serving_default": f"images, uint8 [B, H, W, {channels}], any size",
        "from_bytes": "image_bytes, a PNG or JPEG file",
        "logits": "images, gives logits float32 [B, H, W, classes]",
    }
    lines = [f"signature {name}: {inputs[name]}" for name in about["signatures"]]
    lines.append(f"outputs: {gives}")
    lines.append(
        f"checked on {check['images']}, loaded from the disk: differs from the model by "
        f"{check['largest_difference']:.2g} at most (allowed {check['tolerance']:.2g})"
    )
    return "\n".join(lines)


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
