"""Which labels masks may hold, judged by counts of pixels a file."""

import pathlib

import numpy as np

from tfreuse.errors import InputError, printable

DIVIDE = (
    'python -c "import sys, numpy; from PIL import Image; [Image.fromarray((numpy.asarray('
    "Image.open(f)) // 255).astype('uint8')).save(f) for f in sys.argv[1:]]\""
)

# (file or example, pixels of each label 0, 1, ... in it)
Counts = list[tuple[str, np.ndarray]]


def count(mask: np.ndarray) -> np.ndarray:
    """How many pixels of labels int32 [H, W], none negative, have label 0, 1, ...: int64."""
    return np.bincount(mask.ravel())


def total(counts: Counts) -> np.ndarray:
    """The sum over files."""
    result = np.zeros(max(len(one) for _, one in counts), np.int64)
    for _, one in counts:
        result[: len(one)] += one
    return result


def classes(counts: Counts, ignore_label: int) -> int:
    """1 + the largest label that is not `ignore_label`.

    Raises:
        InputError: 255 looks like a mark rather than a class, or there is one class only.
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
    bad = [
        label
        for label in _present(total(counts))
        if label >= num_classes and label != ignore_label
    ]
    if bad:
        label = bad[0]
        ignored = f" or --ignore_label={ignore_label}" if ignore_label >= 0 else ""
        raise InputError(
            f"Labels are 0 to {num_classes - 1} (--num_classes={num_classes}){ignored}; "
            f"{_holder(counts, label)} has {label}. Type --num_classes={max(bad) + 1}, or "
            f"--ignore_label={label} if {label} marks pixels without a class."
        )


def refuse_black_and_white(counts: Counts, ignore_label: int) -> None:
    """Raises InputError if the labels are 0 and 255, and 255 is not the ignored one."""
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
    """The first file that has `label`."""
    return printable(
        next(name for name, one in counts if label < len(one) and one[label])
    )
