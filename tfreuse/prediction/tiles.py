"""Which parts of a large image to look at, one after another, and what of each to keep.

    for span in spans(5000, tile=1024, overlap=256, multiple=8):
        kept[span.keep] = look(pixels[span.read])[span.inner]

What lies within half of the overlap of a cut is looked at but not kept, so that a network which
sees no farther than that gives the same as for the whole image. Cuts lie at multiples of the
network's total stride: its grids fall on the same pixels then.
"""

import dataclasses

from tfreuse.errors import InputError


@dataclasses.dataclass(frozen=True)
class Span:
    """Part of one side of an image, in pixels: `read` is looked at, `keep` is what stays."""

    read: slice
    keep: slice

    @property
    def inner(self) -> slice:
        """What is kept, counted from where reading began."""
        begin = self.read.start
        return slice(self.keep.start - begin, self.keep.stop - begin)


def check(tile: int, overlap: int, multiple: int) -> None:
    """Raises InputError if tiles of this size cannot advance."""
    margin, tile = _aligned(tile, overlap, multiple)
    if tile <= 2 * margin:
        raise InputError(
            f"--tile={tile} with --overlap={overlap} leaves nothing to keep (in multiples of "
            f"{multiple}, which the model needs). Take a larger --tile or a smaller --overlap."
        )


def spans(size: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """The spans of one side of an image; all their `keep` together are the side, once.

    Args:
        size: of the side, pixels.
        tile: the most that is looked at at once.
        overlap: of what two neighbours look at.
        multiple: where cuts may lie; `tile` is rounded down to it, half of `overlap` up.
    """
    if size <= tile:
        return [Span(slice(0, size), slice(0, size))]
    check(tile, overlap, multiple)
    margin, tile = _aligned(tile, overlap, multiple)
    found, start = [], 0
    while True:
        stop = min(start + tile, size)
        last = stop == size
        begin = start + margin if start else 0
        end = stop if last else stop - margin
        found.append(Span(slice(start, stop), slice(begin, end)))
        if last:
            return found
        start += tile - 2 * margin


def _aligned(tile: int, overlap: int, multiple: int) -> tuple[int, int]:
    """Half of the overlap, rounded up, and the tile, rounded down, to multiples."""
    margin = -(-overlap // (2 * multiple)) * multiple
    return margin, tile // multiple * multiple
