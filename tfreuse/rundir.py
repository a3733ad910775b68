"""A run's directory belongs to one spec: going on with another would mix results."""

import functools
import importlib.metadata
import pathlib
import platform
from typing import Any

from tfreuse import files
from tfreuse.errors import InputError
from tfreuse.specs import Spec

_PACKAGES = ("tfreuse", "tensorflow", "keras", "numpy")


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def claim(path: pathlib.Path, specs: dict[str, Spec]) -> dict[str, Any]:
    """Makes `path` (a JSON file in the run's directory) say which specs the directory is of.

    Returns:
        what the file holds: {"specs": ..., "versions": ...} and what was added since.

    Raises:
        InputError: the directory is of other specs; the message names the fields that differ.
    """
    wanted = {name: spec.to_json() for name, spec in specs.items()}
    if not path.exists():
        held = {"specs": wanted, "versions": versions()}
        files.write_json(path, held)
        return held
    held = files.read_json(path)
    if held["specs"] != wanted:
        raise InputError(
            f"{path.parent} holds a run with other settings: "
            f"{_difference(held['specs'], wanted)}. Choose another --out_dir, or repeat the "
            f"run there with --flagfile={path.parent / 'config.flags'}."
        )
    return held


def _difference(held: dict, wanted: dict) -> str:
    return "; ".join(
        f"--{field} was {held.get(name, {}).get(field)!r}, now {value!r}"
        for name, fields in wanted.items()
        for field, value in fields.items()
        if held.get(name, {}).get(field) != value
    )
