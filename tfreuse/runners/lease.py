"""Keeps a second holder out of a directory, on this machine or on another that shares it.

    with lease.hold(lease.LocalLeaseFile(out_dir / "driver.lease"), "the study"):
        ...

On one machine the operating system's lock on the file is given back the moment its holder is gone, by kill -9
too. Between machines such a lock may not work, or outlive a machine that was lost. So the holder
also writes a new mark every `BEAT` seconds, and a lease of another machine whose mark has stood
still for `PATIENCE` seconds is taken over. No two clocks are compared: who waits looks whether
the mark changes. A holder that finds another's mark in its place ends its process at once.
"""

import contextlib
import json
import os
import pathlib
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from tfreuse.errors import InputError, printable

try:
    import fcntl
except ImportError:  # not a POSIX system: the marks alone keep others out
    fcntl = None

NAME = "lease"  # of the file in a unit's folder
BEAT = 5.0  # seconds between two marks
PATIENCE = 20.0  # seconds that a mark must stand still
SETTLE = (
    2.0  # seconds after which one of two who wrote a mark together sees the other's
)
_SILENT = 5.0  # seconds to wait without a word
_LARGEST = 1_000  # bytes of a mark
_TAKEN_OVER = 75  # exit status: a temporary failure


class AlreadyHeld(InputError):
    """Another process holds the lease."""


class LeaseFile(Protocol):
    """Where a holder leaves its mark."""

    path: str | pathlib.Path

    def lock(self) -> bool | None:
        """True: locked. False: another process has. None: there are no locks."""

    def unlock(self) -> None: ...

    def read(self) -> bytes: ...

    def write(self, mark: bytes) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class LocalLeaseFile:
    """A mark in a file, which the operating system locks where it can."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o666)

    def lock(self) -> bool | None:
        if fcntl is None:
            return None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:
            return None

    def unlock(self) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def read(self) -> bytes:
        return os.pread(self._descriptor, _LARGEST, 0)

    def write(self, mark: bytes) -> None:
        os.pwrite(self._descriptor, mark, 0)
        os.ftruncate(self._descriptor, len(mark))
        os.fsync(self._descriptor)  # or other machines would not see it

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)


@contextlib.contextmanager
def hold(
    mark: LeaseFile,
    what: str,
    *,
    wait: bool = False,
    beat: float = BEAT,
    patience: float = PATIENCE,
    settle: float | None = None,
) -> Iterator[None]:
    """Holds the lease for the length of the block.

    Args:
        mark: where it is.
        what: is held, for messages.
        wait: until another holder has given it back or is gone; False: refuse.
        beat: seconds between two marks.
        patience: seconds that another machine's mark must stand still to be taken over.
        settle: seconds to wait, where there are no locks, for others who took it together;
            None: `SETTLE`.

    Raises:
        AlreadyHeld: another process holds it.
        OSError: the mark cannot be written.
    """
    settle = SETTLE if settle is None else settle
    mine, stop, tell = secrets.token_hex(8), threading.Event(), True
    try:
        while not _taken(mark, mine, patience, settle, tell):
            if not wait:
                raise AlreadyHeld(_told(mark, what))
            tell = False
            time.sleep(0.2)
        beating = threading.Thread(
            target=_beat, args=(mark, mine, beat, stop), daemon=True
        )
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            if _holder(mark.read()) == mine:
                mark.clear()  # given back: nobody need wait for a mark
    finally:
        mark.close()


def is_held_locally(path: str | os.PathLike) -> bool:
    """Whether a process of this machine holds the lease of that file."""
    if not os.path.exists(path):
        return False
    with contextlib.closing(LocalLeaseFile(path)) as mark:
        return mark.lock() is False


def _taken(
    mark: LeaseFile, mine: str, patience: float, settle: float, tell: bool
) -> bool:
    """Takes the lease if nobody holds it, the operating system's lock too."""
    locked = mark.lock()
    if locked is False:
        return False
    if not _abandoned(mark, bool(locked), patience, tell):
        mark.unlock()
        return False
    mark.write(_text(mine, 0))
    if not locked:
        time.sleep(settle)
    return _holder(mark.read()) == mine


def _abandoned(mark: LeaseFile, locked: bool, patience: float, tell: bool) -> bool:
    text = mark.read()
    if not text or (locked and _parsed(text).get("host") == platform.node()):
        return True  # given back, or the process that held it here is gone
    if tell and patience > _SILENT:
        sys.stderr.write(
            f"{printable(mark.path)}: looking for up to {patience:.0f} s whether process "
            f"{printable(_parsed(text).get('process', '?'))} on "
            f"{printable(_parsed(text).get('host', '?'))} still works on it.\n"
        )
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(min(0.2, patience))
        if mark.read() != text:
            return False
    return True


def _beat(mark: LeaseFile, mine: str, beat: float, stop: threading.Event) -> None:
    count = 0
    while not stop.wait(beat):
        with contextlib.suppress(OSError):  # a full disk must not end what is held
            if _holder(mark.read()) != mine:
                sys.stderr.write(
                    f"{printable(mark.path)} was taken over by another process while this "
                    "one stood still; this one ends.\n"
                )
                sys.stderr.flush()
                os._exit(_TAKEN_OVER)  # before it writes anything more
            count += 1
            mark.write(_text(mine, count))


def _text(holder: str, count: int) -> bytes:
    told = {
        "host": platform.node(),
        "process": os.getpid(),
        "holder": holder,
        "beat": count,
    }
    return json.dumps(told).encode()[:_LARGEST]


def _parsed(mark: bytes) -> dict:
    try:
        told = json.loads(mark)
    except ValueError:
        return {}  # half written
    return told if isinstance(told, dict) else {}


def _holder(mark: bytes) -> object:
    return _parsed(mark).get("holder")


def _told(mark: LeaseFile, what: str) -> str:
    told = _parsed(mark.read())
    host, process = (
        printable(told.get("host", "?")),
        printable(told.get("process", "?")),
    )
    return (
        f"{what} is held by process {process} on {host} ({printable(mark.path)}). Wait until it "
        "has ended, or choose another --out_dir."
    )
