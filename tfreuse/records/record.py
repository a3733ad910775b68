"""One arm's record, as a line of JSON and slim in memory: a study has up to 10^5 of them."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, Self

UNMOVED = 0.01  # of a bias's channel's standard deviation: a smaller shift is none


@dataclasses.dataclass(frozen=True, slots=True)
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
    counts: Mapping[str, Any]  # sums that `after` was computed from
    per_image: tuple[int, int] | None  # where in counts.bin: first byte, bytes
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
        values = {name: getattr(self, name) for name in _FIELDS}
        values["counts"] = dict(self.counts)
        return json.dumps(values, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes, pool: "Pool | None" = None) -> Self:
        """The record of a line.

        Args:
            line: what `to_line` gave.
            pool: shares equal values with the records that were read with it before.

        Raises:
            ValueError, TypeError, KeyError: the line is not a record.
        """
        values = json.loads(line)
        where = values["per_image"]
        if where is not None:
            if [type(one) for one in where] != [int, int] or min(where) < 0:
                raise ValueError(f"per_image is [first byte, bytes], not {where}")
            values["per_image"] = tuple(where)
        for name, value in values.items():
            if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
                raise TypeError(f"{name} is {type(value).__name__}")
        values["counts"] = Sums(values["counts"])
        return cls(**(pool or Pool()).share(values))


_FIELDS = tuple(field.name for field in dataclasses.fields(Record))
_TYPES: dict[str, tuple[type, ...]] = {
    field.name: {
        float: (float, int),
        float | None: (float, int, type(None)),
        tuple[int, int] | None: (tuple, type(None)),
        dict[str, str]: (dict,),
        Mapping[str, Any]: (dict,),
    }.get(field.type, (field.type,))
    for field in dataclasses.fields(Record)
}


class Sums(Mapping):
    """A record's counts, kept as JSON text and read when asked for.

    A confusion matrix of 12 classes takes 6 kB as lists of numbers, and 0.5 kB as text.
    """

    __slots__ = ("_text",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._text = json.dumps(dict(values), separators=(",", ":"), allow_nan=False)

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._text)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    def __len__(self) -> int:
        return len(json.loads(self._text))

    def __repr__(self) -> str:
        return f"Sums({self._text})"


class Pool:
    """Values that many records have in common, kept once for all of them."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}

    def share(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields with what is known already in place of what is equal to it."""
        known = self._values
        for name, value in fields.items():
            # of the numbers only those that are one recipient's: the others all differ
            if type(value) is str or name in ("before", "floor", "strength"):
                fields[name] = known.setdefault((type(value), value), value)
        versions = tuple(sorted(fields["versions"].items()))
        fields["versions"] = known.setdefault(versions, fields["versions"])
        return fields
