"""Measures the cost of an arm: each group of roles of every layer of a network in turn.

    runs = sweeping.run(sweeping.Settings(runs=5), work_dir)
    print(sweeping.markdown(runs, sweeping.targets(runs)))

An arm takes one group of one layer from a donor, counts confusion matrices, and restores the
recipient. Contestants: `NAIVE` loads the model for each arm, `EVALUATE` uses one compiled model,
`FORWARD` one compiled function of all operations, `SWEEP` a `tfreuse.training.sweep.Sweep`. The
first two run only a few arms spread over the network, since all their arms cost the same.
`STACKED` has all images in one batch: the most that arms gain which are computed together, since
they have weights of their own up to the changed layer. `EIGEN` is TensorFlow without oneDNN. The
ideal is the time of `FORWARD`, folded, times the share of the multiplications in the arm's layer
and the layers behind it.
"""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks import fresh, splits, table
from tfreuse import plan, progress, roles
from tfreuse.errors import InputError
from tfreuse.specs import ModelSpec

GROUPS = ("kernel", "bias", "conv", "affine", "stats", "bn")
CLASSES = 5
NAIVE, EVALUATE, FORWARD = "load_model, set_weights, evaluate", "evaluate", "forward"
SWEEP, UNFOLDED = "tfreuse", "tfreuse, nothing folded"
STACKED, EIGEN = "tfreuse, one batch", "tfreuse, without oneDNN"
CONTESTANTS = (NAIVE, EVALUATE, FORWARD, SWEEP, UNFOLDED, STACKED, EIGEN)
CLOCKS = {
    "seconds": "",
    "cpu": ", processor time",
}  # other work disturbs the second less
CLOSE = 1e-4  # allowed difference in mean IoU between contestants


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its test images.

    Attributes:
        side: pixels of an image's side.
        images: number of images.
        every: 12 changes every twelfth layer only.
    """

    model: ModelSpec
    side: int
    images: int
    every: int = 1


CASES = {
    "unet": Case(ModelSpec(architecture="unet", width=16, depth=3), 64, 256),
    "pspnet": Case(
        ModelSpec(architecture="pspnet", width=64, encoder="resnet50"), 64, 64, 12
    ),
    "quickstart": Case(ModelSpec(architecture="unet", width=8, depth=3), 32, 128),
    "tiny": Case(ModelSpec(architecture="unet", width=4, depth=1), 16, 8),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the measurement; no round starts once `minutes` are over."""

    models: tuple[str, ...] = ("unet", "pspnet")
    runs: int = 5
    minutes: float = 30.0
    timeout: float = 900.0


def run(settings: Settings, work_dir: pathlib.Path) -> list[dict]:
    """Runs all contestants; returns a dict per run, with "error" instead of times if it failed.

    Raises:
        InputError: there is no such network.
    """
    for name in settings.models:
        if name not in CASES:
            raise InputError(f"--models takes {', '.join(CASES)}; got {name!r}.")
        fresh.last_line(__name__, ["make", name, work_dir])
    jobs = [(name, entry) for name in settings.models for entry in CONTESTANTS]
    display, runs = progress.Display(settings.runs * len(jobs)), []
    turns = fresh.turns(jobs, settings.runs, settings.minutes)
    for number, (round_, (name, entry)) in enumerate(turns):
        display.update(number, f"{name} {entry}")
        words = ["run", name, work_dir, entry]
        measured = fresh.run_json(__name__, words, settings.timeout)
        runs.append({"model": name, "name": entry, "round": round_} | measured)
    display.close()
    return _checked(runs)


def _checked(runs: list[dict]) -> list[dict]:
    """Marks runs as errors whose values differ from those of `FORWARD`."""
    expected: dict[str, dict] = {}
    for row in runs:
        if row["name"] == FORWARD and "values" in row:
            expected.setdefault(row["model"], row["values"])
    for row in runs:
        values, reference = row.pop("values", {}), expected.get(row["model"], {})
        wrong = [
            arm
            for arm, value in values.items()
            if not abs(value - reference.get(arm, np.nan)) <= CLOSE
        ]
        if wrong:
            row["error"] = f"wrong value: {wrong[0]}"
    return runs


def targets(runs: Sequence[dict]) -> list[table.Target]:
    """Returns the targets of each network, as far as the runs they need were measured."""
    rows = []
    models = dict.fromkeys(row["model"] for row in runs)
    for model, (clock, kind) in itertools.product(models, CLOCKS.items()):
        sweep = _median(runs, model, SWEEP, clock)
        for rival, text, bound in (
            (NAIVE, "times as fast an arm as load_model each", 8),
            (EVALUATE, "times as fast an arm as evaluate", 3),
        ):
            rival_time = _median(runs, model, rival, clock)
            if sweep and rival_time:
                text = f"{model}: {text}{kind}"
                rows.append(table.Target(text, rival_time / sweep, bound, True))
        ideal = _median(runs, model, SWEEP, f"ideal_{clock}")
        if sweep and ideal:
            text = f"{model}: an arm, times its multiplications alone{kind}"
            rows.append(table.Target(text, sweep / ideal, 1.3))
    return rows


def _median(runs, model: str, name: str, key: str = "seconds") -> float | None:
    values = _values(runs, model, name, key)
    return statistics.median(values) if values else None


def _values(runs, model: str, name: str, key: str) -> list[float]:
    return [
        row[key]
        for row in runs
        if (row["model"], row["name"]) == (model, name)
        and "error" not in row
        and row.get(key) is not None
    ]


def markdown(runs: Sequence[dict], promised: Sequence[table.Target]) -> str:
    """Formats the targets and a table for each network."""
    lines = ["| target | measured | bound | |", "|---|--:|--:|---|"]
    for target in promised:
        sign = ">=" if target.at_least else "<="
        met = "met" if target.met else "not met"
        lines.append(
            f"| {target.text} | {target.value:.3g} | {sign} {target.bound:g} | {met} |"
        )
    for model in dict.fromkeys(row["model"] for row in runs):
        case = CASES[model]
        lines += ["", f"{model}: {case.images} images of {case.side}x{case.side}", ""]
        lines.append(
            "| contestant | n | ms an arm | least-most | CPU ms an arm | arms "
            "| first sweep, ms an arm | s before |"
        )
        lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
        for name in CONTESTANTS:
            lines.append(_row([r for r in runs if r["model"] == model], model, name))
    return "\n".join(lines) + "\n"


def _row(runs: list[dict], model: str, name: str) -> str:
    seconds = _values(runs, model, name, "seconds")
    if not seconds:
        errors = [r["error"] for r in runs if r["name"] == name and "error" in r]
        return f"| {name} | 0 | {(errors or ['not run'])[0]} | | | | | |"
    ms = [f"{1e3 * value:,.0f}" for value in (min(seconds), max(seconds))]
    first = _median(runs, model, name, "first")
    return (
        f"| {name} | {len(seconds)} | {1e3 * statistics.median(seconds):,.0f} | "
        f"{'-'.join(ms)} | {1e3 * _median(runs, model, name, 'cpu'):,.0f} | "
        f"{_median(runs, model, name, 'arms'):.0f} | "
        f"{f'{1e3 * first:,.0f}' if first else ''} | "
        f"{_median(runs, model, name, 'before'):.1f} |"
    )


def make(name: str, folder: pathlib.Path) -> None:
    """Writes recipient and donors, with statistics like those of a trained network."""
    from tfreuse import models
    from tfreuse.training import recalibration

    case = CASES[name]
    images = _images(case)[0]
    for seed, side in enumerate(("recipient", "donor", "second")):
        model = models.build(
            case.model, task="segmentation", num_classes=CLASSES, seed=seed
        )
        draw = np.random.default_rng(seed)
        for variable in model.trainable_variables:
            if variable.name != "kernel":
                noise = draw.normal(scale=0.2, size=variable.shape)
                variable.assign_add(noise.astype(variable.dtype))
        recalibration.Recalibrator(model, images[:16])()
        model.save(folder / f"{name}_{side}.keras")


def _images(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Returns images float32 [N, H, W, 3] in [0, 1] and labels int32 [N, H, W]."""
    images, masks = splits.noise(case.images, case.side, CLASSES)
    return images.astype(np.float32) / 255, masks


def measure(name: str, folder: pathlib.Path, entry: str) -> dict:
    """Measures a contestant's seconds per arm, and the mean IoU of each arm."""
    from tfreuse import runtime

    if entry == EIGEN:  # read when TensorFlow is imported
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    runtime.start()
    started = time.perf_counter()
    contestant = {NAIVE: _Naive, EVALUATE: _Evaluate}.get(entry, _Forward)
    work = contestant(name, folder, entry)
    arms = _arms(work.variables, CASES[name].every)
    if entry in (NAIVE, EVALUATE):  # all arms take the same time
        arms = arms[:: max(1, len(arms) // 5)]
    before = time.perf_counter() - started
    values, sweeps = {}, []
    for donor in work.donors:
        elapsed = _Clock()
        for layer, group in arms:
            values[f"{donor} {layer} {group}"] = work(donor, layer, group)
        sweeps.append([seconds / len(arms) for seconds in elapsed()])
    row = dict(zip(CLOCKS, sweeps[-1], strict=True))
    row |= {"arms": len(arms), "before": before}
    if entry == SWEEP:
        for clock, seconds in zip(CLOCKS, work.ideal(arms), strict=True):
            row[f"ideal_{clock}"] = seconds
    if len(sweeps) > 1:
        row["first"] = sweeps[0][0]
    return row | {"values": values}


class _Clock:
    """Returns seconds of wall time and of processor time since its creation."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        wall, cpu = self._started
        return time.perf_counter() - wall, time.process_time() - cpu


def _arms(variables, every: int) -> list[tuple[str, str]]:
    """Returns (layer, group) in the order of the layers, for groups of which a layer has roles."""
    roles_of: dict[str, set[str]] = {}
    for variable in variables:
        roles_of.setdefault(variable.layer, set()).add(variable.role)
    layers = [layer for layer in roles_of if not layer.startswith("head")][::every]
    return [
        (layer, group)
        for layer in layers
        for group in GROUPS
        if roles_of[layer].intersection(roles.expand(group))
    ]


class _Naive:
    """Loads, sets, compiles and evaluates for every arm, as a simple script would."""

    donors = ("donor",)

    def __init__(self, name: str, folder: pathlib.Path, entry: str) -> None:
        from tfreuse import transplant
        from tfreuse.models import saving

        self._paths = {
            side: folder / f"{name}_{side}.keras" for side in ("recipient", "donor")
        }
        self._data = _images(CASES[name])
        self._donor = saving.load(self._paths["donor"])
        self.variables = transplant.index(self._donor)

    def __call__(self, donor: str, layer: str, group: str) -> float:
        model = self._model()
        target = model.get_layer(layer)
        old, new = target.get_weights(), self._donor.get_layer(layer).get_weights()
        layer_roles = [v.role for v in self.variables if v.layer == layer]
        changed = roles.expand(group)
        target.set_weights(
            [n if r in changed else o for o, n, r in zip(old, new, layer_roles)]
        )
        images, masks = self._data
        metrics = model.evaluate(images, masks, 64, verbose=0, return_dict=True)
        target.set_weights(old)
        return float(metrics["value"])

    def _model(self):
        import keras

        model = keras.models.load_model(self._paths["recipient"], compile=False)
        return self._compiled(model)

    def _compiled(self, model):
        import keras

        metric = keras.metrics.MeanIoU(CLASSES, sparse_y_pred=False, name="value")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(loss=loss, metrics=[metric])
        return model


class _Evaluate(_Naive):
    """Evaluates one compiled model repeatedly; it is traced before the clock starts."""

    def __init__(self, name: str, folder: pathlib.Path, entry: str) -> None:
        super().__init__(name, folder, entry)
        layer, group = _arms(self.variables, 1)[0]
        self("donor", layer, group)

    @functools.cached_property
    def _traced_model(self):
        return super()._model()

    def _model(self):
        return self._traced_model


class _Forward:
    """Evaluates with tfreuse: all operations each time, or by a sweep."""

    donors = ("donor", "second")

    def __init__(self, name: str, folder: pathlib.Path, entry: str) -> None:
        from tfreuse import transplant
        from tfreuse.models import saving
        from tfreuse.training import evaluation, folding

        models = {
            side: saving.load(folder / f"{name}_{side}.keras")
            for side in ("recipient", *self.donors)
        }
        self._transplant, self._case = transplant, CASES[name]
        self.model = models["recipient"]
        self.variables = transplant.index(models["donor"])
        self._values = {side: transplant.values(models[side]) for side in self.donors}
        view = self.model if entry == UNFOLDED else folding.folded(self.model)
        side, count = self._case.side, self._case.images
        noise = splits.noise(count, side, CLASSES)
        split = splits.split("test", *noise, CLASSES)
        self._whole = evaluation.Evaluator(view, split, "segmentation")
        self._evaluate = self._whole
        if entry != FORWARD:
            batch = {"batch_size": count} if entry == STACKED else {}
            self._evaluate = evaluation.Evaluator(
                view, split, "segmentation", sweeping=True, **batch
            )
        self._evaluate()

    def __call__(self, donor: str, layer: str, group: str) -> float:
        arm = plan.make(self.variables, self.variables, roles=group, layers=[layer])
        displaced = self._transplant.apply(arm, self._values[donor], self.model)
        value = self._evaluate().value
        self._transplant.undo(displaced, self.model)
        return value

    def ideal(self, arms: Sequence[tuple[str, str]]) -> list[float]:
        """Returns the ideal seconds per arm by clock, as the module's docstring defines."""
        from tfreuse import models

        work = models.multiplications(self.model, (self._case.side,) * 2)
        variable = self._transplant.variables(self.model)
        kernels = {v.layer: v.path for v in self.variables if v.role == "kernel"}
        position = self._evaluate.sweep.position
        times = []
        for _ in range(4):  # the first one traces
            clock = _Clock()
            self._whole()
            times.append(clock())
        paths = {(v.layer, v.role): v.path for v in self.variables}
        starts = {layer: position([variable[path]]) for layer, path in kernels.items()}
        shares = []
        for layer, group in arms:
            start = min(
                position([variable[paths[layer, role]]])
                for role in roles.expand(group)
                if (layer, role) in paths
            )
            behind = sum(n for name, n in work.items() if starts[name] >= start)
            shares.append(behind / sum(work.values()))
        share = statistics.mean(shares)
        return [min(seconds) * share for seconds in zip(*times, strict=True)]


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], pathlib.Path(sys.argv[3]))
    else:
        row = measure(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4])
        print(json.dumps(row))
