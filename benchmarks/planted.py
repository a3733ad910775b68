"""Plants the errors of a conversion in a live model, and takes them out again.

    with planting(model):
        for fault in faults():
            fault.plant(model, np.random.default_rng(0))

Each is an error that people make when they move weights by hand. Layers are in the order of the
graph.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np

from tfreuse.training import norms
from tfreuse.transplant import live

Draw = np.random.Generator
_LAYERS = 3  # draws of errors in one layer


@dataclasses.dataclass(frozen=True)
class Fault:
    """An error in a model.

    Attributes:
        draws: number of places where it is planted, one after another.
        traced: whether it is no variable, so that functions have to be traced again.
    """

    name: str
    plant: Callable[[keras.Model, Draw], None]
    draws: int = 1
    traced: bool = False


@contextlib.contextmanager
def planting(model: keras.Model) -> Iterator[None]:
    """Restores values and epsilons of the model at the end of the block."""
    values = [np.array(variable) for variable in model.weights]
    epsilons = [(layer, layer.epsilon) for layer in norms.normalizations(model)]
    try:
        yield
    finally:
        for variable, value in zip(model.weights, values, strict=True):
            variable.assign(value)
        for layer, epsilon in epsilons:
            layer.epsilon = epsilon


def faults() -> list[Fault]:
    return [
        Fault("all kernels: height for width", _transpose),
        Fault("all kernels: reshaped, not transposed", _reshape),
        Fault("two equal-shaped kernels swapped, early", _swap(early=True)),
        Fault("two equal-shaped kernels swapped, late", _swap(early=False)),
        Fault("one kernel at random values", _random, _LAYERS),
        Fault("one layer: gamma and beta exchanged", _exchange, _LAYERS),
        Fault("one layer: statistics of another", _of_another, _LAYERS),
        Fault("all statistics at 0 and 1", _fresh),
        Fault("all variances: standard deviation", _deviations),
        Fault("all epsilons 1e-3 for 1e-5, or 1e-5 for 1e-3", _epsilon, traced=True),
    ]


def _kernels(model: keras.Model) -> list[keras.Variable]:
    """Returns the kernels of all convolutions in the order of the layers."""
    layers = [layer for _, layer in live.every_layer(model)]
    return [
        layer.kernel
        for layer in layers
        if len(getattr(getattr(layer, "kernel", None), "shape", ())) == 4
    ]


def _transpose(model: keras.Model, draw: Draw) -> None:
    for kernel in _kernels(model):
        kernel.assign(np.swapaxes(kernel, 0, 1))


def _reshape(model: keras.Model, draw: Draw) -> None:
    """Reads PyTorch's [out, in, h, w] as [h, w, in, out]."""
    for kernel in _kernels(model):
        stored = np.transpose(kernel, (3, 2, 0, 1))
        kernel.assign(stored.reshape(kernel.shape))


def _swap(early: bool) -> Callable[[keras.Model, Draw], None]:
    def plant(model: keras.Model, draw: Draw) -> None:
        kernels = _kernels(model)
        pairs = [
            (first, second)
            for second in range(len(kernels))
            for first in range(second)
            if kernels[first].shape == kernels[second].shape
        ]
        if early:
            pair = min(pairs, key=lambda pair: pair[::-1])
        else:
            pair = max(pairs)
        first, second = (kernels[number] for number in pair)
        values = np.array(first), np.array(second)
        second.assign(values[0])
        first.assign(values[1])

    return plant


def _random(model: keras.Model, draw: Draw) -> None:
    kernels = _kernels(model)
    kernel = kernels[draw.integers(len(kernels) - 1)]  # the last is seen by no norm
    fans = kernel.shape[0] * kernel.shape[1] * (kernel.shape[2] + kernel.shape[3])
    limit = np.sqrt(6 / fans)  # Glorot and Bengio 2010, Keras's default
    kernel.assign(draw.uniform(-limit, limit, kernel.shape))


def _exchange(model: keras.Model, draw: Draw) -> None:
    """Not in the last layer, whose output no other statistics see."""
    layers = norms.normalizations(model)
    layer = layers[draw.integers(len(layers) - 1)]
    gamma, beta = np.array(layer.gamma), np.array(layer.beta)
    layer.gamma.assign(beta)
    layer.beta.assign(gamma)


def _of_another(model: keras.Model, draw: Draw) -> None:
    layers = norms.normalizations(model)
    pairs = [
        (a, b)
        for a in layers
        for b in layers
        if a is not b and a.moving_mean.shape == b.moving_mean.shape
    ]
    layer, other = pairs[draw.integers(len(pairs))]
    layer.moving_mean.assign(other.moving_mean)
    layer.moving_variance.assign(other.moving_variance)


def _fresh(model: keras.Model, draw: Draw) -> None:
    for layer in norms.normalizations(model):
        layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))
        layer.moving_variance.assign(np.ones(layer.moving_variance.shape))


def _deviations(model: keras.Model, draw: Draw) -> None:
    for layer in norms.normalizations(model):
        layer.moving_variance.assign(np.sqrt(layer.moving_variance))


def _epsilon(model: keras.Model, draw: Draw) -> None:
    for layer in norms.normalizations(model):
        layer.epsilon = 1e-5 if layer.epsilon > 1e-4 else 1e-3
