"""What one arm gave: a record; and the file of records, one JSON object a line.

    with records.Log(path) as log:
        done = {record.key for record in log.records}
        log.append(record)  # on the disk when it returns

A kill can leave half a line at the end of the file. Opening the log cuts it off: its arm was
not finished and is measured again. Half a line anywhere else is an error, never dropped.
"""

import dataclasses
import json
import os
import pathlib
from typing import Any, Self

from tfreuse.errors import InputError, printable

UNMOVED = 0.01  # of a bias's channel's standard deviation: a smaller shift is none


@dataclasses.dataclass(frozen=True)
class Record:
    """One arm: recipient with one group of roles at one site taken from one donor.

    `before`, `after` and `floor` are in units of `metric`: "mean_iou" in [0, 1] for
    segmentation, "r2" (at most 1) for an auto-encoder. `floor` is what a predictor without
    any knowledge of the image reaches: the majority class; the mean image.
    """

    study: str  # digest of the study's specs
    architecture: str
    direction: str  # "autoencoder-to-segmentation", ...
    seed: int  # replicate: which recipient
    donor: str  # e.g. "autoencoder-0"; name of the network, or of the control
    donor_digest: (
        str  # SHA-256 of its file; of the recipient's for controls made from it
    )
    recipient: str
    recipient_digest: str
    control: str  # "transfer" for the treatment itself, or one of specs.CONTROLS
    site_kind: str  # "layer", "stage" or "all"
    site: str  # name of the layer or stage; "all"
    depth: int  # position of the site from input (0) to output; -1 for "all"
    group: str  # role or group
    repair: str  # "none" or "recalibration"
    variables: int  # arrays moved
    parameters: int  # numbers moved
    changed: int  # numbers that differ from the recipient's
    rmse: float  # between donor's and recipient's moved numbers
    # |donor - recipient| of biases, in standard deviations of their output channel: the
    # median, and the share of at least 0.01; None: no bias moved
    bias_shift: float | None
    bias_moved: float | None
    metric: str
    before: float
    after: float
    floor: float
    counts: dict[str, Any]  # sums that `after` was computed from
    images: int
    seconds: float
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two records the same arm of the same study."""
        return (
            self.architecture, self.direction, str(self.seed), self.control,
            self.site_kind, self.site, self.group, self.repair,
        )  # fmt: skip

    @property
    def retention(self) -> float:
        """(after - floor) / (before - floor); not a number where the recipient is at its floor."""
        span = self.before - self.floor
        return (self.after - self.floor) / span if span > 0 else float("nan")

    @property
    def drop(self) -> float:
        return self.before - self.after

    def to_line(self) -> str:
        return (
            json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False) + "\n"
        )

    @classmethod
    def from_line(cls, line: str) -> Self:
        return cls(**json.loads(line))


def read(path: str | os.PathLike) -> list[Record]:
    """Every complete record of the file, in order; an unfinished last line is left out.

    Raises:
        InputError: a complete line is not a record.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    found = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                break
            try:
                found.append(Record.from_line(line))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}: expected a record, got {printable(line, 60)!r} "
                    f"({printable(error, 80)}). Delete that line to measure its arm again."
                ) from error
    return found


class Log:
    """The file of records, open for appending; one writer at a time."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self.records = read(self.path)

    def __enter__(self) -> Self:
        self._file = open(self.path, "ab")
        self._file.truncate(self._end_of_last_line())
        return self

    def __exit__(self, *unused: object) -> None:
        self._file.close()

    def append(self, record: Record) -> None:
        """Adds one line and waits until it is on the disk."""
        self._file.write(record.to_line().encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def _end_of_last_line(self) -> int:
        """Size of the file without an unfinished last line."""
        with open(self.path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - 65536)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                end = start
        return 0
