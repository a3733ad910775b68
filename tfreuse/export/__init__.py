"""Exports a network as a SavedModel that runs without tfreuse and Keras.

    path = export.export(model, "served", class_names=("ground", "cell"))  # served/1
    served = tf.saved_model.load(path)  # in any program with TensorFlow
    served.signatures["serving_default"](images=images)["mask"]

Signatures (all sizes free where the network can be freed; float32 outputs for networks of any
precision):

* `serving_default`: `images`, uint8 [B, H, W, C].
* `from_bytes`: `image_bytes`, one PNG or JPEG file as a string, [] or [1]; B is then 1. Only
  for networks of 1 or 3 channels whose images have 8 bits. Its pixels are those that training
  read, but for EXIF marks: photos stay as they are stored.
* `logits`, of a segmentation: `images` to `logits` float32 [B, H, W, num_classes]; not for
  networks that average probabilities, which have no logits.

Outputs of the first two: segmentation `mask` int32 [B, H, W] and `probabilities`
[B, H, W, num_classes]; auto-encoder `image` uint8 [B, H, W, C] and `reconstruction`
[B, H, W, C], about 0 to 1.

`convert` writes ONNX and LiteRT files (`specs.FORMATS`), which are compared with the network too.

The network gets the images / 255, as in training, or as they are if it begins with a Rescaling of
pixels. Images of a size that it cannot take are padded by reflection at the bottom and the right,
and the outputs are cropped. A last softmax, sigmoid or argmax is cut off, and a single channel is
that of label 1, of two; `examined` returns the changes as remarks. Every output is compared with
that of the uncut model in Keras.
"""

import os
import pathlib
from typing import Any

import keras

from tfreuse import data, files, rundir, runtime
from tfreuse.errors import InputError
from tfreuse.export import check, folder, portable, serving
from tfreuse.export.network import Network
from tfreuse.export.serving import DEFAULT, FROM_BYTES, LOGITS, OUTPUTS
from tfreuse.specs import FORMATS, STORED, ReadingSpec, check_format

__all__ = [
    "DEFAULT", "FROM_BYTES", "LOGITS", "METADATA", "OUTPUTS", "convert", "examined", "export",
    "metadata",
]  # fmt: skip

_CALIBRATION_IMAGES = 100
_RESIZING = (
    "scaled to cover image_size, bilinear, averaging; then cropped at the centre"
)
METADATA = "assets.extra/tfreuse.json"  # TF Serving ignores assets.extra


def export(
    model: keras.Model,
    out_dir: str | os.PathLike,
    *,
    overwrite: bool = False,
    class_names: tuple[str, ...] = (),
    notes: dict[str, Any] | None = None,
    version: int = 1,
    task: str | None = None,
    reading: ReadingSpec = serving.READING,
    image_size: tuple[int, int] | None = None,
    statistics: str = STORED,
) -> pathlib.Path:
    """Writes the SavedModel `out_dir`/`version`, compares it with the network, returns its path.

    The comparison loads the SavedModel from the disk and runs random images of two sizes, one
    that the network takes and an odd one. Only then is the folder renamed to its version: a
    failure or a kill at any moment leaves an earlier SavedModel in place (a kill may leave a
    hidden folder `.<version>.*` beside it, which can be deleted). On file systems that cannot
    exchange two folders in one step (most of Linux's can), neither exists for a moment.

    Args:
        model: images [B, H, W, C], float32 in [0, 1], to logits, probabilities, labels or
            images; of several outputs the output "head" is exported.
        out_dir: TF Serving's base path; each number in it is a version.
        overwrite: replace an existing SavedModel.
        class_names: names of the labels 0, 1, ..., for the metadata.
        notes: any JSON, for the metadata (`assets.extra/tfreuse.json`).
        version: 1 or more; TF Serving takes the highest.
        task: "segmentation" or "autoencoder"; None: by the layer names.
        reading: how training read its image files, for the metadata and `from_bytes`.
        image_size: (H, W) of the training's images, for the metadata; None: unknown.
        statistics: "stored", or "batch": batch normalization, frozen or not, computes with the
            statistics of the images of each call, and dropout stays off. An image alone is then
            normalized by itself; `from_bytes` has no other. Padded pixels count.

    Raises:
        InputError: the folder exists already, the model cannot be exported, or the outputs of
            the SavedModel differ from the model's.
    """
    target = _target(pathlib.Path(out_dir), version, overwrite)
    network = examined(model, task, statistics)
    if class_names and len(class_names) != network.num_classes:
        raise InputError(
            f"got {len(class_names)} class names for a network of {network.num_classes} "
            "classes; give a name for each class, or none."
        )
    with folder.replacing(target) as temporary, runtime.quiet():
        serving.write(network, temporary, reading=reading)
        facts = network.facts() | {
            "class_names": list(class_names),
            "parameters": model.count_params(),
            "signatures": serving.signatures(network, reading),
            "reading": reading.to_json(),
            "image_size": image_size and list(image_size),
            "resizing": _RESIZING if image_size else None,
            "check": check.compare(network, temporary),
            "notes": notes or {},
            "versions": rundir.versions(),
        }
        files.write_json(temporary / METADATA, facts)
    return target


def examined(
    model: keras.Model, task: str | None = None, statistics: str = STORED
) -> Network:
    """Examines how a model can be exported, in seconds and without writing anything.

    Call it before long work that ends in an export: it fails where `export` would.

    Args:
        model: as in `export`; its values do not matter.
        task, statistics: as in `export`.

    Returns:
        The network that `export` serves. Its `remarks` are lines for the user, such as that only
        one image size is served, and its `size` is that size or None.

    Raises:
        InputError: the model cannot be exported.
    """
    with runtime.quiet():
        return Network.of(model, task, statistics)


def convert(
    model: keras.Model,
    kind: str,
    out_dir: str | os.PathLike,
    *,
    size: tuple[int, int] = (64, 64),
    calibration: data.Split | None = None,
    test: data.Split | None = None,
    task: str | None = None,
    statistics: str = STORED,
) -> dict[str, Any]:
    """Writes the model in another format beside the SavedModel's versions; returns facts on it.

    Args:
        model: as in `export`.
        kind: one of `specs.FORMATS`.
        out_dir: folder of the file; an existing file is replaced.
        size: (H, W) of LiteRT's images, if the network takes more than one size.
        calibration: for "litert_int8": images that determine the ranges of features.
        test: for a segmentation in 8 bits: split on which the loss of mean IoU is measured.
        task, statistics: as in `export`; LiteRT takes one image at a time, which is no batch.

    Raises:
        InputError: a needed package is not installed, or the outputs of the file differ from
            the model's.
    """
    portable.check_installed(kind)
    check_format(kind, statistics)
    network = examined(model, task, statistics)
    path = pathlib.Path(out_dir) / FORMATS[kind]
    images = calibration and calibration.tensors["image"].numpy()[:_CALIBRATION_IMAGES]
    with folder.created(path.parent):
        facts = portable.write(network, kind, path, size, images)
    if images is not None:
        facts["calibrated_on"] = len(images)
    if test is not None and network.task == "segmentation":
        arrays = [test.tensors[name].numpy() for name in ("image", "mask")]
        run = portable.runner(kind, path)
        with runtime.quiet():
            facts["loss"] = portable.loss(network, run, *arrays, test.ignore_label)
    facts = network.facts() | facts
    files.write_json(path.with_suffix(".json"), facts)
    return facts


def metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the metadata that `export` wrote into the SavedModel at `path`."""
    return files.read_json(pathlib.Path(path) / METADATA)


def _target(out_dir: pathlib.Path, version: int, overwrite: bool) -> pathlib.Path:
    """Returns `out_dir`/`version`.

    Raises:
        InputError: the folder must not be written.
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
