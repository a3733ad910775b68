"""Compares training-free estimates of plans with a study's label curves.

    found = challenge.run(study_dir, asked=16)
    print(challenge.markdown(found))

A plan is an arm of the label curves: a recipe and a donor, or training from scratch. Each is
estimated on the labelled images of its seed alone, either from the network in which the recipe
would begin to train, or from a network trained from scratch on those labels. The estimates are
compared with the test metric after the plan's own training: see `benchmarks.estimators`.
"""

import math
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks import estimators
from tfreuse import (
    data,
    files,
    models,
    progress,
    records,
    specs,
    transplant,
)
from tfreuse.errors import InputError, printable
from tfreuse.few_labels import fitting, recipes
from tfreuse.runners import Cache
from tfreuse.specs.labels import SCRATCH, LabelSpec
from tfreuse.study import distances
from tfreuse.study.design import Curve, Specs
from tfreuse.study.labels import Replicate, load
from tfreuse.training import evaluation, recalibration

PIXELS = 2_000  # pixels whose features are used, the same number of each class
PEERS = 3  # networks of other seeds that standardize an RMSE
_TRAINED = ("kernel", "bias", "gamma", "beta")
_STATIC = ("encoder", "fine_tuned", "fine_tuned_recalibrated", SCRATCH)  # best first


def run(study_dir: pathlib.Path, asked: int) -> dict:
    """Estimates and judges every plan of every replicate that is complete at `asked` labels.

    Args:
        study_dir: directory of a study with label curves.
        asked: number of labels, one of its --label_counts.

    Returns:
        {"rows": estimators best first, "plans": names, "gains": [seeds, plans], ...}.

    Raises:
        InputError: there are no such curves, or fewer than two complete replicates.
    """
    study = _specs(study_dir)
    arms = study.labels.arms()
    if asked not in study.labels.label_counts or len(arms) < 2:
        raise InputError(
            f"{printable(study_dir)} has no curves of two plans at {asked} labels; it has "
            f"{list(study.labels.label_counts)} labels and {len(arms)} plans."
        )
    values = {
        record.key: record.value
        for record in records.read_labels(study_dir / "labels.jsonl")
    }
    curves = [c for c in study.curves() if values.keys() >= {*_keys(c, arms, asked)}]
    if len(curves) < 2:
        raise InputError(
            f"{printable(study_dir)} has {len(curves)} complete replicates at {asked} "
            "labels; expected at least 2. Run tools/study.py on."
        )
    gains, estimates, cache = [], [], Cache()
    display = progress.Display(len(curves) * len(arms))
    for curve in curves:
        keys = _keys(curve, arms, asked)
        gains.append(
            [values[key] - values[keys[arms.index(("", SCRATCH))]] for key in keys]
        )
        work = _Estimates(curve, study_dir / "models", asked, cache)
        estimates.append([])
        for donor, recipe in arms:
            display.update(
                sum(map(len, estimates)), f"seed {curve.seed}: {recipe} {donor}"
            )
            estimates[-1].append(work(donor, recipe))
    display.close()
    by_name = {
        name: np.array([[plan[name] for plan in seed] for seed in estimates])
        for name in estimates[0][0]
    }
    rows = estimators.judge(np.array(gains), by_name, _static(arms))
    return {
        "asked": asked,
        "plans": [" ".join(filter(None, (recipe, donor))) for donor, recipe in arms],
        "gains": gains,
        "rows": rows,
        "verdict": estimators.verdict(rows),
    }  # fmt: skip


def markdown(comparison: dict) -> str:
    """Formats the plans with their mean gains, and a table of the estimators."""
    gains = np.mean(comparison["gains"], axis=0)
    plans = [f"{n} {g:+.3f}" for n, g in zip(comparison["plans"], gains, strict=True)]
    count = f"{comparison['asked'] or 'all'} labels, {len(comparison['gains'])} seeds"
    lines = [
        f"{count}. Mean gain over scratch, mean IoU: {'; '.join(plans)}.",
        "",
        "| ranks plans by | regret@1 | weighted Kendall tau | better than the static order |",
        "|---|--:|--:|--:|",
    ]
    lines += [
        f"| {row.name} | {row.regret} | {row.tau} | {row.better} |"
        for row in comparison["rows"]
    ]
    return "\n".join([*lines, "", comparison["verdict"]]) + "\n"


def _specs(study_dir: pathlib.Path) -> Specs:
    try:
        parts = files.read_json(study_dir / "study.json")["specs"]
        return Specs(
            specs.StudySpec.from_json(parts["study"]),
            specs.DataSpec.from_json(parts["data"]),
            specs.ModelSpec.from_json(parts["model"]),
            specs.TrainSpec.from_json(parts["train"]),
            LabelSpec.from_json(parts["labels"]),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{printable(study_dir)} holds no study with label curves ({printable(error)}); "
            "give --study_dir the --out_dir of tools/study.py --flagfile=flags/labels.flags."
        ) from error


def _keys(
    curve: Curve, arms: Sequence[tuple[str, str]], asked: int
) -> list[tuple[str, ...]]:
    """Returns the keys of the arms' records, as in `LabelRecord.key`."""
    return [(curve.architecture, *arm, str(curve.seed), str(asked)) for arm in arms]


def _static(arms: Sequence[tuple[str, str]]) -> list[float]:
    """Returns the static ranker's scores: "always the encoder, fine-tuned"."""
    return [
        float(len(_STATIC) - _STATIC.index(recipe)) if recipe in _STATIC else 0.0
        for _, recipe in arms
    ]


class _Estimates:
    """Computes all estimates of a plan of one replicate."""

    def __init__(
        self, curve: Curve, models_dir: pathlib.Path, asked: int, cache: Cache
    ) -> None:
        self._replicate = replicate = load(curve, models_dir, cache)
        self._few = data.take(replicate.train, replicate.subsets[asked])
        self._images = fitting.unit_images(self._few)
        self._masks = self._few.tensors["mask"].numpy().astype(np.int64)
        model = replicate.fitter.model
        ends = models.stage_ends(model)
        body = [stage for stage in ends if stage not in ("head", "auxiliary")]
        outputs = [model.get_layer(ends[stage]).output for stage in body]
        self._features = keras.Model(model.inputs, outputs)
        sides = [
            features.shape[1]
            for features in self._features.predict_on_batch(self._images[:1])
        ]
        # The last stage of the smallest size, and the last stage before the head.
        deepest = max(i for i, side in enumerate(sides) if side == min(sides))
        self._stages = {body[deepest]: deepest, body[-1]: len(body) - 1}
        self._seed = curve.seed
        self._trained = _Trained(replicate, self._few)

    def __call__(self, donor: str, recipe: str) -> dict[str, float]:
        """Returns estimates by name, larger for plans estimated better."""
        estimates: dict[str, float] = {}
        self._replicate.fitter.donor = self._replicate.donors[donor]

        def watch(step: int, loss: float, model: keras.Model) -> None:
            estimates.update(self._estimate(model))

        catalogued = recipes.CATALOGUE[recipe]
        self._replicate.fitter(catalogued, self._few, 1, watch=watch, watched={0})
        return estimates | self._trained(catalogued)

    def _estimate(self, model: keras.Model) -> dict[str, float]:
        outputs = self._features.predict_on_batch(self._images)
        estimates = {}
        for stage, index in self._stages.items():
            pixels, labels = self._pixels(np.asarray(outputs[index]))
            estimates[f"LogME, {stage}"] = estimators.log_me(pixels, labels)
            estimates[f"H-score, {stage}"] = estimators.h_score(pixels, labels)
        return estimates | {"small gradient (Auto-RGN)": -self._gradient(model)}

    def _pixels(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns standardized features [n, D] of pixels of every class, and labels [n]."""
        rows = _centres(self._masks.shape[1], features.shape[1])
        columns = _centres(self._masks.shape[2], features.shape[2])
        labels = self._masks[:, rows][:, :, columns]
        ignored = labels == self._few.ignore_label
        labels = np.where(ignored, -1, labels).ravel()
        indices = estimators.stratified(labels, PIXELS, self._seed)
        pixels = features.reshape(-1, features.shape[-1])[indices].astype(np.float64)
        spread = pixels.std(axis=0)
        pixels = (pixels - pixels.mean(axis=0)) / np.where(spread > 0, spread, 1)
        return pixels, labels[indices]

    def _gradient(self, model: keras.Model) -> float:
        """Returns the relative norm of the gradient without the head, on labelled images."""
        body = [
            variable.value
            for variable in model.variables
            if variable.name in _TRAINED and not variable.path.startswith("head")
        ]
        keep = self._masks != self._few.ignore_label
        labels = np.where(keep, self._masks, 0)
        with tf.GradientTape() as tape:
            tape.watch(body)  # also variables that the plan would freeze
            logits = evaluation.main_output(model(self._images, training=False))
            loss = keras.losses.sparse_categorical_crossentropy(
                labels, logits, from_logits=True
            )
            loss = tf.reduce_mean(tf.boolean_mask(loss, keep))
        gradients = [gradient.numpy() for gradient in tape.gradient(loss, body)]
        values = [variable.numpy() for variable in body]
        return estimators.relative_gradient_norm(gradients, values)


class _Trained:
    """Estimates from networks trained on the labels without a donor.

    These are the recipient and peers of other seeds. The donor's parameters are copied into
    the trained recipient without further training. The estimates are the retention of its
    metric on the labelled images and the distance of its kernels from the donor's.
    """

    def __init__(self, replicate: Replicate, few: data.Split) -> None:
        labels, self._fitter = replicate.curve.specs.labels, replicate.fitter
        self._seed, scratch = replicate.curve.train.seed, recipes.CATALOGUE[SCRATCH]
        self._evaluate = evaluation.Evaluator(self._fitter.model, few, "segmentation")
        images = fitting.unit_images(few)
        self._recalibrate = recalibration.Recalibrator(self._fitter.model, images)
        self._peers = []
        for number in reversed(range(1 + PEERS)):  # the recipient's is the last
            model = self._fitter(
                scratch, few, labels.label_steps, seed=self._seed + 1_000 * number,
                learning_rate=labels.learning_rates[0],
            )  # fmt: skip
            self._peers.append(transplant.values(model))
        self._recipient = self._peers.pop()
        self._weights = self._fitter.model.get_weights()
        self._recalibrate()
        self._before = self._evaluate()

    def __call__(self, recipe: recipes.Recipe) -> dict[str, float]:
        """Returns both estimates of the recipe with the fitter's donor."""
        model = self._fitter.model
        model.set_weights(self._weights)
        self._fitter.copy_donor(recipe, self._seed)
        values = transplant.values(model)
        self._recalibrate()
        retention = estimators.retention(
            self._evaluate().value, self._before.value, self._before.floor
        )
        return {
            "near kernels (z-RMSE)": -self._distance(recipe, values),
            # All plans are equal if the recipient's metric is not above the floor.
            "training-free retention": 0.0 if math.isnan(retention) else retention,
        }

    def _distance(self, recipe: recipes.Recipe, values: dict[str, np.ndarray]) -> float:
        """Returns the kernels' mean z-RMSE; 0, a peer's distance, if the plan copies none."""
        plan = self._fitter.plan(recipe)
        z_scores = []
        for entry in plan.copies if plan else ():
            if entry.recipient.role == "kernel":
                path = entry.recipient.path
                kernel = self._recipient[path]
                peers = [_rmse(kernel, peer[path]) for peer in self._peers]
                distance = _rmse(kernel, values[path])
                z_scores.append(estimators.z_rmse(distance, peers))
        return float(np.mean(z_scores)) if z_scores else 0.0


def _rmse(old: np.ndarray, new: np.ndarray) -> float:
    return distances.between([(old, new)])["rmse"]


def _centres(size: int, count: int) -> np.ndarray:
    """Returns the pixels, of `size`, in the middle of `count` equal parts."""
    return ((np.arange(count) + 0.5) * size / count).astype(int)
