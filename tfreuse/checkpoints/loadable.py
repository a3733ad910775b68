"""Checks that a `.keras` file is whole, and that Keras can load it without running its code.

    loadable.check("model.keras")  # before Keras, which answers "File not found" to all damage

Every member is read once and compared with its CRC-32. Keras finds changed bytes too, but only
after TensorFlow is imported and the network is built, with a message of HDF5.
"""

import os
import pathlib
import zipfile
import zlib
from typing import Any

from tfreuse.checkpoints import archive, configs, hdf5, keras_file, nodes, source
from tfreuse.errors import InputError, nearest, printable

_LAMBDA = "Lambda"


def check(path: str | os.PathLike, flag: str = "") -> None:
    """Reads the file once, without TensorFlow or Keras.

    Args:
        path: the file.
        flag: name of the flag that names the file, for errors; "" for none.

    Raises:
        InputError: there is no such file, it is no `.keras` file, it is damaged, or a layer of
            it is code (`Lambda`).
    """
    path = pathlib.Path(path)
    where = f"--{flag}={printable(path)}" if flag else printable(path)
    _check_name(path, where)
    layer = next(nodes.leaves(structure(path, where), _is_code), None)
    if layer is not None:
        name = printable(layer["config"].get("name"), 60)
        raise InputError(
            f"{where}: its layer {name} is a Lambda, whose function is Python code; code in a "
            "file is not run. Put a layer of Keras's own in its place, such as Rescaling, "
            "Activation or an operation of keras.ops, and save the model again."
        )


def structure(path: str | os.PathLike, where: str = "") -> dict[str, Any]:
    """Reads the configuration of a whole model file or folder; see `check`.

    Args:
        path: the file.
        where: its name in errors; by default the path.
    """
    path, where = pathlib.Path(path), where or printable(path)
    unzipped = path / keras_file.CONFIG
    file = source.open_file(unzipped if path.is_dir() else path)
    try:
        if path.is_dir():
            text = file.read(0, min(file.size, source.MAX_HEADER + 1))
            return configs.parse_object(text, where)
        return _config(file, where)
    finally:
        os.close(file.descriptor)


def _check_name(path: pathlib.Path, where: str) -> None:
    if (path / keras_file.CONFIG).is_file():
        return  # saved with zipped=False
    if path.is_dir():
        kind = "a SavedModel" if (path / "saved_model.pb").is_file() else "a folder"
        raise InputError(f"{where} is {kind}; expected a model file, NAME.keras.")
    if not path.exists():
        raise InputError(f"{where}: the model file does not exist{_nearest(path)}.")
    if path.suffix != ".keras":
        raise InputError(
            f"{where}: expected a file NAME.keras; load the model in Keras and save it by "
            "model.save('NAME.keras')."
        )


def _nearest(path: pathlib.Path) -> str:
    """Returns the end of a message: files of the same folder, or the command that makes one."""
    if path.parent.is_dir():
        names = [entry.name for entry in path.parent.glob("*.keras")]
        if names:
            return f"; the folder has {', '.join(nearest(path.name, names, 3))}"
    return "; tools/train.py --out_dir=DIR writes DIR/model.keras"


def _config(file: source.Source, where: str) -> dict[str, Any]:
    """Returns the configuration of a whole file. Raises InputError if it is damaged."""
    start = file.read(0, min(len(hdf5.SIGNATURE), file.size))
    if start == hdf5.SIGNATURE:
        raise InputError(
            f"{where} holds HDF5, as files NAME.h5 of older Keras do, not a zip file as NAME.keras; "
            "rename it to NAME.h5, load it in Keras and save it by model.save('NAME.keras')."
        )
    if not start.startswith(archive.LOCAL_SIGNATURE):
        raise InputError(
            f"{where} is no .keras file: it does not begin as a zip file does. It is damaged "
            "or something else; copy or save it again."
        )
    try:
        members = archive.read(file).members
    except InputError as error:
        return _repacked(file.path, error)  # by a program that compresses
    for member in members.values():
        member.check()
    if keras_file.CONFIG not in members:
        raise keras_file.incomplete(where, keras_file.CONFIG)
    return configs.parse_object(members[keras_file.CONFIG].read(), where)


def _repacked(path: pathlib.Path, damage: InputError) -> dict[str, Any]:
    """Returns the configuration of a file that another program has packed.

    Raises:
        InputError: it lacks a configuration; or `damage`, if it is not whole.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            whole = packed.testzip() is None
            info = packed.NameToInfo.get(keras_file.CONFIG)
            small = info is not None and info.file_size <= source.MAX_HEADER
            text = packed.read(keras_file.CONFIG) if whole and small else b""
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError):
        whole = False
    if not whole:
        raise damage
    if not text:
        raise keras_file.incomplete(printable(path), keras_file.CONFIG)
    return configs.parse_object(text, printable(path))


def _is_code(value: Any) -> bool:
    """Returns whether this is the entry of a Lambda layer with a Python function."""
    if not isinstance(value, dict) or value.get("class_name") != _LAMBDA:
        return False
    config = value.get("config")
    function = config.get("function") if isinstance(config, dict) else None
    return isinstance(function, list) or (
        isinstance(function, dict) and function.get("class_name") == "__lambda__"
    )
