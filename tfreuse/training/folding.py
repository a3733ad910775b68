"""A faster view of a model for evaluation: batch normalization folded into the convolution.

    graph = folding.folded(model)  # the same layers and variables
    graph(images, training=False)  # as model(images, training=False), up to float32's rounding

`tfreuse.training.fusion` has the view for training.
"""

import keras
import tensorflow as tf

from tfreuse.training import views

BatchNormalization = keras.layers.BatchNormalization


def folded(model: keras.Model) -> keras.Model:
    """Returns a view in which each convolution and its batch normalization are one layer.

    The convolution runs without its bias b, which is subtracted from the moving mean m instead:
    (x + b) - m = x - (m - b). TensorFlow then merges convolution, normalization and ReLU into
    one kernel that passes over the memory once instead of five times. The convolution reads
    only the kernel, the normalization all other variables: an arm of a study that changes no
    kernel can start from the convolution's output (`tfreuse.training.sweep`). Dilated
    convolutions run as one operation; Keras would rearrange the image into batches.

    A convolution is folded if only one batch normalization reads it, in nested models too. A
    model that is not a graph of layers is returned unchanged.
    """
    model = views.as_graph(model)
    if not views.is_graph(model):
        return model
    foldable = _foldable(model)
    # (convolution, its input, its output), by the id of the output.
    convolutions = {}

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.Model):
            return folded(layer)(*args, **kwargs)
        if isinstance(layer, BatchNormalization) and id(args[0]) in convolutions:
            conv, inputs, _ = convolutions[id(args[0])]
            return _ConvolveAndNormalize(conv, layer)(inputs)
        output = layer(*args, **kwargs)
        if layer.name in foldable:
            # Holding the output keeps its id from being reused by another tensor.
            convolutions[id(output)] = (layer, args[0], output)
        return output

    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )


def _foldable(model: keras.Model) -> set[str]:
    """Returns the convolutions that are called once and read by one batch normalization only."""
    nodes = [node for level in model._nodes_by_depth.values() for node in level]
    readers: dict[str, list] = {}  # calls that read a layer's output
    for node in nodes:
        for tensor in node.input_tensors:
            producer = tensor._keras_history.operation
            readers.setdefault(producer.name, []).append(node)
    outputs = {t._keras_history.operation.name for t in model.outputs}
    calls = [node.operation.name for node in nodes]
    return {
        conv.name
        for conv in (node.operation for node in nodes)
        if type(conv) is keras.layers.Conv2D
        and conv.activation is keras.activations.linear
        and conv.data_format == "channels_last"
        and conv.quantization_mode is None
        and conv.name not in outputs
        and calls.count(conv.name) == 1
        and len(readers.get(conv.name, ())) == 1
        and _merges(readers[conv.name][0], conv)
    }


def _merges(node, conv: keras.layers.Conv2D) -> bool:
    """Returns whether the merged operation computes the same as `conv` and the reading call."""
    norm, options = node.operation, node.arguments.kwargs
    return (
        type(norm) is BatchNormalization
        and norm.axis in (-1, 3)
        and norm.compute_dtype == conv.compute_dtype != "float64"
        # training=True normalizes by the batch's moments, at inference too.
        and options.get("training") is None
        and options.get("mask") is None
    )


class _ConvolveAndNormalize(keras.layers.Layer):
    """Computes two layers at inference with their variables: [B, H, W, C] -> [B, H', W', K]."""

    def __init__(self, conv: keras.layers.Conv2D, norm: BatchNormalization) -> None:
        super().__init__(dtype=conv.dtype_policy)
        self.conv, self.norm = conv, norm

    def call(self, inputs):
        conv, norm = self.conv, self.norm
        if max(conv.dilation_rate) > 1 and conv.groups == 1:
            features = tf.nn.conv2d(
                inputs,
                conv.kernel,
                strides=conv.strides,
                padding=conv.padding.upper(),
                dilations=conv.dilation_rate,
            )
        else:
            features = conv.convolution_op(inputs, conv.kernel)
        mean = tf.cast(norm.moving_mean, tf.float32)
        if conv.use_bias:
            mean -= tf.cast(conv.bias, tf.float32)
        ones = tf.ones_like(mean)
        normalized, *_ = tf.compat.v1.nn.fused_batch_norm(
            features,
            tf.cast(norm.gamma, tf.float32) if norm.scale else ones,
            tf.cast(norm.beta, tf.float32) if norm.center else 0.0 * ones,
            mean,
            tf.cast(norm.moving_variance, tf.float32),
            epsilon=norm.epsilon,
            is_training=False,
        )
        return normalized
