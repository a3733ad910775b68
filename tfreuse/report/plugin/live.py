"""Keeps a study in the server's memory, and reads it again in the background when it changes."""

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
from tfreuse.report.plugin.follower import Follower
from tfreuse.report.views.snapshot import Snapshot

PAUSE = 2.0  # seconds between two reads of a study that is being written
LARGEST = 16_000_000  # bytes of study.json, and of labels.jsonl
_WINDOW = 300.0  # seconds over which the rate of new records is measured


class LiveStudy:
    """Follows one study directory. All methods may be called from any thread."""

    def __init__(
        self, path: pathlib.Path, warm: Callable[[Snapshot, Part], None]
    ) -> None:
        """Follows the study in the directory `path`.

        `warm` is called with each part of each new snapshot, in the background, to fill the
        caches before a browser asks.
        """
        self.path = path
        self.failure = ""  # a sentence, if the study cannot be read
        self.share = 0.0  # of the records read so far
        self._warm = warm
        self._snapshot: Snapshot | None = None
        self._follower = Follower(path / "records.jsonl")
        self._attempted = ""  # version of the last read, successful or not
        self._due = 0.0
        self._reported: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rate: collections.deque[tuple[float, int]] = collections.deque()

    def latest(self) -> Snapshot | None:
        """Returns the latest snapshot; starts reading a newer one if files have changed."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if not running and time.monotonic() >= self._due:
                version = source.version(self.path)
                if version != self._attempted:
                    self._attempted = version
                    self._thread = threading.Thread(
                        target=self._read, args=(version,), daemon=True
                    )
                    self._thread.start()
            return self._snapshot

    def reported(self, key: str) -> Any:
        """Returns the answer embedded in report.html if it is up to date, else None.

        Serves requests until the study is read, which takes many seconds for 10^5 records.
        """
        with self._lock:
            if self._reported is None:
                self._reported = _reported(self.path)
            return self._reported.get(key)

    def rate(self) -> float | None:
        """Returns recent records per second; None without new records in the window."""
        counts = list(self._rate)
        if len(counts) < 2 or counts[-1][1] <= counts[0][1]:
            return None
        (start, before), (end, after) = counts[0], counts[-1]
        return (after - before) / (end - start)

    def last_record(self) -> float | None:
        """Returns the seconds since records were last written; None if there are none."""
        try:
            status = self._follower.path.stat()
        except OSError:
            return None
        return max(0.0, time.time() - status.st_mtime) if status.st_size else None

    def _read(self, version: str) -> None:
        started = time.monotonic()
        try:
            snapshot = self._snapshot_of(version)
            # Caches are filled first, so that no request waits for another's computation.
            for part in snapshot.parts:
                self._warm(snapshot, part)
            self._snapshot, self.failure = snapshot, ""
            self._reported = {}  # not needed once there is a snapshot
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            self.failure = printable(error, 400)
        finally:  # spends at most a third of the time on reading
            now = time.monotonic()
            self._due = now + max(PAUSE, 2 * (now - started))

    def _snapshot_of(self, version: str) -> Snapshot:
        _check(self.path / "study.json")
        self._follower.update(self._set_share)
        arms, duplicates = _distinct(self._follower.records)
        self._count(len(arms))
        warnings = [*self._follower.complaints, *duplicates]
        unlisted = self._follower.broken - len(self._follower.complaints)
        if unlisted > 0:
            warnings.append(f"{unlisted:,} more lines of records.jsonl are no records.")
        curves, faults = _curves(self.path / "labels.jsonl")
        study = source.load(self.path, arms, curves)
        return Snapshot(study, version, [*warnings, *faults])

    def _set_share(self, share: float) -> None:
        self.share = share

    def _count(self, records: int) -> None:
        now = time.monotonic()
        self._rate.append((now, records))
        while now - self._rate[0][0] > _WINDOW:
            self._rate.popleft()


def _reported(path: pathlib.Path) -> dict[str, Any]:
    """Reads the answers in `report.html` if it was made from the study's present files."""
    page = path / "report.html"
    if not files.is_own_file(page) or os.path.getsize(page) > LARGEST:
        return {}
    answers = embedded.unpack(page.read_bytes())
    study = answers.get(embedded.key("study", {"study": path.resolve().name}))
    if not isinstance(study, dict) or study.get("version") != source.version(path):
        return {}
    return answers


def _check(path: pathlib.Path) -> None:
    if not files.is_own_file(path) or os.path.getsize(path) > LARGEST:
        raise InputError(f"{path.name} is no plain file of at most {LARGEST:,} bytes.")


def _curves(path: pathlib.Path) -> tuple[list[records.LabelRecord], list[str]]:
    """Returns the records of the label curves, and warnings if they cannot be read."""
    if not path.is_symlink() and not path.exists():
        return [], []
    if not files.is_own_file(path) or os.path.getsize(path) > LARGEST:
        return [], [f"{path.name} is no plain file of at most {LARGEST:,} bytes."]
    try:
        return records.read_labels(path), []
    except InputError as error:
        return [], [printable(error, 300)]


def _distinct(arms: list) -> tuple[tuple, list[str]]:
    """Returns the first record of each arm, and a warning if there were duplicates."""
    first = {record.key: record for record in reversed(arms)}
    duplicates = len(arms) - len(first)
    if not duplicates:
        return tuple(arms), []
    warning = (
        f"{duplicates:,} records are of arms that have a record already; the first of each "
        "counts."
    )
    return tuple(record for record in arms if first[record.key] is record), [warning]
