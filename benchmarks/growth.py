"""How the cost of a sweep grows: images, layers, groups and seeds, each doubled on its own.

    runs = growth.run(growth.Settings(runs=3))
    print(growth.markdown(runs))
    growth.save_figure(runs, "growth.png")

The network is a chain of convolutions with batch normalization, all of one size, so that twice
the layers are twice the multiplications. A sweep replaces each group of each layer in turn,
counts confusion matrices, and puts it back; each seed begins with other values in the whole
network. Processor time is told, as other work hardly changes it: of the first time, in which
pieces of the network are compiled, and of the same once more.
"""

import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks import fresh, splits, table
from tfreuse import progress, roles

GROUPS = ("kernel", "bias", "conv", "gamma", "beta", "affine", "stats", "bn")
AXES = ("images", "layers", "groups", "seeds")
FACTORS = (1, 2, 4, 8)
CLASSES, SIDE, WIDTH, HEAD = 4, 32, 8, "head"
HEADER = (
    *("doubled", "times", "arms", "n", "first, CPU s", "again, CPU s", "least-most"),
    *("times the cost", "memory MB"),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """The size of one measurement."""

    images: int = 256
    layers: int = 4
    groups: int = 1
    seeds: int = 1

    @property
    def arms(self) -> int:
        return self.layers * self.groups * self.seeds


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is measured; no round starts once `minutes` are over."""

    runs: int = 3
    minutes: float = 30.0
    timeout: float = 300.0
    factors: tuple[int, ...] = FACTORS
    base: Point = dataclasses.field(default_factory=Point)

    def points(self) -> Iterator[tuple[str, int, Point]]:
        """(what is multiplied, by how much, the point); the base once, as of no axis."""
        yield "", 1, self.base
        for axis in AXES:
            for factor in self.factors:
                if factor > 1:
                    size = factor * getattr(self.base, axis)
                    yield axis, factor, dataclasses.replace(self.base, **{axis: size})


def run(settings: Settings) -> list[dict]:
    """One dict a run, with "error" where there is no time."""
    points, found = list(settings.points()), []
    display = progress.Display(settings.runs * len(points))
    turns = fresh.turns(points, settings.runs, settings.minutes)
    for number, (round_, (axis, factor, point)) in enumerate(turns):
        display.update(number, f"{axis} x{factor}" if axis else "base")
        words = dataclasses.astuple(point)
        one = fresh.found(__name__, words, settings.timeout)
        named = {"axis": axis, "factor": factor, "arms": point.arms, "round": round_}
        found.append(named | one)
    display.close()
    return found


def rows(runs: Sequence[dict]) -> list[dict]:
    """Medians by axis and factor, the base as factor 1 of every axis; `times` it."""
    base = _of(runs, "", 1)
    if not base:
        return []
    least = statistics.median(one["again"] for one in base)
    found = []
    for axis in AXES:
        for factor in sorted({one["factor"] for one in runs}):
            own = base if factor == 1 else _of(runs, axis, factor)
            if own:
                found.append(_row(axis, factor, own, least))
    return found


def _of(runs: Sequence[dict], axis: str, factor: int) -> list[dict]:
    return [
        one
        for one in runs
        if (one["axis"], one["factor"]) == (axis, factor) and "error" not in one
    ]


def _row(axis: str, factor: int, own: list[dict], least: float) -> dict:
    def median(name: str) -> float:
        return statistics.median(one[name] for one in own)

    again = [one["again"] for one in own]
    return {
        "axis": axis, "factor": factor, "n": len(own), "arms": own[0]["arms"],
        "first": median("first"), "again": median("again"), "memory": median("memory"),
        "low": min(again), "high": max(again), "times": median("again") / least,
    }  # fmt: skip


def markdown(runs: Sequence[dict]) -> str:
    """A line for each doubling; failures below."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for one in rows(runs):
        cells = (
            one["axis"], f"{one['factor']}", f"{one['arms']}", f"{one['n']}",
            f"{one['first']:.2f}", f"{one['again']:.2f}",
            f"{one['low']:.2f}-{one['high']:.2f}", f"{one['times']:.2f}",
            f"{one['memory']:,.0f}",
        )  # fmt: skip
        lines.append(table.line(cells))
    failed = [one for one in runs if "error" in one]
    lines += [f"\n{one['axis']} x{one['factor']}: {one['error']}" for one in failed]
    return "\n".join(lines) + "\n"


def save_figure(runs: Sequence[dict], path: str | os.PathLike) -> None:
    """One line for each of `AXES`: times the size against times the cost, both in octaves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = rows(runs)
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for axis, marker in zip(AXES, "osD^", strict=True):
        own = [one for one in found if one["axis"] == axis]
        x = [one["factor"] for one in own]
        axes.plot(x, [one["times"] for one in own], marker=marker, label=axis)
    x = sorted({one["factor"] for one in found})
    axes.plot(x, x, color="0.6", linestyle="--", label="in proportion")
    axes.plot(x, np.square(x), color="0.6", linestyle=":", label="its square")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for side in (axes.xaxis, axes.yaxis):
        side.set_major_formatter("{x:g}")
    axes.set_xlabel("times as many")
    axes.set_ylabel("times the processor time")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def measure(point: Point) -> dict:
    """Processor seconds of all sweeps of the point, the first time and again, and memory."""
    from tfreuse import runtime

    runtime.start()
    before = fresh.peak()
    work = _Work(point)
    taken, values = [], []
    for _ in range(2):
        begin = time.process_time()
        values.append([work.sweep(seed) for seed in range(point.seeds)])
        taken.append(time.process_time() - begin)
    if values[0] != values[1]:
        raise ValueError("the same arms gave other counts")
    return {"first": taken[0], "again": taken[1], "memory": fresh.peak() - before}


class _Work:
    """A chain of layers and its test images, and sweeps over it."""

    def __init__(self, point: Point) -> None:
        from tfreuse.training import evaluation

        self._groups = GROUPS[: point.groups]
        self._model = _chain(point.layers)
        noise = splits.noise(point.images, SIDE, CLASSES)
        self._evaluate = evaluation.Evaluator(
            self._model,
            splits.split("test", *noise, CLASSES),
            "segmentation",
            sweeping=True,
        )

    def sweep(self, seed: int) -> list[float]:
        """The metric of each arm of one seed."""
        draw = np.random.default_rng(seed)
        for variable in self._model.variables:
            self._blend(variable, draw)
        self._evaluate()
        found = []
        for layer in self._model.layers:
            for group in self._groups:
                own = [v for v in layer.variables if v.name in roles.expand(group)]
                if not own or layer.name == HEAD:
                    continue
                old = [variable.numpy() for variable in own]
                for variable in own:
                    self._blend(variable, draw)
                found.append(self._evaluate().value)
                for variable, value in zip(own, old, strict=True):
                    variable.assign(value)
        return found

    def _blend(self, variable, draw: np.random.Generator) -> None:
        """New values of the size that the old have, so that no network dies."""
        scale = 0.1 if variable.name == "kernel" else 0.5
        mean = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
        noise = draw.uniform(-scale, scale, variable.shape)
        variable.assign((mean + noise).astype(variable.dtype))


def _chain(layers: int):
    import keras

    x = inputs = keras.Input((SIDE, SIDE, 3))
    for i in range(layers):
        x = keras.layers.Conv2D(WIDTH, 3, padding="same", name=f"conv_{i}")(x)
        x = keras.layers.BatchNormalization(name=f"norm_{i}")(x)
        x = keras.layers.ReLU(name=f"relu_{i}")(x)
    x = keras.layers.Conv2D(CLASSES, 1, name=HEAD)(x)
    return keras.Model(inputs, x)


if __name__ == "__main__":
    print(json.dumps(measure(Point(*map(int, sys.argv[1:])))))
