"""Reads PyTorch's weight files (`.pt`, `.pth`, `.bin`) without PyTorch, and runs nothing in them.

Two formats hold the same pickle (PyTorch's torch/serialization.py): since 1.6 a zip file, with a
member "data.pkl" and one member for each storage; before, a bare sequence of pickles (magic
number, version, sizes of types, the checkpoint, keys of the storages), then the storages.
"""

import io
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfreuse.checkpoints.archive import Archive
from tfreuse.checkpoints.arrays import StoredArray, StridedArray
from tfreuse.checkpoints.pytorch import pickles, states, tensors
from tfreuse.checkpoints.pytorch.states import Weights
from tfreuse.checkpoints.pytorch.tensors import Storage, Tensor
from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source
from tfreuse.errors import InputError, printable

LEGACY_SIGNATURE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a pickled magic number
_PICKLE = "/data.pkl"
# Members of programs -> their kind, and how PyTorch gives their state dict.
_PROGRAMS = {
    "/code/__torch__": (
        "a TorchScript program",
        "torch.jit.load(path).state_dict()",
    ),
    "/archive_format": (
        "a program of torch.export",
        "torch.export.load(path).state_dict",
    ),
}
_SIZE = struct.Struct("<q")  # count of numbers before each storage of the old format

Location = tuple[Source, int, int]  # file, offset of the first byte, bytes


def is_pytorch(archive: Archive) -> bool:
    """Returns whether PyTorch wrote a zip file."""
    return any(name.endswith(_PICKLE) for name in archive.members)


def read_zip(source: Source, archive: Archive) -> Weights:
    """Reads a file of PyTorch 1.6 or later.

    Raises:
        InputError: it is a whole module, or it is damaged.
    """
    (name,) = (name for name in archive.members if name.endswith(_PICKLE))
    folder = name.removesuffix("data.pkl")
    order = archive.members.get(f"{folder}byteorder")
    little = order is None or order.read() != b"big"
    stream = io.BytesIO(archive.members[name].read())
    tree = _tree(source, stream)

    def locate(storage: Storage) -> Location:
        member = archive.members.get(f"{folder}data/{storage.key}")
        if member is None:
            raise _refused(source, f"storage {printable(storage.key)} is missing")
        return member.data, 0, member.data.size

    return _weights(source, tree, locate, little, archive.members.values())


def refuse_program(source: Source, names: Iterable[str]) -> None:
    """Raises InputError if members of these names show a zip file to be a program."""
    for name in names:
        for part, (kind, state) in _PROGRAMS.items():
            if part in name:
                raise _refused(
                    source,
                    f"it is {kind}. Where PyTorch is: torch.save({state}, 'weights.pth')",
                )


def read_legacy(source: Source) -> Weights:
    """Reads a file that PyTorch wrote before version 1.6.

    Raises:
        InputError: it is a whole module, or it is damaged.
    """
    window = source.read(0, min(source.size, MAX_HEADER))
    stream = io.BytesIO(window)
    for _ in range(2):  # magic number and version
        _tree(source, stream)
    system = _tree(source, stream)
    tree = _tree(source, stream)
    keys = _tree(source, stream)
    little = not isinstance(system, dict) or system.get("little_endian") is not False
    if not isinstance(keys, list) or len(keys) > MAX_OBJECTS:
        raise _refused(source, "its list of storages is damaged")
    types = {tensor.storage.key: tensor.dtype for tensor in _all_tensors(tree)}
    offset, locations = stream.tell(), {}
    for key in map(str, keys):
        (count,) = _SIZE.unpack(source.read(offset, _SIZE.size))
        dtype = types.get(key)
        if dtype is None:
            raise _refused(
                source,
                f"storage {printable(key)} is of no tensor, or of a type unknown",
            )
        size = count * dtype.itemsize
        source.check(offset + _SIZE.size, size)
        locations[key] = source, offset + _SIZE.size, size
        offset += _SIZE.size + size

    def locate(storage: Storage) -> Location:
        if storage.key not in locations:
            raise _refused(source, f"storage {printable(storage.key)} is missing")
        return locations[storage.key]

    return _weights(source, tree, locate, little, ())


def _tree(source: Source, stream: io.BytesIO) -> Any:
    """Reads the next pickle of the stream."""
    try:
        return pickles.read(stream, tensors.CONSTRUCTORS, tensors.storage)
    except pickles.UnknownNameError as error:
        raise _refused(source, tensors.explain(error.name)) from error
    except InputError as error:
        raise _refused(source, str(error)) from error


def _all_tensors(tree: Any):
    """Yields the tensors of a checkpoint, at any depth."""
    waiting, visited = [tree], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple) and id(value) not in visited:
            visited.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _weights(source: Source, tree, locate, little: bool, members) -> Weights:
    try:
        state, remark = states.choose(tree)
    except InputError as error:
        raise _refused(source, str(error)) from error
    if len(state) > MAX_OBJECTS:
        raise _refused(source, f"it has over {MAX_OBJECTS:,} tensors")
    uses = Counter(tensor.storage.key for tensor in state.values())
    arrays = {
        name: _stored(source, name, tensor, locate, little, uses)
        for name, tensor in state.items()
    }
    return Weights(arrays, remark, tuple(members))


def _stored(source, name, tensor: Tensor, locate, little: bool, uses) -> StoredArray:
    """Returns the array of a tensor, in PyTorch's order of axes."""
    dtype = tensor.dtype
    if dtype is None:
        why = "NumPy has no such type"
        return StoredArray(tensor.shape, np.dtype("V1"), source, None, why)
    file, start, size = locate(tensor.storage)
    if size < (tensor.storage.start + tensor.storage.size) * dtype.itemsize:
        raise _refused(
            source, f"the storage of {printable(name)} is shorter than it declares"
        )
    first = start + (tensor.storage.start + tensor.offset) * dtype.itemsize
    if tensor.contiguous and uses[tensor.storage.key] == 1:
        order = dtype.newbyteorder("<" if little else ">")
        return StoredArray(tensor.shape, order, file, first)
    return StridedArray(
        *(tensor.shape, dtype, file, None, "it shares its bytes, or has gaps"),
        first=first,
        strides=tensor.strides,
        swapped=little != (sys.byteorder == "little"),
    )


def _refused(source: Source, problem: str) -> InputError:
    return InputError(
        f"{printable(source.path)} cannot be read: {problem.rstrip('.')}."
    )
