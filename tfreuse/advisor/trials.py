"""Trains and evaluates plans on the labelled images, for the search and for the final model.

    trials = Trials(advice_spec, data_spec, model_spec)
    trials.plans                             # name -> Plan, those that fit; trials.unfit: the others
    trials.score("encoder", train, test, 3)  # a selection.Score
    model = trials.fit("encoder", steps)     # on all labelled images

Reads no split but the training split.
"""

import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import time
from collections.abc import Iterator

import keras
import numpy as np

from tfreuse import data, export, models
from tfreuse.advisor.schedule import Pace
from tfreuse.data import folder, layout
from tfreuse.errors import InputError
from tfreuse.few_labels import fitting, recipes, subsets
from tfreuse.few_labels.cost import step_cost
from tfreuse.models import saving
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.specs.advice import AdviceSpec
from tfreuse.training import evaluation

DEFAULT = "scratch"
# Images without labels, on which statistics are re-estimated: at most so many, and with fewer
# than the second number the labelled ones are used too.
_MOST_UNLABELLED = 128
_FEWEST_UNLABELLED = 64
_FEWEST_LABELLED = 3  # nested cross-validation has three folds or more


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with a donor.

    Attributes:
        recipe: the parameters that are taken from the donor, and those that are trained.
        donor: index of the donor.
        cost: of a training step, as a share of one that trains everything.
    """

    recipe: recipes.Recipe
    donor: int
    cost: float


class Trials:
    """The data, donors and recipient of one question to the advisor.

    Attributes:
        labelled: the images with labels that are used.
        units: int [n], the unit of each image: images of one subject have the same number.
        groups: names of the subjects; () if each image is a unit.
        unlabelled: float32 [U, H, W, C], the images that statistics are re-estimated on.
        overlap: whether labelled images are among the unlabelled ones.
        plans: plans by name that use a donor and fit.
        unfit: the reason by name for each plan that does not fit.

    Raises:
        InputError: the data, a donor or the recipient cannot be used.
    """

    def __init__(
        self, spec: AdviceSpec, data_spec: DataSpec, model_spec: ModelSpec
    ) -> None:
        self.spec = spec
        self.data_spec = _with_classes(data_spec)
        self._model_spec = model_spec
        if spec.recipient:
            self._model_spec = dataclasses.replace(model_spec, model=spec.recipient)
        with self._naming_recipient():
            models.check_image_size(
                self._model_spec, data_spec.image_size, data_spec.channels
            )
        self._choose_images()
        train = TrainSpec(
            batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            clip_norm=spec.clip_norm,
            class_weights=spec.class_weights,
            augment=spec.augment,
            seed=spec.seed,
        )
        self._fitters = [
            fitting.Fitter(saving.load(path), self.build, self.unlabelled, train)
            for path in spec.donor
        ]
        self._find_plans()
        if self._model_spec.is_foreign:  # else the search would end in a refusal
            export.examined(self._fitters[0].model, "segmentation")

    @contextlib.contextmanager
    def _naming_recipient(self) -> Iterator[None]:
        """Names --recipient, not --model, in errors on the recipient's file."""
        try:
            yield
        except InputError as error:
            if not self.spec.recipient:
                raise
            text = str(error).replace("--model=", "--recipient=")
            raise InputError(text) from error

    def build(self, seed: int) -> keras.Model:
        """Builds a recipient with fresh initial values."""
        if self.spec.recipient:
            self._check_classes(saving.load(self.spec.recipient))
        return models.build(
            self._model_spec,
            task="segmentation",
            num_classes=self.labelled.num_classes,
            channels=self.data_spec.channels,
            seed=seed,
        )

    def _check_classes(self, recipient: keras.Model) -> None:
        classes = evaluation.main_output(recipient.output).shape[-1]
        if classes != self.labelled.num_classes:
            raise InputError(
                f"--recipient={self.spec.recipient} has {classes} outputs, the labelled images "
                f"{self.labelled.num_classes} classes. Give a model with as many."
            )

    def score(
        self,
        name: str,
        train: np.ndarray,
        test: np.ndarray,
        repeat: int,
        steps: int,
        report: fitting.Report | None = None,
    ) -> np.ndarray:
        """Trains a plan on the images `train` and evaluates it on `test`, both indices.

        Returns:
            the confusion matrix of each image in `test`, [len(test), C, C].
        """
        recipe, donor = self._recipe(name)
        self._fitters[donor](
            recipe,
            data.take(self.labelled, train),
            steps,
            seed=1000 * (self.spec.seed + 1) + repeat,
            report=report,
        )
        return self._evaluators[donor]().per_image[test]

    def fit(
        self, name: str, steps: int, report: fitting.Report | None = None
    ) -> keras.Model:
        """Trains a plan on all labelled images; returns the model."""
        recipe, donor = self._recipe(name)
        return self._fitters[donor](recipe, self.labelled, steps, report=report)

    def pace(self) -> Pace:
        """Measures the times of the default plan: of a step, a training and its start."""
        short, long = 2, 12  # steps
        indices = np.arange(self.labelled.size)
        seconds = []
        for steps in (short, short, long):  # the first training also traces
            started = time.monotonic()
            self.score(DEFAULT, indices, indices[:1], 0, steps)
            seconds.append(time.monotonic() - started)
        first, second, third = seconds
        step = max(1e-4, (third - second) / (long - short))
        return Pace(step, max(0.0, second - short * step), max(0.0, first - second))

    def histogram(self) -> np.ndarray:
        """Counts the pixels of each class in each labelled image, [n, C]."""
        return data.histogram(self.labelled)

    def digest(self) -> str:
        """Computes the SHA-256 of the labelled images, masks and names, at the size used."""
        sha256 = hashlib.sha256()
        for name in ("id", "image", "mask"):
            array = self.labelled.tensors[name].numpy()
            sha256.update(repr((name, array.shape)).encode())
            sha256.update(
                "\n".join(self.ids).encode() if name == "id" else array.tobytes()
            )
        return sha256.hexdigest()

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        names = self.labelled.tensors["id"].numpy()
        return tuple(name.decode(errors="replace") for name in names)

    def folds(self, count: int) -> np.ndarray:
        """Assigns each labelled image to one of `count` folds, int [n]; units stay together."""
        folds = np.empty(len(self.units), int)
        names = [str(unit) for unit in self.units]
        parts = subsets.folds(len(names), count, self.spec.seed, names)
        for number, (_, left_out) in enumerate(parts):
            folds[left_out] = number
        return folds

    def _choose_images(self) -> None:
        pool = data.load(self.data_spec, "train")
        labels = self.spec.labels or pool.size
        if labels > pool.size:
            raise InputError(
                f"--labels={labels} is more than the {pool.size} training images with masks; "
                f"use at most {pool.size}."
            )
        if labels < _FEWEST_LABELLED:
            raise InputError(
                f"expected --labels={_FEWEST_LABELLED} or more, since cross-validation needs "
                f"three folds; got {labels} of {pool.size} training images with masks."
            )
        chosen = subsets.nested(data.histogram(pool), [labels], self.spec.seed)[labels]
        self.labelled = data.take(pool, chosen)
        self.groups, self.units = _units(self.labelled, self.data_spec.group_by)
        unchosen = np.setdiff1d(np.arange(pool.size), chosen)
        parts = [data.take(pool, unchosen)] if len(unchosen) else []
        if self.spec.unlabelled_dir:
            parts.append(_more_images(self.data_spec, self.spec.unlabelled_dir))
        self.overlap = sum(part.size for part in parts) < _FEWEST_UNLABELLED
        if self.overlap:
            parts.append(self.labelled)
        images = np.concatenate([fitting.unit_images(part) for part in parts])
        count = min(len(images), _MOST_UNLABELLED)
        self.unlabelled = images[np.linspace(0, len(images) - 1, count).astype(int)]

    def _find_plans(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.unfit: dict[str, str] = {}
        for recipe in recipes.CATALOGUE.values():
            for donor, fitter in enumerate(self._fitters):
                if not recipe.needs_donor or not recipe.advised:
                    continue
                name = plan_name(recipe, donor)
                try:
                    fitter.plan(recipe)
                    cost = step_cost(recipe, fitter.model)
                except InputError as error:
                    self.unfit[name] = str(error)
                    continue
                self.plans[name] = Plan(recipe, donor, cost)
        if not self.plans:
            name, reason = next(iter(self.unfit.items()))
            raise InputError(
                f"no recipe fits the donor and the recipient; {name}: {reason} Give the model "
                "flags that the donor was trained with, or --recipient=M.keras."
            )

    def _recipe(self, name: str) -> tuple[recipes.Recipe, int]:
        if name == DEFAULT:
            return recipes.CATALOGUE[DEFAULT], 0
        return self.plans[name].recipe, self.plans[name].donor

    @functools.cached_property
    def _evaluators(self) -> list[evaluation.Evaluator]:
        """Returns an evaluator a donor; a fitter's model is one object, so each traces once."""
        return [
            evaluation.Evaluator(fitter.model, self.labelled, "segmentation")
            for fitter in self._fitters
        ]


def plan_name(recipe: recipes.Recipe, donor: int) -> str:
    """Returns e.g. `encoder` with the first donor, `encoder@2` with the second."""
    return recipe.name if donor == 0 else f"{recipe.name}@{donor + 1}"


def _units(split: data.Split, pattern: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the subjects' names, and the number of the subject of each image."""
    image_names = data.group_names(split, pattern)
    if image_names is None:
        return (), np.arange(split.size)
    names, units = np.unique(image_names, return_inverse=True)
    if len(names) < 3:
        raise InputError(
            f"--group_by={pattern!r} makes {len(names)} groups of the labelled images; "
            "cross-validation needs three or more. Use more --labels, or a pattern that makes "
            "more groups."
        )
    return tuple(names.tolist()), units


def _more_images(spec: DataSpec, unlabelled_dir: str) -> data.Split:
    """Reads the training images of --unlabelled_dir, all that are in no split of their own.

    Raises:
        InputError: they cannot be read; names the flag.
    """
    spec = dataclasses.replace(
        spec, data_dir=unlabelled_dir, train_examples=0, test_examples=0
    )
    try:
        names = ["train"]
        if spec.dataset == "folder":
            root = pathlib.Path(unlabelled_dir).expanduser()
            names = list(dict.fromkeys(["train", *layout.without_folder(root)]))
        return data.join([data.load(spec, name, masks=False) for name in names])
    except InputError as error:
        raise InputError(f"--unlabelled_dir: {error}") from error


def _with_classes(spec: DataSpec) -> DataSpec:
    """Returns the spec with the classes of the training masks.

    Without a number of classes the data set would count them in the masks of the test split too.
    """
    if spec.dataset != "folder" or spec.num_classes:
        return spec
    classes = folder.Folder(spec).num_classes(("train",))
    return dataclasses.replace(spec, num_classes=classes)
