"""Files that are either the old ones or the new ones, never something in between.

Every write goes to a temporary name in the same folder, is synced, and is renamed over the
old file; then the folder is synced. A kill at any moment leaves the old file or the new one,
and perhaps the temporary one, which the next write of that file removes.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import stat
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike, suffix: str = "", *, durable: bool = True
) -> Iterator[pathlib.Path]:
    """Yields a temporary path; what is written there replaces `path` if the block succeeds.

    Args:
        path: file to write; its folder is made if it is missing.
        suffix: ending that the temporary name must have (Keras chooses a format by it).
        durable: wait until the file is on the disk; False for the thousand small files that
            can be made again, where the waiting is most of the time.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.{_host()}-"
    if durable:  # the small files' folders are large, and their writes short
        _sweep(path.parent, prefix)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f"{prefix}{os.getpid()}-", suffix=suffix
    )
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        yield temporary
        os.chmod(
            temporary, 0o666 & ~_umask()
        )  # mkstemp makes files that only the owner reads
        if durable:
            sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str, *, durable: bool = True) -> None:
    """Writes `text` to `path` at once or not at all; see `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any, *, durable: bool = True) -> None:
    """Writes `value` as indented JSON to `path` at once or not at all; see `replacing`."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_text(path, text, durable=durable)


def read_json(path: str | os.PathLike) -> Any:
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def sync(path: pathlib.Path) -> None:
    """Waits until the file or folder at `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(value: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of `value`: the same for equal values anywhere."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """SHA-256, in hex, of the bytes of the file at `path`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(folder: pathlib.Path, prefix: str) -> None:
    """Removes what killed processes of this machine left; others may be writing still."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for name in names:
        owner = name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not _runs(int(owner)):
            (folder / name).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or no number of a process
        return True
    return True


@functools.cache
def _host() -> str:
    """A mark of this machine: a process number tells nothing on another."""
    name = os.uname().nodename if hasattr(os, "uname") else ""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def without_links(path: str, flags: int) -> int:
    """An `opener` for `open`: refuses a link, which may lead elsewhere."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def is_own_file(path: pathlib.Path) -> bool:
    """Whether there is a plain file, not a link to one elsewhere."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
