"""Builds the objective of a training: the loss per pixel, and the optimizer with its rates.

graph.compile(objective.optimizer(model, spec), objective.loss("segmentation", ignore_label=255))
"""

import keras
import tensorflow as tf

from tfreuse.specs import TrainSpec
from tfreuse.training import devices


def loss(task: str, ignore_label: int = -1) -> keras.losses.Loss:
    """Returns the loss per pixel: cross-entropy of logits, or mean squared error.

    Ignored pixels count for nothing: the sum is divided by the number of the other pixels. Call it
    in the scope of the strategy (tf.distribute) that trains.
    """
    if task != "segmentation":
        return keras.losses.MeanSquaredError()
    if ignore_label < 0:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    kind = keras.losses.SparseCategoricalCrossentropy
    if devices.several():
        kind = _CrossEntropyOfAllDevices
    return kind(from_logits=True, ignore_class=ignore_label)


def optimizer(model: keras.Model, spec: TrainSpec) -> keras.optimizers.Optimizer:
    """Returns AdamW with a linear warm-up, then a cosine decay of the rate to zero."""
    warmup = max(1, round(spec.warmup * spec.steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, spec.steps - warmup),
        warmup_target=spec.learning_rate,
        warmup_steps=warmup,
    )
    return adamw(schedule, spec)


def adamw(
    rate: float | keras.optimizers.schedules.LearningRateSchedule, spec: TrainSpec
) -> keras.optimizers.AdamW:
    """Returns AdamW with the spec's decay of kernels, and of kernels alone, and its clipping.

    Gradients are clipped to a global norm (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1) if
    `spec.clip_norm` is given: Adam's second moments remember a few long gradients at the start
    for about 1 / (1 - 0.999) updates, in which the steps stay short.
    """
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=spec.weight_decay,
        global_clipnorm=spec.clip_norm or None,
        # Keras would count optimizers, and TensorFlow keeps 36 kB for each name of a variable.
        name="adamw",
    )
    decay_only_kernels(optimizer)
    return optimizer


def decay_only_kernels(optimizer: keras.optimizers.Optimizer) -> None:
    """Excludes all variables but kernels from weight decay, which Keras does not save."""
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])


def clip_over_devices(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """Makes an optimizer clip the gradient of the whole batch on several devices; returns it.

    Keras clips the gradient of each device by itself before it adds them up: the sum may be as
    many times too long as there are devices. Call it in the scope of the strategy that trains.
    """
    if not devices.several() or optimizer.global_clipnorm is None:
        return optimizer
    # Of the class, not of the optimizer: a second call of this function changes nothing then.
    clip = type(optimizer)._clip_gradients

    def clip_sum(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        replica = tf.distribute.get_replica_context()
        return clip(
            optimizer, replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        )

    optimizer._clip_gradients = clip_sum
    optimizer._all_reduce_sum_gradients = list  # Keras's sum, which comes too late
    return optimizer


class _CrossEntropyOfAllDevices(keras.losses.SparseCategoricalCrossentropy):
    """Divides a device's sum by the number of counted pixels of the whole batch.

    Keras would average the means of the devices, in which a pixel counts more where more of the
    other pixels of its device are ignored.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        losses = self.call(y_true, y_pred)  # [B, H, W], 0 where ignored
        labels = tf.reshape(y_true, tf.shape(losses))
        count = tf.reduce_sum(tf.cast(labels != self.ignore_class, losses.dtype))
        if sample_weight is not None:
            losses *= tf.cast(sample_weight, losses.dtype)
        replica = tf.distribute.get_replica_context()
        if replica is not None:  # None while Keras infers shapes
            count = replica.all_reduce(tf.distribute.ReduceOp.SUM, count)
        # The gradients of the devices are added up, so that this sum needs no other scale.
        return tf.math.divide_no_nan(tf.reduce_sum(losses), count)
