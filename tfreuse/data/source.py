"""Interface of the sources of data: arrays of one split, and facts about its files."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tfreuse.data import labels
from tfreuse.errors import InputError, first_names

_MOST_NAMED = 8  # files of a message


@dataclasses.dataclass(frozen=True)
class SplitArrays:
    """A split at the spec's image size, with facts on the files before resizing."""

    images: np.ndarray  # uint8 [N, H, W, C]
    masks: np.ndarray | None  # uint8 or int32 [N, H, W]
    ids: np.ndarray  # str [N]
    counts: labels.Counts  # pixels of each label, before resizing; empty without masks
    sizes: list[tuple[int, int]]  # height, width of each image, before resizing
    modes: list[str]  # "image mode / mask mode" of each pair


class UnusableFiles(InputError):
    """Several files that can't be used; the text names them all, up to a limit."""

    def __init__(self, problems: dict[str, str]):
        """Keeps `problems`: file -> why it can't be used."""
        self.problems = problems
        first, *further = problems
        text = problems[first]
        if further:
            names = first_names(further, _MOST_NAMED)
            text = f"{text.rstrip('.')}. {len(problems)} files can't be used; the others are {names}."
        super().__init__(text)


class Source(Protocol):
    """A kind of data set."""

    class_names: tuple[str, ...]  # of labels 0, 1, ...; may be shorter than num_classes
    notes: list[str]  # a line on each decision about its files so far

    def read(self, split: str, with_masks: bool = True) -> SplitArrays:
        """Reads all of `split`. Raises InputError if an image or mask can't be used."""

    def num_classes(self) -> int:
        """Returns the spec's number of classes, or the data set's. Raises InputError."""


def groups(names: Sequence[str], pattern: str) -> list[str]:
    """Returns the pattern's match at the start of each name.

    Raises:
        InputError: it does not match a name.
    """
    matches = [re.match(pattern, name) for name in names]
    if None in matches:
        raise InputError(
            f"--group_by={pattern!r} does not match the start of "
            f"{names[matches.index(None)]!r}; expected it to match every image's group."
        )
    return [match[0] for match in matches]


def smallest(masks: np.ndarray) -> np.ndarray:
    """Returns `masks` as uint8 if the labels allow it: a quarter of the memory."""
    return masks.astype(np.uint8) if masks.max(initial=0) < 256 else masks
