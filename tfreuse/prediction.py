"""Runs a SavedModel that `export` wrote on image files, and writes pictures of what it gives.

predictor = prediction.Predictor("served")  # or "served/1"
for path in prediction.images("cells/*.png", out_dir):
    prediction.write(predictor, path, out_dir)
"""

import glob
import os
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from tfreuse import files, summaries
from tfreuse.data import pictures
from tfreuse.errors import InputError, printable

_MOST_LABELS = 256  # that a picture of 8 bits holds
_TASKS = {"mask": "segmentation", "image": "autoencoder"}  # by an output of `export`


class Predictor:
    """A SavedModel, ready to run.

    Attributes:
        task: "segmentation" or "autoencoder".
        channels: channels of the images, 1 or 3.

    Raises:
        InputError: there is no SavedModel at `path` or in the numbered folders in it, or it
            has not the signature that `export` writes.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        path = _saved_model(pathlib.Path(path))
        try:
            self._loaded = tf.saved_model.load(path)  # owns the signature's variables
            signature = self._loaded.signatures["serving_default"]
            spec = signature.structured_input_signature[1]["images"]
            self.task = next(
                task
                for output, task in _TASKS.items()
                if output in signature.structured_outputs
            )
        except Exception as error:  # TensorFlow raises many kinds for a broken folder
            raise InputError(
                f"{path} cannot be used: {printable(error) or type(error).__name__}. Expected "
                "a SavedModel that tools/export.py wrote; export the model again."
            ) from error
        self.channels = spec.shape[-1]
        if self.channels not in (1, 3):
            raise InputError(
                f"{path} takes images of {self.channels} channels; image files have 1 or 3. "
                "Call its signature from Python."
            )
        self._signature = signature

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs (see `export`) of an image, uint8 [H, W, C], without the batch axis.

        Raises:
            InputError: the image is too large for the memory.
        """
        try:
            outputs = self._signature(images=tf.constant(image[None]))
        except tf.errors.ResourceExhaustedError as error:
            raise InputError(
                f"an image of {image.shape[0]} x {image.shape[1]} pixels needs more memory "
                "than there is; cut it into parts."
            ) from error
        return {name: value.numpy()[0] for name, value in outputs.items()}


def images(pattern: str, out_dir: pathlib.Path) -> list[pathlib.Path]:
    """The files that the glob matches (`**` goes into folders), sorted.

    Raises:
        InputError: it matches none, two of the same stem, or one in `out_dir`, where outputs
            could replace it.
    """
    names = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    found = sorted(pathlib.Path(name) for name in names if os.path.isfile(name))
    if not found:
        raise InputError(
            f"--images={pattern} matches no file; expected a glob such as 'photos/*.png', "
            "in quotes."
        )
    stems: dict[str, pathlib.Path] = {}
    for path in found:
        other = stems.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would both write {path.stem}_*.png; take each folder by "
                "itself, with an --out_dir of its own."
            )
        if path.parent.resolve() == out_dir.resolve():
            raise InputError(
                f"--out_dir={out_dir} holds the image {path.name}; choose another, so that no "
                "output replaces an image."
            )
    return found


def write(predictor: Predictor, path: pathlib.Path, out_dir: pathlib.Path) -> None:
    """Predicts one image file, each output file at once or not at all.

    Segmentation: `<stem>_mask.png`, the labels as grey values, and `<stem>_overlay.png`, half
    image and half the labels' colours. Auto-encoder: `<stem>_reconstruction.png`. They have
    the size of the image, turned as its camera says.

    Raises:
        InputError: the file is no readable image.
    """
    picture, _ = pictures.read_image(path)
    picture = picture.convert("L" if predictor.channels == 1 else "RGB")
    image = np.asarray(picture).reshape(*picture.size[::-1], predictor.channels)
    outputs = predictor(image)
    if predictor.task == "autoencoder":
        _save(outputs["image"], out_dir / f"{path.stem}_reconstruction.png")
        return
    mask, num_classes = outputs["mask"], outputs["probabilities"].shape[-1]
    if num_classes > _MOST_LABELS:
        raise InputError(
            f"the model tells {num_classes} classes apart; a mask of 8 bits holds "
            f"{_MOST_LABELS}. Call its signature from Python."
        )
    colours = summaries.palette(num_classes)[mask]  # [H, W, 3]
    overlay = (image.astype(np.uint16) + colours + 1) // 2  # grey spreads over RGB
    _save(mask, out_dir / f"{path.stem}_mask.png")
    _save(overlay, out_dir / f"{path.stem}_overlay.png")


def _save(pixels: np.ndarray, path: pathlib.Path) -> None:
    """Writes [H, W], [H, W, 1] or [H, W, 3], 0 to 255, as a PNG file."""
    pixels = pixels.astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    with files.replacing(path, suffix=".png") as temporary:
        picture.save(temporary)


def _saved_model(path: pathlib.Path) -> pathlib.Path:
    """`path` itself, or its folder of the highest version, as TF Serving chooses."""
    if path.is_file():
        raise InputError(
            f"expected the folder of a SavedModel, got the file {path}; write one with "
            f"tools/export.py --model={path} --out_dir=DIR."
        )
    if (path / "saved_model.pb").is_file():
        return path
    versions = [
        int(folder.parent.name)
        for folder in path.glob("*/saved_model.pb")
        if folder.parent.name.isdecimal()
    ]
    if not versions:
        raise InputError(
            f"{path} holds no SavedModel; write one with tools/export.py --out_dir={path}."
        )
    return path / str(max(versions))
