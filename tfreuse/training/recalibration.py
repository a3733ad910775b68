"""Re-estimates the moving statistics of batch normalization on a recipient's own images.

The images are training images without labels. The result is exact: each layer's mean and
variance are those of its inputs over all the images, with the layers before it already
re-estimated, sigma² = E[variance of a batch] + variance of the batch means; dropout is off.

    recalibrate = Recalibrator(model, images)  # traced once
    recalibrate()                              # as often as the model's parameters change
"""

import keras
import numpy as np
import tensorflow as tf

from tfreuse.training.sweep import Sweep

BatchNormalization = keras.layers.BatchNormalization


class Recalibrator:
    """Sets every moving mean and variance of a functional model to those of `images`.

    Args:
        model: a functional model; its layers are read and their statistics written.
        images: float32 [N, H, W, C], as the model takes them.
        batch_size: images in memory at a time. All at once (None) costs one forward pass in
            all; in batches it costs one pass a batch normalization layer, with equal result
            up to rounding. All at once, a second call computes only what has changed.

    Attributes:
        layers: the batch normalization layers whose statistics are set.
        sweep: the `tfreuse.training.sweep.Sweep` that computes them, if all at once.
    """

    def __init__(
        self, model: keras.Model, images: np.ndarray, batch_size: int | None = None
    ) -> None:
        self.layers = normalizations(model)
        size = batch_size or len(images)
        self._batches = [
            tf.constant(images[start : start + size])
            for start in range(0, len(images), size)
        ]
        self.sweep = None
        if self.layers and len(self._batches) == 1:
            graph = _with_batch_statistics(model, self.layers)
            self.sweep = Sweep(graph, [self._batches])
            return
        self._inputs = [
            tf.function(keras.Model(model.input, layer.input)) for layer in self.layers
        ]

    def __call__(self) -> None:
        """Re-estimates the statistics from the model's present parameters."""
        if self.sweep is not None:
            # Mean and variance of each layer in turn; flat, since Keras drops the list around
            # a single layer's outputs.
            moments = tf.nest.flatten(self.sweep())
            triples = zip(self.layers, moments[::2], moments[1::2], strict=True)
            for layer, mean, variance in triples:
                _assign(layer, mean, variance)
            return
        for layer, inputs_of in zip(self.layers, self._inputs, strict=True):
            sums = [_count_and_moments(inputs_of(batch)) for batch in self._batches]
            _assign(layer, *_combine(sums))


def normalizations(model: keras.Model) -> list[BatchNormalization]:
    """Returns the model's batch normalization layers in the order in which data pass them."""
    return [
        operation
        for operation in model.operations
        if isinstance(operation, BatchNormalization)
    ]


def _with_batch_statistics(
    model: keras.Model, layers: list[BatchNormalization]
) -> keras.Model:
    """Returns a view that normalizes by batch statistics and outputs each layer's moments.

    With all images in one batch these (mean, variance) are the exact statistics: the inputs
    of every layer were normalized exactly by the layers before it.
    """
    moments = {}

    def call(layer, *args, **kwargs):
        if isinstance(layer, BatchNormalization):
            (inputs,) = args
            output, mean, variance = _NormalizeByBatch(layer)(inputs)
            moments[layer.name] = (mean, variance)
            return output
        return layer(*args, **kwargs)

    graph = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    return keras.Model(graph.input, [moments[layer.name] for layer in layers])


class _NormalizeByBatch(keras.layers.Layer):
    """Applies a batch normalization with the statistics of its input; returns these as well."""

    def __init__(self, layer: BatchNormalization) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs):
        layer = self.layer
        mean, variance = tf.nn.moments(
            tf.cast(inputs, tf.float32), list(range(len(inputs.shape) - 1))
        )
        normalized = tf.nn.batch_normalization(
            tf.cast(inputs, tf.float32),
            mean,
            variance,
            layer.beta if layer.center else None,
            layer.gamma if layer.scale else None,
            layer.epsilon,
        )
        return tf.cast(normalized, inputs.dtype), mean, variance


def _count_and_moments(
    values: tf.Tensor,
) -> tuple[int, np.ndarray, np.ndarray]:
    axes = list(range(len(values.shape) - 1))
    mean, variance = tf.nn.moments(tf.cast(values, tf.float64), axes)
    return int(np.prod(values.shape[:-1])), mean.numpy(), variance.numpy()


def _combine(
    sums: list[tuple[int, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Computes mean and variance of all batches together, by the law of total variance."""
    counts, means, variances = (np.array(column) for column in zip(*sums, strict=True))
    share = counts / counts.sum()
    mean = share @ means
    return mean, share @ variances + share @ (means - mean) ** 2


def _assign(layer: BatchNormalization, mean, variance) -> None:
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
