"""Trains one network: Keras `fit`, checkpoints that a kill cannot break, exact resume.

    metrics = training.train(model_spec, data_spec, train_spec, out_dir)

`out_dir` gets `model.keras` (best on the validation split), `last.keras` (with the
optimizer's state, to resume from), `history.json`, `metrics.json` (test split; written last,
so its presence marks a complete run) and `tensorboard/`. With `keep=(0, 30)` it also gets
`update-0.keras` and `update-30.keras`, the network before the training and after 30 updates.
"""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Collection, Iterator
from typing import Any

import keras
import numpy as np

from tfreuse import (
    data,
    files,
    models,
    rundir,
    runtime,
)
from tfreuse.errors import InputError, printable
from tfreuse.models import saving
from tfreuse.runners.cache import Cache
from tfreuse.specs import DataSpec, DeviceSpec, ModelSpec, TrainSpec
from tfreuse.training import devices, evaluation, initial, summaries
from tfreuse.training.callbacks import Report, kept_path
from tfreuse.training.objective import adamw, decay_only_kernels, loss, optimizer
from tfreuse.training.session import Session, batches, trainable

__all__ = [
    "MOST_IMAGES", "Report", "Session", "adamw", "batches", "check_batch_size", "evaluate",
    "kept_path", "loss", "optimizer", "precision", "seedless", "split", "statistics_images", "train",
    "trainable",
]  # fmt: skip

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
    cache: Cache | None = None,
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

    With a `cache`, data and traced functions are shared with other trainings of this process
    that differ in seeds alone, which changes no bit.

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
    out_dir.mkdir(parents=True, exist_ok=True)
    if (out_dir / "run.json").exists():
        recalibrate = _recorded(claim(), recalibrate)
    if (out_dir / "metrics.json").exists():
        _check_kept(out_dir, keep)
        return files.read_json(out_dir / "metrics.json")
    started, cache = time.monotonic(), cache or Cache()
    train_split = _learned(data_spec, train_spec, cache)
    check_batch_size(train_spec, train_split)
    validation_split = split(data_spec, "val", train_spec, cache)
    with devices.strategy(device_spec, train_spec.batch_size).scope():
        with precision(train_spec.mixed_precision):
            model = _start(model_spec, train_spec, train_split, out_dir)
        claim()  # as late as this, so that a corrected spec can use the same directory
        key = (model_spec, data_spec, seedless(train_spec), device_spec, recalibrate)
        if (out_dir / "last.keras").exists() or device_spec.strategy != "none":
            key = (key, str(out_dir))  # a session of its own
        session = cache.get(
            "session",
            key,
            lambda: Session(
                model,
                train_split,
                validation_split,
                train_spec,
                device_spec,
                statistics_images(train_split, train_spec, recalibrate),
            ),
            most=2,
        )
        session.restart(model)
        session.fit(train_spec, out_dir, report, keep)
    _check_kept(out_dir, keep)
    test_split = split(data_spec, "test", train_spec, cache)
    best, test = saving.load_shared(
        cache,
        "test",
        key,
        out_dir / "model.keras",
        lambda model: (
            model,
            _evaluator(model, test_split, train_spec.task, train_spec.corruption),
        ),
    )
    metrics = evaluation.summary(test(), test_split, train_spec.corruption)
    metrics |= {
        "steps": train_spec.steps,
        "parameters": best.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    if train_spec.unlabelled != "train":
        metrics["unlabelled"] = train_spec.unlabelled
    if recalibrate and session.statistics:
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


def split(
    spec: DataSpec, name: str, train_spec: TrainSpec, cache: Cache | None = None
) -> data.Split:
    """Loads a split with the labels of the training; without masks for an auto-encoder."""
    masks = train_spec.task == "segmentation"

    def load() -> data.Split:
        return data.relabel(data.load(spec, name, masks=masks), train_spec.labels)

    if cache is None:
        return load()
    return cache.get("split", (spec, name, masks, train_spec.labels), load, most=6)


def _learned(spec: DataSpec, train_spec: TrainSpec, cache: Cache) -> data.Split:
    """Loads the examples to learn from: "train", or images of all splits if it asks for them."""
    names = data.SPLITS if train_spec.unlabelled == "all" else ("train",)
    return data.join([split(spec, name, train_spec, cache) for name in names])


def seedless(spec: TrainSpec) -> TrainSpec:
    """Returns the settings without seeds and the model that is started from.

    Trainings with equal ones compute by the same traced functions.
    """
    return dataclasses.replace(spec, seed=0, initial_seed=-1, initial_model="")


def evaluate(
    model: keras.Model, split: data.Split, task: str, corruption: str = "none"
) -> dict[str, Any]:
    """Computes all metrics of the model on the split, for `metrics.json`."""
    counts = _evaluator(model, split, task, corruption)()
    return evaluation.summary(counts, split, corruption)


def _evaluator(
    model: keras.Model, split: data.Split, task: str, corruption: str
) -> evaluation.Evaluator:
    """Returns the evaluation of a model on a split with all metrics."""
    return evaluation.Evaluator(
        model, split, task, similarity=True, corruption=corruption
    )


def _start(
    model_spec: ModelSpec, spec: TrainSpec, split: data.Split, out_dir: pathlib.Path
) -> keras.Model:
    """Loads the model to resume from or builds a new model, compiled with its optimizer."""
    last = out_dir / "last.keras"
    if last.exists():
        model = saving.load(last, optimizer=True)
        decay_only_kernels(model.optimizer)
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
        runtime.seed(spec.seed, tensorflow=bool(model_spec.model))
        _reseed_random_layers(model)
    if spec.initial_model:
        initial.take_values(initial.path_of(spec, out_dir), model)
    model.compile(optimizer=optimizer(model, spec))
    model.optimizer.build(model.trainable_variables)
    return model


def _reseed_random_layers(model: keras.Model) -> None:
    """Makes dropout and other random layers follow the seed of the training.

    Without it they follow that of the initial values.
    """
    for state in saving.seed_states(model):
        state.assign(keras.random.SeedGenerator().state)


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
