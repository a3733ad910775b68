"""Adapters: changes to an array between donor and recipient, made only if a plan names them.

channels:slice   the recipient's first convolution reads fewer channels: take the donor's first
channels:pad     it reads more channels: the new ones start at zero
channels:mean    the mean over the donor's channels for each, scaled so that an image whose
                 channels are all equal gives the same output
cast             convert to the recipient's dtype
flatten:C        rows of a Dense kernel, or features of a normalization, after a Flatten of C
                 channels: PyTorch's order, channels first, to Keras's, channels last; the other
                 way for a recipient in PyTorch's layout
zero             zeros for the bias or beta that the donor's layer lacks: of a convolution that a
                 batch normalization follows, which PyTorch's networks leave out
one              ones for the gamma that the donor's layer lacks (scale=False)
epsilon:E        the variance that gives the donor's function under the recipient's epsilon, for a
                 PyTorch file of a network with epsilon E, which the file does not hold:
                 variance + the donor's epsilon - the recipient's
blend:A          (1 - A) * recipient + A * donor, 0 <= A <= 1
align            the donor's channels in the order in which its trained arrays agree best with
                 the recipient's, moved here or not (`tfreuse.transplant.alignment`). Needs the
                 donor's graph: a live model or a `.keras` file. All those arrays of both
                 models are in memory, in double precision: six times the donor's size

parse(["conv1_conv=channels:mean", "encoder_*=blend:0.5"])
"""

import math
from collections.abc import Iterable

import numpy as np

from tfreuse.errors import InputError, nearest, printable
from tfreuse.plan import channels
from tfreuse.plan.dtypes import numpy_type
from tfreuse.plan.variables import Variable

NAMES = (
    *("channels:slice", "channels:pad", "channels:mean", "align", "cast", "zero"),
    *("one", "flatten:C", "epsilon:E", "blend:A"),
)
Adapters = tuple[tuple[str, str], ...]  # (layer pattern, adapter)
# a blend comes late: it needs the recipient's shape and type; so does the choice of output
# channels (`tfreuse.plan.channels`), of the blended array
_ORDER = (
    *("align", "flatten", "channels", "cast", "zero", "one", "epsilon", "blend"),
    "outputs",
)
# Adapters that fill in an array that the donor's layer lacks, by its role.
FILLED = {"bias": "zero", "beta": "zero", "gamma": "one"}
_INPUT_AXIS = {"Conv1D": -2, "Conv2D": -2, "Conv3D": -2, "Dense": -2}


def parse(texts: Iterable[str | tuple[str, str]]) -> Adapters:
    """Parses each "LAYERS=ADAPTER" into (layer pattern, adapter).

    Raises:
        InputError: no such adapter, or not of this form.
    """
    adapters = []
    for text in texts:
        layers, name = text if isinstance(text, tuple) else text.partition("=")[::2]
        if not layers or not _is_adapter(name):
            raise InputError(
                f"an adapter is LAYERS=ADAPTER with one of {', '.join(NAMES)}; got "
                f"{printable(text)!r}; nearest: {nearest(name, NAMES)}."
            )
        adapters.append((layers, name))
    return tuple(adapters)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts the adapters of one variable into the order in which they are applied.

    Raises:
        InputError: two of a kind, such as two blends.
    """
    names = sorted(names, key=lambda name: _ORDER.index(name.partition(":")[0]))
    kinds = [name.partition(":")[0] for name in names]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InputError(f"a layer has two adapters of kind {kind}: {names}.")
    return tuple(names)


def needed(
    names: Iterable[str], donor: Variable, recipient: Variable
) -> tuple[str, ...]:
    """Returns the adapters that change something between two variables, in order."""
    idle = {*FILLED.values()}  # for arrays without a donor's
    if donor.shape == recipient.shape:
        idle.add("channels")
    if donor.dtype == recipient.dtype:
        idle.add("cast")
    if recipient.role == "bias":
        idle.add("flatten")
    if recipient.role != "moving_variance" or _epsilon(recipient) is None:
        idle.add("epsilon")
    if recipient.role is None and "int" in recipient.dtype:  # a count or a mask
        idle.add("blend")
    return ordered(name for name in names if name.partition(":")[0] not in idle)


def texts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Returns pairs of `parse` as they were typed: "encoder_*=blend:0.5"."""
    return [f"{pattern}={name}" for pattern, name in pairs]


def fits(donor: Variable, recipient: Variable, names: Iterable[str]) -> str:
    """Returns why the donor's array does not fit after the adapters; empty if it fits."""
    names = tuple(names)
    resized = [name for name in names if name.startswith("channels:")]
    if donor.shape != recipient.shape:
        axis = _INPUT_AXIS.get(recipient.class_name)
        differ = [
            i for i, (a, b) in enumerate(zip(donor.shape, recipient.shape)) if a != b
        ]
        if (
            not resized
            or donor.role != "kernel"
            or axis is None
            or len(donor.shape) != len(recipient.shape)
            or differ != [len(donor.shape) + axis]
        ):
            return f"shape {donor.shape} does not fit {recipient.shape}"
        have, want = donor.shape[axis], recipient.shape[axis]
        if resized[0] == "channels:slice" and have < want:
            return f"{have} channels are too few to take {want} from; use channels:pad"
        if resized[0] == "channels:pad" and have > want:
            return f"{have} channels are more than {want}; use channels:slice"
    flatten = [name for name in names if name.startswith("flatten:")]
    if flatten and donor.shape[0] % int(flatten[0].partition(":")[2]):
        return f"{donor.shape[0]} rows are no multiple of the channels of {flatten[0]}"
    if "V" in donor.dtype:  # bytes, as of PyTorch's complex numbers
        return "its numbers are of a type that is not read, such as complex ones"
    if donor.dtype != recipient.dtype and "cast" not in names:
        return (
            f"dtype {donor.dtype} does not fit {recipient.dtype}; use the adapter cast"
        )
    return ""


def adapt(
    names: Iterable[str],
    value: np.ndarray,
    old: np.ndarray | None,
    want: Variable,
    to_pytorch: bool = False,
) -> np.ndarray:
    """Applies adapters; returns the array to write.

    Args:
        names: adapters in the order of `ordered`.
        value: the donor's array.
        old: the recipient's array; only a blend and a choice of channels need it.
        want: the recipient's variable.
        to_pytorch: whether the recipient is a PyTorch file, and the donor is not.

    Raises:
        InputError: a cast gives values that are not finite, or `names` has align, which needs
            whole models and must have been done before.
    """
    for name in names:
        kind, _, argument = name.partition(":")
        if kind == "align":
            raise InputError(
                "the adapter align works on whole models, not on an array."
            )
        if kind == "channels":
            if value.shape != want.shape:
                axis = _INPUT_AXIS[want.class_name]
                value = _channels(argument, value, want.shape[axis], axis)
        elif kind == "flatten":
            sides = (-1, int(argument)) if to_pytorch else (int(argument), -1)
            image = value.reshape(*sides, *value.shape[1:])
            value = image.swapaxes(0, 1).reshape(value.shape)
        elif kind == "epsilon":
            increase = float(argument) - _epsilon(want)  # of a file: its counterpart's
            sound = (value >= 0).all()
            value = value + value.dtype.type(-increase if to_pytorch else increase)
            if sound and (value < 0).any():
                raise InputError(
                    f"{want} has a variance below zero after {name}. If the PyTorch network's "
                    f"epsilon is not {argument} (those made for TensorFlow have 0.001), leave the "
                    "adapter out or name that one; if it is, build the Keras network with "
                    f"epsilon={argument}. Nothing was written."
                )
        elif kind in ("zero", "one"):
            value = np.full(want.shape, kind == "one", numpy_type(want.dtype))
        elif kind == "cast":
            with np.errstate(over="ignore"):
                value = value.astype(numpy_type(want.dtype))
            if not np.isfinite(value.astype(np.float64)).all():
                raise InputError(
                    f"{want} is not finite after the cast to {want.dtype}."
                )
        elif channels.is_adapter(name):
            value = channels.merged(name, value, old, want)
        else:
            share = value.dtype.type(float(argument))
            value = (value.dtype.type(1) - share) * old + share * value
    return value


def _channels(how: str, value: np.ndarray, want: int, axis: int) -> np.ndarray:
    value = np.moveaxis(value, axis, 0)
    if how == "slice":
        value = value[:want]
    elif how == "pad":
        extra = np.zeros((want - len(value), *value.shape[1:]), value.dtype)
        value = np.concatenate([value, extra])
    else:  # equal channels x give sum(w) x before and want * mean * len / want x after
        mean = value.mean(axis=0, keepdims=True) * value.dtype.type(len(value) / want)
        value = np.repeat(mean, want, axis=0)
    return np.ascontiguousarray(np.moveaxis(value, 0, axis))


def _is_adapter(name: str) -> bool:
    kind, _, argument = name.partition(":")
    if kind == "flatten":
        return argument.isdecimal() and 0 < int(argument) < 2**31
    if kind not in ("blend", "epsilon"):
        return name in NAMES
    try:
        return 0 <= float(argument) <= 1 and math.isfinite(float(argument))
    except ValueError:
        return False


def _epsilon(variable: Variable) -> float | None:
    return dict(variable.settings).get("epsilon")
