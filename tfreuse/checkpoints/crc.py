"""CRC-32 of a long message of which only a part is read again.

CRC-32 is linear: if bytes in the middle change, the checksum of the whole changes by the
difference of the two parts' checksums, shifted by the number of bytes that follow. So a
member of many MB gets its new checksum from the bytes that were displaced.
"""

import functools
import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_POLYNOMIAL = 0xEDB88320  # bit 31 is x**0


def shift(checksums: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """Each difference of checksums, moved in front of `counts` bytes: times x**(8 * count).

    Args:
        checksums: 32-bit differences, [N].
        counts: how many bytes follow each, [N].

    Returns:
        uint32 [N].
    """
    found = np.array(checksums, np.uint32)
    left = np.array(counts, np.uint64)
    power = 1 << 23  # x**8
    while left.any():
        odd = (left & np.uint64(1)).astype(bool)
        if odd.any():
            found[odd] = _times(found[odd], power)
        left >>= np.uint64(1)
        power = _times(power, power)
    return found


def joined(groups: Iterable[Sequence[tuple[int, int]]]) -> list[int]:
    """CRC-32 of each message, from the (CRC-32, bytes) of its parts in a row."""
    groups = [list(parts) for parts in groups]
    checksums = [checksum for parts in groups for checksum, _ in parts]
    after: list[int] = []
    for parts in groups:
        ends = list(itertools.accumulate(size for _, size in parts))
        after += [ends[-1] - end for end in ends]
    moved = iter(shift(checksums, after).tolist())
    return [
        functools.reduce(operator.xor, itertools.islice(moved, len(parts)), 0)
        for parts in groups
    ]


def _times(values: Any, factor: int) -> Any:
    """Products of polynomials modulo CRC-32's: an integer or many, with one factor."""
    product = values ^ values  # noughts
    for bit in range(31, -1, -1):
        product = product ^ ((values >> bit) & 1) * factor
        factor = factor >> 1 ^ (_POLYNOMIAL if factor & 1 else 0)
    return product
