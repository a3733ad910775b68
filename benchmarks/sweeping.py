"""What an arm of a sweep costs: every layer of a network, one group of roles after another.

    runs = sweeping.run(sweeping.Settings(runs=5), work_dir)
    print(sweeping.markdown(runs, sweeping.targets(runs)))

An arm takes one group of one layer from a donor, counts confusion matrices, and puts all back.
Contestants: `naive` loads the model for each arm, `evaluate` has one compiled model, `forward`
evaluates by one compiled function of all operations, `tfreuse` sweeps. The first two do a few
arms only, spread over the network: theirs all cost the same. The ideal is the share of the
multiplications that the arm's layer and those behind it do, of the time of `forward`, folded.
"""

import dataclasses
import functools
import itertools
import json
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
CONTESTANTS = (NAIVE, EVALUATE, FORWARD, SWEEP, UNFOLDED)
CLOCKS = {
    "seconds": "",
    "cpu": ", processor time",
}  # other work disturbs the second less
CLOSE = 1e-4  # of mean IoU, between what contestants find


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its test images. `every`: of the layers, only each so-manyth is changed."""

    model: ModelSpec
    side: int
    images: int
    every: int = 1


CASES = {
    "unet": Case(ModelSpec(architecture="unet", width=16, depth=3), 64, 256),
    "pspnet": Case(
        ModelSpec(architecture="pspnet", width=64, encoder="resnet50"), 64, 64, 12
    ),
    "tiny": Case(ModelSpec(architecture="unet", width=4, depth=1), 16, 8),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is measured; no round starts once `minutes` are over."""

    models: tuple[str, ...] = ("unet", "pspnet")
    runs: int = 5
    minutes: float = 30.0
    timeout: float = 900.0


def run(settings: Settings, work_dir: pathlib.Path) -> list[dict]:
    """One dict a run, with "error" where there is no time.

    Raises:
        InputError: there is no such network.
    """
    for name in settings.models:
        if name not in CASES:
            raise InputError(f"--models takes {', '.join(CASES)}; got {name!r}.")
        fresh.last_line(__name__, ["make", name, work_dir])
    jobs = [(name, who) for name in settings.models for who in CONTESTANTS]
    display, found = progress.Display(settings.runs * len(jobs)), []
    turns = fresh.turns(jobs, settings.runs, settings.minutes)
    for number, (round_, (name, who)) in enumerate(turns):
        display.update(number, f"{name} {who}")
        words = ["run", name, work_dir, who]
        one = fresh.found(__name__, words, settings.timeout)
        found.append({"model": name, "name": who, "round": round_} | one)
    display.close()
    return _checked(found)


def _checked(runs: list[dict]) -> list[dict]:
    """The runs; an error in place of the time of one whose values are not those of `forward`."""
    known: dict[str, dict] = {}
    for one in runs:
        if one["name"] == FORWARD and "values" in one:
            known.setdefault(one["model"], one["values"])
    for one in runs:
        values, right = one.pop("values", {}), known.get(one["model"], {})
        wrong = [
            arm
            for arm, value in values.items()
            if not abs(value - right.get(arm, np.nan)) <= CLOSE
        ]
        if wrong:
            one["error"] = f"wrong value: {wrong[0]}"
    return runs


def targets(runs: Sequence[dict]) -> list[table.Target]:
    """What was promised, for each network; without the runs that it needs it is left out."""
    found = []
    models = dict.fromkeys(one["model"] for one in runs)
    for model, (what, kind) in itertools.product(models, CLOCKS.items()):
        ours = _median(runs, model, SWEEP, what)
        for rival, text, bound in (
            (NAIVE, "times as fast an arm as load_model each", 8),
            (EVALUATE, "times as fast an arm as evaluate", 3),
        ):
            theirs = _median(runs, model, rival, what)
            if ours and theirs:
                text = f"{model}: {text}{kind}"
                found.append(table.Target(text, theirs / ours, bound, True))
        ideal = _median(runs, model, SWEEP, f"ideal_{what}")
        if ours and ideal:
            text = f"{model}: an arm, times its multiplications alone{kind}"
            found.append(table.Target(text, ours / ideal, 1.3))
    return found


def _median(runs, model: str, name: str, what: str = "seconds") -> float | None:
    own = _values(runs, model, name, what)
    return statistics.median(own) if own else None


def _values(runs, model: str, name: str, what: str) -> list[float]:
    return [
        one[what]
        for one in runs
        if (one["model"], one["name"]) == (model, name)
        and "error" not in one
        and one.get(what) is not None
    ]


def markdown(runs: Sequence[dict], promised: Sequence[table.Target]) -> str:
    """The promises and a table for each network."""
    lines = ["| what | measured | asked for | |", "|---|--:|--:|---|"]
    for one in promised:
        sign = ">=" if one.at_least else "<="
        met = "met" if one.met else "not met"
        lines.append(f"| {one.text} | {one.value:.3g} | {sign} {one.bound:g} | {met} |")
    for model in dict.fromkeys(one["model"] for one in runs):
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
    """Images float32 [N, H, W, 3] from 0 to 1, and labels int32 [N, H, W]."""
    images, masks = splits.noise(case.images, case.side, CLASSES)
    return images.astype(np.float32) / 255, masks


def measure(name: str, folder: pathlib.Path, who: str) -> dict:
    """Seconds an arm of one contestant, and the mean IoU that each arm gave."""
    from tfreuse import runtime

    runtime.start()
    started = time.perf_counter()
    work = {NAIVE: _Naive, EVALUATE: _Evaluate}.get(who, _Forward)(name, folder, who)
    arms = _arms(work.variables, CASES[name].every)
    if who in (NAIVE, EVALUATE):  # the time of each is the same
        arms = arms[:: max(1, len(arms) // 5)]
    before = time.perf_counter() - started
    values, sweeps = {}, []
    for donor in work.donors:
        taken = _Clock()
        for layer, group in arms:
            values[f"{donor} {layer} {group}"] = work(donor, layer, group)
        sweeps.append([one / len(arms) for one in taken()])
    found = dict(zip(CLOCKS, sweeps[-1], strict=True))
    found |= {"arms": len(arms), "before": before}
    if who == SWEEP:
        for clock, one in zip(CLOCKS, work.ideal(arms), strict=True):
            found[f"ideal_{clock}"] = one
    if len(sweeps) > 1:
        found["first"] = sweeps[0][0]
    return found | {"values": values}


class _Clock:
    """Seconds by the wall and of the processors since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        wall, cpu = self._started
        return time.perf_counter() - wall, time.process_time() - cpu


def _arms(variables, every: int) -> list[tuple[str, str]]:
    """(layer, group) in the order of the layers: each group that says something of its own."""
    held: dict[str, set[str]] = {}
    for variable in variables:
        held.setdefault(variable.layer, set()).add(variable.role)
    layers = [layer for layer in held if not layer.startswith("head")][::every]
    return [
        (layer, group)
        for layer in layers
        for group in GROUPS
        if held[layer].intersection(roles.expand(group))
    ]


class _Naive:
    """Loads, sets, compiles and evaluates for every arm, as a script of one evening does."""

    donors = ("donor",)

    def __init__(self, name: str, folder: pathlib.Path, who: str) -> None:
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
        own = [v.role for v in self.variables if v.layer == layer]
        target.set_weights(
            [n if r in roles.expand(group) else o for o, n, r in zip(old, new, own)]
        )
        images, masks = self._data
        found = model.evaluate(images, masks, 64, verbose=0, return_dict=True)
        target.set_weights(old)
        return float(found["value"])

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
    """Evaluates one compiled model again and again; it is traced before the clock starts."""

    def __init__(self, name: str, folder: pathlib.Path, who: str) -> None:
        super().__init__(name, folder, who)
        layer, group = _arms(self.variables, 1)[0]
        self("donor", layer, group)

    @functools.cached_property
    def _kept(self):
        return super()._model()

    def _model(self):
        return self._kept


class _Forward:
    """tfreuse's evaluation, of all operations each time or of what changed."""

    donors = ("donor", "second")

    def __init__(self, name: str, folder: pathlib.Path, who: str) -> None:
        from tfreuse import transplant
        from tfreuse.models import saving
        from tfreuse.training import evaluation, folding

        load = {
            side: saving.load(folder / f"{name}_{side}.keras")
            for side in ("recipient", *self.donors)
        }
        self._transplant, self._case = transplant, CASES[name]
        self.model, self.variables = load["recipient"], transplant.index(load["donor"])
        self._values = {side: transplant.values(load[side]) for side in self.donors}
        view = self.model if who == UNFOLDED else folding.folded(self.model)
        side, count = self._case.side, self._case.images
        noise = splits.noise(count, side, CLASSES)
        split = splits.split("test", *noise, CLASSES)
        self._whole = evaluation.Evaluator(view, split, "segmentation")
        self._evaluate = self._whole
        if who != FORWARD:
            self._evaluate = evaluation.Evaluator(
                view, split, "segmentation", sweeping=True
            )
        self._evaluate()

    def __call__(self, donor: str, layer: str, group: str) -> float:
        made = plan.make(self.variables, self.variables, roles=group, layers=[layer])
        displaced = self._transplant.apply(made, self._values[donor], self.model)
        value = self._evaluate().value
        self._transplant.undo(displaced, self.model)
        return value

    def ideal(self, arms: Sequence[tuple[str, str]]) -> list[float]:
        """What the multiplications behind an arm's layer take at the full rate, by clock."""
        from tfreuse import models

        behind = models.multiplications(self.model, (self._case.side,) * 2)
        variable = self._transplant.variables(self.model)
        kernels = {v.layer: v.path for v in self.variables if v.role == "kernel"}
        position = self._evaluate.sweep.position
        taken = []
        for _ in range(4):  # the first traces
            clock = _Clock()
            self._whole()
            taken.append(clock())
        paths = {(v.layer, v.role): v.path for v in self.variables}
        at = {layer: position([variable[path]]) for layer, path in kernels.items()}
        shares = []
        for layer, group in arms:
            start = min(
                position([variable[paths[layer, role]]])
                for role in roles.expand(group)
                if (layer, role) in paths
            )
            own = sum(n for name, n in behind.items() if at[name] >= start)
            shares.append(own / sum(behind.values()))
        return [min(one) * statistics.mean(shares) for one in zip(*taken, strict=True)]


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], pathlib.Path(sys.argv[3]))
    else:
        found = measure(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4])
        print(json.dumps(found))
