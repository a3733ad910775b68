"""Changes the sides of a network's images, and finds the sizes that a network takes.

model, multiple = sides.freed(model)     # any size whose sides are multiples of `multiple`
model = sides.changed(model, 64, 64)     # one size; layers are shared, not copied
"""

import math
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfreuse.errors import InputError, printable, reason
from tfreuse.models.layers import AdaptiveAveragePool, ResizeBy

_ENLARGING = (keras.layers.Conv2DTranspose,)


def freed(model: keras.Model) -> tuple[keras.Model, int]:
    """Returns the model with free sides, and the pixels that both must be a multiple of.

    Raises:
        InputError: the model takes one size only; the message is the reason, a clause.
    """
    try:
        free = changed(model, None, None)
        return free, _multiple(free)
    except Exception as error:  # layers raise errors of many types
        raise InputError(reason(error)) from error


def fixed(model: keras.Model, height: int, width: int) -> keras.Model:
    """Returns the model for images of one size.

    Raises:
        InputError: it cannot be traced, or its output has another size.
    """
    try:
        if model.inputs[0].shape[1:3] != (height, width):
            model = changed(model, height, width)
        size = _traced(model, None, height, width).outputs[0].shape[1:3]
    except Exception as error:  # layers raise errors of many types
        raise InputError(
            f"the model cannot be exported for images of {height} x {width} pixels: "
            f"{reason(error)}."
        ) from error
    if size != (height, width):
        raise InputError(
            f"the model makes {tuple(size)} pixels of images of {(height, width)}; only models "
            "that keep the size can be exported. Append a layer such as "
            "keras.layers.UpSampling2D or keras.layers.Resizing."
        )
    return model


def changed(model: keras.Model, height: int | None, width: int | None) -> keras.Model:
    """Returns a functional model for images of other sides; None is a free side.

    Layers are shared, so that all of their state is too, such as the tensors that Normalization
    derives from its weights. Bilinear UpSampling2D and AdaptiveAveragePooling2D, which Keras
    3.15 cannot trace with free sides, are replaced by layers that compute the same.

    Raises:
        Exception: a layer needs other sides; layers raise errors of many types.
    """
    inputs = [_with_sides(tensor, height, width) for tensor in model.inputs]
    flexible: dict[int, keras.Layer] = {}  # a layer may be called more than once

    def replaced(layer: keras.Layer) -> keras.Layer:
        if id(layer) not in flexible:
            flexible[id(layer)] = _flexible(layer)
        return flexible[id(layer)]

    graph = keras.Model(model.inputs, model.outputs, name=model.name)
    copy = keras.models.clone_model(
        graph, input_tensors=inputs, clone_function=replaced
    )
    return keras.Model(
        _packed(inputs, model, "input"),
        _packed(copy.outputs, model, "output"),
        name=model.name,
    )


def _packed(tensors: list[keras.KerasTensor], model: keras.Model, end: str) -> object:
    """Returns tensors in the structure, such as a dict, of the model's "input" or "output"."""
    if len(tensors) == 1:
        return tensors[0]
    return keras.tree.pack_sequence_as(getattr(model, end), tensors)


def _with_sides(
    tensor: keras.KerasTensor, height: int | None, width: int | None
) -> keras.KerasTensor:
    """Returns an input like `tensor`, of other sides if it is images or features."""
    shape = tensor.shape[1:]
    if len(shape) == 3:
        shape = height, width, shape[2]
    return keras.Input(shape, dtype=tensor.dtype, name=tensor.name)


def _multiple(model: keras.Model) -> int:
    """Returns the smallest number whose multiples are all valid sides, found by shape inference.

    It divides the product of all strides, S. Each divisor d is tried with the sides d (S + 1)
    and d (2 S + 1): these factors have no divisor in common with S, so that only d can make
    the sizes fit. Nothing is computed. (Keras's own shape inference is no help: once built,
    Concatenate does not compare its inputs.)

    Raises:
        ValueError: at no size does the output have the size of the image.
        Exception: the model cannot be traced with free sides.
    """
    output_shape = _shape_inference(_traced(model, None, None, None))  # as it is served
    strides = math.prod(_strides(model))
    cause = "its output has the size of the image at none of the sizes tried"
    fixed_by = _fixed_by(model)
    for number in (m for m in range(1, strides + 1) if strides % m == 0):
        size = (number * (strides + 1), number * (2 * strides + 1))
        try:
            shape = output_shape(size)
            if not shape.is_fully_defined():
                shape = _traced(model, 1, *size).outputs[0].shape
        except ValueError as error:  # two branches of different size are joined
            if number == strides and not fixed_by:
                cause = f"of {size[0]} x {size[1]} pixels, {reason(error)}"
            continue
        if shape[1:3].is_compatible_with(size):
            return number
    raise ValueError(f"{fixed_by}{cause}")


def _traced(
    model: keras.Model, *shape: int | None
) -> tf.types.experimental.ConcreteFunction:
    """Traces the model for images of the shape [B, H, W]."""
    (tensor,) = model.inputs
    network = tf.function(lambda images: model(images, training=False))
    images = tf.TensorSpec((*shape, tensor.shape[3]), tensor.dtype)
    return network.get_concrete_function(images)


def _shape_inference(
    function: tf.types.experimental.ConcreteFunction,
) -> Callable[[tuple[int, int]], tf.TensorShape]:
    """Returns a function from an image's (H, W) to the shape of a traced network's output.

    TensorFlow infers the shapes of a graph as it imports it, in a tenth of the time in which
    Keras makes the graph anew. Reads of variables become placeholders of their shapes: a graph
    holds handles of variables, which have no shapes. The function raises ValueError where sizes
    do not fit each other.
    """
    images, (output,) = function.inputs[0], function.outputs
    definition = function.graph.as_graph_def()
    for node in definition.node:
        if node.op == "ReadVariableOp":
            value = function.graph.get_tensor_by_name(f"{node.name}:0")
            node.op = "Placeholder"
            node.ClearField("input")
            node.ClearField("attr")
            node.attr["dtype"].type = value.dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(value.shape.as_proto())

    def output_shape(size: tuple[int, int]) -> tf.TensorShape:
        with tf.Graph().as_default():
            shape = (1, *size, images.shape[3])
            sized = tf.compat.v1.placeholder(images.dtype, shape)
            (inferred,) = tf.graph_util.import_graph_def(
                definition, {images.name: sized}, [output.name], name="network"
            )
        return inferred.shape

    return output_shape


def _flexible(layer: keras.Layer) -> keras.Layer:
    """Returns `layer`, or one that computes the same at any size."""
    if not isinstance(layer, keras.Layer):  # an operation of keras.ops
        return layer
    options = {"name": layer.name, "dtype": layer.dtype_policy}
    if getattr(layer, "data_format", "") == "channels_first":
        return layer
    if isinstance(layer, keras.layers.UpSampling2D):
        if layer.interpolation != "nearest":
            return ResizeBy(layer.size, layer.interpolation, **options)
    elif isinstance(layer, keras.layers.AdaptiveAveragePooling2D):
        if layer.output_size[0] == layer.output_size[1]:
            return AdaptiveAveragePool(layer.output_size[0], **options)
    elif isinstance(layer, keras.Model) and any(
        len(tensor.shape) == 4 for tensor in getattr(layer, "inputs", None) or ()
    ):
        return changed(layer, None, None)
    return layer


def _fixed_by(model: keras.Model) -> str:
    """Names the first layer or operation with an output of one size, as a clause; or ""."""
    for operation in getattr(model, "operations", ()):
        if isinstance(operation, keras.Model) and (inside := _fixed_by(operation)):
            return inside
        for tensor in _outputs(operation):
            shape = tensor.shape
            if len(shape) == 4 and None not in shape[1:3] and shape[1:3] != (1, 1):
                size = f"{shape[1]} x {shape[2]} pixels at any size"
                return f"{printable(operation.name, 60)} gives {size}, and "
    return ""


def _outputs(operation: keras.Operation) -> list[keras.KerasTensor]:
    """Returns the outputs of an operation's last call."""
    return [x for node in operation._inbound_nodes[-1:] for x in node.output_tensors]


def _strides(model: keras.Model) -> Iterator[int]:
    """Yields the strides of layers that shrink images, nested models included."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _strides(layer)
        elif hasattr(layer, "strides") and not isinstance(layer, _ENLARGING):
            yield int(np.max(layer.strides))
