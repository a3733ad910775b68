"""Model files as arrays with names: read by offset, without TensorFlow or Keras.

    with checkpoints.open("donor.keras") as donor:
        donor.variables                 # what plan.make takes
        donor.read(donor.variables[0])  # reads the bytes of this array only
        checkpoints.write("recipient.keras", "out.keras", {"conv/0": (donor, variable)}, {})
    checkpoints.undo("out.keras")       # out.keras is recipient.keras again, byte for byte

Formats: `.keras`, `.weights.h5`, sharded `.weights.json`, legacy `.h5`, `.npz`, safetensors,
TensorFlow checkpoints and SavedModels (only these import TensorFlow, when one is opened).
No file is trusted: nothing in it is executed, no other file is read because of it, and it
costs no more memory than the arrays that are asked for.
"""

import os
from collections.abc import Mapping

from tfreuse.checkpoints import (
    archive,
    hdf5,
    keras_file,
    legacy_h5,
    npz,
    safetensors,
    sharded,
    source,
    tf_checkpoint,
    weights_h5,
    writing,
)
from tfreuse.checkpoints.checkpoint import (
    CRC32,
    SHA256,
    UNVERIFIED,
    Checkpoint,
    OtherArray,
)
from tfreuse.checkpoints.edits import Value
from tfreuse.checkpoints.journal import undo
from tfreuse.checkpoints.writing import Provenance, WriteReport
from tfreuse.errors import InputError, printable

FORMATS = (
    ".keras, .weights.h5, .weights.json, .h5, .npz, .safetensors, a TensorFlow checkpoint "
    "or a SavedModel's folder"
)

__all__ = [
    "CRC32",
    "SHA256",
    "UNVERIFIED",
    "Checkpoint",
    "OtherArray",
    "Value",
    "WriteReport",
    "open",
    "undo",
    "write",
]


def open(path: str | os.PathLike) -> Checkpoint:
    """The variables of a model file; checks its structure, reads none of their values.

    Raises:
        InputError: there is no such file, its format is not known, or it is damaged.
    """
    prefix = tf_checkpoint.prefix(path)
    if prefix is not None:
        return tf_checkpoint.read(prefix)
    opened = source.open_file(path)
    try:
        return _read(opened)
    except BaseException:
        os.close(opened.descriptor)
        raise


def write(
    recipient: Checkpoint | str | os.PathLike,
    out_path: str | os.PathLike,
    values: Mapping[str, Value],
    provenance: Provenance,
    *,
    crc: bool = True,
    undo: bool = True,
) -> WriteReport:
    """Writes the recipient with `values` in place of its own to `out_path`, or nothing.

    Args:
        recipient: a `.keras`, `.weights.h5` or legacy `.h5` file, or its path.
        out_path: a name of its own, with the recipient's ending; replaced if it exists.
        values: variable path of the recipient -> array, or a donor's (file, variable). Of
            the recipient's shape and dtype: casts and slices are the caller's.
        provenance: JSON-able; stored in the output, `Checkpoint.provenance` shows it. Or what
            makes it of the CRC-32 of what was written and displaced, each by variable path.
        crc: whether all files are read once to check them against their own checksums;
            without, only the bytes that change are read.
        undo: whether to leave `out_path`.undo, from which `undo` restores the recipient.

    Raises:
        InputError: a value does not fit, is not finite or is a variance below zero; a file
            is damaged; the output is one of the inputs, or cannot be written. The old
            output is then as it was.
    """
    if not isinstance(recipient, Checkpoint):
        with open(recipient) as opened:
            return write(opened, out_path, values, provenance, crc=crc, undo=undo)
    return writing.write(recipient, out_path, values, provenance, crc=crc, undo=undo)


def _read(opened: source.Source) -> Checkpoint:
    start = opened.read(0, min(9, opened.size))
    if start.startswith(b"PK\3\4"):
        directory = archive.read(opened)
        reader = npz if npz.is_npz(directory) else keras_file
        return reader.read(opened, directory)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        root = hdf5.read(
            opened,
            ("name", *legacy_h5.ATTRIBUTES),
            legacy_h5.ROOT_ATTRIBUTES,
        )
        reader = legacy_h5 if legacy_h5.is_legacy(root) else weights_h5
        return reader.read(opened, root)
    if opened.path.name.endswith(".json"):
        return sharded.read(opened)
    if safetensors.is_safetensors(start, opened.size):
        return safetensors.read(opened)
    raise InputError(
        f"{printable(opened.path)} is no model file that is known; expected {FORMATS}."
    )
