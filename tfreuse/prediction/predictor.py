"""Runs a SavedModel that `tools/export.py` wrote on single images of any size."""

import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from tfreuse import files, runtime
from tfreuse.data import pictures
from tfreuse.errors import InputError, printable, reason
from tfreuse.prediction import scale, tiles
from tfreuse.specs import PredictSpec, ReadingSpec

tf = runtime.Lazy("tensorflow")
TASKS = {"mask": "segmentation", "image": "autoencoder"}  # by an output of `export`
_MOST_LABELS = 256  # of a picture of 8 bits
_LARGEST_MULTIPLE = 4096
_LARGEST_SIDE = 65536


class Predictor:
    """A SavedModel, ready to run.

    Attributes:
        task: "segmentation" or "autoencoder".
        channels: channels of the images: 1, 3, or the bands of TIFF files.
        reading: how the training read its image files.
        class_names: names of a segmentation's labels 0, 1, ...; else ().
        path: folder of the SavedModel.
        trained_size: (H, W) that images covered in the training; None if unknown.

    Raises:
        InputError: there is no SavedModel at `path` or in the numbered folders in it, it lacks
            the signature that `export` writes, its masks do not fit into pictures, or tiles of
            this size cannot advance.
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
            self._output = next(name for name in TASKS if name in outputs)
        except Exception as error:  # TensorFlow raises many types for a broken folder
            raise InputError(
                f"{path} cannot be used: {reason(error)}. Expected "
                "a SavedModel that tools/export.py wrote; export the model again."
            ) from error
        self.task, self.channels = TASKS[self._output], input_spec.shape[-1]
        if self.task == "autoencoder" and self.channels not in (1, 3):
            raise InputError(
                f"{path} makes images of {self.channels} channels; PNG files have 1 or 3. "
                "Call its signature from Python."
            )
        self._signature = signature
        self._fixed = tuple(input_spec.shape[1:3])  # (None, None): any size
        metadata = _metadata(path)
        self.reading = _reading(path, metadata.get("reading"))
        self.trained_size = _size(metadata.get("image_size"))
        self.statistics = metadata.get("statistics", "stored")
        self._multiple = _size_multiple(metadata.get("size_multiple"))
        self.class_names: tuple[str, ...] = ()
        if self.task == "segmentation":
            count = outputs["probabilities"].shape[-1]
            self.class_names = _class_names(metadata.get("class_names"), count)
        if len(self.class_names) > _MOST_LABELS:
            raise InputError(
                f"{path} has {len(self.class_names)} classes; a mask of 8 bits holds "
                f"{_MOST_LABELS}. Call its signature from Python."
            )
        self._check_tiles()

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

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(H, W) that images are scaled to cover; None: they are predicted as they are."""
        return self.trained_size if self.spec.scale == "training" else None

    def describe_scale(self) -> str:
        """Returns a sentence on the scale at which images are predicted."""
        if not self.trained_size:
            return (
                "The export does not say at what size its model saw images in training: they "
                "are predicted at their own. tools/export.py --image_size=HEIGHT,WIDTH says it."
            )
        trained = "{} x {} pixels".format(*self.trained_size)
        if self.spec.scale == "original":
            return f"Images are predicted at their own size; in training they covered {trained}."
        return (
            f"Images are scaled to cover {trained} as in training, and the outputs back to each "
            "image's size; --scale=original leaves them as they are."
        )

    def picture(
        self, image: np.ndarray, progress: Callable[[float], None] = lambda share: None
    ) -> np.ndarray:
        """Predicts the mask int32 [H, W], or the image uint8 [H, W, C], tile by tile.

        Args:
            image: uint8 [H, W, C].
            progress: called after each tile with the share of tiles done.
        """
        size = image.shape[:2]
        target = self.image_size and scale.covering(size, self.image_size)
        if target in (None, size):
            return self._tiled(image, self._output, progress)
        scaled = pictures.fit_image(image, target)
        if self.task == "autoencoder":
            return scale.image(self._tiled(scaled, self._output, progress), size)
        return scale.labels(self._tiled(scaled, "probabilities", progress), size)

    def _tiled(
        self, image: np.ndarray, name: str, progress: Callable[[float], None]
    ) -> np.ndarray:
        """Computes one output of the signature [H, W, ...] tile by tile."""
        height, width = image.shape[:2]
        image = _padded(image, self._fixed)
        pairs = list(self._tiles(*image.shape[:2]))
        output = None
        for number, (rows, columns) in enumerate(pairs, 1):
            part = self(image[rows.read, columns.read])[name]
            if output is None:
                output = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
            output[rows.keep, columns.keep] = part[rows.inner, columns.inner]
            progress(number / len(pairs))
        return output[:height, :width]

    def _tiles(self, height: int, width: int) -> Iterator[tuple[tiles.Span, ...]]:
        sides = []
        for size, fixed in zip((height, width), self._fixed, strict=True):
            if fixed:
                sides.append(tiles.equal_spans(size, fixed, self._shared(fixed)))
            else:
                tile = self.spec.tile or max(height, width)
                overlap = self.spec.overlap_of(tile)
                sides.append(tiles.spans(size, tile, overlap, self._multiple))
        return itertools.product(*sides)

    def _shared(self, fixed: int) -> int:
        """Returns the overlap of tiles whose side the model fixes."""
        return min(self.spec.overlap_of(fixed), fixed - 1)

    def _check_tiles(self) -> None:
        tile = self.spec.tile
        if tile and None in self._fixed:
            tiles.check(tile, self.spec.overlap_of(tile), self._multiple)

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


def _padded(image: np.ndarray, least: tuple[int | None, int | None]) -> np.ndarray:
    """Pads [H, W, C] by reflection at the bottom and the right to sides of `least` pixels."""
    missing = [
        max(0, (side or 0) - size)
        for side, size in zip(least, image.shape[:2], strict=True)
    ]
    if not any(missing):
        return image
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")


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
        model = path / "model.keras"  # of a training
        source = model if model.is_file() else "NAME.keras"
        out_dir = "DIR" if model.is_file() else path
        raise InputError(
            f"{path} holds no SavedModel; write one with tools/export.py --model={source} "
            f"--out_dir={out_dir}, and give --model={out_dir}."
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


def _size(value: object) -> tuple[int, int] | None:
    """Returns the metadata's image size; None if it is not a sensible one."""
    is_valid = (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(side, int) and 1 <= side <= _LARGEST_SIDE for side in value)
    )
    return tuple(value) if is_valid else None


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
            f"({reason(error)}). Export the model again."
        ) from error


def _class_names(value: object, count: int) -> tuple[str, ...]:
    """Returns the metadata's class names; "class 0" and so on if there are not `count`."""
    if isinstance(value, list) and len(value) == count:
        return tuple(printable(name) for name in value)
    return tuple(f"class {i}" for i in range(count))
