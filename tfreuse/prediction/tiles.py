"""Divides one side of a large image into overlapping tiles.

    for span in spans(5000, tile=1024, overlap=256, multiple=8):
        output[span.keep] = predict(pixels[span.read])[span.inner]

Outputs within half of the overlap of a cut are discarded. A network whose receptive field
reaches no farther gives the same output as for the whole image, since cuts lie at multiples of
the network's total stride, where the grids of its features coincide.
"""

import dataclasses
import itertools

import numpy as np

from tfreuse.errors import InputError


@dataclasses.dataclass(frozen=True)
class Span:
    """A tile's range on one side of an image, in pixels.

    Attributes:
        read: the network's input.
        keep: the part of the output that is used.
    """

    read: slice
    keep: slice

    @property
    def inner(self) -> slice:
        """`keep` relative to the start of `read`."""
        start = self.read.start
        return slice(self.keep.start - start, self.keep.stop - start)


def check(tile: int, overlap: int, multiple: int) -> None:
    """Raises InputError if tiles of this size cannot advance."""
    margin, tile = _aligned(tile, overlap, multiple)
    if tile <= 2 * margin:
        raise InputError(
            f"--tile={tile} with --overlap={overlap} leaves nothing to keep (in multiples of "
            f"{multiple}, which the model needs). Take a larger --tile or a smaller --overlap."
        )


def spans(size: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Returns the spans of one side of an image; their `keep` covers each pixel once.

    Args:
        size: pixels of the side.
        tile: pixels of the longest `read`.
        overlap: pixels that the `read` of two neighbours share.
        multiple: cuts are multiples of it; `tile` is rounded down to it, half of `overlap` up.

    Raises:
        InputError: tiles of this size cannot advance.
    """
    if size <= tile:
        return [Span(slice(0, size), slice(0, size))]
    check(tile, overlap, multiple)
    margin, tile = _aligned(tile, overlap, multiple)
    tiles, start = [], 0
    while True:
        stop = min(start + tile, size)
        last = stop == size
        keep_from = start + margin if start else 0
        keep_to = stop if last else stop - margin
        tiles.append(Span(slice(start, stop), slice(keep_from, keep_to)))
        if last:
            return tiles
        start += tile - 2 * margin


def equal_spans(size: int, tile: int, overlap: int) -> list[Span]:
    """Returns spans that all read `tile` pixels, for a network of one size; each pixel once.

    Args:
        size: pixels of the side, at least `tile`.
        tile: pixels of every `read`.
        overlap: pixels that two neighbours share at least, less than `tile`.
    """
    count = 1 + max(0, -(-(size - tile) // (tile - overlap)))
    starts = np.linspace(0, size - tile, count).round().astype(int).tolist()
    # Neighbours meet in the middle of their overlap.
    cuts = [(b + a + tile) // 2 for a, b in itertools.pairwise(starts)]
    bounds = zip([0, *cuts], [*cuts, size], strict=True)
    return [
        Span(slice(start, start + tile), slice(*bound))
        for start, bound in zip(starts, bounds, strict=True)
    ]


def _aligned(tile: int, overlap: int, multiple: int) -> tuple[int, int]:
    """Returns half of the overlap, rounded up, and the tile, rounded down, to multiples."""
    margin = -(-overlap // (2 * multiple)) * multiple
    return margin, tile // multiple * multiple
