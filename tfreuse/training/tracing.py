"""A TensorFlow function as a sequence of operations, any part of which can be compiled.

    trace = Trace(tf.function(count).get_concrete_function(spec))
    trace.first_position([3])            # first operation that depends on the fourth variable
    run = trace.segment(trace.frontier(40), trace.outputs)   # operations from 40 to the end

`tfreuse.training.sweep` defines position, frontier and segment, and caches frontiers.
"""

import functools
import math
from collections.abc import Callable, Collection, Iterable, Sequence

import tensorflow as tf

# Operations that TensorFlow marks as stateful but that return the same when run again.
_REPEATABLE = {
    "Placeholder", "ReadVariableOp", "ResourceGather", "If", "While", "PartitionedCall",
    "StatefulPartitionedCall", "Assert",
}  # fmt: skip
# Operations that cost next to nothing beside a convolution: one pass over a feature map at most.
_CHEAP = {
    "Add", "AddV2", "BiasAdd", "Cast", "ExpandDims", "FusedBatchNormV3", "GatherV2", "Identity",
    "LeakyRelu", "MaxPool", "Maximum", "Minimum", "Mul", "Neg", "Pack", "RealDiv", "Relu", "Relu6",
    "Reshape", "Shape", "Squeeze", "StridedSlice", "Sub",
}  # fmt: skip


class Trace:
    """A function as a sequence of operations, with the first position each variable affects.

    An operation on data that reads a variable has its index in the order of tracing as its
    position. An operation on data that reads none has the latest position of its inputs, as if
    it ran as early as possible. So a frontier is behind, not before, cheap operations such as
    a ReLU, and a cut is needed at positions of variables only.

    Attributes:
        variables: variables that the function reads.
        first_positions: of each variable, the first operation on data that depends on it.
        arguments, outputs: tensors of the function, flat.
        results: the outputs in the function's structure.
        end: a position behind all operations.
        uncacheable: why segments cannot be computed separately; "" if they can.
    """

    def __init__(self, function: tf.types.experimental.ConcreteFunction) -> None:
        graph = function.graph
        self._function, self._graph = function, graph  # keeps the traced graph alive
        self._captured = {inner.name: outer for outer, inner in graph.captures}
        self.arguments = [t for t in graph.inputs if t.name not in self._captured]
        self.results = graph.structured_outputs
        self.outputs = tf.nest.flatten(self.results)
        operations = graph.get_operations()
        self.end = len(operations)
        self._position = dict.fromkeys((t.op.name for t in self.arguments), -1)
        needed = {op.name for op in _ancestors(self.outputs)}
        self._follow([(n, op) for n, op in enumerate(operations) if op.name in needed])
        self.uncacheable = self._find_obstacle()

    def _follow(self, operations: Sequence[tuple[int, tf.Operation]]) -> None:
        """Propagates data and dependence on variables through the operations.

        Operations on variables alone, such as casting a kernel, have no position: they belong
        to the first operation on data that reads them.
        """
        by_handle = {id(v.handle): v for v in self._graph.variables}
        # Ids of the variables that a tensor made of variables alone depends on.
        dependencies: dict[str, set[int]] = {
            name: {id(by_handle[id(outer)])} if id(outer) in by_handle else set()
            for name, outer in self._captured.items()
        }
        self._data = list(self.arguments)
        self._last_use = dict.fromkeys((t.name for t in self._data), -1)
        first: dict[int, int] = {}
        self._costly: set[int] = set()
        for number, op in operations:
            read = set().union(*(dependencies.get(t.name, ()) for t in op.inputs))
            data_inputs = [t for t in op.inputs if t.name in self._last_use]
            if data_inputs:
                latest_input = max(self._position[t.op.name] for t in data_inputs)
                position = self._position[op.name] = number if read else latest_input
                if op.type not in _CHEAP:
                    self._costly.add(position)
                for tensor in data_inputs:
                    last = max(self._last_use[tensor.name], position)
                    self._last_use[tensor.name] = last
                self._last_use.update(dict.fromkeys((t.name for t in op.outputs), -1))
                self._data += op.outputs
                for variable in read:
                    first.setdefault(variable, position)
            elif op.inputs:
                dependencies.update((t.name, read) for t in op.outputs)
        by_id = {id(v): v for v in self._graph.variables}
        self.variables = [by_id[variable] for variable in first]
        self.first_positions = list(first.values())
        self._made_of_variables = {name for name, ids in dependencies.items() if ids}

    def _find_obstacle(self) -> str:
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

    def first_position(self, variables: Iterable[int]) -> int:
        """Returns the first position that variables, by index, affect; `end` if none."""
        return min((self.first_positions[n] for n in variables), default=self.end)

    def is_costly(self, start: int, end: int) -> bool:
        """Returns whether operations from one position to before another are more than cheap."""
        return any(start <= position < end for position in self._costly)

    def frontier(self, position: int) -> list[tf.Tensor]:
        """Returns tensors, arguments included, computed before the position and used later."""
        return [
            t
            for t in self._data
            if self._position[t.op.name] < position <= self._last_use[t.name]
        ]

    def outputs_behind(self, position: int) -> list[bool]:
        """Returns for each output whether it is computed at the position or behind it."""
        return [self._position.get(t.op.name, -1) >= position for t in self.outputs]

    def output_indices(self, key: str | None) -> list[int]:
        """Returns the indices of the outputs under a key of the results; all without a key."""
        indices = list(range(len(self.outputs)))
        if key is None:
            return indices
        return tf.nest.flatten(tf.nest.pack_sequence_as(self.results, indices)[key])

    def size(self, position: int, batch_size: int) -> int:
        """Returns the size of the frontier in bytes; dynamic sides take the batch's size."""
        return sum(
            math.prod(side or batch_size for side in t.shape) * t.dtype.size
            for t in self.frontier(position)
        )

    def segment(
        self, feeds: Sequence[tf.Tensor], fetches: Sequence[tf.Tensor]
    ) -> Callable[..., list[tf.Tensor]]:
        """Compiles the operations between: a function of `feeds` that returns `fetches`.

        Operations are copied from the traced graph. Tracing the layers again, or TensorFlow's
        own pruning, which copies every variable, takes many times as long.
        """
        feed_names = {t.name for t in feeds}
        operations = _ancestors(fetches, feed_names, set(self._captured))
        inputs_needed = {t.name for op in operations for t in op.inputs}
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self._definition_without_operations)
        definition.node.extend(_without_control(op) for op in operations)
        computed = [t.name for t in fetches if t.name not in feed_names]
        captured = {n: t for n, t in self._captured.items() if n in inputs_needed}

        def compute(*tensors):
            values = dict(zip((t.name for t in feeds), tensors, strict=True))
            inputs = {name: t for name, t in values.items() if name in inputs_needed}
            for name, outer in captured.items():
                inputs[name] = tf.compat.v1.get_default_graph().capture(outer)
            outputs = tf.graph_util.import_graph_def(definition, inputs, computed)
            values.update(zip(computed, outputs, strict=True))
            return [values[t.name] for t in fetches]

        specs = [tf.TensorSpec(t.shape, t.dtype) for t in feeds]
        # Unlike tf.function it adds no control dependencies, and takes half the time.
        return tf.compat.v1.wrap_function(compute, specs)

    @functools.cached_property
    def _definition_without_operations(self) -> tf.compat.v1.GraphDef:
        """The graph's versions and library of functions."""
        definition = self._graph.as_graph_def()
        del definition.node[:]
        return definition


def _ancestors(
    tensors: Iterable[tf.Tensor],
    feeds: Collection[str] = (),
    captured: Collection[str] = (),
) -> list[tf.Operation]:
    """Returns the operations that compute the tensors, back to feeds and captured inputs."""
    operations: dict[str, tf.Operation] = {}
    ends = {*feeds, *captured}
    queue = [t.op for t in tensors if t.name not in ends]
    while queue:
        op = queue.pop()
        if op.name not in operations:
            operations[op.name] = op
            queue += [t.op for t in op.inputs if t.name not in ends]
    return list(operations.values())


def _without_control(op: tf.Operation) -> tf.compat.v1.NodeDef:
    """Copies an operation without control inputs: a segment writes nothing, so order is free."""
    node = op.node_def
    data = [name for name in node.input if not name.startswith("^")]
    del node.input[:]
    node.input.extend(data)
    # Names operations to share a device with; they may not be part of the segment.
    node.attr.pop("_class", None)
    return node
