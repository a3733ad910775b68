"""Sharded weights: a `.weights.json` that maps groups to HDF5 files (the shards)."""

import os

from tfreuse.checkpoints import configs, hdf5, weights_h5
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.hdf5 import Group
from tfreuse.checkpoints.source import MAX_HEADER, MAX_OBJECTS, Source, open_file
from tfreuse.errors import InputError, printable

_MAX_SHARDS = 1_000


def read(source: Source) -> Checkpoint:
    """Reads sharded weights; opens shards in the same folder only.

    Raises:
        InputError: a shard is missing, is a link or a path, or two hold the same array.
    """
    where = printable(source.path)
    if source.size > MAX_HEADER:
        raise InputError(f"{where} has over {MAX_HEADER:,} bytes of JSON.")
    content = configs.parse_object(source.read(0, source.size), where)
    names = _shards(content.get("weight_map"), where)
    shards: list[Source] = []
    try:
        root = Group("", {}, {}, {})
        count = 0
        for name in names:
            shards.append(open_file(source.path.parent / name, follow=False))
            shard = hdf5.read(shards[-1])
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
    except BaseException:
        for shard in shards:
            os.close(shard.descriptor)
        raise


def _shards(weight_map, where: str) -> list[str]:
    """Returns the names of the shards, sorted; each a file name without a folder."""
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(
            f"{where} has no weight_map; expected a .weights.json of Keras."
        )
    names = set()
    for value in weight_map.values():
        names.update(map(str, value if isinstance(value, list) else [value]))
        if len(names) > _MAX_SHARDS:
            raise InputError(f"{where} names over {_MAX_SHARDS:,} shards.")
    for name in names:
        bare = os.path.basename(name) == name
        if not bare or "\\" in name or "\0" in name or not name.endswith(".h5"):
            raise InputError(
                f"{where} names a shard {printable(name)}; expected an .h5 file in the same "
                "folder, since a path could read any other file."
            )
    return sorted(names)


def _merge(into: Group, shard: Group, where: str) -> None:
    """Adds the groups, arrays and attributes of a shard to the tree of all shards."""
    into.attributes.update(shard.attributes)
    for name, stored in shard.arrays.items():
        if into.arrays.setdefault(name, stored) is not stored:
            raise InputError(
                f"two shards of {where} hold {printable(into.path)}/{printable(name)}. "
                "They are not of one model; save it again."
            )
    for name, group in shard.groups.items():
        _merge(
            into.groups.setdefault(name, Group(group.path, {}, {}, {})), group, where
        )
