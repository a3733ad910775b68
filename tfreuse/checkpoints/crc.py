"""CRC-32 of a long message of which only a part is read again.

CRC-32 is linear: if bytes in the middle change, the checksum of the whole changes by the
difference of the two parts' checksums, shifted by the number of bytes that follow. So a
member of many MB gets its new checksum from the bytes that were displaced.
"""

from collections.abc import Sequence

import numpy as np

_POLYNOMIAL = np.uint32(0xEDB88320)  # bit 31 is x**0
_ONE = np.uint32(1)


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
    power = np.array([1 << 23], np.uint32)  # x**8
    while left.any():
        odd = (left & np.uint64(1)).astype(bool)
        found[odd] = _times(found[odd], power)
        left >>= np.uint64(1)
        power = _times(power, power)
    return found


def combine(first: int, second: int, second_size: int) -> int:
    """CRC-32 of two parts in a row, from the CRC-32 of each; sizes in bytes."""
    return int(shift([first], [second_size])[0]) ^ second


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of polynomials modulo CRC-32's; shapes broadcast."""
    a, b = np.broadcast_arrays(a, b)
    product = np.zeros_like(a)
    for bit in range(31, -1, -1):
        product = product ^ np.where((a >> np.uint32(bit)) & _ONE, b, np.uint32(0))
        b = (b >> _ONE) ^ np.where(b & _ONE, _POLYNOMIAL, np.uint32(0))
    return product
