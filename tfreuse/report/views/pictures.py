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
    return group in _groups(snapshot, part)


def strip(snapshot: Snapshot, part: Part, group: str) -> bytes:
    """A PNG: a line an image with COLUMNS, and a line with the errors of the last three.

    Raises:
        InputError: the study holds no such pictures.
    """
    from PIL import Image  # a report without pictures needs none of it

    groups = _groups(snapshot, part)
    if group not in groups:
        raise InputError("there are no pictures of this group.")
    found = _arrays(snapshot, part)
    place, lines = groups.index(group), []
    try:
        for i in range(min(_MOST_IMAGES, len(found["input"]))):
            shown = [found[name][i] for name in ("input", "truth", "before")]
            shown += [found[name][place, i] for name in ("after", "recalibrated")]
            errors = [found["before_error"][i]]
            errors += [found[f"{n}_error"][place, i] for n in ("after", "recalibrated")]
            blank = [np.zeros_like(shown[0])] * 2
            lines += [shown, blank + [np.stack([one] * 3, -1) for one in errors]]
        data = io.BytesIO()
        Image.fromarray(_joined(lines)).save(data, "png")
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(f"the pictures cannot be shown ({error}).") from error
    return data.getvalue()


def _groups(snapshot: Snapshot, part: Part) -> list[str]:
    found = _arrays(snapshot, part)
    whole = arrays.has(found, arrays.STRIP)
    return [str(one) for one in found["groups"].ravel()] if whole else []


def _arrays(snapshot: Snapshot, part: Part) -> arrays.Arrays:
    """What the study kept; nothing if that is no plain file or too large to unpack."""

    def made() -> arrays.Arrays:
        path = arrays.path(snapshot.source.path, part)
        if path.parent.is_symlink() or not files.is_own_file(path):
            return {}
        try:
            with zipfile.ZipFile(path) as held:
                if sum(one.file_size for one in held.infolist()) > LARGEST:
                    return {}
            found = arrays.load(snapshot.source.path, part)
        except (InputError, OSError, zipfile.BadZipFile):
            return {}
        return {name: found[name] for name in arrays.STRIP if name in found}

    return snapshot.keep(("pictures", part), made)


def _joined(lines: list[list[np.ndarray]]) -> np.ndarray:
    """The pictures, uint8 [H, W, 3] each, enlarged, side by side on black."""
    times = max(1, -(-_SIDE // min(lines[0][0].shape[:2])))
    rows = []
    for line in lines:
        padded = [
            np.pad(
                one[..., :3].repeat(times, 0).repeat(times, 1),
                ((0, _GAP), (0, _GAP), (0, 0)),
            )
            for one in line
        ]
        rows.append(np.concatenate(padded, axis=1))
    return np.concatenate(rows).astype(np.uint8)
