"""Saves model files atomically, and loads them with errors that name a remedy."""

import json
import logging
import os
import re
import zipfile
from collections.abc import Callable, Hashable
from typing import TypeVar

import keras

from tfreuse import files
from tfreuse.checkpoints import loadable
from tfreuse.errors import InputError, printable, reason
from tfreuse.runners import cache as runners_cache
from tfreuse.transplant import derived

_UNKNOWN = re.compile(r"Could not (?:locate|interpret) .*?(?:'|identifier: )([\w>.]+)")

_T = TypeVar("_T")
_LOGGER = logging.getLogger(__name__)
_RANDOM = "random_states.json"  # in a `.keras` archive; Keras ignores it


def save(
    model: keras.Model, path: str | os.PathLike, *, random_states: bool = False
) -> None:
    """Writes a `.keras` file; a kill at any moment leaves the old file or the new file.

    Args:
        model: the model.
        path: the file.
        random_states: keep the states of random layers too, which Keras leaves out, to resume
            training with the same draws.
    """
    with files.replacing(path, suffix=".keras") as temporary:
        model.save(temporary)
        if random_states:
            states = [state.numpy().tolist() for state in seed_states(model)]
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_RANDOM, json.dumps(states))


def seed_states(model: keras.Model) -> list[keras.Variable]:
    """Returns the states of the random generators of all layers: dropout, noise, augmentation."""
    weights = {id(weight) for weight in model.weights}
    return [state for state in model.variables if id(state) not in weights]


def _restore_random_states(model: keras.Model, path: str | os.PathLike) -> None:
    states = seed_states(model)
    with zipfile.ZipFile(path) as archive:
        has_states = _RANDOM in archive.namelist()
        values = json.loads(archive.read(_RANDOM)) if has_states else []
    if len(values) != len(states):
        _LOGGER.warning(
            "%s does not hold the states of %d random layers: training goes on with other "
            "draws than without the interruption.", path, len(states),
        )  # fmt: skip
        return
    for state, value in zip(states, values, strict=True):
        state.assign(value)


def load(path: str | os.PathLike, *, optimizer: bool = False) -> keras.Model:
    """Loads the model of a `.keras` file.

    Args:
        path: the file.
        optimizer: also load the optimizer with its state, and states of random layers, to
            resume training.

    Raises:
        InputError: there is no such file, it is damaged, or Keras cannot make its model.
    """
    loadable.check(path)
    try:
        model = keras.models.load_model(path, compile=optimizer)
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
    if optimizer:
        _restore_random_states(model, path)
    return model


def load_shared(
    cache: runners_cache.Cache,
    kind: str,
    key: Hashable,
    path: str | os.PathLike,
    prepare: Callable[[keras.Model], _T],
    most: int = runners_cache.MOST,
) -> _T:
    """Loads a file into the model, with its traced functions, that files of a structure share.

    The result of `prepare` is valid for this file until the next call of the same key.

    Args:
        cache: keeps the results of `prepare`.
        kind, key, most: see `Cache.get`; files of one key differ in the values of weights alone.
        path: the `.keras` file.
        prepare: called with the model of the first file.

    Raises:
        InputError: see `load`.
    """
    fresh: list[keras.Model] = []

    def make() -> tuple[keras.Model, _T]:
        fresh.append(load(path))
        return fresh[0], prepare(fresh[0])

    model, prepared = cache.get(kind, key, make, most)
    if not fresh:
        model.load_weights(path)
        derived.refresh(model)
    return prepared
