"""Sharded weights: a JSON file, the index, that names the files which hold the arrays (shards).

Keras's `.weights.json` maps groups to HDF5 files. PyTorch's `.index.json` maps every array to a
safetensors or `.bin` file, as Hugging Face's libraries write them.
"""

import os
import pathlib
from collections.abc import Mapping

from tfreuse.checkpoints import (
    archive,
    beside,
    configs,
    hdf5,
    pytorch,
    safetensors,
    weights_h5,
)
from tfreuse.checkpoints.arrays import StoredArray
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.pytorch.states import Weights, checkpoint
from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source, open_file
from tfreuse.errors import InputError, first_names, printable

_KERAS, _PYTORCH = (".h5",), (".safetensors", ".bin", ".pt", ".pth")
_MAX_SHARDS = 1_000


def read(source: Source) -> Checkpoint:
    """Reads sharded weights; opens shards in the same folder only.

    Raises:
        InputError: a shard is missing, is a link or a path, two hold the same array, or a shard
            does not hold the arrays that the index lists.
    """
    where = printable(source.path)
    weight_map = _weight_map(source)
    names = _shards(weight_map, where)
    shards: list[Source] = []
    try:
        for name in names:
            shards.append(beside.open_file(source.path, name))
        if names[0].endswith(_KERAS):
            return _read_keras(source, shards)
        return _read_pytorch(source, shards, weight_map)
    except BaseException:
        for shard in shards:
            os.close(shard.descriptor)
        raise


def shard_names(path: pathlib.Path) -> list[str]:
    """Returns the names of the shards of an index; see `read`."""
    source = open_file(path)
    try:
        return _shards(_weight_map(source), printable(path))
    finally:
        os.close(source.descriptor)


def _weight_map(source: Source) -> Mapping:
    where = printable(source.path)
    if source.size > MAX_HEADER:
        raise InputError(f"{where} has over {MAX_HEADER:,} bytes of JSON.")
    content = configs.parse_object(source.read(0, source.size), where)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(
            f"{where} has no weight_map; expected a .weights.json of Keras, or an index.json of "
            "PyTorch's weights."
        )
    if len(weight_map) > MAX_OBJECTS:
        raise InputError(f"{where} has over {MAX_OBJECTS:,} objects.")
    return weight_map


def _shards(weight_map: Mapping, where: str) -> list[str]:
    """Returns the names of the shards, sorted; each a file name without a folder."""
    names = set()
    for value in weight_map.values():
        names.update(map(str, value if isinstance(value, list) else [value]))
        if len(names) > _MAX_SHARDS:
            raise InputError(f"{where} names over {_MAX_SHARDS:,} shards.")
    suffixes = _KERAS if any(name.endswith(_KERAS) for name in names) else _PYTORCH
    for name in names:
        if not beside.is_name(name) or not name.endswith(suffixes):
            raise InputError(
                f"{where} names a shard {printable(name)}; expected a file "
                f"{' or '.join(suffixes)} in the same folder, since a path could read any "
                "other file."
            )
    return sorted(names)


def _read_keras(source: Source, shards: list[Source]) -> Checkpoint:
    where = printable(source.path)
    root = Group("", {}, {}, {})
    count = 0
    for shard in map(hdf5.read, shards):
        count += sum(1 + len(group.arrays) for group in shard.walk())
        if count > MAX_OBJECTS:
            raise InputError(f"{where} has over {MAX_OBJECTS:,} objects.")
        _merge(root, shard, where)
    weights = weights_h5.parse(root, None, where)
    return Checkpoint(
        "sharded",
        source,
        weights.variables,
        unaddressed=weights.unaddressed,
        notes=weights.notes,
        ordered=weights.ordered,
        shards=shards,
    )


def _merge(into: Group, shard: Group, where: str) -> None:
    """Adds the groups, arrays and attributes of a shard to the tree of all shards."""
    into.attributes.update(shard.attributes)
    for name, stored in shard.arrays.items():
        if into.arrays.setdefault(name, stored) is not stored:
            raise _other_model(where, f"{printable(into.path)}/{printable(name)}")
    for name, group in shard.groups.items():
        _merge(
            into.groups.setdefault(name, Group(group.path, {}, {}, {})), group, where
        )


def _read_pytorch(
    source: Source, shards: list[Source], weight_map: Mapping
) -> Checkpoint:
    where = printable(source.path)
    arrays: dict[str, StoredArray] = {}
    members, ordered = [], True
    for shard in shards:
        weights = _weights(shard)
        members += weights.members
        ordered = ordered and weights.ordered
        for name, stored in weights.arrays.items():
            if arrays.setdefault(name, stored) is not stored:
                raise _other_model(where, printable(name))
        expected = {name for name, s in weight_map.items() if s == shard.path.name}
        if expected != weights.arrays.keys():
            differing = sorted(expected ^ weights.arrays.keys())
            raise InputError(
                f"{where} and its shard {printable(shard.path.name)} are not of one model: "
                f"only one of them has {first_names(differing)}. Copy all files again."
            )
    weights = Weights(arrays, "", tuple(members), ordered)
    return checkpoint("sharded", source, weights, shards)


def _weights(shard: Source) -> Weights:
    """Reads the arrays of a shard by its signature."""
    start = shard.read(0, min(9, shard.size))
    if safetensors.is_safetensors(start, shard.size):
        return safetensors.read_weights(shard)
    if pytorch.LEGACY_SIGNATURE.startswith(start) and len(start) == 9:
        return pytorch.read_legacy(shard)
    if start.startswith(archive.LOCAL_SIGNATURE):
        directory = archive.read(shard)
        if pytorch.is_pytorch(directory):
            return pytorch.read_zip(shard, directory)
    raise InputError(
        f"the shard {printable(shard.path)} holds no weights of PyTorch; it is damaged or "
        "something else. Copy it again."
    )


def _other_model(where: str, name: str) -> InputError:
    return InputError(
        f"two shards of {where} hold {name}. They are not of one model; save it again."
    )
