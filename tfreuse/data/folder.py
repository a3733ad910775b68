"""A user's own images: <root>/{train,val,test}/{images,masks}/<stem>.*, paired by stem.

<root>/{images,masks} without splits is divided here into 70, 15 and 15 % of the subjects that
`group_by` distinguishes, so that no subject is in two splits. The division depends on the
subjects' names only. Every file is decoded once and checked; none is skipped in silence.
"""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from tfreuse.data import labels, pictures
from tfreuse.data.source import SplitArrays, groups, smallest
from tfreuse.errors import InputError, printable
from tfreuse.specs import DataSpec

SPLITS = ("train", "val", "test")
LAYOUT = "<root>/{train,val,test}/{images,masks}/<stem>.png"
_SPLIT_ENDS = (0.7, 0.85)  # of train and val, as shares of the subjects
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


class Pair(NamedTuple):
    """An image file and its mask file (None where masks are not read)."""

    stem: str
    image: pathlib.Path
    mask: pathlib.Path | None


class Folder:
    """The data set in the folder `spec.data_dir`."""

    class_names = ()

    def __init__(self, spec: DataSpec):
        if not spec.data_dir:
            raise InputError(
                f"--dataset=folder needs the folder of {LAYOUT}; type --data_dir=DIR."
            )
        self.spec, self.root = spec, pathlib.Path(spec.data_dir).expanduser()

    def read(self, split: str, masks: bool = True) -> SplitArrays:
        """Reads all of `split`, with several threads."""
        spec = self.spec
        pairs = self.pairs(split, masks)
        limit = spec.train_examples if split == "train" else spec.test_examples
        pairs = pairs[: limit or None]
        images = np.empty((len(pairs), *spec.image_size, spec.channels), np.uint8)
        labelled = np.empty((len(pairs), *spec.image_size), np.int32) if masks else None
        counts, sizes, modes = [], [], []
        with concurrent.futures.ThreadPoolExecutor() as pool:
            read = functools.partial(_read_pair, spec)
            for i, (image, mask, count, size, mode) in enumerate(pool.map(read, pairs)):
                images[i] = image
                if masks:
                    labelled[i] = mask
                    counts.append((str(pairs[i].mask), count))
                sizes.append(size)
                modes.append(mode)
        return SplitArrays(
            images=images,
            masks=smallest(labelled) if masks else None,
            ids=np.array([pair.stem for pair in pairs]),
            counts=counts,
            sizes=sizes,
            modes=modes,
        )

    def pairs(self, split: str, masks: bool = True) -> list[Pair]:
        """Lists the pairs of `split`, sorted by stem; see `list_pairs`."""
        return list_pairs(self.root, split, masks, self.spec.group_by)

    def num_classes(self) -> int:
        """Returns the spec's, or 1 + the largest label in any mask of any existing split."""
        if self.spec.num_classes:
            return self.spec.num_classes
        splits = [split for split in SPLITS if (self.root / split).is_dir()]
        files = [
            pair.mask
            for split in splits or SPLITS
            for pair in list_pairs(self.root, split, group_by=self.spec.group_by)
        ]
        stamps = tuple((file, file.stat().st_mtime_ns) for file in files)
        counts = _count_all(stamps, self.spec.palette)
        return labels.classes(list(counts), self.spec.ignore_label)


def list_pairs(
    root: pathlib.Path, split: str, masks: bool = True, group_by: str = ""
) -> list[Pair]:
    """Lists the pairs of `split`, sorted by stem.

    Args:
        root: folder of the data set.
        split: one of SPLITS.
        masks: False leaves masks unread.
        group_by: pattern of the subject in a stem, used if the folder has no splits.

    Raises:
        InputError: a folder is missing or empty, a file has no partner or a twin, or there
            are too few subjects to divide.
    """
    has_splits = any((root / name).is_dir() for name in SPLITS)
    if (root / "images").is_dir() and not has_splits:
        pairs = _pairs(root, "", masks)
        chosen = _divided(tuple(pair.stem for pair in pairs), group_by)[split]
        return [pair for pair in pairs if pair.stem in chosen]
    return _pairs(root, split, masks)


@functools.lru_cache(maxsize=8)
def _divided(stems: tuple[str, ...], group_by: str) -> dict[str, frozenset[str]]:
    """Divides stems into splits by whole subjects, in the order of their names' SHA-256.

    A hash is an order that looks random but depends on neither a generator nor the platform.
    """
    subjects: dict[str, list[str]] = {}
    names = groups(stems, group_by) if group_by else stems
    for name, stem in zip(names, stems, strict=True):
        subjects.setdefault(name, []).append(stem)
    order = sorted(subjects, key=lambda name: hashlib.sha256(name.encode()).digest())
    ends = [round(share * len(order)) for share in _SPLIT_ENDS]
    bounds = zip((0, *ends), (*ends, len(order)), strict=True)
    parts = [order[start:end] for start, end in bounds]
    if not all(parts):
        raise InputError(
            f"{LAYOUT} is expected; images without splits are divided by subject, and "
            f"{len(order)} subjects are too few. Make the folders train, val and test."
        )
    return {
        split: frozenset(stem for name in part for stem in subjects[name])
        for split, part in zip(SPLITS, parts, strict=True)
    }


def _pairs(root: pathlib.Path, split: str, masks: bool) -> list[Pair]:
    """Pairs the files of <root>/<split>/images and masks."""
    images = _files(root, split, "images")
    if not masks:
        return [Pair(stem, path, None) for stem, path in images.items()]
    labelled = _files(root, split, "masks")
    alone = [images[stem] for stem in images if stem not in labelled]
    alone += [labelled[stem] for stem in labelled if stem not in images]
    if alone:
        names = ", ".join(printable(path.relative_to(root)) for path in alone[:3])
        rest_text = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise InputError(
            f"Every image has a mask of the same name but for the ending; in "
            f"{printable(root)} these have no partner: {names}{rest_text}. "
            "Add what is missing, or remove them."
        )
    return [Pair(stem, path, labelled[stem]) for stem, path in images.items()]


def _files(root: pathlib.Path, split: str, kind: str) -> dict[str, pathlib.Path]:
    """Lists the files of one kind by stem, sorted. Raises InputError."""
    folder = root / split / kind
    try:
        paths = sorted(path for path in folder.iterdir() if not _is_system_file(path))
    except OSError as error:
        raise InputError(
            f"--dataset=folder needs {LAYOUT}; {printable(folder)} can't be read "
            f"({error.strerror}). Check --data_dir={printable(root)}."
        ) from error
    files: dict[str, pathlib.Path] = {}
    for path in paths:
        if path.suffix.lower() not in pictures.ENDINGS or not path.is_file():
            raise InputError(
                f"{printable(folder)} holds {kind} ({' '.join(pictures.ENDINGS)}); it also "
                f"has {printable(path.name)}. Move it elsewhere, or save it as PNG."
            )
        if path.stem in files:
            raise InputError(
                f"A stem names one of the {kind}; {printable(folder)} has "
                f"{printable(files[path.stem].name)} and {printable(path.name)}. Remove one."
            )
        files[path.stem] = path
    if not files:
        raise InputError(
            f"--dataset=folder needs {LAYOUT}; {printable(folder)} is empty. "
            f"Put {kind} there."
        )
    return dict(sorted(files.items()))


def _is_system_file(path: pathlib.Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _SYSTEM_FILES


def _read_pair(spec: DataSpec, pair: Pair) -> tuple:
    """Returns image and mask at the spec's size, label counts, original size and modes."""
    if spec.channels in (1, 3):
        picture, mode = pictures.read_image(pair.image)
        size = picture.size[::-1]
        image = pictures.fit_image(picture, spec.image_size, spec.channels)
    else:
        bands = pictures.read_bands(pair.image, spec.channels)
        size, mode = bands.shape[:2], f"{spec.channels} bands"
        image = pictures.fit_bands(bands, spec.image_size)
    if pair.mask is None:
        return image, None, None, size, mode
    mask, mask_mode = pictures.read_mask(pair.mask, spec.palette)
    if mask.shape != size:
        raise InputError(
            f"A mask has its image's size; {printable(pair.image)} is "
            f"{size[1]} x {size[0]}, {printable(pair.mask)} is "
            f"{mask.shape[1]} x {mask.shape[0]}. Resize one of them (masks: nearest)."
        )
    fitted = pictures.fit_mask(mask, spec.image_size)
    return image, fitted, labels.count(mask), size, f"{mode} / {mask_mode}"


@functools.lru_cache(maxsize=4)
def _count_all(
    stamps: tuple[tuple[pathlib.Path, int], ...], palette: tuple[str, ...]
) -> tuple[tuple[str, np.ndarray], ...]:
    """Counts the labels of mask files.

    Stamps are (path, modification time): a changed file is a new key of the cache.
    """

    def count(stamp: tuple[pathlib.Path, int]) -> tuple[str, np.ndarray]:
        mask, _ = pictures.read_mask(stamp[0], palette)
        return os.fspath(stamp[0]), labels.count(mask)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        return tuple(pool.map(count, stamps))
