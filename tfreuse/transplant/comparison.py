"""How far apart two networks' parameters are, by role and stage, one variable at a time.

    pairs = diff.pairs(donor.variables, recipient.variables)
    for row in diff.rows(pairs, donor.read, recipient.read):
        print(row.stage, row.role, row.relative_l2)
    print(diff.table(rows))

Of each pair: whether the bytes are equal, the largest difference, the relative L2 distance
|a - b| / |b|, the root mean square difference, the cosine. Of a batch normalization whose two
statistics are there: the mean over channels of the Kullback-Leibler divergence of the donor's
Gaussian from the recipient's, in nats,
(log(vb / va) + (va + (ma - mb)**2) / vb - 1) / 2, epsilon included in the variances.

Sums are kept, never means: a row over many variables is what one array of all would give. No
more than the arrays of one layer are held. No TensorFlow here.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from tfreuse import plan as plan_module
from tfreuse.errors import InputError, printable
from tfreuse.plan import Variable, stage
from tfreuse.roles import ROLES

Read = Callable[[Variable], np.ndarray]
_CHUNK = 1 << 20  # numbers that are compared at once, in float64: 8 MB
_MEAN, _VARIANCE = "moving_mean", "moving_variance"


@dataclasses.dataclass(frozen=True)
class Row:
    """Sums over the pairs of one role in one stage; `+` adds two rows.

    Attributes:
        stage, role: what the pairs have in common; "" where they differ.
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
        """What a record holds; what is not a number, or not finite, is None."""
        found = {
            name: getattr(self, name)
            for name in ("stage", "role", "variables", "identical", "size", "max_abs")
        }
        for name in ("relative_l2", "rmse", "cosine", "kl"):
            found[name] = getattr(self, name)
        return {
            name: None if isinstance(v, float) and not math.isfinite(v) else v
            for name, v in found.items()
        }


def pairs(
    donor: Sequence[Variable], recipient: Sequence[Variable], **options
) -> plan_module.Plan:
    """The plan whose pairs are compared; what has no counterpart is in its problems.

    Takes the options of `tfreuse.plan.make`: roles, layers, mapping, edges ...
    """
    return plan_module.make(donor, recipient, **options)


def rows(plan: plan_module.Plan, donor: Read, recipient: Read) -> list[Row]:
    """A row for each stage and role of the plan's copies, from input to output.

    Args:
        plan: what belongs together; variables that do not fit are left out.
        donor, recipient: read the value of a variable; each is called once a variable.

    Raises:
        InputError: a value is not of the shape planned, or nothing is there to compare.
    """
    found: dict[tuple[str, str], Row] = {}
    for layer in _layers(plan):
        for row in _layer(layer, donor, recipient):
            key = row.stage, row.role
            found[key] = found[key] + row if key in found else row
    if not found:
        raise InputError("the two have no variables in common to compare.")
    stages = list(dict.fromkeys(stage for stage, _ in found))
    return sorted(
        found.values(), key=lambda r: (stages.index(r.stage), ROLES.index(r.role))
    )


def table(rows: Iterable[Row], *, by: str = "distance") -> str:
    """Rows as text at most 100 columns wide, what differs most first, and a total.

    Args:
        rows: what `rows` gave.
        by: "distance" (relative L2) or "place" (from input to output).
    """
    rows = list(rows)
    shown = rows
    if by == "distance":
        shown = sorted(rows, key=lambda row: -row.relative_l2)
    head = (
        f"{'stage':16} {'role':16} {'variables':>9} {'identical':>9} {'max |a-b|':>10} "
        f"{'rel. L2':>9} {'RMSE':>9} {'cosine':>7} {'KL':>7}"
    )
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    total = dataclasses.replace(total, stage="total", role="")
    return "\n".join([head, *map(_line, shown), _line(total)])


def _line(row: Row) -> str:
    cosine = "" if row.cosine is None else f"{row.cosine:.4f}"
    kl = "" if row.kl is None else f"{row.kl:.3g}"
    return (
        f"{printable(row.stage, 16):16} {row.role:16} {row.variables:>9,} "
        f"{row.identical:>9,} {row.max_abs:>10.3g} {row.relative_l2:>9.3g} "
        f"{row.rmse:>9.3g} {cosine:>7} {kl:>7}"
    ).rstrip()


def _layers(plan: plan_module.Plan) -> Iterator[list[plan_module.Entry]]:
    """Pairs layer by layer: both statistics of one are needed at once."""
    found: dict[str, list[plan_module.Entry]] = {}
    for entry in plan.copies:
        found.setdefault(entry.recipient.layer_path, []).append(entry)
    yield from found.values()


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
        role=entry.recipient.role,
        variables=1,
        identical=int(identical),
        size=a.size,
        squares=tuple(map(float, sums)),
        max_abs=float(largest),
    )


def _divergence(statistics: dict) -> np.ndarray:
    """Kullback-Leibler divergence of the donor's Gaussian from the recipient's, by channel."""
    entry, va, vb = statistics[_VARIANCE]
    _, ma, mb = statistics[_MEAN]
    va = va.astype(np.float64) + dict(entry.donor.settings).get("epsilon", 1e-3)
    vb = vb.astype(np.float64) + dict(entry.recipient.settings).get("epsilon", 1e-3)
    shift = ma.astype(np.float64) - mb.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.log(vb / va) + (va + shift**2) / vb - 1) / 2
