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


def of_outputs(old: np.ndarray, new: np.ndarray) -> dict[str, float | None]:
    """Relative error and similarity of a site's output before and after, [n, C] each."""
    norm = float(np.linalg.norm(old))
    error = float(np.linalg.norm(new - old) / norm) if norm else None
    finite = error is not None and np.isfinite(error)
    return {"output_error": error if finite else None, "cka": cka(old, new)}


def cka(x: np.ndarray, y: np.ndarray) -> float | None:
    """Debiased linear centred kernel alignment of features [n, C] and [n, D], n > 3.

    Kornblith et al. 2019 (arXiv:1905.00414) with the unbiased estimator of Song et al. 2012
    (JMLR 13, equation 5), which expects 0 of independent features. None where one of them is
    constant or not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    norms = _hsic(x, x), _hsic(y, y)
    if min(norms) <= 0:
        return None
    return float(_hsic(x, y) / np.sqrt(norms[0] * norms[1]))


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased HSIC of linear kernels, without computing the [n, n] kernels."""
    n = len(x)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)  # less rounding; HSIC is the same
    x, y = (values.astype(np.float64) for values in (x, y))
    diagonal_x, diagonal_y = np.square(x).sum(axis=1), np.square(y).sum(axis=1)
    rows_x = x @ x.sum(axis=0) - diagonal_x  # sums of the kernels' rows
    rows_y = y @ y.sum(axis=0) - diagonal_y
    product = float(np.square(x.T @ y).sum() - diagonal_x @ diagonal_y)
    sums = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    return (product + sums - 2 * float(rows_x @ rows_y) / (n - 2)) / (n * (n - 3))


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
