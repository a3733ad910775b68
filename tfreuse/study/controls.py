"""Values of donors that nobody trained: controls made from recipient and donor by arithmetic.

    made = make("matched", draw, pairs, seed)   # {donor's variable path: array}

`pairs` lists what a transplant of all layers would move, so that a control takes the donor's
place variable by variable and the same plans serve it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tfreuse.specs import CONTROLS


class Pair(NamedTuple):
    """A variable of the recipient, and what the donor would put there."""

    path: str  # donor's
    role: str
    ours: np.ndarray
    theirs: np.ndarray


def make(
    control: str, draw: int, pairs: Iterable[Pair], seed: int
) -> Mapping[str, np.ndarray]:
    """The control's values by the donor's variable paths.

    "matched": the recipient's values plus a random step as long as the donor's distance, for
    each array; "moments": normal with the donor's mean and standard deviation (Raghu et al.
    2019, arXiv:1902.07208, call it Mean Var Init); "shuffled": the donor's numbers in random
    order; "zeroed": zeros. Variances are drawn as logarithms, so that they stay above zero.

    Args:
        control: one of these four.
        draw: number of the draw; another number gives other values.
        pairs: what a transplant of all layers moves.
        seed: of the recipient; the same arguments give the same values.
    """
    rng = np.random.default_rng((seed, CONTROLS.index(control), draw))
    return {pair.path: _VALUES[control](pair, rng) for pair in pairs}


def _in_log(
    function: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray],
) -> Callable[[Pair, np.random.Generator], np.ndarray]:
    """`function` of the recipient's and donor's values; of their logarithms for variances."""

    def of_pair(pair: Pair, rng: np.random.Generator) -> np.ndarray:
        ours, theirs = pair.ours.astype(np.float64), pair.theirs.astype(np.float64)
        if pair.role != "moving_variance":
            return function(ours, theirs, rng).astype(pair.theirs.dtype)
        smallest = np.finfo(np.float32).tiny
        logs = (np.log(np.maximum(values, smallest)) for values in (ours, theirs))
        drawn = np.exp(np.clip(function(*logs, rng), -80, 80))  # stays in float32
        return drawn.astype(pair.theirs.dtype)

    return of_pair


def _matched(ours, theirs, rng) -> np.ndarray:
    step = rng.standard_normal(ours.shape)
    return ours + step * (np.linalg.norm(theirs - ours) / np.linalg.norm(step))


def _moments(ours, theirs, rng) -> np.ndarray:
    return theirs.mean() + theirs.std() * rng.standard_normal(theirs.shape)


_VALUES = {
    "matched": _in_log(_matched),
    "moments": _in_log(_moments),
    "shuffled": lambda pair, rng: rng.permutation(pair.theirs.ravel()).reshape(
        pair.theirs.shape
    ),
    "zeroed": lambda pair, rng: np.zeros_like(pair.theirs),
}
