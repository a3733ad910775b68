"""Reads a user's own images: a folder of images with masks, as `layout` finds them.

Every file is decoded once and checked; none is skipped in silence. `Folder.notes` has a line on
each decision about the files: names, splits, photos that are turned.
"""

import concurrent.futures
import csv
import functools
import io
import os
import pathlib
from typing import NamedTuple

import numpy as np

from tfreuse import files
from tfreuse.data import labels, layout, masks, pictures
from tfreuse.data.source import SplitArrays, UnusableFiles, smallest
from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec


class Folder:
    """The data set in the folder `spec.data_dir`."""

    class_names = ()

    def __init__(self, spec: DataSpec):
        if not spec.data_dir:
            raise InputError(
                f"--dataset=folder needs a folder with {layout.EXPECTED}; type --data_dir=DIR."
            )
        self.spec, self.root = spec, pathlib.Path(spec.data_dir).expanduser()
        self.notes: list[str] = []

    def read(self, split: str, with_masks: bool = True) -> SplitArrays:
        """Reads all of `split`, with several threads."""
        spec = self.spec
        pairs = self._limited(split, with_masks)
        shape = (len(pairs), *spec.image_size)
        images = np.empty((*shape, spec.channels), np.uint8)
        labelled = np.empty(shape, np.int32) if with_masks else None
        rows, problems = [], {}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            read = functools.partial(_read_or_problem, spec)
            for i, content in enumerate(pool.map(read, pairs)):
                if isinstance(content, InputError):
                    problems[str(pairs[i].image)] = str(content)
                    continue
                images[i], mask, row = content
                if with_masks:
                    labelled[i] = mask
                rows.append(row)
        if problems:
            raise UnusableFiles(problems)
        self.notes += _notes(split, pairs, rows)
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
        """Lists the pairs of `split`, sorted by stem, and notes how; see `layout.find`."""
        pairs, notes = layout.find(self.root, split, with_masks, self.spec.group_by)
        self.notes += notes
        return pairs

    def _limited(self, split: str, with_masks: bool = True) -> list[layout.Pair]:
        """Lists the pairs of `split` that are read: not more than the spec's limit."""
        spec = self.spec
        limit = spec.train_examples if split == "train" else spec.test_examples
        return self.pairs(split, with_masks)[: limit or None]

    def write_splits(self, path: pathlib.Path) -> None:
        """Writes which image is in which split, as CSV: split, image (below the root)."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["split", "image"])
        for split in layout.SPLITS:
            for pair in self._limited(split):
                table.writerow([split, pair.image.relative_to(self.root).as_posix()])
        files.write_text(path, text.getvalue())

    def num_classes(self, splits: tuple[str, ...] = layout.SPLITS) -> int:
        """Returns the spec's, or 1 + the largest label in any mask of these splits."""
        spec = self.spec
        if spec.num_classes:
            return spec.num_classes
        paths = [pair.mask for split in splits for pair in self.pairs(split)]
        stamps = tuple((file, file.stat().st_mtime_ns) for file in paths)
        counts = list(_count_all(stamps, spec.palette, spec.mask_threshold))
        classes = labels.classes(counts, spec.ignore_label)
        self.notes += labels.notes(counts, spec.ignore_label)
        return classes


class _Row(NamedTuple):
    """Facts on the files of a pair."""

    counts: np.ndarray | None  # pixels of labels 0, 1, ...; None without a mask
    size: tuple[int, int]  # height, width of the image, upright
    modes: str  # "image mode / mask mode"
    facts: tuple[str, ...]  # keys of _FACTS


_FACTS = {  # fact: text of the note on the pairs that have it
    "mask turned": "photos are turned by their EXIF mark, and with them their masks, which were "
    "drawn on the stored pixels",
    "mask upright": "photos are turned by their EXIF mark, as their masks were drawn",
    "mask undecided": "photos are turned by their EXIF mark and their masks are not; if these were "
    "drawn on the stored pixels, type --mask_orientation=stored, else upright",
    "grey colour": "masks are RGB with three equal channels, of which the first is read",
    "deep colour": "images are in colour of 16 bits a channel, of which the upper 8 are read",
}


def _read_or_problem(spec: DataSpec, pair: layout.Pair) -> tuple | InputError:
    """Returns `_read_pair`, or why the pair can't be used: the others are read all the same."""
    try:
        return _read_pair(spec, pair)
    except InputError as error:
        return error


def _read_pair(spec: DataSpec, pair: layout.Pair) -> tuple:
    """Returns image and mask at the spec's size, and facts on them."""
    picture = pictures.read_image(pair.image, spec.channels, spec)
    size = picture.pixels.shape[:2]
    image = pictures.fit_image(picture.pixels, spec.image_size)
    facts = ["deep colour"] if picture.mode.endswith(pictures.DEEP_COLOUR) else []
    if pair.mask is None:
        return image, None, _Row(None, size, picture.mode, tuple(facts))
    mask = masks.read(pair.mask, spec)
    upright = mask.labels
    if mask.is_grey_colour:
        facts.append("grey colour")
    if picture.orientation != 1 and not mask.is_turned:
        fact = _orientation(spec, upright.shape, size, picture.orientation)
        facts.append(fact)
        if fact == "mask turned":
            upright = pictures.turned(upright, picture.orientation)
    if upright.shape != size:
        raise InputError(
            f"A mask must have its image's size; {printable(pair.image)} is "
            f"{size[1]} x {size[0]}, {printable(pair.mask)} is "
            f"{upright.shape[1]} x {upright.shape[0]}. Resize one of them (masks: nearest)."
        )
    modes = f"{picture.mode} / {mask.mode}"
    row = _Row(labels.count(upright), size, modes, tuple(facts))
    return image, pictures.fit_mask(upright, spec.image_size), row


def _orientation(
    spec: DataSpec,
    mask_size: tuple[int, int],
    size: tuple[int, int],
    orientation: int,
) -> str:
    """Decides whether a mask was drawn on a photo as stored, or as its mark turns it to `size`.

    Returns:
        a key of _FACTS.
    """
    stored_size = size[::-1] if orientation >= 5 else size
    if spec.mask_orientation != "auto":
        is_stored = spec.mask_orientation == "stored"
    elif stored_size != size:
        is_stored = mask_size == stored_size
    else:
        return "mask undecided"
    return "mask turned" if is_stored else "mask upright"


def _notes(split: str, pairs: list[layout.Pair], rows: list[_Row]) -> list[str]:
    """Returns a line on each fact about the files of a split.

    Raises:
        InputError: by their size some masks were drawn on photos as stored; with others,
            either is possible.
    """
    stems = {
        fact: [pair.stem for pair, row in zip(pairs, rows) if fact in row.facts]
        for fact in _FACTS
    }
    if stems["mask turned"] and stems["mask undecided"]:
        raise InputError(
            "Masks must all be drawn on photos as stored, or all as EXIF marks turn them; in "
            f"{split} that of {printable(stems['mask turned'][0])} is drawn on the stored pixels, and by its "
            f"size that of {printable(stems['mask undecided'][0])} may be either. Type "
            "--mask_orientation=stored or upright."
        )
    return [
        f"{split}: {len(names)} of {len(rows)} {_FACTS[fact]} (e.g. {printable(names[0])})"
        for fact, names in stems.items()
        if names
    ]


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
