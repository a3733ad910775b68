"""Mirrors a study's directory at a URL (gs://, s3://, ...) in a local directory.

    mirror = Mirror("gs://bucket/study", local)
    mirror.pull("models/unet-0")                  # downloads new and changed files
    with mirror.synchronized("models/unet-1"):    # uploads new and changed files
        ...                                       # every half minute, and at the end

Any file system of fsspec can be used (gs://, s3://, abfs://, ssh://, file://). There is no merging:
each file has one writer at a time, the holder of the lease of its unit of work. Files are copied
whole. Uploads end with the files that processes rely on: counts before the records that point to them, the
completion marker of a unit last.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.runners import lease

HEARTBEAT, EXPIRY = 15.0, 60.0  # seconds, of a lease at a URL; see `lease`
SYNC_INTERVAL = 30.0  # seconds between two uploads
MARKER = "done.json"  # the completion marker of a unit
_STATE = ".mirror.json"  # in each local folder: versions of its files when last copied
_BLOCK = 4 * 2**20  # bytes per write of an upload
_READS, _PAUSE = 5, 0.05  # of a lease file that is empty; seconds between them


def is_url(path: str | os.PathLike) -> bool:
    return "://" in str(path)


def scratch(url: str) -> pathlib.Path:
    """Returns the local directory that mirrors the URL, by a name that is equal everywhere."""
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return pathlib.Path(tempfile.gettempdir()) / f"tfreuse-{os.getuid()}-{name}"


def _raises_os_error(method: Callable) -> Callable:
    """Decorates a method: errors of a remote file system, each with its own types, as OSError."""

    @functools.wraps(method)
    def call(self, *args, **options):
        try:
            return method(self, *args, **options)
        except (OSError, InputError):
            raise
        except Exception as error:
            cause = printable(f"{type(error).__name__}: {error}", 200)
            raise OSError(
                f"{printable(self.url)} does not do what it should ({cause})"
            ) from error

    return call


class Mirror:
    """Copies files between the directory at `url` and the directory `local`.

    Raises:
        InputError: the kind of URL is unknown, or its Python package is not installed.
    """

    def __init__(self, url: str, local: pathlib.Path) -> None:
        self.url, self.local = url.rstrip("/"), local
        try:
            import fsspec

            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"{printable(url)} cannot be used ({printable(error, 200)})."
            ) from None
        local.mkdir(parents=True, exist_ok=True, mode=0o700)

    @_raises_os_error
    def pull(
        self, *names: str, only: Collection[str] = (), but: Collection[str] = ()
    ) -> None:
        """Downloads files that are missing here, or changed at the URL since the last copy.

        Args:
            names: files or folders in the directory; missing ones are ignored.
            only: file names to download from the folders; all if empty.
            but: folders to skip, since a process of this machine writes to them.

        Raises:
            OSError: the file system does not answer, or the local disk is full.
        """
        self._fs.invalidate_cache()
        for name in names:
            remote = self._remote_files(name)
            for path in sorted(remote, key=_rank):
                folder, _, file = path.rpartition("/")
                if (only and file not in only) or folder in but:
                    continue
                local = self.local / path
                version = _remote_version(remote[path])
                if self._state(path)[0] != version or not local.exists():
                    with files.replacing(local, durable=False) as temporary:
                        self._fs.get_file(f"{self._root}/{path}", str(temporary))
                    self._save_state(path, version, _local_version(local))

    @_raises_os_error
    def push(self, *names: str) -> None:
        """Uploads files that are new or changed here; see the module for the order.

        Raises:
            OSError: the file system does not answer, or is full.
        """
        changed = [
            path
            for name in names
            for path in self._local_files(name)
            if self._state(path)[1] != _local_version(self.local / path)
        ]
        # Records are read before counts are uploaded: otherwise a record that is appended in
        # between would be uploaded without its counts.
        snapshots = {
            path: (
                _local_version(self.local / path),
                io.BytesIO((self.local / path).read_bytes()),
            )
            for path in changed
            if path.endswith(".jsonl")
        }
        for path in sorted(changed, key=_rank, reverse=True):
            local = self.local / path
            with contextlib.ExitStack() as stack:
                # the version is taken first: a later change is then uploaded next time
                version, source = snapshots.get(path) or (
                    _local_version(local),
                    stack.enter_context(open(local, "rb")),
                )
                self._put(path, source)
            info = self._fs.info(f"{self._root}/{path}")
            self._save_state(path, _remote_version(info), version)

    @_raises_os_error
    def remove(self, name: str) -> None:
        """Removes a file at the URL, not the local one."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def synchronized(self, *names: str, every: float = SYNC_INTERVAL) -> Iterator[None]:
        """Uploads changes every `every` seconds while the block runs, and at its end."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(every):
                # the next attempt may succeed; only the last one must
                with contextlib.suppress(OSError):
                    self.push(*names)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()
            self.push(*names)

    def _remote_files(self, name: str) -> dict[str, dict[str, Any]]:
        """Lists the files under a name at the URL, with fsspec's information about each."""
        details = self._fs.find(f"{self._root}/{name}", detail=True)
        start = len(self._fs._strip_protocol(self._root).rstrip("/")) + 1
        return {
            path[start:]: info
            for path, info in details.items()
            if not path.rpartition("/")[2].startswith(".") and info["type"] == "file"
        }

    def _local_files(self, name: str) -> list[str]:
        root = self.local / name
        paths = [root] if root.is_file() else root.rglob("*")
        return [
            path.relative_to(self.local).as_posix()
            for path in paths
            if path.is_file()
            and not path.name.startswith(".")
            and path.name != lease.NAME
        ]

    def _put(self, path: str, source: BinaryIO) -> None:
        """Uploads a file, whole or not at all."""
        target = f"{self._root}/{path}"
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        with self._fs.transaction, self._fs.open(target, "wb") as file:
            shutil.copyfileobj(source, file, _BLOCK)

    def _state(self, path: str) -> list:
        """Returns [remote version, local version] of a file when it was last copied."""
        return self._states(path).get(path.rpartition("/")[2], [None, None])

    def _states(self, path: str) -> dict[str, list]:
        """Returns the states of all files in the folder of `path`, by name."""
        try:
            return files.read_json((self.local / path).with_name(_STATE))
        except (OSError, ValueError):
            return {}

    def _save_state(self, path: str, remote: str, local: list | None) -> None:
        file = self.local / path
        states = self._states(path) | {file.name: [remote, local]}
        files.write_json(file.with_name(_STATE), states, durable=False)


class NoMirror:
    """Stands for a `Mirror` where the study's directory is local; does nothing."""

    url = ""

    def pull(
        self, *names: str, only: Collection[str] = (), but: Collection[str] = ()
    ) -> None:
        pass

    def push(self, *names: str) -> None:
        pass

    def remove(self, name: str) -> None:
        pass

    @contextlib.contextmanager
    def synchronized(self, *names: str) -> Iterator[None]:
        yield


def mirror_of(url: str, local: pathlib.Path) -> Mirror | NoMirror:
    """Returns the mirror of the URL in `local`; of "" one that does nothing."""
    return Mirror(url, local) if url else NoMirror()


class RemoteLeaseFile:
    """A lease file at a URL; see `lease`."""

    def __init__(self, mirror: Mirror, name: str) -> None:
        self.url = mirror.url
        self._fs, self.path = mirror._fs, f"{mirror._root}/{name}"

    def lock(self) -> None:
        """Returns None: such file systems have no locks."""

    def unlock(self) -> None:
        pass

    @_raises_os_error
    def read(self) -> bytes:
        """Returns the heartbeat; b"" without a file, or if it stays empty."""
        for _ in range(_READS):
            try:
                heartbeat = self._fs.cat_file(self.path)
            except FileNotFoundError:
                break
            if heartbeat:
                return heartbeat
            time.sleep(_PAUSE)  # a mounted folder shows a file before its content
        return b""

    @_raises_os_error
    def write(self, heartbeat: bytes) -> None:
        self._fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(self.path, heartbeat)

    @_raises_os_error
    def clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self.path)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def hold_lease(
    path: pathlib.Path, name: str, mirror: Mirror | NoMirror, *, wait: bool = False
) -> Iterator[None]:
    """Holds the lease at `path` in a study's directory, here and at the mirror's URL.

    Raises:
        lease.AlreadyHeld: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(lease.hold(lease.LocalLeaseFile(path), name, wait=wait))
        if isinstance(mirror, Mirror):
            file = RemoteLeaseFile(mirror, path.relative_to(mirror.local).as_posix())
            stack.enter_context(
                lease.hold(file, name, wait=wait, heartbeat=HEARTBEAT, expiry=EXPIRY)
            )
        yield


def _rank(path: str) -> int:
    """Orders downloads; uploads go in reverse order.

    A marker is downloaded first and uploaded last: where there is one, the records that follow
    are complete.
    """
    return 0 if path.endswith(f"/{MARKER}") else 1 if path.endswith(".jsonl") else 2


def _remote_version(info: dict[str, Any]) -> str:
    """Returns the fields by which any fsspec file system distinguishes versions of a file."""
    names = ("size", "etag", "ETag", "md5Hash", "generation", "mtime", "LastModified")
    return json.dumps([str(info.get(name, "")) for name in names])


def _local_version(path: pathlib.Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
