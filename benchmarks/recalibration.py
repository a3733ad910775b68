"""Measures recalibration beside a bare forward pass over the same images, and its memory.

    runs = run(Settings(runs=5))
    print(markdown(runs, targets(runs)))

The passes take turns in one process, so that other work disturbs them alike; processor time counts.
Statistics are compared with those that the layers' own inputs have before a time counts. The peak of
the memory is of fresh processes, one with the forward pass alone.
"""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks import fresh, table
from tfreuse import progress

FORWARD, EXACT, ONE_PASS = "forward", "recalibrate", "recalibrate, one_pass"
BATCH, SIDE, WIDTH = 32, 64, 16
_CLOSE = 1e-3  # allowed difference, in standard deviations
_MEMORY = 2**31  # bytes that may wait between layers


@dataclasses.dataclass(frozen=True)
class Settings:
    """Extent of the measurement.

    Attributes:
        images: of the measurement of speed.
        many: images of the measurement of memory; 0: none.
    """

    runs: int = 5
    images: int = 128
    many: int = 10_000
    timeout: float = 3600.0


def run(settings: Settings) -> list[dict]:
    """Returns a dict a pass, with processor and wall seconds, and one a process, with its peak."""
    from tfreuse import runtime

    runtime.start()
    runs = _speed(settings)
    if settings.many:
        for name in (FORWARD, EXACT):
            words = (name, settings.many)
            runs.append(fresh.run_json(__name__, words, settings.timeout))
    return runs


def _speed(settings: Settings) -> list[dict]:
    draw = np.random.default_rng(0)
    images = draw.random((settings.images, SIDE, SIDE, 3), dtype=np.float32)
    model, passes = _passes(images[:1])
    for call in passes.values():  # compiles
        call(images[:BATCH])
    runs, display = [], progress.Display(settings.runs)
    for number, (round_, name) in enumerate(fresh.turns(passes, settings.runs, 30)):
        begin, processor = time.perf_counter(), time.process_time()
        passes[name](images)
        seconds = time.perf_counter() - begin
        cpu = time.process_time() - processor
        if name == EXACT:
            _check(model, images)
        runs.append({"pass": name, "round": round_, "seconds": seconds, "cpu": cpu})
        display.update(number / len(passes), name)
    display.close()
    return runs


def _passes(example: np.ndarray, width: int = WIDTH) -> tuple:
    import keras
    import tensorflow as tf

    from tfreuse import models
    from tfreuse.training import norms, recalibration
    from tfreuse.training.layerwise import Batches, Layerwise

    keras.utils.set_random_seed(0)
    model = models.unet(width=width, num_classes=5)
    layers = norms.normalizations(model)
    spec = tf.TensorSpec([None, *example.shape[1:]], tf.float32)
    network = tf.function(lambda x: model(x, training=False)).get_concrete_function(
        spec
    )
    held = {layer: recalibration.values(layer) for layer in layers}
    exact = Layerwise(model, layers, example)
    once = Layerwise(model, layers, example, recalibration.by_batch(held, 0.0))

    def forward(images):
        batches = Batches(images, BATCH)
        for number in range(len(batches.sizes)):
            network(*batches[number])

    return model, {
        FORWARD: forward,
        EXACT: lambda images: recalibration.settle(
            exact, Batches(images, BATCH), memory=_MEMORY
        ),
        ONE_PASS: lambda images: recalibration.settle(once, Batches(images, BATCH)),
    }


def _check(model, images: np.ndarray) -> None:
    from tfreuse.training import norms

    for layer, mean, variance in norms.Measurer(model)(images, BATCH):
        spread = np.sqrt(variance + layer.epsilon)
        shift = abs(mean - layer.moving_mean.numpy()) / spread
        scale = abs(np.sqrt(layer.moving_variance.numpy() + layer.epsilon) / spread - 1)
        if max(shift.max(), scale.max()) > _CLOSE:
            raise ValueError(f"{layer.name} has other statistics than its inputs")


class Drawn:
    """Images [N, 32, 32, 3] that are drawn when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> np.ndarray:
        first, last, _ = part.indices(self._count)
        draw = np.random.default_rng(first)
        return draw.random((last - first, SIDE // 2, SIDE // 2, 3), dtype=np.float32)


def measure(name: str, count: int) -> dict:
    """Returns the peak of this process in MB, and the seconds of a pass over many images."""
    from tfreuse import runtime

    runtime.start()
    images = Drawn(count)
    _, passes = _passes(images[0:1], WIDTH // 2)
    passes[name](images[0:BATCH])
    before, begin = fresh.peak(), time.process_time()
    passes[name](images)
    cpu = time.process_time() - begin
    grown = fresh.peak() - before
    return {"process": name, "images": count, "cpu": cpu, "grown": grown}


def targets(runs: Sequence[dict]) -> list[table.Target]:
    """Returns the promise of the issue: 0.8 of the speed of a bare forward pass."""
    medians = _medians(runs)
    if not {FORWARD, EXACT, ONE_PASS} <= set(medians):
        return []
    return [
        table.Target(
            f"{name}: share of a forward pass's speed",
            medians[FORWARD]["cpu"] / medians[name]["cpu"],
            0.8,
            True,
        )
        for name in (EXACT, ONE_PASS)
    ]


def _medians(runs: Sequence[dict]) -> dict[str, dict[str, float]]:
    names = dict.fromkeys(run["pass"] for run in runs if "pass" in run)
    return {
        name: {
            key: statistics.median(r[key] for r in runs if r.get("pass") == name)
            for key in ("cpu", "seconds")
        }
        for name in names
    }


def markdown(runs: Sequence[dict], promised: Sequence[table.Target]) -> str:
    """Formats the medians, the peaks and the promise as Markdown."""
    medians = _medians(runs)
    lines = [table.line(("pass", "CPU s", "wall s", "n")), table.rule(4)]
    for name, values in medians.items():
        count = sum(run.get("pass") == name for run in runs)
        cells = name, f"{values['cpu']:.2f}", f"{values['seconds']:.2f}", str(count)
        lines.append(table.line(cells))
    lines += ["", *table.promises(promised), ""]
    for one in runs:
        if "process" in one:
            lines.append(
                f"{one['process']}, {one['images']:,} images: {one['cpu']:.0f} CPU s, "
                f"{one['grown']:.0f} MB more than before"
            )
        elif "error" in one:
            lines.append(f"many images: {one['error']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
