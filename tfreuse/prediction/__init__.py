"""Runs an exported SavedModel on image files and writes its outputs as pictures.

    predictor = prediction.Predictor("served")  # or "served/1"
    for path in prediction.images("cells/*.png", out_dir):
        prediction.write(predictor, path, out_dir)

Images are scaled as in the training, and the outputs back to each image's size; large ones are
processed tile by tile. A folder's `predictions.json` identifies the model, the scale and the
tiles, so that an interrupted run resumes without mixing outputs of two models.
"""

import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tfreuse import files, rundir
from tfreuse.data import drawing, picture_files, pictures
from tfreuse.errors import InputError
from tfreuse.prediction import shares
from tfreuse.prediction.predictor import Predictor, saved_model

__all__ = [
    "Predictor", "check_out_dir", "claim", "done", "images", "saved_model", "tabulate", "write",
]  # fmt: skip

_ENDS = {  # of the names of output files, in the order of writing
    "segmentation": ("mask.png", "overlay.png"),
    "autoencoder": ("reconstruction.png",),
}


def claim(predictor: Predictor, out_dir: pathlib.Path) -> None:
    """Claims `out_dir` for the predictions of this model with these tiles.

    Raises:
        InputError: the folder belongs to another model or other tiles.
    """
    path = out_dir / "predictions.json"
    identity = rundir.claim(path, {"predict": predictor.spec})
    if identity.setdefault("model", predictor.digest) != predictor.digest:
        raise InputError(
            f"{out_dir} holds predictions of another model; choose another --out_dir."
        )
    files.write_json(path, identity)


def check_out_dir(model: pathlib.Path, out_dir: pathlib.Path) -> None:
    """Checks that predictions do not go into the folder of the model's export.

    Raises:
        InputError: there is no SavedModel at `model`, or `out_dir` is its folder or in it.
    """
    version = saved_model(model).resolve()
    target = out_dir.resolve()
    if target == model.resolve() or target.is_relative_to(version):
        raise InputError(
            f"--out_dir={out_dir} is the folder of the exported model; choose another for the "
            "predictions."
        )


def done(predictor: Predictor, path: pathlib.Path, out_dir: pathlib.Path) -> bool:
    """Returns whether all outputs of the image exist and are not older than the image."""
    outputs = [out_dir / f"{path.stem}_{end}" for end in _ENDS[predictor.task]]
    try:
        changed = path.stat().st_mtime_ns
        return all(output.stat().st_mtime_ns >= changed for output in outputs)
    except FileNotFoundError:
        return False


def tabulate(
    predictor: Predictor, paths: list[pathlib.Path], out_dir: pathlib.Path
) -> pathlib.Path | None:
    """Writes `out_dir`/shares.csv of a segmentation; returns its path, or None."""
    if predictor.task != "segmentation":
        return None
    masks = (
        (path.name, out_dir / f"{path.stem}_{_ENDS['segmentation'][0]}")
        for path in paths
    )
    return shares.write(masks, predictor.class_names, out_dir)


def images(pattern: str, out_dir: pathlib.Path) -> list[pathlib.Path]:
    """Returns `picture_files.matching(pattern)`, whose outputs can lie side by side in a folder.

    Args:
        pattern: a file, a folder, or a glob.
        out_dir: folder of the outputs.

    Raises:
        InputError: there are no images, two of the same stem, or one in `out_dir`, which an
            output could replace.
    """
    paths = picture_files.matching(pattern)
    stems: dict[str, pathlib.Path] = {}
    for path in paths:
        first = stems.setdefault(path.stem, path)
        if first is not path:
            raise InputError(
                f"{first} and {path} would both write {path.stem}_*.png; predict each folder "
                "separately, with its own --out_dir."
            )
        if path.parent.resolve() == out_dir.resolve():
            raise InputError(
                f"--out_dir={out_dir} holds the image {path.name}; choose another, so that no "
                "output replaces an image."
            )
    return paths


def write(
    predictor: Predictor,
    path: pathlib.Path,
    out_dir: pathlib.Path,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Predicts an image file and writes each output file atomically.

    Segmentation: `<stem>_mask.png`, labels as grey values, and `<stem>_overlay.png`, the mean
    of the image and the labels' colours. Auto-encoder: `<stem>_reconstruction.png`. Outputs
    have the size of the image after rotation by its EXIF tag.

    Args:
        predictor: the model.
        path: the image file.
        out_dir: folder of the outputs.
        progress: called after each tile with the share of the image done.

    Raises:
        InputError: the file is no readable image, or one too large for the memory.
    """
    image = pictures.read_image(path, predictor.channels, predictor.reading).pixels
    output = predictor.picture(image, progress)
    paths = [out_dir / f"{path.stem}_{end}" for end in _ENDS[predictor.task]]
    _save(output, paths[0])
    if predictor.task == "segmentation":
        colours = drawing.palette(len(predictor.class_names))[output]  # [H, W, 3]
        _save((drawing.rgb(image).astype(np.uint16) + colours + 1) // 2, paths[1])


def _save(pixels: np.ndarray, path: pathlib.Path) -> None:
    """Writes [H, W], [H, W, 1] or [H, W, 3], 0 to 255, as a PNG file."""
    pixels = pixels.astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    with files.replacing(path, suffix=".png") as temporary:
        picture.save(temporary)
