"""Records of label curves, one per fit on few labels, and their file `labels.jsonl`.

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
from tfreuse.records import log as log_module
from tfreuse.records.record import decoded


@dataclasses.dataclass(frozen=True, slots=True)
class LabelRecord:
    """One arm at one number of labels: a network fitted with a recipe, measured on test images."""

    study: str  # digest of the study's specs
    architecture: str
    donor: str  # kind of the donor, e.g. "masked"; "" for scratch
    donor_digest: str  # SHA-256 of its file; "" for scratch
    recipe: str
    seed: int  # replicate: which donor, which subset, which initial values
    asked: int  # number of labels in the study's settings; 0: all
    labels: int  # number of labels that were trained on
    subset: str  # digest of the labelled images: equal for all arms of a seed
    steps: int
    learning_rate: float  # peak
    # learning rate -> metric on the inner validation split; {} if the rate was not searched
    tried: dict[str, float]
    metric: str
    value: float  # on the test images, at the end
    floor: float  # metric of the best prediction that ignores the image
    course: tuple[tuple[int, float], ...]  # (step, value) during the training
    counts: dict[str, Any]  # sums that `value` was computed from
    images: int  # test images
    cost: float  # of a training step, relative to one that trains all parameters
    seconds: float
    versions: dict[str, str]
    # with --group_by: group of test images -> (metric of its images, whether the group has
    # training images too)
    groups: dict[str, tuple[float, bool]] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> tuple[str, ...]:
        """Identifies the arm: records with equal keys measure the same arm of a study."""
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
        """Parses a line of the file.

        Raises:
            ValueError, TypeError, KeyError: the line is not a record.
        """
        values = decoded(line)
        values["course"] = tuple(
            (int(step), float(value)) for step, value in values["course"]
        )
        values["groups"] = {
            name: (float(value), bool(trained))
            for name, (value, trained) in values.get("groups", {}).items()
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
        records: all finished records, including appended ones.
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
        """Adds one record and waits for the disk: a fit takes a thousand times as long.

        Raises:
            OSError: the disk is full; no record was added.
        """
        line = record.to_line().encode()
        log_module.append(self._file, line)
        os.fsync(self._file.fileno())
        self.records.append(LabelRecord.from_line(line))


def read_labels(path: str | os.PathLike) -> list[LabelRecord]:
    """Reads all finished records, in order; none if there is no file.

    Raises:
        InputError: a complete line is not a record.
    """
    path = pathlib.Path(path)
    return _load(path)[0] if path.exists() else []


def _load(path: pathlib.Path) -> tuple[list[LabelRecord], int]:
    """Returns the finished records, and the offset where the line of the last one ends."""
    loaded, end = [], 0
    lines = log_module.read_lines(
        path, LabelRecord.from_line, "a record of a label curve"
    )
    for record, end in lines:
        loaded.append(record)
    return loaded, end
