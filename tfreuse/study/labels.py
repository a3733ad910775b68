"""Measures one replicate's label curves: every arm at every number of labels.

    replicate = load(curve, models_dir)
    measure_arm(replicate, "masked", "encoder", labels=32)   # a LabelRecord

A fit never chooses anything by the test images. It chooses its peak learning rate on a quarter
of its own labels, and every arm has the same rates and the same number of updates. All arms of
a replicate learn from the same images (fewer labels are the first of more labels), and their
parameters that no donor gives start from the same initial values.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from tfreuse import checkpoints, data, files, models, rundir, training
from tfreuse.analysis import metrics
from tfreuse.errors import InputError
from tfreuse.few_labels import fitting, recipes, subsets
from tfreuse.few_labels.cost import step_cost
from tfreuse.models import saving
from tfreuse.records import LabelRecord
from tfreuse.runners import Cache, Output
from tfreuse.specs.labels import PRETRAINED
from tfreuse.study.design import Curve
from tfreuse.study.donors import as_input, first_images
from tfreuse.training import evaluation, initial, recalibration

Report = Callable[[float], None]  # share that is done
COURSE = (
    0.1,
    0.25,
    0.5,
)  # shares of the updates after which the test metric is recorded
INNER = 4  # one of so many parts of the labels is held out to choose a rate


@dataclasses.dataclass(eq=False)
class Replicate:
    """The data, donors and traced functions that all arms of one replicate share.

    Attributes:
        curve: the label curves to measure.
        train, test: the splits of the data set.
        groups, test_groups: each image's subject or sequence (--group_by), or None.
        subsets: indices of the labelled images in `train`, by --label_counts.
        donors: models by kind, statistics re-estimated on their own training's inputs; None
            for "", the kind of scratch. `digests`: SHA-256 of their files.
        fitter: fits the replicate's network; traced once.
        evaluate: measures the fitted network on the test split.
    """

    curve: Curve
    train: data.Split
    test: data.Split
    groups: Sequence[str] | None
    test_groups: Sequence[str] | None
    subsets: Mapping[int, np.ndarray]
    donors: Mapping[str, keras.Model | None]
    digests: Mapping[str, str]
    fitter: fitting.Fitter
    evaluate: evaluation.Evaluator
    _inner_splits: dict[int, tuple[data.Split, evaluation.Evaluator]] = (
        dataclasses.field(default_factory=dict)
    )

    def inner_split(self, count: int) -> tuple[data.Split, evaluation.Evaluator]:
        """Divides the labelled images: a split to fit on, an evaluation of those held out."""
        if count not in self._inner_splits:
            indices = self.subsets[count]
            groups = None
            if self.groups is not None:
                groups = [self.groups[i] for i in indices]
                if len(set(groups)) < INNER:
                    groups = None  # too few sequences to hold one out
            seed = self.curve.seed
            fit_on, held_out = subsets.folds(len(indices), INNER, seed, groups)[0]
            evaluate = evaluation.Evaluator(
                self.fitter.model,
                data.take(self.train, indices[held_out]),
                "segmentation",
            )
            fit_split = data.take(self.train, indices[fit_on])
            self._inner_splits[count] = fit_split, evaluate
        return self._inner_splits[count]

    def of_fit(self, fit: int, count: int, report: Report) -> fitting.Report:
        """Returns the report of an arm's fit number `fit`: one for each rate, then the last."""
        labels = self.curve.specs.labels
        fits, steps = labels.fits(len(self.subsets[count])), labels.label_steps
        return lambda step, _: report((fit + step / steps) / fits)


def measure(output: Output, curve: Curve, models_dir: pathlib.Path) -> None:
    """Fits and measures the arms that `output` has no record of, and records them there.

    Args:
        output: the unit of work's records.
        curve: the replicate.
        models_dir: the study's trained networks, a folder each.
    """
    arms = curve.arms()
    pending = [key for key in arms if key not in output.keys]
    replicate = load(curve, models_dir, output.cache)
    recorded = len(arms) - len(pending)
    for number, (_, donor, recipe, _, count) in enumerate(pending, recorded):
        title = f"{recipe} {donor}, {count} labels".replace(" ,", ",")
        report = functools.partial(_report, output, number, len(arms), title)
        report(0.0)
        output.label(measure_arm(replicate, donor, recipe, int(count), report))


def _report(output: Output, arm: int, arms: int, title: str, done: float) -> None:
    """Reports the share of an arm that is done, of all arms of the unit."""
    output.progress((arm + done) / arms, title)


def load(
    curve: Curve, models_dir: pathlib.Path, cache: Cache | None = None
) -> Replicate:
    """Reads the replicate's data and donors, and builds its network.

    Args:
        curve: the replicate.
        models_dir: the study's trained networks, a folder each.
        cache: keeps the data, the network and its traced functions for the next replicate.

    Raises:
        InputError: the data set has fewer images than --label_counts asks for.
    """
    specs, cache = curve.specs, cache or Cache()
    train, test = (
        training.split(specs.data, name, curve.train, cache)
        for name in ("train", "test")
    )
    images = first_images(train, specs.study.calibration_examples)
    groups, test_groups = (
        data.group_names(split, specs.data.group_by) for split in (train, test)
    )
    labelled = labelled_subsets(train, groups, curve)
    donors, digests = {"": None}, {"": ""}
    for kind, network in curve.donors.items():
        path = models_dir / network.name / "model.keras"
        donors[kind] = saving.load(path)
        digests[kind] = files.file_digest(path)
        inputs = as_input(images, network.train.corruption)
        recalibration.Recalibrator(donors[kind], inputs)()
    if PRETRAINED in specs.labels.donors:
        donors[PRETRAINED], digests[PRETRAINED] = _pretrained(curve, train.num_classes)

    def make() -> tuple[fitting.Fitter, evaluation.Evaluator]:
        fitter = make_fitter(curve, train.num_classes, images)
        return fitter, evaluation.Evaluator(fitter.model, test, "segmentation")

    key = specs.digest, curve.model, training.seedless(curve.train)
    fitter, evaluate = cache.get("fitter", key, make, most=1)
    return Replicate(
        curve=curve,
        train=train,
        test=test,
        groups=groups,
        test_groups=test_groups,
        subsets=labelled,
        donors=donors,
        digests=digests,
        fitter=fitter,
        evaluate=evaluate,
    )


def _pretrained(curve: Curve, num_classes: int) -> tuple[keras.Model, str]:
    """Returns the network with its encoder's weights as they came, and the digest of their file.

    The statistics that came along are among the weights and are not re-estimated here.
    """
    model = initial.network(
        curve.model,
        task="segmentation",
        num_classes=num_classes,
        channels=curve.specs.data.channels,
        seed=curve.train.seed,
    )
    with checkpoints.open(curve.model.encoder_weights) as weights:
        return model, files.file_digest(weights.path)


def make_fitter(curve: Curve, num_classes: int, images: np.ndarray) -> fitting.Fitter:
    """Builds the replicate's network and its fitter, still without a donor.

    Args:
        curve: the replicate.
        num_classes: classes of the masks.
        images: images without labels, see `fitting.Fitter`.
    """

    def build(seed: int) -> keras.Model:
        with training.precision(curve.train.mixed_precision):
            return models.build(
                curve.model,
                task="segmentation",
                num_classes=num_classes,
                channels=curve.specs.data.channels,
                seed=seed,
            )

    return fitting.Fitter(None, build, images, curve.train)


def measure_arm(
    replicate: Replicate,
    donor: str,
    recipe_name: str,
    count: int,
    report: Report = lambda done: None,
) -> LabelRecord:
    """Chooses a learning rate, fits, and measures on the test split.

    Args:
        replicate: the data, the donors and the network.
        donor: a kind of `replicate.donors`; "" for scratch.
        recipe_name: a name of `few_labels.recipes.CATALOGUE`.
        count: number of labels, one of --label_counts; 0 for all.
        report: called after every update with the share of the arm's updates that are done.
    """
    started = time.monotonic()
    curve, fitter = replicate.curve, replicate.fitter
    recipe = recipes.CATALOGUE[recipe_name]
    fitter.donor = replicate.donors[donor]
    rate, trials = choose_rate(replicate, recipe, count, report)
    steps, course = curve.specs.labels.label_steps, []

    def watch(step: int, loss: float, model: keras.Model) -> None:
        course.append((step, replicate.evaluate().value))

    indices = replicate.subsets[count]
    fitter(
        recipe,
        data.take(replicate.train, indices),
        steps,
        seed=curve.train.seed,
        learning_rate=rate,
        report=replicate.of_fit(len(trials), count, report),
        watch=watch,
        watched={max(1, round(share * steps)) for share in COURSE},
    )
    counts = replicate.evaluate()
    return LabelRecord(
        study=curve.specs.digest,
        architecture=curve.architecture,
        donor=donor,
        donor_digest=replicate.digests[donor],
        recipe=recipe_name,
        seed=curve.seed,
        asked=count,
        labels=len(indices),
        subset=files.digest(sorted(map(int, indices))),
        steps=steps,
        learning_rate=rate,
        tried=trials,
        metric=evaluation.METRIC["segmentation"],
        value=counts.value,
        floor=counts.floor,
        course=(*course, (steps, counts.value)),
        counts=counts.sums(),
        images=len(counts.per_image),
        cost=round(step_cost(recipe, fitter.model), 4),
        seconds=round(time.monotonic() - started, 2),
        versions=rundir.versions(),
        groups=metric_by_group(replicate, counts.per_image),
    )


def choose_rate(
    replicate: Replicate,
    recipe: recipes.Recipe,
    count: int,
    report: Report = lambda done: None,
) -> tuple[float, dict[str, float]]:
    """Returns the peak learning rate, and the metric of each rate on the inner split.

    With few labels, or a single rate, there is nothing to choose and no trial.
    """
    labels = replicate.curve.specs.labels
    rates = labels.rates(len(replicate.subsets[count]))
    if len(rates) == 1:
        return rates[0], {}
    fit_on, evaluate = replicate.inner_split(count)
    trials = {}
    for trial, rate in enumerate(rates):
        replicate.fitter(
            recipe,
            fit_on,
            labels.label_steps,
            seed=replicate.curve.train.seed,
            learning_rate=rate,
            report=replicate.of_fit(trial, count, report),
        )
        trials[f"{rate:g}"] = evaluate().value
    return max(rates, key=lambda rate: trials[f"{rate:g}"]), trials


def metric_by_group(
    replicate: Replicate, per_image: np.ndarray
) -> dict[str, tuple[float, bool]]:
    """Returns each test group's mean IoU, and whether training images have the group too.

    Args:
        replicate: has the groups; {} without --group_by.
        per_image: confusion matrices [N, C, C] of the test images.
    """
    names = np.array(replicate.test_groups or ())
    return {
        str(name): (
            metrics.mean_iou(per_image[names == name].sum(axis=0)),
            str(name) in replicate.groups,
        )
        for name in np.unique(names)
    }


def labelled_subsets(
    split: data.Split, groups: Sequence[str] | None, curve: Curve
) -> dict[int, np.ndarray]:
    """Returns indices of the labelled images for each of --label_counts; 0 is all."""
    counts = curve.specs.labels.label_counts
    fewer = [count for count in counts if 0 < count < split.size]
    remedy = f"Type --label_counts={','.join(map(str, [*fewer, 0]))} (0: all images)."
    if 0 in counts and split.size in counts:
        raise InputError(
            f"--label_counts names all {split.size} images twice: 0 is all of them. {remedy}"
        )
    sizes = {count: count or split.size for count in counts}
    try:
        nested = subsets.nested(
            data.histogram(split), list(sizes.values()), curve.train.seed, groups
        )
    except InputError as error:
        raise InputError(f"--label_counts: {error} {remedy}") from None
    return {count: nested[size] for count, size in sizes.items()}
