"""One picture at a time: read a file strictly, bring an image and its mask to a size.

An image and its mask go through the same box, so that they stay aligned: `box` is the largest
centred part of the picture that has the target's proportions.
"""

import os
import pathlib

import numpy as np
from PIL import Image, ImageOps

from tfreuse.errors import InputError, printable
from tfreuse.specs import labels_of

# Ending -> whether it keeps labels exactly.
ENDINGS = {
    ".png": True,
    ".bmp": True,
    ".tif": True,
    ".tiff": True,
    ".jpg": False,
    ".jpeg": False,
}
MOST_LABELS = 65536
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read_image(path: pathlib.Path) -> tuple[Image.Image, str]:
    """The image in mode L or RGB, turned as its camera says, and the mode it is stored in.

    Raises:
        InputError: not a readable image of 8 bits a channel.
    """
    picture = _open(path, "image")
    mode = picture.mode
    if mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        if alpha.getextrema()[0] < 255:
            raise InputError(
                f"Images are opaque; {_shown(path)} is partly transparent. "
                "Lay it on a ground first, e.g. convert FILE -background black -flatten FILE."
            )
    if mode not in ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"):
        raise InputError(
            f"Images have 8 bits a channel; {_shown(path)} has mode {mode}. Scale its values "
            "to 0..255 and save it as 8-bit PNG."
        )
    grey = mode in ("1", "L", "LA")
    return ImageOps.exif_transpose(picture.convert("L" if grey else "RGB")), mode


def read_bands(path: pathlib.Path, channels: int) -> np.ndarray:
    """All bands of a TIFF file, uint8 [H, W, channels].

    Raises:
        InputError: it is no such file, or tifffile, which reads it, is not installed.
    """
    try:
        import tifffile  # an extra
    except ImportError as error:
        raise InputError(
            "images of other than 1 or 3 channels need tifffile: pip install "
            "'tfreuse[tiff]', or in a checkout pip install -e '.[tiff]'."
        ) from error
    try:
        found = tifffile.imread(path)
    except Exception as error:  # it raises what it likes
        raise InputError(
            f"The image {_shown(path)} can't be read as TIFF ({printable(error, 120)}). "
            f"Images of --channels={channels} are TIFF files."
        ) from error
    if found.ndim == 3 and found.shape[-1] != channels:
        found = np.moveaxis(found, 0, -1)  # bands one after the other
    if found.ndim != 3 or found.shape[-1] != channels or found.dtype != np.uint8:
        raise InputError(
            f"Images have {channels} bands of 8 bits (--channels={channels}); {_shown(path)} is "
            f"{found.dtype} {found.shape}. Give --channels, or scale its values to 0..255."
        )
    return np.ascontiguousarray(found)


def read_mask(
    path: pathlib.Path, palette: tuple[str, ...] = ()
) -> tuple[np.ndarray, str]:
    """The labels int32 [H, W] (a palette picture's are its indices) and the mode they have.

    Args:
        path: the file.
        palette: `DataSpec.palette`, by which colours are labels; none: labels are stored.

    Raises:
        InputError: not a readable label image, or labels below 0 or from 65536 up.
    """
    picture = _open(path, "mask")
    if picture.format == "JPEG":
        raise InputError(
            f"Masks keep labels exactly; {_shown(path)} is JPEG, which blurs them. "
            "Save the masks as PNG from their source."
        )
    if palette:
        return _labels_of_colours(path, picture, palette), picture.mode
    if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16L", "I;16B"):
        raise InputError(_colour_message(path, picture))
    mask = np.asarray(picture).astype(np.int32)
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high >= MOST_LABELS:
        raise InputError(
            f"Labels are 0 to {MOST_LABELS - 1}; {_shown(path)} has {low} to {high}. "
            "Renumber its labels to 0, 1, 2, ..."
        )
    return mask, picture.mode


def fit_image(picture: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """`picture` covering `size` (height, width), centre-cropped: uint8 [H, W, channels]."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    part = box(picture.size, size)
    if picture.size != size[::-1]:
        # Pillow's BILINEAR averages over the area that becomes a pixel: no aliasing.
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR, box=part)
    return np.asarray(picture).reshape(*size, channels)


def fit_bands(bands: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`fit_image` of each of the bands: uint8 [h, w, C] to [*size, C]."""
    each = [Image.fromarray(band) for band in np.moveaxis(bands, -1, 0)]
    return np.concatenate([fit_image(band, size, 1) for band in each], axis=-1)


def fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels int32 [h, w] on the same geometry as `fit_image`, nearest: int32 [H, W]."""
    height, width = mask.shape
    left, top, right, bottom = box((width, height), size)
    rows = top + (np.arange(size[0]) + 0.5) * (bottom - top) / size[0]
    columns = left + (np.arange(size[1]) + 0.5) * (right - left) / size[1]
    return mask[rows.astype(int)[:, None], columns.astype(int)]


def box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, ...]:
    """The largest centred (left, top, right, bottom) of the proportions of `target`.

    Args:
        size: width, height of the picture, as Pillow has it.
        target: height, width wanted.
    """
    (width, height), (rows, columns) = size, target
    scale = min(width / columns, height / rows)  # pixels of the picture to one wanted
    across, down = scale * columns, scale * rows
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, min(left + across, width), min(top + down, height)


def _open(path: pathlib.Path, kind: str) -> Image.Image:
    """The decoded picture; Pillow reports a broken one in several ways."""
    try:
        with path.open("rb") as file:  # closed at once, a broken one too
            picture = Image.open(file)
            frames = getattr(picture, "n_frames", 1)
            picture.load()
    except _BROKEN as error:
        raise InputError(
            f"The {kind} {_shown(path)} can't be decoded ({printable(error)}). "
            "Replace it, or remove it together with its pair."
        ) from error
    if frames > 1:
        raise InputError(
            f"A file holds one {kind}; {_shown(path)} holds {frames}. Split it."
        )
    return picture


def _labels_of_colours(
    path: pathlib.Path, picture: Image.Image, palette: tuple[str, ...]
) -> np.ndarray:
    """Labels int32 [H, W]. Raises InputError on a colour that the palette does not name."""
    labels = labels_of(palette)
    codes = _codes(picture)
    colours = np.array(sorted(labels), np.int32)
    places = np.searchsorted(colours, codes).clip(max=len(colours) - 1)
    unknown = np.unique(codes[colours[places] != codes])
    if len(unknown):
        raise InputError(
            f"--palette names the colours of masks; {_shown(path)} also has "
            f"{_told(unknown)}. Add them, those that mark no class with the label of "
            "--ignore_label, e.g. ffffff=255."
        )
    return np.array([labels[one] for one in colours.tolist()], np.int32)[places]


def _codes(picture: Image.Image) -> np.ndarray:
    """Each pixel's colour as 0xRRGGBB, int32 [H, W]."""
    red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB"), np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _told(colours: np.ndarray) -> str:
    named = ",".join(f"{one:06x}" for one in colours[:8].tolist())
    more = f" and {len(colours) - 8} more" if len(colours) > 8 else ""
    return named + more


def _colour_message(path: pathlib.Path, picture: Image.Image) -> str:
    expected = (
        f"Masks are single-channel label images; {_shown(path)} has mode {picture.mode}"
    )
    channels = np.asarray(picture)
    if channels.ndim == 3 and (channels[..., :3] == channels[..., :1]).all():
        folder = printable(os.path.join(path.parent, f"*{path.suffix}"))
        return (
            f"{expected} with equal channels. Keep the first: python -c "
            '"import sys; from PIL import Image; '
            f"[Image.open(f).getchannel(0).save(f) for f in sys.argv[1:]]\" '{folder}'"
        ).replace(f"'{folder}'", folder)
    found = _told(np.unique(_codes(picture)))
    return (
        f"{expected} in colour. Name the colours of labels 0, 1, 2, ...; here are "
        f"--palette={found}"
    )


def _shown(path: pathlib.Path) -> str:
    return printable(path)
