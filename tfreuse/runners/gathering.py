"""Merges the records of all units into the study's files, each record once.

    gathering = Gathering(log, label_log)
    gathering.collect(folder.path)     # new records of a unit; repeatedly while it runs

The units' files are kept: the study's files can be rebuilt from them.
"""

import pathlib
from collections import Counter
from collections.abc import Iterator

from tfreuse import records
from tfreuse.errors import printable
from tfreuse.records.log import parse_line


class Gathering:
    """Collects records of units, in any order.

    Args:
        log: the study's records, open.
        label_log: records of its label curves.

    Attributes:
        log: the study's records.
        counts: number of records by owner; see `owner`.
    """

    def __init__(self, log: records.Log, label_log: records.LabelLog) -> None:
        self.log, self._label_log = log, label_log
        existing = [*log.records, *label_log.records]
        self.counts = Counter(map(owner, existing))
        self._keys = {record.key for record in existing}
        self._offsets: dict[pathlib.Path, int] = {}  # bytes that have been read

    def collect(self, folder: pathlib.Path) -> None:
        """Copies the records that the unit's folder has got since the last call.

        Raises:
            InputError: a line there is not a record, or its counts are damaged.
        """
        path = folder / self.log.path.name
        with records.CountsReader(path) as counts:
            for line, position in self._lines(path):
                record = parse_line(records.Record.from_line, line, position)
                if record.per_image is None:
                    self._add(self.log, record)
                    continue
                if not counts.holds(record):
                    # The counts may still be on their way from another machine: try again
                    # next time. If they never arrive, the unit lacks records at its end.
                    self._offsets[path] -= len(line)
                    break
                self._add(self.log, record, counts.read(record))
        path = folder / self._label_log.path.name
        for line, position in self._lines(path):
            record = parse_line(records.LabelRecord.from_line, line, position)
            self._add(self._label_log, record)

    def _add(self, log, record, *per_image) -> None:
        if record.key not in self._keys:
            log.append(record, *per_image)
            self._keys.add(record.key)
            self.counts[owner(record)] += 1

    def _lines(self, path: pathlib.Path) -> Iterator[tuple[bytes, str]]:
        """Yields complete lines that were not read before, and the position for messages."""
        if not path.exists():
            return
        with open(path, "rb") as file:
            file.seek(self._offsets.setdefault(path, 0))
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                self._offsets[path] += len(line)
                yield line, f"{printable(path)}, before byte {self._offsets[path]:,}"


def owner(record: records.Record | records.LabelRecord) -> tuple[str, ...]:
    """Returns the key of a record's block or label curves; see `Block.owner`, `Curve.owner`."""
    if isinstance(record, records.Record):
        return record.key[:4]
    return record.architecture, str(record.seed)
