"""One arm's record: a line of JSON, small in memory, since a study has up to 10^5 of them."""

import dataclasses
import functools
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Self

# Shift of a bias, in standard deviations of its output channel, under which it counts as unmoved
UNMOVED = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One arm: a recipient with one group of roles at one site replaced by a donor's.

    `before`, `after` and `floor` are values of `metric`: "mean_iou" in [0, 1] for
    segmentation, "r2" (at most 1) for an auto-encoder. `floor` is the metric of the best
    prediction that ignores the image: the majority class; the mean image.
    """

    study: str  # digest of the study's specs
    architecture: str  # "unet", or with options: "unet:block_order=conv_relu_bn"
    direction: str  # "autoencoder-to-segmentation", ...
    link: str  # relation of donor's and recipient's initial values: one of specs.LINKS
    seed: int  # replicate: number of the recipient
    donor: str  # name of the network, e.g. "autoencoder-0", or of the control
    # SHA-256 of the donor's file; of the recipient's for controls that are made from it
    donor_digest: str
    recipient: str
    recipient_digest: str
    control: str  # "transfer" for the treatment itself, or one of specs.CONTROLS
    draw: int  # number of the draw of a random control, from 0
    site_kind: str  # one of specs.SITES
    site: str  # "all", or a layer or stage: the site itself, or a prefix's last, ...
    depth: int  # index of that layer or stage from input (0) to output; -1 for "all"
    group: str  # role, group, or several joined by "+"
    strength: float  # alpha of (1 - alpha) recipient + alpha donor; 1: full transplant
    repair: str  # one of specs.REPAIRS
    variables: int  # number of arrays that moved
    parameters: int  # number of scalars that moved
    changed: int  # number of scalars that differ from the recipient's
    # between donor's and recipient's moved scalars, before any repair:
    rmse: float
    relative_distance: float | None  # norm of the difference / norm of the recipient's
    cosine: float | None
    # change of the map y = a x + c that each channel of the site's batch norms computes at
    # inference, preceding biases included: medians of |change of a / a| and |change of c| / sd(y)
    scale_shift: float | None
    offset_shift: float | None
    # output of the site's last layer on calibration images, before any repair, compared with
    # the recipient's:
    output_error: float | None  # norm of the change / norm
    cka: float | None  # debiased linear CKA
    # |donor - recipient| of biases, in standard deviations of their output channel: the median,
    # and the share that is at least UNMOVED; None if no bias moved
    bias_shift: float | None
    bias_moved: float | None
    metric: str
    before: float
    after: float
    floor: float
    counts: Mapping[str, Any]  # sums that `after` was computed from
    per_image: tuple[int, int] | None  # extent in counts.bin: (offset, size in bytes)
    images: int  # number of test images
    seconds: float
    versions: dict[str, str]
    # age of the donor in updates of its training; None: the finished donor (absent from JSON)
    updates: int | None = None
    # one of specs.ORDERS, and the share of each layer's channels that moved in that order;
    # "" and 1 where layers moved whole, whose lines have neither
    order: str = ""
    share: float = 1.0

    @property
    def key(self) -> tuple[str, ...]:
        """Identifies the arm: records with equal keys measure the same arm of a study."""
        return (
            self.architecture, self.direction, self.link, str(self.seed), self.control,
            str(self.draw), self.site_kind, self.site, self.group, f"{self.strength:g}",
            *((self.order, f"{self.share:g}") if self.order else ()),
            *age_key(self.updates), self.repair,
        )  # fmt: skip

    @property
    def retention(self) -> float:
        """(after - floor) / (before - floor); NaN if the recipient is at its floor."""
        span = self.before - self.floor
        return (self.after - self.floor) / span if span > 0 else float("nan")

    @property
    def drop(self) -> float:
        return self.before - self.after

    def to_line(self) -> str:
        values = {name: getattr(self, name) for name in _FIELDS}
        if not self.order:
            del values["order"], values["share"]
        values["counts"] = dict(self.counts)
        if self.updates is None:  # the line of a study without ages stays as it was
            del values["updates"]
        return json.dumps(values, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes, pool: "Pool | None" = None) -> Self:
        """Parses a line of the file.

        Args:
            line: JSON as `to_line` returns it.
            pool: shares equal values with other records that were read with the same pool.

        Raises:
            ValueError, TypeError, KeyError: the line is not a record.
        """
        values = {**_DEFAULTS, **decoded(line)}
        extent = values["per_image"]
        if extent is not None:
            if [type(number) for number in extent] != [int, int] or min(extent) < 0:
                raise ValueError(f"per_image is [offset, size], not {extent}")
            values["per_image"] = tuple(extent)
        _check_fields(tuple(values), tuple(map(type, values.values())))
        for name in ("before", "after", "floor"):
            if abs(values[name]) > sys.float_info.max:  # 1e999, or 400 digits, are JSON
                raise ValueError(f"{name} is not finite")
        values["counts"] = Sums(values["counts"])
        shared = (pool or Pool()).share(values)
        record = cls.__new__(cls)
        for name, write in _WRITERS:  # as __init__ does, in half of its time
            write(record, shared[name])
        return record


def age_key(updates: int | None) -> tuple[str, ...]:
    """Returns the part of a record's key that names the age of its donor; () of a finished one."""
    return () if updates is None else (f"after {updates} updates",)


_FIELDS = tuple(field.name for field in dataclasses.fields(Record))
_WRITERS = tuple((name, getattr(Record, name).__set__) for name in _FIELDS)
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(Record)
    if field.default is not dataclasses.MISSING
}
_TYPES: dict[str, tuple[type, ...]] = {
    field.name: {
        float: (float, int),
        float | None: (float, int, type(None)),
        int | None: (int, type(None)),
        tuple[int, int] | None: (tuple, type(None)),
        dict[str, str]: (dict,),
        Mapping[str, Any]: (dict,),
    }.get(field.type, (field.type,))
    for field in dataclasses.fields(Record)
}


# A study has few combinations of types: None or a number here and there.
@functools.lru_cache(1 << 10)
def _check_fields(names: tuple[str, ...], types: tuple[type, ...]) -> None:
    if missing := [name for name in _FIELDS if name not in names]:
        raise KeyError(f"no {missing[0]}")
    for name, type_ in zip(names, types, strict=True):
        if type_ not in _TYPES[name]:
            raise TypeError(f"{name} is {type_.__name__}")


def decoded(line: str | bytes) -> Any:
    """Returns the content of a line of JSON; raises ValueError at NaN and Infinity, which JSON lacks."""
    return _DECODER.decode(line if isinstance(line, str) else line.decode())


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_counts_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Sums(Mapping):
    """A record's counts, stored as JSON text and parsed on access.

    A confusion matrix of 12 classes takes 6 kB as lists of integers, and 0.5 kB as text.
    """

    __slots__ = ("_text",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._text = _counts_text(dict(values))

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._text)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    def __len__(self) -> int:
        return len(json.loads(self._text))

    def __repr__(self) -> str:
        return f"Sums({self._text})"


class Pool:
    """Stores values that many records have in common once."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._numbers: dict[tuple[type, float], float] = {}
        self._versions: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def share(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Replaces values by equal ones of earlier records, in place; returns `fields`."""
        texts = self._texts
        for name, value in fields.items():
            if type(value) is str:
                fields[name] = texts.setdefault(value, value)
        # Only these numbers repeat, once per arm of a recipient. The type is part of the key,
        # since 1 == 1.0 and a record must stay as it was written.
        for name in ("before", "floor", "strength"):
            value = fields[name]
            fields[name] = self._numbers.setdefault((type(value), value), value)
        versions = fields["versions"]
        key = tuple(versions.items())
        fields["versions"] = self._versions.setdefault(key, versions)
        return fields
