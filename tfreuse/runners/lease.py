"""Keeps a second holder out of a directory, on this machine or on another that shares it.

    with lease.held(out_dir / "driver.lease", "the study"):
        ...

The operating system's lock on the file is given back the moment its holder is gone, by kill -9
too. Between machines such a lock may not work, or outlive a machine that was lost. So the holder
also writes a new mark every `BEAT` seconds, and a lease of another machine whose mark has stood
still for `PATIENCE` seconds is taken over. No two clocks are compared: who waits looks whether
the mark changes. A holder that finds another's mark in its place ends its process at once.
"""

import contextlib
import json
import os
import pathlib
import secrets
import sys
import threading
import time
from collections.abc import Iterator

from tfreuse.errors import InputError, printable

try:
    import fcntl
except ImportError:  # not a POSIX system: the marks alone keep others out
    fcntl = None

BEAT = 5.0  # seconds between two marks
PATIENCE = 20.0  # seconds that a mark must stand still
_LARGEST = 1_000  # bytes of a mark
_TAKEN_OVER = 75  # exit status: a temporary failure


class Held(InputError):
    """Another process holds the lease."""


@contextlib.contextmanager
def held(
    path: str | os.PathLike,
    what: str,
    *,
    wait: bool = False,
    beat: float = BEAT,
    patience: float = PATIENCE,
) -> Iterator[None]:
    """Holds the lease at `path` for the length of the block.

    Args:
        path: file of the lease; its folder is made if it is missing.
        what: is held, for messages.
        wait: until another holder has given it back or is gone; False: refuse.
        beat: seconds between two marks.
        patience: seconds that another machine's mark must stand still to be taken over.

    Raises:
        Held: another process holds it.
        OSError: the file cannot be written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        while not _taken(descriptor, patience):
            if not wait:
                raise Held(_told(path, what, _read(descriptor)))
            time.sleep(0.2)
        mine, stop = secrets.token_hex(8), threading.Event()
        _write(descriptor, mine, 0)
        beating = threading.Thread(
            target=_beat, args=(descriptor, mine, path, beat, stop), daemon=True
        )
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            if _holder(_read(descriptor)) == mine:
                os.ftruncate(descriptor, 0)  # given back: nobody need wait for a mark
    finally:
        os.close(descriptor)


def _taken(descriptor: int, patience: float) -> bool:
    """Whether nobody holds the lease; the operating system's lock is ours then."""
    locked = _lock(descriptor)
    if locked is False:
        return False
    mark = _read(descriptor)
    told = _parsed(mark)
    if not mark or (told.get("host") == _host() and locked):
        return True  # given back, or the process that held it here is gone
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(min(0.2, patience))
        if _read(descriptor) != mark:
            _unlock(descriptor)
            return False
    return True


def _lock(descriptor: int) -> bool | None:
    """True: locked. False: another process of this file system has. None: it has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None


def _unlock(descriptor: int) -> None:
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _beat(
    descriptor: int, mine: str, path: pathlib.Path, beat: float, stop: threading.Event
) -> None:
    count = 0
    while not stop.wait(beat):
        if _holder(_read(descriptor)) != mine:
            sys.stderr.write(
                f"{printable(path)} was taken over by another process while this one stood "
                "still; this one ends.\n"
            )
            sys.stderr.flush()
            os._exit(_TAKEN_OVER)  # before it writes anything more
        count += 1
        with contextlib.suppress(OSError):  # a full disk must not end what is held
            _write(descriptor, mine, count)


def _write(descriptor: int, holder: str, count: int) -> None:
    told = {"host": _host(), "process": os.getpid(), "holder": holder, "beat": count}
    mark = json.dumps(told).encode()[:_LARGEST]
    os.pwrite(descriptor, mark, 0)
    os.ftruncate(descriptor, len(mark))
    os.fsync(descriptor)  # or other machines would not see it


def _read(descriptor: int) -> bytes:
    return os.pread(descriptor, _LARGEST, 0)


def _parsed(mark: bytes) -> dict:
    try:
        told = json.loads(mark)
    except ValueError:
        return {}  # half written
    return told if isinstance(told, dict) else {}


def _holder(mark: bytes) -> object:
    return _parsed(mark).get("holder")


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else ""


def _told(path: pathlib.Path, what: str, mark: bytes) -> str:
    told = _parsed(mark)
    host, process = (
        printable(told.get("host", "?")),
        printable(told.get("process", "?")),
    )
    return (
        f"{what} is held by process {process} on {host} ({printable(path)}). Wait until it has "
        "ended, or choose another --out_dir."
    )
