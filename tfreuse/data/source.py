"""What every source of data gives: arrays of one split, and facts about them."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tfreuse.data import labels
from tfreuse.errors import InputError, nearest
from tfreuse.specs import DataSpec


@dataclasses.dataclass(frozen=True)
class Found:
    """One split at the size asked for, with what was seen at the size that is stored."""

    images: np.ndarray  # uint8 [N, H, W, C]
    masks: np.ndarray | None  # uint8 or int32 [N, H, W]
    ids: np.ndarray  # str [N]
    counts: labels.Counts  # pixels of each label, as stored; empty without masks
    sizes: list[tuple[int, int]]  # height, width of each image, as stored
    modes: list[str]  # "image mode / mask mode" of each pair


class Source(Protocol):
    """One of the kinds of data set."""

    class_names: tuple[str, ...]  # as far as they are known

    def read(self, split: str, masks: bool = True) -> Found:
        """All of `split`. Raises InputError if anything in it can't be used."""

    def num_classes(self) -> int:
        """The spec's number of classes, or the data set's own. Raises InputError."""


def named(spec: DataSpec) -> Source:
    """The source that `spec.dataset` names.

    Raises:
        InputError: there is no such source.
    """
    if spec.dataset == "folder":
        from tfreuse.data import folder

        return folder.Folder(spec)
    if spec.dataset == "shapes" or spec.dataset.startswith("tfds:"):
        from tfreuse.data import catalogue  # takes seconds to import: TFDS

        return catalogue.Catalogue(spec)
    kinds = ("shapes", "folder", "tfds:NAME")
    raise InputError(
        f"--dataset takes {', '.join(kinds)}; got {spec.dataset!r}. "
        f"Did you mean {nearest(spec.dataset, kinds, 1)[0]}?"
    )


def groups(names: Sequence[str], pattern: str) -> list[str]:
    """What the pattern matches at the start of each name.

    Raises:
        InputError: it does not match one of them.
    """
    found = [re.match(pattern, name) for name in names]
    if None in found:
        raise InputError(
            f"--group_by={pattern!r} does not match the start of "
            f"{names[found.index(None)]!r}; expected it to tell every image's group."
        )
    return [match[0] for match in found]


def smallest(masks: np.ndarray) -> np.ndarray:
    """`masks` as uint8 where the labels allow it: a quarter of the memory."""
    return masks.astype(np.uint8) if masks.max(initial=0) < 256 else masks
