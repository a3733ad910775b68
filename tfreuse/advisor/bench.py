"""What the advisor measures with: the labelled images, the donors, and trainings of plans.

    bench = Bench(advice_spec, data_spec, model_spec)
    bench.plans                               # name -> Plan, those that fit; bench.unfit the others
    bench.score("encoder", train, test, 3)    # a selection.Score
    model = bench.fit("encoder", steps)       # on all labelled images

Of the data set the training split alone is read.
"""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfreuse import data, models
from tfreuse.advisor.schedule import Pace
from tfreuse.data import folder, labels, pictures
from tfreuse.errors import InputError
from tfreuse.few_labels import fitting, recipes, subsets
from tfreuse.few_labels.cost import step_cost
from tfreuse.models import saving
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.specs.advice import AdviceSpec
from tfreuse.training import evaluation

DEFAULT = "scratch"
_MANY = 128  # images without labels that statistics are re-estimated on
_ENOUGH = 64  # of them, or the labelled ones serve too


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with a donor.

    Attributes:
        recipe: what is done.
        donor: number of the donor.
        cost: of a training step, as a share of one that trains everything.
    """

    recipe: recipes.Recipe
    donor: int
    cost: float


class Bench:
    """Data, donors and recipient of one question to the advisor.

    Attributes:
        labelled: the images with labels that are used.
        units: int [n], images of one subject have one number.
        groups: names of the subjects; () if each image stands for itself.
        unlabelled: float32 [U, H, W, C], what statistics are re-estimated on.
        overlap: whether labelled images are among these.
        plans: plans by name that use a donor and fit.
        unfit: plans that do not, with the reason.

    Raises:
        InputError: something in the data, the donors or the recipient cannot be used.
    """

    def __init__(
        self, spec: AdviceSpec, data_spec: DataSpec, model_spec: ModelSpec
    ) -> None:
        self.spec = spec
        self.data_spec = _with_classes(data_spec)
        self._choose_images()
        self._model_spec = model_spec
        train = TrainSpec(
            batch_size=spec.batch_size, learning_rate=spec.learning_rate, seed=spec.seed
        )
        self._fitters = [
            fitting.Fitter(saving.load(path), self.build, self.unlabelled, train)
            for path in spec.donor
        ]
        self._find_plans()

    def build(self, seed: int) -> keras.Model:
        """A fresh recipient."""
        if not self.spec.recipient:
            models.check_image_size(
                self._model_spec, self.data_spec.image_size, self.data_spec.channels
            )
            return models.build(
                self._model_spec,
                task="segmentation",
                num_classes=self.labelled.num_classes,
                channels=self.data_spec.channels,
                seed=seed,
            )
        structure = saving.load(self.spec.recipient)
        classes = evaluation.main_output(structure.output).shape[-1]
        if classes != self.labelled.num_classes:
            raise InputError(
                f"--recipient={self.spec.recipient} has {classes} outputs, the labelled images "
                f"{self.labelled.num_classes} classes. Give a model with as many."
            )
        keras.utils.set_random_seed(seed)
        return keras.models.clone_model(structure)

    def score(
        self,
        name: str,
        train: np.ndarray,
        test: np.ndarray,
        repeat: int,
        steps: int,
        report: fitting.Report | None = None,
    ) -> np.ndarray:
        """Trains the plan on the images `train`; confusion matrices of `test` [len, C, C]."""
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
        """The plan's model, trained on all labelled images."""
        recipe, donor = self._recipe(name)
        return self._fitters[donor](recipe, self.labelled, steps, report=report)

    def pace(self) -> Pace:
        """How long a step, a training and a plan's start take; measured on the default."""
        few, more = 2, 12
        every = np.arange(self.labelled.size)
        seconds = []
        for steps in (few, few, more):  # the first one traces
            started = time.monotonic()
            self.score(DEFAULT, every, every[:1], 0, steps)
            seconds.append(time.monotonic() - started)
        first, second, third = seconds
        step = max(1e-4, (third - second) / (more - few))
        return Pace(step, max(0.0, second - few * step), max(0.0, first - second))

    def histogram(self) -> np.ndarray:
        """Pixels of each class in each labelled image, [n, C]."""
        return data.histogram(self.labelled)

    def digest(self) -> str:
        """SHA-256 of the labelled images, their masks and names, at the size used."""
        found = hashlib.sha256()
        for name in ("id", "image", "mask"):
            array = self.labelled.tensors[name].numpy()
            found.update(repr((name, array.shape)).encode())
            found.update(
                "\n".join(self.ids).encode() if name == "id" else array.tobytes()
            )
        return found.hexdigest()

    @functools.cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(
            one.decode(errors="replace") for one in self.labelled.tensors["id"].numpy()
        )

    @functools.cached_property
    def folds(self) -> Callable[[int], np.ndarray]:
        """Gives the fold of each labelled image, int [n], for a number of folds."""

        def split(count: int) -> np.ndarray:
            found = np.empty(len(self.units), int)
            names = [str(unit) for unit in self.units]
            parts = subsets.folds(len(names), count, self.spec.seed, names)
            for number, (_, held) in enumerate(parts):
                found[held] = number
            return found

        return split

    def _choose_images(self) -> None:
        pool = data.load(self.data_spec, "train")
        wanted = self.spec.labels or pool.size
        if wanted > pool.size:
            raise InputError(
                f"--labels={wanted} is more than the {pool.size} training images with masks; "
                f"use at most {pool.size}."
            )
        chosen = subsets.nested(data.histogram(pool), [wanted], self.spec.seed)[wanted]
        self.labelled = data.take(pool, chosen)
        self.groups, self.units = _units(self.labelled, self.data_spec.group_by)
        rest = np.setdiff1d(np.arange(pool.size), chosen)
        parts = [fitting.unit_images(data.take(pool, rest))] if len(rest) else []
        if self.spec.unlabelled_dir:
            more = dataclasses.replace(
                self.data_spec, data_dir=self.spec.unlabelled_dir, train_examples=0
            )
            parts.append(fitting.unit_images(data.load(more, "train", masks=False)))
        self.overlap = sum(map(len, parts)) < _ENOUGH
        if self.overlap:
            parts.append(fitting.unit_images(self.labelled))
        every = np.concatenate(parts)
        places = np.linspace(0, len(every) - 1, min(len(every), _MANY)).astype(int)
        self.unlabelled = every[places]

    def _find_plans(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.unfit: dict[str, str] = {}
        for recipe in recipes.CATALOGUE.values():
            for donor, fitter in enumerate(self._fitters):
                if not recipe.needs_donor:
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
        """One a fitter, whose model stays the same object: traced once."""
        return [
            evaluation.Evaluator(fitter.model, self.labelled, "segmentation")
            for fitter in self._fitters
        ]


def plan_name(recipe: recipes.Recipe, donor: int) -> str:
    """`encoder` with the first donor, `encoder@2` with the second."""
    return recipe.name if donor == 0 else f"{recipe.name}@{donor + 1}"


def catalogue() -> dict[str, Any]:
    """Every recipe's sentence, by name."""
    return {name: one.describe() for name, one in recipes.CATALOGUE.items()}


def _units(split: data.Split, pattern: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The subjects' names, and the number of each image's."""
    found = data.group_names(split, pattern)
    if found is None:
        return (), np.arange(split.size)
    names, units = np.unique(found, return_inverse=True)
    if len(names) < 3:
        raise InputError(
            f"--group_by={pattern!r} tells {len(names)} groups apart; cross-validation needs "
            "three or more. Use more --labels, or a pattern that tells more groups apart."
        )
    return tuple(names.tolist()), units


def _with_classes(spec: DataSpec) -> DataSpec:
    """The spec with a number of classes: left out, the data set would look into test masks."""
    if spec.dataset != "folder" or spec.num_classes:
        return spec
    counts = []
    for pair in folder.list_pairs(folder.Folder(spec).root, "train"):
        mask, _ = pictures.read_mask(pair.mask)
        counts.append((str(pair.mask), labels.count(mask)))
    classes = labels.classes(counts, spec.ignore_label)
    return dataclasses.replace(spec, num_classes=classes)
