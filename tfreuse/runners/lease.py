"""A lease on a directory: excludes a second holder, on this machine and on others that share it.

    with lease.hold(lease.LocalLeaseFile(out_dir / "driver.lease"), "the study"):
        ...

On one machine, the operating system's lock on the lease file is released the moment its holder
is gone, by kill -9 too. Between machines such a lock may not work, or may outlive a lost machine.
So the holder also writes a heartbeat to the file every `HEARTBEAT` seconds, and a lease of another
machine expires when its heartbeat has not changed for `EXPIRY` seconds. No clocks of two machines
are compared: the waiting process only watches for a change. A holder that finds another's
heartbeat in the file (it was suspended, and its lease expired) ends its process at once.
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
except ImportError:  # not a POSIX system: heartbeats alone exclude others
    fcntl = None

NAME = "lease"  # of the lease file in a unit's folder
HEARTBEAT = 5.0  # seconds between two heartbeats
EXPIRY = 20.0  # seconds without a new heartbeat, after which a lease expires
SETTLE = (
    2.0  # seconds after which, of two simultaneous writers, both see the last one's
)
_POLL = 0.2  # seconds between two looks at a lease file
_SILENT = 5.0  # seconds to wait before a message
_MAX_BYTES = 1_000  # of a heartbeat
_TAKEN_OVER = 75  # exit status; EX_TEMPFAIL of sysexits.h


class AlreadyHeld(InputError):
    """Another process holds the lease."""


class LeaseFile(Protocol):
    """File in which the holder of a lease writes its heartbeat."""

    path: str | pathlib.Path

    def lock(self) -> bool | None:
        """Returns True if locked now, False if another process has the lock, None without locks."""

    def unlock(self) -> None: ...

    def read(self) -> bytes: ...

    def write(self, heartbeat: bytes) -> None: ...

    def clear(self) -> None: ...

    def close(self) -> None: ...


class LocalLeaseFile:
    """A lease file in a mounted file system, locked by the operating system if possible."""

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
        except OSError:  # a file system without locks
            return None

    def unlock(self) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def read(self) -> bytes:
        return os.pread(self._descriptor, _MAX_BYTES, 0)

    def write(self, heartbeat: bytes) -> None:
        os.pwrite(self._descriptor, heartbeat, 0)
        os.ftruncate(self._descriptor, len(heartbeat))
        os.fsync(self._descriptor)  # or other machines would not see it

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)


@contextlib.contextmanager
def hold(
    file: LeaseFile,
    name: str,
    *,
    wait: bool = False,
    heartbeat: float = HEARTBEAT,
    expiry: float = EXPIRY,
    settle: float | None = None,
) -> Iterator[None]:
    """Holds a lease while the block runs.

    Args:
        file: the lease file; closed at the end.
        name: of the protected resource, for messages.
        wait: whether to wait until the holder releases the lease or is gone; else refuse.
        heartbeat: seconds between two heartbeats.
        expiry: seconds without a new heartbeat after which another machine's lease expires.
        settle: seconds to wait, where there are no locks, for processes that acquire the
            lease at the same moment; None for `SETTLE`.

    Raises:
        AlreadyHeld: another process holds the lease.
        OSError: the file cannot be written.
    """
    settle = SETTLE if settle is None else settle
    holder, stop, announce = secrets.token_hex(8), threading.Event(), True
    try:
        while not _acquire(file, holder, expiry, settle, announce):
            if not wait:
                raise AlreadyHeld(_refusal(file, name))
            announce = False
            time.sleep(_POLL)
        beating = threading.Thread(
            target=_beat, args=(file, holder, heartbeat, stop), daemon=True
        )
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            if _parse(file.read()).get("holder") == holder:
                file.clear()  # released: the next holder need not wait for the expiry
    finally:
        file.close()


def is_held_locally(path: str | os.PathLike) -> bool:
    """Returns whether a process of this machine holds the lease with the file at `path`."""
    if not os.path.exists(path):
        return False
    with contextlib.closing(LocalLeaseFile(path)) as file:
        return file.lock() is False


def _acquire(
    file: LeaseFile, holder: str, expiry: float, settle: float, announce: bool
) -> bool:
    """Takes the lease, and the operating system's lock, if it is free; returns whether it did."""
    locked = file.lock()
    if locked is False:
        return False
    if not _is_free(file, bool(locked), expiry, announce):
        file.unlock()
        return False
    file.write(_heartbeat(holder, 0))
    if not locked:
        # Without locks two processes may both have found the lease free. The last to write
        # wins, and after this pause both see it.
        time.sleep(settle)
    return _parse(file.read()).get("holder") == holder


def _is_free(file: LeaseFile, locked: bool, expiry: float, announce: bool) -> bool:
    """Returns whether the lease was released, or its holder is gone; may wait `expiry` seconds."""
    heartbeat = file.read()
    holder = _parse(heartbeat)
    if not heartbeat or (locked and holder.get("host") == platform.node()):
        return (
            True  # released; or its holder was on this machine, and has lost its lock
        )
    if announce and expiry > _SILENT:
        sys.stderr.write(
            f"{printable(file.path)}: waiting up to {expiry:.0f} s for a sign of process "
            f"{printable(holder.get('process', '?'))} on "
            f"{printable(holder.get('host', '?'))}, which may still work on it.\n"
        )
    end = time.monotonic() + expiry
    while time.monotonic() < end:
        time.sleep(min(_POLL, expiry))
        if file.read() != heartbeat:
            return False
    return True


def _beat(
    file: LeaseFile, holder: str, heartbeat: float, stop: threading.Event
) -> None:
    """Writes heartbeats until `stop`; ends the process if another has taken the lease over."""
    count = 0
    while not stop.wait(heartbeat):
        with contextlib.suppress(OSError):  # a full disk must not end the work
            if _parse(file.read()).get("holder") != holder:
                sys.stderr.write(
                    f"{printable(file.path)} was taken over by another process while this "
                    "one stood still; this one ends.\n"
                )
                sys.stderr.flush()
                os._exit(_TAKEN_OVER)  # without clean-up, which could write something
            count += 1
            file.write(_heartbeat(holder, count))


def _heartbeat(holder: str, count: int) -> bytes:
    content = {
        "host": platform.node(),
        "process": os.getpid(),
        "holder": holder,
        "beat": count,
    }
    return json.dumps(content).encode()[:_MAX_BYTES]


def _parse(heartbeat: bytes) -> dict:
    try:
        content = json.loads(heartbeat)
    except ValueError:
        return {}  # read while it was written
    return content if isinstance(content, dict) else {}


def _refusal(file: LeaseFile, name: str) -> str:
    holder = _parse(file.read())
    process = printable(holder.get("process", "?"))
    host = printable(holder.get("host", "?"))
    return (
        f"{name} is held by process {process} on {host} ({printable(file.path)}). Wait until it "
        "has ended, or choose another --out_dir."
    )
