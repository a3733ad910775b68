"""Turns a network into a SavedModel that runs where neither tfreuse nor Keras is known.

    path = export.export(model, "served", class_names=("ground", "cell"))  # served/1
    served = tf.saved_model.load(path)  # in any program with TensorFlow
    served.signatures["serving_default"](images=images)["mask"]

Signatures (all sizes free, float32 outputs whatever the precision of the network):

* `serving_default`: `images`, uint8 [B, H, W, C].
* `from_bytes`: `image_bytes`, one PNG or JPEG file as a string, [] or [1]; B is then 1. Only
  for networks of 1 or 3 channels.
* `logits`, of a segmentation: `images` to `logits` float32 [B, H, W, num_classes].

Outputs of the first two: segmentation `mask` int32 [B, H, W] and `probabilities` [B, H, W, num_classes];
auto-encoder `image` uint8 [B, H, W, C] and `reconstruction` [B, H, W, C], about 0 to 1.

Besides, `convert` writes ONNX and LiteRT files (`specs.FORMATS`), compared likewise.

The network gets the images / 255, as in training. Sides that it cannot take are reflected at
the bottom and the right up to the next size that it can, and the outputs are cropped back.
"""

import os
import pathlib
from typing import Any

import keras

from tfreuse import data, files, rundir
from tfreuse.errors import InputError
from tfreuse.export import check, folder, portable, serving
from tfreuse.export.network import Network
from tfreuse.export.serving import DEFAULT, FROM_BYTES, LOGITS, OUTPUTS
from tfreuse.specs import FORMATS

__all__ = [
    "ABOUT", "DEFAULT", "FROM_BYTES", "LOGITS", "OUTPUTS", "about", "convert", "export",
]  # fmt: skip

_CALIBRATING = 100  # training images
ABOUT = "assets.extra/tfreuse.json"  # TF Serving leaves assets.extra alone


def export(
    model: keras.Model,
    out_dir: str | os.PathLike,
    *,
    overwrite: bool = False,
    class_names: tuple[str, ...] = (),
    notes: dict[str, Any] | None = None,
    version: int = 1,
    task: str | None = None,
) -> pathlib.Path:
    """Writes the SavedModel `out_dir`/`version`, compares it with the network, returns its path.

    What is compared is loaded from the disk: random images at two sizes, one that the network
    takes and an odd one. Only then does it get its name: a failure or a kill at any moment
    leaves what was there before (a kill may leave a hidden folder `.<version>.*` beside it,
    which can be deleted). Where the file system cannot exchange two folders at once (most of
    Linux's can), overwriting has a moment without either.

    Args:
        model: images [B, H, W, C], float32 in [0, 1], to logits or images; of several outputs
            the one called "head" is exported.
        out_dir: TF Serving's base path; each number in it is a version.
        overwrite: replace the SavedModel that is there.
        class_names: names of the labels 0, 1, ..., for the reader of the side file.
        notes: anything that JSON can hold, for the side file `assets.extra/tfreuse.json`.
        version: 1 or more; TF Serving takes the highest.
        task: "segmentation" or "autoencoder"; told from the layer names if left out.

    Raises:
        InputError: something is there already, the model cannot be exported, or the SavedModel
            does not give what the model gives.
    """
    target = _target(pathlib.Path(out_dir), version, overwrite)
    network = Network.of(model, task)
    if class_names and len(class_names) != network.num_classes:
        raise InputError(
            f"{len(class_names)} class names are given, for a network of "
            f"{network.num_classes} classes; give one a class, or none."
        )
    with folder.taking_the_place_of(target) as temporary:
        serving.write(network, temporary)
        facts = {
            "class_names": list(class_names),
            "task": network.task,
            "channels": network.channels,
            "size_multiple": network.multiple,
            "parameters": model.count_params(),
            "signatures": serving.signatures(network),
            "check": check.compare(network, temporary),
            "notes": notes or {},
            "versions": rundir.versions(),
        }
        files.write_json(temporary / ABOUT, facts)
    return target


def convert(
    model: keras.Model,
    kind: str,
    out_dir: str | os.PathLike,
    *,
    size: tuple[int, int] = (64, 64),
    calibration: data.Split | None = None,
    test: data.Split | None = None,
    task: str | None = None,
) -> dict[str, Any]:
    """Writes the model in another format beside the SavedModel's versions; tells of it.

    Args:
        model: as of `export`.
        kind: one of `specs.FORMATS`.
        out_dir: folder of the file, which replaces one of its name.
        size: (H, W) of LiteRT's images.
        calibration: for "litert_int8", images to learn the ranges of features from.
        test: of a segmentation in 8 bits: where the loss of mean IoU is measured.
        task: as of `export`.

    Raises:
        InputError: what is needed is not installed, or the file would not give what the
            model gives.
    """
    network = Network.of(model, task)
    path = pathlib.Path(out_dir) / FORMATS[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    images = calibration and calibration.tensors["image"].numpy()[:_CALIBRATING]
    facts = portable.write(network, kind, path, size, images)
    if images is not None:
        facts["calibrated_on"] = len(images)
    if test is not None and network.task == "segmentation":
        held = [test.tensors[name].numpy() for name in ("image", "mask")]
        run = portable.runner(kind, path)
        facts["loss"] = portable.loss(network, run, *held, test.ignore_label)
    files.write_json(path.with_suffix(".json"), facts | {"task": network.task})
    return facts


def about(path: str | os.PathLike) -> dict[str, Any]:
    """The side file of the SavedModel at `path`, as `export` wrote it."""
    return files.read_json(pathlib.Path(path) / ABOUT)


def _target(out_dir: pathlib.Path, version: int, overwrite: bool) -> pathlib.Path:
    """`out_dir`/`version`, if it may be written.

    Raises:
        InputError: it may not.
    """
    target = out_dir / str(version)
    if version < 1:
        raise InputError(f"a version is a number from 1 up; got {version}.")
    for path in (out_dir, target):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; expected a directory or a new name.")
    if not target.exists() or not any(target.iterdir()):
        return target
    if not (target / "saved_model.pb").is_file():
        raise InputError(
            f"{target} holds other things than a SavedModel; choose another --out_dir."
        )
    if not overwrite:
        raise InputError(
            f"{target} holds a SavedModel already; replace it with --overwrite, or choose "
            "another --out_dir."
        )
    return target
