"""A directory here that stands for one at a URL: brings what is there, gives what is made here.

    mirror = Mirror("gs://bucket/study", local)
    mirror.pull("models/unet-0")            # what is new or other there
    with mirror.synchronized("models/unet-1"):      # what is made here goes there, every half minute
        ...

Any file system that fsspec knows (gs://, s3://, abfs://, ssh://, file://). Every file has one
writer at a time, whoever holds the lease of its unit of work; so the newer one is always that of
who writes. A file comes and goes whole, never in parts. A unit's counts go before the records
that point to them, and its marker goes last.
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
from collections.abc import Callable, Collection, Iterator
from typing import Any, BinaryIO

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.runners import lease

BEAT, PATIENCE = 15.0, 60.0  # seconds of a lease there; see `lease`
EVERY = 30.0  # seconds between two looks at what is new here
_TABLE = ".mirror.json"  # in each folder: its files as they were when they came or went
MARKER = "done.json"  # of a unit that is done


def is_url(path: str | os.PathLike) -> bool:
    return "://" in str(path)


def scratch(url: str) -> pathlib.Path:
    """The directory that stands for the URL: the same on every machine."""
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    return pathlib.Path(tempfile.gettempdir()) / f"tfreuse-{os.getuid()}-{name}"


def _plainly(method: Callable) -> Callable:
    """Has every error of a file system, each of which has its own, as an OSError."""

    @functools.wraps(method)
    def call(self, *args, **more):
        try:
            return method(self, *args, **more)
        except (OSError, InputError):
            raise
        except Exception as error:
            what = printable(f"{type(error).__name__}: {error}", 200)
            raise OSError(
                f"{printable(self.url)} does not do what it should ({what})"
            ) from error

    return call


class Mirror:
    """Keeps `local` and the directory at `url` in step, as far as it is told.

    Raises:
        InputError: there is no such kind of URL, or what it needs is not installed.
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

    @_plainly
    def pull(
        self, *names: str, only: Collection[str] = (), but: Collection[str] = ()
    ) -> None:
        """Brings files that are missing here, or have changed there since they came or went.

        Args:
            names: files or folders in the directory; what is not there is left out.
            only: names of files to bring of the folders; all if empty.
            but: folders to leave alone, which somebody here writes to.

        Raises:
            OSError: it does not answer, or there is no room here.
        """
        self._fs.invalidate_cache()
        for name in names:
            found = self._there(name)
            for path in sorted(found, key=_rank):
                folder, _, file = path.rpartition("/")
                if (only and file not in only) or folder in but:
                    continue
                here = self.local / path
                seen = self._table(path).get(file, [None])[0]
                if seen != _token(found[path]) or not here.exists():
                    with files.replacing(here, durable=False) as temporary:
                        self._fs.get_file(f"{self._root}/{path}", str(temporary))
                    self._note(path, found[path])

    @_plainly
    def push(self, *names: str) -> None:
        """Gives files that are new or other here; see the module for the order.

        Raises:
            OSError: it does not answer, or there is no room there.
        """
        paths = [path for name in names for path in self._here(name)]
        new = [
            path
            for path in paths
            if self._table(path).get((self.local / path).name, [None, None])[1]
            != _mark(self.local / path)
        ]
        # as they are before their counts are read
        held = {
            path: (
                _mark(self.local / path),
                io.BytesIO((self.local / path).read_bytes()),
            )
            for path in new
            if path.endswith(".jsonl")
        }
        for path in sorted(new, key=_rank, reverse=True):
            here = self.local / path
            with contextlib.ExitStack() as stack:
                mark, source = held.get(path) or (
                    _mark(here),
                    stack.enter_context(open(here, "rb")),
                )
                self._put(path, source)
            self._note(path, self._fs.info(f"{self._root}/{path}"), mark)

    @_plainly
    def remove(self, name: str) -> None:
        """Takes a file away there; the one here is the caller's."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def synchronized(self, *names: str, every: float = EVERY) -> Iterator[None]:
        """Gives what is new here now and then while the block runs, and at its end."""
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(every):
                with contextlib.suppress(
                    OSError
                ):  # it may answer again; the end counts
                    self.push(*names)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()
            self.push(*names)

    def _there(self, name: str) -> dict[str, dict[str, Any]]:
        """What the file system says of each file there."""
        found = self._fs.find(f"{self._root}/{name}", detail=True)
        start = len(self._fs._strip_protocol(self._root).rstrip("/")) + 1
        return {
            path[start:]: info
            for path, info in found.items()
            if not path.rpartition("/")[2].startswith(".") and info["type"] == "file"
        }

    def _here(self, name: str) -> list[str]:
        root = self.local / name
        found = [root] if root.is_file() else root.rglob("*")
        return [
            path.relative_to(self.local).as_posix()
            for path in found
            if path.is_file()
            and not path.name.startswith(".")
            and path.name != lease.NAME
        ]

    def _put(self, path: str, source: BinaryIO) -> None:
        """Writes a file there, whole or not at all."""
        there = f"{self._root}/{path}"
        self._fs.makedirs(there.rpartition("/")[0], exist_ok=True)
        with self._fs.transaction, self._fs.open(there, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 22)

    def _table(self, path: str) -> dict[str, list]:
        try:
            return files.read_json((self.local / path).with_name(_TABLE))
        except (OSError, ValueError):
            return {}

    def _note(self, path: str, info: dict[str, Any], mark: list | None = None) -> None:
        here = self.local / path
        told = self._table(path) | {here.name: [_token(info), mark or _mark(here)]}
        files.write_json(here.with_name(_TABLE), told, durable=False)


class NoMirror:
    """What a directory that stands for no other needs."""

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
    """The mirror of the URL; of "" one that does nothing."""
    return Mirror(url, local) if url else NoMirror()


class RemoteLeaseFile:
    """A lease's mark at a URL; see `lease`."""

    def __init__(self, mirror: Mirror, name: str) -> None:
        self.url = mirror.url
        self._fs, self.path = mirror._fs, f"{mirror._root}/{name}"

    def lock(self) -> None:
        """Such file systems have no locks."""

    def unlock(self) -> None:
        pass

    @_plainly
    def read(self) -> bytes:
        try:
            return self._fs.cat_file(self.path)
        except FileNotFoundError:
            return b""

    @_plainly
    def write(self, mark: bytes) -> None:
        self._fs.makedirs(self.path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(self.path, mark)

    @_plainly
    def clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self.path)

    def close(self) -> None:
        pass


@contextlib.contextmanager
def hold_lease(
    path: pathlib.Path, what: str, mirror: Mirror | NoMirror, *, wait: bool = False
) -> Iterator[None]:
    """Holds the lease at `path` of a study's directory, and where that is really.

    Raises:
        lease.AlreadyHeld: another process holds it.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(lease.hold(lease.LocalLeaseFile(path), what, wait=wait))
        if isinstance(mirror, Mirror):
            mark = RemoteLeaseFile(mirror, path.relative_to(mirror.local).as_posix())
            stack.enter_context(
                lease.hold(mark, what, wait=wait, beat=BEAT, patience=PATIENCE)
            )
        yield


def _rank(path: str) -> int:
    """Lower comes first on the way here, and last on the way there."""
    return 0 if path.endswith(f"/{MARKER}") else 1 if path.endswith(".jsonl") else 2


def _token(info: dict[str, Any]) -> str:
    """What tells two states of a file there apart."""
    names = ("size", "etag", "ETag", "md5Hash", "generation", "mtime", "LastModified")
    return json.dumps([str(info.get(name, "")) for name in names])


def _mark(path: pathlib.Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
