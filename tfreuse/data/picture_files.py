"""Lists image files.

paths = picture_files.matching("photos/**/*.png")
"""

import glob
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tfreuse.data import pictures
from tfreuse.errors import InputError, printable

_logger = logging.getLogger("tfreuse.data")


def matching(pattern: str) -> list[pathlib.Path]:
    """Returns the image files of a folder, or those that a glob matches, sorted.

    Files of the operating system (.DS_Store, Thumbs.db) are left out; so are those in a folder
    that are no images by their endings, which are logged as a warning.

    Args:
        pattern: a file, a folder, or a glob (`**` matches folders).

    Raises:
        InputError: there are none.
    """
    if os.path.isdir(pattern):
        paths = _in_folder(pathlib.Path(pattern))
    else:
        names = (
            [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
        )
        paths = sorted(pathlib.Path(name) for name in names if os.path.isfile(name))
        paths = [path for path in paths if not pictures.is_system_file(path)]
    if not paths:
        raise InputError(
            f"--images={printable(pattern)} matches no file; expected a folder of images or a glob "
            "such as 'photos/**/*.png', in quotes."
        )
    return paths


def spread(paths: Sequence[pathlib.Path], most: int) -> list[pathlib.Path]:
    """Returns at most `most` of the paths, evenly spread."""
    count = min(most, len(paths))
    return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def _in_folder(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the image files in a folder, not those in the folders in it."""
    entries = [path for path in sorted(folder.iterdir()) if path.is_file()]
    entries = [path for path in entries if not pictures.is_system_file(path)]
    paths = [path for path in entries if path.suffix.lower() in pictures.ENDINGS]
    left_out = [printable(path.name) for path in entries if path not in paths]
    deeper = [
        path
        for path in folder.glob("*/**/*")
        if path.suffix.lower() in pictures.ENDINGS and not pictures.is_system_file(path)
    ]
    if deeper:
        _logger.warning(
            "%d images in folders within %s are left out (%s); type --images='%s/**/*' for all.",
            *(len(deeper), printable(folder), printable(deeper[0].relative_to(folder))),
            printable(folder),
        )
    if left_out:
        _logger.warning(
            "%d files in %s are no images (%s) and are left out: %s%s.",
            len(left_out), printable(folder), " ".join(pictures.ENDINGS),
            ", ".join(left_out[:3]), ", ..." if len(left_out) > 3 else "",
        )  # fmt: skip
    return paths
