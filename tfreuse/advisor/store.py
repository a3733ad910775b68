"""What each training of a search counted, kept: a search that was stopped goes on with it.

    score = store.keeping(score, out_dir / "folds")

One file a training, `folds/<plan>.<repeat>.npz`: per-image counts, the images that it saw and
those that it was judged by. A file is there whole or not at all.
"""

import pathlib

import numpy as np

from tfreuse import files
from tfreuse.advisor.selection import Score
from tfreuse.errors import InputError, printable


def keeping(score: Score, folder: pathlib.Path) -> Score:
    """`score`, but what was counted before is read, and what is counted now is written.

    Raises:
        InputError: (from the result) a file is damaged, or is of other images.
    """

    def kept(name: str, train: np.ndarray, test: np.ndarray, repeat: int) -> np.ndarray:
        path = place(folder, name, repeat)
        if path.exists():
            return _read(path, train, test)
        counts = score(name, train, test, repeat)
        with files.replacing(path, suffix=".npz") as temporary:
            np.savez_compressed(temporary, counts=counts, train=train, test=test)
        return counts

    return kept


def place(folder: pathlib.Path, name: str, repeat: int) -> pathlib.Path:
    """Where the counts of a plan's training are kept."""
    return folder / f"{name}.{repeat:02}.npz"


def done(folder: pathlib.Path) -> int:
    """How many trainings are kept already."""
    return len(list(folder.glob("[!.]*.npz")))


def _read(path: pathlib.Path, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    try:
        with np.load(path) as held:
            arrays = {name: held[name] for name in ("counts", "train", "test")}
    except Exception as error:  # NumPy raises many kinds for a damaged file
        raise InputError(
            f"{path} cannot be read ({printable(error)}); remove it, and its training is "
            "done again."
        ) from error
    same = np.array_equal(arrays["train"], train) and np.array_equal(
        arrays["test"], test
    )
    if not same:
        raise InputError(
            f"{path} is of other images; remove {path.parent}, or choose another --out_dir."
        )
    return arrays["counts"]
