"""Writes a trained model as a SavedModel, for TensorFlow Serving or any TensorFlow program.

  python tools/export.py --model=runs/segmentation/model.keras --out_dir=served

Writes OUT_DIR/1/, which takes uint8 images of any size (or of one, where the model takes no
other), and a description of the model to OUT_DIR/1/assets.extra/tfreuse.json. Before that, the
export is loaded again and compared with the model; if they differ, nothing is written.
--formats=onnx,litert,litert_int8 also writes OUT_DIR/model.onnx and so on: LiteRT for the image
size of the training, 8 bits with the loss of mean IoU on the test split. Settings of the data
that are not given are those of the training (MODEL.run.json, else run.json beside the model).

--statistics=batch: batch normalization computes with the statistics of the images of each call,
not with the stored ones, for images unlike those of the training. The output for an
image then depends on the images beside it; an image alone, as in tools/predict.py and the signature from_bytes,
is normalized by itself, so that how it differs from others (brightness, contrast) is lost.
"""

import os
import pathlib
import sys

from absl import flags

from tfreuse import runtime
from tfreuse.cli import app, as_trained
from tfreuse.errors import InputError, printable
from tfreuse.specs import FORMATS, STATISTICS, STORED, DataSpec, check_format


def define_flags() -> None:
    flags.DEFINE_string("model", "", "model file (.keras)")
    flags.DEFINE_string("out_dir", "", "directory for the SavedModel, as OUT_DIR/1/")
    flags.DEFINE_boolean("overwrite", False, "replace an existing SavedModel")
    flags.DEFINE_list(
        "class_names", [], "names of the labels 0, 1, ..., comma-separated"
    )
    flags.DEFINE_enum(
        "statistics",
        STORED,
        STATISTICS,
        "statistics of batch normalization: the model's, or those of each call's images",
    )
    app.define_task()
    flags.DEFINE_list(
        "formats",
        [],
        f"further formats to write, comma-separated: {', '.join(FORMATS)}",
    )
    app.define_data()


def main() -> None:
    if not app.FLAGS.out_dir:
        raise InputError("--out_dir is not given: expected a directory to write to.")
    from tfreuse import data  # here, since it imports NumPy: --help is faster
    from tfreuse.cli import early

    early.model_file("model")
    kinds = _formats()
    data_spec = _data_spec(pathlib.Path(app.FLAGS.model), kinds)
    if "litert_int8" in kinds:
        data.check_files(data_spec, ["train"], masks=False)
    runtime.start()
    from tfreuse import export
    from tfreuse.models import saving

    for kind in kinds:
        export.portable.check_installed(kind)
    source = pathlib.Path(app.FLAGS.model)
    model = saving.load(source)
    path = export.export(
        model,
        app.FLAGS.out_dir,
        overwrite=app.FLAGS.overwrite,
        class_names=tuple(app.FLAGS.class_names),
        notes={"model": str(source)},
        task=app.FLAGS.task,
        reading=data_spec.reading,
        image_size=data_spec.image_size if app.FLAGS["image_size"].present else None,
        statistics=app.FLAGS.statistics,
    )
    app.out_dir()  # only now: a failed export must not change the flags of an earlier one
    print(_describe(export.metadata(path), export.OUTPUTS))
    print(_unrecorded(source), end="")
    print(f"SavedModel: {path}{os.sep}")
    for kind in kinds:
        print(_convert(export.convert, model, kind, data_spec))


def _formats() -> tuple[str, ...]:
    """Returns the values of --formats, each once; InputError for an unknown one."""
    for kind in app.FLAGS.formats:
        if kind not in FORMATS:
            raise InputError(
                f"--formats takes some of {', '.join(FORMATS)}; got {printable(kind)!r}."
            )
        check_format(kind, app.FLAGS.statistics)
    return tuple(dict.fromkeys(app.FLAGS.formats))


def _data_spec(model: pathlib.Path, kinds: tuple[str, ...]) -> DataSpec:
    """Returns the data of the flags; of those that are not given, the training's."""
    is_given = any(app.FLAGS[n].present for n in DataSpec.__dataclass_fields__)
    as_trained.take_data(model)
    if not (is_given or app.trained(model)) and any("litert" in kind for kind in kinds):
        raise InputError(
            "LiteRT needs an image size and, for 8 bits, images: there is no run.json beside "
            f"{model} with those of its training. Give --image_size, --dataset and --data_dir."
        )
    return app.data_spec()


def _unrecorded(model: pathlib.Path) -> str:
    """Returns a line on the settings that neither run.json nor flags say; "" if there are none."""
    missing = {
        "image_size": "no image size (--image_size=HEIGHT,WIDTH)",
        "intensity_range": "no intensity range (--intensity_range=MIN,MAX for images of more "
        "than 8 bits)",
    }
    texts = [text for name, text in missing.items() if not app.FLAGS[name].present]
    if app.trained(model) or not texts:
        return ""
    return (
        f"no run.json beside {printable(model)} says how it was trained: the export records "
        f"{' and '.join(texts)}\n"
    )


def _convert(convert, model, kind: str, data_spec: DataSpec) -> str:
    """Writes the model in one more format; returns a line about the file."""
    from tfreuse import data
    from tfreuse.training import evaluation

    task = app.FLAGS.task or evaluation.task_of(model)
    splits = {}
    if kind == "litert_int8":
        splits["calibration"] = data.load(data_spec, "train", masks=False)
        if task == "segmentation":
            labels = app.trained(app.FLAGS.model).get("train", {}).get("labels", "all")
            splits["test"] = data.relabel(data.load(data_spec, "test"), labels)
    facts = convert(
        model,
        kind,
        app.FLAGS.out_dir,
        size=data_spec.image_size,
        task=task,
        statistics=app.FLAGS.statistics,
        **splits,
    )
    line = f"{kind}: {facts['file']}, {facts['bytes'] / 1e6:.2f} MB"
    if "check" in facts:
        check = facts["check"]
        line += (
            f"; on {check['images']} it differs from the model by "
            f"{check['largest_difference']:.2g} at most (allowed {check['tolerance']:.2g})"
        )
    if "loss" in facts:
        loss = facts["loss"]
        line += (
            f"; mean IoU {loss['mean_iou_of_file']:.3f} against {loss['mean_iou']:.3f}, "
            f"{_signed(loss['difference'])} [{_signed(loss['low'])}, "
            f"{_signed(loss['high'])}] (95 % "
            f"interval over {loss['images']} test images; calibrated on "
            f"{facts['calibrated_on']} training images)"
        )
    return line


def _signed(value: float) -> str:
    """Formats with a sign and three decimals; never as "-0.000"."""
    return f"{round(value, 3) + 0.0:+.3f}"


def _describe(facts: dict, outputs: dict) -> str:
    """Describes a SavedModel's inputs, outputs and check, a line each."""
    channels, (derived, direct) = facts["channels"], outputs[facts["task"]]
    size = "any size"
    if facts["fixed_size"]:
        size = "{} x {} pixels".format(*facts["fixed_size"])
    check = facts["check"]
    if facts["task"] == "segmentation":
        gives = f"{derived} int32 [B, H, W], {direct} float32 [B, H, W, classes]"
    else:
        gives = f"{derived} uint8 and {direct} float32, both [B, H, W, {channels}]"
    inputs = {
        "serving_default": f"images, uint8 [B, H, W, {channels}], {size}",
        "from_bytes": "image_bytes, a PNG or JPEG file; photos as they are stored",
        "logits": "images, gives logits float32 [B, H, W, classes]",
    }
    lines = [f"signature {name}: {inputs[name]}" for name in facts["signatures"]]
    lines.append(f"outputs: {gives}")
    reading = [f"--{name}={value}" for name, value in facts["reading"].items() if value]
    if reading:
        lines.append(
            f"images are read with {' '.join(reading)}, by tools/predict.py too"
        )
    if facts["image_size"]:
        height, width = facts["image_size"]
        lines.append(
            f"in training, images were scaled to cover {height} x {width} pixels; "
            "tools/predict.py does that too"
        )
    lines += [f"note: {remark}" for remark in facts["remarks"]]
    lines.append(
        f"checked on {check['images']}, loaded from the disk: differs from the model by "
        f"{check['largest_difference']:.2g} at most (allowed {check['tolerance']:.2g})"
    )
    return "\n".join(lines)


def run() -> None:
    app.run(sys.modules[__name__])


if __name__ == "__main__":
    run()
