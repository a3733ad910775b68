"""Test images of the first seed, before and after a group of all layers was replaced."""

import io
import zipfile

import numpy as np

from tfreuse import files
from tfreuse.analysis.arms import Part
from tfreuse.errors import InputError
from tfreuse.report import arrays
from tfreuse.report.views.snapshot import Snapshot

COLUMNS = ("input", "truth", "before", "after", "recalibrated")
LARGEST = 200_000_000  # bytes of all arrays, unpacked
_MOST_IMAGES = 4
_SIDE, _GAP = 128, 4  # pixels: smallest side of a picture, and between two


def has(snapshot: Snapshot, part: Part, group: str) -> bool:
    """Returns whether the study has pictures of a group."""
    return group in _groups(snapshot, part)


def strip(snapshot: Snapshot, part: Part, group: str) -> bytes:
    """Returns a PNG: a line an image with COLUMNS, and a line with errors of the last three.

    Raises:
        InputError: the study holds no such pictures.
    """
    from PIL import Image  # a report without pictures needs none of it

    groups = _groups(snapshot, part)
    if group not in groups:
        raise InputError("there are no pictures of this group.")
    stored = _arrays(snapshot, part)
    g, lines = groups.index(group), []
    try:
        for i in range(min(_MOST_IMAGES, len(stored["input"]))):
            images = [stored[name][i] for name in COLUMNS[:3]]
            images += [stored[name][g, i] for name in COLUMNS[3:]]
            errors = [stored["before_error"][i]]
            errors += [stored[f"{name}_error"][g, i] for name in COLUMNS[3:]]
            blank = [np.zeros_like(images[0])] * 2
            lines += [images, blank + [np.stack([error] * 3, -1) for error in errors]]
        data = io.BytesIO()
        Image.fromarray(_joined(lines)).save(data, "png")
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(f"the pictures cannot be shown ({error}).") from error
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


def _joined(lines: list[list[np.ndarray]]) -> np.ndarray:
    """Joins pictures, uint8 [H, W, 3] each, enlarged, side by side on black."""
    times = max(1, -(-_SIDE // min(lines[0][0].shape[:2])))
    rows = []
    for line in lines:
        padded = [
            np.pad(
                image[..., :3].repeat(times, 0).repeat(times, 1),
                ((0, _GAP), (0, _GAP), (0, 0)),
            )
            for image in line
        ]
        rows.append(np.concatenate(padded, axis=1))
    return np.concatenate(rows).astype(np.uint8)
