"""Test images of the first seed, before and after a group of all layers was replaced."""

import base64
import io
import re
import sys
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfreuse import files
from tfreuse.analysis.arms import Part
from tfreuse.errors import InputError
from tfreuse.report import arrays, figures, pixels
from tfreuse.report.views.snapshot import Snapshot

LARGEST = 200_000_000  # bytes of all arrays, unpacked
_SIDE = 128  # pixels: smallest side of a picture
_ADDRESS = re.compile(r'href="data:image/(?:png|webp);base64,([^"]*)"')


def has(snapshot: Snapshot, part: Part, group: str) -> bool:
    """Returns whether the study has pictures of a group."""
    return group in _groups(snapshot, part)


def strip(snapshot: Snapshot, part: Part, group: str) -> bytes:
    """Returns a PNG: a line an image with input, truth, before, after, recalibrated; and a line
    with errors of the last three.

    Raises:
        InputError: the study holds no such pictures.
    """
    groups = _groups(snapshot, part)
    if group not in groups:
        raise InputError("there are no pictures of this group.")
    stored, g = _arrays(snapshot, part), groups.index(group)
    try:
        of_group = {
            name: stored[name][g : g + 1]
            for state in figures.strip.STATES
            for name in (state, f"{state}_error")
        }
        sheet = figures.strip.sheet({**stored, **of_group}, sys.maxsize)
        return _png(sheet, 0, stored["input"].shape[1:3])
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(f"the pictures cannot be shown ({error}).") from error


def shared(
    snapshot: Snapshot, part: Part, drawings: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Returns, by group, where a page's figures have the pixels of `strip`.

    Args:
        snapshot: of the study.
        part: of the study.
        drawings: the figures, as SVG.

    Returns:
        figure (its number), group (its number), size (of a picture, [H, W]) for each group; {}
        where no figure has all pixels.
    """
    groups, stored = _groups(snapshot, part), _arrays(snapshot, part)
    if not groups or max(stored["input"].shape[1:3]) > figures.strip.LARGEST:
        return {}
    address = pixels.shortened(figures.strip.address(figures.strip.sheet(stored)))
    numbers = [n for n, markup in enumerate(drawings) if address in markup]
    size = list(stored["input"].shape[1:3])
    return {
        group: {"figure": number, "group": g, "size": size}
        for number in numbers[:1]
        for g, group in enumerate(groups)
    }


def cut(drawing: str, group: int, size: Sequence[int]) -> bytes:
    """Returns the PNG of `strip`, cut from a figure that `shared` found.

    Raises:
        ValueError, OSError: the drawing has no such picture.
    """
    from PIL import Image  # a report without pictures needs none of it

    match = _ADDRESS.search(drawing)
    with Image.open(io.BytesIO(base64.b64decode(match[1] if match else ""))) as image:
        if 3 * image.width * image.height > LARGEST:
            raise ValueError("the picture is too large")
        return _png(np.asarray(image.convert("RGB")), group, size)


def _png(sheet: np.ndarray, group: int, size: Sequence[int]) -> bytes:
    """Returns a group's pictures, enlarged, as PNG."""
    from PIL import Image

    data = io.BytesIO()
    times = max(1, -(-_SIDE // min(size)))
    enlarged = figures.strip.of_group(sheet, group, size, times)
    Image.fromarray(enlarged).save(data, "png")
    return data.getvalue()


def _groups(snapshot: Snapshot, part: Part) -> list[str]:
    pictures = _arrays(snapshot, part)
    complete = arrays.has(pictures, arrays.STRIP)
    return [str(name) for name in pictures["groups"].ravel()] if complete else []


def _arrays(snapshot: Snapshot, part: Part) -> arrays.Arrays:
    """Returns the study's arrays of pictures; {} if the file is no plain one or too large."""

    def load() -> arrays.Arrays:
        path = arrays.path(snapshot.source.path, part)
        if path.parent.is_symlink() or not files.is_own_file(path):
            return {}
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                    return {}
            stored = arrays.load(snapshot.source.path, part)
        except (InputError, OSError, zipfile.BadZipFile):
            return {}
        return {name: stored[name] for name in arrays.STRIP if name in stored}

    return snapshot.keep(("pictures", part), load)
