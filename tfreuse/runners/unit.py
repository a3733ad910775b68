"""A unit of work: a function of a spec with its own directory and a completion marker.

    unit = Unit("train unet-0", train, (spec,), {"train": spec.to_json()})
    failure = carry_out(unit, out_dir, threads=1)   # in a worker of any runner
    Folder(out_dir, unit).done()                    # the marker's content; None if not done

The directory is `units/NAME-HASH`, by the hash of the unit's spec, and contains:

    lease          the worker that holds the unit; see `lease`
    records.jsonl, counts.bin, labels.jsonl    records so far; see `records`
    progress.json  progress, for display
    failed.json    the last failure, until the unit is done
    done.json      the completion marker, written last: number of records, annotations

A worker continues from the records that are there: after a kill, no record is lost and none is
made twice.
"""

import dataclasses
import functools
import pathlib
import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from tfreuse import files, records
from tfreuse.errors import InputError, in_one_line, printable, reason
from tfreuse.runners import lease, storage
from tfreuse.runners.cache import Cache

UNITS = "units"
_FAILED, _PROGRESS = "failed.json", "progress.json"
_PAUSE = 0.5  # seconds between two writes of progress.json


@dataclasses.dataclass(frozen=True)
class Unit:
    """One piece of work: the call `function(output, threads, *arguments)`.

    Attributes:
        name: unique in a run; its first word is its kind.
        function: importable by every worker.
        arguments: picklable.
        spec: plain JSON; everything that the records depend on.
        needs: names of units that must be done first; names outside the run count as done.
        weight: expected cost, for estimates of the time left.
        product: a file in the study's directory without which the unit is not done.
        reads: files and folders in the study's directory that the function reads.
        writes: files and folders in the study's directory that the function writes.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    spec: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    weight: float = 1.0
    product: str = ""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return self.name.partition(" ")[0]

    @functools.cached_property
    def key(self) -> str:
        """SHA-256, in hex, of the spec."""
        return files.digest(dict(self.spec))


@dataclasses.dataclass(frozen=True)
class Failure:
    """The reason why a unit is not done.

    Attributes:
        message: one sentence.
        details: traceback, or "".
        node: name of the node that the worker ran on.
        final: a retry would fail likewise: the user must fix something.
        lost: the worker was ended from outside.
    """

    message: str
    details: str = ""
    node: str = ""
    final: bool = False
    lost: bool = False


class Folder:
    """A unit's directory.

    Attributes:
        name: path of the directory, relative to the study's.
        path: path of the directory.
        marker: path of the completion marker, relative to the study's directory.
    """

    def __init__(self, out_dir: pathlib.Path, unit: Unit) -> None:
        self._unit, self._out_dir = unit, out_dir
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", unit.name)[:80]
        self.name = f"{UNITS}/{name}-{unit.key[:12]}"
        self.path = out_dir / self.name
        self.marker = f"{self.name}/{storage.MARKER}"

    def done(self) -> dict[str, Any] | None:
        """Returns the content of the completion marker; None if the unit is not done."""
        product = self._unit.product
        if product and not (self._out_dir / product).exists():
            return None
        return _json(self.path / storage.MARKER)

    def finish(self, content: Mapping[str, Any]) -> None:
        """Writes the completion marker."""
        unit = self._unit
        marker = {"name": unit.name, "spec": dict(unit.spec), **content}
        files.write_json(self.path / storage.MARKER, marker)
        for name in (_FAILED, _PROGRESS):
            (self.path / name).unlink(missing_ok=True)

    def remove_marker(self) -> None:
        """Removes the completion marker: the next run continues from the existing records."""
        (self.path / storage.MARKER).unlink(missing_ok=True)

    def record_failure(self, failure: Failure) -> None:
        context = {"name": self._unit.name, "at": time.time()}
        files.write_json(self.path / _FAILED, context | dataclasses.asdict(failure))

    def progress(self) -> dict[str, Any] | None:
        """Returns the worker's last {"share", "text", "node"}; None if none has started."""
        return _json(self.path / _PROGRESS)


class Output:
    """Output of a unit's function: records, annotations of the marker, and progress.

    Attributes:
        keys: keys of the records of earlier attempts, which need not be made again.
        cache: of the worker, with entries of its earlier units.
    """

    def __init__(self, path: pathlib.Path, node: str, cache: Cache) -> None:
        self._path, self._node, self.cache = path, node, cache
        self._logs: dict[type, records.Log | records.LabelLog] = {}
        self._annotations: dict[str, Any] = {}
        self._next_progress = 0.0

    def __enter__(self) -> Self:
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            for log in (records.Log, records.LabelLog):
                if (self._path / _LOGS[log]).exists():
                    self._open(log)
        except BaseException:
            self.__exit__()
            raise
        self.keys = frozenset(r.key for log in self._logs.values() for r in log.records)
        return self

    def __exit__(self, *unused: object) -> None:
        for log in self._logs.values():
            log.__exit__()

    def progress(self, share: float, text: str) -> None:
        """Reports the share of the work that is done, and the current step."""
        now = time.monotonic()
        if now >= self._next_progress:
            self._next_progress = now + _PAUSE
            progress = {"share": share, "text": text, "node": self._node}
            files.write_json(self._path / _PROGRESS, progress, durable=False)

    def record(
        self, record: records.Record, per_image: np.ndarray | None = None
    ) -> None:
        """Writes one arm's record; it then survives a kill."""
        self._open(records.Log).append(record, per_image)

    def label(self, record: records.LabelRecord) -> None:
        """Writes one record of a label curve; it then survives a kill."""
        self._open(records.LabelLog).append(record)

    def annotate(self, name: str, value: Any) -> None:
        """Adds plain JSON to the completion marker."""
        self._annotations[name] = value

    def summary(self) -> dict[str, Any]:
        """Returns the content of the completion marker."""
        return {
            "records": sum(len(log.records) for log in self._logs.values()),
            "node": self._node,
            "told": self._annotations,
        }

    def _open(self, log: type) -> Any:
        if log not in self._logs:
            self._logs[log] = log(self._path / _LOGS[log]).__enter__()
        return self._logs[log]


_LOGS = {records.Log: "records.jsonl", records.LabelLog: "labels.jsonl"}


def carry_out(
    unit: Unit,
    out_dir: pathlib.Path,
    threads: int,
    node: str = "",
    url: str = "",
    cache: Cache | None = None,
) -> Failure | None:
    """Runs a unit in this process, unless it is done; waits for another worker's lease on it.

    Args:
        unit: the unit.
        out_dir: the study's directory.
        threads: CPU threads to use.
        node: name of this node, for display.
        url: URL that `out_dir` mirrors, if any; see `storage`.
        cache: of this process, where it carries out several units.

    Returns:
        why the unit failed, None if it is done.
    """
    folder = Folder(out_dir, unit)
    try:
        mirror = storage.mirror_of(url, out_dir)
        with storage.hold_lease(folder.path / lease.NAME, unit.name, mirror, wait=True):
            mirror.pull(folder.name, *unit.reads, *unit.writes)
            if folder.done() is not None:  # by the worker that held the lease before
                return None
            with mirror.synchronized(folder.name, *unit.writes):
                _do(unit, folder, threads, node, cache or Cache())
    except InputError as error:
        return Failure(str(error), traceback.format_exc(), node, final=True)
    except OSError as error:  # a full disk, a lost network: a retry may succeed
        return Failure(printable(error, 300), traceback.format_exc(), node)
    except Exception as error:  # noqa: BLE001 - the scheduler handles and reports them all
        message = in_one_line(error) or f"{type(error).__name__}: {reason(error, 300)}"
        return Failure(message, traceback.format_exc(), node)
    return None


def _do(unit: Unit, folder: Folder, threads: int, node: str, cache: Cache) -> None:
    started = time.monotonic()
    with Output(folder.path, node, cache) as output:
        output.progress(0.0, "starting")
        unit.function(output, threads, *unit.arguments)
    seconds = round(time.monotonic() - started, 3)
    folder.finish(output.summary() | {"seconds": seconds, "threads": threads})


def _json(path: pathlib.Path) -> dict[str, Any] | None:
    """Reads a JSON object; returns None if the file is missing or damaged."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
