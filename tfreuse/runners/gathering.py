"""Brings what units of work recorded into the study's own files, every record once.

    with Gathering(out_dir, log, label_log) as gathering:
        gathering.collect(folder.path)     # what is new there; again and again while it runs

A unit's own files stay where they are: from them a study's files can be made again.
"""

import pathlib
from collections import Counter
from collections.abc import Iterator

from tfreuse import records
from tfreuse.errors import InputError, printable


class Gathering:
    """Takes over records, whatever the order in which units are done.

    Args:
        log: the study's records, open.
        label_log: those of its label curves.

    Attributes:
        log: the records, as given.
        counts: records there are by what they are of; see `owner`.
    """

    def __init__(self, log: records.Log, label_log: records.LabelLog) -> None:
        self.log, self._label_log = log, label_log
        held = [*log.records, *label_log.records]
        self.counts = Counter(map(owner, held))
        self._keys = {record.key for record in held}
        self._at: dict[pathlib.Path, int] = {}  # bytes that have been taken

    def collect(self, folder: pathlib.Path) -> None:
        """Takes what the unit's folder holds beyond what was taken before.

        Raises:
            InputError: a line there is not a record, or its counts are damaged.
        """
        path = folder / self.log.path.name
        with records.CountsReader(path) as counts:
            for line, where in self._lines(path):
                record = _parsed(records.Record, line, where)
                if record.per_image is None:
                    self._add(self.log, record)
                    continue
                if not counts.holds(record):
                    self._at[path] -= len(line)
                    break  # on its way here from another machine; or `finished` complains
                self._add(self.log, record, counts.read(record))
        path = folder / self._label_log.path.name
        for line, where in self._lines(path):
            self._add(self._label_log, _parsed(records.LabelRecord, line, where))

    def _add(self, log, record, *per_image) -> None:
        if record.key not in self._keys:
            log.append(record, *per_image)
            self._keys.add(record.key)
            self.counts[owner(record)] += 1

    def _lines(self, path: pathlib.Path) -> Iterator[tuple[bytes, str]]:
        """Finished lines that were not taken yet, and where each is, for messages."""
        if not path.exists():
            return
        with open(path, "rb") as file:
            file.seek(self._at.setdefault(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._at[path] += len(line)
                yield line, f"{printable(path)}, before byte {self._at[path]:,}"


def owner(record: records.Record | records.LabelRecord) -> tuple[str, ...]:
    """The block or the label curves that a record is of; `Block.owner` and `Curve.owner`."""
    if isinstance(record, records.Record):
        return record.key[:4]
    return record.architecture, str(record.seed)


def _parsed(kind, line: bytes, where: str):
    try:
        return kind.from_line(line)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        shown = printable(line.decode(errors="replace").rstrip(), 60)
        raise InputError(
            f"{where}: expected a record, got {shown!r} ({printable(error, 80)}). Delete that "
            "line to measure its arm again."
        ) from error
