"""A folder of files that is either the old one or the new one, as `files.replacing` does."""

import contextlib
import ctypes
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from tfreuse import files

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux's, from fcntl.h and fs.h


@contextlib.contextmanager
def taking_the_place_of(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder that takes the name `target` if the block succeeds."""
    parent = target.parent
    made = [path for path in (parent, *parent.parents) if not path.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that one step moves it there
    workshop = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix=f".{target.name}."))
    new = workshop / "new"
    new.mkdir()
    try:
        yield new
        for path in (*new.rglob("*"), new):
            files.sync(path)
        _put(new, target, workshop / "old")
        made = []
        files.sync(parent)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)  # with what was replaced
        for path in made:
            with contextlib.suppress(OSError):  # something else was put there meanwhile
                path.rmdir()


def _put(new: pathlib.Path, target: pathlib.Path, aside: pathlib.Path) -> None:
    """Gives `new` the name `target`; what had it is then called `new` or `aside`."""
    if not target.exists() or not any(target.iterdir()):
        new.rename(target)  # over an empty folder too
    elif not _exchanged(new, target):
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise


def _exchanged(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether the two names were exchanged, in one step; False where that is not possible."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (
        AttributeError,
        OSError,
        TypeError,
    ):  # neither Linux nor a C library that has it
        return False
    names = (os.fsencode(one), os.fsencode(other))
    cwd = ctypes.c_int(_AT_FDCWD)
    if renameat2(cwd, names[0], cwd, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))
