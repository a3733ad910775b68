"""Caches the counts of every training of a search, so that an interrupted search goes on.

    score = store.cached(score, out_dir / "folds")

Each training has one file, `folds/<plan>.<repeat>.npz`: per-image counts, and the indices of the
training and the held-out images. A file is written whole or not at all.
"""

import pathlib

import numpy as np

from tfreuse import files
from tfreuse.advisor.selection import Score
from tfreuse.errors import InputError, printable


def cached(score: Score, folder: pathlib.Path) -> Score:
    """Returns `score` with its counts read from `folder` where they are, else written there.

    Raises:
        InputError: (when called) a file is damaged, or is of other images.
    """

    def read_or_score(
        name: str, train: np.ndarray, test: np.ndarray, repeat: int
    ) -> np.ndarray:
        path = path_of(folder, name, repeat)
        if path.exists():
            return _read(path, train, test)
        counts = score(name, train, test, repeat)
        with files.replacing(path, suffix=".npz") as temporary:
            np.savez_compressed(temporary, counts=counts, train=train, test=test)
        return counts

    return read_or_score


def path_of(folder: pathlib.Path, name: str, repeat: int) -> pathlib.Path:
    """Returns the file of one training of a plan."""
    return folder / f"{name}.{repeat:02}.npz"


def number_of_trainings(folder: pathlib.Path) -> int:
    """Counts the trainings that are stored; temporary files begin with a dot."""
    return len(list(folder.glob("[!.]*.npz")))


def _read(path: pathlib.Path, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in ("counts", "train", "test")}
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise InputError(
            f"{path} cannot be read ({printable(error)}); remove it, and its training is "
            "repeated."
        ) from error
    if not (
        np.array_equal(arrays["train"], train) and np.array_equal(arrays["test"], test)
    ):
        raise InputError(
            f"{path} is of other images; remove {path.parent}, or choose another --out_dir."
        )
    return arrays["counts"]
