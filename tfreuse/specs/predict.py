"""Settings of predictions, and the formats of an export."""

import dataclasses

from tfreuse.specs.base import Spec, option

FORMATS = {  # beside the SavedModel, with their file names
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
}


@dataclasses.dataclass(frozen=True)
class PredictSpec(Spec):
    """The tiles in which large images are predicted."""

    tile: int = option(
        1024,
        "side of a tile in pixels, for images larger than it; 0: predict each image whole",
        low=0,
    )
    overlap: int = option(
        256,
        "pixels that neighbouring tiles share; half of them are dropped at each cut",
        low=0,
    )
