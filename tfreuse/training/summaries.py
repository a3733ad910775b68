"""Writes TensorBoard summaries of a training: scalars, images, histograms of parameters."""

import os

import keras
import numpy as np
import tensorflow as tf

from tfreuse import transplant
from tfreuse.training import recalibration

_ROLES = ("gamma", "beta", "moving_mean", "moving_variance")


class Writer:
    """Writes one run's summaries; a step is an optimizer update."""

    def __init__(self, path: str | os.PathLike) -> None:
        self._writer = tf.summary.create_file_writer(os.fspath(path))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes one point of the curve of each name; None, NaN and infinity are left out."""
        with self._writer.as_default(step):
            for name, value in values.items():
                if value is not None and np.isfinite(value):
                    tf.summary.scalar(name, value)

    def pictures(self, name: str, pictures: np.ndarray, step: int) -> None:
        """Writes pictures, uint8 [N, H, W, 3]."""
        with self._writer.as_default(step):
            tf.summary.image(name, pictures, max_outputs=len(pictures))

    def batch_norms(self, model: keras.Model, step: int) -> None:
        """Writes a histogram of each layer's gamma, beta, moving mean and moving variance."""
        with self._writer.as_default(step):
            for layer in recalibration.normalizations(model):
                for role in _ROLES:
                    value = getattr(layer, role)
                    if value is not None:
                        tf.summary.histogram(f"{layer.name}/{role}", value.value)

    def roles(self, model: keras.Model, step: int) -> None:
        """Writes a histogram of all values of each role, over all layers."""
        values: dict[str, list[np.ndarray]] = {}
        read = transplant.reader(model)
        for variable in transplant.index(model):
            if variable.role:
                values.setdefault(variable.role, []).append(read(variable).ravel())
        with self._writer.as_default(step):
            for role, arrays in values.items():
                tf.summary.histogram(f"roles/{role}", np.concatenate(arrays))

    def flush(self) -> None:
        self._writer.flush()
