"""Weight files as PyTorch writes them, made by hand from NumPy arrays: tests have no PyTorch.

`tests/test_pytorch_files.py` compares them with PyTorch's own where it is installed.
"""

import collections
import contextlib
import io
import json
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from tfreuse import checkpoints
from tfreuse.errors import InputError

STORAGES = {"f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "u1": "Byte"}


class View:
    """A tensor: a view of a storage, a flat array that several may share."""

    def __init__(self, storage, shape, strides, offset=0, kind=None):
        self.storage, self.offset = storage, offset
        self.shape, self.strides = tuple(shape), tuple(strides)
        self.kind = kind or STORAGES[storage.dtype.str[1:]]


def tensor(array, kind=None):
    """A contiguous tensor; `kind` names the storage's type, as for BFloat16."""
    strides = [int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
    return View(np.ascontiguousarray(array).reshape(-1), array.shape, strides, 0, kind)


@contextlib.contextmanager
def _modules():
    """Stands modules of PyTorch's names in for PyTorch, so that a pickle can name them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*_):
        raise AssertionError("a pickle was executed")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    for kind in (*STORAGES.values(), "BFloat16"):
        name = f"{kind}Storage"
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    former = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield torch, rebuild
    finally:
        for name, module in former.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def _pickled(tree, *, legacy):
    """(pickle of a checkpoint, its storages by key)."""
    stream, storages = io.BytesIO(), {}
    with _modules() as (torch, rebuild):

        class Reference:
            def __init__(self, view):
                self.view = view

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if not isinstance(value, Reference):
                    return None
                view = value.view
                keys = {id(array): key for key, array in storages.items()}
                key = keys.get(id(view.storage), str(len(storages)))
                storages[key] = view.storage
                kind = getattr(torch, f"{view.kind}Storage")
                tail = (None,) if legacy else ()
                return ("storage", kind, key, "cpu", len(view.storage), *tail)

            def reducer_override(self, value):
                if not isinstance(value, View):
                    return NotImplemented
                hooks = collections.OrderedDict()
                reference = Reference(value)
                arguments = (value.offset, value.shape, value.strides, False, hooks)
                return rebuild, (reference, *arguments)

        Pickler(stream, protocol=2).dump(tree)
    return stream.getvalue(), storages


def save(path, tree, *, byteorder="little"):
    """Writes a checkpoint as PyTorch 1.6 and later do; members are streamed as theirs are."""
    data, storages = _pickled(tree, legacy=False)
    swap = byteorder != sys.byteorder

    class Unseekable(
        io.FileIO
    ):  # zipfile then writes data descriptors, as PyTorch does
        def seekable(self):
            return False

        def seek(self, *_):
            raise OSError

        tell = seek

    with Unseekable(path, "w") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", byteorder)
        for key, array in storages.items():
            content = array.byteswap().tobytes() if swap else array.tobytes()
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")


def save_safetensors(path, arrays, metadata=None):
    """Writes arrays by name as the package safetensors does, "BF16" those of ml_dtypes."""
    kinds = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}
    header = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, array in arrays.items():
        span = [len(data), len(data) + array.nbytes]
        kind = kinds[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": span}
        data += np.ascontiguousarray(array).tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def load_safetensors(path):
    """(arrays by name, metadata) of a safetensors file of F32, F16 and I64."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__", None)
    kinds, arrays = {"F32": "f4", "F16": "f2", "I64": "i8"}, {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        data = content[8 + size + start : 8 + size + end]
        array = np.frombuffer(data, kinds[entry["dtype"]])
        arrays[name] = array.reshape(entry["shape"])
    return arrays, metadata


def save_legacy(path, tree):
    """Writes a checkpoint as PyTorch before 1.6 did: pickles, then the storages."""
    data, storages = _pickled(tree, legacy=True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    with open(path, "wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(value, file, protocol=2)
        file.write(data)
        pickle.dump(list(storages), file, protocol=2)
        file.writelines(
            struct.pack("<q", len(array)) + array.tobytes()
            for array in storages.values()
        )


def shard(path, arrays, writer=save_safetensors, first=None):
    """Writes arrays in two files and their index, as Hugging Face's libraries name them.

    Args:
        path: of the file that would hold all, NAME.SUFFIX.
        first: names of the arrays in the first file; by default the first half.
    """
    first = first or list(arrays)[: len(arrays) // 2]
    names = [f"{path.stem}-0000{number}-of-00002{path.suffix}" for number in (1, 2)]
    weight_map = {name: names[name not in first] for name in arrays}
    for shard_name in names:
        held = {n: arrays[n] for n, place in weight_map.items() if place == shard_name}
        writer(path.with_name(shard_name), held)
    index = path.with_name(f"{path.name}.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def refusal(path):
    """The line with which opening the file is refused."""
    with pytest.raises(InputError) as caught:
        checkpoints.open(path)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message
