"""CRC-32 of a long message of which only a part is read again.

CRC-32 is linear: if bytes in the middle change, the checksum of the whole changes by the
difference of the two parts' checksums, shifted by the number of bytes that follow. So a
member of many MB gets its new checksum from the bytes that were displaced.
"""

from collections.abc import Sequence

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
        power = int(_times(np.array([power], np.uint32), power)[0])
    return found


def combine(first: int, second: int, second_size: int) -> int:
    """CRC-32 of two parts in a row, from the CRC-32 of each; sizes in bytes."""
    return int(shift([first], [second_size])[0]) ^ second


def _times(values: np.ndarray, factor: int) -> np.ndarray:
    """Products of polynomials modulo CRC-32's, each value with one factor."""
    product = np.zeros_like(values)
    for bit in range(31, -1, -1):
        product ^= ((values >> np.uint32(bit)) & np.uint32(1)) * np.uint32(factor)
        factor = factor >> 1 ^ (_POLYNOMIAL if factor & 1 else 0)
    return product
