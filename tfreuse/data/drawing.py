"""Draws images, masks and predictions as RGB pictures, uint8 [N, H, W, 3]."""

import colorsys

import numpy as np


def triptych(
    images: np.ndarray, truth: np.ndarray, output: np.ndarray, ignore_label: int = -1
) -> np.ndarray:
    """Input, truth and prediction side by side, uint8 [N, H, 3 W, 3].

    Args:
        images: float [N, H, W, C] in [0, 1].
        truth: masks int [N, H, W], or the images for an auto-encoder.
        output: logits [N, H, W, num_classes], or images [N, H, W, C].
        ignore_label: label that is shown in black.
    """
    if truth.ndim == 3:
        colours = palette(output.shape[-1])
        predicted = colours[output.argmax(axis=-1)]
        shown = colours[np.where(truth == ignore_label, 0, truth)]
        shown[truth == ignore_label] = 0
    else:
        predicted, shown = _pixels(output), _pixels(truth)
    return np.concatenate([_pixels(images), shown, predicted], axis=2)


def rgb(images: np.ndarray) -> np.ndarray:
    """[..., C] as [..., 3] to look at: grey spread, of more bands the first three."""
    enough = images.shape[-1] >= 3
    return images[..., :3] if enough else np.repeat(images[..., :1], 3, axis=-1)


def palette(num_classes: int) -> np.ndarray:
    """Colours uint8 [num_classes, 3] that neighbours in label differ well in; 0 is dark."""
    hues = (np.arange(num_classes) * 0.618034) % 1.0  # golden ratio: spreads any number
    colours = [colorsys.hsv_to_rgb(hue, 0.65, 0.95) for hue in hues]
    table = np.round(255 * np.array(colours)).astype(np.uint8)
    table[0] = (40, 40, 48)
    return table


def _pixels(images: np.ndarray) -> np.ndarray:
    return rgb(np.round(255 * np.clip(images, 0, 1)).astype(np.uint8))
