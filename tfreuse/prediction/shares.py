"""A table of each class's share of each image, from the mask files of a prediction."""

import csv
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from tfreuse import files

NAME = "shares.csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of spreadsheet formulas


def write(
    masks: Iterable[tuple[str, pathlib.Path]],
    class_names: Sequence[str],
    out_dir: pathlib.Path,
) -> pathlib.Path:
    """Writes `out_dir`/shares.csv: a line per image with the share of pixels of each class.

    Args:
        masks: (name of the image, PNG file of its mask with labels as grey values).
        class_names: names of the labels 0, 1, ...
        out_dir: an existing folder.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "height", "width", *map(_inert, class_names)])
    for name, path in masks:
        with Image.open(path) as picture:
            mask = np.asarray(picture)
        counts = np.bincount(mask.ravel(), minlength=len(class_names))
        shares = [f"{count / mask.size:.6g}" for count in counts]
        writer.writerow([_inert(name), *mask.shape, *shares])
    files.write_text(out_dir / NAME, text.getvalue())
    return out_dir / NAME


def _inert(text: str) -> str:
    """Quotes a text that a spreadsheet would execute as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
