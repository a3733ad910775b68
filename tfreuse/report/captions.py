"""Captions of the figures: the meaning of marks, n, the method of intervals, the floor."""

from collections.abc import Iterable

from tfreuse.analysis import bounded, intervals, over_images
from tfreuse.analysis import reasons as two_reasons
from tfreuse.analysis.tables import Row
from tfreuse.specs import SHARES

_WITHOUT_WIDTH = {  # methods of intervals, in the words of a caption
    "no spread": "no interval where all seeds agree on a value without bounds",
    "one value": "no interval from a single seed",
}


def forest(rows: list[Row], subject) -> str:
    return (
        "Retention of every arm of all layers: small dots are seeds as they are, an arrow points to "
        "one beyond the axis; large marks are means, lines intervals, clipped to 0 to 1 as in the "
        "verdicts. Draws of a random control are averaged first; pairs of other_seed that share "
        "a network count once. Dashed: 1 − margin; dotted: the threshold of sensitivity. "
        f"{_tail(rows, subject)}"
    )


def heat(rows: list[Row], subject) -> str:
    kind = rows[0]["site_kind"]
    moved = "all but one" if kind == "leave_one_out" else f"one {kind}"
    verb = "are" if kind == "leave_one_out" else "is"
    unit = "stage" if kind == "stage" else "layer"
    return (
        f"Mean retention, clipped to 0 to 1, where {moved} {verb} taken from the donor, input at "
        f"the top. 1 is white; means that are not clipped are in the CSV. {_dots(rows, unit)}"
        f"{_hatching(rows, subject)}{_tail(rows, subject)}"
    )


def network(rows: list[Row], subject) -> str:
    return (
        "The network, with the image entering at the top left; each stage is coloured by mean "
        "retention, clipped to 0 to 1, where it alone is taken from the donor: white is fully retained, red lost. "
        f"{_dots(rows, 'stage')}{_tail(rows, subject)}"
    )


def cumulative(rows: list[Row], subject) -> str:
    return (
        "Mean retention, clipped to 0 to 1, where all stages from the input up to one (prefix), or from one on "
        "(suffix), are taken from the donor; shaded: the interval. Bands: a donor of the same "
        f"task and another seed, and fresh initial values. {_tail(rows, subject)}"
    )


def strengths(rows: list[Row], subject) -> str:
    return (
        "Mean retention, clipped to 0 to 1, along (1 − α) recipient + α donor; "
        "shaded: the interval. A dip is a barrier between the networks. α*: the largest "
        "measured α up to which at least 1 − margin (dashed) is retained, mean over seeds. "
        f"{_tail(rows, subject)}"
    )


def barriers(rows: list[Row], subject) -> str:
    seeds = max(row["n"] for row in rows)
    return (
        "First: mean retention, clipped to 0 to 1, of (1 − α) recipient + α donor at all layers, from the "
        "recipient (left) to the transplant (right), with each repair at every α: to the donor, to a network of the "
        "recipient's task, and to the recipient with its own channels reordered. Below: the barrier: the most by "
        "which retention lies below the straight line between both ends; 0 where the way falls evenly or not at "
        "all. The reordered recipient computes what the recipient does: that barrier is of the "
        "places of channels alone, and ends once they are back in order. Lines are intervals over seeds"
        f"{_too_few(seeds, subject.spec.confidence)}; those of one α stand side by side. Two seeds that are each "
        "other's donor of the same task count once. The CSV also has by how much each repair lowers the "
        f"barrier, paired by seed. {_tail(rows, subject)}"
    )


def ages(rows: list[Row], subject) -> str:
    seeds, confidence = max(row["n"] for row in rows), subject.spec.confidence
    (low,), _ = bounded.ends([[1.0] * seeds], bounded.RETENTION, confidence)
    stages = any(row["site_kind"] == "stage" for row in rows)
    return (
        "Mean retention, clipped to 0 to 1, against the donor's age: the updates of its training, "
        "logarithmic, with 0 (its initial values) at the left. Diamond: the finished donor, the "
        "best of its validations. The recipient is the finished one at every age, and the donor's "
        "statistics are re-estimated. Shaded: the interval. "
        + "Thin: single stages, as transplanted. "
        * stages
        + "A line that rises shows what the donor had to learn first, one that falls what it "
        "learned for itself; a height that is there at 0 was not learned. Bands that overlap "
        f"do not tell ages apart: of {seeds} seeds that all retain everything the interval is "
        f"[{intervals.number(low)}, 1]{_too_few(seeds, confidence)}. The CSV also has the "
        f"differences from the finished donor, paired by seed. {_tail(rows, subject)}"
    )


def _too_few(seeds: int, confidence: float) -> str:
    """Says where seeds are too few for any difference, however clear."""
    needed, _ = bounded.fewest(0.0, bounded.DIFFERENCE, confidence)
    if seeds >= needed:
        return ""
    return f", and fewer than {needed} cannot show a difference however clear"


def channels(rows: list[Row], subject) -> str:
    draws, seeds = subject.spec.draws, max(row["n"] for row in rows)
    return (
        "Above: mean retention, clipped to 0 to 1, where a share of the output channels of every layer is "
        "taken from the donor in the order of a score, highest first: activation (correlation of a "
        "channel's outputs in donor and recipient, on half of the calibration images), distance "
        "(nearest kernels), gamma (largest of the donor's). Below, at each site, the gain over random "
        f"order: the mean retention on the way from a share of 0 to {max(SHARES):g} (area by "
        f"trapezoids), minus that of {draws} random orders of the same seed (their mean). Lines are intervals over seeds"
        f"{_too_few(seeds, subject.spec.confidence)}. The slices by which the next layers read "
        f"the channels stay the recipient's. {_tail(rows, subject)}"
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
        "Retention with the donor's values less retention with random values as far from the "
        "recipient's, and its interval; colour and letter are the reason. "
        f"{two_reasons.compared(rows)} Retentions below 0 count as 0; draws are averaged "
        f"first. {_tail(rows, subject)}"
    )


def ladder(rows: list[Row], subject) -> str:
    return (
        "Shares of the lost retention: recovered by recalibration (statistics), recovered in "
        "addition by putting channels in the recipient's order (permutation), and not recovered "
        "(features). Left of 0: the repair increased the loss. Pale: the interval of the loss "
        "contains 0. Nothing lost: less than the margin. Shares are ratios of means over seeds, "
        f"with Fieller's intervals in the CSV. {_tail(rows, subject)}"
    )


def steps(rows: list[Row], subject) -> str:
    return (
        "Retention of all layers after each repair, below 0 counting as 0; lines are intervals. "
        "Retention that fresh initial values reach by a stitch or by fine-tuning is due to the "
        f"repair, not to the donor. {_tail(rows, subject)}"
    )


def shapley(rows: list[Row], subject) -> str:
    return (
        "Bars: the loss from taking a whole stage from the donor (diamond: mean, with its "
        "interval), divided among the roles by exact Shapley values of the 32 unions. "
        "Matrices: interactions of two roles; bold where the interval excludes 0, orange where "
        "they cost more together, purple where they cost less. Intervals of "
        f"the values are in the CSV. {_tail(rows, subject)}"
    )


def scatter(rows: list[Row], subject) -> str:
    measures = [row for row in rows if row["quantity"] != "point"]
    kind = rows[-1]["site_kind"]
    return (
        f"Retention where the kernels of one {kind} are taken from the donor (below 0 counting "
        "as 0) against predictors that are known before a transplant; a dot per "
        f"{kind} and seed, dashed: 1 − margin. ρ: Spearman's rank correlation of closeness "
        "and retention within each seed, its mean and interval over seeds. "
        f"{_tail(measures, subject)}"
    )


def strip(rows: list[Row], subject) -> str:
    count = len({row["image"] for row in rows})
    return (
        "Test images of the first seed: input, truth, the recipient's output, and its output "
        "with a group of all layers from the donor, as transplanted and after recalibration. "
        "Black is no error, white the largest; the number is the mean error in parts of the largest. "
        f"{count} images of one pair of networks: an example, no measurement, no interval."
    )


def norms(rows: list[Row], subject) -> str:
    return (
        "First seed. At first the donor's vectors against the recipient's, a dot per channel; "
        "input dark, output bright. Then scale a and offset c of each channel's map "
        "y = a x + c at inference, as transplanted and after recalibration, against those of "
        "the recipient. The outer 1 % are drawn at the edge. "
        f"n = {len(rows):,} channels of one pair of networks, no interval."
    )


def kernels(rows: list[Row], subject) -> str:
    return (
        "First seed. Kernels of the first convolution, grey is zero; channels of two networks "
        "have no common order. CKA (Kornblith et al. 2019), debiased, of every layer's "
        "features on the same images: 1 the same but for rotation and scale, 0 unrelated. "
        f"{len(rows)} pairs of layers of one pair of networks, no interval."
    )


def _dots(rows: list[Row], unit: str) -> str:
    dots = [row["identifiable"] for row in rows]
    if set(dots) == {None}:
        return ""
    return (
        f"A dot: re-initialising the same parameters{' of its stage' * (unit == 'layer')} is "
        "not shown to cost more than 0.02 of the metric, so reuse proves nothing there "
        f"({dots.count(False)} of {len(dots)} cells"
        + (f"; {dots.count(None)} were not tried" if None in dots else "")
        + "). "
    )


def _hatching(rows: list[Row], subject) -> str:
    significant = [row.get("significant") for row in rows]
    if set(significant) == {None}:
        return ""
    return (
        f"Hatched: neither shown to retain {1 - subject.spec.margin:g} nor to retain less, at "
        f"q < {1 - subject.spec.confidence:.2g} (Benjamini-Hochberg over the panel, "
        f"{significant.count(False)} of {len(significant)} cells). "
    )


def _tail(rows: list[Row], subject) -> str:
    """Gives n, the method of the intervals, the floor."""
    counts = sorted({row["n"] for row in rows})
    n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    methods = {row["method"] for row in rows}
    texts = sorted(methods - set(_WITHOUT_WIDTH))
    texts += [text for name, text in _WITHOUT_WIDTH.items() if name in methods]
    records = [record for seeds in subject.arms.values() for record in seeds.values()]
    unit = "seeds"
    if over_images.METHOD in methods:
        unit = "test images of one pair of networks"
    return (
        f"n = {n} {unit}; {subject.spec.confidence:.0%} intervals: {'; '.join(texts)}. "
        f"{_floor(records[0].metric, (record.floor for record in records))}"
    )


def _floor(metric: str, floors: Iterable[float]) -> str:
    floors = list(floors)
    low, high = min(floors), max(floors)
    end = f" to {intervals.number(high)}" if high > low else ""
    return f"Floor: {metric} {intervals.number(low)}{end}."
