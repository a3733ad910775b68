"""What one fit on few labels gave, and the file of such records, `labels.jsonl`.

with LabelLog("runs/study/labels.jsonl") as log:  # one writer at a time
    done = {record.key for record in log.records}
    log.append(record)  # survives a kill of the process once it returns
read_labels("runs/study/labels.jsonl")
"""

import dataclasses
import io
import json
import os
import pathlib
from typing import Any, Self

from tfreuse import files
from tfreuse.errors import InputError, printable
from tfreuse.records import log as log_module


@dataclasses.dataclass(frozen=True, slots=True)
class LabelRecord:
    """One arm at one number of labels: a network fitted by a recipe, measured on test images."""

    study: str  # digest of the study's specs
    architecture: str
    donor: str  # kind of the donor, e.g. "masked"; "" for scratch
    donor_digest: str  # SHA-256 of its file; "" for scratch
    recipe: str
    seed: int  # replicate: which donor, which subset, which initial values
    asked: int  # labels as the study asks for them; 0: all
    labels: int  # labels learned from
    subset: str  # digest of which: equal for all arms of a seed
    steps: int
    learning_rate: float  # peak
    tried: dict[str, float]  # peak rate -> metric on the inner split; {} if not chosen
    metric: str
    value: float  # on the test images, at the end
    floor: float  # what needs no look at the image reaches
    course: tuple[tuple[int, float], ...]  # (step, value) in the course of the training
    counts: dict[str, Any]  # sums that `value` was computed from
    images: int  # test images
    cost: float  # of a step, as a share of one that trains everything
    seconds: float
    versions: dict[str, str]
    # with --group_by: test images' group -> (metric of its images, whether any training image
    # is of that group)
    groups: dict[str, tuple[float, bool]] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two records the same arm of the same study."""
        return (
            self.architecture,
            self.donor,
            self.recipe,
            str(self.seed),
            str(self.asked),
        )

    def to_line(self) -> str:
        return (
            json.dumps(
                {name: getattr(self, name) for name in _TYPES},
                sort_keys=True,
                allow_nan=False,
            )
            + "\n"
        )

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        """The record of a line.

        Raises:
            ValueError, TypeError, KeyError: the line is not a record.
        """
        values = json.loads(line)
        values["course"] = tuple(
            (int(step), float(value)) for step, value in values["course"]
        )
        values["groups"] = {
            name: (float(value), bool(seen))
            for name, (value, seen) in values.get("groups", {}).items()
        }
        for name, value in values.items():
            if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
                raise TypeError(f"{name} is {type(value).__name__}")
        return cls(**values)


_TYPES: dict[str, tuple[type, ...]] = {
    field.name: {
        str: (str,),
        int: (int,),
        float: (float, int),
        tuple[tuple[int, float], ...]: (tuple,),
    }.get(field.type, (dict,))
    for field in dataclasses.fields(LabelRecord)
}


class LabelLog:
    """The file of label records, open for appending; one writer at a time.

    Attributes:
        records: every finished record, those appended included.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        self.records: list[LabelRecord] = []

    def __enter__(self) -> Self:
        new = not self.path.exists()
        self._file = io.FileIO(self.path, "a")
        try:
            log_module.lock(self._file, self.path)
            self.records, end = _load(self.path)
            self._file.truncate(end)
            if new:
                files.sync(self.path.parent)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self._file.close()

    def append(self, record: LabelRecord) -> None:
        """Adds one record and waits until it is on the disk: a fit takes a thousand times as long.

        Raises:
            OSError: there is no room; no record was added.
        """
        line = record.to_line().encode()
        log_module.append(self._file, line)
        os.fsync(self._file.fileno())
        self.records.append(LabelRecord.from_line(line))


def read_labels(path: str | os.PathLike) -> list[LabelRecord]:
    """Every finished record of the file, in order; none where there is no file.

    Raises:
        InputError: a complete line is not a record.
    """
    path = pathlib.Path(path)
    return _load(path)[0] if path.exists() else []


def _load(path: pathlib.Path) -> tuple[list[LabelRecord], int]:
    """The finished records, and where the line of the last one ends."""
    found, end = [], 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # a kill came while it was written
            try:
                found.append(LabelRecord.from_line(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                shown = printable(line.decode(errors="replace").rstrip(), 60)
                raise InputError(
                    f"{printable(path)}, line {number}: expected a record of a label curve, "
                    f"got {shown!r} ({printable(error, 80)}). Delete that line to measure its "
                    "arm again."
                ) from error
            end += len(line)
    return found, end
