"""Binds a run's directory to its specs: continuing with others would mix results."""

import contextlib
import functools
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.specs import Spec

_MOST_DIFFERENCES = 8  # of settings, that a message names
_PACKAGES = ("tfreuse", "tensorflow", "keras", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    return dict(_versions())


def version(package: str) -> str:
    """Returns the version of an installed package, by the name of its NAME-VERSION.dist-info.

    importlib.metadata, which says the same, takes 20 ms to import: a tenth of a transplant.
    """
    for folder in sys.path:
        for path in pathlib.Path(folder).glob(f"{package}-*.dist-info"):
            return path.stem.removeprefix(f"{package}-")
    import importlib.metadata

    return importlib.metadata.version(package)


@functools.cache
def _versions() -> dict[str, str]:
    import importlib.metadata  # takes longer than most that a command imports

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
    if not path.exists():
        return _begin(path, specs, additions or {})
    content = read(path)
    config = path.parent / "config.flags"
    flags = _flags_of_its_time(config, specs, content["specs"])
    if difference := _difference(content["specs"], specs):
        command = " ".join([shlex.quote(f"--flagfile={config}"), *flags])
        raise InputError(
            f"{path.parent} holds a run with other settings: {difference}. Choose another "
            f"--out_dir, or repeat the run there with {command}."
        )
    if flags and config.exists():
        text = config.read_text(encoding="utf-8").rstrip("\n")
        files.write_text(config, "\n".join([text, *flags, ""]))
    return content


def _begin(
    path: pathlib.Path, specs: dict[str, Spec], additions: dict[str, Any]
) -> dict[str, Any]:
    """Writes and returns the content of the file of a new run."""
    content = {
        "specs": {name: spec.to_json() for name, spec in specs.items()},
        "versions": versions(),
        "directory": os.getcwd(),
        **additions,
    }
    files.write_json(path, content)
    return content


def read(path: pathlib.Path) -> dict[str, Any]:
    """Reads the content of a file that `claim` wrote.

    Raises:
        InputError: the file holds something else.
    """
    content = files.read_json(path)
    settings = content.get("specs") if isinstance(content, dict) else None
    if not isinstance(settings, dict) or not all(
        isinstance(values, dict) for values in settings.values()
    ):
        raise InputError(
            f"{printable(path)} holds no settings of a run; expected them under 'specs'. Restore "
            "the file, or delete it to begin anew."
        )
    return content


def _flags_of_its_time(
    config: pathlib.Path, specs: dict[str, Spec], recorded: dict[str, Any]
) -> list[str]:
    """Returns flags that an older run's `config.flags` lacks and whose default is another now."""
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    return [
        f"--{field}={value}"
        for name, spec in specs.items()
        for field, value in spec.superseded().items()
        if field not in recorded.get(name, ()) and f"--{field}=" not in text
    ]


def settings_file(model: str | os.PathLike) -> pathlib.Path:
    """Returns the path of a model's training settings: MODEL.run.json, else run.json beside it."""
    model = pathlib.Path(model)
    path = own_settings_file(model)
    return path if path.exists() else model.parent / "run.json"


def own_settings_file(model: str | os.PathLike) -> pathlib.Path:
    """Returns the path of MODEL.run.json, which belongs to this model file alone."""
    model = pathlib.Path(model)
    return model.parent / f"{model.name}.run.json"


@contextlib.contextmanager
def copying_settings(
    source: pathlib.Path | None, model: str | os.PathLike, *, overwrite: bool
) -> Iterator[pathlib.Path]:
    """Copies training settings to MODEL.run.json if the block, which writes the model, succeeds.

    Args:
        source: file of the settings; None: the model has none, and an older copy is removed.
        model: path of the model file.
        overwrite: whether to replace an older copy.

    Raises:
        InputError: an older copy may not be replaced; the block does not run.
    """
    target = own_settings_file(model)
    if os.path.lexists(target) and not overwrite:
        raise InputError(
            f"{printable(target)} exists already; choose another name for the output, or "
            "replace it with --overwrite."
        )
    if source is None:
        yield target
        target.unlink(missing_ok=True)
        return
    content = source.read_bytes()  # before the block, which may write in its folder
    with files.replacing(target) as temporary:
        temporary.write_bytes(content)
        yield target


def resolved(name: str, directory: str) -> str:
    """Returns a path among a run's specs as a path from the working directory.

    Args:
        name: the path; it stays as it is where it is empty, a URL or absolute.
        directory: of `claim`'s content; "" if unknown. Where a project was moved, the path is
            no longer there, and is looked for in the working directory.
    """
    if not name or not directory or directory == os.getcwd() or "://" in name:
        return name
    path = pathlib.Path(directory, os.path.expanduser(name))
    return name if os.path.exists(name) and not path.exists() else str(path)


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


def _difference(recorded: dict[str, dict], specs: dict[str, Spec]) -> str:
    """Names the settings that are not those that a run recorded; "" if all are."""
    differences = []
    for name in dict.fromkeys((*specs, *recorded)):
        old, new = recorded.get(name, {}), {}
        if name in specs:
            old = specs[name].completed(old) if old else {}
            new = specs[name].settings
        differences += [
            f"--{field} was {old.get(field)!r}, now {new.get(field)!r}"
            for field in dict.fromkeys((*new, *old))
            if old.get(field) != new.get(field)
        ]
    hidden = len(differences) - _MOST_DIFFERENCES
    return "; ".join(
        differences[:_MOST_DIFFERENCES] + [f"and {hidden} more"] * (hidden > 0)
    )
