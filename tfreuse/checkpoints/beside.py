"""Opens files beside a model file that it names, and no others: names in a file are not trusted."""

import os
import pathlib

from tfreuse.checkpoints import hub, source
from tfreuse.errors import InputError, printable


def is_name(name: str) -> bool:
    """Returns whether this is the name of a file, without a folder."""
    bare = os.path.basename(name) == name and name not in ("", ".", "..")
    return bare and "\\" not in name and "\0" not in name


def open_file(path: pathlib.Path, name: str) -> source.Source:
    """Opens the file `name` in the folder of `path`; the caller closes `.descriptor`.

    No link but those within a cache of the Hub is followed.

    Raises:
        InputError: the name is a path; MissingFileError: there is no such file.
    """
    if not is_name(name):
        raise InputError(
            f"{printable(path)} names a file {printable(name)}; expected one in the same "
            "folder, since a path could read any other file."
        )
    file = path.parent / name
    try:
        opened = source.open_file(hub.target(file), follow=False)
    except source.MissingFileError as error:
        raise source.MissingFileError(
            f"{printable(path)} names {printable(name)}, which is not in its folder; copy or "
            "download it too."
        ) from error
    return source.Source(file, opened.descriptor, 0, opened.size)
