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
from tfreuse.training.sweep import Sweep, signature
from tfreuse.transplant import derived

METRIC = {"segmentation": "mean_iou", "autoencoder": "r2"}


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of one evaluation, from which all metrics are computed.

    Attributes:
        per_image: segmentation: int64 [N, C, C], a confusion matrix per image; auto-encoder:
            float64 [N, 2], squared error of the primary metric and SSIM (NaN if it was not
            computed).
        total_variation: auto-encoder: squared error of the mean image.
        numbers: auto-encoder: number of values (pixels times channels) of all images.
        raw_squared_error: auto-encoder: of the outputs as they are, neither clipped nor fitted.
        gains, offsets: auto-encoder: of each output channel, where they were fitted.
    """

    task: str
    per_image: np.ndarray
    total_variation: float = 0.0
    numbers: int = 0
    raw_squared_error: float = 0.0
    gains: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    @property
    def metric(self) -> str:
        """The name of the primary metric."""
        return "fitted_r2" if self.gains else METRIC[self.task]

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
            self.raw_squared_error,
        )

    @property
    def value(self) -> float:
        """The primary metric: mean IoU of a segmentation, R2 of an auto-encoder.

        R2 is of the outputs clipped to [0, 1], or of those with fitted gains and offsets.
        """
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
        sums = {
            "squared_error": float(self.per_image[:, 0].sum()),
            "raw_squared_error": self.raw_squared_error,
            "total_variation": self.total_variation,
            "numbers": self.numbers,
        }
        if self.gains:
            sums |= {"gains": list(self.gains), "offsets": list(self.offsets)}
        return sums

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
            scrambled image for "scramble". For "inpaint" the visible pixels of the output are
            the image's.
        fit: auto-encoder: inputs and targets, float32 [N, H, W, C] each, of other images. Before
            R2 is computed, a gain and an offset of each output channel are fitted on them; they
            pass through the network with every evaluation.
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
        fit: tuple[np.ndarray, np.ndarray] | None = None,
        sweeping: bool = False,
    ) -> None:
        self.task = task
        self._fit_batches: list[tuple[tf.Tensor, tf.Tensor]] = []
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
            if fit is not None:
                self._fit_batches = _batches(*fit, batch_size)
            count = _error_counter(
                model,
                similarity,
                moments=fit is not None,
                filling=corruption == "inpaint",
            )
            targets = np.concatenate([target.numpy() for _, target in self.batches])
            centred = targets - targets.mean(axis=0)
            self._variation = float(np.square(centred, dtype=np.float64).sum())
            self._numbers = targets.size
        self._all_batches = [*self._fit_batches, *self.batches]
        self.sweep = Sweep(count, self._all_batches) if sweeping else None
        self._count = tf.function(
            count, input_signature=signature(self._all_batches), autograph=False
        )

    def __call__(self) -> Counts:
        """Evaluates the model with its present parameters."""
        if self.sweep is not None:
            rows = self.sweep()
        else:
            rows = [self._count(*batch) for batch in self._all_batches]
        per_image = np.concatenate([row.numpy() for row in rows])
        if self.task == "segmentation":
            return Counts(self.task, per_image)
        return self._of_errors(per_image)

    def _of_errors(self, rows: np.ndarray) -> Counts:
        """Separates errors [N, 3] from moments, which come first for the images of `fit`."""
        fitted = sum(len(inputs) for inputs, _ in self._fit_batches)
        errors, raw = rows[fitted:, :2].copy(), float(rows[fitted:, 2].sum())
        counts = Counts(self.task, errors, self._variation, self._numbers, raw)
        if not fitted:
            return counts
        moments = rows[:, 3:].reshape(len(rows), len(metrics.MOMENTS), -1)
        pixels = self._numbers // len(errors) // moments.shape[-1]
        gains, offsets = metrics.gains_and_offsets(moments[:fitted], pixels)
        errors[:, 0] = metrics.fitted_errors(moments[fitted:], gains, offsets, pixels)
        return dataclasses.replace(
            counts, gains=tuple(gains.tolist()), offsets=tuple(offsets.tolist())
        )


def summary(
    counts: Counts, split: data.Split, corruption: str = "none"
) -> dict[str, Any]:
    """Returns all metrics of an evaluation with SSIM, and its setting, for `metrics.json`."""
    task = counts.task
    setting = {"task": task, "split": split.name, "images": split.size}
    if task == "autoencoder":
        setting["corruption"] = corruption
        window = ssim_window(split.examples.element_spec["image"].shape[:2])
        if window < 11:
            setting["ssim_window"] = window
    return setting | counts.summary(split.class_names if task == "segmentation" else ())


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


def _batches(
    inputs: np.ndarray, targets: np.ndarray, size: int
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    return [
        (tf.constant(inputs[i : i + size]), tf.constant(targets[i : i + size]))
        for i in range(0, len(inputs), size)
    ]


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


def _error_counter(model, similarity: bool, moments: bool, filling: bool):
    """Returns a function of inputs and targets [B, H, W, C]: float64 [B, 3 + 5 C].

    Columns: squared error of the output clipped to [0, 1], its SSIM, squared error of the output
    as it is, and with `moments` those of `analysis.metrics.MOMENTS`, all channels of one after
    another. With `filling` the output counts where the input differs from the target alone.
    """

    def count(inputs, targets):
        with derived.from_variables(model):
            output = main_output(model(inputs, training=False))
        if filling:
            hidden = data.hidden(inputs, targets)
            output = tf.where(hidden[..., None], output, targets)
        clipped = tf.clip_by_value(output, 0.0, 1.0)
        y, t = (tf.cast(images, tf.float64) for images in (output, targets))
        squared, raw = (
            tf.reduce_sum(tf.square(images - t), axis=[1, 2, 3])
            for images in (tf.cast(clipped, tf.float64), y)
        )
        if similarity:
            ssim = tf.image.ssim(
                clipped,
                targets,
                1.0,
                filter_size=ssim_window(targets.shape[1:3]),
            )
        else:
            ssim = tf.fill(tf.shape(squared), np.nan)
        errors = tf.stack([squared, tf.cast(ssim, tf.float64), raw], axis=1)
        if not moments:
            return errors
        sums = [tf.reduce_sum(x, axis=[1, 2]) for x in (y, t, y * y, y * t, t * t)]
        return tf.concat([errors, *sums], axis=1)

    return count
