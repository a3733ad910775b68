"""Examines a model for export: its task, its logits and the image sizes that it takes."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfreuse import models
from tfreuse.errors import InputError, first_names, printable, reason
from tfreuse.export import sides
from tfreuse.models import custom, endings
from tfreuse.models.images import check_channels_last
from tfreuse.specs import BATCH, STORED
from tfreuse.training import evaluation, norms, recalibration, views

_OF_THE_BATCH = (
    "batch normalization computes with the statistics of the images of each call, not with the "
    "stored ones: what an image gives depends on the images beside it, and an image alone is "
    "normalized by itself, so that how it differs from others is lost."
)
_PROBES = 2  # random images whose outputs show whether they are probabilities


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that gives logits where it can, at any size where it can.

    Attributes:
        model: [B, H, W, channels] -> [B, H, W, outputs]: logits, probabilities or images.
        original: the user's model, of one output and without a last argmax; the reference.
        labels: the user's model [B, H, W, channels] -> int [B, H, W], if it ends in argmax.
        task: "segmentation" or "autoencoder".
        channels: channels of the images.
        multiple: pixels that both sides must be a multiple of.
        size: (H, W) if the network takes images of one size only.
        divisor: divisor of the pixels, 0 to 255, before the network: 255, or 1 for a network
            that begins with a Rescaling of its own.
        activation: function from the output of `model` to that of `original`: "softmax",
            "sigmoid", `endings.LINEAR` (both are logits, or images), or
            `endings.PROBABILITIES` (both are probabilities).
        remarks: lines for the user on changes to the network and limits of the export.
        statistics: those that batch normalization computes with: "stored", or those of the
            "batch" that is predicted, single images included ("Evaluating Prediction-Time
            Batch Normalization", Nado et al. 2020, arXiv 2006.10963).
    """

    model: keras.Model
    original: keras.Model
    labels: keras.Model | None
    task: str
    channels: int
    multiple: int
    size: tuple[int, int] | None
    divisor: float
    activation: str
    remarks: tuple[str, ...]
    statistics: str = STORED

    @classmethod
    def of(
        cls, model: keras.Model, task: str | None = None, statistics: str = STORED
    ) -> "Network":
        """Examines a model. Raises InputError if it cannot be exported."""
        model = _main(model)
        if statistics == BATCH:
            _check_norms(model)
        task = task or evaluation.task_of(model)
        remarks: list[str] = []
        original, has_argmax = endings.without_argmax(model)
        if has_argmax and task == "segmentation":
            remarks.append("the last argmax is cut off: the mask has its labels.")
        channels = _channels(original)
        divisor = 255.0
        if custom.takes_pixels(original):
            divisor = 1.0
            remarks.append(
                "the model scales its pixels itself and gets them from 0 to 255."
            )
        cut, activation = original, endings.LINEAR
        if task == "segmentation":
            cut, activation = _logits(original, divisor, remarks)
        free, multiple, size = _free(cut, remarks)
        network = cls(
            free, original, model if has_argmax else None, task, channels, multiple, size,
            divisor, activation, tuple(remarks), statistics,
        )  # fmt: skip
        if statistics == BATCH:
            remarks += network._batch_remarks()
            network = dataclasses.replace(network, remarks=tuple(remarks))
        return network

    def run(self, model: keras.Model, inputs: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Runs `model` or `original` in inference mode, with this network's statistics."""
        if self.statistics == STORED:
            return model(inputs, training=False)
        layers = norms.normalizations(model)
        with norms.computed_by(layers, recalibration.at_batch):
            return model(inputs, training=False)

    @property
    def num_classes(self) -> int:
        """Classes of a segmentation, 2 for one channel; 0 for an auto-encoder."""
        if self.task != "segmentation":
            return 0
        return max(2, self.model.output.shape[3])

    @property
    def has_logits(self) -> bool:
        """Returns whether the network's logits can be served."""
        return self.task == "segmentation" and self.activation != endings.PROBABILITIES

    def facts(self) -> dict:
        """Returns a description of the served network, for the metadata."""
        return {
            "task": self.task,
            "channels": self.channels,
            "model_output": self._model_output(),
            "image_range": f"uint8 images / {self.divisor:g}",
            "size_multiple": self.multiple,
            "fixed_size": self.size and list(self.size),
            "statistics": self.statistics,
            "remarks": list(self.remarks),
        }

    def _batch_remarks(self) -> list[str]:
        """Returns lines on the effect of the batch's statistics on single images."""
        constant: dict[str, None] = {}

        def compute(layer, inputs):
            over = norms.axes(layer, inputs)
            if all(inputs.shape[axis] == 1 for axis in over):
                constant[layer.name] = None
            return recalibration.at_batch(layer, inputs)

        height, width = (
            side or 2 * max(self.multiple, 16)
            for side in self.size or self.model.inputs[0].shape[1:3]
        )
        with norms.computed_by(norms.normalizations(self.model), compute):
            self.model(tf.zeros((1, height, width, self.channels)), training=False)
        remarks = [_OF_THE_BATCH]
        if constant:
            remarks.append(
                f"of an image alone {first_names(constant)} has one value a channel, its own mean: "
                "the output is its beta, whatever the image; give several images."
            )
        return remarks

    def _model_output(self) -> str:
        if self.task != "segmentation":
            return "image"
        if self.labels is not None:
            return "labels"
        return "logits" if self.activation == endings.LINEAR else "probabilities"


def _main(model: keras.Model) -> keras.Model:
    """Returns the model with its main output only.

    Raises:
        InputError: the model is no graph of layers, or has no main output.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None):
        raise InputError(
            f"the model is a subclassed or unbuilt one ({printable(type(model).__name__)}); "
            "export needs a graph of layers: make it by keras.Model(inputs, outputs), or "
            "keras.Sequential that begins with a keras.Input."
        )
    model = views.as_graph(model)  # a Sequential has no output before it is called
    if isinstance(model.output, dict) and "head" not in model.output:
        raise InputError(
            f"the model's outputs are {printable(sorted(model.output))}; expected one called "
            "'head'."
        )
    return models.without_auxiliary(model)


def _check_norms(model: keras.Model) -> None:
    """Raises InputError where batch normalization has no statistics of the batch."""
    layers = norms.normalizations(model)
    if not layers:
        raise InputError(
            "the model has no batch normalization, so that there are no statistics to take from "
            "the batch; leave --statistics=batch out."
        )
    unlike = [n.name for n in layers if n.renorm or recalibration.is_own(n)]
    if unlike:
        raise InputError(
            f"{first_names(unlike)}: batch normalization with renorm=True, or of a class of its "
            "own, does not normalize by the batch alone; leave --statistics=batch out."
        )


def _channels(model: keras.Model) -> int:
    """Returns the channels of the images.

    Raises:
        InputError: the model does not map images to a vector per pixel.
    """
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    if len(shapes) != 2 or any(len(s) != 4 or s[3] is None for s in shapes):
        raise InputError(
            "expected a model with one input [B, H, W, C] and one output [B, H, W, K] "
            f"(or one called 'head'); got the shapes {shapes}."
        )
    check_channels_last(model, 3)
    return shapes[0][3]


def _logits(
    original: keras.Model, divisor: float, remarks: list[str]
) -> tuple[keras.Model, str]:
    """Returns the model up to its logits and its activation; adds remarks."""
    cut, activation = endings.logits(original)
    if activation is None:
        activation = _activation_by_values(original, 255.0 / divisor)
    is_single = original.output.shape[3] == 1
    if activation == endings.PROBABILITIES:
        remarks.append(
            "the model's output is served as probabilities as it is; it has no logits."
        )
    elif activation != endings.LINEAR:
        remarks.append(f"the last {activation} is cut off to serve logits.")
    if is_single:
        remarks.append("the model's only channel is read as that of label 1, of two.")
    elif activation == "sigmoid":
        remarks.append("the probabilities of a pixel's classes need not add up to 1.")
    return cut, activation


def _activation_by_values(model: keras.Model, largest: float) -> str:
    """Returns PROBABILITIES if all outputs for random images lie between 0 and 1, else LINEAR."""
    ends = zip(model.inputs[0].shape[1:3], model.outputs[0].shape[1:3], strict=True)
    size = [image or output or 64 for image, output in ends]
    draw = np.random.default_rng(0)
    images = draw.random((_PROBES, *size, model.inputs[0].shape[3]), dtype=np.float32)
    try:
        values = np.asarray(model(largest * images, training=False), np.float32)
    except Exception as error:  # layers raise errors of many types
        raise InputError(
            f"the model fails on images of {size[0]} x {size[1]} pixels: {reason(error)}."
        ) from error
    inside = values.min() >= 0.0 and 0.0 < values.max() <= 1.0 + 1e-3
    return endings.PROBABILITIES if inside else endings.LINEAR


def _free(
    model: keras.Model, remarks: list[str]
) -> tuple[keras.Model, int, tuple[int, int] | None]:
    """Returns the model for any size, if possible, its size multiple and its only size.

    Raises:
        InputError: the output does not have the size of the image.
    """
    try:
        return (*sides.freed(model), None)
    except InputError as error:
        why = str(error)
    # A network that resizes its images has an output of one size, whatever the input's.
    ends = model.inputs[0].shape[1:3], model.outputs[0].shape[1:3]
    size = next((tuple(end) for end in ends if None not in end), None)
    if size is None:
        raise InputError(
            f"the model cannot be exported for images of any size: {why}. Give its input a "
            "fixed size, such as keras.Input((64, 64, 3))."
        )
    fixed = sides.fixed(model, *size)
    remarks.append(f"served for images of {size[0]} x {size[1]} pixels only: {why}.")
    return fixed, 1, size
