"""Checks the labels of masks by their counts of pixels per file."""

import pathlib

import numpy as np

from tfreuse.errors import InputError, printable

DIVIDE = (
    'python -c "import sys, numpy; from PIL import Image; [Image.fromarray((numpy.asarray('
    "Image.open(f)) // 255).astype('uint8')).save(f) for f in sys.argv[1:]]\""
)

# (file or example, its number of pixels of each label 0, 1, ...)
Counts = list[tuple[str, np.ndarray]]


def count(mask: np.ndarray) -> np.ndarray:
    """Counts the pixels of labels 0, 1, ... in a mask int32 [H, W] >= 0: int64 [labels]."""
    return np.bincount(mask.ravel())


def total(counts: Counts) -> np.ndarray:
    """Sums the counts over files."""
    pixels = np.zeros(max(len(file_counts) for _, file_counts in counts), np.int64)
    for _, file_counts in counts:
        pixels[: len(file_counts)] += file_counts
    return pixels


def classes(counts: Counts, ignore_label: int) -> int:
    """Returns 1 + the largest label that is not `ignore_label`.

    Raises:
        InputError: 255 looks like a mark of unlabelled pixels, or there is only one class.
    """
    refuse_black_and_white(counts, ignore_label)
    present = [label for label in _present(total(counts)) if label != ignore_label]
    largest = max(present, default=0)
    if largest == 255:
        raise InputError(
            f"Labels count up from 0; {_holder(counts, 255)} has 255, which usually marks "
            "unlabelled pixels. Type --ignore_label=255, or --num_classes=256 if it is a class."
        )
    if largest == 0:
        raise InputError(
            "Masks need two classes or more; all of these hold label 0 alone. "
            "Type --num_classes=K if other labels are to come, or check the masks."
        )
    return largest + 1


def check(counts: Counts, num_classes: int, ignore_label: int) -> None:
    """Raises InputError unless every label is below `num_classes` or is `ignore_label`."""
    if num_classes <= 255:
        refuse_black_and_white(counts, ignore_label)
    too_large = [
        label
        for label in _present(total(counts))
        if label >= num_classes and label != ignore_label
    ]
    if too_large:
        label = too_large[0]
        ignored = f" or --ignore_label={ignore_label}" if ignore_label >= 0 else ""
        raise InputError(
            f"Labels are 0 to {num_classes - 1} (--num_classes={num_classes}){ignored}; "
            f"{_holder(counts, label)} has {label}. Type --num_classes={max(too_large) + 1}, or "
            f"--ignore_label={label} if {label} marks pixels without a class."
        )


def refuse_black_and_white(counts: Counts, ignore_label: int) -> None:
    """Raises InputError if the labels are 0 and 255 and 255 is not the ignored label."""
    present = _present(total(counts))
    if ignore_label == 255 or 255 not in present or not set(present) <= {0, 255}:
        return
    name = _holder(counts, 255)
    folder = pathlib.Path(name).parent
    command = ""
    if folder.is_absolute() or folder.is_dir() and folder != pathlib.Path("."):
        command = f": {DIVIDE} {printable(folder)}/*"
    raise InputError(
        f"Labels are 0, 1, 2, ...; {name} is black and white (0 and 255). If 255 marks "
        f"unlabelled pixels, type --ignore_label=255; if it is a class, make it 1{command}"
    )


def _present(pixels: np.ndarray) -> list[int]:
    return np.flatnonzero(pixels).tolist()


def _holder(counts: Counts, label: int) -> str:
    """Returns the first file that has `label`."""
    return printable(
        next(
            name
            for name, file_counts in counts
            if label < len(file_counts) and file_counts[label]
        )
    )
