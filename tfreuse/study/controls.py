"""Donors that nobody trained, computed from the values of recipient and donor.

    values = make("angle", draw, pairs, seed)   # {donor's variable path: array}

`pairs` lists the copies of a transplant of all layers. A control's values stand under the
donor's paths, so the plans made for the donor serve the control too.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tfreuse.specs import CONTROLS

_PARALLEL = 1e-9  # sine of an angle that is rounding alone


class Pair(NamedTuple):
    """A variable of the recipient and its counterpart in the donor."""

    path: str  # in the donor
    role: str
    recipient: np.ndarray
    donor: np.ndarray


def make(
    control: str, draw: int, pairs: Iterable[Pair], seed: int
) -> Mapping[str, np.ndarray]:
    """Computes the control's values by the donor's variable paths.

    "angle": the donor's values turned at random about the recipient's, array by array: distance
    to the recipient, norm and cosine with it are the donor's. One number has no other direction:
    it stays the donor's, as does an array that is a multiple of the recipient's; of two numbers
    every other draw is the donor's. "matched": the recipient's values plus a random step as long
    as the distance to the donor, which leaves most of the recipient's direction; "moments":
    normal with the donor's mean and standard deviation (Mean Var Init of Raghu et al. 2019,
    arXiv:1902.07208); "shuffled": the donor's numbers in random order; "zeroed": zeros. Variances are drawn as logarithms, so that they stay above zero.

    Args:
        control: one of these five.
        draw: number of the draw; each number gives other values.
        pairs: the copies of a transplant of all layers.
        seed: seed of the recipient's training; the same arguments give the same values.
    """
    rng = np.random.default_rng((seed, CONTROLS.index(control), draw))
    return {pair.path: _VALUES[control](pair, rng) for pair in pairs}


def _in_log(
    function: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray],
) -> Callable[[Pair, np.random.Generator], np.ndarray]:
    """Applies `function` to the values of a pair, or to the logarithms of variances."""

    def of_pair(pair: Pair, rng: np.random.Generator) -> np.ndarray:
        arrays = pair.recipient.astype(np.float64), pair.donor.astype(np.float64)
        if pair.role != "moving_variance":
            return function(*arrays, rng).astype(pair.donor.dtype)
        smallest = np.finfo(np.float32).tiny
        logs = (np.log(np.maximum(values, smallest)) for values in arrays)
        # e^80 = 5.5e34: within float32, which ends at 3.4e38
        variances = np.exp(np.clip(function(*logs, rng), -80, 80))
        return variances.astype(pair.donor.dtype)

    return of_pair


def _angle(recipient, donor, rng) -> np.ndarray:
    direction = rng.standard_normal(donor.shape)
    along = _projection(donor, recipient)
    across = np.linalg.norm(donor - along)
    if across <= _PARALLEL * np.linalg.norm(donor):
        return donor
    for _ in range(2):  # the second time removes the rest from rounding
        direction = direction - _projection(direction, recipient)
    return along + direction * (across / np.linalg.norm(direction))


def _projection(values: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Projects `values` on the direction of `onto`; zeros where `onto` is zero."""
    square = np.sum(onto * onto)
    return onto * (np.sum(values * onto) / square) if square else np.zeros_like(onto)


def _matched(recipient, donor, rng) -> np.ndarray:
    step = rng.standard_normal(recipient.shape)
    return recipient + step * (np.linalg.norm(donor - recipient) / np.linalg.norm(step))


def _moments(recipient, donor, rng) -> np.ndarray:
    return donor.mean() + donor.std() * rng.standard_normal(donor.shape)


_VALUES = {
    "angle": _in_log(_angle),
    "matched": _in_log(_matched),
    "moments": _in_log(_moments),
    "shuffled": lambda pair, rng: rng.permutation(pair.donor.ravel()).reshape(
        pair.donor.shape
    ),
    "zeroed": lambda pair, rng: np.zeros_like(pair.donor),
}
