"""Discovers studies below a log directory, at it, or around it."""

import itertools
import os
import pathlib
from collections.abc import Iterator

from tfreuse import files

DEEPEST = 4  # folders below the log directory
MOST_FOLDERS = 5_000  # visited at most; a log directory may be a home directory
MOST_STUDIES = 200
FILES = ("study.json", "records.jsonl")
_PARTS_OF_A_STUDY = ("tensorboard", "models")  # often given as --logdir
_ABOVE = 3  # runs/STUDY/models/NETWORK/tensorboard


def find(logdir: str | os.PathLike) -> dict[str, pathlib.Path]:
    """Returns the studies by the names that a browser may request, sorted.

    Symbolic links below `logdir` are not followed, so that no log directory, whoever wrote
    it, can make the server read files elsewhere.
    """
    root = pathlib.Path(logdir).expanduser().resolve()
    studies: dict[str, pathlib.Path] = {}
    for folder in itertools.islice(_above(root), 1):
        studies[folder.name] = folder
    for folder in itertools.islice(_below(root), MOST_STUDIES):
        name = folder.relative_to(root).as_posix() if folder != root else root.name
        studies.setdefault(name, folder)
    return dict(sorted(studies.items()))


def is_study(folder: pathlib.Path) -> bool:
    return all(files.is_own_file(folder / name) for name in FILES)


def _above(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields studies that contain `root`."""
    for folder in root.parents[:_ABOVE]:
        inside = root.relative_to(folder).parts[0]
        if inside in _PARTS_OF_A_STUDY and is_study(folder):
            yield folder


def _below(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields studies at `root` and below, breadth first; none inside another."""
    level = [root]
    visited = 0
    for _ in range(DEEPEST + 1):
        next_level: list[pathlib.Path] = []
        for folder in level:
            visited += 1
            if visited > MOST_FOLDERS:
                return
            if is_study(folder):
                yield folder
            else:
                next_level += _folders(folder)
        level = next_level


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                folder / entry.name
                for entry in entries
                if not entry.name.startswith(".")
                and entry.is_dir(follow_symlinks=False)
            )
    except OSError:  # removed meanwhile or not readable: there is no study to show
        return []
