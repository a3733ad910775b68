"""Writes TensorBoard summaries of a training: scalars, images, histograms of parameters.

Scalars and histograms are computed by NumPy, and the values of one call are one event: TensorFlow's
operations would take a fifth of the time of a short training.
"""

import os

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.util import tensor_util

from tfreuse import transplant
from tfreuse.training import recalibration

_ROLES = ("gamma", "beta", "moving_mean", "moving_variance")
_BUCKETS = 30  # of `tf.summary.histogram`


class Writer:
    """Writes one run's summaries; a step is an optimizer update."""

    def __init__(self, path: str | os.PathLike) -> None:
        self._writer = tf.summary.create_file_writer(os.fspath(path))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes one point of the curve of each name; None, NaN and infinity are left out."""
        summary = Summary()
        for name, value in values.items():
            if value is not None and np.isfinite(value):
                summary.MergeFrom(scalar_pb(name, value))
        self._write(summary, step)

    def pictures(self, name: str, pictures: np.ndarray, step: int) -> None:
        """Writes pictures, uint8 [N, H, W, 3]."""
        with self._writer.as_default(step):
            tf.summary.image(name, pictures, max_outputs=len(pictures))

    def text(self, name: str, text: str) -> None:
        """Writes a text in Markdown, as of before the first update."""
        with self._writer.as_default(0):
            tf.summary.text(name, text)
        self._writer.flush()

    def batch_norms(self, model: keras.Model, step: int) -> None:
        """Writes a histogram of each layer's gamma, beta, moving mean and moving variance."""
        values = {
            f"{layer.name}/{role}": getattr(layer, role).numpy()
            for layer in recalibration.normalizations(model)
            for role in _ROLES
            if getattr(layer, role) is not None
        }
        self.histograms(values, step)

    def roles(self, model: keras.Model, step: int) -> None:
        """Writes a histogram of all values of each role, over all layers."""
        values: dict[str, list[np.ndarray]] = {}
        read = transplant.reader(model)
        for variable in transplant.index(model):
            if variable.role:
                values.setdefault(variable.role, []).append(read(variable).ravel())
        joined = {f"roles/{role}": np.concatenate(v) for role, v in values.items()}
        self.histograms(joined, step)

    def histograms(self, arrays: dict[str, np.ndarray], step: int) -> None:
        """Writes a histogram of each array's finite values, in the form of `tf.summary`."""
        summary = Summary()
        for tag, array in arrays.items():
            values = array[np.isfinite(array)].astype(np.float64)
            if values.size:
                summary.value.add(
                    tag=tag,
                    metadata=metadata.create_summary_metadata(None, None),
                    tensor=tensor_util.make_tensor_proto(_histogram(values)),
                )
        self._write(summary, step)

    def flush(self) -> None:
        self._writer.flush()

    def _write(self, summary: Summary, step: int) -> None:
        with self._writer.as_default(step):
            tf.summary.experimental.write_raw_pb(summary.SerializeToString())


def _histogram(values: np.ndarray) -> np.ndarray:
    """Returns left edge, right edge and count of each bucket: float64 [buckets, 3]."""
    low, high = values.min(), values.max()
    if low < high:
        counts, edges = np.histogram(values, _BUCKETS, (low, high))
    else:
        edges = np.full(_BUCKETS + 1, low)
        counts = np.append(np.zeros(_BUCKETS - 1), values.size)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)
