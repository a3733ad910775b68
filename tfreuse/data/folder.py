"""A user's own images: a folder of images with masks, read as `layout` finds them.

Every file is decoded once and checked; none is skipped in silence. What was decided about the
files (names, splits, photos that are turned) is said in a line each, `Folder.notes`.
"""

import collections
import concurrent.futures
import functools
import os
import pathlib
from typing import NamedTuple

import numpy as np

from tfreuse.data import labels, layout, masks, pictures
from tfreuse.data.source import SplitArrays, smallest
from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec


class Folder:
    """The data set in the folder `spec.data_dir`."""

    class_names = ()

    def __init__(self, spec: DataSpec):
        if not spec.data_dir:
            raise InputError(
                f"--dataset=folder needs the folder of {layout.LAYOUT}; type --data_dir=DIR."
            )
        self.spec, self.root = spec, pathlib.Path(spec.data_dir).expanduser()
        self.notes: list[str] = []

    def read(self, split: str, with_masks: bool = True) -> SplitArrays:
        """Reads all of `split`, with several threads."""
        spec = self.spec
        pairs, notes = layout.find(self.root, split, with_masks, spec.group_by)
        limit = spec.train_examples if split == "train" else spec.test_examples
        pairs = pairs[: limit or None]
        shape = (len(pairs), *spec.image_size)
        images = np.empty((*shape, spec.channels), np.uint8)
        labelled = np.empty(shape, np.int32) if with_masks else None
        rows = []
        with concurrent.futures.ThreadPoolExecutor() as pool:
            read = functools.partial(_read_pair, spec)
            for i, (image, mask, row) in enumerate(pool.map(read, pairs)):
                images[i] = image
                if with_masks:
                    labelled[i] = mask
                rows.append(row)
        self.notes += notes + _notes(split, pairs, rows)
        return SplitArrays(
            images=images,
            masks=smallest(labelled) if with_masks else None,
            ids=np.array([pair.stem for pair in pairs]),
            counts=[
                (str(pair.mask), row.counts)
                for pair, row in zip(pairs, rows)
                if with_masks
            ],
            sizes=[row.size for row in rows],
            modes=[row.modes for row in rows],
        )

    def pairs(self, split: str, with_masks: bool = True) -> list[layout.Pair]:
        """Lists the pairs of `split`, sorted by stem; see `layout.find`."""
        return layout.list_pairs(self.root, split, with_masks, self.spec.group_by)

    def num_classes(self, splits: tuple[str, ...] = layout.SPLITS) -> int:
        """Returns the spec's, or 1 + the largest label in any mask of these splits."""
        spec = self.spec
        if spec.num_classes:
            return spec.num_classes
        files = [pair.mask for split in splits for pair in self.pairs(split)]
        stamps = tuple((file, file.stat().st_mtime_ns) for file in files)
        counts = list(_count_all(stamps, spec.palette, spec.mask_threshold))
        classes = labels.classes(counts, spec.ignore_label)
        self.notes += labels.gaps(counts, spec.ignore_label)
        return classes


class _Row(NamedTuple):
    """Facts on the files of a pair."""

    counts: np.ndarray | None  # pixels of labels 0, 1, ...
    size: tuple[int, int]  # height, width of the image, upright
    modes: str  # "image mode / mask mode"
    turn: str  # what an EXIF mark turned: "", "both" files, "image" by the mask's size,
    # "image alone", where sizes do not tell whether the mask was to be turned too
    is_grey_colour: bool = False  # the mask


def _read_pair(spec: DataSpec, pair: layout.Pair) -> tuple:
    """Returns image and mask at the spec's size, and facts on them."""
    picture = pictures.read_image(pair.image, spec.channels, spec)
    size = picture.pixels.shape[:2]
    image = pictures.fit_image(picture.pixels, spec.image_size)
    if pair.mask is None:
        return image, None, _Row(None, size, picture.mode, "")
    mask = masks.read(pair.mask, spec)
    stored, turn = mask.labels, ""
    if picture.orientation != 1 and not mask.is_turned:
        stored, turn = _turned(spec, stored, size, picture.orientation)
    if stored.shape != size:
        raise InputError(
            f"A mask has its image's size; {printable(pair.image)} is "
            f"{size[1]} x {size[0]}, {printable(pair.mask)} is "
            f"{stored.shape[1]} x {stored.shape[0]}. Resize one of them (masks: nearest)."
        )
    row = _Row(
        labels.count(stored),
        size,
        f"{picture.mode} / {mask.mode}",
        turn,
        mask.is_grey_colour,
    )
    return image, pictures.fit_mask(stored, spec.image_size), row


def _turned(
    spec: DataSpec, mask: np.ndarray, size: tuple[int, int], orientation: int
) -> tuple[np.ndarray, str]:
    """Turns the mask of a photo that was turned, if it was drawn on the pixels as stored."""
    stored_size = size[::-1] if orientation >= 5 else size
    choice = spec.mask_orientation
    if choice == "auto" and stored_size != size:
        choice = "stored" if mask.shape == stored_size else "image"
    if choice == "stored":
        return pictures.turned(mask, orientation), "both"
    return mask, "image alone" if choice == "auto" else "image"


def _notes(split: str, pairs: list[layout.Pair], rows: list[_Row]) -> list[str]:
    """Says what was decided about the files of a split.

    Raises:
        InputError: the masks of some photos that EXIF marks turn were drawn on the pixels as
            stored, by their size; of others the size does not tell.
    """
    numbers = collections.defaultdict(list)
    for pair, row in zip(pairs, rows):
        numbers[row.turn].append(pair)
        numbers["grey" if row.is_grey_colour else ""].append(pair)
    both, alone = numbers["both"], numbers["image alone"]
    if both and alone:
        raise InputError(
            f"Masks are drawn on photos as stored, or as turned by their EXIF mark; that of "
            f"{printable(both[0].image)} is drawn on the stored pixels, and the size of that of "
            f"{printable(alone[0].image)} does not tell. Type --mask_orientation=stored or "
            "upright."
        )
    notes = []
    if both:
        notes.append(
            f"{split}: {len(both)} photos are turned by their EXIF mark, and their masks with "
            f"them, since they were drawn on the stored pixels (e.g. {both[0].stem})"
        )
    if alone:
        notes.append(
            f"{split}: {len(alone)} photos are turned by their EXIF mark and their masks are not "
            f"(e.g. {alone[0].stem}); if these were drawn on the stored pixels, type "
            "--mask_orientation=stored, else --mask_orientation=upright"
        )
    if numbers["image"]:
        notes.append(
            f"{split}: {len(numbers['image'])} photos are turned by their EXIF mark, on which "
            f"their masks were drawn (e.g. {numbers['image'][0].stem})"
        )
    if numbers["grey"]:
        notes.append(
            f"{split}: {len(numbers['grey'])} masks are RGB with three equal channels, of which "
            "the first is read"
        )
    deep = sum(
        ";16" in row.modes.partition(" / ")[0] and "RGB" in row.modes for row in rows
    )
    if deep:
        notes.append(
            f"{split}: {deep} colour images have 16 bits a channel, of which the upper 8 are read"
        )
    return notes


@functools.lru_cache(maxsize=4)
def _count_all(
    stamps: tuple[tuple[pathlib.Path, int], ...],
    palette: tuple[str, ...],
    threshold: int,
) -> tuple[tuple[str, np.ndarray], ...]:
    """Counts the labels of mask files.

    Stamps are (path, modification time): a changed file is a new key of the cache.
    """
    spec = DataSpec(palette=palette, mask_threshold=threshold)

    def count(stamp: tuple[pathlib.Path, int]) -> tuple[str, np.ndarray]:
        return os.fspath(stamp[0]), labels.count(masks.read(stamp[0], spec).labels)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return tuple(pool.map(count, stamps))
