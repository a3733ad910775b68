"""Re-estimates the moving statistics of batch normalization on a recipient's own images.

The images are training images without labels. The result is exact: each layer's mean and
variance are those of its inputs over all the images, with the layers before it already
re-estimated, sigma² = E[variance of a batch] + variance of the batch means; dropout is off.
Digits are kept where a channel's mean is large (`norms.moments`); Keras's `synchronized=True`
loses them in training.

    recalibrate = Recalibrator(model, images)  # traced once
    recalibrate()                              # as often as the model's parameters change

`training.recalibrated.recalibrate` is for users: any images, progress, and the precision that they allow.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfreuse.errors import printable
from tfreuse.training import norms
from tfreuse.training.layerwise import Batches, Compute, Layerwise
from tfreuse.training.norms import BatchNormalization, Estimate, normalizations
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
        batch_size: images in memory at a time; None: all at once, with equal result up to
            rounding. All at once, a second call computes only the layers after a change.
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
        batches = Batches(images, batch_size or len(images))
        self._batches = [batches[number][0] for number in range(len(batches.sizes))]
        self.layers = normalizations(model)
        self.sweep = self._at_once = self._layerwise = None
        at_once = one_pass or len(self._batches) == 1
        if at_once and not any(map(is_own, self.layers)):
            self._trace_moments(sweeping=not one_pass)
        if self.sweep is None and self._at_once is None:
            self._layerwise = Layerwise(model, self.layers, images[:1])
            self._in_turn = batches

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
            settle(self._layerwise, self._in_turn)

    def _assign_all(self, moments: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> None:
        for layer, (mean, variance) in zip(self.layers, moments, strict=True):
            _assign(layer, mean, variance)

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


def settle(
    layerwise: Layerwise,
    batches: Batches,
    *,
    blend: float = 0.0,
    memory: int | None = None,
    report: Callable[[float], None] = lambda share: None,
) -> dict[BatchNormalization, Estimate]:
    """Sets one layer after another, so that each sees the final statistics before it.

    Where a layer is called several times, and the input of one call may depend on another's
    output, passes are repeated until nothing changes.

    Args:
        layerwise: the model.
        batches: of the images.
        blend: share of the present statistics that stays; the layers behind are measured behind
            the blended ones.
        memory, report: as in `Layerwise`.

    Returns:
        The estimates, without the present statistics, in the order of the first calls.
    """
    before = {layer: values(layer) for layer in layerwise.calls}
    moments_of: dict[BatchNormalization, dict[int, np.ndarray]]
    moments_of = {layer: {} for layer in before}
    repeats = layerwise.steps > 1 and len(layerwise.calls) > len(before)
    estimates: dict[BatchNormalization, Estimate] = {}
    for number in range(_PASSES if repeats else 1):
        changes = dict.fromkeys(before, 0.0)
        for measured in layerwise(batches, memory, report):
            for call, moments in measured:
                moments_of[layerwise.calls[call]][call] = moments
            for layer in dict.fromkeys(layerwise.calls[call] for call, _ in measured):
                estimate = norms.estimate(list(moments_of[layer].values()))
                pairs = zip(
                    (estimate.mean, estimate.variance), before[layer], strict=True
                )
                blended = [(1 - blend) * new + blend * old for new, old in pairs]
                changes[layer] = max(changes[layer], _change(layer, *blended))
                _assign(layer, *blended)
                estimates[layer] = estimate
                if not repeats:
                    moments_of[layer].clear()  # the moments of every image
        if number and max(changes.values()) < _TOLERANCE:
            break
    else:
        if repeats:
            layer = max(changes, key=changes.get)
            _LOGGER.warning(
                "Statistics of %s depend on themselves and still change by %.1e standard "
                "deviations after %d passes.", printable(layer.name), changes[layer], _PASSES,
            )  # fmt: skip
    return {layer: estimates[layer] for layer in before}


def is_own(layer: BatchNormalization) -> bool:
    """Returns whether a subclass normalizes by a formula of its own."""
    return type(layer).call is not BatchNormalization.call


def values(layer: BatchNormalization) -> list[np.ndarray]:
    """Returns the moving mean and variance that a layer holds, in float64."""
    variables = layer.moving_mean, layer.moving_variance
    return [np.float64(variable.value) for variable in variables]


def _change(layer: BatchNormalization, mean: np.ndarray, variance: np.ndarray) -> float:
    """Returns the largest change that values mean, in standard deviations."""
    old_mean, old_variance = values(layer)
    deviation, old = (np.sqrt(v + layer.epsilon) for v in (variance, old_variance))
    change = np.maximum(abs(mean - old_mean), abs(deviation - old))
    return float((change / deviation).max())


def by_batch(
    stored: Mapping[BatchNormalization, Sequence[np.ndarray]], blend: float
) -> Compute:
    """Returns a function that normalizes by the batch's moments, blended with stored values."""

    def normalize(layer, inputs):
        return _normalize_by_batch(layer, inputs, stored[layer], blend)[0]

    return normalize


def at_batch(layer: BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """Normalizes by the moments of the batch, as training does; changes no statistics.

    Made for exports: of operations that other formats know.
    """
    return _normalize_by_batch(layer, inputs, moments=tf.nn.moments)[0]


def _normalize_by_batch(
    layer: BatchNormalization,
    inputs: tf.Tensor,
    stored: Sequence[np.ndarray] = (),
    blend: float = 0.0,
    moments: Callable = norms.moments,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Applies the layer with the statistics of its input; returns these as well."""
    wide, axes = norms.wide(inputs), norms.axes(layer, inputs)
    mean, variance = moments(wide, axes)
    used = [mean, variance]
    if blend:
        pairs = zip(used, stored, strict=True)
        used = [
            (1 - blend) * new + tf.cast(blend * old, new.dtype) for new, old in pairs
        ]
    parameters = [
        *used,
        layer.beta if layer.center else None,
        layer.gamma if layer.scale else None,
    ]
    if axes[-1] == len(axes):  # the channels are not the last axis
        shape = [1 if axis in axes else -1 for axis in range(len(axes) + 1)]
        parameters = [p if p is None else tf.reshape(p, shape) for p in parameters]
    normalized = tf.nn.batch_normalization(wide, *parameters, layer.epsilon)
    return tf.cast(normalized, inputs.dtype), mean, variance


def _assign(layer: BatchNormalization, mean, variance) -> None:
    layer.moving_mean.assign(mean)
    layer.moving_variance.assign(variance)
    if layer.renorm:  # further training takes the moving variance from it
        layer.moving_stddev.assign(np.sqrt(np.float64(variance) + layer.epsilon))
