"""Trains one network: Keras `fit`, checkpoints that a kill cannot break, exact resume.

    metrics = training.train(model_spec, data_spec, train_spec, out_dir)

An out_dir holds `model.keras` (best on the validation split), `last.keras` (with the
optimizer's state, to go on from), `history.json`, `metrics.json` (test split; written last:
its presence says that the run is complete) and `tensorboard/`.
"""

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import (
    data,
    files,
    models,
    rundir,
    transplant,
)
from tfreuse.data import drawing
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.specs import DataSpec, DeviceSpec, ModelSpec, TrainSpec
from tfreuse.training import (
    devices,
    evaluation,
    fusion,
    summaries,
)

Report = Callable[[int, str], None]  # (steps done, what happened)
SAMPLES = 4  # pictures shown in TensorBoard, the first of the validation split


def train(
    model_spec: ModelSpec,
    data_spec: DataSpec,
    train_spec: TrainSpec,
    out_dir: pathlib.Path,
    *,
    device_spec: DeviceSpec = devices.DEFAULT,
    report: Report = lambda step, text: None,
) -> dict[str, Any]:
    """Trains, or goes on where an earlier run was stopped; gives the test metrics.

    The same specs give the same parameters, bit for bit, on the same CPU and number of
    threads, whether the run was interrupted or not. `device_spec` is no part of the run's
    identity: another one goes on with it, and rounds otherwise.

    Raises:
        InputError: out_dir is of another spec, or the data cannot be used.
    """
    out_dir = pathlib.Path(out_dir)
    models.check_image_size(model_spec, data_spec.image_size, data_spec.channels)
    specs = {"model": model_spec, "data": data_spec, "train": train_spec}
    claim = functools.partial(rundir.claim, out_dir / "run.json", specs)
    out_dir.mkdir(parents=True, exist_ok=True)
    if (out_dir / "run.json").exists():
        claim()
    if (out_dir / "metrics.json").exists():
        return files.read_json(out_dir / "metrics.json")
    started = time.monotonic()
    train_split = split(data_spec, "train", train_spec)
    check_batch_size(train_spec, train_split)
    validation_split = split(data_spec, "val", train_spec)
    with devices.strategy(device_spec, train_spec.batch_size).scope():
        with precision(train_spec.mixed_precision):
            model = _start(model_spec, train_spec, train_split, out_dir)
        claim()  # only now: whoever mends a mistake may use the directory again
        fit(
            model,
            train_split,
            validation_split,
            train_spec,
            out_dir,
            device_spec=device_spec,
            report=report,
        )
    test_split = split(data_spec, "test", train_spec)
    best = saving.load(out_dir / "model.keras")
    found = evaluate(best, test_split, train_spec.task, train_spec.corruption)
    found |= {
        "steps": train_spec.steps,
        "parameters": best.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    files.write_json(out_dir / "metrics.json", found)
    return found


def split(spec: DataSpec, name: str, train_spec: TrainSpec) -> data.Split:
    """The split with the labels that the training is for; without masks if it needs none."""
    masks = train_spec.task == "segmentation"
    return data.relabel(data.load(spec, name, masks=masks), train_spec.labels)


def evaluate(
    model: keras.Model, split: data.Split, task: str, corruption: str = "none"
) -> dict[str, Any]:
    """All metrics of the model on the split, as `metrics.json` holds them."""
    counts = evaluation.Evaluator(
        model, split, task, similarity=True, corruption=corruption
    )()
    summary = counts.summary(split.class_names if task == "segmentation" else ())
    about = {"task": task, "split": split.name, "images": split.size}
    if task == "autoencoder":
        about["corruption"] = corruption
    return about | summary


def fit(
    model: keras.Model,
    train_split: data.Split,
    validation_split: data.Split,
    spec: TrainSpec,
    out_dir: pathlib.Path,
    *,
    device_spec: DeviceSpec = devices.DEFAULT,
    report: Report = lambda step, text: None,
) -> None:
    """Runs `spec.steps` updates less those the model's optimizer has behind it."""
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
            _Checkpoints(model, validation_split, spec, out_dir),
            *devices.callbacks(device_spec, out_dir / "tensorboard", spec.steps - done),
            _Report(report, done, spec.steps),
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
    """A view of the model, fused and compiled: training it trains the model.

    `jit_compile` is Keras's: "auto" takes XLA on a GPU, and not on a CPU, where it is slower.
    """
    graph = fusion.fused(model)
    losses, weights = loss(task, ignore_label), None
    if heads := _heads(graph):  # the auxiliary one counts less (Zhao et al. 2017, 3.3)
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
    """`data.training_batches` with a target, and the pixels' weights, for every head."""
    found = data.training_batches(
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
        found = found.map(lambda x, mask: (x, mask, _weights(weights, mask)))
    heads = _heads(graph)
    if not heads:
        return found
    return found.map(lambda x, *rest: (x, *(dict.fromkeys(heads, y) for y in rest)))


def _weights(of_classes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Weight of each pixel [B, H, W]; 0 where its label is none of the classes."""
    known = (mask >= 0) & (mask < tf.size(of_classes))
    return tf.where(known, tf.gather(of_classes, tf.where(known, mask, 0)), 0.0)


class _Report(keras.callbacks.Callback):
    """Tells how many steps are done, and stops the training when they are all."""

    def __init__(self, report: Report, done: int, steps: int) -> None:
        super().__init__()
        self._report, self._done, self._steps = report, done, steps

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        self._report(self._done, "")
        if self._done >= self._steps:
            self.model.stop_training = True


class _Checkpoints(keras.callbacks.Callback):
    """Validates, logs and writes checkpoints at the end of each period.

    Order: history, best model, last model. A kill between two of them repeats the period
    from the last model, with the same data, and writes the same files again.
    """

    def __init__(self, model, split, spec: TrainSpec, out_dir) -> None:
        super().__init__()
        self._plain, self._out_dir = model, out_dir
        self._spec, self._split = spec, split
        self._evaluate = evaluation.Evaluator(
            model, split, spec.task, corruption=spec.corruption
        )
        self._history_path = out_dir / "history.json"
        history = (
            files.read_json(self._history_path) if self._history_path.exists() else []
        )
        done = int(model.optimizer.iterations.numpy())
        self._history = [row for row in history if row["step"] <= done]
        self._train_log = summaries.Writer(out_dir / "tensorboard" / "train")
        self._validation_log = summaries.Writer(out_dir / "tensorboard" / "validation")
        self._images, self._truth = (
            part[:SAMPLES].numpy() for part in self._evaluate.batches[0]
        )

    def on_epoch_end(self, epoch, logs=None):
        step = int(self._plain.optimizer.iterations.numpy())
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"the loss is {logs['loss']} at step {step}; try a lower --learning_rate "
                f"than {self._spec.learning_rate:g}."
            )
        counts = self._evaluate()
        self._log(step, logs, counts)
        best = max((row["value"] for row in self._history), default=-math.inf)
        self._history.append(
            {"step": step, "loss": logs["loss"], "value": counts.value}
        )
        files.write_json(self._history_path, self._history)
        if counts.value > best:
            saving.save(self._plain, self._out_dir / "model.keras")
        saving.save(self._plain, self._out_dir / "last.keras")

    def _log(self, step: int, logs: dict[str, float], counts) -> None:
        rate = self._plain.optimizer.learning_rate
        self._train_log.scalars(logs | {"learning_rate": float(rate)}, step)
        self._train_log.batch_norms(self._plain, step)
        self._train_log.roles(self._plain, step)
        values = {evaluation.METRIC[self._spec.task]: counts.value}
        summary = counts.summary(self._split.class_names if self._segments else ())
        if self._segments:
            values["pixel_accuracy"] = summary["pixel_accuracy"]
            for name, value in summary["per_class_iou"].items():
                values[f"iou/{name}"] = value
        else:
            values["psnr"] = summary["psnr"]
        self._validation_log.scalars(values, step)
        output = evaluation.main_output(self._plain(self._images, training=False))
        pictures = drawing.triptych(
            self._images,
            self._truth,
            np.asarray(output, np.float32),
            self._split.ignore_label,
        )
        self._validation_log.pictures("input_truth_prediction", pictures, step)
        self._train_log.flush()
        self._validation_log.flush()

    @property
    def _segments(self) -> bool:
        return self._spec.task == "segmentation"


def _start(
    model_spec: ModelSpec, spec: TrainSpec, split: data.Split, out_dir: pathlib.Path
) -> keras.Model:
    """The model to go on from, or a new one; compiled with its optimizer."""
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
    if spec.initial_seed >= 0:
        _seed_dropout(model, spec.seed)
    if spec.initial_model:
        _take_values(_initial_model(spec, out_dir), model)
    model.compile(optimizer=optimizer(model, spec))
    model.optimizer.build(model.trainable_variables)
    return model


def _seed_dropout(model: keras.Model, seed: int) -> None:
    """Dropout follows the seed of the training, not that of the initial values."""
    keras.utils.set_random_seed(seed)
    for layer in model.layers:
        if generator := getattr(layer, "seed_generator", None):
            generator.state.assign(keras.random.SeedGenerator().state)


def _initial_model(spec: TrainSpec, out_dir: pathlib.Path) -> pathlib.Path:
    """Where `spec.initial_model` is; beside the run first, so that a study can be moved."""
    for path in (out_dir / spec.initial_model, pathlib.Path(spec.initial_model)):
        if path.is_file():
            return path
    raise InputError(
        f"--initial_model={spec.initial_model} is found neither from --out_dir={out_dir} "
        "nor from the working directory."
    )


def _take_values(path: pathlib.Path, model: keras.Model) -> None:
    """Gives the model the file's values in all layers but the heads, all or nothing."""
    donor = saving.load(path)
    names = {*models.stages(donor), *models.stages(model)}
    heads = [f"!{stage}" for stage in ("head", "auxiliary") if stage in names]
    plan = transplant.plan(donor, model, stages=heads)
    if plan.problems:
        first = plan.problems[0]
        raise InputError(
            f"--initial_model={path} does not fit the network: {len(plan.problems)} "
            f"variables differ, the first is {first.variable} ({first.reason}). All options "
            "of the network must be as they were when it was trained."
        )
    transplant.apply(plan, donor, model)


def optimizer(model: keras.Model, spec: TrainSpec) -> keras.optimizers.Optimizer:
    """AdamW, a linear rise, then a cosine fall to zero; only kernels decay."""
    warmup = max(1, round(spec.warmup * spec.steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, spec.steps - warmup),
        warmup_target=spec.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=spec.weight_decay)
    decay_only_kernels(optimizer)
    return optimizer


def decay_only_kernels(optimizer: keras.optimizers.Optimizer) -> None:
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])


def loss(task: str, ignore_label: int = -1) -> keras.losses.Loss:
    if task == "segmentation":
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=None if ignore_label < 0 else ignore_label
        )
    return keras.losses.MeanSquaredError()


def _heads(model: keras.Model) -> list[str]:
    """Names of the outputs of a model with an auxiliary head; else none."""
    return list(model.output) if isinstance(model.output, dict) else []


def check_batch_size(spec: TrainSpec, split: data.Split) -> None:
    """Raises InputError if the training split does not fill one batch."""
    if spec.batch_size > split.size:
        raise InputError(
            f"--batch_size={spec.batch_size} is more than the {split.size} training images; "
            f"use at most {split.size}."
        )


@contextlib.contextmanager
def precision(mixed: bool) -> Iterator[None]:
    """Layers made inside compute in bfloat16 if `mixed`; parameters stay float32."""
    before = keras.config.dtype_policy()
    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
