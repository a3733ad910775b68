"""The numbers that no transplant writes: NaN, infinity, and variances below zero."""

from collections.abc import Iterable

import numpy as np

from tfreuse.errors import InputError
from tfreuse.plan.variables import Variable

NOT_FINITE = "values that are not finite"
NEGATIVE_VARIANCE = "a variance below zero"
PIECE = 2**18  # numbers to check at a time: the masks in between stay in the cache


def fault(numbers: np.ndarray, role: str | None) -> str:
    """Returns the fault of a variable's numbers; "" if they are sound."""
    # kind V: NumPy knows bfloat16 and float8 of ml_dtypes by their size only
    if numbers.dtype.kind in "fV" and not np.isfinite(numbers).all():
        return NOT_FINITE
    if role == "moving_variance" and (numbers < 0).any():
        return NEGATIVE_VARIANCE
    return ""


def first_fault(pieces: Iterable[np.ndarray], role: str | None) -> str:
    """Returns the fault of the first piece that has one; "" if all are sound."""
    return next(filter(None, (fault(piece, role) for piece in pieces)), "")


def pieces_of(array: np.ndarray) -> Iterable[np.ndarray]:
    """Yields the numbers of an array, PIECE at a time."""
    numbers = array.reshape(-1)
    for start in range(0, numbers.size, PIECE):
        yield numbers[start : start + PIECE]


def refuse(variable: Variable, fault: str) -> None:
    """Raises InputError if a value for the recipient's variable has a fault."""
    if fault:
        raise InputError(f"the value for {variable} has {fault}. Nothing was written.")
