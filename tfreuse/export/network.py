"""A model with the properties that are needed to serve it at any image size."""

import dataclasses
import math
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from tfreuse import models
from tfreuse.errors import InputError, printable
from tfreuse.training import evaluation


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with free sides and the properties needed to serve it.

    Attributes:
        model: [B, H, W, channels] -> [B, H, W, outputs], sides in multiples of `multiple`.
        original: the same model with its fixed sides, if it had any.
        task: "segmentation" or "autoencoder".
        channels: channels of the images.
        multiple: pixels that both sides must be a multiple of.
    """

    model: keras.Model
    original: keras.Model
    task: str
    channels: int
    multiple: int

    @classmethod
    def of(cls, model: keras.Model, task: str | None = None) -> "Network":
        """Examines a model. Raises InputError if it cannot be served at any image size."""
        task = task or evaluation.task_of(model)
        if isinstance(model.output, dict) and "head" not in model.output:
            raise InputError(
                f"the model's outputs are {sorted(model.output)}; expected one called 'head'."
            )
        model = models.without_auxiliary(model)
        shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
        if len(shapes) != 2 or any(len(s) != 4 or s[3] is None for s in shapes):
            raise InputError(
                "expected a model with one input [B, H, W, C] and one output [B, H, W, K] "
                f"(or one called 'head'); got the shapes {shapes}."
            )
        channels = shapes[0][3]
        free = _with_free_sides(model)
        return cls(free, model, task, channels, size_multiple(free, channels))

    @property
    def num_classes(self) -> int:
        """Classes of a segmentation; 0 for an auto-encoder."""
        return self.model.output.shape[3] if self.task == "segmentation" else 0

    def tolerance(self, logits: np.ndarray) -> float:
        """Returns the allowed difference of outputs, given the network's logits (or image).

        A graph adds in another order than eager Keras. The effect on probabilities grows with
        the logits: those of an untrained ResNet-50 reach 1000.
        """
        largest = float(np.abs(logits).max())
        if all(layer.compute_dtype == "float32" for layer in self.model.layers):
            return max(1e-5, 1e-6 * largest)
        return max(2e-2, 4e-3 * largest)  # bfloat16 has 8 bits


def _with_free_sides(model: keras.Model) -> keras.Model:
    """Returns `model`, or a copy whose input has free height and width.

    Raises:
        InputError: the model has a layer that needs a fixed size.
    """
    (fixed,) = model.inputs
    if fixed.shape[1:3] == (None, None):
        return model
    images = keras.Input((None, None, fixed.shape[3]), dtype=fixed.dtype)
    try:
        copy = keras.models.clone_model(model, input_tensors=images)
    except Exception as error:  # layers raise errors of many types
        raise InputError(
            f"the model takes images of {fixed.shape[1:3]} pixels only, and cannot be changed "
            f"to take any size: {printable(error)}"
        ) from error
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def size_multiple(model: keras.Model, channels: int) -> int:
    """Returns the smallest number whose multiples are all valid sides, found by tracing.

    It divides the product of all strides, S. Each divisor d is tried with the sides d (S + 1)
    and d (2 S + 1): these factors have no divisor in common with S, so that only d can make
    the sizes fit. Tracing infers shapes without computing. (Keras's own shape inference is no
    help: once built, Concatenate does not compare its inputs.)
    """
    strides = math.prod(_strides(model))
    network = tf.function(lambda images: model(images, training=False))
    for multiple in (m for m in range(1, strides + 1) if strides % m == 0):
        size = (multiple * (strides + 1), multiple * (2 * strides + 1))
        images = tf.TensorSpec((1, *size, channels), model.inputs[0].dtype)
        try:
            output = network.get_concrete_function(images).structured_outputs
        except ValueError:  # two branches of different size are joined
            continue
        if output.shape[1:3].is_compatible_with(size):
            return multiple
    raise InputError(
        "the model's output differs from its input in height and width at every size tried; "
        "only models that keep the size can be exported."
    )


def _strides(model: keras.Model) -> Iterator[int]:
    """Yields the strides of layers that shrink images, nested models included."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _strides(layer)
        elif hasattr(layer, "strides") and not isinstance(layer, _ENLARGING):
            yield int(np.max(layer.strides))


_ENLARGING = (keras.layers.Conv2DTranspose,)
