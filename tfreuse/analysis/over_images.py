"""Bootstraps test images: how much of an effect depends on which images the test split has.

    images = image_interval([donor, control], 0.95)  # of the difference; counts of each seed
    seed_and_image_interval(seeds, images, bounds)   # seeds: the interval of a verdict

The counts of every image are recorded. A resample of images sums its counts and computes the
metric from the sums, exactly as the evaluation does; it never averages per-image metrics.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfreuse.analysis import intervals, metrics
from tfreuse.analysis.arms import Arms
from tfreuse.analysis.bounded import Bounds
from tfreuse.records import Record

RESAMPLES = 1999
METHOD = "percentile bootstrap over images"
FEWEST_IMAGES = 20  # with fewer, a percentile interval over images is too narrow
ReadCounts = Callable[[Record], np.ndarray]


@dataclasses.dataclass(frozen=True)
class SeedCounts:
    """Per-image counts of one seed before and after a transplant, of the same N images.

    Segmentation: confusion matrices [N, C, C], rows the truth. Auto-encoder: [N, k], squared
    error first, with `variation` the squared error of the mean image over all N. It stays the
    same when images are resampled.
    """

    before: np.ndarray
    after: np.ndarray
    variation: float = 0.0


Sides = Sequence[Sequence[SeedCounts]]  # one or two arms, each with its seeds


def image_interval(
    sides: Sides, confidence: float, seed: int = 0
) -> intervals.Interval | None:
    """Computes the interval of an effect over test images, for these seeds.

    A percentile bootstrap (Efron & Tibshirani 1993, section 13.3).

    Args:
        sides: of one side the effect is the mean retention (clipped to [0, 1]) over the
            seeds, of two it is that of the first less that of the second. Every seed has the
            same images, in one order, and they are resampled together.

    Returns:
        an interval whose `n` is the number of images; None with fewer than FEWEST_IMAGES, or
        unequal numbers.
    """
    drawn = resamples(sides, seed)
    return drawn.interval(confidence) if drawn else None


@dataclasses.dataclass(frozen=True)
class Resamples:
    """An effect, and its value in each resample of the test images.

    Attributes:
        effect: with the images as they are.
        drawn: of each resample [RESAMPLES].
        images: the number of images.
    """

    effect: float
    drawn: np.ndarray
    images: int

    def interval(self, confidence: float) -> intervals.Interval:
        """Returns the percentile interval."""
        low, high = np.quantile(
            self.drawn, [(1 - confidence) / 2, (1 + confidence) / 2]
        )
        return intervals.Interval(
            self.effect, float(low), float(high), self.images, METHOD, confidence
        )

    def p_value(self, against: float) -> float:
        """Returns the two-sided p of "the effect is `against`", dual to the interval."""
        rarer = min((self.drawn <= against).sum(), (self.drawn >= against).sum())
        # + 1: a p-value from random draws is never 0 (Phipson & Smyth 2010)
        return float(min(1.0, 2 * (rarer + 1) / (len(self.drawn) + 1)))


def seed_and_image_interval(
    seeds: intervals.Interval, images: intervals.Interval, bounds: Bounds
) -> intervals.Interval:
    """Combines the intervals of an effect over seeds and over images.

    Both errors are independent, and the ends of their sum follow from the ends of each: low =
    mean - sqrt((mean - low_1)^2 + (mean - low_2)^2), high likewise (Zou & Donner 2008). So it
    is never narrower than the interval over seeds, which decides the verdict.
    """
    mean = seeds.estimate
    reach = [
        math.hypot(getattr(seeds, end) - mean, getattr(images, end) - images.estimate)
        for end in ("low", "high")
    ]
    return dataclasses.replace(
        seeds,
        low=max(bounds[0], mean - reach[0]),
        high=min(bounds[1], mean + reach[1]),
        method=f"{seeds.method}, {images.method}",
    )


def counts_of_sides(
    arms: Arms, sides: Sequence[Mapping[int, Record]], counts: ReadCounts
) -> list[list[SeedCounts]] | None:
    """Reads the counts of each side's seeds; None unless all have them and a retention.

    The recipient's own counts are those of its self-transplant at all layers, which changes
    nothing.
    """
    recipients: dict[int, Record] = {}
    for arm, seeds in arms.items():
        # of any group: control, kind of site and site; repair, strength and draw
        if arm[:3] == ("self", "all", "all") and arm[4:] == ("none", 1.0, 0):
            recipients = {**seeds, **recipients}
    seeds = sorted(set.intersection(*(set(side) for side in sides)))
    records = [side[seed] for side in sides for seed in seeds]
    records += [recipients[seed] for seed in seeds if seed in recipients]
    if not seeds or not recipients.keys() >= set(seeds):
        return None
    if any(record.per_image is None for record in records):
        return None
    if any(record.before <= record.floor for record in records):  # has no retention
        return None
    before = {seed: counts(recipients[seed]) for seed in seeds}
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


def resamples(sides: Sides, seed: int = 0) -> Resamples | None:
    """Resamples the images of `image_interval`; None with too few of them, or unequal numbers."""
    sizes = {len(a) for side in sides for c in side for a in (c.before, c.after)}
    if len(sizes) != 1 or (images := sizes.pop()) < FEWEST_IMAGES:
        return None
    weights = _weights(images, seed)
    retained = [
        np.stack([resampled_retentions(counts, weights) for counts in side], axis=1)
        for side in sides
    ]
    effects = retained[0] if len(retained) == 1 else retained[0] - retained[1]
    effects = effects.mean(axis=1)
    return Resamples(float(effects[0]), effects[1:], images)


@functools.lru_cache(maxsize=4)
def _weights(images: int, seed: int) -> np.ndarray:
    """Returns how often each resample has each image [1 + RESAMPLES, N]; first: the test split."""
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, [1 / images] * images, RESAMPLES)
    return np.concatenate([np.ones((1, images)), weights])


def resampled_retentions(counts: SeedCounts, weights: np.ndarray) -> np.ndarray:
    """Computes the retention of each resample, clipped to [0, 1], [R].

    Args:
        weights: how often each resample has each image, [R, N].
    """
    if counts.before.ndim == 3:
        before, after = (
            _summed(matrices, weights) for matrices in (counts.before, counts.after)
        )
        floor = metrics.floor_mean_ious(before)
        before, after = metrics.mean_ious(before), metrics.mean_ious(after)
    else:
        variation = max(counts.variation, 1e-12)
        before, after = (
            1 - weights @ errors[:, 0] / variation
            for errors in (counts.before, counts.after)
        )
        floor = np.zeros(len(weights))
    span = before - floor
    with np.errstate(divide="ignore", invalid="ignore"):
        # A recipient at its floor in a resample has nothing that could be retained.
        return np.where(span > 0, np.clip((after - floor) / span, 0, 1), 0.0)


def _summed(per_image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums the confusion matrices [N, C, C] of each resample, [R, C, C]."""
    images, classes, _ = per_image.shape
    sums = weights @ per_image.reshape(images, -1).astype(np.float64)
    return sums.reshape(-1, classes, classes)
