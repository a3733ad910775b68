"""What a study will cost, told before anything of it runs.

    print(cost.tell(specs, jobs=2))

Each architecture is built and timed for a moment on noise; nothing is trained and nothing
written. The time is a rough one: it knows nothing of other work on the machine.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfreuse import (
    data,
    models,
    progress,
    training,
    transplant,
)
from tfreuse.study import treatments
from tfreuse.study.design import Block, Curve, Network, Specs
from tfreuse.training import evaluation

_START = (
    8.0  # seconds until a process has TensorFlow, its data and its traced functions
)
# bytes of a record and of what it counted image by image; its unit and the study keep both
_LINE, _COUNTS = 2 * 1_300, 2 * 1_700
_FIT = 2.0  # seconds of a fit beside its updates: statistics, and the test images four times
_COPIES = 4  # of a network's parameters: the best, the last, and the optimizer's two
_LOGS = 1_000_000  # bytes that a training logs


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one architecture takes, in seconds and numbers."""

    parameters: int
    step: float  # of training
    image: float  # of evaluation


def tell(specs: Specs, jobs: int) -> str:
    """Networks, arms, time and disk in a few lines.

    Raises:
        InputError: the data cannot be read, or a network cannot be built.
    """
    images = data.load(specs.data, "test", masks=False).size
    blocks: dict[str, Block | Curve] = {
        one.architecture: one for one in (*specs.blocks(), *specs.curves())
    }
    built = {name: _build(block) for name, block in blocks.items()}
    costs = {name: _cost(block, built[name]) for name, block in blocks.items()}
    lines, seconds, disk, arms = [], 0.0, 0.0, 0
    networks = specs.networks().values()
    for network in networks:
        cost = costs[_architecture(specs, network)]
        seconds += _START + cost.step * network.train.steps
        disk += _COPIES * 4 * cost.parameters + _LOGS
    counted: collections.Counter = collections.Counter()
    for block in specs.blocks():
        repairs = _repairs(block, built[block.architecture])
        seconds += _START + _seconds(repairs, costs[block.architecture], specs, images)
        arms += repairs.total()
        counted[block.architecture] = repairs.total()
    disk += arms * (_LINE + _COUNTS)
    fits = 0
    for curve in specs.curves():
        step = costs[curve.architecture].step
        count = len(curve.arms())
        each = specs.labels.fits * (specs.labels.label_steps * step + _FIT)
        seconds += _START + count * each
        fits += count
        disk += count * _LINE
    for name, cost in costs.items():
        told = f"{counted[name]:,} arms a block, " if counted[name] else ""
        lines.append(
            f"{name}: {cost.parameters:,} parameters, {told}"
            f"{cost.step * 1e3:.0f} ms a training step, {cost.image * 1e3:.2f} ms a test image"
        )
    lines.append(
        f"In all {len(networks)} trainings, {arms:,} arms and {fits:,} points of label curves "
        f"on {images} test images: about "
        f"{progress.clock(seconds / jobs)} with {jobs} processes at a time on this machine, "
        f"{disk / 1e6:,.0f} MB of disk."
    )
    return "\n".join(lines)


def _architecture(specs: Specs, network: Network) -> str:
    return next(
        name
        for name in specs.architectures
        if specs.model.variant(name) == network.model
    )


def _repairs(block: Block, model: keras.Model) -> collections.Counter:
    """How many arms of the block are measured with each repair."""
    study = block.specs.study
    found = treatments.arms(
        treatments.sites(model, study.sites), transplant.index(model), study, block.link
    )
    return collections.Counter(repair for arm in found for repair in arm.repairs)


def _seconds(
    repairs: collections.Counter, cost: Cost, specs: Specs, images: int
) -> float:
    """Of measuring: an evaluation each; a probe, a re-estimation, or a training with some."""
    study = specs.study
    calibration = study.calibration_examples
    extra = collections.defaultdict(lambda: 2 * calibration, none=32, permutation=32)
    total = sum(n * (images + extra[repair]) for repair, n in repairs.items())
    tuned = repairs["fine_tuning"] * study.fine_tuning_steps
    return total * cost.image + tuned * cost.step


def _build(block: Block | Curve) -> keras.Model:
    return models.build(
        block.model,
        task="autoencoder",
        num_classes=0,
        channels=block.specs.data.channels,
        seed=0,
    )


def _cost(block: Block | Curve, model: keras.Model) -> Cost:
    """Times the architecture."""
    specs = block.specs
    models.check_image_size(block.model, specs.data.image_size, specs.data.channels)
    size = specs.train.batch_size
    shape = (*specs.data.image_size, specs.data.channels)
    noise = np.random.default_rng(0).random((max(size, 64), *shape), np.float32)
    graph = training.trainable(model, keras.optimizers.AdamW(), "autoencoder", -1)
    step = _time(lambda: graph.train_on_batch(noise[:size], noise[:size]))
    predict = tf.function(lambda x: evaluation.main_output(model(x, training=False)))
    return Cost(
        model.count_params(), step, _time(lambda: predict(noise[:64]).numpy()) / 64
    )


def _time(function: Callable[[], object]) -> float:
    """The least of five: what it takes when nothing disturbs it; the first traces."""
    least = math.inf
    function()
    for _ in range(5):
        started = time.monotonic()
        function()
        least = min(least, time.monotonic() - started)
    return least
