"""Output channels of layers: the file that names them, and the slices of arrays that move.

    read("channels.json")     # {"encoder_1_a_conv": (0, 3, 4, 5)}
    adapter((0, 3, 4, 5))     # "outputs:0+3-5", the adapter of an entry of a plan

An output channel of a convolution is a slice of its kernel with one number of its bias, and one of
each array of the batch normalization behind it. `tfreuse.transplant.channels` finds that one.
"""

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfreuse.errors import InputError, first_names, printable, reason
from tfreuse.plan.variables import Variable

Channels = Mapping[str, Sequence[int]]  # layer -> indices of its output channels
KERNEL_AXES = {  # axes of a kernel: input channels, output channels
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Dense"), (-2, -1)),
    **dict.fromkeys(
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), (-1, -2)
    ),
}
_KIND = "outputs:"
_LARGEST = 16_000_000  # bytes of a file: 1,000 layers of 2,048 channels each
_FORM = 'a channels file is JSON such as {"encoder_1_a_conv": [0, 3, 5]}'


def read(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Reads a channels file; see `parse`.

    Raises:
        InputError: it cannot be read, is too large, or is not of that form.
    """
    where = f"channels file {printable(path)}"
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(
            f"{where} cannot be read: {reason(error)}; {_FORM}."
        ) from error
    if len(data) > _LARGEST:
        raise InputError(f"{where} is larger than {_LARGEST // 1_000_000} MB; {_FORM}.")
    if not data.strip():
        raise InputError(f"{where} is empty; {_FORM}.")
    try:
        content = json.loads(data, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where} is no such JSON ({reason(error, 80)}); {_FORM}."
        ) from error
    return parse(content, where)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object; two values of one name would otherwise be one, silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("it names a layer twice")
    return content


def parse(content: Any, where: str = "channels") -> dict[str, tuple[int, ...]]:
    """Checks indices of output channels by the name or path of a layer, and sorts them.

    Raises:
        InputError: it is no such mapping, or has an index twice. Whether the recipient has
            these layers and channels is checked where it is known.
    """
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where} has no layers; {_FORM}.")
    channels = {}
    for layer, indices in content.items():
        plain = isinstance(indices, Iterable) and not isinstance(indices, str | Mapping)
        indices = tuple(indices) if plain else ()
        if not isinstance(layer, str) or not indices or not all(map(_is_int, indices)):
            raise InputError(
                f"{where}: {printable(layer)!r} needs a list of whole numbers, its output "
                f"channels; {_FORM}."
            )
        ordered = sorted(map(int, indices))
        twice = [a for a, b in itertools.pairwise(ordered) if a == b]
        if twice:
            raise InputError(
                f"{where}: {printable(layer)!r} has channel {twice[0]} twice; leave one out."
            )
        channels[layer] = tuple(ordered)
    return channels


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def summary(channels: Channels) -> str:
    """Returns the first layers with their channels in a few words: "a 0+3-5, b 1"."""
    return first_names(
        f"{layer} {_runs(indices)}" for layer, indices in channels.items()
    )


def adapter(indices: Sequence[int]) -> str:
    """Returns the name of the adapter that takes these channels alone: "outputs:0+3-5"."""
    return _KIND + _runs(indices)


def _runs(indices: Sequence[int]) -> str:
    """Returns sorted indices with runs in short: "0+3-5"."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    return "+".join("-".join(map(str, run)) for run in runs)


def is_adapter(name: str) -> bool:
    return name.startswith(_KIND)


def _indices(name: str) -> list[int]:
    """Returns the channels of an adapter."""
    runs = (run.partition("-") for run in name.removeprefix(_KIND).split("+"))
    return [
        index
        for first, _, last in runs
        for index in range(int(first), int(last or first) + 1)
    ]


def output_axis(variable: Variable) -> int | None:
    """Returns the axis of an array along which its layer's output channels lie.

    None where there is none: a separable convolution's kernels share their output channels,
    and a depthwise one with several outputs a channel spreads them over two axes.
    """
    if variable.role != "kernel":
        return 0 if variable.role and len(variable.shape) == 1 else None
    if variable.class_name.startswith("Depthwise"):  # [H, W, C, outputs a channel]
        return -2 if variable.shape[-1] == 1 else None
    return KERNEL_AXES.get(variable.class_name, (None, None))[1]


def merged(name: str, value: np.ndarray, old: np.ndarray, want: Variable) -> np.ndarray:
    """Returns `old` with the channels of an adapter from `value`, of the same shape."""
    new, index = np.array(old), _index(name, want)
    new[index] = value[index]
    return new


def part(names: Iterable[str], variable: Variable, value: np.ndarray) -> np.ndarray:
    """Returns the numbers of a recipient's array that move through these adapters."""
    for name in filter(is_adapter, names):
        return value[_index(name, variable)]
    return value


def _index(name: str, variable: Variable) -> tuple[Any, ...]:
    index: list[Any] = [slice(None)] * len(variable.shape)
    index[output_axis(variable)] = _indices(name)
    return tuple(index)


def moved(names: Iterable[str], variable: Variable) -> int:
    """Returns how many numbers of a recipient's variable move through these adapters."""
    for name in filter(is_adapter, names):
        share = len(_indices(name)), variable.shape[output_axis(variable)]
        return variable.size * share[0] // share[1]
    return variable.size
