"""Reads the values of a model's batch normalization layers, and measures their inputs.

measure = Measurer(model)  # traced once
for layer, mean, variance in measure(images): ...  # changes nothing
"""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse.errors import InputError, printable
from tfreuse.transplant import derived, live

BatchNormalization = keras.layers.BatchNormalization
Moments = tuple[int, np.ndarray, np.ndarray]  # count, mean and variance
# Largest mean², in variances, at which E[x²] - E[x]² is taken for the variance: in float32 its
# relative error is this number times some 3e-7.
_LARGEST_MEAN = 30.0


class Measurer:
    """Measures mean and variance of each batch normalization's inputs, as the model computes them.

    Each layer's inputs are computed with the statistics that the layers before it hold, so that a
    wrong value changes the inputs of all layers behind it. A `recalibration.Recalibrator` replaces
    the statistics before it, and so hides their changes.

    Args:
        model: read when called; its parameters may change between calls.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self._layers = model, normalizations(model)
        self._calls: list[BatchNormalization] = []
        self._moments = tf.function(self._moments_of, autograph=False)

    def __call__(
        self,
        images: Any,
        batch_size: int = 16,
        report: Callable[[int], None] = lambda done: None,
    ) -> list[tuple[BatchNormalization, np.ndarray, np.ndarray]]:
        """Returns the layers in the order of their calls, each with mean and variance [C].

        Both are in float64 and exact: moments of batches are combined by the law of total
        variance. A layer that is called several times has those of all its inputs together; one
        that the images do not reach is left out.

        Args:
            images: float32 [N, H, W, C], or a list or dictionary of arrays for several inputs.
            batch_size: images in memory at a time.
            report: called with the number of images done, after each batch.

        Raises:
            InputError: a layer reads a masked tensor.
        """
        parts: dict[BatchNormalization, list[Moments]] = {}
        total = len(tf.nest.flatten(images)[0])
        # one trace for batches of every size: the last one may be smaller
        specs = tf.nest.map_structure(_batch_spec, images)
        moments_of = self._moments.get_concrete_function(specs)
        for start in range(0, total, batch_size):
            part = slice(start, min(start + batch_size, total))
            batch = tf.nest.map_structure(operator.itemgetter(part), images)
            triples = moments_of(tf.nest.map_structure(tf.constant, batch))
            for layer, (count, mean, variance) in zip(self._calls, triples):
                triple = int(count), np.float64(mean), np.float64(variance)
                parts.setdefault(layer, []).append(triple)
            report(part.stop)
        return [(layer, *combine(of_layer)) for layer, of_layer in parts.items()]

    def _moments_of(self, batch):
        """Computes (count, mean, variance) of every call's input."""
        triples = []
        self._calls.clear()  # images of another size are traced again

        def compute(layer, inputs):
            self._calls.append(layer)
            over = axes(layer, inputs)
            count = tf.reduce_prod(tf.gather(tf.shape(inputs), over))
            triples.append((count, *moments(wide(inputs), over)))
            return type(layer).call(layer, inputs, training=False)

        run(self._model, batch, self._layers, compute)
        return triples


def _batch_spec(images: Any) -> tf.TensorSpec:
    """Describes a batch of images [N, ...], however many it has."""
    images = np.asarray(images)
    return tf.TensorSpec([None, *images.shape[1:]], images.dtype)


def normalizations(model: keras.Model) -> list[BatchNormalization]:
    """Returns the model's batch normalization layers in the order in which data pass them.

    Layers inside models and layers of the model are listed too, but not those that a view holds
    to their stored statistics (an attribute `uses_stored_statistics` of the holding layer).
    """
    layers: dict[BatchNormalization, None] = {}
    for layer in live.sublayers(model):
        if isinstance(layer, BatchNormalization):
            layers[layer] = None
        elif not getattr(layer, "uses_stored_statistics", False):
            layers.update(dict.fromkeys(normalizations(layer)))
    return list(layers)


def run(
    model: keras.Model,
    images: Any,
    layers: Sequence[BatchNormalization],
    compute: Callable[[BatchNormalization, tf.Tensor], tf.Tensor],
) -> None:
    """Runs a model in inference mode; `compute(layer, inputs)` stands for the layers' own calls."""
    with computed_by(layers, compute), derived.from_variables(model):
        model(images, training=False)


def axes(layer: BatchNormalization, inputs: tf.Tensor) -> list[int]:
    """Returns the axes over which the layer takes moments: all but that of its channels."""
    rank = len(inputs.shape)
    return [axis for axis in range(rank) if axis != layer.axis % rank]


def wide(values: tf.Tensor) -> tf.Tensor:
    """Returns values in float32, or in float64 if they are."""
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def moments(values: tf.Tensor, over: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the mean and variance of a tensor over all axes but the channels' or the rows' too.

    The variance is E[x²] - E[x]², which reads the values once and writes none. Where a channel's
    mean is so large that digits would be lost, by its variance over all rows, it is the mean of
    the squared differences. No gradient, and no compilation by XLA.

    Args:
        values: float32 or float64.
        over: axes to reduce; one axis of channels, or rows (axis 0) and channels, are left.
    """
    rank = len(values.shape)
    channels = [values.shape[axis] for axis in range(rank) if axis not in over]
    results = _moments(values.dtype, rank, tuple(over))(values)
    return tuple(tf.ensure_shape(result, channels) for result in results)


@functools.cache
def _moments(dtype: tf.DType, rank: int, over: tuple[int, ...]) -> Callable:
    """Returns `moments` of tensors of one rank, traced once for all layers and models.

    Its branches are graphs of their own, so that tracing it for each layer took twice as long as
    tracing the network.
    """

    @functools.partial(
        tf.function,
        input_signature=[tf.TensorSpec([None] * rank, dtype)],
        autograph=False,
    )
    def compute(values):
        inner = max(over)
        norm = tf.raw_ops.EuclideanNorm(input=values, axis=[inner], keep_dims=True)
        square = norm**2 / tf.cast(tf.shape(values)[inner], values.dtype)
        square = _mean(square, [axis for axis in over if axis != inner])
        mean = _mean(values, over)
        rows = [] if 0 in over else [0]
        variance = _mean(square, rows) - _mean(mean, rows) ** 2
        precise = (mean**2 <= _LARGEST_MEAN * variance) & tf.math.is_finite(square)
        mean, variance = tf.cond(
            tf.reduce_all(precise),
            lambda: (mean, tf.maximum(square - mean**2, 0)),
            lambda: (mean, _mean(tf.math.squared_difference(values, mean), over)),
        )
        return tf.squeeze(mean, over), tf.squeeze(variance, over)

    return compute


def _mean(values: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Takes the mean axis by axis, and keeps the axes.

    Sums over many values in float32 lose digits: on a CPU TensorFlow adds the values of several
    axes one after another (in 16 x 1024 x 1024 values of mean 5 it errs by 0.13).
    """
    for axis in sorted(axes, reverse=True):
        values = tf.reduce_mean(values, axis, keepdims=True)
    return values


def combine(parts: list[Moments]) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and variance of all batches together, by the law of total variance."""
    counts, means, variances = (np.array(column) for column in zip(*parts, strict=True))
    share = counts / counts.sum()
    mean = share @ means
    return mean, share @ variances + share @ (means - mean) ** 2


def row_moments(layer: BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """Computes mean, variance and number of the values of each row of a batch, [3, N, C]."""
    values, over = wide(inputs), [axis for axis in axes(layer, inputs) if axis]
    count = tf.reduce_prod(tf.gather(tf.shape(values), over)) if over else 1
    if over:
        mean, variance = moments(values, over)
    else:
        mean, variance = values, tf.zeros_like(values)
    return tf.stack(
        [mean, variance, tf.fill(tf.shape(mean), tf.cast(count, mean.dtype))]
    )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Statistics of a layer, and how well its rows (images) determine them.

    Attributes:
        mean, variance: [C], float64.
        mean_error: standard error of the mean [C], rows being independent; NaN for one row.
        log_variance_error: that of the logarithm of the variance [C].
    """

    mean: np.ndarray
    variance: np.ndarray
    mean_error: np.ndarray
    log_variance_error: np.ndarray


def estimate(calls: Sequence[np.ndarray]) -> Estimate:
    """Estimates statistics of all calls' inputs together, from `row_moments` [3, N, C] of each.

    With the mean m_i and variance v_i of row i, the variance is the mean of the rows'
    q_i = v_i + (m_i - mean)²; standard errors are sd(m_i) / sqrt(N) and, by the delta method,
    sd(q_i) / sqrt(N) / variance. A row of a shared layer is that of all its calls.
    """
    rows = len(calls[0][0])
    means, variances, counts = np.concatenate(calls, axis=1, dtype=np.float64)
    share = counts / counts.sum(axis=0)
    mean = (share * means).sum(axis=0)
    squares = variances + (means - mean) ** 2
    variance = (share * squares).sum(axis=0)
    together = [
        (rows * share * values).reshape(-1, rows, len(mean)).sum(axis=0)
        for values in (means, squares)
    ]
    if rows < 2:
        errors = [np.full_like(mean, np.nan)] * 2
    else:
        errors = [values.std(axis=0, ddof=1) / np.sqrt(rows) for values in together]
    least = np.finfo(np.float32).tiny  # a channel without variance has no error either
    return Estimate(mean, variance, errors[0], errors[1] / np.maximum(variance, least))


@contextlib.contextmanager
def computed_by(
    layers: Sequence[BatchNormalization],
    compute: Callable[[BatchNormalization, tf.Tensor], tf.Tensor],
) -> Iterator[None]:
    """Makes `compute(layer, inputs)` stand for the layers' own computation in this block.

    Unlike a view (`training.views`) it reaches layers inside layers of any class.
    """

    def replacement(layer):
        def call(inputs, training=None, mask=None):
            if mask is not None:
                raise InputError(
                    f"batch normalization {printable(layer.name)!r} reads a masked tensor; its "
                    "statistics cannot be measured."
                )
            return compute(layer, inputs)

        return call

    try:
        for layer in layers:
            vars(layer)["call"] = replacement(layer)  # hides the method of the class
        yield
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
