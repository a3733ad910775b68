"""Which image sizes a network takes, and what to type when it does not take one."""

from tfreuse.errors import InputError
from tfreuse.specs import ModelSpec

OUTPUT_STRIDE = 8  # pixels of the image per cell of PSPNet's features, each way


def size_multiple(spec: ModelSpec) -> int:
    """Pixels that both sides of an image must be a multiple of.

    UNet cannot join its halves at any other size. PSPNet resizes its output to the image, so
    a network whose sides are free takes any size; a size that is chosen beforehand is held to
    the multiple, at which one cell of the features covers 8 by 8 pixels exactly. With another's
    encoder features are resized to each other, so that all sizes will do.
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
    if all(side is None or side % multiple == 0 for side in sides):
        return
    below = tuple(side and side // multiple * multiple for side in sides)
    above = tuple(side and -(-side // multiple) * multiple for side in sides)
    fitting = [_text(size) for size in (below, above) if 0 not in size]
    mend = f"--image_size={' or '.join(fitting)}"
    which = spec.architecture
    if which == "unet":
        which = f"unet of --depth={spec.depth}"
        depths = [d for d in range(1, spec.depth) if not any(_rest(sides, 2**d))]
        mend += f", or --depth={depths[-1]}" if depths else ""
    raise InputError(
        f"{which} takes sides that are multiples of {multiple} pixels; "
        f"got {_text(sides)}. Use {mend}."
    )


def _rest(sides: tuple[int | None, ...], multiple: int) -> list[int]:
    return [(side or 0) % multiple for side in sides]


def _text(size: tuple[int | None, ...]) -> str:
    """(48, None) as "48,None": what --image_size takes."""
    return ",".join(str(side) for side in size)
