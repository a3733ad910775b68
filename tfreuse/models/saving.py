"""Saves model files atomically, and loads them with errors that name a remedy."""

import os
import pathlib

import keras

from tfreuse import files
from tfreuse.errors import InputError, printable


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
        InputError: there is no such file, or it contains no model that can be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(
            f"model file {path} does not exist; tools/train.py --out_dir=DIR writes "
            "DIR/model.keras."
        )
    if path.suffix != ".keras":
        raise InputError(f"expected a .keras file, got {path}.")
    try:
        return keras.models.load_model(path, compile=optimizer)
    except Exception as error:  # Keras raises many types for a broken file
        if "Could not locate class" in str(error):
            name = str(error).partition("class ")[2].partition(".")[0]
            raise InputError(
                f"{path} holds a layer or model of a class that is not known here, "
                f"{printable(name, 60)}: nothing in a file is executed. Make the model by a "
                "function, --model=package.module:function, of Keras's own layers."
            ) from error
        raise InputError(
            f"{path} cannot be read as a Keras model: {printable(error)}. "
            "It may be cut off; train or copy it again."
        ) from error
