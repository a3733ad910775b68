"""What may make an advice wrong, told as far as the data can tell it.

flags.find(histogram, folds, ...)   # {"few images of a class": "class 3 is in 2 ..."}
"""

import numpy as np

FEW = 5  # labelled images that hold a class
SMALL_FOLD = 5  # images
SMALL_N = 15  # units


def find(
    histogram: np.ndarray, folds: np.ndarray, units: np.ndarray, chosen: list[str]
) -> dict[str, str]:
    """What the labelled images themselves tell.

    Args:
        histogram: pixels of each class in each labelled image, [n, C].
        folds: the fold of each image.
        units: the unit of each image.
        chosen: which plan each outer fold took.
    """
    found = {}
    holders = (histogram > 0).sum(axis=0)
    few = [f"class {c} in {n}" for c, n in enumerate(holders) if n < FEW]
    if few:
        found["few images of a class"] = (
            f"{', '.join(few)} of {len(histogram)} labelled images: their IoU is chance, and "
            "each class counts alike in the mean."
        )
    smallest = np.bincount(folds).min()
    if smallest < SMALL_FOLD:
        found["small folds"] = (
            f"the smallest has {smallest} images; a recipe is chosen by few of them."
        )
    count = len(np.unique(units))
    if count < SMALL_N:
        found["few units"] = (
            f"{count} independent units; the interval leans on them being like the others."
        )
    kinds = sorted(set(chosen))
    if len(kinds) > max(2, len(chosen) // 2):
        found["unstable choice"] = (
            f"the outer folds chose {len(kinds)} recipes ({', '.join(kinds)}): which recipe is the "
            "best is not settled."
        )
    return found


def grouping(ids: tuple[str, ...], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Whether the files' names look like subjects or sequences that were not told apart.

    Args:
        ids: of the labelled images.
        prefixes: what each name begins with, up to its last separator.
    """
    names = sorted(set(prefixes))
    if not 1 < len(names) <= len(ids) // 2:
        return {}
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return {
        "images of one subject in several folds": (
            f"names begin with {shown}. If these are subjects or sequences, images of one are "
            "alike, the gain is for new images of the same ones, and the interval is too "
            "narrow; --group_by='.*(?=_)' keeps them together."
        )
    }
