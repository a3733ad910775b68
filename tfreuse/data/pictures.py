"""Reads one picture file strictly, and scales an image and its mask to a size.

An image and its mask are cropped to the same box and so stay aligned: `box` is the largest
centred part of the picture that has the target's proportions.
"""

import os
import pathlib

import numpy as np
from PIL import Image, ImageOps

from tfreuse.errors import InputError, printable
from tfreuse.specs import labels_of

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
MOST_LABELS = 65536
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read_image(path: pathlib.Path) -> tuple[Image.Image, str]:
    """Reads an image in mode L or RGB, rotated by its EXIF tag, with the file's mode.

    Raises:
        InputError: not a readable image of 8 bits a channel.
    """
    picture = _open(path, "image")
    mode = picture.mode
    if mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        if alpha.getextrema()[0] < 255:
            raise InputError(
                f"Images are opaque; {printable(path)} is partly transparent. "
                "Lay it on a ground first, e.g. convert FILE -background black -flatten FILE."
            )
    if mode not in ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr"):
        raise InputError(
            f"Images have 8 bits a channel; {printable(path)} has mode {mode}. Scale its values "
            "to 0..255 and save it as 8-bit PNG."
        )
    grey = mode in ("1", "L", "LA")
    return ImageOps.exif_transpose(picture.convert("L" if grey else "RGB")), mode


def read_bands(path: pathlib.Path, channels: int) -> np.ndarray:
    """Reads all bands of a TIFF file, uint8 [H, W, channels].

    Raises:
        InputError: the file is no such image, or tifffile is not installed.
    """
    try:
        import tifffile  # an extra
    except ImportError as error:
        raise InputError(
            "images of other than 1 or 3 channels need tifffile: pip install "
            "'tfreuse[tiff]', or in a checkout pip install -e '.[tiff]'."
        ) from error
    try:
        bands = tifffile.imread(path)
    except Exception as error:  # tifffile has no common base class of errors
        raise InputError(
            f"The image {printable(path)} can't be read as TIFF ({printable(error, 120)}). "
            f"Images of --channels={channels} are TIFF files."
        ) from error
    if bands.ndim == 3 and bands.shape[-1] != channels:
        bands = np.moveaxis(bands, 0, -1)  # planar storage: [C, H, W]
    if bands.ndim != 3 or bands.shape[-1] != channels or bands.dtype != np.uint8:
        raise InputError(
            f"Images have {channels} bands of 8 bits (--channels={channels}); "
            f"{printable(path)} is {bands.dtype} {bands.shape}. Give --channels, or scale its "
            "values to 0..255."
        )
    return np.ascontiguousarray(bands)


def read_mask(
    path: pathlib.Path, palette: tuple[str, ...] = ()
) -> tuple[np.ndarray, str]:
    """Reads the labels int32 [H, W] and the file's mode; mode P stores labels as indices.

    Args:
        path: the file.
        palette: `DataSpec.palette`, which maps colours to labels; empty: pixels are labels.

    Raises:
        InputError: not a readable label image, or labels below 0 or from 65536 up.
    """
    picture = _open(path, "mask")
    if picture.format == "JPEG":
        raise InputError(
            f"Masks keep labels exactly; {printable(path)} is JPEG, which blurs them. "
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
            f"Labels are 0 to {MOST_LABELS - 1}; {printable(path)} has {low} to {high}. "
            "Renumber its labels to 0, 1, 2, ..."
        )
    return mask, picture.mode


def fit_image(picture: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """Scales and centre-crops to `size` (height, width): uint8 [H, W, channels]."""
    picture = picture.convert("L" if channels == 1 else "RGB")
    crop = box(picture.size, size)
    if picture.size != size[::-1]:
        # Pillow's BILINEAR averages over the area that becomes a pixel: no aliasing.
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR, box=crop)
    return np.asarray(picture).reshape(*size, channels)


def fit_bands(bands: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Applies `fit_image` to each band: uint8 [h, w, C] to [*size, C]."""
    pictures = [Image.fromarray(band) for band in np.moveaxis(bands, -1, 0)]
    return np.concatenate([fit_image(p, size, 1) for p in pictures], axis=-1)


def fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales and crops labels as `fit_image` does, nearest: int32 [h, w] to [H, W]."""
    height, width = mask.shape
    x1, y1, x2, y2 = box((width, height), size)
    rows = y1 + (np.arange(size[0]) + 0.5) * (y2 - y1) / size[0]
    columns = x1 + (np.arange(size[1]) + 0.5) * (x2 - x1) / size[1]
    return mask[rows.astype(int)[:, None], columns.astype(int)]


def box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, ...]:
    """Returns the largest centred box (x1, y1, x2, y2) with the proportions of `target`.

    Args:
        size: width, height of the picture, in Pillow's order.
        target: height, width after scaling.
    """
    (width, height), (rows, columns) = size, target
    scale = min(
        width / columns, height / rows
    )  # pixels of the picture per target pixel
    box_width, box_height = scale * columns, scale * rows
    x1, y1 = (width - box_width) / 2, (height - box_height) / 2
    # Rounding must not put the box beyond the picture, which Pillow refuses.
    return x1, y1, min(x1 + box_width, width), min(y1 + box_height, height)


def _open(path: pathlib.Path, kind: str) -> Image.Image:
    """Decodes a picture file; Pillow has several exceptions for a broken file."""
    try:
        with path.open("rb") as file:  # Pillow itself would keep a broken file open
            picture = Image.open(file)
            frames = getattr(picture, "n_frames", 1)
            picture.load()
    except _BROKEN as error:
        raise InputError(
            f"The {kind} {printable(path)} can't be decoded ({printable(error)}). "
            "Replace it, or remove it together with its pair."
        ) from error
    if frames > 1:
        raise InputError(
            f"A file holds one {kind}; {printable(path)} holds {frames}. Split it."
        )
    return picture


def _labels_of_colours(
    path: pathlib.Path, picture: Image.Image, palette: tuple[str, ...]
) -> np.ndarray:
    """Returns labels int32 [H, W]. Raises InputError on a colour that the palette lacks."""
    labels = labels_of(palette)
    codes = _codes(picture)
    colours = np.array(sorted(labels), np.int32)
    indices = np.searchsorted(colours, codes).clip(max=len(colours) - 1)
    unknown = np.unique(codes[colours[indices] != codes])
    if len(unknown):
        raise InputError(
            f"--palette names the colours of masks; {printable(path)} also has "
            f"{_as_text(unknown)}. Add them, those that mark no class with the label of "
            "--ignore_label, e.g. ffffff=255."
        )
    return np.array([labels[colour] for colour in colours.tolist()], np.int32)[indices]


def _codes(picture: Image.Image) -> np.ndarray:
    """Returns each pixel's colour as 0xRRGGBB, int32 [H, W]."""
    red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB"), np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _as_text(colours: np.ndarray) -> str:
    """Formats at most eight colours as RRGGBB, the syntax of --palette."""
    text = ",".join(f"{colour:06x}" for colour in colours[:8].tolist())
    return text + (f" and {len(colours) - 8} more" if len(colours) > 8 else "")


def _colour_message(path: pathlib.Path, picture: Image.Image) -> str:
    expected = (
        f"Masks are single-channel label images; {printable(path)} has mode "
        f"{picture.mode}"
    )
    channels = np.asarray(picture)
    if channels.ndim == 3 and (channels[..., :3] == channels[..., :1]).all():
        pattern = printable(os.path.join(path.parent, f"*{path.suffix}"))
        return (
            f"{expected} with equal channels. Keep the first: python -c "
            '"import sys; from PIL import Image; '
            f'[Image.open(f).getchannel(0).save(f) for f in sys.argv[1:]]" {pattern}'
        )
    colours = _as_text(np.unique(_codes(picture)))
    return (
        f"{expected} in colour. Name the colours of labels 0, 1, 2, ...; here are "
        f"--palette={colours}"
    )
