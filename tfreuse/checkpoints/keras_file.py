"""`.keras` files: a zip of config.json, metadata.json and the weights as HDF5.

`model.save(folder, zipped=False)` writes the same three files into a folder.
"""

import os
import pathlib

from tfreuse.checkpoints import configs, hdf5, weights_h5
from tfreuse.checkpoints.archive import Archive
from tfreuse.checkpoints.checkpoint import Checkpoint
from tfreuse.checkpoints.source import MAX_HEADER, Source, open_file
from tfreuse.errors import InputError, printable

WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"


def read(source: Source, directory: Archive) -> Checkpoint:
    """Reads a `.keras` file; classes and roles come from its configuration.

    Raises:
        InputError: damaged, incomplete, or with weights that do not fit its configuration.
    """
    members = directory.members
    _check_complete(source.path, members)
    texts = members[CONFIG].read(), members[METADATA].read()
    data = members[WEIGHTS].data
    return _checkpoint("keras", source, data, *texts, members=members.values())


def is_folder(path: str | os.PathLike) -> bool:
    """Returns whether a path is a folder that `model.save(path, zipped=False)` wrote."""
    return pathlib.Path(path, CONFIG).is_file() and pathlib.Path(path, WEIGHTS).exists()


def read_folder(path: str | os.PathLike) -> Checkpoint:
    """Reads the folder that `model.save(path, zipped=False)` wrote; see `read`."""
    folder = pathlib.Path(path)
    _check_complete(folder, {entry.name for entry in folder.iterdir()})
    texts = [_text(folder / name) for name in (CONFIG, METADATA)]
    weights = open_file(folder / WEIGHTS)
    try:
        source = Source(folder, weights.descriptor, 0, weights.size)
        return _checkpoint("keras_folder", source, source, *texts)
    except BaseException:
        os.close(weights.descriptor)
        raise


def _check_complete(path: pathlib.Path, names) -> None:
    for name in (WEIGHTS, CONFIG, METADATA):
        if name not in names:
            raise incomplete(printable(path), name)


def incomplete(where: str, name: str) -> InputError:
    """Returns the error for a file, or folder, that lacks the member `name`."""
    return InputError(
        f"{where} has no {name}; an interrupted save leaves such a file. "
        "Save the model again."
    )


def _text(path: pathlib.Path) -> bytes:
    file = open_file(path)
    try:
        if file.size > MAX_HEADER:
            raise InputError(f"{printable(path)} has over {MAX_HEADER:,} bytes.")
        return file.read(0, file.size)
    finally:
        os.close(file.descriptor)


def _checkpoint(
    kind: str, source: Source, data: Source, config_text, metadata_text, members=()
) -> Checkpoint:
    where = printable(source.path)
    config = configs.parse(config_text, where)
    metadata = configs.parse_object(metadata_text, where)
    weights = weights_h5.parse(hdf5.read(data), config, where)
    return Checkpoint(
        kind,
        source,
        weights.variables,
        unaddressed=weights.unaddressed,
        edges=config.edges,
        notes=weights.notes,
        ordered=weights.ordered,
        members=members,
        provenance=metadata.get("tfreuse"),
    )
