"""Cuts a segmentation's last activation or argmax off, so that the model returns logits.

    cut, activation = endings.logits(model)  # "softmax": `cut` is `model` without its last softmax
    cut, has_argmax = endings.without_argmax(model)

Networks end in a layer Softmax or Activation, in a convolution's `activation="softmax"`, in
keras.ops.softmax, sigmoid or argmax, perhaps followed by a Reshape or a resizing. Training and
export need the logits. Cut models share the layers of the model.
"""

from collections.abc import Iterator

import keras

LINEAR, PROBABILITIES = "linear", "probabilities"
_ACTIVATIONS = ("softmax", "sigmoid")
_WEIGHTED = (
    keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D,
    keras.layers.Dense,
)  # fmt: skip
# Class names, since classes of keras.ops are not public. These change no value and keep each
# pixel's channels together, so that they may as well precede a softmax.
_MOVING = {
    *("Cast", "Cropping2D", "Dropout", "ExpandDims", "Identity", "Reshape"),
    *("SpatialDropout2D", "Squeeze"),
}
_AVERAGING = {"AveragePooling2D", "Resize", "Resizing", "UpSampling2D"}


def without_argmax(model: keras.Model) -> tuple[keras.Model, bool]:
    """Returns the model up to a last argmax over channels, and whether it has one.

    The argmax may stand at the end of an inner model, or before a one_hot.
    """
    for operation, source, _ in _from_the_end(model):
        name = type(operation).__name__
        if isinstance(operation, keras.Model) and len(operation.outputs) == 1:
            inner, has_argmax = without_argmax(operation)
            if has_argmax:
                model = keras.Model(model.input, inner(source), name=model.name)
            return model, has_argmax
        if name == "Argmax" and operation.axis in (-1, len(source.shape) - 1):
            return keras.Model(model.input, source, name=model.name), True
        if name not in _MOVING and name != "OneHot":
            break
    return model, False


def logits(model: keras.Model) -> tuple[keras.Model, str | None]:
    """Returns the model up to its logits, and the kind of its own output.

    Args:
        model: a functional model of one input and one output.

    Returns:
        A cut model and "softmax" or "sigmoid", which maps its output to the output of `model`;
        or `model` itself and LINEAR, its output being logits; or PROBABILITIES, its output being
        averages of probabilities, for which there are no logits; or None, unknown.
    """
    behind, averaged = [], False
    for operation, source, target in _from_the_end(model):
        name, activation = type(operation).__name__, _activation(operation, source)
        if activation in _ACTIVATIONS:
            if averaged:
                return model, PROBABILITIES
            output = _linear(operation, source)
            for later in reversed(behind):
                output = later(output)
            return keras.Model(model.input, output, name=model.name), activation
        if isinstance(operation, _WEIGHTED) and activation == LINEAR:
            return model, LINEAR
        if name in _AVERAGING:
            averaged |= getattr(operation, "interpolation", "") != "nearest"
        elif name not in _MOVING and activation != LINEAR:
            break
        if target.shape[-1] != source.shape[-1]:
            break
        behind.append(operation)
    return model, None


def _from_the_end(
    model: keras.Model,
) -> Iterator[tuple[keras.Operation, keras.KerasTensor, keras.KerasTensor]]:
    """Yields operations with input and output, the last first, up to one of several inputs."""
    tensor = model.outputs[0]
    while True:
        operation, node, _ = tensor._keras_history
        sources = operation._inbound_nodes[node].input_tensors
        if len(sources) != 1:
            return
        yield operation, sources[0], tensor
        tensor = sources[0]


def _activation(operation: keras.Operation, source: keras.KerasTensor) -> str:
    """Returns the name of an operation's activation over channels; "" if it has none."""
    function = getattr(operation, "activation", None)
    if function is not None:
        return getattr(function, "__name__", type(function).__name__).lower()
    name = type(operation).__name__.lower()
    axis = getattr(operation, "axis", -1)
    is_over_channels = axis in (-1, len(source.shape) - 1)
    return name if name in _ACTIVATIONS and is_over_channels else ""


def _linear(operation: keras.Operation, source: keras.KerasTensor) -> keras.KerasTensor:
    """Applies an operation that ends in an activation, without the activation."""
    if not isinstance(operation, _WEIGHTED):
        return source
    layer = operation.__class__.from_config(
        operation.get_config() | {"activation": LINEAR}
    )
    output = layer(source)
    layer.set_weights(operation.get_weights())
    return output
