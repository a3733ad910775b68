"""Recomputes a function of a model on fixed batches, starting at the first changed parameter.

    count = sweep.Sweep(function, batches)  # function(*batch) reads the model's parameters
    count()                                 # a result per batch; these parameters are the base
    transplant.apply(...)
    count()                                 # computes the affected layers alone
    transplant.undo(...)

The function is traced once into a sequence of operations. The position of an operation is its
index in that sequence. A call compares all parameters with those of the base, bit for bit, and
determines the first position that a changed parameter affects. The frontier of a position is the
set of tensors, skip connections included, that operations before it pass to operations behind it.
Frontiers are cached, and only the segment behind the frontier is computed; each segment is
compiled once. A study that changes one layer after another, in the order of the network, thus
pays about half a forward pass per arm. Any TensorFlow function of any model can be swept. The
order of the calls changes their cost and never their results.

A sweep runs the same operations as a plain evaluation, so results are the same bit for bit,
unless TensorFlow's optimizer would merge operations across a frontier.
"""

import bisect
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfreuse.training.tracing import Trace

MEMORY = 2**30  # bytes of cached frontiers
_LOGGER = logging.getLogger(__name__)


class Sweep:
    """A function of a model on fixed batches, called after every change of its parameters.

    Args:
        function: maps the tensors of one batch to a structure of tensors. It may read
            variables but must not change anything.
        batches: sequences of tensors, at least one; they stay in memory.
        memory: bytes of cached frontiers. Batches beyond it are computed from the start.

    Attributes:
        uncacheable: why every call computes everything; "" if frontiers can be cached.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        batches: Iterable[Sequence[tf.Tensor]],
        *,
        memory: int = MEMORY,
    ) -> None:
        self._batches = [tuple(batch) for batch in batches]
        self._memory = memory
        traced = tf.function(
            function, input_signature=signature(self._batches), autograph=False
        )
        self._trace = Trace(traced.get_concrete_function())
        self.uncacheable = self._trace.uncacheable
        if self.uncacheable:
            _LOGGER.warning(
                "Nothing is cached between evaluations: the network has %s.",
                self.uncacheable,
            )
        self._function = traced
        self._base_results: list[Any] = []
        self._differ = _comparison(self._trace.variables)
        self._cuts: list[int] | None = None
        self.cache_at(self._trace.first_positions)

    def __call__(self, key: str | None = None) -> list[Any]:
        """Returns the function's result for every batch, with the present parameters.

        Args:
            key: for a function that returns a dictionary: return this value only, and skip
                the operations that only other values need.
        """
        if self.uncacheable:
            results = [self._function(*batch) for batch in self._batches]
            return results if key is None else [result[key] for result in results]
        if not self._base_results:
            self.rebase()
        changed = self._differ(*self._base).numpy().nonzero()[0]
        position = self._trace.first_position(changed)
        if position == self._trace.end:
            results = self._base_results
            return results[:] if key is None else [result[key] for result in results]
        # The last cut at or before the change: its frontier is that of the base.
        cut = bisect.bisect_right(self._cuts, position) - 1
        cached = self._advance_caches(cut) if cut >= 0 else 0
        return [
            self._compute(cut if number < cached else -1, number, key)
            for number in range(len(self._batches))
        ]

    def rebase(self) -> list[Any]:
        """Makes the present parameters the base; returns their results.

        Useful after a lasting change, such as the values of another network. Results of later
        calls are the same without it.
        """
        if self.uncacheable:
            return self()
        # These tensors share the variables' memory until the variables change (copy on write).
        self._base = [variable.value() for variable in self._trace.variables]
        self._clear_caches()
        self._base_results = [self._compute(-1, n) for n in range(len(self._batches))]
        return self._base_results[:]

    def position(self, variables: Iterable[keras.Variable]) -> int:
        """Returns the first position that a change of the variables affects."""
        ids = {id(variable.value) for variable in variables}
        return self._trace.first_position(
            n for n, variable in enumerate(self._trace.variables) if id(variable) in ids
        )

    def cache_at(self, positions: Collection[int]) -> None:
        """Restricts cached frontiers to the positions where changes are expected.

        Fewer segments have to be compiled then. A change elsewhere is computed from the last
        of these positions before it, and so is one that only cheap operations lie in front of.
        """
        # The frontier of the very first position is the batch itself.
        last, *candidates = sorted(set(self._trace.first_positions)) or [0]
        cuts: list[int] = []
        for position in candidates:
            if position in positions and self._trace.is_costly(last, position):
                cuts.append(position)
                last = position
        if cuts == self._cuts:
            return
        self._cuts = cuts
        self._segments: dict[tuple, Callable] = {}
        self._clear_caches()

    def _clear_caches(self) -> None:
        """Drops all frontiers: every batch is at cut -1, the function's arguments."""
        self._caches = [(-1, batch) for batch in self._batches]

    def _advance_caches(self, cut: int) -> int:
        """Caches the frontier of a cut for as many batches as fit; returns their number.

        Always computes cut by cut. A longer segment would be compiled, and rounded, in another
        way, so that results would depend on the calls made before.
        """
        free, count = self._memory, 0
        for number, batch in enumerate(self._batches):
            free -= self._trace.size(self._cuts[cut], len(batch[0]))
            if free < 0:
                self._caches[number] = (-1, batch)
                continue
            start, tensors = self._caches[number]
            if start > cut:  # a frontier cannot be computed from a later frontier
                start, tensors = -1, batch
            for step in range(start, cut):
                tensors = self._segment(step)(*tensors)
            self._caches[number] = (cut, tensors)
            count = number + 1
        return count

    def _compute(self, cut: int, number: int, key: str | None = None) -> Any:
        """Computes a batch's result from the frontier of a cut.

        Outputs that are computed before the cut are taken from the base's results.
        """
        outputs = self._trace.output_indices(key)
        if cut >= 0:
            is_behind = self._trace.outputs_behind(self._cuts[cut])
            fetches = [n for n in outputs if is_behind[n]]
            values = dict(enumerate(tf.nest.flatten(self._base_results[number])))
            tensors = self._caches[number][1]
        else:
            fetches, values, tensors = outputs, {}, self._batches[number]
        if fetches:
            segment = self._segment(cut, tuple(fetches))
            values.update(zip(fetches, segment(*tensors), strict=True))
        structure = self._trace.results if key is None else self._trace.results[key]
        return tf.nest.pack_sequence_as(structure, [values[n] for n in outputs])

    def _segment(self, cut: int, outputs: tuple[int, ...] = ()) -> Callable:
        """Compiles the way from a cut (-1: the arguments) to these outputs, or the next cut."""
        if (cut, outputs) not in self._segments:
            feeds = self._trace.arguments
            if cut >= 0:
                feeds = self._trace.frontier(self._cuts[cut])
            if outputs:
                fetches = [self._trace.outputs[n] for n in outputs]
            else:
                fetches = self._trace.frontier(self._cuts[cut + 1])
            self._segments[cut, outputs] = self._trace.segment(feeds, fetches)
        return self._segments[cut, outputs]


def signature(batches: Sequence[Sequence[tf.Tensor]]) -> list[tf.TensorSpec]:
    """Returns the specs of a batch, for one trace; the first side is free if sizes differ."""
    first = batches[0]
    same = all(
        [t.shape for t in batch] == [t.shape for t in first] for batch in batches
    )
    if same:
        return [tf.TensorSpec(t.shape, t.dtype) for t in first]
    return [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in first]


def _comparison(
    variables: Sequence[tf.Variable],
) -> Callable[..., tf.Tensor]:
    """Returns a function that computes which variables differ from given values.

    Comparing is cheap next to a forward pass, and cannot be forgotten as a notification
    could: parameters may be changed by any code.
    """

    def differ(*base):
        pairs = zip(variables, base, strict=True)
        flags = [
            tf.reduce_any(_bits(variable) != _bits(value)) for variable, value in pairs
        ]
        return tf.stack(flags) if flags else tf.zeros(0, tf.bool)

    # Unlike tf.function it does not check the types of its arguments in each call, which takes
    # longer than small variables do.
    specs = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    return tf.compat.v1.wrap_function(differ, specs)


def _bits(value: tf.Variable | tf.Tensor) -> tf.Tensor:
    """Returns a float's bits as an integer, so that NaN equals itself and -0 differs from 0."""
    if not value.dtype.is_floating:
        return tf.convert_to_tensor(value)
    return tf.bitcast(value, tf.as_dtype(f"int{8 * value.dtype.size}"))
