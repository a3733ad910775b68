"""Makes the tensors of a pickle: views of storages, whose bytes lie elsewhere in the file.

    CONSTRUCTORS["torch._utils _rebuild_tensor_v2"](storage, 0, (64, 3, 7, 7), (147, 49, 7, 1))

`CONSTRUCTORS` is the whole table of names that a pickle may contain. Each makes a plain value.
"""

import dataclasses
import math
import re
from typing import Any

import numpy as np

from tfreuse.errors import InputError, printable
from tfreuse.plan.dtypes import numpy_type

_TYPES = {  # of storages, and their types for NumPy
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": "bfloat16",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}
_DTYPES = {  # names of `torch.dtype`, for storages without a type
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers in the file.

    Attributes:
        key: name of the run.
        dtype: type of a number, without byte order; None for a type that NumPy lacks.
        size: count of numbers.
        start: index of the first number within the run named `key`; old files have storages
            that are parts of others.
    """

    key: str
    dtype: np.dtype | None
    size: int
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage: number [i, j, ...] is number offset + i * strides[0] + ... of it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype | None:
        return self.storage.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Returns whether the numbers lie in the order of their indices, without gaps."""
        expected = 1
        for side, stride in zip(reversed(self.shape), reversed(self.strides)):
            if side != 1 and stride != expected:
                return False
            expected *= side
        return True


class Opaque:
    """A value that is no weight, such as a NumPy scalar or the arguments of a training script."""

    def __init__(self, *_):
        pass


def storage(identifier: Any) -> Storage:
    """Makes the storage of a persistent identifier.

    Raises:
        InputError: the identifier is none of a storage.
    """
    if not isinstance(identifier, tuple) or identifier[:1] != ("storage",):
        raise InputError("its pickle has a reference that names no storage")
    _, kind, key, _, size, *view = identifier
    start = 0
    if view and view[0] is not None:  # before PyTorch 0.4: a part of another storage
        key, start, size = view[0]
    if not (type(size) is type(start) is int and isinstance(kind, str)):
        raise InputError("its pickle has a reference that names no storage")
    if size < 0 or start < 0:
        raise InputError(f"it declares a storage of {size} numbers")
    name = kind.rpartition(" ")[2].removesuffix("Storage")
    return Storage(str(key), _type(name), size, start)


def _type(name: str) -> np.dtype | None:
    return numpy_type(_TYPES[name]) if name in _TYPES else None


def _tensor(storage, offset=0, shape=(), strides=(), *_) -> Tensor:
    numbers = (offset, *shape, *strides)
    if (
        not isinstance(storage, Storage)
        or len(shape) != len(strides)
        or len(shape) > 32
        or not all(type(number) is int and number >= 0 for number in numbers)
    ):
        raise InputError("its pickle has a damaged tensor")
    tensor = Tensor(storage, offset, tuple(shape), tuple(strides))
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides))
    # a stride of 0 repeats numbers: without this bound a few bytes could declare any size
    if tensor.size and (last >= storage.size or tensor.size > storage.size):
        raise InputError(
            f"it has a tensor of shape {tensor.shape} in a storage of {storage.size} numbers"
        )
    return tensor


def _typed_tensor(storage, offset, shape, strides, _grad, _hooks, dtype, *_) -> Tensor:
    """Makes a tensor whose type is given beside its storage of bytes."""
    tensor_dtype = _type(_DTYPES.get(str(dtype).rpartition(" ")[2], ""))
    if not isinstance(storage, Storage):
        raise InputError("its pickle has a damaged tensor")
    size = storage.size // (tensor_dtype.itemsize if tensor_dtype else 1)
    typed = dataclasses.replace(storage, dtype=tensor_dtype, size=size)
    return _tensor(typed, offset, shape, strides)


def _parameter(data=None, *_):
    return data


def _dictionary(*arguments) -> dict:
    """Makes a dictionary from nothing or from pairs, as `collections.OrderedDict` does."""
    pairs = arguments[0] if arguments else ()
    return {str(key): value for key, value in pairs}


CONSTRUCTORS = {
    "collections OrderedDict": _dictionary,
    "collections defaultdict": lambda *_: {},
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _typed_tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch._tensor _rebuild_from_type_v2": lambda function, _type, arguments, *_: (
        CONSTRUCTORS[function](*arguments)
    ),
    **{f"torch {name}Storage": Opaque for name in (*_TYPES, "ComplexFloat")},
    "torch.storage UntypedStorage": Opaque,
    **{f"torch {name}": Opaque for name in (*_DTYPES, "complex64", "device", "Size")},
    "torch.nn.parameter Parameter": _parameter,
    "torch Tensor": Opaque,
    "torch.serialization _get_layout": Opaque,
    # values beside the weights in checkpoints of training: kept out, never made
    **{
        f"{module} {name}": Opaque
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("scalar", "_reconstruct")
    },
    **{f"numpy {name}": Opaque for name in ("dtype", "ndarray")},
    **{f"numpy.dtypes {name}DType": Opaque for name in ("Float64", "Float32", "Int64")},
    "_codecs encode": Opaque,
    "argparse Namespace": Opaque,
    "__builtin__ set": lambda items=(): list(items),
    "builtins set": lambda items=(): list(items),
    "copyreg _reconstructor": Opaque,
}


# Tensors that are no plain arrays, by a pattern on the function that makes them.
_TENSORS = {
    r"_rebuild_qtensor|^torch qu?int|QU?Int\d+": (
        "it holds quantized weights, whole numbers that mean nothing without their scale. Where "
        "PyTorch is: save state_dict() of the float network, before it is converted"
    ),
    "_rebuild_sparse": (
        "it holds sparse tensors. Where PyTorch is: "
        "torch.save({k: v.to_dense() for k, v in state.items()}, 'weights.pth')"
    ),
    "_rebuild_meta": (
        "it holds tensors without values, of the device 'meta'. Where PyTorch is: load the "
        "weights into the network, then torch.save(model.state_dict(), 'weights.pth')"
    ),
}


def explain(name: str) -> str:
    """Explains why a pickle that names this class or function is not read, in one sentence."""
    module = name.partition(" ")[0]
    for pattern, why in _TENSORS.items():
        if re.search(pattern, name):
            return why
    if module.startswith(("torch.nn.", "torchvision.models", "timm.", "__main__")) or (
        "models" in module.split(".")
    ):
        return (
            f"it holds a whole module ({printable(name.replace(' ', '.'))}), whose reading "
            "would run code. Where it was made: torch.save(model.state_dict(), 'weights.pth')"
        )
    return (
        f"it names {printable(name.replace(' ', '.'))}, which weights do not need and which "
        "is not run here. Where it was made: torch.save(model.state_dict(), 'weights.pth')"
    )
