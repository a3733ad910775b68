"""Replaces a folder atomically: readers see the old folder or the new, as `files.replacing`."""

import contextlib
import ctypes
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from tfreuse import files

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux: fcntl.h and fs.h


@contextlib.contextmanager
def replacing(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder that is renamed to `target` if the block succeeds."""
    parent = target.parent
    with created(parent):
        # On the target's file system, so that a rename moves it.
        prefix = files.temporary_prefix(target)
        workshop = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        new = workshop / "new"
        new.mkdir()
        try:
            yield new
            for path in (*new.rglob("*"), new):
                files.sync(path)
            _put(new, target, workshop / "old")
            files.sync(parent)
        finally:
            # With the old folder, if exchanged.
            shutil.rmtree(workshop, ignore_errors=True)


@contextlib.contextmanager
def created(folder: pathlib.Path) -> Iterator[None]:
    """Creates a folder and its parents; if the block fails, those that are empty are removed."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # not empty: used by another process
                path.rmdir()
        raise


def _put(new: pathlib.Path, target: pathlib.Path, aside: pathlib.Path) -> None:
    """Renames `new` to `target`; an old folder is then called `new` or `aside`."""
    if not target.exists() or not any(target.iterdir()):
        new.rename(target)  # replaces an empty folder too
    elif not _exchanged(new, target):
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise


def _exchanged(first: pathlib.Path, second: pathlib.Path) -> bool:
    """Exchanges two names in one step; returns False if the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux, or an old C library
        return False
    names = (os.fsencode(first), os.fsencode(second))
    cwd = ctypes.c_int(_AT_FDCWD)
    if renameat2(cwd, names[0], cwd, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
