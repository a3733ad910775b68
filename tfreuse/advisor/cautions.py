"""Warns of weaknesses of an advice that the labelled images themselves show.

cautions.of_images(histogram, folds, ...)  # {"few images of a class": "class 3 in 2 ..."}
cautions.of_names(ids, prefixes)
"""

import numpy as np

FEWEST_OF_CLASS = 5  # labelled images that hold a class
SMALLEST_FOLD = 5  # images
FEWEST_UNITS = 15
FEW_UNLABELLED = {
    "few images without labels": (
        "batch normalization's means and variances were also estimated on the labelled images, "
        "without their labels, and on those that a recipe was then tested on: on new images "
        "the gain may be smaller. --unlabelled_dir=DIR takes more images."
    )
}


def of_images(
    histogram: np.ndarray, folds: np.ndarray, units: np.ndarray, chosen: list[str]
) -> dict[str, str]:
    """Returns warnings about classes, folds, units and an unstable choice.

    Args:
        histogram: pixels of each class in each labelled image, [n, C].
        folds: the fold of each image.
        units: the unit of each image.
        chosen: the plan that each outer fold chose.
    """
    warnings = {}
    images = (histogram > 0).sum(axis=0)  # that hold each class, [C]
    rare = [f"class {c} in {n}" for c, n in enumerate(images) if n < FEWEST_OF_CLASS]
    if rare:
        warnings["few images of a class"] = (
            f"{', '.join(rare)} of {len(histogram)} labelled images: their IoU is chance, and "
            "each class counts alike in the mean."
        )
    smallest = np.bincount(folds).min()
    if smallest < SMALLEST_FOLD:
        warnings["small folds"] = (
            f"the smallest has {smallest} images; a recipe is chosen by few of them."
        )
    count = len(np.unique(units))
    if count < FEWEST_UNITS:
        warnings["few units"] = (
            f"{count} independent units: the interval assumes that new ones are like them."
        )
    names = sorted(set(chosen))
    if len(names) > max(2, len(chosen) // 2):
        warnings["unstable choice"] = (
            f"the outer folds chose {len(names)} recipes ({', '.join(names)}): which recipe is "
            "the best is not settled."
        )
    return warnings


def of_names(
    ids: tuple[str, ...], prefixes: tuple[str, ...], divided: bool = False
) -> dict[str, str]:
    """Returns a warning if file names look like subjects or sequences that were not grouped.

    Args:
        ids: of the labelled images.
        prefixes: the beginning of each name, up to its last separator.
        divided: whether the folder has no test images, so that its split depends on
            --group_by.
    """
    names = sorted(set(prefixes))
    if not 1 < len(names) <= len(ids) // 2:
        return {}
    examples = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    again = (
        " The split of this folder changes with it: train the donor with the same --group_by "
        "first."
    )
    return {
        "images of one subject in several folds": (
            f"names begin with {examples}. If these are subjects or sequences, images of one "
            "are alike, the gain is for new images of the same ones, and the interval is too "
            "narrow; --group_by='.*(?=_)' keeps them together."
            f"{again if divided else ''}"
        )
    }
