"""Reads a mask file as labels: grey values, indices of a palette, colours, or a threshold."""

import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfreuse.data import pictures
from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec, labels_of

MOST_LABELS = 65536
_LABELS = DataSpec()  # neither colours nor grey values, but labels
_GREY_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")


class Mask(NamedTuple):
    """The content of a mask file."""

    labels: np.ndarray  # int32 [H, W]
    mode: str  # Pillow's mode of the file
    is_turned: bool  # by an EXIF mark of its own
    is_grey_colour: bool  # stored as RGB with three equal channels


def read(path: pathlib.Path, spec: DataSpec = _LABELS) -> Mask:
    """Reads the labels of a mask; mode P stores them as indices.

    Args:
        path: the file.
        spec: its `palette` maps colours to labels, its `mask_threshold` grey values; without
            either, pixels are labels.

    Raises:
        InputError: not a readable label image, or labels below 0 or from 65536 up.
    """
    picture, mode, orientation = pictures.open_picture(path, "mask")
    if _is_blurred(path, picture) and not spec.mask_threshold:
        raise InputError(
            f"Masks must keep labels exactly; {printable(path)} is {picture.format}, which blurs "
            "them. Save the masks as PNG from their source, or type --mask_threshold=128 if "
            "they are black and white."
        )
    if spec.palette:
        labels = _labels_of_colours(path, picture, spec.palette)
        return Mask(labels, mode, orientation != 1, False)
    is_grey_colour = mode not in _GREY_MODES
    values = _grey(path, picture) if is_grey_colour else np.asarray(picture)
    labels = as_labels(values.astype(np.int32), spec.mask_threshold, mode == "1")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MOST_LABELS:
        raise InputError(
            f"Labels must be 0 to {MOST_LABELS - 1}; {printable(path)} has {low} to {high}. "
            "Renumber its labels to 0, 1, 2, ..."
        )
    return Mask(labels, mode, orientation != 1, is_grey_colour)


def as_labels(
    values: np.ndarray, threshold: int, is_binary: bool = False
) -> np.ndarray:
    """Returns int32 values as labels: 1 from the threshold up, unless it is 0."""
    if not threshold or is_binary:
        return values
    return (values >= threshold).astype(np.int32)


def _is_blurred(path: pathlib.Path, picture: Image.Image) -> bool:
    """Returns whether the file was compressed with loss."""
    if picture.format == "WEBP":
        return b"VP8L" not in path.read_bytes()  # the chunk of lossless WebP
    return picture.format in ("JPEG", "MPO")


def _grey(path: pathlib.Path, picture: Image.Image) -> np.ndarray:
    """Returns the first of three equal channels. Raises InputError on colours."""
    expected = (
        f"Masks must be single-channel label images; {printable(path)} has mode "
        f"{picture.mode}"
    )
    if pictures.has_alpha(picture):
        raise InputError(
            f"{expected} and is partly transparent. Save its labels as a grey-scale PNG."
        )
    channels = np.asarray(picture.convert("RGB"))
    if (channels == channels[..., :1]).all():
        return channels[..., 0]
    colours = _as_text(np.unique(_codes(picture)))
    raise InputError(
        f"{expected} in colour. Name the colours of labels 0, 1, 2, ...; here are "
        f"--palette={colours}"
    )


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
            f"--palette must name all colours of masks; {printable(path)} also has "
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
