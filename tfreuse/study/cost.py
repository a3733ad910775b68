"""Forecasts the time and disk space of a study before it runs.

    print(cost.describe(specs, jobs=2))

Each architecture is built and timed for a moment on noise; nothing is trained or written. The
forecast is rough: other work on the machine is not in it.
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
from tfreuse.study import reading, treatments
from tfreuse.study.design import Block, Curve, Specs
from tfreuse.study.recipient import FITTED_IMAGES
from tfreuse.training import evaluation

_START = 8.0  # seconds to start a process: TensorFlow, data, tracing
# bytes of a record, and of its counts by image; both its unit and the study keep them
_LINE, _COUNTS = 2 * 1_300, 2 * 1_700
_FIT = 2.0  # seconds of a fit besides its updates: statistics and four evaluations
_COPIES = 4  # of a network's parameters: the best, the last, and the optimizer's two
_COPIES_KEPT = 3  # the same with every network that is kept along the way
_LOGS = 1_000_000  # bytes of a training's logs


@dataclasses.dataclass(frozen=True)
class Cost:
    """Size and speed of one architecture."""

    parameters: int
    step: float  # seconds of an update of a training
    image: float  # seconds of the evaluation of an image


def describe(specs: Specs, jobs: int) -> str:
    """Returns numbers of networks and arms, time and disk space, in a few lines.

    Raises:
        InputError: the data cannot be read, or a network cannot be built.
    """
    images = data.load(specs.data, "test", masks=False).size
    examples: dict[str, Block | Curve] = {
        part.architecture: part for part in (*specs.blocks(), *specs.curves())
    }
    built = {name: _build(part) for name, part in examples.items()}
    costs = {name: _cost(part, built[name]) for name, part in examples.items()}
    seconds, disk, arms, fits = 0.0, 0.0, 0, 0
    networks, architectures = specs.networks().values(), _architectures(specs)
    for network in networks:
        cost = costs[architectures[network.name]]
        seconds += _START + (0 if network.file else cost.step * network.train.steps)
        copies = _COPIES + _COPIES_KEPT * len(specs.ages(network))
        disk += copies * 4 * cost.parameters + _LOGS
    arms_of_block: dict[str, int] = {}
    for block in specs.blocks():
        repairs = _repairs(block, built[block.architecture])
        passed = images + _fitted(block)
        seconds += _START + _seconds(repairs, costs[block.architecture], specs, passed)
        arms_of_block[block.architecture] = repairs.total()
        arms += repairs.total()
    disk += arms * (_LINE + _COUNTS)
    for curve in specs.curves():
        step, count = costs[curve.architecture].step, len(curve.arms())
        arm_seconds = specs.labels.fits() * (specs.labels.label_steps * step + _FIT)
        seconds += _START + count * arm_seconds
        fits += count
        disk += count * _LINE
    trainings = sum(not network.file for network in networks)
    lines = []
    for name, cost in costs.items():
        arms_text = ""
        if name in arms_of_block:  # a study of label curves alone has no blocks
            arms_text = f"{arms_of_block[name]:,} arms a block, "
        lines.append(
            f"{name}: {cost.parameters:,} parameters, {arms_text}"
            + (f"{cost.step * 1e3:.0f} ms a training step, " if cost.step else "")
            + f"{cost.image * 1e3:.2f} ms a test image"
        )
    nouns = {"training": trainings, "arm": arms, "label-curve point": fits}
    work = [progress.number(count, noun) for noun, count in nouns.items() if count]
    lines.append(
        f"In all {', '.join(work)} on {progress.number(images, 'test image')}: about "
        f"{progress.clock(seconds / jobs)} with {progress.number(jobs, 'job')} at a time on "
        f"this machine, {disk / 1e6:,.0f} MB of disk."
    )
    return "\n".join(lines)


def _fitted(block: Block) -> int:
    """Returns the number of images that an auto-encoder's gains and offsets are fitted on."""
    study, task = block.specs.study, block.parts["recipient"].train.task
    fits = study.fit_outputs and task == "autoencoder"
    return min(FITTED_IMAGES, study.calibration_examples) if fits else 0


def _architectures(specs: Specs) -> dict[str, str]:
    """Returns the architecture of each network; of a donor of label curves its recipient's."""
    variants = {specs.model.variant(name): name for name in specs.architectures}
    of_donors = {
        network.name: curve.architecture
        for curve in specs.curves()
        for network in curve.donors.values()
    }
    return of_donors | {
        name: variants[network.model]
        for name, network in specs.networks().items()
        if network.model in variants
    }


def _repairs(block: Block, model: keras.Model) -> collections.Counter:
    """Counts the arms of the block that are measured with each repair."""
    study = block.specs.study
    arms = treatments.arms(
        treatments.sites(model, study.sites), transplant.index(model), study, block.link
    )
    return collections.Counter(repair for arm in arms for repair in arm.repairs)


def _seconds(
    repairs: collections.Counter, cost: Cost, specs: Specs, images: int
) -> float:
    """Estimates the seconds of measuring a block.

    Each arm is an evaluation of `images`; most pass calibration images through the
    network too (all of them, twice, or the 32 of a probe); some are a training.
    """
    study = specs.study
    calibration = study.calibration_examples
    extra = collections.defaultdict(lambda: 2 * calibration, none=32, permutation=32)
    total = sum(n * (images + extra[repair]) for repair, n in repairs.items())
    tuned = repairs["fine_tuning"] * study.fine_tuning_steps
    return total * cost.image + tuned * cost.step


def _build(block: Block | Curve) -> keras.Model:
    if block.specs.given:
        return reading.opened(block.parts["recipient"].file, block.specs)
    return models.build(
        block.model,
        task="autoencoder",
        num_classes=0,
        channels=block.specs.data.channels,
        seed=0,
    )


def _cost(block: Block | Curve, model: keras.Model) -> Cost:
    """Times a training step and an evaluation of the architecture, on noise."""
    specs = block.specs
    if not specs.given:
        models.check_image_size(block.model, specs.data.image_size, specs.data.channels)
    size = specs.train.batch_size
    shape = (*specs.data.image_size, specs.data.channels)
    noise = np.random.default_rng(0).random((max(size, 64), *shape), np.float32)
    step = 0.0
    if not specs.given or "fine_tuning" in specs.study.repairs:
        graph = training.trainable(model, keras.optimizers.AdamW(), "autoencoder", -1)
        targets = np.zeros((size, *shape[:2], model.outputs[0].shape[-1]), np.float32)
        step = _time(lambda: graph.train_on_batch(noise[:size], targets))
    predict = tf.function(lambda x: evaluation.main_output(model(x, training=False)))
    return Cost(
        model.count_params(), step, _time(lambda: predict(noise[:64]).numpy()) / 64
    )


def _time(function: Callable[[], object]) -> float:
    """Returns the least of five times in seconds: the one with the least disturbance."""
    least = math.inf
    function()  # traces
    for _ in range(5):
        started = time.monotonic()
        function()
        least = min(least, time.monotonic() - started)
    return least
