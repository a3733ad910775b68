"""Trains one network: Keras `fit`, checkpoints that a kill cannot break, exact resume.

    metrics = training.train(model_spec, data_spec, train_spec, out_dir)

`out_dir` gets `model.keras` (best on the validation split), `last.keras` (with the
optimizer's state, to resume from), `history.json`, `metrics.json` (test split; written last,
so its presence marks a complete run) and `tensorboard/`. With `keep=(0, 30)` it also gets
`update-0.keras` and `update-30.keras`, the network before the training and after 30 updates.
"""

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Collection, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import (
    data,
    files,
    models,
    rundir,
)
from tfreuse.errors import InputError, printable
from tfreuse.models import saving
from tfreuse.specs import DataSpec, DeviceSpec, ModelSpec, TrainSpec
from tfreuse.training import (
    callbacks,
    devices,
    evaluation,
    fusion,
    initial,
    recalibration,
    summaries,
)
from tfreuse.training.callbacks import Report, kept_path
from tfreuse.training.objective import decay_only_kernels, loss, optimizer

MOST_IMAGES = 128  # of the training, on which a validation re-estimates statistics


def train(
    model_spec: ModelSpec,
    data_spec: DataSpec,
    train_spec: TrainSpec,
    out_dir: pathlib.Path,
    *,
    device_spec: DeviceSpec = devices.DEFAULT,
    recalibrate: bool = False,
    keep: Collection[int] = (),
    report: Report = lambda step, text: None,
) -> dict[str, Any]:
    """Trains a network, or resumes an interrupted training; returns the test metrics.

    The same specs give the same parameters, bit for bit, on the same CPU and number of
    threads, whether the run was interrupted or not. `device_spec` is not part of the run's
    identity: a run can be resumed with other devices, which round differently.

    With `recalibrate`, the moving statistics of the model that is validated and saved as
    `model.keras` are re-estimated on training images; the training itself is the same, bit for
    bit. A run that was begun before this option existed goes on without it.

    After each number of updates in `keep` the network is also written to `kept_path`; that
    changes nothing of the training either.

    Raises:
        InputError: out_dir belongs to another spec, the data cannot be used, or the run was
            begun without `keep` and is past one of its numbers.
    """
    out_dir = pathlib.Path(out_dir)
    models.check_image_size(model_spec, data_spec.image_size, data_spec.channels)
    specs = {"model": model_spec, "data": data_spec, "train": train_spec}
    claim = functools.partial(
        rundir.claim, out_dir / "run.json", specs, {"recalibrate": recalibrate}
    )
    _check_clipping(train_spec, device_spec)
    out_dir.mkdir(parents=True, exist_ok=True)
    if (out_dir / "run.json").exists():
        recalibrate = _recorded(claim(), recalibrate)
    if (out_dir / "metrics.json").exists():
        _check_kept(out_dir, keep)
        return files.read_json(out_dir / "metrics.json")
    started = time.monotonic()
    train_split = split(data_spec, "train", train_spec)
    check_batch_size(train_spec, train_split)
    validation_split = split(data_spec, "val", train_spec)
    with devices.strategy(device_spec, train_spec.batch_size).scope():
        with precision(train_spec.mixed_precision):
            model = _start(model_spec, train_spec, train_split, out_dir)
        claim()  # as late as this, so that a corrected spec can use the same directory
        fit(
            model,
            train_split,
            validation_split,
            train_spec,
            out_dir,
            device_spec=device_spec,
            recalibration_images=statistics_images(
                train_split, train_spec, recalibrate
            ),
            keep=keep,
            report=report,
        )
    _check_kept(out_dir, keep)
    test_split = split(data_spec, "test", train_spec)
    best = saving.load(out_dir / "model.keras")
    metrics = evaluate(best, test_split, train_spec.task, train_spec.corruption)
    metrics |= {
        "steps": train_spec.steps,
        "parameters": best.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    if recalibrate and recalibration.normalizations(best):
        metrics["recalibration_images"] = min(MOST_IMAGES, train_split.size)
    files.write_json(out_dir / "metrics.json", metrics)
    return metrics


def _recorded(run: dict[str, Any], recalibrate: bool) -> bool:
    """Returns the setting that the run was begun with; InputError if it is asked for another."""
    recorded = run.get("recalibrate")
    if recorded not in (None, recalibrate):
        now, before = (
            f"--{'' if flag else 'no'}recalibrate" for flag in (recalibrate, recorded)
        )
        raise InputError(
            f"the run was begun with {before}, now {now}; give {before}, or another --out_dir."
        )
    return bool(recorded)


def _check_kept(out_dir: pathlib.Path, keep: Collection[int]) -> None:
    """Raises InputError if the run did not keep the network after one of the numbers of updates."""
    for updates in sorted(keep):
        path = kept_path(out_dir, updates)
        if not path.exists():
            raise InputError(
                f"expected {printable(path)}, of a training that is past {updates} updates; "
                "delete its directory, or choose another --out_dir, to train it again."
            )


def statistics_images(
    split: data.Split, spec: TrainSpec, recalibrate: bool = True
) -> np.ndarray | None:
    """Returns evenly spread training images [N, H, W, C], corrupted as in training."""
    if not recalibrate:
        return None
    count = min(MOST_IMAGES, split.size)
    chosen = data.take(split, np.linspace(0, split.size - 1, count).round())
    (batch,) = data.evaluation_batches(chosen, count)
    return np.asarray(data.inputs_and_targets(batch["image"], spec.corruption)[0])


def split(spec: DataSpec, name: str, train_spec: TrainSpec) -> data.Split:
    """Loads a split with the labels of the training; without masks for an auto-encoder."""
    masks = train_spec.task == "segmentation"
    return data.relabel(data.load(spec, name, masks=masks), train_spec.labels)


def evaluate(
    model: keras.Model, split: data.Split, task: str, corruption: str = "none"
) -> dict[str, Any]:
    """Computes all metrics of the model on the split, for `metrics.json`."""
    counts = evaluation.Evaluator(
        model, split, task, similarity=True, corruption=corruption
    )()
    summary = counts.summary(split.class_names if task == "segmentation" else ())
    setting = {"task": task, "split": split.name, "images": split.size}
    if task == "autoencoder":
        setting["corruption"] = corruption
        window = evaluation.ssim_window(split.examples.element_spec["image"].shape[:2])
        if window < 11:
            setting["ssim_window"] = window
    return setting | summary


def fit(
    model: keras.Model,
    train_split: data.Split,
    validation_split: data.Split,
    spec: TrainSpec,
    out_dir: pathlib.Path,
    *,
    device_spec: DeviceSpec = devices.DEFAULT,
    recalibration_images: np.ndarray | None = None,
    keep: Collection[int] = (),
    report: Report = lambda step, text: None,
) -> None:
    """Runs the updates up to `spec.steps` that the model's optimizer has not done yet.

    Statistics of the model that is validated and saved as the best are re-estimated on
    `recalibration_images` [N, H, W, C], if given. After each number of updates in `keep` the
    network is written to `kept_path`.
    """
    done = int(model.optimizer.iterations.numpy())
    period = math.ceil(spec.steps / spec.validations)
    rounds = math.ceil(spec.steps / period)
    if done >= spec.steps:
        return
    graph = trainable(
        model,
        model.optimizer,
        spec.task,
        train_split.ignore_label,
        jit_compile=devices.jit_compile(device_spec),
    )
    graph.fit(
        batches(graph, train_split, spec, done),
        initial_epoch=done // period,
        epochs=rounds,
        steps_per_epoch=period,
        verbose=0,
        shuffle=False,
        callbacks=[
            keras.callbacks.TerminateOnNaN(),
            callbacks.Checkpoints(
                model, validation_split, spec, out_dir, recalibration_images
            ),
            callbacks.Keep(model, keep, done, out_dir),
            *devices.callbacks(device_spec, out_dir / "tensorboard", spec.steps - done),
            callbacks.Progress(report, done, spec.steps),
        ],
    )


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
        optimizer=fusion.with_fused_updates(optimizer),
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


def _start(
    model_spec: ModelSpec, spec: TrainSpec, split: data.Split, out_dir: pathlib.Path
) -> keras.Model:
    """Loads the model to resume from or builds a new model, compiled with its optimizer."""
    last = out_dir / "last.keras"
    if last.exists():
        model = saving.load(last, optimizer=True)
        decay_only_kernels(model.optimizer)  # Keras does not save this
        return model
    model = models.build(
        model_spec,
        task=spec.task,
        num_classes=split.num_classes,
        channels=split.examples.element_spec["image"].shape[-1],
        seed=spec.seed if spec.initial_seed < 0 else spec.initial_seed,
    )
    if model_spec.encoder_weights:
        plan = initial.take_encoder(model_spec, model)
        summaries.Writer(out_dir / "tensorboard" / "train").text(
            "encoder_weights", initial.description(model_spec, plan)
        )
    if spec.initial_seed >= 0:
        _seed_random_layers(model, spec.seed)
    if spec.initial_model:
        initial.take_values(initial.path_of(spec, out_dir), model)
    model.compile(optimizer=optimizer(model, spec))
    model.optimizer.build(model.trainable_variables)
    return model


def _seed_random_layers(model: keras.Model, seed: int) -> None:
    """Makes dropout and other random layers follow the seed of the training.

    Without it they follow that of the initial values.
    """
    keras.utils.set_random_seed(seed)
    for state in saving.seed_states(model):
        state.assign(keras.random.SeedGenerator().state)


def _heads(model: keras.Model) -> list[str]:
    """Returns the names of the outputs of a model with an auxiliary head; else []."""
    return list(model.output) if isinstance(model.output, dict) else []


def _check_clipping(spec: TrainSpec, device_spec: DeviceSpec) -> None:
    """Raises InputError where each device would clip its own part of a gradient."""
    if spec.clip_norm and device_spec.strategy == "mirrored":
        raise InputError(
            "--clip_norm with --strategy=mirrored would clip the gradient of each device by "
            "itself; leave out one of them."
        )


def check_batch_size(spec: TrainSpec, split: data.Split) -> None:
    """Raises InputError if the training split does not fill one batch."""
    if spec.batch_size > split.size:
        raise InputError(
            f"--batch_size={spec.batch_size} is more than the {split.size} training images; "
            f"use at most {split.size}."
        )


@contextlib.contextmanager
def precision(mixed: bool) -> Iterator[None]:
    """Makes layers built inside compute in bfloat16 if `mixed`; parameters stay float32."""
    before = keras.config.dtype_policy()
    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
