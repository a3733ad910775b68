"""Finds the pairs of image and mask of a split in a folder, however people have laid them out.

    pairs, notes = layout.find(root, "val")

Read are `<root>/{train,val,test}/{images,masks}`, `<root>/{images,masks}/{train,val,test}` and
`<root>/{images,masks}`, with the other names below, with folders within folders, and inside a
single outer folder. Images without masks may lie in `<root>` itself. A pair's names are equal, or are so without one ending or beginning
("_mask"). Missing splits are taken from train by a hash of the names. `notes` has a line on each
deviation from `LAYOUT`; a folder without a plain reading raises InputError.
"""

import difflib
import functools
import hashlib
import itertools
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tfreuse.data import pictures
from tfreuse.data.source import groups
from tfreuse.errors import InputError, first_names, printable, reason

SPLITS = ("train", "val", "test")
LAYOUT = "<root>/{train,val,test}/{images,masks}/<stem>.png"
EXPECTED = "the folders images and masks, or these in train, and in val and test if you have them"
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_KIND_NAMES = {
    "images": ("images", "image", "imgs", "img"),
    "masks": ("masks", "mask", "labels", "annotations"),
}
_SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}  # of the subjects that are divided

Strip = Callable[[str], str]
Folders = dict[str, dict[str, pathlib.Path]]  # split, "" if undivided -> kind -> folder


class Pair(NamedTuple):
    """An image file and its mask file (None where masks are not read)."""

    stem: str  # of the image; with the folders between, if there are any
    image: pathlib.Path
    mask: pathlib.Path | None


def find(
    root: pathlib.Path, split: str, masks: bool = True, group_by: str = ""
) -> tuple[list[Pair], list[str]]:
    """Lists the pairs of `split`, sorted by stem, and notes on deviations from `LAYOUT`.

    Args:
        root: folder of the data set.
        split: one of SPLITS.
        masks: False leaves masks unread.
        group_by: pattern of the subject in a stem; a subject is in one split alone where
            splits are made here.

    Raises:
        InputError: a folder is missing or empty, a file has no partner or a twin, or there
            are too few subjects to divide.
    """
    _check_root(root)
    folders, notes = _folders(root, masks)
    whole = "" if "" in folders else "train"
    missing = [name for name in SPLITS if name not in folders]
    origin = split if split in folders else whole
    if origin not in folders:
        raise InputError(
            f"{printable(root)} has {listed(folders)}, but no train. Expected {EXPECTED}: make "
            f"{printable(root)}/train with images and masks in it."
        )
    pairs, pair_notes = _pairs(root, folders[origin], masks)
    if missing and origin == whole:
        parts = tuple(dict.fromkeys(["train", *missing]))
        chosen = _divided(tuple(pair.stem for pair in pairs), group_by, parts)
        shares = ", ".join(f"{name} {len(chosen[name])}" for name in parts)
        unit = "subjects" if group_by else "names"
        pair_notes.append(
            f"no folders for {listed(missing)}: the images are divided by a hash of their "
            f"{unit} ({shares})"
        )
        pairs = [pair for pair in pairs if pair.stem in chosen[split]]
    return pairs, notes + pair_notes


def listed(words: Iterable[str]) -> str:
    """Formats words as "train, val and test"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _check_root(root: pathlib.Path) -> None:
    """Raises InputError unless the folder of the data set exists."""
    if root.is_dir():
        return
    if root.exists():
        raise InputError(f"{printable(root)} is a file; expected a folder of images.")
    names = [path.name for path in _subfolders(root.parent)]
    close = difflib.get_close_matches(root.name, names, n=1)
    hint = f"Did you mean {printable(root.with_name(close[0]))}?" if close else ""
    raise InputError(
        f"The folder {printable(root)} does not exist. {hint or 'Check its name.'}"
    )


def without_folder(root: pathlib.Path) -> list[str]:
    """Returns the splits that have no folder, so that `find` takes some of train's images."""
    folders, _ = _folders(root, masks=False)
    return [name for name in SPLITS if name not in folders]


def _folders(root: pathlib.Path, masks: bool = True) -> tuple[Folders, list[str]]:
    """Finds the folders of each split and kind; images alone may lie in `root` itself."""
    children = _subfolders(root)
    splits = _children_named(root, children, _SPLIT_NAMES)
    kinds = _children_named(root, children, _KIND_NAMES)
    if splits:
        folders = {name: _kinds(path) for name, path in splits.items()}
    elif kinds:
        folders = _splits_in(root, kinds)
    elif not masks and _holds_images(root):
        return {"": {"images": root}}, [f"images are those in {printable(root)} itself"]
    elif len(children) == 1:
        folders, notes = _folders(children[0], masks)
        return folders, [f"the data set is in {printable(children[0])}", *notes]
    else:
        folders = {"": _kinds(root)}  # of which there are none: errors name them
    words = {
        word.lower()
        for paths in folders.values()
        for path in paths.values()
        for word in path.relative_to(root).parts
    }
    notes = [
        f"folders named {word} are read as {key}"
        for key, names in (_SPLIT_NAMES | _KIND_NAMES).items()
        for word in names
        if word in words and word != key
    ]
    return folders, notes


def _splits_in(root: pathlib.Path, kinds: dict[str, pathlib.Path]) -> Folders:
    """Finds the folders of each split below those of images and masks."""
    folders: Folders = {}
    for kind, path in kinds.items():
        splits = _children_named(path, _subfolders(path), _SPLIT_NAMES) or {"": path}
        for split, folder in splits.items():
            folders.setdefault(split, {})[kind] = folder
    for split, paths in folders.items():
        for kind in _KIND_NAMES:  # those that are missing too: errors name them
            paths.setdefault(kind, kinds.get(kind, root / kind) / split)
    return folders


def _kinds(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Finds the folder of each kind; the one that is expected where there is none."""
    expected = {kind: folder / kind for kind in _KIND_NAMES}
    return expected | _children_named(folder, _subfolders(folder), _KIND_NAMES)


def _holds_images(folder: pathlib.Path) -> bool:
    """Returns whether images lie in the folder itself."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return any(path.suffix.lower() in pictures.ENDINGS for path in paths)


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []  # `_files` says why
    return [p for p in paths if p.is_dir() and not pictures.is_system_file(p)]


def _children_named(
    folder: pathlib.Path,
    children: list[pathlib.Path],
    names_of: dict[str, tuple[str, ...]],
) -> dict[str, pathlib.Path]:
    """Returns the child that has one of the names of each key. Raises InputError for two."""
    paths = {}
    for key, names in names_of.items():
        matches = [path for path in children if path.name.lower() in names]
        if len(matches) > 1:
            raise InputError(
                f"Only one folder may hold {key}; {printable(folder)} has "
                f"{' and '.join(printable(path.name) for path in matches)}. Remove one."
            )
        if matches:
            paths[key] = matches[0]
    return paths


@functools.lru_cache(maxsize=8)
def _divided(
    stems: tuple[str, ...], group_by: str, parts: tuple[str, ...]
) -> dict[str, frozenset[str]]:
    """Divides stems into parts by whole subjects, in the order of their names' SHA-256.

    A hash is an order that looks random but depends on neither a generator nor the platform.
    Each part but train has its share of the subjects, at least one; train has the rest.
    """
    subjects: dict[str, list[str]] = {}
    names = groups(stems, group_by) if group_by else stems
    for name, stem in zip(names, stems, strict=True):
        subjects.setdefault(name, []).append(stem)
    order = sorted(subjects, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = len(order)
    if count < len(parts):
        raise InputError(
            f"Images without folders for {listed(parts[1:])} are divided by subject, and there "
            f"must be {len(parts)} subjects or more; got {count}. Make the folders "
            f"{', '.join(SPLITS)}, or add images."
        )
    ends, share = [], 1.0 - sum(_SHARES[name] for name in parts[1:])
    for name in (*parts[1:], ""):
        ends.append(round(share * count))
        share += _SHARES.get(name, 0.0)
    for i in reversed(range(len(parts) - 1)):  # a subject at least for each later part
        ends[i] = min(ends[i], ends[i + 1] - 1)
    bounds = zip((0, *ends), ends)
    return {
        split: frozenset(stem for name in order[start:end] for stem in subjects[name])
        for split, (start, end) in zip(parts, bounds)
    }


def _pairs(
    root: pathlib.Path, folders: dict[str, pathlib.Path], masks: bool
) -> tuple[list[Pair], list[str]]:
    """Pairs the files of an images and a masks folder."""
    images = _files(root, folders["images"], "images")
    if not masks:
        return [Pair(stem, path, None) for stem, path in images.items()], []
    labelled = _files(root, folders["masks"], "masks")
    strip, of_images, of_masks = _affixes(images, labelled)
    key_of = {stem: strip(stem, of_images) for stem in images}
    masks_by_key = {strip(stem, of_masks): path for stem, path in labelled.items()}
    alone = [path for stem, path in images.items() if key_of[stem] not in masks_by_key]
    keys = set(key_of.values())
    alone += [path for key, path in masks_by_key.items() if key not in keys]
    if alone:
        raise InputError(
            f"Every image must have a mask of the same name but for the ending; in "
            f"{printable(root)} these have no partner: {_some(alone, root)}. "
            "Add the partners, or remove the files."
        )
    left_out = " and ".join(repr(affix) for affix in (of_images, of_masks) if affix)
    note = f"names of images and masks are compared without {left_out}"
    pairs = [
        Pair(stem, path, masks_by_key[key_of[stem]]) for stem, path in images.items()
    ]
    return pairs, [note] if left_out else []


def _affixes(images: Iterable[str], masks: Iterable[str]) -> tuple[Strip, str, str]:
    """Finds the affixes without which the names of images equal those of their masks.

    Names are kept if one pair of them is equal. Else all images and all masks may have an
    ending, or a beginning, that the others lack: "_mask", "_leftImg8bit".

    Returns:
        a function of a name and an affix that strips it, and the affixes of images and masks.
    """
    images, masks = set(images), set(masks)
    if not images & masks:
        for strip, candidates in (
            (str.removesuffix, _endings),
            (_without_beginning, _beginnings),
        ):
            options = itertools.product(candidates(images), candidates(masks))
            for of_images, of_masks in sorted(
                options, key=lambda pair: len("".join(pair))
            ):
                keys = {strip(name, of_images) for name in images}
                common = keys & {strip(name, of_masks) for name in masks}
                if 2 * len(common) >= max(len(images), len(masks)):
                    return strip, of_images, of_masks
    return str.removesuffix, "", ""


def _endings(names: set[str]) -> list[str]:
    """Returns "" and the endings such as "_mask" that all names have."""
    first = min(names)
    starts = (match.start() for match in re.finditer(r"[_.\- ](?=[^/]*$)", first))
    return _shared((first[start:] for start in starts), names, str.endswith)


def _beginnings(names: set[str]) -> list[str]:
    """Returns "" and the beginnings such as "mask_" that all names have."""
    stems = {name.rpartition("/")[2] for name in names}
    first = min(stems)
    ends = (match.end() for match in re.finditer(r"[_.\- ]", first))
    return _shared((first[:end] for end in ends), stems, str.startswith)


def _shared(
    affixes: Iterable[str], names: set[str], has: Callable[[str, str], bool]
) -> list[str]:
    """Returns "" and the affixes with a letter that all names have; others may be numbers."""
    words = [affix for affix in affixes if re.search("[A-Za-z]", affix)]
    return ["", *(affix for affix in words if all(has(name, affix) for name in names))]


def _without_beginning(name: str, beginning: str) -> str:
    folder, slash, stem = name.rpartition("/")
    return folder + slash + stem.removeprefix(beginning)


def _files(
    root: pathlib.Path, folder: pathlib.Path, kind: str
) -> dict[str, pathlib.Path]:
    """Lists the files of one kind by stem, sorted. Raises InputError."""
    try:
        paths = _walk(folder)
    except FileNotFoundError as error:
        raise InputError(
            f"There is no folder {printable(folder)}. Expected {EXPECTED}, in {printable(root)}."
        ) from error
    except OSError as error:
        raise InputError(
            f"The folder {printable(folder)} can't be read ({reason(error)}). Check its rights."
        ) from error
    files: dict[str, pathlib.Path] = {}
    strays = [path for path in paths if path.suffix.lower() not in pictures.ENDINGS]
    if strays:
        raise InputError(
            f"{printable(folder)} must hold {kind} alone ({' '.join(pictures.ENDINGS)}); it also "
            f"has {_some(strays, folder)}. Move such files elsewhere, or save them as PNG."
        )
    for path in paths:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise InputError(
                f"The names of {kind} must differ in more than their endings; "
                f"{printable(folder)} has {printable(files[stem].name)} and {printable(path.name)}. Remove one."
            )
        files[stem] = path
    if not files:
        raise InputError(
            f"The folder {printable(folder)} is empty; expected {kind} in it. Put them there."
        )
    return dict(sorted(files.items()))


def _some(paths: list[pathlib.Path], root: pathlib.Path) -> str:
    """Formats the first three paths, and the number of the others."""
    return first_names(path.relative_to(root) for path in paths)


def _walk(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the files in the folder and the folders in it, without the system's."""
    paths = []
    for path in sorted(folder.iterdir()):
        if not pictures.is_system_file(path):
            paths += _walk(path) if path.is_dir() else [path]
    return paths
