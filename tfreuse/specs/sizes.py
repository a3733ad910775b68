"""Image sizes that an architecture takes; errors name the nearest sizes that work."""

from collections.abc import Iterator

from tfreuse.errors import InputError
from tfreuse.specs.model import ModelSpec

OUTPUT_STRIDE = 8  # pixels of the image per pixel of PSPNet's features, each way


def size_multiple(spec: ModelSpec) -> int:
    """Returns the number of pixels that both sides of an image must be a multiple of.

    UNet cannot concatenate encoder and decoder features at any other size. PSPNet resizes its
    output to the image, so a network with free sides takes any size; fixed sides must be a
    multiple of 8, so that one pixel of the features covers exactly 8 by 8 pixels of the image.
    With a foreign encoder, features are resized to each other and every size works.
    """
    if spec.has_foreign_encoder:
        return 1
    return 2**spec.depth if spec.architecture == "unet" else OUTPUT_STRIDE


def check_sides(spec: ModelSpec, image_size: tuple[int | None, int | None]) -> None:
    """Checks that the architecture can be built at (H, W) pixels; None is a free side.

    Raises:
        InputError: it cannot; names the nearest sizes, and the depth, that would work.
    """
    sides = tuple(image_size)
    if len(sides) != 2 or any(side is not None and side < 1 for side in sides):
        raise InputError(
            f"an image size is height,width in pixels, e.g. 64,64; got {sides}."
        )
    multiple = size_multiple(spec)
    if _divide_by(sides, multiple):
        return
    below = tuple(side and side // multiple * multiple for side in sides)
    above = tuple(side and -(-side // multiple) * multiple for side in sides)
    sizes = [_text(size) for size in (below, above) if 0 not in size]
    remedy = f"--image_size={' or '.join(sizes)}"
    network = spec.architecture
    if network == "unet":
        network = f"unet of --depth={spec.depth}"
        depths = [d for d in range(1, spec.depth) if _divide_by(sides, 2**d)]
        remedy += f", or --depth={depths[-1]}" if depths else ""
    raise InputError(
        f"{network} takes sides that are multiples of {multiple} pixels; "
        f"got {_text(sides)}. Use {remedy}."
    )


def near(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yields other sizes, whose sides are multiples of 2, of 4 and so on, the nearest of each."""
    for multiple in (2, 4, 8, 16, 32, 64):
        height, width = (max(1, round(side / multiple)) * multiple for side in size)
        if (height, width) != tuple(size):
            yield height, width


def _divide_by(sides: tuple[int | None, ...], multiple: int) -> bool:
    """Returns whether all fixed sides are multiples of `multiple`."""
    return all(side is None or side % multiple == 0 for side in sides)


def _text(size: tuple[int | None, ...]) -> str:
    """Formats (48, None) as "48,None", the syntax of --image_size."""
    return ",".join(str(side) for side in size)
