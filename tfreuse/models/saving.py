"""Saves model files atomically, and loads them with errors that name a remedy."""

import os
import re

import keras

from tfreuse import files
from tfreuse.checkpoints import loadable
from tfreuse.errors import InputError, printable, reason

_UNKNOWN = re.compile(r"Could not (?:locate|interpret) .*?(?:'|identifier: )([\w>.]+)")


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes a `.keras` file; a kill at any moment leaves the old file or the new file."""
    with files.replacing(path, suffix=".keras") as temporary:
        model.save(temporary)


def load(path: str | os.PathLike, *, optimizer: bool = False) -> keras.Model:
    """Loads the model of a `.keras` file.

    Args:
        path: the file.
        optimizer: also load the optimizer with its state, to resume training.

    Raises:
        InputError: there is no such file, it is damaged, or Keras cannot make its model.
    """
    loadable.check(path)
    try:
        return keras.models.load_model(path, compile=optimizer)
    except Exception as error:  # Keras raises many types
        if isinstance(error, MemoryError | OSError):
            raise
        unknown = _UNKNOWN.search(str(error))
        if unknown:
            name = printable(unknown[1], 60)
            raise InputError(
                f"{printable(path)} holds {name}, which is not of Keras's own: code in a file is "
                "not run. Make the model of Keras's own layers and functions, and save it again; "
                "where --model takes package.module:function, such a function makes it."
            ) from error
        raise InputError(
            f"{printable(path)} is whole, but Keras {keras.__version__} cannot make its model: "
            f"{reason(error)}. Save it with this version of Keras."
        ) from error
