"""Computes a function of a model on the same batches again and again, only what changed anew.

    count = sweep.Sweep(function, batches)  # function(*batch) reads the model's parameters
    count()                                 # a result a batch; the parameters of now: the base
    transplant.apply(...)
    count()                                 # starts where the first change is felt
    transplant.undo(...)

The function is traced once, into operations in order. A call compares all parameters with those
of the base, bit for bit, and finds the first operation that reads one that differs. What passes
from the operations before it to those behind it, skips included, is the frontier: it is kept,
and what is behind it, compiled once for each place, is all that is computed. A sweep that changes
one layer after another, in the order of the network, so costs about half of a forward pass an
arm. Any TensorFlow function of any model can be swept, whatever the model is made of; the order
of the calls changes what they cost, never what they give.

The same operations run as in a plain evaluation, so results are the same bit for bit, unless
TensorFlow's optimizer merges across the frontier what it sees at once in the whole.
"""

import bisect
import functools
import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

MEMORY = 2**30  # bytes of frontiers that are kept
_LOGGER = logging.getLogger(__name__)

# Operations that TensorFlow marks as stateful, and that give the same when run again.
_REPEATABLE = {
    "Placeholder", "ReadVariableOp", "ResourceGather", "If", "While", "PartitionedCall",
    "StatefulPartitionedCall", "Assert",
}  # fmt: skip


class Sweep:
    """A function of a model on fixed batches, called after every change of its parameters.

    Args:
        function: takes the tensors of one batch, gives a structure of tensors. It may read
            variables, and must not change anything.
        batches: sequences of tensors, at least one; they are kept.
        memory: bytes of frontiers that are kept. Batches that do not fit are computed whole.

    Attributes:
        whole: why everything is computed anew each time; "" where it is not.
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
            function, input_signature=_signature(self._batches), autograph=False
        )
        self._trace = _Trace(traced.get_concrete_function())
        self.whole = self._trace.unrepeatable
        if self.whole:
            _LOGGER.warning(
                "Nothing is saved between evaluations: the network has %s.", self.whole
            )
        self._function = traced
        self._results: list[Any] = []
        self.stop_at(self._trace.first)

    def __call__(self, key: str | None = None) -> list[Any]:
        """The function's result for every batch, with the parameters as they are now.

        Args:
            key: of a function that gives a dictionary: the one value that is wanted. What the
                others alone need is not computed.
        """
        if self.whole:
            results = [self._function(*batch) for batch in self._batches]
            return results if key is None else [result[key] for result in results]
        if not self._results:
            self.rebase()
        place = self._trace.place(self._changed().numpy().nonzero()[0])
        if place == self._trace.end:
            results = self._results
            return [result if key is None else result[key] for result in results]
        stop = bisect.bisect_right(self._stops, place) - 1
        kept = self._keep(stop) if stop >= 0 else 0
        return [
            self._behind(stop if number < kept else -1, number, key)
            for number in range(len(self._batches))
        ]

    def rebase(self) -> list[Any]:
        """Takes the parameters as they are now for the base, and gives the results.

        Worth it after a change that lasts; results are the same without.
        """
        self._changed = _comparison(self._trace.variables)
        self._forget()
        self._results = [self._behind(-1, n) for n in range(len(self._batches))]
        return list(self._results)

    def place(self, variables: Iterable[keras.Variable]) -> int:
        """Where in the order of operations a change of the variables is first felt."""
        changed = {id(variable.value) for variable in variables}
        return self._trace.place(
            [n for n, own in enumerate(self._trace.variables) if id(own) in changed]
        )

    def stop_at(self, places: Collection[int]) -> None:
        """Keeps frontiers at these places only, where a change is expected: less to compile.

        A change elsewhere is computed from the last of them before it.
        """
        # in front of the very first there is nothing worth keeping
        own = sorted(set(self._trace.first))[1:]
        self._stops = [place for place in own if place in places]
        self._pieces: dict[tuple, Callable] = {}
        self._forget()

    def _forget(self) -> None:
        """Lets go of all frontiers: every batch is at its arguments."""
        self._held = [(-1, batch) for batch in self._batches]

    def _keep(self, stop: int) -> int:
        """Brings as many batches to the stop as there is memory for; how many that are.

        Always from stop to stop, on the same way, so that it does not matter for a result, not
        even for its last bit, which calls were made before.
        """
        free, kept = self._memory, 0
        for number, batch in enumerate(self._batches):
            free -= self._trace.size(self._stops[stop], len(batch[0]))
            if free < 0:
                self._held[number] = (-1, batch)
                continue
            at, tensors = self._held[number]
            if at > stop:
                at, tensors = -1, batch
            for start in range(at, stop):
                tensors = self._piece(start)(*tensors)
            self._held[number] = (stop, tensors)
            kept = number + 1
        return kept

    def _behind(self, stop: int, number: int, key: str | None = None) -> Any:
        """A batch's result from its frontier; what was made in front of it is the base's."""
        wanted = self._trace.numbers(key)
        if stop >= 0:
            anew = self._trace.anew(self._stops[stop])
            fetches = [n for n in wanted if anew[n]]
            found = dict(enumerate(tf.nest.flatten(self._results[number])))
            tensors = self._held[number][1]
        else:
            fetches, found, tensors = wanted, {}, self._batches[number]
        if fetches:
            piece = self._piece(stop, tuple(fetches))
            found.update(zip(fetches, piece(*tensors), strict=True))
        structure = self._trace.results if key is None else self._trace.results[key]
        return tf.nest.pack_sequence_as(structure, [found[n] for n in wanted])

    def _piece(self, stop: int, results: tuple[int, ...] = ()) -> Callable:
        """Computes from a stop (-1: the arguments) these results, or the next stop."""
        if (stop, results) not in self._pieces:
            feeds = self._trace.arguments
            if stop >= 0:
                feeds = self._trace.frontier(self._stops[stop])
            if results:
                fetches = [self._trace.outputs[n] for n in results]
            else:
                fetches = self._trace.frontier(self._stops[stop + 1])
            self._pieces[stop, results] = self._trace.piece(feeds, fetches)
        return self._pieces[stop, results]


class _Trace:
    """A function as operations in order, and the first of them that feels each variable.

    The place of an operation that reads a variable is its number in the order of tracing; one
    that reads none has the latest place of its inputs: it is done as soon as it can be.

    Attributes:
        variables: those that the function reads.
        first: for each variable, the place of the first operation on data that feels it.
        arguments, outputs: of the function, flat; results: its outputs as it gives them.
        end: a place behind all operations.
        unrepeatable: what makes it impossible to compute in part; "" if nothing does.
    """

    def __init__(self, function: tf.types.experimental.ConcreteFunction) -> None:
        graph = function.graph
        self._function, self._graph = function, graph  # it must live as long as this
        self._captured = {inner.name: outer for outer, inner in graph.captures}
        self.arguments = [t for t in graph.inputs if t.name not in self._captured]
        self.results = graph.structured_outputs
        self.outputs = tf.nest.flatten(self.results)
        operations = graph.get_operations()
        self.end = len(operations)
        self._place = dict.fromkeys((t.op.name for t in self.arguments), -1)
        needed = {op.name for op in _ancestors(self.outputs)}
        self._follow([(n, op) for n, op in enumerate(operations) if op.name in needed])
        self.unrepeatable = self._oddity()

    def _follow(self, operations: Sequence[tuple[int, tf.Operation]]) -> None:
        """Follows data and variables through the operations."""
        by_handle = {id(v.handle): v for v in self._graph.variables}
        feels: dict[str, set[int]] = {  # what is made of variables alone
            name: {id(by_handle[id(outer)])} if id(outer) in by_handle else set()
            for name, outer in self._captured.items()
        }
        self._data = list(self.arguments)
        self._used = dict.fromkeys((t.name for t in self._data), -1)  # its last use
        first: dict[int, int] = {}
        for number, op in operations:
            felt = set().union(*(feels.get(t.name, ()) for t in op.inputs))
            on_data = [t for t in op.inputs if t.name in self._used]
            if on_data:
                made = max(self._place[t.op.name] for t in on_data)
                place = self._place[op.name] = number if felt else made
                for tensor in on_data:
                    self._used[tensor.name] = max(self._used[tensor.name], place)
                self._used.update(dict.fromkeys((t.name for t in op.outputs), -1))
                self._data += op.outputs
                for variable in felt:
                    first.setdefault(variable, place)
            elif op.inputs:
                feels.update((t.name, felt) for t in op.outputs)
        by_id = {id(v): v for v in self._graph.variables}
        self.variables = [by_id[own] for own in first]
        self.first = list(first.values())
        self._made_of_variables = {name for name, felt in feels.items() if felt}

    def _oddity(self) -> str:
        handles = {id(v.handle) for v in self._graph.variables}
        for outer in self._captured.values():
            if outer.dtype == tf.resource and id(outer) not in handles:
                return "a resource that is no variable"
        for tensor in self.outputs:
            if tensor.name in self._made_of_variables:
                return "a result that no data enter"
        operations = self._graph.get_operations()
        types = {op.type for op in operations if op.op_def.is_stateful} - _REPEATABLE
        if types:
            return f"operations that may change something: {', '.join(sorted(types))}"
        return ""

    def place(self, numbers: Iterable[int]) -> int:
        """The first operation that feels one of the variables; `end` if none does."""
        return min((self.first[n] for n in numbers), default=self.end)

    def frontier(self, place: int) -> list[tf.Tensor]:
        """Data made before the place, arguments too, that are used there or behind it."""
        return [
            t
            for t in self._data
            if self._place[t.op.name] < place <= self._used[t.name]
        ]

    def anew(self, place: int) -> list[bool]:
        """Which of the outputs are made at the place or behind it."""
        return [self._place.get(t.op.name, -1) >= place for t in self.outputs]

    def numbers(self, key: str | None) -> list[int]:
        """Which of the outputs are the value of a key of the results; all without one."""
        numbers = list(range(len(self.outputs)))
        if key is None:
            return numbers
        return tf.nest.flatten(tf.nest.pack_sequence_as(self.results, numbers)[key])

    def size(self, place: int, batch_size: int) -> int:
        """Bytes of the frontier, where sides that are free are the batch's."""
        return sum(
            math.prod(side or batch_size for side in t.shape) * t.dtype.size
            for t in self.frontier(place)
        )

    def piece(
        self, feeds: Sequence[tf.Tensor], fetches: Sequence[tf.Tensor]
    ) -> Callable[..., list[tf.Tensor]]:
        """The operations between, compiled: takes values of `feeds`, gives those of `fetches`.

        They are copied from the traced graph: tracing the layers again, or TensorFlow's own
        pruning, which copies every variable, takes many times as long.
        """
        stop = {t.name for t in feeds}
        operations = _ancestors(fetches, stop, set(self._captured))
        entering = {t.name for op in operations for t in op.inputs}
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self._bare)
        definition.node.extend(_plain(op) for op in operations)
        made = [t.name for t in fetches if t.name not in stop]
        captured = {n: t for n, t in self._captured.items() if n in entering}

        def compute(*tensors):
            given = dict(zip((t.name for t in feeds), tensors, strict=True))
            inputs = {name: t for name, t in given.items() if name in entering}
            for name, outer in captured.items():
                inputs[name] = tf.compat.v1.get_default_graph().capture(outer)
            found = tf.graph_util.import_graph_def(definition, inputs, made)
            given.update(zip(made, found, strict=True))
            return [given[t.name] for t in fetches]

        specs = [tf.TensorSpec(t.shape, t.dtype) for t in feeds]
        # unlike tf.function it adds no order between operations, and takes half the time
        return tf.compat.v1.wrap_function(compute, specs)

    @functools.cached_property
    def _bare(self) -> tf.compat.v1.GraphDef:
        """The graph's definition without operations: versions and functions."""
        found = self._graph.as_graph_def()
        del found.node[:]
        return found


def _ancestors(
    tensors: Iterable[tf.Tensor],
    feeds: Collection[str] = (),
    captured: Collection[str] = (),
) -> list[tf.Operation]:
    """The operations that make the tensors, as far as the feeds, without the captured."""
    found: dict[str, tf.Operation] = {}
    ends = {*feeds, *captured}
    waiting = [t.op for t in tensors if t.name not in ends]
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found[op.name] = op
            waiting += [t.op for t in op.inputs if t.name not in ends]
    return list(found.values())


def _plain(op: tf.Operation) -> tf.compat.v1.NodeDef:
    """The operation without what must run before it: nothing is written in a piece."""
    node = op.node_def
    data = [name for name in node.input if not name.startswith("^")]
    del node.input[:]
    node.input.extend(data)
    node.attr.pop("_class", None)  # who shares whose device: may not be in the piece
    return node


def _signature(batches: Sequence[Sequence[tf.Tensor]]) -> list[tf.TensorSpec]:
    """Of every batch: the first side is free if they differ in it, as the last one may."""
    first = batches[0]
    same = all(
        [t.shape for t in batch] == [t.shape for t in first] for batch in batches
    )
    if same:
        return [tf.TensorSpec(t.shape, t.dtype) for t in first]
    return [tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in first]


def _comparison(variables: Sequence[tf.Variable]) -> Callable[[], tf.Tensor]:
    """Tells for each variable whether it differs from what it is now, bit for bit."""
    # these share the variables' memory until the variables change
    base = [variable.value() for variable in variables]

    def differ():
        pairs = zip(variables, base, strict=True)
        found = [tf.reduce_any(_bits(own) != _bits(value)) for own, value in pairs]
        return tf.stack(found) if found else tf.zeros(0, tf.bool)

    return tf.function(differ, autograph=False).get_concrete_function()


def _bits(value: tf.Variable | tf.Tensor) -> tf.Tensor:
    """The number itself, or a float's bits: not a number equals itself then."""
    if not value.dtype.is_floating:
        return tf.convert_to_tensor(value)
    return tf.bitcast(value, tf.as_dtype(f"int{8 * value.dtype.size}"))
