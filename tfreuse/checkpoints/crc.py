"""CRC-32 of a long message from the CRC-32 of its parts.

CRC-32 is linear over GF(2): if bytes in the middle of a message change, its checksum changes by
the XOR of the old and the new part's checksums, times x**(8 n) modulo the CRC polynomial, where
n bytes follow the part (zlib's crc32_combine). So the checksum of a member of many MB is updated
from the replaced bytes alone.
"""

import functools
import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_POLYNOMIAL = 0xEDB88320  # reflected as in zip: bit 31 is the coefficient of x**0


def shift(checksums: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """Multiplies each checksum by x**(8 * count), for the `count` bytes that follow its part.

    Args:
        checksums: 32-bit checksums, or XOR differences of checksums, [N].
        counts: bytes that follow each, [N].

    Returns:
        uint32 [N].
    """
    shifted = np.array(checksums, np.uint32)
    exponents = np.array(counts, np.uint64)
    power = 1 << 23  # x**8
    while exponents.any():  # binary exponentiation, for all parts at once
        odd = (exponents & np.uint64(1)).astype(bool)
        if odd.any():
            shifted[odd] = _times(shifted[odd], power)
        exponents >>= np.uint64(1)
        power = _times(power, power)
    return shifted


def joined(groups: Iterable[Sequence[tuple[int, int]]]) -> list[int]:
    """Returns the CRC-32 of each message from the (CRC-32, size in bytes) of its parts in order."""
    groups = [list(parts) for parts in groups]
    checksums = [checksum for parts in groups for checksum, _ in parts]
    following: list[int] = []  # bytes of the message behind each part
    for parts in groups:
        ends = list(itertools.accumulate(size for _, size in parts))
        following += [ends[-1] - end for end in ends]
    shifted = iter(shift(checksums, following).tolist())
    return [
        functools.reduce(operator.xor, itertools.islice(shifted, len(parts)), 0)
        for parts in groups
    ]


def _times(values: Any, factor: int) -> Any:
    """Multiplies polynomials over GF(2) modulo CRC-32's; `values` is an integer or an array."""
    product = values ^ values  # zero, in the type of `values`
    for bit in range(31, -1, -1):
        product = product ^ ((values >> bit) & 1) * factor
        factor = factor >> 1 ^ (_POLYNOMIAL if factor & 1 else 0)
    return product
