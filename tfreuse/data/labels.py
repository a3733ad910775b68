"""Checks the labels of masks by their counts of pixels per file."""

import numpy as np

from tfreuse.errors import InputError, printable

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
        InputError: the values look like grey values and not like labels, 255 looks like a mark
            of unlabelled pixels, or there is only one class.
    """
    refuse_black_and_white(counts, ignore_label)
    refuse_soft_edges(counts)
    present = [label for label in _present(total(counts)) if label != ignore_label]
    largest = max(present, default=0)
    if largest == 255:
        counted = present[:-1] == list(range(len(present) - 1))
        flag = "" if counted else _palette(present)
        flag = flag or "--num_classes=256"
        raise InputError(
            f"Labels must count up from 0; {_holder(counts, 255)} has 255, which usually marks "
            f"unlabelled pixels. Type --ignore_label=255, or {flag} if it is a class."
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
        refuse_soft_edges(counts)
        label = too_large[0]
        ignored = f" or --ignore_label={ignore_label}" if ignore_label >= 0 else ""
        raise InputError(
            f"Labels must be 0 to {num_classes - 1} (--num_classes={num_classes}){ignored}; "
            f"{_holder(counts, label)} has {label}. Type --num_classes={max(too_large) + 1}, or "
            f"--ignore_label={label} if {label} marks pixels without a class."
        )


def notes(counts: Counts, ignore_label: int) -> list[str]:
    """Returns warnings of labels below the largest that no mask has, and of stray pixels."""
    strays = _strays(counts, ignore_label)
    return [
        *_gaps(counts, ignore_label, bool(strays)),
        *_numbered(counts),
        *(_stray_note(counts, label, ignore_label) for label in strays),
    ]


def _strays(counts: Counts, ignore_label: int) -> list[int]:
    """Returns at most three labels of very few pixels; [] where most labels have few."""
    pixels = total(counts)
    present = [label for label in _present(pixels) if label != ignore_label]
    scarce = [
        label for label in present if pixels[label] < max(10, 5e-5 * pixels.sum())
    ]
    if len(scarce) > 20:  # objects of their own, and slow to look up
        return []
    rare = [
        label
        for label in scarce
        if pixels[label] < 10 or len(_holders(counts, label)) <= 3
    ]
    return rare if len(rare) <= 3 and 2 * len(rare) < len(present) else []


def _stray_note(counts: Counts, label: int, ignore_label: int) -> str:
    pixels, names = int(total(counts)[label]), _holders(counts, label)
    flag = f", or type --ignore_label={label}" if ignore_label < 0 else ""
    return (
        f"label {label}: {pixels} pixel{'s' * (pixels != 1)} in {len(names)} "
        f"mask{'s' * (len(names) != 1)} ({', '.join(map(printable, names[:3]))}"
        f"{', ...' if len(names) > 3 else ''}); if it is no class, repair the masks{flag}"
    )


def _gaps(counts: Counts, ignore_label: int, has_strays: bool) -> list[str]:
    """Returns a warning if labels below the largest occur in no mask; else no line.

    Where labels are strays it has no advice: a palette would keep them.
    """
    present = [label for label in _present(total(counts)) if label != ignore_label]
    count = max(present) + 1
    absent = sorted(set(range(count)) - {*present, ignore_label})
    if not absent:
        return []
    advice = ""
    is_sparse = 2 * len(absent) >= count and not has_strays
    if is_sparse and _palette(present):
        advice = f"; {_palette(present)} makes those that occur labels 0, 1, ..."
    if len(present) > 2 and is_sparse:
        advice += "; if they number objects, --mask_threshold=1 makes these one class"
    line = f"{_ranges(absent)} of {count} labels occur in no mask, and are classes all the same"
    return [line + advice]


def _palette(present: list[int]) -> str:
    """Returns the flag that makes few grey values labels 0, 1, ...; "" for many, or of 16 bits."""
    if len(present) > 8 or present[-1] > 255 or 2 * len(present) > present[-1]:
        return ""
    return f"--palette={','.join(f'{label:02x}' * 3 for label in present)}"


def _numbered(counts: Counts) -> list[str]:
    """Returns a line if labels may number the objects of each image, as instances have them.

    Every mask then holds labels 1 to some number without a gap, and that number differs. Three
    classes, each of which lies in the one before, look alike; there is no line on so few.
    """
    present = [np.flatnonzero(file_counts[1:]) for _, file_counts in counts]
    numbers = {len(labels) for labels in present} - {0}
    has_gaps = any(len(labels) and labels[-1] >= len(labels) for labels in present)
    if has_gaps or len(numbers) < 3 or max(numbers) < 4:
        return []
    line = f"every mask has labels from 1 to some number, up to {max(numbers)}, without a gap"
    return [f"{line}: if they number objects, --mask_threshold=1 makes these one class"]


def refuse_soft_edges(counts: Counts) -> None:
    """Raises InputError if the values are black and white with grey edges, not labels.

    Such masks hold 0 and a white of 255 (or 65535) in most pixels, and between them many
    values that leave gaps or fill the whole range. Labels count up from 0 to far below white.
    Of another white, the values between are rare each: see `_has_rare_greys`.
    """
    pixels = total(counts)
    present = _present(pixels)
    white = present[-1]
    between = present[1:-1]
    if present[0] != 0 or len(between) < 3:
        return
    if white in (255, 65535):
        is_run = (
            between == list(range(1, len(between) + 1)) and len(between) < white - 1
        )
        is_dark = between[-1] <= white // 2
        if is_run or is_dark or 2 * (pixels[0] + pixels[white]) < pixels.sum():
            return
    elif not _has_rare_greys(counts, pixels, white):
        return
    raise InputError(
        f"Masks must hold labels; {_holder(counts, white)} and others hold {len(between)} grey "
        f"values between 0 and {white}, as black and white masks with soft edges do. Type "
        f"--mask_threshold={(white + 1) // 2} to make them labels 0 and 1, or "
        f"--num_classes={white + 1} if they are labels."
    )


def _has_rare_greys(counts: Counts, pixels: np.ndarray, white: int) -> bool:
    """Returns whether most files hold 0, one bright value, and each of many greys in few pixels.

    Masks that were scaled, or painted in another white, such as 200 or 254. No class of many
    that labels count has so few pixels beside the last.
    """
    between = np.flatnonzero(pixels[1:white])
    soft = [c for _, c in counts if len(c) > white and np.count_nonzero(c) >= 8]
    return (
        white >= 32
        and len(between) >= 12
        and 2 * len(soft) > len(_holders(counts, white))
        and pixels[white] > 5 * pixels[1:white].max()
        and 5 * (pixels[0] + pixels[white]) > 4 * pixels.sum()
    )


def refuse_black_and_white(counts: Counts, ignore_label: int) -> None:
    """Raises InputError if the labels are 0 and 255 and 255 is not the ignored label."""
    present = _present(total(counts))
    if ignore_label == 255 or 255 not in present or not set(present) <= {0, 255}:
        return
    raise InputError(
        f"Labels must be 0, 1, 2, ...; {_holder(counts, 255)} is black and white (0 and 255). If "
        "255 is a class, type --mask_threshold=128, which makes it label 1; if it marks "
        "unlabelled pixels, --ignore_label=255."
    )


def _present(pixels: np.ndarray) -> list[int]:
    return np.flatnonzero(pixels).tolist()


def _ranges(numbers: list[int]) -> str:
    """Formats [1, 2, 3, 7] as "1 to 3, 7"; beyond four ranges by the count of their numbers."""
    breaks = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    runs = [numbers[a:b] for a, b in zip((0, *breaks), (*breaks, len(numbers)))]
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    left_out = sum(len(run) for run in runs[4:])
    return ", ".join(texts[:4]) + (f" and {left_out} more" if left_out else "")


def _holder(counts: Counts, label: int) -> str:
    """Returns the first file that has `label`."""
    return printable(_holders(counts, label)[0])


def _holders(counts: Counts, label: int) -> list[str]:
    """Returns the files that have `label`."""
    return [
        name
        for name, file_counts in counts
        if label < len(file_counts) and file_counts[label]
    ]
