"""Measures the distance between two networks' parameters, by role and stage.

    plan, rows = transplant.diff("donor.keras", "recipient.keras")
    for row in rows:
        print(row.stage, row.role, row.relative_l2)
    print(comparison.table(rows))

A pair of variables a (donor) and b (recipient) is measured by the equality of its bytes, the
largest difference, the relative L2 distance |a - b| / |b|, the root mean square difference and
the cosine. The two statistics of a batch normalization are measured by the Kullback-Leibler
divergence of the donor's Gaussian from the recipient's, in nats, as a mean over channels:
(log(vb / va) + (va + (ma - mb)**2) / vb - 1) / 2 with means m and variances v, epsilon included
in the variances.

A row over many variables equals the row of one array of all their numbers, since sums are
added, never means. The arrays of one layer at a time are in memory. No TensorFlow here.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tfreuse import plan as plan_module
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable, stage
from tfreuse.roles import ROLES

Read = Callable[[Variable], np.ndarray]
OTHER = "other"  # role of arrays that move only with their whole layer
_CHUNK = 1 << 20  # numbers that are compared at once, in float64: 8 MB
_MEAN, _VARIANCE = "moving_mean", "moving_variance"


@dataclasses.dataclass(frozen=True)
class Row:
    """Sums over the pairs of one role in one stage; `+` adds two rows.

    Attributes:
        stage, role: of the pairs; "" where they differ.
        variables, identical: how many pairs, and how many of them are equal bit for bit.
        size: numbers compared.
        squares: sums of a*a, b*b, a*b and (a-b)*(a-b); a is the donor, b the recipient.
        max_abs: the largest |a - b|; NaN if a value is.
        divergence: sum over channels of the divergence, nats.
        channels: how many channels it was summed over; 0: none had both statistics.
    """

    stage: str
    role: str
    variables: int
    identical: int
    size: int
    squares: tuple[float, float, float, float]
    max_abs: float
    divergence: float = 0.0
    channels: int = 0

    @property
    def relative_l2(self) -> float:
        """|a - b| / |b|; 0 if both are zero, infinite if only b is."""
        _, b, _, difference = self.squares
        if b == 0:
            return 0.0 if difference == 0 else math.inf
        return math.sqrt(difference / b)

    @property
    def rmse(self) -> float:
        """Root of the mean of (a - b)**2, in the parameters' own unit."""
        return math.sqrt(self.squares[3] / self.size) if self.size else 0.0

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between a and b; None if either is zero."""
        a, b, product, _ = self.squares
        return product / math.sqrt(a * b) if a > 0 and b > 0 else None

    @property
    def kl(self) -> float | None:
        """Mean divergence of a channel, nats; None without statistics."""
        return self.divergence / self.channels if self.channels else None

    def __add__(self, other: "Row") -> "Row":
        return Row(
            self.stage if self.stage == other.stage else "",
            self.role if self.role == other.role else "",
            self.variables + other.variables,
            self.identical + other.identical,
            self.size + other.size,
            tuple(x + y for x, y in zip(self.squares, other.squares, strict=True)),
            float(np.maximum(self.max_abs, other.max_abs)),  # keeps NaN
            self.divergence + other.divergence,
            self.channels + other.channels,
        )

    def to_json(self) -> dict:
        """Returns plain values; None for numbers that are not finite."""
        fields = {
            name: getattr(self, name)
            for name in ("stage", "role", "variables", "identical", "size", "max_abs")
        }
        for name in ("relative_l2", "rmse", "cosine", "kl"):
            fields[name] = getattr(self, name)
        return {
            name: None if isinstance(v, float) and not math.isfinite(v) else v
            for name, v in fields.items()
        }


def rows(plan: plan_module.Plan, donor: Read, recipient: Read) -> list[Row]:
    """Returns a row for each stage and role of the plan's copies, from input to output.

    Args:
        plan: the pairs to compare; variables that do not fit are left out.
        donor, recipient: functions that read the value of a variable; called once for each.

    Raises:
        InputError: a value is not of the planned shape, or there is nothing to compare.
    """
    sums: dict[tuple[str, str], Row] = {}
    for layer in _layers(plan):
        for row in _layer(layer, donor, recipient):
            key = row.stage, row.role
            sums[key] = sums[key] + row if key in sums else row
    if not sums:
        raise InputError("the two have no variables in common to compare.")
    stages = list(dict.fromkeys(stage for stage, _ in sums))
    roles = (*ROLES, OTHER)
    return sorted(
        sums.values(), key=lambda r: (stages.index(r.stage), roles.index(r.role))
    )


def table(rows: Iterable[Row], *, by: str = "distance") -> str:
    """Formats rows and a total, at most 100 columns wide, the largest distance first.

    Args:
        rows: as `rows` returns them.
        by: "distance" (relative L2) or "place" (from input to output).
    """
    rows = list(rows)
    ordered = rows
    if by == "distance":
        ordered = sorted(rows, key=lambda row: -row.relative_l2)
    head = (
        f"{'stage':16} {'role':16} {'variables':>9} {'identical':>9} {'max |a-b|':>10} "
        f"{'rel. L2':>9} {'RMSE':>9} {'cosine':>7} {'KL':>7}"
    )
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    total = dataclasses.replace(total, stage="total", role="")
    return "\n".join([head, *map(_line, ordered), _line(total)])


def _line(row: Row) -> str:
    cosine = "" if row.cosine is None else f"{row.cosine:.4f}"
    kl = "" if row.kl is None else f"{row.kl:.3g}"
    return (
        f"{printable(row.stage, 16):16} {row.role:16} {row.variables:>9,} "
        f"{row.identical:>9,} {row.max_abs:>10.3g} {row.relative_l2:>9.3g} "
        f"{row.rmse:>9.3g} {cosine:>7} {kl:>7}"
    ).rstrip()


def _layers(plan: plan_module.Plan) -> Iterator[list[plan_module.Entry]]:
    """Groups pairs by layer: both statistics of a layer are needed at once."""
    by_layer: dict[str, list[plan_module.Entry]] = {}
    for entry in plan.copies:
        by_layer.setdefault(entry.recipient.layer_path, []).append(entry)
    yield from by_layer.values()


def _layer(
    entries: list[plan_module.Entry], donor: Read, recipient: Read
) -> Iterator[Row]:
    statistics = {}
    for entry in entries:
        a, b = _read(donor, entry.donor), _read(recipient, entry.recipient)
        role = entry.recipient.role
        if role in (_MEAN, _VARIANCE) and a.ndim == 1:
            statistics[role] = (entry, a, b)
        yield _compare(entry, a, b)
    if len(statistics) == 2:
        entry, *_ = statistics[_VARIANCE]
        divergence = _divergence(statistics)
        name = stage(entry.recipient.layer)
        zero = (0.0, 0.0, 0.0, 0.0)
        channels = len(divergence)
        yield Row(
            name, _VARIANCE, 0, 0, 0, zero, 0.0, float(divergence.sum()), channels
        )


def _read(read: Read, variable: Variable) -> np.ndarray:
    value = np.asarray(read(variable))
    if value.shape != variable.shape:
        raise InputError(
            f"{variable} should have shape {variable.shape}, has {value.shape}. Compare "
            "again."
        )
    return value


def _compare(entry: plan_module.Entry, a: np.ndarray, b: np.ndarray) -> Row:
    identical = a.dtype == b.dtype and a.tobytes() == b.tobytes()
    sums, largest = np.zeros(4), 0.0
    a, b = a.reshape(-1), b.reshape(-1)
    for start in range(0, a.size, _CHUNK):
        x = a[start : start + _CHUNK].astype(np.float64)
        y = b[start : start + _CHUNK].astype(np.float64)
        difference = x - y
        sums += (x @ x, y @ y, x @ y, difference @ difference)
        largest = np.maximum(largest, np.abs(difference).max())  # keeps NaN
    return Row(
        stage=stage(entry.recipient.layer),
        role=entry.recipient.role or OTHER,
        variables=1,
        identical=int(identical),
        size=a.size,
        squares=tuple(map(float, sums)),
        max_abs=float(largest),
    )


def _divergence(statistics: dict) -> np.ndarray:
    """Returns the divergence of the donor's Gaussian from the recipient's, by channel."""
    entry, va, vb = statistics[_VARIANCE]
    _, ma, mb = statistics[_MEAN]
    va = va.astype(np.float64) + dict(entry.donor.settings).get("epsilon", 1e-3)
    vb = vb.astype(np.float64) + dict(entry.recipient.settings).get("epsilon", 1e-3)
    shift = ma.astype(np.float64) - mb.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.log(vb / va) + (va + shift**2) / vb - 1) / 2
