"""Settings of predictions, and the formats of an export."""

import dataclasses

from tfreuse.errors import InputError
from tfreuse.specs.base import Spec, option

FORMATS = {  # beside the SavedModel, with their file names
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
}

STORED, BATCH = STATISTICS = ("stored", "batch")  # of batch normalization

SCALES = ("training", "original")


@dataclasses.dataclass(frozen=True)
class PredictSpec(Spec):
    """The scale at which images are predicted, and the tiles of large ones."""

    tile: int = option(
        1024,
        "side of a tile in pixels, for images larger than it; 0: predict each image whole",
        low=0,
    )
    overlap: int = option(
        -1,
        "pixels that neighbouring tiles share; half of them are dropped at each cut; -1: a "
        "quarter of --tile",
        low=-1,
    )
    scale: str = option(
        "training",
        "training: scale images to cover the size of the training's images, and the outputs "
        "back; original: predict images as they are",
        choices=SCALES,
    )

    def overlap_of(self, tile: int) -> int:
        """Returns the overlap in pixels of tiles of a side."""
        return tile // 4 if self.overlap < 0 else self.overlap


def check_format(kind: str, statistics: str) -> None:
    """Raises InputError for a format whose files cannot compute with such statistics."""
    if statistics == BATCH and kind != "onnx":
        raise InputError(
            f"{kind} files take one image at a time, expected a batch for --statistics=batch; "
            "leave the format or --statistics out."
        )
