"""Trains a network on few labels by a recipe: copies, freezes, trains, re-estimates statistics.

    model = fitting.fit(recipe, donor, build, labelled, unlabelled, spec, steps=300)

    fitter = fitting.Fitter(donor, build, unlabelled, spec)          # many fits, traced once
    model = fitter(recipe, labelled, 300, seed=4, learning_rate=1e-3)

The same arguments give the same parameters, bit for bit, on the same CPU and number of threads,
independent of earlier fits.
"""

import dataclasses
import glob
import math
from collections.abc import Callable, Collection

import keras
import numpy as np
import tensorflow as tf

from tfreuse import data, training, transplant
from tfreuse import plan as plan_module
from tfreuse.errors import InputError
from tfreuse.few_labels import freezing
from tfreuse.few_labels.recipes import Recipe
from tfreuse.specs import TrainSpec
from tfreuse.training import recalibration

Build = Callable[[int], keras.Model]  # builds a fresh recipient from a seed
Report = Callable[[int, str], None]  # (steps done, event)
Watch = Callable[[int, float, keras.Model], None]  # (steps done, loss, model)
_LARGEST_BATCH = (
    256  # images for re-estimation in one pass, which is faster than in batches
)


def fit(
    recipe: Recipe,
    donor: keras.Model | None,
    build: Build,
    labelled: data.Split,
    unlabelled: np.ndarray,
    spec: TrainSpec,
    steps: int,
    *,
    learning_rate: float | None = None,
    report: Report | None = None,
) -> keras.Model:
    """Builds a model and fits it once; takes the arguments of `Fitter` and of its call."""
    return Fitter(donor, build, unlabelled, spec)(
        recipe, labelled, steps, learning_rate=learning_rate, report=report
    )


@dataclasses.dataclass(frozen=True)
class _Trace:
    """The traced parts of a training by one recipe.

    Attributes:
        variables: the trained variables.
        graph: fused and compiled view of the recipient.
        optimizer: its optimizer, of which each fit sets the moments to zero.
    """

    variables: list[keras.Variable]
    graph: keras.Model
    optimizer: keras.optimizers.Optimizer


class Fitter:
    """Fits a recipient repeatedly, by any recipe; traces each kind of training only once.

    Args:
        donor: of any task; only the parameters that recipes take must fit. None allows only
            recipes without a donor.
        build: builds a fresh recipient from a seed; the same architecture for every seed.
        unlabelled: the recipient's images without labels, float32 [U, H, W, C] in [0, 1], for
            re-estimating statistics; with U = 0 the labelled images are used.
        spec: settings of training. Its batch size is an upper bound; seed and learning rate
            are defaults; its number of steps is not used.

    Attributes:
        model: the recipient; every fit resets it first.
        donor: may be replaced between two fits.
    """

    def __init__(
        self,
        donor: keras.Model | None,
        build: Build,
        unlabelled: np.ndarray,
        spec: TrainSpec,
    ) -> None:
        self.donor, self.spec = donor, spec
        self.model = build(spec.seed)
        self._build, self._unlabelled = build, np.asarray(unlabelled, np.float32)
        self._initial_states = {spec.seed: _state(self.model)}
        self._traces: dict[tuple, _Trace] = {}
        self._recalibrators: dict[tuple, Callable[[], None]] = {}

    def __call__(
        self,
        recipe: Recipe,
        labelled: data.Split,
        steps: int,
        *,
        seed: int | None = None,
        learning_rate: float | None = None,
        report: Report | None = None,
        watch: Watch | None = None,
        watched: Collection[int] = (),
    ) -> keras.Model:
        """Fits `model` and returns it; the next call changes it again.

        Args:
            recipe: parameters to copy and to train.
            labelled: n images with masks, or n images for an auto-encoder.
            steps: optimizer updates of min(n, the spec's batch size) images.
            seed: of fresh values and of the order of the data; None: the spec's.
            learning_rate: the peak rate; None: the spec's.
            report: called with (steps done, "") after every step.
            watch: called at the steps in `watched` with the model as it would be if training
                ended there; does not affect the training.
            watched: numbers of steps done, from 0 to `steps`.

        Raises:
            InputError: the recipe cannot be carried out with this donor and recipient, or the
                loss is not finite.
        """
        seed = self.spec.seed if seed is None else seed
        copied = self._reset(recipe, seed)
        trace, before, after = self._prepare(recipe, copied, labelled)
        before()

        def show(step: int, loss: float) -> None:
            """Calls `watch` with the model as if training ended here, then restores it."""
            if watch and step in watched:
                values = _state(self.model)
                after()
                watch(step, loss, self.model)
                _restore(self.model, values)

        if trace.variables:
            self._train(trace, labelled, steps, seed, learning_rate, report, show)
        else:
            show(0, math.nan)
        after()
        return self.model

    def plan(self, recipe: Recipe) -> plan_module.Plan | None:
        """Plans the transplant of the recipe; None for a recipe without a donor.

        Raises:
            InputError: there is no donor, or its parameters do not fit the recipient.
        """
        if not recipe.needs_donor:
            return None
        if self.donor is None:
            raise InputError(f"recipe {recipe.name} needs a donor; none is given.")
        plan = transplant.plan(
            self.donor,
            self.model,
            roles=recipe.groups,
            layers=self._layers(recipe),
        )
        if plan.problems:
            first = plan.problems[0]
            raise InputError(
                f"recipe {recipe.name} does not fit donor and recipient: "
                f"{len(plan.problems)} variables differ, the first is {first.variable} "
                f"({first.reason})."
            )
        freezing.check_statistics(recipe, [e.recipient for e in plan.copies])
        return plan

    def _layers(self, recipe: Recipe) -> list[str]:
        """Returns patterns of the layers that the recipe takes.

        The donor's own layers of these stages are among them, where names say the stage, so
        that the plan reports a layer that the recipient lacks.
        """
        stages = freezing.stage_names(self.model, recipe.takes)
        paths = freezing.layer_paths(self.model, recipe.takes)
        paths += [
            variable.layer_path
            for variable in transplant.index(self.donor)
            if plan_module.stage(variable.layer) in stages
        ]
        return [glob.escape(path) for path in dict.fromkeys(paths)]

    def copy_donor(self, recipe: Recipe, seed: int) -> set[str]:
        """Copies the donor's parameters of the recipe into `model`; returns their paths."""
        plan = self.plan(recipe)
        if plan is None:
            return set()
        values = self.donor
        if recipe.copies == "moments":
            values = _moments(plan, self.donor, seed)
        transplant.apply(plan, values, self.model)
        return {entry.recipient.path for entry in plan.copies}

    def _reset(self, recipe: Recipe, seed: int) -> set[str]:
        """Sets fresh values of the seed, then the donor's; returns the copied paths."""
        if seed not in self._initial_states:
            self._initial_states[seed] = _state(self._build(seed))
        _restore(self.model, self._initial_states[seed])
        return self.copy_donor(recipe, seed)

    def _prepare(
        self, recipe: Recipe, copied: set[str], labelled: data.Split
    ) -> tuple[_Trace, Callable[[], None], Callable[[], None]]:
        """Returns the traced training, and the work on statistics before it and at its end."""
        variables = freezing.trained_variables(self.model, recipe.trains, copied)
        norms = {layer.name for layer in recalibration.normalizations(self.model)}
        copied_norms = norms & {path.rpartition("/")[0] for path in copied}
        trained = {id(variable) for variable in variables}
        frozen = {
            name
            for name in copied_norms
            if not any(id(v) in trained for v in self.model.get_layer(name).weights)
        }
        recalibrated = recipe.statistics == "recalibrated"
        stored = {"moving": set(), "kept": copied_norms, "recalibrated": frozen}
        trace = self._trace(variables, stored[recipe.statistics], labelled)
        images = self._unlabelled if len(self._unlabelled) else unit_images(labelled)
        after = self._recalibrator(set() if recalibrated else copied_norms, images)
        # Statistics matter before training only to layers that train with stored statistics.
        return trace, after if recalibrated and frozen else _nothing, after

    def _trace(
        self,
        variables: list[keras.Variable],
        stored: set[str],
        labelled: data.Split,
    ) -> _Trace:
        """Returns the traced training; recipes that train the same variables alike share it.

        Args:
            variables: those to train.
            stored: names of batch norms that compute with stored statistics.
            labelled: its number of images bounds a batch.
        """
        size = min(self.spec.batch_size, labelled.size)
        key = frozenset(map(id, variables)), frozenset(stored), size
        if key in self._traces:
            return self._traces[key]
        view = freezing.with_stored_statistics(self.model, stored)
        optimizer = training.adamw(0.0, self.spec)
        if variables:
            optimizer.build(variables)
        with freezing.training_only(self.model, variables):
            graph = training.trainable(
                view, optimizer, self.spec.task, labelled.ignore_label
            )
        self._traces[key] = _Trace(variables, graph, optimizer)
        return self._traces[key]

    def _recalibrator(
        self, excluded: set[str], images: np.ndarray
    ) -> Callable[[], None]:
        """Returns a function that re-estimates all layers' statistics but the excluded's."""
        key = (
            frozenset(excluded),
            images.tobytes() if images is not self._unlabelled else b"",
        )
        if key not in self._recalibrators:
            fits = len(images) <= _LARGEST_BATCH
            self._recalibrators[key] = recalibration.Recalibrator(
                freezing.with_stored_statistics(self.model, excluded),
                images,
                None if fits else _LARGEST_BATCH,
                one_pass=fits,  # a fit changes all layers, so that a sweep would save nothing
            )
        return self._recalibrators[key]

    def _train(
        self,
        trace: _Trace,
        labelled: data.Split,
        steps: int,
        seed: int,
        learning_rate: float | None,
        report: Report | None,
        show: Callable[[int, float], None],
    ) -> None:
        """Trains; calls `show` with the number of steps and the loss before each and at the end."""
        peak = self.spec.learning_rate if learning_rate is None else learning_rate
        for variable in trace.optimizer.variables:  # of an earlier fit
            variable.assign(tf.zeros_like(variable.value))
        size = min(self.spec.batch_size, labelled.size)
        spec = dataclasses.replace(self.spec, batch_size=size, seed=seed)
        batches = training.batches(trace.graph, labelled, spec).take(steps)
        loss = math.nan
        with freezing.training_only(self.model, trace.variables):
            for step, batch in enumerate(batches):
                show(step, loss)
                rate = learning_rate_at(step, steps, peak, spec.warmup)
                trace.optimizer.learning_rate.assign(rate)
                losses = trace.graph.train_on_batch(*batch)  # weights too
                loss = float(
                    np.ravel(losses)[0]
                )  # the sum, before the losses of the heads
                if not math.isfinite(loss):
                    raise InputError(
                        f"the loss is {loss} at step {step + 1}; try a lower "
                        f"--learning_rate than {peak:g}."
                    )
                if report:
                    report(step + 1, "")
        show(steps, loss)


def learning_rate_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """Returns the rate of a linear warm-up over a share of the steps, then a cosine decay.

    The schedule of `training.optimizer` as a plain number, so that one traced step serves
    every peak rate.
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return peak * step / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def unit_images(split: data.Split) -> np.ndarray:
    """Returns all images of the split, float32 [N, H, W, C] in [0, 1]."""
    return split.tensors["image"].numpy().astype(np.float32) / 255.0


def _moments(plan, donor: keras.Model, seed: int) -> dict[str, np.ndarray]:
    """Draws normal values with the mean and standard deviation of each array of the donor."""
    rng = np.random.default_rng(seed)
    variables = transplant.variables(donor)
    values = {}
    for entry in plan.copies:
        value = variables[entry.donor.path].numpy()
        drawn = value.mean() + value.std() * rng.standard_normal(value.shape)
        values[entry.donor.path] = drawn.astype(value.dtype)
    return values


def _nothing() -> None:
    pass


def _state(model: keras.Model) -> list[np.ndarray]:
    """Returns the values of all variables of the model, dropout's seeds included."""
    return [variable.numpy() for variable in model.variables]


def _restore(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
    transplant.refresh(model)
