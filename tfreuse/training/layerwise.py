"""Measures a model's batch normalizations one after another, in one pass over the images.

    layerwise = Layerwise(model, layers, images[:1])
    for measured in layerwise(Batches(images, 32)):
        for call, moments in measured: ...  # assign statistics of layerwise.calls[call] here

The model is cut in front of the arithmetic of each layer. The tensors that cross the cut (the
frontier, `training.tracing`) wait in memory, for every batch, until the layer's statistics are
assigned; from there the pass goes on. So each layer is measured behind the final statistics of the
layers before it, and every operation runs once. Batches whose frontiers do not fit in `memory`
are computed from the images for each layer again.
"""

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse.training import norms
from tfreuse.training.norms import BatchNormalization
from tfreuse.training.tracing import Trace

# Number of a call, and the mean, the variance and the count of values of each row of its inputs,
# [3, N, C]; a row is an image, or a part of one where the model divides images along the first axis.
Measured = list[tuple[int, np.ndarray]]
Compute = Callable[[BatchNormalization, tf.Tensor], tf.Tensor]


def at_inference(layer: BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    """Normalizes by the statistics that the layer holds."""
    return type(layer).call(layer, inputs, training=False)


def default_memory() -> int:
    """Returns a quarter of the machine's memory, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4


class Batches:
    """Slices of images, made when they are asked for.

    Args:
        images: [N, ...] or anything with a length and slices, or a list or dictionary of these.
        size: images a batch.
    """

    def __init__(self, images: Any, size: int) -> None:
        self._images, self._size = images, size
        self.total = len(tf.nest.flatten(images)[0])
        self.sizes = [
            min(size, self.total - start) for start in range(0, self.total, size)
        ]

    def __getitem__(self, number: int) -> list[tf.Tensor]:
        start = number * self._size
        part = operator.itemgetter(slice(start, start + self.sizes[number]))
        return [tf.constant(part(array)) for array in tf.nest.flatten(self._images)]


class Layerwise:
    """A model that is measured layer by layer; traced once, its parameters are read when called.

    Args:
        model: the model.
        layers: those to measure; others normalize by the statistics that they hold.
        example: images of the model's shapes and dtypes.
        normalize: computes a layer's output. A function that reads the statistics that the
            layer holds divides the pass into steps; one that does not leaves a single step.

    Attributes:
        calls: the layers in the order of their calls; a shared layer comes several times.
        steps: number of steps, after each of which statistics are assigned.
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Sequence[BatchNormalization],
        example: Any,
        normalize: Compute = at_inference,
    ) -> None:
        self.calls: list[BatchNormalization] = []

        def moments_of(*tensors):
            moments = []
            self.calls.clear()

            def compute(layer, inputs):
                self.calls.append(layer)
                moments.append(norms.row_moments(layer, inputs))
                return normalize(layer, inputs)

            images = tf.nest.pack_sequence_as(example, tensors)
            norms.run(model, images, layers, compute)
            return moments

        arrays = map(np.asarray, tf.nest.flatten(example))
        specs = [tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in arrays]
        traced = tf.function(moments_of, autograph=False)
        self._function = traced.get_concrete_function(*specs)
        self._trace = Trace(self._function)
        self._outputs: list[list[int]] = []  # those of each step
        self._cuts: list[int] = []  # at the end of each step but the last
        self._divide()
        self.steps = len(self._outputs)
        self._segments: dict[tuple[int, bool, bool], Callable] = {}

    def __call__(
        self,
        batches: Batches,
        memory: int | None = None,
        report: Callable[[float], None] = lambda share: None,
    ) -> Iterator[Measured]:
        """Yields, step by step, the numbers of calls with the moments of their inputs.

        Args:
            batches: of the images.
            memory: bytes of frontiers; None: `default_memory`.
            report: called with the share done.
        """
        count = len(batches.sizes)
        fitting = self.fitting(batches, memory)
        frontiers: list[list[tf.Tensor] | None] = [None] * count
        for step, outputs in enumerate(self._outputs):
            parts = []
            for number in range(count):
                frontier = frontiers[number]
                tensors = batches[number] if frontier is None else frontier
                values, frontiers[number] = self._advance(
                    step, tensors, frontier is not None, number < fitting
                )
                parts.append([value.numpy() for value in values])
                report((step + (number + 1) / count) / self.steps)
            columns = zip(*parts, strict=True)
            moments = [np.concatenate(column, axis=1) for column in columns]
            yield list(zip(outputs, moments, strict=True))

    def fitting(self, batches: Batches, memory: int | None = None) -> int:
        """Returns the number of batches whose frontiers fit in the memory."""
        if self._trace.uncacheable:
            return 0
        free = default_memory() if memory is None else memory
        for number, size in enumerate(batches.sizes):
            free -= max((self._trace.size(cut, size) for cut in self._cuts), default=0)
            if free < 0:
                return number
        return len(batches.sizes)

    def passes(self, batches: Batches, memory: int | None = None) -> float:
        """Returns about how many forward passes over the images a call computes.

        A batch that does not fit is computed up to each step's end, half the model on average.
        """
        share = 1 - self.fitting(batches, memory) / len(batches.sizes)
        half = self.steps if self._trace.uncacheable else (self.steps + 1) / 2
        return 1 - share + share * half

    def _divide(self) -> None:
        """Divides the outputs into steps, each of which ends at the first use of statistics."""
        positions = self._trace.first_positions
        ids = {
            id(variable.value)
            for layer in self.calls
            for variable in (layer.moving_mean, layer.moving_variance)
        }
        uses = {
            position
            for variable, position in zip(self._trace.variables, positions, strict=True)
            if id(variable) in ids
        }
        open_outputs = [*range(len(self._trace.outputs))]
        for cut in (*sorted(uses), self._trace.end):
            behind = self._trace.outputs_behind(cut)
            before = [n for n in open_outputs if not behind[n]]
            if before:
                self._outputs.append(before)
                self._cuts.append(cut)
            open_outputs = [n for n in open_outputs if behind[n]]
        self._cuts = self._cuts[:-1]  # nothing is measured behind the last

    def _advance(
        self, step: int, tensors: list[tf.Tensor], from_cut: bool, keep: bool
    ) -> tuple[list[tf.Tensor], list[tf.Tensor] | None]:
        """Computes a step's outputs of a batch, and the frontier behind it if it is kept."""
        outputs = self._outputs[step]
        if self._trace.uncacheable:
            values = tf.nest.flatten(self._function(*tensors))
            return [values[n] for n in outputs], None
        keep = keep and step < len(self._cuts)
        values = self._segment(step, from_cut, keep)(*tensors)
        if not keep:
            return values, None
        count = len(outputs)
        with tf.device("CPU:0"):  # no copy, unless the tensor is on a GPU
            return values[:count], [tf.identity(value) for value in values[count:]]

    def _segment(self, step: int, from_cut: bool, keep: bool) -> Callable:
        key = step, from_cut, keep
        if key not in self._segments:
            trace = self._trace
            feeds = (
                trace.frontier(self._cuts[step - 1]) if from_cut else trace.arguments
            )
            fetches = [trace.outputs[n] for n in self._outputs[step]]
            fetches += trace.frontier(self._cuts[step]) if keep else []
            self._segments[key] = trace.segment(feeds, fetches)
        return self._segments[key]
