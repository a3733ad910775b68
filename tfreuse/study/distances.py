"""Distances that a transplant moves parameters, maps and features. NumPy only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Scale(NamedTuple):
    """A batch normalization in inference as y = a x + c, with the layer that feeds it."""

    layer: str  # name of the batch normalization
    epsilon: float
    gamma: str | None  # paths of variables in the recipient; None: the layer has none
    beta: str | None
    mean: str
    variance: str
    bias: str | None  # of the convolution directly before it


def between(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
) -> dict[str, float | int | None]:
    """Root mean square error, relative distance and cosine of all (old, new) arrays together."""
    count = changed = 0
    old_norm = new_norm = product = squares = 0.0
    for old, new in pairs:
        a, b = old.ravel().astype(np.float64), new.ravel().astype(np.float64)
        count += a.size
        changed += int((old != new).sum())
        squares += float(np.square(b - a).sum())
        old_norm, new_norm = old_norm + float(a @ a), new_norm + float(b @ b)
        product += float(a @ b)
    norms = np.sqrt(old_norm * new_norm)
    return {
        "parameters": count,
        "changed": changed,
        "rmse": float(np.sqrt(squares / count)),
        "relative_distance": float(np.sqrt(squares / old_norm)) if old_norm else None,
        "cosine": float(product / norms) if norms else None,
    }


def scale_and_offset(
    scales: Sequence[Scale],
    old: Mapping[str, np.ndarray],
    new: Mapping[str, np.ndarray],
) -> dict[str, float | None]:
    """Medians over channels of |change of a / a| and of |change of c| / sd of y.

    At inference y = a (W * x) + c with a = gamma / sqrt(variance + epsilon) and
    c = beta + a (bias - mean): five vectors, two degrees of freedom a channel. The recipient's
    statistics are those of its own inputs, so that sd of y = |a| sqrt(variance).

    Args:
        scales: the batch normalizations of the site.
        old: the recipient's values by variable path.
        new: the values that replace some of them.
    """
    scale_shifts, offset_shifts = [], []
    for scale in scales:
        a, c = _map(scale, old)
        b, d = _map(scale, {**old, **new})
        spread = np.abs(a) * np.sqrt(old[scale.variance].astype(np.float64))
        scale_shifts.append(np.abs(b - a) / np.maximum(np.abs(a), 1e-12))
        offset_shifts.append(np.abs(d - c) / np.maximum(spread, 1e-12))
    if not scales:
        return {"scale_shift": None, "offset_shift": None}
    return {
        "scale_shift": float(np.median(np.concatenate(scale_shifts))),
        "offset_shift": float(np.median(np.concatenate(offset_shifts))),
    }


class Features:
    """Features [n, C] and the sums that every similarity with them needs, computed once.

    Attributes:
        raw: the features.
        norm: HSIC of the features with themselves; 0 where they are not finite.
    """

    def __init__(self, raw: np.ndarray) -> None:
        self.raw, self.norm = raw, 0.0
        if not np.isfinite(raw).all():
            return
        # Centred first: less rounding, and HSIC is the same.
        self.centred = (raw - raw.mean(axis=0)).astype(np.float64)
        self.diagonal = np.square(self.centred).sum(axis=1)
        self.rows = self.centred @ self.centred.sum(axis=0) - self.diagonal
        self.norm = _hsic(self, self)


def of_outputs(old: Features, new: np.ndarray) -> dict[str, float | None]:
    """Relative error and similarity of a site's output before and after, [n, C] each."""
    norm = float(np.linalg.norm(old.raw))
    error = float(np.linalg.norm(new - old.raw) / norm) if norm else None
    finite = error is not None and np.isfinite(error)
    return {
        "output_error": error if finite else None,
        "cka": cka(old, Features(new)),
    }


def cka(x: Features, y: Features) -> float | None:
    """Debiased linear centred kernel alignment of features [n, C] and [n, D], n > 3.

    Kornblith et al. 2019 (arXiv:1905.00414) with the unbiased estimator of Song et al. 2012
    (JMLR 13, equation 5), which expects 0 of independent features. None where one of them is
    constant or not finite.
    """
    if min(x.norm, y.norm) <= 0:
        return None
    return float(_hsic(x, y) / np.sqrt(x.norm * y.norm))


def _hsic(x: Features, y: Features) -> float:
    """Unbiased HSIC of linear kernels, without computing the [n, n] kernels."""
    n = len(x.raw)
    product = float(np.square(x.centred.T @ y.centred).sum() - x.diagonal @ y.diagonal)
    sums = x.rows.sum() * y.rows.sum() / ((n - 1) * (n - 2))
    return (product + sums - 2 * float(x.rows @ y.rows) / (n - 2)) / (n * (n - 3))


def _map(
    scale: Scale, values: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """a and c of y = a x + c."""
    variance = values[scale.variance].astype(np.float64)
    gamma = values[scale.gamma].astype(np.float64) if scale.gamma else 1.0
    beta = values[scale.beta].astype(np.float64) if scale.beta else 0.0
    bias = values[scale.bias].astype(np.float64) if scale.bias else 0.0
    a = gamma / np.sqrt(variance + scale.epsilon)
    return a, beta + a * (bias - values[scale.mean])
