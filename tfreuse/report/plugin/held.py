"""A study as the server holds it: read in the background, again whenever it has changed."""

import collections
import os
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

from tfreuse import files, records
from tfreuse.analysis.arms import Part
from tfreuse.errors import InputError, printable
from tfreuse.report import embedded, source
from tfreuse.report.plugin.following import Follower
from tfreuse.report.views.snapshot import Snapshot

PAUSE = 2.0  # seconds between two readings of a study that is being written
LARGEST = 16_000_000  # bytes of study.json, and of labels.jsonl
_REMEMBERED = 300.0  # seconds over which the rate of new records is measured


class Study:
    """One study's directory, followed; all methods may be called from any thread."""

    def __init__(
        self, path: pathlib.Path, warm: Callable[[Snapshot, Part], None]
    ) -> None:
        """Follows the study in the directory `path`.

        `warm` is given each part of each new snapshot, in the background, to make its tables
        before a browser asks for them.
        """
        self.path = path
        self.failure = ""  # why it cannot be read, a sentence
        self.share = 0.0  # of the records that has been read
        self._warm = warm
        self._snapshot: Snapshot | None = None
        self._follower = Follower(path / "records.jsonl")
        self._tried = ""  # version that was read last, if only to fail
        self._due = 0.0
        self._reported: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rate: collections.deque[tuple[float, int]] = collections.deque()

    def look(self) -> Snapshot | None:
        """The newest snapshot there is; starts to make a newer one where files changed."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if not running and time.monotonic() >= self._due:
                version = source.version(self.path)
                if version != self._tried:
                    self._tried = version
                    self._thread = threading.Thread(
                        target=self._read, args=(version,), daemon=True
                    )
                    self._thread.start()
            return self._snapshot

    def reported(self, key: str) -> Any:
        """The answer in the study's report, if that is of the same files; None if not.

        Until the study is read: with 10^5 records that takes many seconds.
        """
        with self._lock:
            if self._reported is None:
                self._reported = _reported(self.path)
            return self._reported.get(key)

    def rate(self) -> float | None:
        """Records a second of late; None if there were no new ones while we looked."""
        kept = list(self._rate)
        if len(kept) < 2 or kept[-1][1] <= kept[0][1]:
            return None
        (start, before), (end, after) = kept[0], kept[-1]
        return (after - before) / (end - start)

    def last_record(self) -> float | None:
        """Seconds since the records were last written; None if there are none."""
        try:
            status = self._follower.path.stat()
        except OSError:
            return None
        return max(0.0, time.time() - status.st_mtime) if status.st_size else None

    def _read(self, version: str) -> None:
        started = time.monotonic()
        try:
            snapshot = self._made(version)
            for (
                part
            ) in snapshot.parts:  # beforehand, so that no answer waits for another's
                self._warm(snapshot, part)
            self._snapshot, self.failure = snapshot, ""
            self._reported = {}  # no longer asked for
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            self.failure = printable(error, 400)
        finally:  # never more than a third of the time is spent on reading
            now = time.monotonic()
            self._due = now + max(PAUSE, 2 * (now - started))

    def _made(self, version: str) -> Snapshot:
        _check(self.path / "study.json")
        self._follower.read_on(self._tell)
        found, more = _distinct(self._follower.records)
        self._note(len(found))
        warnings = [*self._follower.complaints, *more]
        unnamed = self._follower.broken - len(self._follower.complaints)
        if unnamed > 0:
            warnings.append(f"{unnamed:,} more lines of records.jsonl are no records.")
        curves, told = _curves(self.path / "labels.jsonl")
        study = source.load(self.path, found, curves)
        return Snapshot(study, version, [*warnings, *told])

    def _tell(self, share: float) -> None:
        self.share = share

    def _note(self, count: int) -> None:
        now = time.monotonic()
        self._rate.append((now, count))
        while now - self._rate[0][0] > _REMEMBERED:
            self._rate.popleft()


def _reported(path: pathlib.Path) -> dict[str, Any]:
    """The answers in `report.html`, if it was made of the study's files as they are now."""
    page = path / "report.html"
    if not files.is_own_file(page) or os.path.getsize(page) > LARGEST:
        return {}
    found = embedded.unpack(page.read_bytes())
    told = found.get(embedded.key("study", {"study": path.resolve().name}))
    if not isinstance(told, dict) or told.get("version") != source.version(path):
        return {}
    return found


def _check(path: pathlib.Path) -> None:
    if not files.is_own_file(path) or os.path.getsize(path) > LARGEST:
        raise InputError(f"{path.name} is no plain file of at most {LARGEST:,} bytes.")


def _curves(path: pathlib.Path) -> tuple[list[records.LabelRecord], list[str]]:
    """The records of the label curves, or why there are none to show."""
    if not path.is_symlink() and not path.exists():
        return [], []
    if not files.is_own_file(path) or os.path.getsize(path) > LARGEST:
        return [], [f"{path.name} is no plain file of at most {LARGEST:,} bytes."]
    try:
        return records.read_labels(path), []
    except InputError as error:
        return [], [printable(error, 300)]


def _distinct(found: list) -> tuple[tuple, list[str]]:
    """The records, of two of the same arm the first; and what was left out, if any."""
    kept = {record.key: record for record in reversed(found)}
    twice = len(found) - len(kept)
    if not twice:
        return tuple(found), []
    told = f"{twice:,} records are of arms that have one already; the first of each counts."
    return tuple(record for record in found if kept[record.key] is record), [told]
