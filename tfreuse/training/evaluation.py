"""Measures a model on a split: per-image counts on the device, metrics from their sums.

evaluate = Evaluator(model, split, "segmentation")  # traced once, images in memory
counts = evaluate()  # as often as the model's parameters change
counts.value, counts.floor
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import data
from tfreuse.analysis import metrics
from tfreuse.errors import InputError
from tfreuse.specs import TASKS
from tfreuse.training.sweep import Sweep
from tfreuse.transplant import derived

METRIC = {"segmentation": "mean_iou", "autoencoder": "r2"}


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of one evaluation, from which all metrics are computed.

    Attributes:
        per_image: segmentation: int64 [N, C, C], a confusion matrix per image; auto-encoder:
            float64 [N, 2], squared error and SSIM (NaN if it was not computed).
        total_variation: auto-encoder: squared error of the mean image.
        numbers: auto-encoder: number of values (pixels times channels) of all images.
    """

    task: str
    per_image: np.ndarray
    total_variation: float = 0.0
    numbers: int = 0

    @property
    def confusion(self) -> np.ndarray:
        """Confusion matrix [C, C] of all images."""
        return self.per_image.sum(axis=0)

    @property
    def reconstruction(self) -> metrics.Reconstruction:
        squared_error, similarity = self.per_image.sum(axis=0)
        return metrics.Reconstruction(
            float(squared_error),
            self.total_variation,
            float(similarity),
            self.numbers,
            len(self.per_image),
        )

    @property
    def value(self) -> float:
        """The primary metric: mean IoU of a segmentation, R² of an auto-encoder."""
        if self.task == "segmentation":
            return metrics.mean_iou(self.confusion)
        return self.reconstruction.r2()

    @property
    def floor(self) -> float:
        """The primary metric of the best prediction that ignores the image."""
        if self.task == "segmentation":
            return metrics.floor_mean_iou(self.confusion)
        return 0.0

    def sums(self) -> dict[str, Any]:
        """Returns the sums as plain JSON; `value` can be recomputed from them."""
        if self.task == "segmentation":
            return {"confusion_matrix": self.confusion.tolist()}
        return {
            "squared_error": float(self.per_image[:, 0].sum()),
            "total_variation": self.total_variation,
            "numbers": self.numbers,
        }

    def summary(self, class_names: tuple[str, ...]) -> dict[str, Any]:
        """Returns all metrics, for `metrics.json`."""
        if self.task == "segmentation":
            return metrics.segmentation_summary(self.confusion, class_names)
        return metrics.reconstruction_summary(self.reconstruction)


class Evaluator:
    """Evaluates one model on one split repeatedly; traces and reads only once.

    Args:
        model: images [B, H, W, C] to logits [B, H, W, num_classes] or images.
        split: images, and masks for a segmentation; kept in memory as float32.
        task: "segmentation" or "autoencoder".
        similarity: compute SSIM too, at about the cost of a small model.
        corruption: auto-encoder: corruption of its input, a fixed draw for each position in
            the split. Metrics compare the output with the target: the original image, or the
            scrambled image for "scramble".
        sweeping: between two evaluations few parameters change; compute only the layers after them.

    Attributes:
        batches: inputs float32 [B, H, W, C], and targets: masks int32 [B, H, W] or images
            float32 [B, H, W, C].
        sweep: the `tfreuse.training.sweep.Sweep` that evaluates, if it is sweeping.

    Raises:
        InputError: the model and the split have different numbers of classes.
        ValueError: segmentation with a corruption.
    """

    def __init__(
        self,
        model: keras.Model,
        split: data.Split,
        task: str,
        *,
        batch_size: int = 64,
        similarity: bool = False,
        corruption: str = "none",
        sweeping: bool = False,
    ) -> None:
        self.task = task
        if task == "segmentation":
            if corruption != "none":
                raise ValueError(
                    f"Corruption is for auto-encoders; got {corruption!r}."
                )
            _check_classes(model, split)
            self.batches = [
                (batch["image"], batch["mask"])
                for batch in data.evaluation_batches(split, batch_size)
            ]
            count = _confusion_counter(model, split.num_classes, split.ignore_label)
        else:
            self.batches = list(_reconstructions(split, batch_size, corruption))
            count = _error_counter(model, similarity)
            targets = np.concatenate([target.numpy() for _, target in self.batches])
            centred = targets - targets.mean(axis=0)
            self._variation = float(np.square(centred, dtype=np.float64).sum())
            self._numbers = targets.size
        self.sweep = Sweep(count, self.batches) if sweeping else None
        self._count = tf.function(count, autograph=False)

    def __call__(self) -> Counts:
        """Evaluates the model with its present parameters."""
        if self.sweep is not None:
            rows = self.sweep()
        else:
            rows = [self._count(*batch) for batch in self.batches]
        per_image = np.concatenate([row.numpy() for row in rows])
        if self.task == "segmentation":
            return Counts(self.task, per_image)
        return Counts(self.task, per_image, self._variation, self._numbers)


def task_of(model: keras.Model) -> str:
    """Returns the task of the model by the layer name of its head."""
    for task in TASKS:
        if any(layer.name == f"head_{task}_conv" for layer in model.layers):
            return task
    raise InputError(
        "the model's layer names do not reveal its task; give --task=segmentation or "
        "--task=autoencoder."
    )


def main_output(outputs):
    """Returns the output of the main head, for models with and without an auxiliary head."""
    return outputs["head"] if isinstance(outputs, dict) else outputs


def ssim_window(sides) -> int:
    """Returns the side of SSIM's window, in pixels: 11, or that of a smaller image."""
    return min(11, *sides)


def _check_classes(model: keras.Model, split: data.Split) -> None:
    """Raises InputError unless the model has as many classes as the split."""
    classes = main_output(model.output).shape[-1]
    if classes != split.num_classes:
        raise InputError(
            f"the model has {classes} classes, the data set has {split.num_classes}. "
            "Give --labels and --num_classes as in training."
        )


def _reconstructions(split: data.Split, batch_size: int, corruption: str):
    """Yields (inputs, targets), float32 [B, H, W, C] each, in the order of the split."""
    start = 0
    for batch in data.evaluation_batches(split, batch_size):
        images = batch["image"]
        numbers = tf.range(start, start + len(images), dtype=tf.int64)
        yield data.inputs_and_targets(images, corruption, numbers=numbers)
        start += len(images)


def _confusion_counter(model, num_classes: int, ignore_label: int):
    """Returns a function of images [B, H, W, C'] and masks [B, H, W]: int64 [B, C, C]."""

    def count(images, masks):
        with derived.from_variables(model):
            logits = main_output(model(images, training=False))
        predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
        cells = masks * num_classes + predicted
        ignored = num_classes * num_classes  # an extra cell, dropped below
        cells = tf.where(masks == ignore_label, ignored, cells)
        batch = tf.shape(images)[0]
        cells += tf.range(batch)[:, None, None] * (ignored + 1)
        counts = tf.math.bincount(
            tf.reshape(cells, [-1]), minlength=batch * (ignored + 1)
        )
        counts = tf.reshape(counts, [batch, ignored + 1])[:, :ignored]
        return tf.cast(tf.reshape(counts, [batch, num_classes, num_classes]), tf.int64)

    return count


def _error_counter(model, similarity: bool):
    """Returns a function of inputs and targets [B, H, W, C]: float64 [B, 2], error and SSIM."""

    def count(inputs, targets):
        with derived.from_variables(model):
            output = main_output(model(inputs, training=False))
        error = tf.cast(tf.square(output - targets), tf.float64)
        squared = tf.reduce_sum(error, axis=[1, 2, 3])
        if similarity:
            ssim = tf.image.ssim(
                tf.clip_by_value(output, 0.0, 1.0),
                targets,
                1.0,
                filter_size=ssim_window(targets.shape[1:3]),
            )
        else:
            ssim = tf.fill(tf.shape(squared), np.nan)
        return tf.stack([squared, tf.cast(ssim, tf.float64)], axis=1)

    return count
