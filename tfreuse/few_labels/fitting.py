"""Trains a network on few labels by a recipe: takes, freezes, trains, re-estimates statistics.

    model = fitting.fit(recipe, donor, build, labelled, unlabelled, spec, steps=300)

    fitter = fitting.Fitter(donor, build, unlabelled, spec)          # many fits, traced once
    model = fitter(recipe, labelled, 300, seed=4, learning_rate=1e-3)
    fitting.cost(recipe, model)                                      # 0 to 1, a step's

The same arguments give the same parameters, bit for bit, on the same CPU and number of threads,
whatever was fitted before.
"""

import dataclasses
import math
from collections.abc import Callable, Collection

import keras
import numpy as np
import tensorflow as tf

from tfreuse import (
    data,
    models,
    roles,
    training,
    transplant,
)
from tfreuse import plan as plan_module
from tfreuse.errors import InputError
from tfreuse.few_labels import freezing
from tfreuse.few_labels.recipes import Recipe
from tfreuse.specs import TrainSpec
from tfreuse.training import recalibration

Build = Callable[[int], keras.Model]  # a fresh recipient of a seed
Report = Callable[[int, str], None]  # (steps done, what happened)
Watch = Callable[[int, float, keras.Model], None]  # (steps done, loss, the model then)
_AT_ONCE = 256  # images that are re-estimated on in one pass, which is faster


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
    """A model of its own, fitted; see `Fitter`, which serves many."""
    return Fitter(donor, build, unlabelled, spec)(
        recipe, labelled, steps, learning_rate=learning_rate, report=report
    )


@dataclasses.dataclass(frozen=True)
class _Traced:
    """What training by one recipe needs, made once."""

    variables: list[keras.Variable]  # that are trained
    graph: keras.Model  # fused and compiled
    optimizer: keras.optimizers.Optimizer
    before: Callable[
        [], None
    ]  # re-estimates statistics before training, where the recipe does
    after: Callable[[], None]  # and at the end


class Fitter:
    """Fits one recipient's architecture again and again, by any recipe.

    Args:
        donor: of any task; only what recipes take must fit. None: recipes that need none.
        build: makes a fresh recipient of a seed; the same architecture for every seed.
        unlabelled: the recipient's images without labels, float32 [U, H, W, C] in [0, 1], that
            statistics are re-estimated on; none (U = 0): on the labelled ones.
        spec: how to train; its batch size is an upper bound, its seed and learning rate can be
            given anew with each fit, its steps must.

    Attributes:
        model: the recipient; every fit starts it anew.
        donor: may be replaced by another between two fits.
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
        self._fresh = {spec.seed: _state(self.model)}
        self._traced: dict[tuple, _Traced] = {}
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
            recipe: what to take and what to train.
            labelled: images with masks, or of an auto-encoder images; n of them.
            steps: optimizer updates of min(n, the spec's batch size) images.
            seed: of fresh values and of the order of the data; None: the spec's.
            learning_rate: the peak rate; None: the spec's.
            report: hears (steps done, "") now and then.
            watch: called at the steps in `watched` with the model as it would be if training
                ended there; the training goes on as if nothing had been watched.
            watched: from 1 to `steps`; 0 is before the first.

        Raises:
            InputError: the recipe cannot be carried out with this donor and recipient, or the
                loss is not finite.
        """
        seed = self.spec.seed if seed is None else seed
        taken = self._start(recipe, seed)
        traced = self._trace(recipe, taken, labelled)
        traced.before()
        if traced.variables:
            self._train(
                traced, labelled, steps, seed, learning_rate, report, watch, watched
            )
        elif watch and 0 in watched:
            traced.after()
            watch(0, math.nan, self.model)
        traced.after()
        return self.model

    def taken(self, recipe: Recipe) -> plan_module.Plan | None:
        """What the recipe takes; None where it takes nothing.

        Raises:
            InputError: there is no donor, or what should be taken does not fit.
        """
        if not recipe.needs_donor:
            return None
        if self.donor is None:
            raise InputError(f"recipe {recipe.name} needs a donor; none is given.")
        plan = transplant.plan(
            self.donor,
            self.model,
            roles=recipe.groups,
            stages=freezing.selected(self.model, recipe.takes),
        )
        if plan.problems:
            first = plan.problems[0]
            raise InputError(
                f"recipe {recipe.name} does not fit donor and recipient: "
                f"{len(plan.problems)} variables differ, the first is {first.variable} "
                f"({first.reason})."
            )
        return plan

    def take(self, recipe: Recipe, seed: int) -> set[str]:
        """Gives `model` what the recipe takes, and nothing else; the paths that were taken."""
        plan = self.taken(recipe)
        if plan is None:
            return set()
        values = self.donor
        if recipe.copies == "moments":
            values = _moments(plan, self.donor, seed)
        transplant.apply(plan, values, self.model)
        return {entry.recipient.path for entry in plan.copies}

    def _start(self, recipe: Recipe, seed: int) -> set[str]:
        """Fresh values of the seed, then the donor's; gives the paths that were taken."""
        if seed not in self._fresh:
            self._fresh[seed] = _state(self._build(seed))
        _restore(self.model, self._fresh[seed])
        return self.take(recipe, seed)

    def _trace(self, recipe: Recipe, taken: set[str], labelled: data.Split) -> _Traced:
        size = min(self.spec.batch_size, labelled.size)
        images, key = self._unlabelled, (recipe, size, frozenset(taken))
        if not len(images):
            images = unit_images(labelled)
            key += (images.tobytes(),)
        if key not in self._traced:
            self._traced[key] = self._make(recipe, taken, labelled, images)
        return self._traced[key]

    def _make(self, recipe, taken, labelled, images) -> _Traced:
        variables = freezing.chosen(self.model, recipe.trains, taken)
        norms = {layer.name for layer in recalibration.normalizations(self.model)}
        ours = norms & {path.rpartition("/")[0] for path in taken}
        trained = {id(variable) for variable in variables}
        frozen = {
            name
            for name in ours
            if not any(id(v) in trained for v in self.model.get_layer(name).weights)
        }
        recalibrated = recipe.statistics == "recalibrated"
        held = {"moving": set(), "kept": ours, "recalibrated": frozen}[
            recipe.statistics
        ]
        view = freezing.holding(self.model, held)
        optimizer = keras.optimizers.AdamW(0.0, weight_decay=self.spec.weight_decay)
        training.decay_only_kernels(optimizer)
        if variables:
            optimizer.build(variables)
        with freezing.only(self.model, variables):
            graph = training.trainable(
                view, optimizer, self.spec.task, labelled.ignore_label
            )
        after = self._recalibrator(set() if recalibrated else ours, images)
        # where no layer computes with stored statistics in training, the end suffices
        before = after if recalibrated and frozen else _nothing
        return _Traced(variables, graph, optimizer, before, after)

    def _recalibrator(self, held: set[str], images: np.ndarray) -> Callable[[], None]:
        """Re-estimates the statistics of all layers but those held; traced once."""
        key = (
            frozenset(held),
            images.tobytes() if images is not self._unlabelled else b"",
        )
        if key not in self._recalibrators:
            self._recalibrators[key] = recalibration.Recalibrator(
                freezing.holding(self.model, held),
                images,
                None if len(images) <= _AT_ONCE else _AT_ONCE,
            )
        return self._recalibrators[key]

    def _train(
        self, traced, labelled, steps, seed, learning_rate, report, watch, watched
    ) -> None:
        peak = self.spec.learning_rate if learning_rate is None else learning_rate
        for variable in traced.optimizer.variables:
            variable.assign(tf.zeros_like(variable.value))
        size = min(self.spec.batch_size, labelled.size)
        spec = dataclasses.replace(self.spec, batch_size=size, seed=seed)
        batches = training.batches(traced.graph, labelled, spec).take(steps)
        loss = math.nan
        with freezing.only(self.model, traced.variables):
            for step, (images, targets) in enumerate(batches):
                if watch and step in watched:
                    self._show(traced, watch, step, loss)
                rate = learning_rate_at(step, steps, peak, spec.warmup)
                traced.optimizer.learning_rate.assign(rate)
                told = traced.graph.train_on_batch(images, targets)
                loss = float(np.ravel(told)[0])  # the sum; each head's follow it
                if not math.isfinite(loss):
                    raise InputError(
                        f"the loss is {loss} at step {step + 1}; try a lower "
                        f"--learning_rate than {peak:g}."
                    )
                if report:
                    report(step + 1, "")
        if watch and steps in watched:
            self._show(traced, watch, steps, loss)

    def _show(self, traced: _Traced, watch: Watch, step: int, loss: float) -> None:
        """Shows the model as it would be if training ended here, and goes back."""
        before = _state(self.model)
        traced.after()
        watch(step, loss, self.model)
        _restore(self.model, before)


def learning_rate_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """A linear rise over a share `warmup` of the steps, then a cosine fall to zero.

    As `training.optimizer` does, but a plain number: a traced step serves any peak.
    """
    rise = max(1, round(warmup * steps))
    if step < rise:
        return peak * step / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def cost(recipe: Recipe, model: keras.Model) -> float:
    """What a training step of the recipe costs, as a share of one that trains everything.

    Counted in multiplications: every layer computes its output; gradients go back no further
    than the first layer that is trained, and weights' gradients are those of trained layers
    alone. 0.0: nothing is trained. No time is measured; memory traffic is not in it.
    """
    paths = {
        variable.path
        for variable in transplant.index(model)
        if variable.layer_path.split("/")[0] in _layers_of(recipe, model)
        and variable.role in _roles_of(recipe)
    }
    trained = {id(v) for v in freezing.chosen(model, recipe.trains, paths)}
    if not trained:
        return 0.0
    side = 192  # a multiple of what any of the networks divides by
    size = tuple(given or side for given in model.input.shape[1:3])
    work = models.multiplications(model, size)
    forward = sum(work.values())
    backward, reached = 0.0, False
    for layer in model.layers:  # from input to output
        own = any(id(variable) in trained for variable in layer.weights)
        if reached:  # the gradient passes through to what is before
            backward += work.get(layer.name, 0.0)
        if any(id(v) in trained for v in layer.weights if len(v.shape) > 1):
            backward += work.get(layer.name, 0.0)
        reached = reached or own
    first = next((layer.name for layer in model.layers if layer.weights), "")
    whole = 3 * forward - work.get(first, 0.0)  # no gradient goes into the image
    return (forward + backward) / whole


def unit_images(split: data.Split) -> np.ndarray:
    """All images of the split, float32 [N, H, W, C] in [0, 1]."""
    return split.tensors["image"].numpy().astype(np.float32) / 255.0


def _layers_of(recipe: Recipe, model: keras.Model) -> set[str]:
    stages = freezing.stages(model)
    return {
        name
        for stage in freezing.selected(model, recipe.takes)
        for name in stages[stage]
    }


def _roles_of(recipe: Recipe) -> tuple[str, ...]:
    return roles.expand(recipe.groups) if recipe.groups else ()


def _moments(plan, donor: keras.Model, seed: int) -> dict[str, np.ndarray]:
    """Fresh normal numbers with the mean and standard deviation of each of the donor's arrays."""
    rng = np.random.default_rng(seed)
    given = transplant.variables(donor)
    found = {}
    for entry in plan.copies:
        theirs = given[entry.donor.path].numpy()
        drawn = theirs.mean() + theirs.std() * rng.standard_normal(theirs.shape)
        found[entry.donor.path] = drawn.astype(theirs.dtype)
    return found


def _nothing() -> None:
    pass


def _state(model: keras.Model) -> list[np.ndarray]:
    """Values of all that the model holds, dropout's seeds included."""
    return [variable.numpy() for variable in model.variables]


def _restore(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
