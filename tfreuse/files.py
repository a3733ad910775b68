"""Atomic file writes: a reader or a crash sees the old file or the new one, whole.

Every write goes to a temporary file in the same folder, which is synced and renamed over the old
file; then the folder is synced. A kill may leave the temporary file behind; the next write of
the same file removes it.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

from tfreuse.errors import InputError, printable, reason


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike, suffix: str = "", *, durable: bool = True
) -> Iterator[pathlib.Path]:
    """Yields a temporary path, which replaces `path` if the block succeeds.

    Args:
        path: file to write; its folder is created if missing.
        suffix: suffix of the temporary name (Keras chooses a file format by it).
        durable: whether to wait until the file is on the disk; False for many small files that
            can be made again, for which waiting would take most of the time.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # scanning a folder of many small files would cost more than a write
    prefix = temporary_prefix(path, clean=durable)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str, *, durable: bool = True) -> None:
    """Writes `text` to `path` atomically; see `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any, *, durable: bool = True) -> None:
    """Writes `value` as indented JSON to `path` atomically; see `replacing`."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text, durable=durable)


def read_json(
    path: str | os.PathLike,
    remedy: str = "Restore the file, or delete it to begin anew.",
) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: it holds something else; the message ends with the remedy.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # a UnicodeDecodeError is one too
        raise InputError(
            f"{printable(path)} is no JSON ({reason(error, 80)}). {remedy}"
        ) from error


def sync(path: pathlib.Path) -> None:
    """Waits until the file or folder at `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(value: Any) -> str:
    """Returns the SHA-256, in hex, of the canonical JSON of `value`: equal for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """Returns the SHA-256, in hex, of the file at `path`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_prefix(path: pathlib.Path, *, clean: bool = True) -> str:
    """Returns the beginning of temporary names beside a file or folder that will be replaced.

    Args:
        path: the file or folder.
        clean: remove the temporary files and folders that killed processes left for it.
    """
    prefix = f".{path.name}.{_host()}-"
    if clean:
        _remove_leftovers(path.parent, prefix)
    return f"{prefix}{os.getpid()}-"


def _remove_leftovers(folder: pathlib.Path, prefix: str) -> None:
    """Removes files and folders of killed processes of this machine; others may still write."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for name in names:
        process = name.removeprefix(prefix).partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name, ignore_errors=True)
            else:
                (folder / name).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or not a process ID
        return True
    return True


@functools.cache
def _host() -> str:
    """Returns an identifier of this machine: process IDs are meaningless on another."""
    name = os.uname().nodename if hasattr(os, "uname") else ""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def without_links(path: str, flags: int) -> int:
    """Opens a file, for `open(opener=...)`; refuses symbolic links."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def is_own_file(path: pathlib.Path) -> bool:
    """Returns whether `path` is a regular file and not a symbolic link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
