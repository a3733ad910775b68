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
    architecture: str  # "unet", or with options: "unet:block_order=conv_relu_bn"
    direction: str  # "autoencoder-to-segmentation", ...
    link: str  # how donor and recipient were initialised: one of specs.LINKS
    seed: int  # replicate: which recipient
    donor: str  # e.g. "autoencoder-0"; name of the network, or of the control
    donor_digest: (
        str  # SHA-256 of its file; of the recipient's for controls made from it
    )
    recipient: str
    recipient_digest: str
    control: str  # "transfer" for the treatment itself, or one of specs.CONTROLS
    draw: int  # which draw of a random control, from 0
    site_kind: str  # one of specs.SITES
    site: str  # "all", or name of the layer or stage: its own, the prefix's last, ...
    depth: int  # position of that layer or stage from input (0) to output; -1 for "all"
    group: str  # role, group, or several joined by "+"
    strength: (
        float  # alpha of (1 - alpha) recipient + alpha donor; 1 is a full transplant
    )
    repair: str  # one of specs.REPAIRS
    variables: int  # arrays moved
    parameters: int  # numbers moved
    changed: int  # numbers that differ from the recipient's
    # between donor's and recipient's moved numbers, before any repair
    rmse: float
    relative_distance: float | None  # norm of the difference / norm of the recipient's
    cosine: float | None
    # change of the inference map y = a x + c of each channel of the site's batch norms, biases
    # before them included: medians of |change of a / a| and of |change of c| / sd of y
    scale_shift: float | None
    offset_shift: float | None
    # of the output of the site's last layer on calibration images, before any repair
    output_error: float | None  # norm of the change / norm
    cka: float | None  # debiased linear CKA with the recipient's own
    # |donor - recipient| of biases, in standard deviations of their output channel: the
    # median, and the share of at least 0.01; None: no bias moved
    bias_shift: float | None
    bias_moved: float | None
    metric: str
    before: float
    after: float
    floor: float
    counts: dict[str, Any]  # sums that `after` was computed from
    per_image: tuple[int, int] | None  # where in the counts file: first byte, bytes
    images: int
    seconds: float
    versions: dict[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two records the same arm of the same study."""
        return (
            self.architecture, self.direction, self.link, str(self.seed), self.control,
            str(self.draw), self.site_kind, self.site, self.group, f"{self.strength:g}",
            self.repair,
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
        values = json.loads(line)
        if values["per_image"] is not None:
            values["per_image"] = tuple(values["per_image"])
        return cls(**values)


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
            except (ValueError, TypeError, KeyError) as error:
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
