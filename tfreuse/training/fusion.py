"""Training with fewer operations: one for each batch normalization and each Adam update.

graph = fusion.fused(model)  # the same layers and variables
graph.compile(fusion.with_fused_updates(optimizer), ...); graph.fit(...)
model.save(...)  # the plain model, trained
"""

import functools

import keras
import tensorflow as tf

from tfreuse.errors import InputError, printable
from tfreuse.training import devices, views
from tfreuse.transplant import derived, live

BatchNormalization = keras.layers.BatchNormalization


def fused(model: keras.Model) -> keras.Model:
    """Returns a view of the model that computes batch normalization by one fused operation.

    Keras computes moments and the affine map separately; TensorFlow's fused kernel does the
    same in one pass (about 1.4 times the training speed of a small UNet on a CPU). Layers that
    compute otherwise stay Keras's own: with `renorm`, `synchronized`, masks, an axis other than
    the last, float64, subclasses. The view is for training only; the plain model is saved and
    evaluated. Created in the scope of a strategy with several devices (tf.distribute), the view
    synchronizes the moments among the devices instead.

    Raises:
        InputError: several devices, and a batch normalization that cannot be synchronized.
    """
    distributed = devices.several()
    reached = set()

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.layers.Normalization):
            return _NormalizationByVariables(layer)(*args)
        if isinstance(layer, BatchNormalization):
            reached.add(id(layer))
            if distributed:
                return _SynchronizedNormalization(layer)(*args, **kwargs)
            if _fusible(layer, args[0]) and all(v is None for v in kwargs.values()):
                return _FusedNormalization(layer)(*args)
        return layer(*args, **kwargs)

    graph = views.view(model, call)
    if distributed:
        _check_synchronized(model, reached)
    return graph


def with_fused_updates(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """Makes the optimizer update each variable by one operation; returns the optimizer.

    Keras's Adam and AdamW use about thirty operations per variable, more than half of a step's
    graph, and AdamW computes the rate of its schedule anew for each variable that decays. Tracing
    them delays the first step by seconds. Other optimizers, and updates shared among devices, are
    left unchanged.
    """
    fusible = type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
    if fusible and not optimizer.amsgrad and not devices.several():
        optimizer._backend_update_step = functools.partial(_update_all, optimizer)
        optimizer._apply_weight_decay = functools.partial(_decay_all, optimizer)
    return optimizer


def _decay_all(optimizer, variables) -> None:
    """Applies AdamW's weight decay: Keras's formula, with one rate for all variables."""
    if optimizer.weight_decay is None:
        return
    rate = optimizer.learning_rate
    for variable in variables:
        if optimizer._use_weight_decay(variable.value):
            decay = tf.cast(optimizer.weight_decay, variable.dtype)
            step = variable.value * decay * tf.cast(rate, variable.dtype)
            variable.value.assign_sub(step)


def _update_all(optimizer, grads, trainable_variables, learning_rate) -> None:
    """Applies Keras's `Adam.update_step` to all variables: same formula, same state."""
    step = tf.cast(optimizer.iterations.value + 1, tf.float32)
    shared = {
        "lr": tf.cast(learning_rate, tf.float32),
        "beta1": tf.constant(optimizer.beta_1, tf.float32),
        "beta2": tf.constant(optimizer.beta_2, tf.float32),
        "beta1_power": tf.pow(tf.constant(optimizer.beta_1, tf.float32), step),
        "beta2_power": tf.pow(tf.constant(optimizer.beta_2, tf.float32), step),
        "epsilon": tf.constant(optimizer.epsilon, tf.float32),
    }
    for gradient, variable in zip(grads, trainable_variables, strict=True):
        index = optimizer._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=optimizer._momentums[index].value.handle,
            v=optimizer._velocities[index].value.handle,
            grad=tf.convert_to_tensor(gradient),
            **shared,
        )


def _fusible(layer: BatchNormalization, inputs: keras.KerasTensor) -> bool:
    return (
        type(layer) is BatchNormalization
        and layer.scale
        and layer.center
        and not layer.synchronized
        and not layer.renorm
        and layer.activity_regularizer is None
        and layer.trainable
        and layer.axis in (-1, 3)
        and len(inputs.shape) == 4
        and layer.compute_dtype != "float64"
    )


def _check_synchronized(model: keras.Model, reached: set[int]) -> None:
    """Raises InputError if a batch normalization is inside a layer that is no graph of layers."""
    for path, layer in live.every_layer(model):
        if isinstance(layer, BatchNormalization) and id(layer) not in reached:
            raise InputError(
                f"batch normalization {printable(path)!r} is inside a layer of a class of its own, "
                "where its moments cannot be synchronized; use --strategy=none."
            )


class _NormalizationByVariables(keras.layers.Layer):
    """Computes a Normalization from its variables, so that a compiled step follows them."""

    def __init__(self, layer: keras.layers.Normalization) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs):
        with derived.from_variables(self.layer):
            return self.layer(inputs)


class _FusedNormalization(keras.layers.Layer):
    """Computes a batch normalization in training by `FusedBatchNormV3`, with its variables."""

    def __init__(self, layer: BatchNormalization) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs, training=None):
        layer = self.layer
        if not training:
            return layer(inputs, training=False)
        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(layer.gamma, tf.float32),
            offset=tf.cast(layer.beta, tf.float32),
            mean=[],
            variance=[],
            epsilon=layer.epsilon,
            is_training=True,
        )
        # The kernel returns the unbiased variance (n - 1); Keras averages the biased (n).
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        variance *= (count - 1.0) / count
        for moving, batch in (
            (layer.moving_mean, mean),
            (layer.moving_variance, variance),
        ):
            moving.assign(moving * layer.momentum + batch * (1.0 - layer.momentum))
        return output


class _SynchronizedNormalization(keras.layers.Layer):
    """Computes a batch normalization with the moments of the whole batch on all devices.

    With moments per device, training would differ from training on one device, and the saved
    moving statistics would be those of the first device's images.
    """

    def __init__(self, layer: BatchNormalization) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer
        # Noted here: the devices trace `call` in threads that run into one another.
        self._synchronized = layer.synchronized

    def call(self, inputs, training=None, mask=None):
        # Only while tracing: the saved configuration is that of the plain model.
        self.layer.synchronized = True
        try:
            return self.layer(inputs, training=training, mask=mask)
        finally:
            self.layer.synchronized = self._synchronized
