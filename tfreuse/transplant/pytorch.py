"""Notes on what a PyTorch file does not hold, and shapes cannot show.

Every array may fit and the network still be another function: PyTorch's files have weights, and
neither strides, paddings and epsilon nor the images that the network expects.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from tfreuse.plan import COPY, REFUSED, Entry, Plan, Variable, structure, topology
from tfreuse.plan.variables import Layer

_EPSILON = 1e-5  # of torch.nn.BatchNorm2d, unless the network sets another
_INPUT = (
    "the file does not say which images it expects. Weights of torchvision and timm mostly "
    "take RGB in [0, 1], less (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225)"
)


def without_scrambled_rows(
    entries: Iterable[Entry], layers: Mapping[str, Layer], edges: topology.Edges | None
) -> tuple[Entry, ...]:
    """Refuses Dense kernels whose rows have another order in the two libraries.

    A flattened image has its channels first in PyTorch and last in Keras. Without the
    recipient's graph no layer is known to follow a Flatten, and none is refused.

    Args:
        entries: of a plan with a PyTorch donor.
        layers: the recipient's, by path.
        edges: paths that each of its layers reads from.
    """
    reads = topology.contract(edges or {}, layers)
    checked = []
    for entry in entries:
        channels = _flattened(entry, layers, reads) if entry.status == COPY else 0
        if channels and not any(name.startswith("flatten:") for name in entry.adapters):
            path = entry.recipient.layer_path
            reason = (
                f"its rows are a flattened image of {channels} channels, which PyTorch has "
                f"in another order; --adapters='{path}=flatten:{channels}' turns them"
            )
            entry = dataclasses.replace(entry, status=REFUSED, reason=reason)
        checked.append(entry)
    return tuple(checked)


def _flattened(entry: Entry, layers: Mapping[str, Layer], reads) -> int:
    """Returns the channels of the image that a Dense kernel reads; 0 if it reads none."""
    variable = entry.recipient
    sources = reads.get(variable.layer_path, ())
    if (variable.class_name, variable.role) != ("Dense", "kernel") or len(sources) != 1:
        return 0
    shape = structure.shape_of(layers[sources[0]]) if sources[0] in layers else None
    channels = shape[1][-1] if shape else 0
    rows = variable.shape[0]
    return channels if channels and rows > channels and rows % channels == 0 else 0


def notes(plan: Plan) -> list[str]:
    """Returns a line on each property that the recipient must have for the same function."""
    moved = {
        (entry.recipient.layer_path, entry.recipient.role): entry.recipient
        for entry in plan.entries
        if entry.status == COPY and "zero" not in entry.adapters
    }
    kernels = [v for (_, role), v in moved.items() if role == "kernel"]
    lines = [*_epsilon(moved), *_strides(kernels)]
    return [*lines, _INPUT] if kernels else lines


def _epsilon(moved) -> Iterator[str]:
    counts: dict[float, int] = {}
    for (_, role), variable in moved.items():
        value = dict(variable.settings).get("epsilon")
        if role == "moving_variance" and value is not None and value != _EPSILON:
            counts[value] = counts.get(value, 0) + 1
    for value, count in counts.items():
        yield (
            f"epsilon is {value} in {count} layers of the recipient and not in a PyTorch file; "
            f"PyTorch's default is {_EPSILON}, and outputs scale by "
            "sqrt((variance + theirs) / (variance + ours))"
        )


def _strides(kernels: list[Variable]) -> Iterator[str]:
    strided = [v for v in kernels if _stride(v) > 1]
    after = dict(zip((v.path for v in kernels), kernels[1:], strict=False))
    bottlenecks = [
        v.layer for v in strided if v.shape[0] == 1 and _window(after.get(v.path)) > 1
    ]
    if bottlenecks:
        yield (
            f"the recipient strides in convolutions of 1 x 1 ({', '.join(bottlenecks[:3])} ...): "
            "torchvision's and timm's ResNets stride in the 3 x 3 after it (version 1.5), and "
            "the function differs although every shape fits"
        )
    if any(_window(v) > 1 for v in strided):
        yield (
            "PyTorch pads both sides of a strided convolution alike; padding='same' pads more "
            "at the end. Outputs are equal only where the recipient pads as the donor does"
        )


def _stride(variable: Variable) -> int:
    strides = dict(variable.settings).get("strides", 1)
    return max(strides) if isinstance(strides, tuple) else strides


def _window(variable: Variable | None) -> int:
    return variable.shape[0] if variable is not None and len(variable.shape) > 2 else 0
