"""Reads an image file as 8 bits a channel, and scales an image and its mask to a size.

    picture = pictures.read_image(path, channels=1, reading=ReadingSpec("0,4095"))
    image = pictures.fit_image(picture.pixels, (64, 64))  # uint8 [64, 64, 1]

An image and its mask are cropped to the same box and so stay aligned: the box is the largest
centred part of the picture that has the target's proportions.
"""

import pathlib
import struct
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from tfreuse.errors import InputError, printable, reason
from tfreuse.specs import ReadingSpec

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm",
)  # fmt: skip
DEEP_COLOUR = " of 16 bits"  # end of the mode of such colour images
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # of more than 8 bits
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir")
_EIGHT_BITS = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr")
_EIGHT_BIT_VALUES = ReadingSpec()  # opaque, of 8 bits a channel
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


class ReadingError(InputError):
    """An image needs another `ReadingSpec` than the one given.

    Attributes:
        cause: the property that does not fit, in the same words for all such images.
        flag: the setting that reads it, as a flag.
    """

    def __init__(self, message: str, cause: str, flag: str) -> None:
        super().__init__(message)
        self.cause, self.flag = cause, flag


class Picture(NamedTuple):
    """The content of an image file."""

    pixels: np.ndarray  # uint8 [H, W, C], turned as the EXIF mark says
    mode: str
    orientation: int  # as of Opened


class Opened(NamedTuple):
    """A decoded file, turned as its EXIF mark says."""

    picture: Image.Image
    mode: str  # Pillow's; "RGB of 16 bits" is colour, of which Pillow reads the upper 8
    orientation: int  # the EXIF mark; 1: stored upright


def is_system_file(path: pathlib.Path) -> bool:
    """Returns whether an operating system put the file there (.DS_Store, Thumbs.db)."""
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def read_image(
    path: pathlib.Path, channels: int, reading: ReadingSpec = _EIGHT_BIT_VALUES
) -> Picture:
    """Reads an image of 1 or 3 channels, or a TIFF file of another number of bands.

    Args:
        path: the file.
        channels: 1: colour becomes grey (ITU-R 601); 3: grey is repeated; else bands.
        reading: the range of its values and the ground of transparent pixels.

    Raises:
        InputError: not a readable image, or one that needs other settings of `reading`.
    """
    if channels not in (1, 3):
        return Picture(_read_bands(path, channels, reading), f"{channels} bands", 1)
    picture, mode, orientation = open_picture(path, "image")
    if picture.mode in DEEP_MODES:
        values = _scaled(np.asarray(picture), reading, path)[..., None]
        return Picture(as_channels(values, channels), mode, orientation)
    if picture.mode not in _EIGHT_BITS:
        raise InputError(
            f"Images must be grey-scale or RGB; {printable(path)} has mode {mode}. Save it as PNG."
        )
    picture = _opaque(picture, reading, path).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture).reshape(*picture.size[::-1], channels)
    if reading.intensity_range:
        pixels = stretched(pixels, mode, reading, path)
    return Picture(pixels, mode, orientation)


def scaled(values: np.ndarray, reading: ReadingSpec) -> np.ndarray:
    """Maps the reading's range of values to 0..255, uint8; values beyond it are clipped."""
    low, high = reading.limits or np.percentile(values, (1, 99))
    shares = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.round(shares.clip(0, 1) * 255).astype(np.uint8)


def stretched(
    pixels: np.ndarray, mode: str, reading: ReadingSpec, name: object
) -> np.ndarray:
    """Applies the range to uint8 [H, W, C]. Raises InputError where it was given for others."""
    reason = cause = flag = ""
    if mode.endswith(DEEP_COLOUR):
        reason = "is in colour of 16 bits, of which the upper 8 are read"
        cause, flag = (
            "colour with an intensity range for grey-scale",
            "--intensity_range=",
        )
    elif reading.limits and reading.limits[1] > 255:
        reason = "has 8 bits"
        cause, flag = (
            "8 bits with an intensity range for more",
            "--intensity_range=0,255",
        )
    if reason:
        raise ReadingError(
            f"--intensity_range={reading.intensity_range} is for grey-scale images of more "
            f"than 8 bits; {printable(name)} {reason}. Save all images alike, or leave the "
            "flag out.",
            cause,
            flag,
        )
    return scaled(pixels, reading)


def as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Converts uint8 [H, W, 1 or 3] to [H, W, channels], as `read_image` does."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def fit_image(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales and centre-crops uint8 [h, w, C] to `size` (height, width): uint8 [H, W, C]."""
    height, width, channels = pixels.shape
    if (height, width) == tuple(size):
        return pixels
    box = _box((width, height), size)

    def fit(band: np.ndarray) -> np.ndarray:
        # Pillow's BILINEAR averages over the area that becomes a pixel: no aliasing.
        picture = Image.fromarray(np.ascontiguousarray(band))
        return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR, box))

    if channels == 3:
        return fit(pixels)
    return np.stack([fit(pixels[..., band]) for band in range(channels)], axis=-1)


def fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales and crops labels as `fit_image` does: int32 [h, w] to [H, W].

    A pixel takes the label at its centre. Whole numbers compute the centres exactly: rounding
    would decide on which side of an edge a centre lies that meets it.
    """
    (height, width), (rows, columns) = mask.shape, size
    # Pixels of the picture for each target pixel, as a fraction: the smaller of the sides'.
    whole, part = min(
        (width, columns), (height, rows), key=lambda side: side[0] / side[1]
    )
    row, column = (
        (side * part - count * whole + (2 * np.arange(count) + 1) * whole) // (2 * part)
        for side, count in ((height, rows), (width, columns))
    )
    return mask[row[:, None], column]


def turned(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Turns [H, W] as an EXIF mark of 1 to 8 turns the picture that has it."""
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return mask[:, ::-1] if orientation in (2, 3, 6, 7) else mask


def open_picture(path: pathlib.Path, kind: str) -> Opened:
    """Decodes a picture file and turns it upright.

    Raises:
        InputError: it cannot be decoded, or holds several pictures.
    """
    try:
        with path.open("rb") as file:  # Pillow itself would keep a broken file open
            picture = Image.open(file)
            frames = getattr(picture, "n_frames", 1)
            if picture.format == "MPO":  # a telephone's photo, and its depth after it
                frames = 1
            # Before the pixels are loaded: Pillow then turns TIFF files and drops the mark.
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
            is_deep = any(";16" in str(tile[3]) for tile in picture.tile)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
    except _BROKEN as error:
        raise InputError(
            f"The {kind} {printable(path)} can't be decoded ({reason(error)}). "
            f"Replace it, or remove it and its {'image' if kind == 'mask' else 'mask, if any'}."
        ) from error
    if frames > 1:
        raise InputError(
            f"A file must hold one {kind}; {printable(path)} holds {frames}. Split it."
        )
    mode = picture.mode
    if is_deep and mode in _EIGHT_BITS:
        mode += DEEP_COLOUR
    return Opened(picture, mode, orientation if orientation in range(1, 9) else 1)


def has_alpha(picture: Image.Image) -> bool:
    """Returns whether a pixel is not opaque."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return picture.convert("RGBA").getchannel("A").getextrema()[0] < 255
    return False


def _opaque(
    picture: Image.Image, reading: ReadingSpec, path: pathlib.Path
) -> Image.Image:
    """Lays a partly transparent picture on the ground; returns mode L or RGB."""
    if not has_alpha(picture):
        return picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    if not reading.background:
        raise ReadingError(
            f"Images must be opaque; {printable(path)} is partly transparent. Type "
            "--background=000000 to lay such images on black, or another colour RRGGBB.",
            "transparent pixels without a background",
            "--background=000000",
        )
    pixels = np.asarray(picture.convert("RGBA"), np.int32)
    alpha, ground = pixels[..., 3:], np.array(reading.ground)
    mixed = (pixels[..., :3] * alpha + ground * (255 - alpha) + 127) // 255
    return Image.fromarray(mixed.astype(np.uint8))


def _scaled(values: np.ndarray, reading: ReadingSpec, path: pathlib.Path) -> np.ndarray:
    """Returns `scaled` of the values of a file of more than 8 bits. Raises InputError."""
    if not np.isfinite(values).all():
        raise InputError(
            f"Images must hold finite numbers; {printable(path)} has NaN or infinite values. "
            "Replace them."
        )
    if not reading.intensity_range:
        low, high = values.min(), values.max()
        bits = max(9, int(max(high, 0)).bit_length())
        example = (
            f"{low:g},{high:g}" if low < 0 else f"0,{2**bits - 1 if high > 1 else 1}"
        )
        raise ReadingError(
            f"Images must have 8 bits a channel; {printable(path)} has values {low:g} to {high:g}. "
            f"Type --intensity_range={example} for the values that become 0 and 255 in every "
            "image, or --intensity_range=percentile for those of each image.",
            "more than 8 bits without an intensity range",
            f"--intensity_range={example}",
        )
    return scaled(values, reading)


def _read_bands(path: pathlib.Path, channels: int, reading: ReadingSpec) -> np.ndarray:
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
            f"The image {printable(path)} can't be read as TIFF ({reason(error, 120)}). "
            f"Images of --channels={channels} must be TIFF files."
        ) from error
    if bands.ndim == 3 and bands.shape[-1] != channels:
        bands = np.moveaxis(bands, 0, -1)  # planar storage: [C, H, W]
    if bands.ndim != 3 or bands.shape[-1] != channels:
        raise InputError(
            f"Images must have {channels} bands (--channels={channels}); {printable(path)} is "
            f"{bands.dtype} {bands.shape}. Give its number of bands as --channels."
        )
    if bands.dtype != np.uint8 or reading.intensity_range:
        bands = [_scaled(band, reading, path) for band in np.moveaxis(bands, -1, 0)]
        return np.stack(bands, axis=-1)
    return np.ascontiguousarray(bands)


def _box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, ...]:
    """Returns the largest centred box (x1, y1, x2, y2) with the proportions of `target`.

    Args:
        size: width, height of the picture, in Pillow's order.
        target: height, width after scaling.
    """
    (width, height), (rows, columns) = size, target
    # Pixels of the picture for each pixel of the target.
    scale = min(width / columns, height / rows)
    box_width, box_height = scale * columns, scale * rows
    x1, y1 = (width - box_width) / 2, (height - box_height) / 2
    # Rounding must not put the box beyond the picture, which Pillow refuses.
    return x1, y1, min(x1 + box_width, width), min(y1 + box_height, height)
