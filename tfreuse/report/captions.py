"""What stands below each figure: what its marks mean, n, the interval's method, the floor."""

from collections.abc import Iterable

from tfreuse.analysis import intervals
from tfreuse.analysis.tables import Row

ONE_PART = {"stage": "stage", "layer": "layer", "leave_one_out": "stage or layer"}


def forest(rows: list[Row], subject) -> str:
    return (
        "Retention of every arm of all layers, unclipped: a small dot a seed, a large mark the "
        "mean, a line its interval; an arrow points to what lies beyond the axis. Draws of a "
        "random control are averaged first. Dashed: 1 − margin; dotted: what counts as "
        f"sensitive. {_tail(rows, subject)}"
    )


def heat(rows: list[Row], subject) -> str:
    kind = rows[0]["site_kind"]
    moved = "all but one" if kind == "leave_one_out" else f"one {kind}"
    verb = "are" if kind == "leave_one_out" else "is"
    what = "stage" if kind == "stage" else "layer"
    return (
        f"Mean retention where {moved} {verb} taken from the donor, input at the top. "
        f"1 is white; the colour ends at 0 and 2, the number does not. {_dots(rows, what)}"
        f"{_hatching(rows, subject)}{_tail(rows, subject)}"
    )


def network(rows: list[Row], subject) -> str:
    return (
        "The network as it is built, image in at the top left; each stage in the colour of its "
        "mean retention where it alone is taken from the donor: white as before, red lost. "
        f"{_dots(rows, 'stage')}{_tail(rows, subject)}"
    )


def cumulative(rows: list[Row], subject) -> str:
    return (
        "Mean retention where all stages from the input up to one (prefix), or from one on "
        "(suffix), are taken from the donor; shaded: the interval. Bands: a donor of the same "
        f"task and another seed, and fresh initial values. {_tail(rows, subject)}"
    )


def strengths(rows: list[Row], subject) -> str:
    return (
        "Mean retention along (1 − α) recipient + α donor, retentions below 0 counting as 0; "
        "shaded: the interval. A dip is a barrier between the networks. α*: the largest "
        "measured α up to which at least 1 − margin (dashed) is retained, mean over seeds. "
        f"{_tail(rows, subject)}"
    )


def profiles(rows: list[Row], subject) -> str:
    kind = rows[0]["site_kind"]
    return (
        f"Share of single {kind}s that retain at least τ, mean over seeds; shaded: the "
        "interval; dashed vertical: 1 − margin. Bands: a donor of the same task and another "
        f"seed, and fresh initial values. {_tail(rows, subject)}"
    )


def reasons(rows: list[Row], subject) -> str:
    return (
        "Retention with the donor's values less retention with random values at the same "
        "distance from the recipient's (control matched), and its interval; the colour is "
        "the reason. Retentions below 0 count as 0; draws are averaged first. "
        f"{_tail(rows, subject)}"
    )


def ladder(rows: list[Row], subject) -> str:
    return (
        "Shares of the lost retention: won back by recalibration (statistics), won back "
        "besides by putting channels in the recipient's order (permutation), and the rest "
        "(features). Left of 0: a repair that made it worse. Pale: the interval of the loss "
        "holds 0. Nothing lost: less than the margin. Shares are ratios of means over seeds, "
        f"their intervals Fieller's, in the CSV. {_tail(rows, subject)}"
    )


def steps(rows: list[Row], subject) -> str:
    return (
        "Retention of all layers after each repair, below 0 counting as 0; a line is the "
        "interval. What fresh initial values reach by a stitch or by fine-tuning is that "
        f"repair's own work, not the donor's. {_tail(rows, subject)}"
    )


def shapley(rows: list[Row], subject) -> str:
    return (
        "Above: what taking a whole stage from the donor costs (diamond: mean, with its "
        "interval), shared out among the roles by exact Shapley values of the 32 unions. "
        "Below: interactions of two roles; bold where the interval leaves 0 out. Intervals of "
        f"the values are in the CSV. {_tail(rows, subject)}"
    )


def scatter(rows: list[Row], subject) -> str:
    told = [row for row in rows if row["quantity"] != "point"]
    kind = rows[-1]["site_kind"]
    return (
        f"Retention where the kernels of one {kind} are taken from the donor (below 0 counting "
        "as 0) against what can be told beforehand; a dot a "
        f"{kind} and seed, dashed: 1 − margin. ρ: Spearman's rank correlation of closeness "
        "and retention within each seed, its mean and interval over seeds. "
        f"{_tail(told, subject)}"
    )


def strip(rows: list[Row], subject) -> str:
    count = len({row["image"] for row in rows})
    return (
        "Test images of the first seed: input, truth, the recipient's output, and its output "
        "with a group of all layers from the donor, as transplanted and after recalibration. "
        "Black is no error; the number is the mean error in parts of the largest. "
        f"{count} images of one pair of networks: an example, no measurement, no interval."
    )


def norms(rows: list[Row], subject) -> str:
    return (
        "First seed. Above: a dot a channel, the donor's vectors against the recipient's; "
        "input dark, output bright. Below: scale a and offset c of each channel's map "
        "y = a x + c at inference, as transplanted and after recalibration, against the "
        "recipient's own. The outer 1 % are drawn at the edge. "
        f"n = {len(rows):,} channels of one pair of networks, no interval."
    )


def kernels(rows: list[Row], subject) -> str:
    return (
        "First seed. Kernels of the first convolution, grey is zero; channels of two networks "
        "have no common order. CKA (Kornblith et al. 2019), debiased, of every layer's "
        "features on the same images: 1 the same but for rotation and scale, 0 unrelated. "
        f"{len(rows)} pairs of layers of one pair of networks, no interval."
    )


def _dots(rows: list[Row], what: str) -> str:
    dots = [row["identifiable"] for row in rows]
    if set(dots) == {None}:
        return ""
    return (
        f"A dot: re-initialising the same parameters{' of its stage' * (what == 'layer')} is "
        "not shown to cost more than 0.02 of the metric, so reuse proves nothing there "
        f"({dots.count(False)} of {len(dots)} cells"
        + (f"; {dots.count(None)} were not tried" if None in dots else "")
        + "). "
    )


def _hatching(rows: list[Row], subject) -> str:
    told = [row.get("significant") for row in rows]
    if set(told) == {None}:
        return ""
    return (
        "Hatched: not shown to differ from 1 at "
        f"q < {1 - subject.spec.confidence:.2g} (Benjamini-Hochberg over the panel, "
        f"{told.count(False)} of {len(told)} cells). "
    )


def _tail(rows: list[Row], subject) -> str:
    """n, the method of the intervals, the floor."""
    counts = sorted({row["n"] for row in rows})
    n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    made = ", ".join(sorted({row["method"] for row in rows}))
    own = [record for seeds in subject.arms.values() for record in seeds.values()]
    return (
        f"n = {n} seeds; {subject.spec.confidence:.0%} intervals: {made}. "
        f"{_floor(own[0].metric, (record.floor for record in own))}"
    )


def _floor(metric: str, floors: Iterable[float]) -> str:
    floors = list(floors)
    low, high = min(floors), max(floors)
    more = f" to {intervals.number(high)}" if high > low else ""
    return f"Floor: {metric} {intervals.number(low)}{more}."
