"""The traced parts of a training, which trainings that differ in seeds alone share.

session = Session(model, train_split, validation_split, spec)
session.fit(spec, out_dir, report)            # the training of `model`
session.restart(other)                        # of its structure: its values, its optimizer
session.fit(dataclasses.replace(spec, seed=1), other_dir, report)
"""

import math
import pathlib
from collections.abc import Collection

import keras
import numpy as np
import tensorflow as tf

from tfreuse import data, models, transplant
from tfreuse.specs import DeviceSpec, TrainSpec
from tfreuse.training import callbacks, devices, evaluation, fusion, recalibration
from tfreuse.training.callbacks import Report
from tfreuse.training.objective import clip_over_devices, loss


class Session:
    """Trains and validates one model, which can be set to the start of another training.

    Args:
        model: compiled, with its optimizer built.
        train_split, validation_split: the data.
        spec: settings of the training; seeds play no part.
        device_spec: devices.
        images: float32 [N, H, W, C], training images on which the moving statistics of the
            validated model are re-estimated; None: they stay those of the training.

    Attributes:
        model: the model.
        validate: evaluates it on the validation split.
        statistics: re-estimates its moving statistics, or None.
    """

    def __init__(
        self,
        model: keras.Model,
        train_split: data.Split,
        validation_split: data.Split,
        spec: TrainSpec,
        device_spec: DeviceSpec = devices.DEFAULT,
        images: np.ndarray | None = None,
    ) -> None:
        self.model, self._device_spec = model, device_spec
        self._train_split, self.validation_split = train_split, validation_split
        self._graph = trainable(
            model,
            model.optimizer,
            spec.task,
            train_split.ignore_label,
            jit_compile=devices.jit_compile(device_spec),
        )
        self.validate = evaluation.Evaluator(
            model, validation_split, spec.task, corruption=spec.corruption
        )
        self.statistics = None
        if images is not None and recalibration.normalizations(model):
            # Four batches without gradients need no more memory than a training step.
            self.statistics = recalibration.Recalibrator(
                model, images, 4 * spec.batch_size, one_pass=True
            )

    def restart(self, model: keras.Model) -> None:
        """Sets all variables, the optimizer's too, to those of a model of the same structure."""
        if model is self.model:
            return
        copy_values(model, self.model)
        pairs = zip(
            self.model.optimizer.variables, model.optimizer.variables, strict=True
        )
        for variable, new in pairs:
            variable.assign(new.value)

    def fit(
        self,
        spec: TrainSpec,
        out_dir: pathlib.Path,
        report: Report,
        keep: Collection[int] = (),
    ) -> None:
        """Runs the updates up to `spec.steps` that the model's optimizer has not done yet.

        After each number of updates in `keep` the network is written to `callbacks.kept_path`.
        """
        done = int(self.model.optimizer.iterations.numpy())
        period = math.ceil(spec.steps / spec.validations)
        rounds = math.ceil(spec.steps / period)
        if done >= spec.steps:
            return
        tensorboard = out_dir / "tensorboard"
        self._graph.fit(
            batches(self._graph, self._train_split, spec, done),
            initial_epoch=done // period,
            epochs=rounds,
            steps_per_epoch=period,
            verbose=0,
            shuffle=False,
            callbacks=[
                keras.callbacks.TerminateOnNaN(),
                callbacks.Checkpoints(self, spec, out_dir),
                callbacks.Keep(self.model, keep, done, out_dir),
                *devices.callbacks(self._device_spec, tensorboard, spec.steps - done),
                callbacks.Progress(report, done, spec.steps),
            ],
        )


def copy_values(source: keras.Model, target: keras.Model) -> None:
    """Assigns all variables of a model to another of the same structure."""
    for variable, new in zip(target.variables, source.variables, strict=True):
        variable.assign(new.value)
    transplant.refresh(target)


def trainable(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    task: str,
    ignore_label: int,
    *,
    jit_compile: bool | str = "auto",
) -> keras.Model:
    """Returns a fused, compiled view of the model; training the view trains the model.

    `jit_compile` is Keras's: "auto" uses XLA on a GPU but not on a CPU, where it is slower.
    """
    graph = fusion.fused(model)
    losses, weights = loss(task, ignore_label), None
    if heads := _heads(graph):
        losses = dict.fromkeys(heads, losses)
        weights = {"head": 1.0, "auxiliary": models.AUXILIARY_LOSS_WEIGHT}
    graph.compile(
        optimizer=clip_over_devices(fusion.with_fused_updates(optimizer)),
        loss=losses,
        loss_weights=weights,
        jit_compile=jit_compile,
    )
    return graph


def batches(
    graph: keras.Model, split: data.Split, spec: TrainSpec, start_step: int = 0
) -> tf.data.Dataset:
    """Returns `data.training_batches` with targets, and weights of pixels, for every head."""
    dataset = data.training_batches(
        split,
        spec.task,
        spec.batch_size,
        seed=spec.seed,
        start_step=start_step,
        corruption=spec.corruption,
        augment=spec.augment,
    )
    if spec.class_weights == "balanced":
        weights = tf.constant(data.balancing_weights(split), tf.float32)
        dataset = dataset.map(lambda x, mask: (x, mask, _weights(weights, mask)))
    if spec.corruption == "inpaint":
        dataset = dataset.map(lambda x, image: (x, image, _hidden(x, image)))
    heads = _heads(graph)
    if not heads:
        return dataset
    return dataset.map(
        lambda x, *targets: (x, *(dict.fromkeys(heads, y) for y in targets))
    )


def _weights(class_weights: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns the weight of each pixel [B, H, W]; 0 where the label is not a class."""
    is_class = (mask >= 0) & (mask < tf.size(class_weights))
    weights = tf.gather(class_weights, tf.where(is_class, mask, 0))
    return tf.where(is_class, weights, 0.0)


def _hidden(corrupted: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns weights of pixels [B, H, W] with mean 1: 0 where the corruption left the image."""
    changed = tf.cast(data.hidden(corrupted, images), images.dtype)
    return tf.math.divide_no_nan(changed, tf.reduce_mean(changed))


def _heads(model: keras.Model) -> list[str]:
    """Returns the names of the outputs of a model with an auxiliary head; else []."""
    return list(model.output) if isinstance(model.output, dict) else []
