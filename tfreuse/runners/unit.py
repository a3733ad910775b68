"""A unit of work: a function of a spec, with a directory of its own, done once its marker is.

    unit = Unit("train unet-0", train, (spec,), {"train": spec.to_json()})
    failure = carry_out(unit, out_dir, threads=1)   # in the worker, whatever started it
    Folder(out_dir, unit).done()                    # what it left, None if it is not done

The directory, `units/NAME-HASH` by the hash of the unit's spec, holds:

    lease          who works on it now; see `lease`
    records.jsonl, counts.bin, labels.jsonl    what it recorded so far; see `records`
    progress.json  how far it is, for people
    failed.json    how it failed, until it is done
    done.json      the marker, written last: how many records there are, and what it told

Whoever works on a unit goes on with what is there: after a kill no record is lost and none is
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
from tfreuse.errors import InputError, printable
from tfreuse.runners import lease, storage

UNITS = "units"
_FAILED, _PROGRESS = "failed.json", "progress.json"
_PAUSE = 0.5  # seconds between two notes of progress


@dataclasses.dataclass(frozen=True)
class Unit:
    """One piece of work: `function(output, threads, *arguments)`.

    Attributes:
        name: tells it from the others of a run; its first word is its kind.
        function: of a module that every worker can import.
        arguments: can be pickled.
        spec: plain JSON: all that the result depends on.
        needs: names of units that must be done first; one that is not in the same run is
            taken as done.
        weight: its expected cost, for the time left.
        product: a file in the study's directory without which the unit is not done.
        reads: files and folders in the study's directory that it looks at.
        writes: those that it makes there.
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
        """SHA-256 of the spec."""
        return files.digest(dict(self.spec))


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a unit was not done.

    Attributes:
        message: one sentence.
        details: a traceback; "" if none is needed.
        node: where it was.
        final: it would fail again: the user must mend something.
        lost: whoever worked on it was ended from outside.
    """

    message: str
    details: str = ""
    node: str = ""
    final: bool = False
    lost: bool = False


class Folder:
    """A unit's directory.

    Attributes:
        name: in the study's directory.
        path: of it.
        marker: name of the marker, in the study's directory.
    """

    def __init__(self, out_dir: pathlib.Path, unit: Unit) -> None:
        self._unit, self._out_dir = unit, out_dir
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", unit.name)[:80]
        self.name = f"{UNITS}/{name}-{unit.key[:12]}"
        self.path = out_dir / self.name
        self.marker = f"{self.name}/{storage.MARKER}"

    def done(self) -> dict[str, Any] | None:
        """What the marker says; None if the unit is not done."""
        product = self._unit.product
        if product and not (self._out_dir / product).exists():
            return None
        return _json(self.path / storage.MARKER)

    def finish(self, told: Mapping[str, Any]) -> None:
        """Writes the marker."""
        unit = self._unit
        held = {"name": unit.name, "spec": dict(unit.spec), **told}
        files.write_json(self.path / storage.MARKER, held)
        for name in (_FAILED, _PROGRESS):
            (self.path / name).unlink(missing_ok=True)

    def remove_marker(self) -> None:
        """Takes the marker away: the unit is done again, from the records that are there."""
        (self.path / storage.MARKER).unlink(missing_ok=True)

    def record_failure(self, failure: Failure) -> None:
        told = {"name": self._unit.name, "at": time.time()}
        files.write_json(self.path / _FAILED, told | dataclasses.asdict(failure))

    def progress(self) -> dict[str, Any] | None:
        """{"share", "text", "node"} of who works on it; None if nobody has begun."""
        return _json(self.path / _PROGRESS)


class Output:
    """What a unit gives back: records, words about itself, and how far it is.

    Attributes:
        keys: of the records that an earlier attempt left.
    """

    def __init__(self, path: pathlib.Path, node: str) -> None:
        self._path, self._node = path, node
        self._logs: dict[type, records.Log | records.LabelLog] = {}
        self._told: dict[str, Any] = {}
        self._next = 0.0

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
        """Tells which share of the work is done, and what is done now."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PAUSE
            told = {"share": share, "text": text, "node": self._node}
            files.write_json(self._path / _PROGRESS, told, durable=False)

    def record(
        self, record: records.Record, per_image: np.ndarray | None = None
    ) -> None:
        """Keeps one arm's record; a kill does not take it any more."""
        self._open(records.Log).append(record, per_image)

    def label(self, record: records.LabelRecord) -> None:
        """Keeps one record of a label curve."""
        self._open(records.LabelLog).append(record)

    def annotate(self, name: str, value: Any) -> None:
        """Adds plain JSON to the marker."""
        self._told[name] = value

    def told(self) -> dict[str, Any]:
        """For the marker."""
        return {
            "records": sum(len(log.records) for log in self._logs.values()),
            "node": self._node,
            "told": self._told,
        }

    def _open(self, log: type) -> Any:
        if log not in self._logs:
            self._logs[log] = log(self._path / _LOGS[log]).__enter__()
        return self._logs[log]


_LOGS = {records.Log: "records.jsonl", records.LabelLog: "labels.jsonl"}


def carry_out(
    unit: Unit, out_dir: pathlib.Path, threads: int, node: str = "", url: str = ""
) -> Failure | None:
    """Does the unit, unless it is done; waits for whoever works on it already.

    Args:
        unit: what to do.
        out_dir: the study's directory.
        threads: CPU threads to use.
        node: where this is, for people.
        url: what `out_dir` stands for; see `storage`.

    Returns:
        why it failed, None if it is done.
    """
    folder = Folder(out_dir, unit)
    try:
        mirror = storage.mirror_of(url, out_dir)
        with storage.hold_lease(folder.path / lease.NAME, unit.name, mirror, wait=True):
            mirror.pull(folder.name, *unit.reads, *unit.writes)
            if folder.done() is not None:
                return None
            with mirror.synchronized(folder.name, *unit.writes):
                _do(unit, folder, threads, node)
    except InputError as error:
        return Failure(str(error), traceback.format_exc(), node, final=True)
    except OSError as error:  # a full disk, a lost network: another attempt may do
        return Failure(printable(error, 300), traceback.format_exc(), node)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
        what = f"{type(error).__name__}: {error}"
        return Failure(printable(what, 300), traceback.format_exc(), node)
    return None


def _do(unit: Unit, folder: Folder, threads: int, node: str) -> None:
    started = time.monotonic()
    with Output(folder.path, node) as output:
        output.progress(0.0, "starting")
        unit.function(output, threads, *unit.arguments)
    seconds = round(time.monotonic() - started, 3)
    folder.finish(output.told() | {"seconds": seconds, "threads": threads})


def _json(path: pathlib.Path) -> dict[str, Any] | None:
    """The object in the file; None if there is none, or it is damaged."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
