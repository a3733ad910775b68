"""Draws images, masks and predictions as RGB pictures, uint8 [N, H, W, 3]."""

import colorsys

import numpy as np


def triptych(
    images: np.ndarray, truth: np.ndarray, output: np.ndarray, ignore_label: int = -1
) -> np.ndarray:
    """Draws input, truth and prediction side by side, uint8 [N, H, 3 W, 3].

    Args:
        images: float [N, H, W, C] in [0, 1].
        truth: masks int [N, H, W], or target images for an auto-encoder.
        output: logits [N, H, W, num_classes], or images [N, H, W, C].
        ignore_label: label that is drawn in black.
    """
    if truth.ndim == 3:
        colours = palette(output.shape[-1])
        predicted = colours[output.argmax(axis=-1)]
        target = label_colours(truth, colours, ignore_label)
    else:
        predicted, target = _pixels(output), _pixels(truth)
    return np.concatenate([_pixels(images), target, predicted], axis=2)


def label_colours(
    masks: np.ndarray, colours: np.ndarray, ignore_label: int
) -> np.ndarray:
    """Returns the colours [..., 3] of labels [...]; ignored pixels are black."""
    ignored = masks == ignore_label
    pixels = colours[np.where(ignored, 0, masks)]
    pixels[ignored] = 0
    return pixels


def rgb(images: np.ndarray) -> np.ndarray:
    """Converts [..., C] to [..., 3]: grey is repeated; of more bands the first three are taken."""
    if images.shape[-1] >= 3:
        return images[..., :3]
    return np.repeat(images[..., :1], 3, axis=-1)


def palette(num_classes: int) -> np.ndarray:
    """Returns a colour per class, uint8 [num_classes, 3]; class 0 is dark.

    Steps of the golden ratio spread the hues of any number of classes, and give consecutive
    labels different hues.
    """
    hues = (np.arange(num_classes) * 0.618034) % 1.0
    colours = [colorsys.hsv_to_rgb(hue, 0.65, 0.95) for hue in hues]
    table = np.round(255 * np.array(colours)).astype(np.uint8)
    table[0] = (40, 40, 48)
    return table


def _pixels(images: np.ndarray) -> np.ndarray:
    """Converts [..., C] in [0, 1] to uint8 [..., 3]."""
    return rgb(np.round(255 * np.clip(images, 0, 1)).astype(np.uint8))
