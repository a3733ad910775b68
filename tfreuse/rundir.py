"""Binds a run's directory to its specs: continuing with others would mix results."""

import functools
import importlib.metadata
import os
import pathlib
import platform
import shlex
from typing import Any

from tfreuse import files
from tfreuse.errors import InputError
from tfreuse.specs import Spec

_PACKAGES = ("tfreuse", "tensorflow", "keras", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    versions_by_name = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions_by_name[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions_by_name[package] = "not installed"
    return versions_by_name


def claim(
    path: pathlib.Path, specs: dict[str, Spec], additions: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Writes the specs to `path`, a JSON file in the run's directory, or compares them with it.

    `additions` are written beside the specs of a new run, and not compared.

    Returns:
        the file's content: {"specs": ..., "versions": ..., "directory": ...} and later
        additions; paths among the specs are relative to the directory.

    Raises:
        InputError: the directory has other specs; the message names the fields that differ.
    """
    settings = {name: spec.to_json() for name, spec in specs.items()}
    if not path.exists():
        content = {
            "specs": settings,
            "versions": versions(),
            "directory": os.getcwd(),
            **(additions or {}),
        }
        files.write_json(path, content)
        return content
    content = files.read_json(path)
    if content["specs"] != settings:
        raise InputError(
            f"{path.parent} holds a run with other settings: "
            f"{_difference(content['specs'], settings)}. Choose another --out_dir, or repeat the "
            f"run there with --flagfile={path.parent / 'config.flags'}."
        )
    return content


def command(directory: str, tool: str, *words: str) -> str:
    """Returns a shell command that runs a tool in the directory that a run was started in.

    Args:
        directory: of `claim`'s content; "" if unknown.
        tool: name of the tool, such as "train".
        words: of the command line.
    """
    script = f"tools/{tool}.py"
    if directory and not (pathlib.Path(directory) / script).is_file():
        text = shlex.join([f"tfreuse-{tool}", *words])
    else:
        text = shlex.join(["python", script, *words])
    return f"cd {shlex.quote(directory)} && {text}" if directory else text


def _difference(old: dict, new: dict) -> str:
    return "; ".join(
        f"--{field} was {old.get(name, {}).get(field)!r}, now {value!r}"
        for name, fields in new.items()
        for field, value in fields.items()
        if old.get(name, {}).get(field) != value
    )
