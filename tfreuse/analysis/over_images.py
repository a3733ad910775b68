"""How much of a verdict hangs on which images happened to be in the test split.

    image_interval([donor], 0.95)  # donor: what was counted, one a seed
    both_interval([donor, control], 0.95)  # seeds and images

Counts of every image are kept, so a resample of images adds its counts up and computes the
metric from the sums, exactly as the evaluation does; never a mean of per-image metrics.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfreuse.analysis import intervals
from tfreuse.analysis.arms import Arms
from tfreuse.records import Record

RESAMPLES = 1999
FEWEST_IMAGES = 20  # with fewer, a percentile interval over images is too narrow
ReadCounts = Callable[[Record], np.ndarray]


@dataclasses.dataclass(frozen=True)
class SeedCounts:
    """Per-image counts of one seed before and after a transplant, of the same images.

    Segmentation: confusion matrices [N, C, C], rows the truth. Auto-encoder: [N, k], squared
    error first, with `variation` the squared error of the mean image over all N (held fixed
    when images are resampled).
    """

    before: np.ndarray
    after: np.ndarray
    variation: float = 0.0


def image_interval(
    sides: Sequence[Sequence[SeedCounts]], confidence: float, seed: int = 0
) -> intervals.Interval | None:
    """Interval of the effect over test images, seeds as they are: a percentile bootstrap.

    Args:
        sides: one side: mean retention (below 0 counting as 0) over the seeds; two: that of
            the first less that of the second. Every seed has the same images, in one order,
            and they are resampled together.

    Returns:
        `n` is the number of images; None with under FEWEST_IMAGES, or unequal numbers.
    """
    found = _effects(sides, seed)
    if found is None:
        return None
    estimate, resampled, images = found
    low, high = np.quantile(
        resampled.mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2]
    )
    method = "percentile bootstrap over images"
    return intervals.Interval(
        float(estimate.mean()), float(low), float(high), images, method, confidence
    )


def seed_and_image_interval(
    sides: Sequence[Sequence[SeedCounts]], confidence: float, seed: int = 0
) -> intervals.Interval | None:
    """Interval of the effect over seeds and images: a hierarchical bootstrap.

    Seeds are drawn with replacement, then images, the same for all seeds. The spread that
    drawing n of n seeds shows is too small by (n - 1) / n in the variance and is widened by
    that; the standard error of the resamples is used with Student's t of n - 1, since
    percentiles are too narrow for few seeds.
    """
    found = _effects(sides, seed)
    if found is None or len(found[0]) < 2:
        return None
    estimate, resampled, _ = found
    n = len(estimate)
    generator = np.random.default_rng(seed + 1)
    drawn = generator.integers(0, n, resampled.shape)
    means = resampled.mean(axis=1)
    away = np.take_along_axis(resampled, drawn, axis=1).mean(axis=1) - means
    error = (means + math.sqrt(n / (n - 1)) * away).std(ddof=1)
    reach = float(intervals.student_quantile((1 + confidence) / 2, n - 1) * error)
    mean = float(estimate.mean())
    method = "hierarchical bootstrap, Student t"
    return intervals.Interval(mean, mean - reach, mean + reach, n, method, confidence)


def counts_of_sides(
    arms: Arms, sides: Sequence[Mapping[int, Record]], counts: ReadCounts
) -> list[list[SeedCounts]] | None:
    """The counts of each side's seeds; None unless all have them and a retention.

    The recipient's own counts are those of its self-transplant at all layers, which leaves it
    as it is.
    """
    own: dict[int, Record] = {}
    for arm, seeds in arms.items():
        if arm[:3] == ("self", "all", "all") and arm[4:] == ("none", 1.0, 0):
            own = {**seeds, **own}
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    needed = [side[seed] for side in sides for seed in seeds]
    needed += [own[seed] for seed in seeds if seed in own]
    if not seeds or not own.keys() >= set(seeds):
        return None
    if any(record.per_image is None for record in needed):
        return None
    if any(record.before <= record.floor for record in needed):  # has no retention
        return None
    before = {seed: counts(own[seed]) for seed in seeds}
    return [
        [
            SeedCounts(
                before[seed],
                counts(side[seed]),
                float(side[seed].counts.get("total_variation", 0.0)),
            )
            for seed in seeds
        ]
        for side in sides
    ]


def _effects(
    sides: Sequence[Sequence[SeedCounts]], seed: int
) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The effect by seed [n], the same of resamples [RESAMPLES, n], and how many images."""
    sizes = {len(a) for side in sides for c in side for a in (c.before, c.after)}
    if len(sizes) != 1 or (images := sizes.pop()) < FEWEST_IMAGES:
        return None
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, [1 / images] * images, RESAMPLES)
    weights = np.concatenate([np.ones((1, images)), weights])  # first as they are
    found = [
        np.stack([resampled_retentions(one, weights) for one in side], axis=1)
        for side in sides
    ]
    effects = found[0] if len(found) == 1 else found[0] - found[1]
    return effects[0], effects[1:], images


def resampled_retentions(one: SeedCounts, weights: np.ndarray) -> np.ndarray:
    """Retention, at least 0, with each image counted as often as `weights` [R, N] tell: [R]."""
    if one.before.ndim == 3:
        before, floor = _mean_iou(one.before, weights)
        after, _ = _mean_iou(one.after, weights)
    else:
        scale = max(one.variation, 1e-12)
        before, after = (
            1 - weights @ errors[:, 0] / scale for errors in (one.before, one.after)
        )
        floor = np.zeros(len(weights))
    span = before - floor
    with np.errstate(divide="ignore", invalid="ignore"):
        # A recipient at its floor in a resample has nothing that could be retained.
        return np.where(span > 0, np.maximum(0, (after - floor) / span), 0.0)


def _mean_iou(
    per_image: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`metrics.mean_iou` and `metrics.floor_mean_iou` of each weighted sum, [R] each."""
    n, classes, _ = per_image.shape
    sums = weights @ per_image.reshape(n, -1).astype(np.float64)
    sums = sums.reshape(-1, classes, classes)
    hit = np.diagonal(sums, axis1=1, axis2=2)
    truth, said = sums.sum(axis=2), sums.sum(axis=1)
    union = truth + said - hit
    present = union > 0
    iou = np.where(present, hit / np.where(present, union, 1), 0)
    mean = iou.sum(axis=1) / np.maximum(1, present.sum(axis=1))
    in_truth = np.maximum(1, (truth > 0).sum(axis=1))
    floor = truth.max(axis=1) / np.maximum(1, truth.sum(axis=1)) / in_truth
    return mean, floor
