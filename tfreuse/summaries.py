"""What TensorBoard shows of a training: scalars, pictures, and distributions of its numbers."""

import colorsys
import os

import keras
import numpy as np
import tensorflow as tf

from tfreuse import recalibration, transplant

_ROLES = ("gamma", "beta", "moving_mean", "moving_variance")


class Writer:
    """Writes one run's summaries; a step is an optimizer update."""

    def __init__(self, path: str | os.PathLike) -> None:
        self._writer = tf.summary.create_file_writer(os.fspath(path))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """One curve a name; values that are not numbers are left out."""
        with self._writer.as_default(step):
            for name, value in values.items():
                if value is not None and np.isfinite(value):
                    tf.summary.scalar(name, value)

    def pictures(self, name: str, pictures: np.ndarray, step: int) -> None:
        """Pictures, uint8 [N, H, W, 3]."""
        with self._writer.as_default(step):
            tf.summary.image(name, pictures, max_outputs=len(pictures))

    def batch_norms(self, model: keras.Model, step: int) -> None:
        """Distributions of gamma, beta and moving statistics, one a layer and role."""
        with self._writer.as_default(step):
            for layer in recalibration.normalizations(model):
                for role in _ROLES:
                    value = getattr(layer, role)
                    if value is not None:
                        tf.summary.histogram(f"{layer.name}/{role}", value.value)

    def roles(self, model: keras.Model, step: int) -> None:
        """Distributions of all numbers of each role, over all layers."""
        found: dict[str, list[np.ndarray]] = {}
        read = transplant.reader(model)
        for variable in transplant.index(model):
            if variable.role:
                found.setdefault(variable.role, []).append(read(variable).ravel())
        with self._writer.as_default(step):
            for role, arrays in found.items():
                tf.summary.histogram(f"roles/{role}", np.concatenate(arrays))

    def flush(self) -> None:
        self._writer.flush()


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
