"""Which studies a log directory holds: below it, at it, or the one that it is a part of."""

import itertools
import os
import pathlib
from collections.abc import Iterator

from tfreuse import files

DEEPEST = 4  # folders below the log directory
MOST_FOLDERS = 5_000  # looked into; a log directory may be a home directory
MOST_STUDIES = 200
FILES = ("study.json", "records.jsonl")
_PARTS_OF_A_STUDY = ("tensorboard", "models")  # what people give as --logdir, too
_ABOVE = 3  # runs/STUDY/models/NETWORK/tensorboard


def find(logdir: str | os.PathLike) -> dict[str, pathlib.Path]:
    """The studies by the name that a browser may ask for, in the order of names.

    Symbolic links below `logdir` are not followed, so that no log directory, whoever wrote
    it, can make the server read what is elsewhere.
    """
    root = pathlib.Path(logdir).expanduser().resolve()
    found: dict[str, pathlib.Path] = {}
    for place in itertools.islice(_above(root), 1):
        found[place.name] = place
    for place in itertools.islice(_below(root), MOST_STUDIES):
        name = place.relative_to(root).as_posix() if place != root else root.name
        found.setdefault(name, place)
    return dict(sorted(found.items()))


def is_study(folder: pathlib.Path) -> bool:
    return all(files.is_own_file(folder / name) for name in FILES)


def _above(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Studies that `root` is a folder of."""
    for place in root.parents[:_ABOVE]:
        inside = root.relative_to(place).parts[0]
        if inside in _PARTS_OF_A_STUDY and is_study(place):
            yield place


def _below(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Studies in `root` and below it, nearest first; none inside another."""
    level = [root]
    seen = 0
    for _ in range(DEEPEST + 1):
        following: list[pathlib.Path] = []
        for folder in level:
            seen += 1
            if seen > MOST_FOLDERS:
                return
            if is_study(folder):
                yield folder
            else:
                following += _folders(folder)
        level = following


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                folder / entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and entry.is_dir(follow_symlinks=False)
            )
    except OSError:  # gone meanwhile, or not ours to read: it holds no study to show
        return []
