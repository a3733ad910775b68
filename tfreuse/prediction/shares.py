"""How much of each image every class takes, as a table, from the masks that were written."""

import csv
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from tfreuse import files

NAME = "shares.csv"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


def write(
    masks: Iterable[tuple[str, pathlib.Path]],
    class_names: Sequence[str],
    out_dir: pathlib.Path,
) -> pathlib.Path:
    """Writes `out_dir`/shares.csv: a line an image, its share of pixels a class.

    Args:
        masks: the images' names and the files of their masks, PNG, labels as grey values.
        class_names: of the labels 0, 1, ...
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
    """The text as a spreadsheet shows it and does nothing else."""
    return f"'{text}" if text.startswith(_FORMULA) else text
