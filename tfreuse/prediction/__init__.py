"""Runs a SavedModel that `export` wrote on image files, and writes pictures of what it gives.

predictor = prediction.Predictor("served")  # or "served/1"
for path in prediction.images("cells/*.png", out_dir):
    prediction.write(predictor, path, out_dir)

Large images are looked at tile by tile. Which model and which tiles a folder is of stands in
its `predictions.json`, so that a run which was stopped goes on without mixing two.
"""

import functools
import glob
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from tfreuse import export, files, rundir
from tfreuse.data import drawing, pictures
from tfreuse.errors import InputError, printable
from tfreuse.prediction import shares, tiles
from tfreuse.specs import PredictSpec

__all__ = ["Predictor", "claim", "done", "images", "tabulate", "write"]

_MOST_LABELS = 256  # that a picture of 8 bits holds
_TASKS = {"mask": "segmentation", "image": "autoencoder"}  # by an output of `export`
_ENDS = {  # of the names of what is written, the last one last
    "segmentation": ("mask.png", "overlay.png"),
    "autoencoder": ("reconstruction.png",),
}
_LARGEST_MULTIPLE = 4096


class Predictor:
    """A SavedModel, ready to run.

    Attributes:
        task: "segmentation" or "autoencoder".
        channels: channels of the images: 1, 3, or the bands of TIFF files.
        class_names: of a segmentation's labels 0, 1, ...
        path: of the SavedModel.

    Raises:
        InputError: there is no SavedModel at `path` or in the numbered folders in it, it has
            not the signature that `export` writes, or the tiles cannot be.
    """

    def __init__(
        self, path: str | os.PathLike, spec: PredictSpec | None = None
    ) -> None:
        self.spec = spec or PredictSpec()
        self.path = path = _saved_model(pathlib.Path(path))
        try:
            self._loaded = tf.saved_model.load(path)  # owns the signature's variables
            signature = self._loaded.signatures["serving_default"]
            given = signature.structured_input_signature[1]["images"]
            outputs = signature.structured_outputs
            self._output = next(name for name in _TASKS if name in outputs)
        except Exception as error:  # TensorFlow raises many kinds for a broken folder
            raise InputError(
                f"{path} cannot be used: {printable(error) or type(error).__name__}. Expected "
                "a SavedModel that tools/export.py wrote; export the model again."
            ) from error
        self.task, self.channels = _TASKS[self._output], given.shape[-1]
        if self.task == "autoencoder" and self.channels not in (1, 3):
            raise InputError(
                f"{path} makes images of {self.channels} channels; PNG files have 1 or 3. "
                "Call its signature from Python."
            )
        self._signature = signature
        about = _about(path)
        self._multiple = _whole(about.get("size_multiple"))
        self.class_names: tuple[str, ...] = ()
        if self.task == "segmentation":
            count = outputs["probabilities"].shape[-1]
            self.class_names = _class_names(about.get("class_names"), count)
        if self.spec.tile:
            tiles.check(self.spec.tile, self.spec.overlap, self._multiple)

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
                "than there is; take a smaller --tile."
            ) from error
        return {name: value.numpy()[0] for name, value in outputs.items()}

    def picture(
        self, image: np.ndarray, tell: Callable[[float], None] = lambda share: None
    ) -> np.ndarray:
        """The mask int32 [H, W], or the image uint8 [H, W, C]; large ones tile by tile.

        Args:
            image: uint8 [H, W, C].
            tell: hears after each tile which share is done.
        """
        pairs = list(self._tiles(*image.shape[:2]))
        found = None
        for number, (rows, columns) in enumerate(pairs, 1):
            part = self(image[rows.read, columns.read])[self._output]
            if found is None:
                found = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
            found[rows.keep, columns.keep] = part[rows.inner, columns.inner]
            tell(number / len(pairs))
        return found

    def _tiles(self, height: int, width: int) -> Iterator[tuple[tiles.Span, ...]]:
        tile = self.spec.tile or max(height, width)
        sides = (
            tiles.spans(size, tile, self.spec.overlap, self._multiple)
            for size in (height, width)
        )
        return itertools.product(*sides)

    @functools.cached_property
    def digest(self) -> str:
        """Of all files of the SavedModel."""
        return files.digest(
            {
                path.relative_to(self.path).as_posix(): files.file_digest(path)
                for path in sorted(self.path.rglob("*"))
                if path.is_file()
            }
        )


def claim(predictor: Predictor, out_dir: pathlib.Path) -> None:
    """Makes `out_dir` the folder of this model's predictions with these tiles.

    Raises:
        InputError: it is another's.
    """
    path = out_dir / "predictions.json"
    held = rundir.claim(path, {"predict": predictor.spec})
    if held.setdefault("model", predictor.digest) != predictor.digest:
        raise InputError(
            f"{out_dir} holds predictions of another model; choose another --out_dir."
        )
    files.write_json(path, held)


def done(predictor: Predictor, path: pathlib.Path, out_dir: pathlib.Path) -> bool:
    """Whether all that `write` writes of the image is there and not older than the image."""
    written = [out_dir / f"{path.stem}_{end}" for end in _ENDS[predictor.task]]
    try:
        newest = path.stat().st_mtime_ns
        return all(one.stat().st_mtime_ns >= newest for one in written)
    except FileNotFoundError:
        return False


def tabulate(
    predictor: Predictor, paths: list[pathlib.Path], out_dir: pathlib.Path
) -> pathlib.Path | None:
    """Writes `out_dir`/shares.csv, each class's share of each image; None without classes."""
    if predictor.task != "segmentation":
        return None
    masks = (
        (path.name, out_dir / f"{path.stem}_{_ENDS['segmentation'][0]}")
        for path in paths
    )
    return shares.write(masks, predictor.class_names, out_dir)


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


def write(
    predictor: Predictor,
    path: pathlib.Path,
    out_dir: pathlib.Path,
    tell: Callable[[float], None] = lambda share: None,
) -> None:
    """Predicts one image file, each output file at once or not at all.

    Segmentation: `<stem>_mask.png`, the labels as grey values, and `<stem>_overlay.png`, half
    image and half the labels' colours. Auto-encoder: `<stem>_reconstruction.png`. They have
    the size of the image, turned as its camera says.

    Args:
        predictor: what predicts.
        path: of the image.
        out_dir: where the outputs go.
        tell: hears after each tile which share of the image is done.

    Raises:
        InputError: the file is no readable image, or there are too many labels for a picture.
    """
    image = _read(path, predictor.channels)
    num_classes = len(predictor.class_names)
    if num_classes > _MOST_LABELS:
        raise InputError(
            f"the model tells {num_classes} classes apart; a mask of 8 bits holds "
            f"{_MOST_LABELS}. Call its signature from Python."
        )
    found = predictor.picture(image, tell)
    first, *others = (out_dir / f"{path.stem}_{end}" for end in _ENDS[predictor.task])
    _save(found, first)
    for overlay in others:
        colours = drawing.palette(num_classes)[found]  # [H, W, 3]
        _save((drawing.rgb(image).astype(np.uint16) + colours + 1) // 2, overlay)


def _read(path: pathlib.Path, channels: int) -> np.ndarray:
    """The image as the network takes it, uint8 [H, W, channels]."""
    if channels not in (1, 3):
        return pictures.read_bands(path, channels)
    picture, _ = pictures.read_image(path)
    picture = picture.convert("L" if channels == 1 else "RGB")
    return np.asarray(picture).reshape(*picture.size[::-1], channels)


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


def _about(path: pathlib.Path) -> dict:
    """What `export` wrote beside the SavedModel; empty where that cannot be read."""
    try:
        held = export.about(path)
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _whole(value: object) -> int:
    """A size multiple as a side file tells it; 1 for anything that is none."""
    fits = isinstance(value, int) and 1 <= value <= _LARGEST_MULTIPLE
    return value if fits else 1


def _class_names(value: object, count: int) -> tuple[str, ...]:
    if isinstance(value, list) and len(value) == count:
        return tuple(printable(name) for name in value)
    return tuple(f"class {i}" for i in range(count))
