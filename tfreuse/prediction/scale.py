"""Brings images to the scale of the training, and predictions back to the size of an image.

    size = scale.covering((600, 800), (96, 128))  # (96, 128): the same proportions
    labels = scale.labels(probabilities, (600, 800))

Training scales an image to cover its `image_size` and crops the parts beyond it; a prediction
keeps the whole image.
"""

import numpy as np
from PIL import Image

_BILINEAR = Image.Resampling.BILINEAR  # averages where it shrinks


def covering(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Returns the smallest (H, W) with the proportions of `size` that covers `target`."""
    factor = min(side / least for side, least in zip(size, target, strict=True))
    height, width = (
        max(least, round(side / factor))
        for side, least in zip(size, target, strict=True)
    )
    return height, width


def labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the most probable class of each pixel, int32 [H, W].

    Probabilities are interpolated, class by class, so that edges are as smooth as the network
    drew them, and memory holds three planes of the size at a time.

    Args:
        probabilities: float32 [h, w, classes].
        size: (H, W).
    """
    best = np.full(size, -np.inf, np.float32)
    mask = np.zeros(size, np.int32)
    for label in range(probabilities.shape[-1]):
        plane = _resized(probabilities[..., label], size)
        mask[plane > best] = label
        np.maximum(best, plane, out=best)
    return mask


def image(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 [h, w, C] to [H, W, C]."""
    bands = np.moveaxis(pixels, -1, 0)
    return np.stack([_resized(band, size) for band in bands], axis=-1)


def _resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize(size[::-1], _BILINEAR))
