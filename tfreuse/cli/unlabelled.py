"""The flags that name unlabelled images for a model, and the images that they name."""

import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from tfreuse.cli import app
from tfreuse.errors import InputError, printable
from tfreuse.specs import ReadingSpec

PIXELS = ("0..1", "-1..1", "0..255", "imagenet", "caffe")
FLAG_NAMES = ("images", "pixels", "image_size", *ReadingSpec.__dataclass_fields__)


def define_flags(caller: str, prefix: str = "", images: str = "") -> None:
    """Defines the flags; `caller`: module of the command; `prefix`: of each help text."""
    of_caller = {"module_name": caller}
    flags.DEFINE_string(
        "images",
        "",
        f"{prefix}folder of images, or a glob in quotes{images}",
        **of_caller,
    )
    flags.DEFINE_enum(
        "pixels",
        PIXELS[0],
        PIXELS,
        f"{prefix}what the model takes: RGB in a range; imagenet: RGB in 0..1, less mean, over "
        "sd (torchvision, timm); caffe: BGR in 0..255, less mean (VGG, ResNet50 of Keras)",
        **of_caller,
    )
    flags.DEFINE_list(
        "image_size",
        [],
        f"{prefix}height,width; by default the model's, else its training's, else 224,224",
        **of_caller,
    )
    app.define(ReadingSpec, caller=caller)


def image_size() -> tuple[int, int] | None:
    """Returns the flag's size, None if it is not given. Raises InputError."""
    words = app.FLAGS.image_size
    if not words:
        return None
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        raise InputError(
            "--image_size takes height,width in pixels, e.g. 224,224; got "
            f"{printable(','.join(words))}."
        )
    return int(words[0]), int(words[1])


def read(paths: Sequence[pathlib.Path], size: tuple[int, int], channels: int) -> Any:
    """Reads images of one size, uint8 [N, H, W, C]."""
    import numpy as np

    from tfreuse.data import pictures

    reading = app.spec(ReadingSpec)
    return np.stack(
        [
            pictures.fit_image(
                pictures.read_image(path, channels, reading).pixels, size
            )
            for path in paths
        ]
    )
