"""How images are predicted and models exported."""

import dataclasses

from tfreuse.specs.base import Spec, option

FORMATS = {  # of an export beside the SavedModel, with their files
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "litert_int8": "model_int8.tflite",
}


@dataclasses.dataclass(frozen=True)
class PredictSpec(Spec):
    """How large images are taken apart."""

    tile: int = option(
        1024, "pixels of a side that are looked at at once; 0: all of them", low=0
    )
    overlap: int = option(
        256, "pixels that neighbouring tiles share; half is not kept", low=0
    )
