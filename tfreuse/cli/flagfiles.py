"""Finds flagfiles by name: in the current folder, and among those installed with tfreuse.

flagfiles.resolved(["--flagfile=quickstart.flags"])  # from anywhere
"""

import importlib.resources
import pathlib
from collections.abc import Sequence

from tfreuse.errors import InputError, nearest, printable

_FOLDER = "flags"  # of the package, and of a checkout


def resolved(words: Sequence[str]) -> list[str]:
    """Replaces names of installed flagfiles by their paths; a file that exists wins.

    Args:
        words: a command line. The name, after `--flagfile=` or as the word after
            `--flagfile`, may begin with the folder `flags`.

    Raises:
        InputError: there is no such file, neither here nor installed.
    """
    resolved_words, is_name = [], False
    for word in words:
        flag, equals, name = word.partition("=")
        if equals and _is_flagfile(flag):
            word = f"{flag}={_path(name)}"
        elif is_name:
            word = _path(word)
        is_name = not equals and _is_flagfile(flag)
        resolved_words.append(word)
    return resolved_words


def _is_flagfile(flag: str) -> bool:
    return flag in ("--flagfile", "-flagfile")


def _path(name: str) -> str:
    path = pathlib.Path(name)
    if path.exists():
        if path.is_dir():
            raise InputError(f"--flagfile={printable(name)} is a folder; give a file.")
        return name
    installed = importlib.resources.files("tfreuse.cli") / _FOLDER
    names = sorted(entry.name for entry in installed.iterdir())
    if path.parent in (pathlib.Path(), pathlib.Path(_FOLDER)) and path.name in names:
        return str(installed / path.name)
    raise InputError(
        f"--flagfile={printable(name)} does not exist. Installed are {', '.join(names)}; nearest: "
        f"--flagfile={nearest(path.name, names, 1)[0]}."
    )
