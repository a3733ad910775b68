"""Notes properties of a network that neither a PyTorch file nor shapes show.

Every array may fit and the recipient still compute another function than the donor: PyTorch's
files hold weights, and neither strides, paddings and epsilon nor the images that the network
expects. The other side, a Keras model, may have them.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfreuse.errors import InputError, first_names
from tfreuse.plan import COPY, Entry, Plan, Variable, branches, structure
from tfreuse.plan.calls import Call
from tfreuse.plan.topology import contract
from tfreuse.plan.variables import by_layer
from tfreuse.transplant.opening import OpenModel
from tfreuse.transplant.pytorch import filled

_EPSILON = 1e-5  # of torch.nn.BatchNorm2d, unless the network sets another
_EPSILON_TF = 1e-3  # of Keras's BatchNormalization
_NAMES = 3  # of layers that a note lists
_ORDER = (
    "a PyTorch file lists layers as they were registered. Where its network runs them, or joins "
    "branches, in another order, shapes do not show it: compare outputs, and pair by --map"
)
_INPUT = (
    "the file does not say which images it expects. Weights of torchvision and timm mostly "
    "take RGB in [0, 1], less (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225)"
)
_PREPARING = (
    "Rescaling",
    "Normalization",
    "ReverseChannels",
)  # of images, in a network


def notes(plan: Plan, keras: OpenModel, back: bool) -> list[str]:
    """Returns a line on each property that both networks must share for the same function.

    Args:
        plan: between a PyTorch file and a Keras model.
        keras: that model.
        back: whether the PyTorch file is the recipient.
    """
    moved = [e for e in plan.entries if e.status == COPY and not filled(e)]
    variables = {e: e.donor if back else e.recipient for e in moved}
    kernels = [v for v in variables.values() if v.role == "kernel"]
    side = "donor" if back else "recipient"
    lines = [*_epsilon(variables, side)]
    if not kernels:
        return lines
    try:
        calls, _ = keras.calls()
    except InputError:
        calls = []
    strided = {v.layer_path: v for v in kernels if _stride(v) > 1}
    lines += [*_bottlenecks(strided, keras, side), *_max_pools(calls, side)]
    lines += _paddings(strided, calls, side)
    return [*lines, _ORDER, *of_images(kernels, calls, back)]


def of_images(
    kernels: Sequence[Variable], calls: Sequence[Call], back: bool
) -> list[str]:
    """Returns lines on the images that both networks expect.

    Args:
        kernels: of the Keras model.
        calls: of its layers.
        back: whether the PyTorch file is the recipient.
    """
    return [*([] if back else [_INPUT]), *_preparing(kernels, calls, back)]


def _epsilon(variables: Mapping[Entry, Variable], side: str) -> Iterator[str]:
    counts: Counter[float] = Counter()
    for entry, variable in variables.items():
        value = dict(variable.settings).get("epsilon")
        batch = variable.class_name == "BatchNormalization"
        role_of_layer = "moving_variance" if batch else "gamma"  # one of a layer counts
        folded = any(name.startswith("epsilon:") for name in entry.adapters)
        if variable.role == role_of_layer and not folded:
            counts[value] += value not in (None, _EPSILON)
    for value, count in counts.items():
        if count:
            needed = "none" if value == _EPSILON_TF else f"epsilon:{_EPSILON_TF}"
            yield (
                f"epsilon is {value} in {count} layers of the {side} and not in a PyTorch "
                "file; outputs scale by sqrt((variance + theirs) / (variance + ours)). Only if the "
                f"PyTorch network has {_EPSILON:g}, its default, "
                f"--adapters='*=epsilon:{_EPSILON:g}' makes batch normalizations exact; networks "
                f"made for TensorFlow (timm's tf_...) have {_EPSILON_TF} and need {needed}"
            )


def _bottlenecks(
    strided: dict[str, Variable], keras: OpenModel, side: str
) -> Iterator[str]:
    """Yields a line on 1 x 1 convolutions with strides, followed by a larger one."""
    layers = by_layer(keras.variables)
    shapes = {
        path: shape
        for path, layer in layers.items()
        if (shape := structure.shape_of(layer)) and shape[0] == "kernel"
    }
    reads = contract(keras.edges or {}, layers)
    lines = branches.by_graph(list(shapes), shapes, reads, forks=False)
    names = []
    for path in strided.keys() & lines.keys():
        line, index = lines[path]
        windows = [max(shape[1][:-2]) for shape in line[index : index + 2]]
        if windows[0] == 1 < windows[-1]:
            names.append(strided[path].layer)
    if names:
        yield (
            f"the {side} strides in convolutions of 1 x 1 ({first_names(sorted(names), _NAMES)}): "
            "torchvision's and timm's ResNets stride in the 3 x 3 after it (version 1.5), and "
            "the function differs although every shape fits"
        )


def _max_pools(calls: Sequence[Call], side: str) -> Iterator[str]:
    """Yields lines on max pooling that PyTorch's ResNets of version 2 lack, or pad otherwise."""
    by_name = {call.name: call for call in calls}
    shortcuts, zeros = [], []
    for call in calls:
        for source in (by_name[name] for name in call.reads):
            pools = "MaxPooling2D" in (source.class_name, call.class_name)
            if pools and call.class_name == "Add" and _strided_pool(source):
                shortcuts.append(source.path)
            elif pools and source.class_name == "ZeroPadding2D":
                (padded,) = (by_name[name] for name in source.reads)
                if padded.class_name in ("Conv2D", "BatchNormalization"):
                    zeros.append(source.path)
    if shortcuts:
        yield (
            f"the {side} strides in the last block of a stage, with shortcuts of max pooling "
            f"({first_names(shortcuts, _NAMES)}): timm's ResNets of version 2 stride in the first "
            "block of the next, and the function differs although every shape fits"
        )
    if zeros:
        yield (
            f"the {side} pads with zeros before max pooling ({first_names(zeros, _NAMES)}), "
            "where values can be negative; PyTorch's MaxPool2d pads below all values, and "
            "outputs differ at borders"
        )


def _paddings(
    strided: dict[str, Variable], calls: Sequence[Call], side: str
) -> Iterator[str]:
    """Yields lines on paddings that PyTorch's layers do not have."""
    wide = {path for path, variable in strided.items() if _window(variable) > 1}
    if wide and not calls:
        yield (
            "PyTorch pads both sides of a strided convolution alike; padding='same' pads more "
            "at the end. Outputs are equal only where the recipient pads as the donor does"
        )
    uneven, averages = [], []
    for call in calls:
        same = str(call.padding).lower() == "same"
        if call.class_name.startswith("AveragePooling") and same:
            averages.append(call.path)
        elif _uneven(call.padding) or (
            same and (call.path in wide or _strided_pool(call))
        ):
            uneven.append(call.path)
    if uneven:
        yield (
            f"the {side} pads the end of images more than the start where it strides "
            f"({first_names(uneven, _NAMES)}), and PyTorch both alike, but for networks made "
            "for TensorFlow's padding (timm's tf_...): outputs differ, most at borders"
        )
    if averages:
        yield (
            f"means of average pooling leave the border out ({first_names(averages, _NAMES)}); "
            "PyTorch counts its zeros, unless the network says count_include_pad=False"
        )


def _preparing(
    kernels: Sequence[Variable], calls: Sequence[Call], back: bool
) -> Iterator[str]:
    """Yields a line on layers that change the Keras model's images before the first kernel."""
    first = {variable.layer_path for variable in kernels}
    before = itertools.takewhile(lambda call: call.path not in first, calls)
    names = [call.path for call in before if call.class_name in _PREPARING]
    if names and back:
        yield (
            f"the donor changes images itself ({first_names(names, _NAMES)}): give the PyTorch "
            "network what leaves these layers"
        )
    elif names:
        yield (
            f"the recipient changes images itself ({first_names(names, _NAMES)}): what leaves "
            "these layers must be what the donor expects; change them, or the images, to fit"
        )


def _uneven(padding: Any) -> bool:
    """Returns whether a padding such as ((0, 1), (0, 1)) differs at the two ends of an axis."""
    sides = padding if isinstance(padding, list | tuple) else ()
    return any(isinstance(side, list | tuple) and len(set(side)) > 1 for side in sides)


def _strided_pool(call: Call) -> bool:
    return "Pooling" in call.class_name and _largest(call.strides) > 1


def _stride(variable: Variable) -> int:
    return _largest(dict(variable.settings).get("strides"))


def _largest(strides: Any) -> int:
    return max(strides) if isinstance(strides, list | tuple) else strides or 1


def _window(variable: Variable) -> int:
    return max(variable.shape[:-2], default=0)
