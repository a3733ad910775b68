"""Measures how the cost of a sweep grows with images, layers, groups and seeds, one at a time.

    runs = growth.run(growth.Settings(runs=3))
    print(growth.markdown(runs))
    growth.save_figure(runs, "growth.png")

The network is a chain of convolutions with batch normalization, all of one size, so that twice
the layers are twice the multiplications. A sweep replaces each group of each layer in turn,
counts confusion matrices, and restores it; each seed begins with other values in the whole
network. Processor time is measured, which other work hardly changes: of a first pass, in which
segments of the network are compiled, and of a second pass.
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
    """Extent of the measurement; no round starts once `minutes` are over."""

    runs: int = 3
    minutes: float = 30.0
    timeout: float = 300.0
    factors: tuple[int, ...] = FACTORS
    base: Point = dataclasses.field(default_factory=Point)

    def points(self) -> Iterator[tuple[str, int, Point]]:
        """Yields (axis, factor, point); the base once, with the axis ""."""
        yield "", 1, self.base
        for axis in AXES:
            for factor in self.factors:
                if factor > 1:
                    size = factor * getattr(self.base, axis)
                    yield axis, factor, dataclasses.replace(self.base, **{axis: size})


def run(settings: Settings) -> list[dict]:
    """Runs all points; returns a dict per run, with "error" instead of times if it failed."""
    points, runs = list(settings.points()), []
    display = progress.Display(settings.runs * len(points))
    turns = fresh.turns(points, settings.runs, settings.minutes)
    for number, (round_, (axis, factor, point)) in enumerate(turns):
        display.update(number, f"{axis} x{factor}" if axis else "base")
        words = dataclasses.astuple(point)
        measured = fresh.run_json(__name__, words, settings.timeout)
        key = {"axis": axis, "factor": factor, "arms": point.arms, "round": round_}
        runs.append(key | measured)
    display.close()
    return runs


def rows(runs: Sequence[dict]) -> list[dict]:
    """Returns medians by axis and factor; "times" is relative to the base.

    The base is the row of factor 1 of every axis.
    """
    base = _select(runs, "", 1)
    if not base:
        return []
    base_time = statistics.median(run["again"] for run in base)
    medians = []
    for axis in AXES:
        for factor in sorted({run["factor"] for run in runs}):
            selected = base if factor == 1 else _select(runs, axis, factor)
            if selected:
                medians.append(_row(axis, factor, selected, base_time))
    return medians


def _select(runs: Sequence[dict], axis: str, factor: int) -> list[dict]:
    return [
        run
        for run in runs
        if (run["axis"], run["factor"]) == (axis, factor) and "error" not in run
    ]


def _row(axis: str, factor: int, runs: list[dict], base_time: float) -> dict:
    def median(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    again = [run["again"] for run in runs]
    return {
        "axis": axis, "factor": factor, "n": len(runs), "arms": runs[0]["arms"],
        "first": median("first"), "again": median("again"), "memory": median("memory"),
        "low": min(again), "high": max(again), "times": median("again") / base_time,
    }  # fmt: skip


def markdown(runs: Sequence[dict]) -> str:
    """Formats a table with a line for each doubling; failures follow."""
    lines = [table.line(HEADER), table.rule(len(HEADER))]
    for row in rows(runs):
        cells = (
            row["axis"], f"{row['factor']}", f"{row['arms']}", f"{row['n']}",
            f"{row['first']:.2f}", f"{row['again']:.2f}",
            f"{row['low']:.2f}-{row['high']:.2f}", f"{row['times']:.2f}",
            f"{row['memory']:,.0f}",
        )  # fmt: skip
        lines.append(table.line(cells))
    failed = [run for run in runs if "error" in run]
    lines += [f"\n{run['axis']} x{run['factor']}: {run['error']}" for run in failed]
    return "\n".join(lines) + "\n"


def save_figure(runs: Sequence[dict], path: str | os.PathLike) -> None:
    """Draws a line for each of `AXES`: factor of size against factor of cost, log2 scales."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    medians = rows(runs)
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for axis, marker in zip(AXES, "osD^", strict=True):
        line = [row for row in medians if row["axis"] == axis]
        x = [row["factor"] for row in line]
        axes.plot(x, [row["times"] for row in line], marker=marker, label=axis)
    x = sorted({row["factor"] for row in medians})
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
    """Measures processor seconds of all sweeps of a point in two passes, and memory in MB."""
    from tfreuse import runtime

    runtime.start()
    before = fresh.peak()
    work = _Work(point)
    seconds, values = [], []
    for _ in range(2):
        begin = time.process_time()
        values.append([work.sweep(seed) for seed in range(point.seeds)])
        seconds.append(time.process_time() - begin)
    if values[0] != values[1]:
        raise ValueError("the same arms gave other counts")
    return {"first": seconds[0], "again": seconds[1], "memory": fresh.peak() - before}


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
        """Returns the metric of each arm of a seed."""
        draw = np.random.default_rng(seed)
        for variable in self._model.variables:
            self._blend(variable, draw)
        self._evaluate()
        metrics = []
        for layer in self._model.layers:
            for group in self._groups:
                selected = roles.expand(group)
                variables = [v for v in layer.variables if v.name in selected]
                if not variables or layer.name == HEAD:
                    continue
                old = [variable.numpy() for variable in variables]
                for variable in variables:
                    self._blend(variable, draw)
                metrics.append(self._evaluate().value)
                for variable, value in zip(variables, old, strict=True):
                    variable.assign(value)
        return metrics

    def _blend(self, variable, draw: np.random.Generator) -> None:
        """Draws new values of a usual scale, so that activations neither vanish nor explode."""
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
