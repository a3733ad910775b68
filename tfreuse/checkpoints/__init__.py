"""Model files as arrays with names: read by offset, without TensorFlow or Keras.

    with checkpoints.open("donor.keras") as donor:
        donor.variables                 # what plan.make takes
        donor.read(donor.variables[0])  # reads the bytes of this array only

Formats: `.keras`, `.weights.h5`.
No file is trusted: nothing in it is executed, no other file is read because of it, and it
costs no more memory than the arrays that are asked for.
"""

import os

from tfreuse.checkpoints import hdf5, keras_file, source, weights_h5
from tfreuse.checkpoints.checkpoint import (
    CRC32,
    SHA256,
    UNVERIFIED,
    Checkpoint,
    Other,
)
from tfreuse.errors import InputError, printable

__all__ = ["CRC32", "SHA256", "UNVERIFIED", "Checkpoint", "Other", "open"]


def open(path: str | os.PathLike) -> Checkpoint:
    """The variables of a model file; checks its structure, reads none of their values.

    Raises:
        InputError: there is no such file, its format is not known, or it is damaged.
    """
    opened = source.open_file(path)
    try:
        return _read(opened)
    except BaseException:
        os.close(opened.descriptor)
        raise


def _read(opened: source.Source) -> Checkpoint:
    start = opened.read(0, min(8, opened.size))
    if start.startswith(b"PK\3\4"):
        return keras_file.read(opened)
    if start == b"\x89HDF\r\n\x1a\n":
        found = weights_h5.find(hdf5.read(opened), None, printable(opened.path))
        return Checkpoint(
            "weights_h5",
            opened,
            found.variables,
            others=found.others,
            notes=found.notes,
        )
    raise InputError(
        f"{printable(opened.path)} is no model file that is known; expected .keras or "
        ".weights.h5."
    )
