"""Runs an exported SavedModel on image files and writes its outputs as pictures.

    predictor = prediction.Predictor("served")  # or "served/1"
    for path in prediction.images("cells/*.png", out_dir):
        prediction.write(predictor, path, out_dir)

Large images are processed tile by tile. A folder's `predictions.json` identifies the model and
the tiles, so that an interrupted run resumes without mixing outputs of two models.
"""

from __future__ import annotations  # tf.Tensor stands in signatures

import functools
import glob
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from tfreuse import files, rundir, runtime
from tfreuse.data import drawing, pictures
from tfreuse.errors import InputError, printable
from tfreuse.prediction import shares, tiles
from tfreuse.specs import PredictSpec, ReadingSpec

__all__ = [
    "Predictor", "claim", "done", "images", "saved_model", "tabulate", "write",
]  # fmt: skip

tf = runtime.Lazy("tensorflow")
_MOST_LABELS = 256  # of a picture of 8 bits
_TASKS = {"mask": "segmentation", "image": "autoencoder"}  # by an output of `export`
_ENDS = {  # of the names of output files, in the order of writing
    "segmentation": ("mask.png", "overlay.png"),
    "autoencoder": ("reconstruction.png",),
}
_LARGEST_MULTIPLE = 4096


class Predictor:
    """A SavedModel, ready to run.

    Attributes:
        task: "segmentation" or "autoencoder".
        channels: channels of the images: 1, 3, or the bands of TIFF files.
        reading: how the training read its image files.
        class_names: names of a segmentation's labels 0, 1, ...; else ().
        path: folder of the SavedModel.

    Raises:
        InputError: there is no SavedModel at `path` or in the numbered folders in it, it lacks
            the signature that `export` writes, or tiles of this size cannot advance.
    """

    def __init__(
        self, path: str | os.PathLike, spec: PredictSpec | None = None
    ) -> None:
        self.spec = spec or PredictSpec()
        self.path = path = saved_model(pathlib.Path(path))
        try:
            self._loaded = tf.saved_model.load(path)  # owns the signature's variables
            signature = self._loaded.signatures["serving_default"]
            input_spec = signature.structured_input_signature[1]["images"]
            outputs = signature.structured_outputs
            self._output = next(name for name in _TASKS if name in outputs)
        except Exception as error:  # TensorFlow raises many types for a broken folder
            raise InputError(
                f"{path} cannot be used: {printable(error) or type(error).__name__}. Expected "
                "a SavedModel that tools/export.py wrote; export the model again."
            ) from error
        self.task, self.channels = _TASKS[self._output], input_spec.shape[-1]
        if self.task == "autoencoder" and self.channels not in (1, 3):
            raise InputError(
                f"{path} makes images of {self.channels} channels; PNG files have 1 or 3. "
                "Call its signature from Python."
            )
        self._signature = signature
        metadata = _metadata(path)
        self.reading = _reading(path, metadata.get("reading"))
        self._multiple = _size_multiple(metadata.get("size_multiple"))
        self.class_names: tuple[str, ...] = ()
        if self.task == "segmentation":
            count = outputs["probabilities"].shape[-1]
            self.class_names = _class_names(metadata.get("class_names"), count)
        if self.spec.tile:
            tiles.check(self.spec.tile, self.spec.overlap, self._multiple)

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the outputs (see `export`) of an image, uint8 [H, W, C], without batch axis.

        Raises:
            InputError: the image is too large for the memory.
        """
        try:
            outputs = self._signature(images=tf.constant(image[None]))
        except tf.errors.ResourceExhaustedError as error:
            raise InputError(
                f"an image of {image.shape[0]} x {image.shape[1]} pixels needs more memory "
                "than there is; take a smaller --tile."
            ) from error
        return {name: value.numpy()[0] for name, value in outputs.items()}

    def picture(
        self, image: np.ndarray, progress: Callable[[float], None] = lambda share: None
    ) -> np.ndarray:
        """Predicts the mask int32 [H, W], or the image uint8 [H, W, C], tile by tile.

        Args:
            image: uint8 [H, W, C].
            progress: called after each tile with the share of tiles done.
        """
        pairs = list(self._tiles(*image.shape[:2]))
        output = None
        for number, (rows, columns) in enumerate(pairs, 1):
            part = self(image[rows.read, columns.read])[self._output]
            if output is None:
                output = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
            output[rows.keep, columns.keep] = part[rows.inner, columns.inner]
            progress(number / len(pairs))
        return output

    def _tiles(self, height: int, width: int) -> Iterator[tuple[tiles.Span, ...]]:
        tile = self.spec.tile or max(height, width)
        sides = (
            tiles.spans(size, tile, self.spec.overlap, self._multiple)
            for size in (height, width)
        )
        return itertools.product(*sides)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of all files of the SavedModel."""
        return files.digest(
            {
                path.relative_to(self.path).as_posix(): files.file_digest(path)
                for path in sorted(self.path.rglob("*"))
                if path.is_file()
            }
        )


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
    """Returns the files that the glob matches (`**` matches folders), sorted.

    Raises:
        InputError: it matches no file, two of the same stem, or a file in `out_dir`, which an
            output could replace.
    """
    names = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
    paths = sorted(pathlib.Path(name) for name in names if os.path.isfile(name))
    if not paths:
        raise InputError(
            f"--images={pattern} matches no file; expected a glob such as 'photos/*.png', "
            "in quotes."
        )
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
        InputError: the file is no readable image, or there are too many labels for a picture.
    """
    image = pictures.read_image(path, predictor.channels, predictor.reading).pixels
    num_classes = len(predictor.class_names)
    if num_classes > _MOST_LABELS:
        raise InputError(
            f"the model has {num_classes} classes; a mask of 8 bits holds {_MOST_LABELS}. "
            "Call its signature from Python."
        )
    output = predictor.picture(image, progress)
    paths = [out_dir / f"{path.stem}_{end}" for end in _ENDS[predictor.task]]
    _save(output, paths[0])
    if predictor.task == "segmentation":
        colours = drawing.palette(num_classes)[output]  # [H, W, 3]
        _save((drawing.rgb(image).astype(np.uint16) + colours + 1) // 2, paths[1])


def _save(pixels: np.ndarray, path: pathlib.Path) -> None:
    """Writes [H, W], [H, W, 1] or [H, W, 3], 0 to 255, as a PNG file."""
    pixels = pixels.astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    with files.replacing(path, suffix=".png") as temporary:
        picture.save(temporary)


def saved_model(path: pathlib.Path) -> pathlib.Path:
    """Returns `path` itself, or its folder of the highest version, as TF Serving does.

    Raises:
        InputError: there is no SavedModel.
    """
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


def _metadata(path: pathlib.Path) -> dict:
    """Reads the SavedModel's metadata; {} if missing or broken: all have defaults."""
    from tfreuse import export  # imports Keras

    try:
        metadata = export.metadata(path)
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _size_multiple(value: object) -> int:
    """Returns the metadata's size multiple; 1 if it is not a sensible number."""
    is_valid = isinstance(value, int) and 1 <= value <= _LARGEST_MULTIPLE
    return value if is_valid else 1


def _reading(path: pathlib.Path, value: object) -> ReadingSpec:
    """Returns the metadata's settings for image files; the default if there are none."""
    try:
        return ReadingSpec.from_json(value or {})
    except (InputError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: its description says how images are read in a way that is not known "
            f"({printable(error, 200)}). Export the model again."
        ) from error


def _class_names(value: object, count: int) -> tuple[str, ...]:
    """Returns the metadata's class names; "class 0" and so on if there are not `count`."""
    if isinstance(value, list) and len(value) == count:
        return tuple(printable(name) for name in value)
    return tuple(f"class {i}" for i in range(count))
