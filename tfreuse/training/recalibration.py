"""Re-estimates the moving statistics of batch normalization on a recipient's own images.

The images are training images without labels. The result is exact: each layer's mean and
variance are those of its inputs over all the images, with the layers before it already
re-estimated, sigma² = E[variance of a batch] + variance of the batch means; dropout is off.
Moments are never computed as E[x²] - E[x]², which loses the variance of channels with a large
mean (Keras's `synchronized=True` does so in training).

    recalibrate = Recalibrator(model, images)  # traced once
    recalibrate()                              # as often as the model's parameters change
"""

import logging
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfreuse.errors import printable
from tfreuse.training import norms
from tfreuse.training.norms import BatchNormalization, Moments, normalizations
from tfreuse.training.sweep import Sweep

_LOGGER = logging.getLogger(__name__)
# Passes over the layers where a layer's inputs depend on its own statistics, and the largest
# change of the last pass, in standard deviations.
_PASSES, _TOLERANCE = 100, 1e-5


class Recalibrator:
    """Sets every moving mean and variance of a model to those of `images`.

    A layer that is called several times gets the statistics of all its inputs together. Where one
    call's input depends on another call's output, passes are repeated until the statistics are
    those that the layer itself computes with.

    Args:
        model: its layers are read and their statistics written, in models inside it too.
        images: float32 [N, H, W, C], as the model takes them.
        batch_size: images in memory at a time. All at once (None) costs one forward pass in
            all; in batches it costs one pass a batch normalization layer, with equal result
            up to rounding. All at once, a second call computes only the layers after a change.
        one_pass: normalize each batch by its own moments, as in training, so that one pass is
            enough (Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021). Exact for one batch.

    Attributes:
        layers: the batch normalization layers whose statistics are set.
        sweep: the `tfreuse.training.sweep.Sweep` that computes them, if all at once.
    """

    def __init__(
        self,
        model: keras.Model,
        images: np.ndarray,
        batch_size: int | None = None,
        *,
        one_pass: bool = False,
    ) -> None:
        self._model = model
        size = batch_size or len(images)
        self._batches = [
            tf.constant(images[start : start + size])
            for start in range(0, len(images), size)
        ]
        self.layers = normalizations(model)
        self._repeats, self._inputs = False, []
        self.sweep, self._at_once = None, None
        at_once = one_pass or len(self._batches) == 1
        if at_once and not any(map(_is_own, self.layers)):
            self._trace_moments(sweeping=not one_pass)
        if self.sweep is None and self._at_once is None:
            self._trace_inputs()

    def __call__(self) -> None:
        """Re-estimates the statistics from the model's present parameters."""
        if self.sweep is not None:
            self._assign_all(self.sweep()[0])
        elif self._at_once is not None:
            moments = [self._at_once(batch) for batch in self._batches]
            shares = [len(batch) for batch in self._batches]
            for layer, *parts in zip(self.layers, *moments, strict=True):
                triples = [(n, *np.array(m, np.float64)) for n, m in zip(shares, parts)]
                _assign(layer, *norms.combine(triples))
        else:
            self._estimate_in_turn()

    def _assign_all(self, moments: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> None:
        for layer, (mean, variance) in zip(self.layers, moments, strict=True):
            _assign(layer, mean, variance)

    def _estimate_in_turn(self) -> None:
        """Sets one layer after another, so that each sees the final statistics before it."""
        for number in range(_PASSES if self._repeats else 1):
            changes = [
                self._estimate(layer, inputs_of, first_call_only=number == 0)
                for layer, inputs_of in zip(self.layers, self._inputs, strict=True)
            ]
            if number and max(changes) < _TOLERANCE:
                return
        if self._repeats:
            name = self.layers[int(np.argmax(changes))].name
            _LOGGER.warning(
                "Statistics of %s depend on themselves and still change by %.1e standard "
                "deviations after %d passes.", printable(name), max(changes), _PASSES,
            )  # fmt: skip

    def _estimate(self, layer, inputs_of, first_call_only: bool) -> float:
        """Sets a layer's statistics; returns their largest change, in standard deviations.

        In the first pass only the first call counts: the inputs of later calls may depend on
        the statistics that are to be replaced.
        """
        parts = [
            _count_and_moments(layer, inputs)
            for batch in self._batches
            for inputs in inputs_of(batch)[: 1 if first_call_only else None]
        ]
        mean, variance = norms.combine(parts)
        old_mean, old_variance = (
            np.float64(v.value) for v in (layer.moving_mean, layer.moving_variance)
        )
        _assign(layer, mean, variance)
        deviation, old = np.sqrt(variance + layer.epsilon), old_variance + layer.epsilon
        change = np.maximum(abs(mean - old_mean), abs(deviation - np.sqrt(old)))
        return float((change / deviation).max())

    def _trace_moments(self, sweeping: bool) -> None:
        """Traces one pass for all layers, unless a layer is called several times."""
        calls: list[BatchNormalization] = []

        def moments_of(images):
            """Computes each layer's (mean, variance), all layers normalizing by the batch.

            With all images in one batch these are the exact statistics: the inputs of every
            layer were normalized exactly by the layers before it.
            """
            moments = []

            def compute(layer, inputs):
                calls.append(layer)
                output, *statistics = _normalize_by_batch(layer, inputs)
                moments.append(statistics)
                return output

            norms.run(self._model, images, self.layers, compute)
            return moments

        if sweeping and self.layers:
            self.sweep = Sweep(moments_of, [self._batches])
        else:
            traced = tf.function(moments_of, autograph=False)
            spec = tf.TensorSpec([None, *self._batches[0].shape[1:]], tf.float32)
            self._at_once = traced.get_concrete_function(spec)
        if len(calls) > len(set(calls)):
            self.sweep = self._at_once = None
        else:
            self.layers = calls

    def _trace_inputs(self) -> None:
        """Makes a function for each layer's inputs, the layers in the order of their calls."""
        calls = []

        def compute(layer, inputs):
            calls.append(layer)
            return inputs

        spec = tf.TensorSpec([None, *self._batches[0].shape[1:]], tf.float32)
        trace = tf.function(
            lambda images: norms.run(self._model, images, self.layers, compute)
        )
        trace.get_concrete_function(spec)
        self.layers = list(dict.fromkeys(calls))
        self._repeats = len(calls) > len(self.layers)
        self._inputs = [tf.function(self._inputs_of(layer)) for layer in self.layers]

    def _inputs_of(self, layer: BatchNormalization) -> Callable:
        """Returns a function of images that returns the inputs of each call of the layer."""

        def inputs_of(images):
            tensors = []

            def compute(layer, inputs):
                tensors.append(inputs)
                return type(layer).call(layer, inputs, training=False)

            norms.run(self._model, images, [layer], compute)
            return tensors

        return inputs_of


def _is_own(layer: BatchNormalization) -> bool:
    """Returns whether a subclass normalizes by a formula of its own."""
    return type(layer).call is not BatchNormalization.call


def _normalize_by_batch(
    layer: BatchNormalization, inputs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Applies the layer with the statistics of its input; returns these as well."""
    wide, axes = norms.wide(inputs), norms.axes(layer, inputs)
    mean, variance = tf.nn.moments(wide, axes)
    parameters = [
        mean,
        variance,
        layer.beta if layer.center else None,
        layer.gamma if layer.scale else None,
    ]
    if axes[-1] == len(axes):  # the channels are not the last axis
        shape = [1 if axis in axes else -1 for axis in range(len(axes) + 1)]
        parameters = [p if p is None else tf.reshape(p, shape) for p in parameters]
    normalized = tf.nn.batch_normalization(wide, *parameters, layer.epsilon)
    return tf.cast(normalized, inputs.dtype), mean, variance


def _count_and_moments(layer: BatchNormalization, values: tf.Tensor) -> Moments:
    axes = norms.axes(layer, values)
    mean, variance = tf.nn.moments(tf.cast(values, tf.float64), axes)
    count = int(np.prod([values.shape[axis] for axis in axes]))
    return count, mean.numpy(), variance.numpy()


def _assign(layer: BatchNormalization, mean, variance) -> None:
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    if layer.renorm:  # further training takes the moving variance from it
        layer.moving_stddev.assign(np.sqrt(np.float64(variance) + layer.epsilon))
