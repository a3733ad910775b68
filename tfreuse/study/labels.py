"""Measures one replicate's label curves: every arm at every number of labels.

The test images are looked at once a fit is chosen and never to choose it: its peak rate comes
from a quarter of its own labels, with the same rates and as many updates for every arm. All
arms of a replicate learn from the same images, the fewer labels being the beginning of the
more, with the same fresh values behind what they take.
"""

import time

import numpy as np

from tfreuse import data, files, models, rundir
from tfreuse.analysis import metrics
from tfreuse.errors import InputError
from tfreuse.few_labels import fitting, recipes, subsets
from tfreuse.models import saving
from tfreuse.records import LabelRecord
from tfreuse.runners import Output
from tfreuse.specs.labels import FEW
from tfreuse.study import donors
from tfreuse.study.design import Curve
from tfreuse.training import evaluation, recalibration

COURSE = (0.1, 0.25, 0.5)  # shares of the updates after which the test metric is noted
INNER = 4  # one of so many parts of the labels is held out to choose a rate


def measure(output: Output, curve: Curve, models_dir) -> None:
    """Fits and measures what `output` has no record of.

    Args:
        output: takes the records.
        curve: the replicate.
        models_dir: where the donors are.
    """
    todo = [key for key in curve.arms() if key not in output.keys]
    bench = Bench(curve, models_dir)
    for number, key in enumerate(todo):
        _, donor, recipe, _, asked = key
        what = f"{recipe} {donor}, {asked} labels".replace(" ,", ",")
        output.progress(number / len(todo), what)
        output.label(bench.record(donor, recipe, int(asked)))


class Bench:
    """The data, the donors and the traced fits of one replicate.

    Attributes:
        donors: by kind, re-estimated on what they were trained on; None for "", scratch.
        fitter: of the replicate's network.
        subsets: the places of the labelled images in `train`, by the number asked for.
    """

    def __init__(self, curve: Curve, models_dir) -> None:
        self.curve, specs = curve, curve.specs
        self.train = data.load(specs.data, "train")
        self.test = data.load(specs.data, "test")
        images = donors.first_images(self.train, specs.study.calibration_examples)
        self.groups = data.group_names(self.train, specs.data.group_by)
        self._test_groups = data.group_names(self.test, specs.data.group_by) or ()
        self.subsets = _subsets(self.train, self.groups, curve)
        self.donors, self._digests = {"": None}, {"": ""}
        for kind, network in curve.donors.items():
            path = models_dir / network.name / "model.keras"
            self.donors[kind] = saving.load(path)
            self._digests[kind] = files.file_digest(path)
            seen = donors.as_input(images, network.train.corruption)
            recalibration.Recalibrator(self.donors[kind], seen)()
        self.fitter = fitting.Fitter(None, self._build, images, curve.train)
        self._evaluate = evaluation.Evaluator(
            self.fitter.model, self.test, "segmentation"
        )
        self._inner: dict[int, tuple] = {}

    def record(self, donor: str, recipe: str, asked: int) -> LabelRecord:
        """Chooses a rate, fits and measures one arm."""
        started = time.monotonic()
        chosen = recipes.CATALOGUE[recipe]
        self.fitter.donor = self.donors[donor]
        rate, tried = self._rate(chosen, asked)
        steps, course = self.curve.specs.labels.label_steps, []

        def watch(step: int, loss: float, model) -> None:
            course.append((step, self._evaluate().value))

        self.fitter(
            chosen,
            data.take(self.train, self.subsets[asked]),
            steps,
            learning_rate=rate,
            watch=watch,
            watched={max(1, round(share * steps)) for share in COURSE},
        )
        counts = self._evaluate()
        return LabelRecord(
            study=self.curve.specs.digest,
            architecture=self.curve.architecture,
            donor=donor,
            donor_digest=self._digests[donor],
            recipe=recipe,
            seed=self.curve.seed,
            asked=asked,
            labels=len(self.subsets[asked]),
            subset=files.digest(sorted(map(int, self.subsets[asked]))),
            steps=steps,
            learning_rate=rate,
            tried=tried,
            metric=evaluation.METRIC["segmentation"],
            value=counts.value,
            floor=counts.floor,
            course=(*course, (steps, counts.value)),
            counts=counts.sums(),
            images=len(counts.per_image),
            cost=round(fitting.cost(chosen, self.fitter.model), 4),
            seconds=round(time.monotonic() - started, 2),
            versions=rundir.versions(),
            groups=self._by_group(counts.per_image),
        )

    def _by_group(self, per_image: np.ndarray) -> dict[str, tuple[float, bool]]:
        """The metric of each group of test images, and whether training has the group too."""
        names = np.array(self._test_groups)
        return {
            str(name): (
                metrics.mean_iou(per_image[names == name].sum(axis=0)),
                str(name) in self.groups,
            )
            for name in np.unique(names)
        }

    def _rate(self, recipe, asked: int) -> tuple[float, dict[str, float]]:
        """The peak rate and, where it was chosen, what each gave on the inner split."""
        rates = self.curve.specs.labels.learning_rates
        if len(self.subsets[asked]) <= FEW or len(rates) == 1:
            return rates[0], {}
        rest, evaluate = self._inner_split(asked)
        tried = {}
        for rate in rates:
            steps = self.curve.specs.labels.label_steps
            self.fitter(recipe, rest, steps, learning_rate=rate)
            tried[f"{rate:g}"] = evaluate().value
        return max(rates, key=lambda rate: tried[f"{rate:g}"]), tried

    def _inner_split(self, asked: int):
        """What to fit on and how to measure on the labels held out; of the n labels alone."""
        if asked not in self._inner:
            own = self.subsets[asked]
            groups = None if self.groups is None else [self.groups[i] for i in own]
            if groups is not None and len(set(groups)) < INNER:
                groups = None  # too few sequences to hold one out
            rest, held = subsets.folds(len(own), INNER, self.curve.seed, groups)[0]
            evaluate = evaluation.Evaluator(
                self.fitter.model, data.take(self.train, own[held]), "segmentation"
            )
            self._inner[asked] = data.take(self.train, own[rest]), evaluate
        return self._inner[asked]

    def _build(self, seed: int):
        return models.build(
            self.curve.model,
            task="segmentation",
            num_classes=self.train.num_classes,
            channels=self.curve.specs.data.channels,
            seed=seed,
        )


def _subsets(split: data.Split, groups, curve: Curve) -> dict[int, np.ndarray]:
    """The images with labels for each number that is asked for; 0 is all."""
    counts = curve.specs.labels.label_counts
    if 0 in counts and split.size in counts:
        raise InputError(
            f"--label_counts names all {split.size} images twice: 0 is all of them."
        )
    sizes = {count: count or split.size for count in counts}
    try:
        found = subsets.nested(
            data.histogram(split), list(sizes.values()), curve.train.seed, groups
        )
    except InputError as error:
        raise InputError(f"--label_counts: {error}") from None
    return {count: found[size] for count, size in sizes.items()}
