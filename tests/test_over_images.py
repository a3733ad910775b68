"""What hangs on the images of the test split: sums are exact, intervals cover."""

import dataclasses
import math

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import intervals, metrics, over_images, verdicts
from tfreuse.analysis.bounded import RETENTION

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,))
C = 3


def confusions(generator, skill, n=40):
    """[n, C, C]: of each image's 100 pixels the share `skill` right, image by image."""
    truth = generator.multinomial(100, [0.6, 0.3, 0.1], n)
    found = np.zeros((n, C, C), int)
    for i in range(n):
        share = np.clip(skill + 0.1 * generator.normal(), 0, 1)
        for c in range(C):
            right = generator.binomial(truth[i, c], share)
            found[i, c, c] = right
            found[i, c, (c + 1) % C] = truth[i, c] - right
    return found


def counted(generator, after=0.6):
    return over_images.SeedCounts(
        confusions(generator, 0.9), confusions(generator, after)
    )


def by_hand(one, chosen):
    """Retention of the chosen images, by the metrics that evaluation uses."""
    before, after = one.before[chosen].sum(axis=0), one.after[chosen].sum(axis=0)
    floor = metrics.floor_mean_iou(before)
    span = metrics.mean_iou(before) - floor
    return min(1.0, max(0.0, (metrics.mean_iou(after) - floor) / span))


def test_a_resample_is_the_metric_of_its_images_to_the_last_digit():
    generator = np.random.default_rng(0)
    one = counted(generator)
    for counts in (
        one.before,
        one.after,
    ):  # a class that no image has and none is given
        counts[:, 2], counts[:, :, 2] = 0, 0
    drawn = generator.integers(0, 40, (5, 40))
    weights = np.stack([np.bincount(row, minlength=40) for row in drawn])
    found = over_images.resampled_retentions(one, weights)
    assert found == pytest.approx([by_hand(one, row) for row in drawn], abs=1e-12)


def test_errors_of_an_auto_encoder_add_up_likewise():
    errors = np.random.default_rng(0).uniform(size=(40, 2))
    one = over_images.SeedCounts(errors, 3 * errors, variation=100.0)
    total = errors[:, 0].sum()
    expected = (1 - 3 * total / 100) / (1 - total / 100)
    found = over_images.resampled_retentions(one, np.ones((1, 40)))
    assert found == pytest.approx([expected])


def test_identical_counts_retain_all_in_every_resample():
    same = confusions(np.random.default_rng(0), 0.8)
    found = over_images.image_interval([[over_images.SeedCounts(same, same)] * 2], 0.95)
    assert (found.low, found.estimate, found.high) == (1, 1, 1)
    assert found.n == 40


@pytest.mark.parametrize("change", [slice(0, 10), slice(0, 39)])
def test_too_few_or_unequal_images_have_no_interval(change):
    one = counted(np.random.default_rng(0))
    fewer = dataclasses.replace(one, before=one.before[change], after=one.after[change])
    assert over_images.image_interval([[one, fewer]], 0.95) is None
    if len(fewer.before) < over_images.FEWEST_IMAGES:
        assert over_images.image_interval([[fewer]], 0.95) is None


def test_a_difference_resamples_the_images_of_both_sides_together():
    """Two equal sides differ by nothing in every resample, though each of them varies."""
    side = [counted(np.random.default_rng(seed)) for seed in range(3)]
    found = over_images.image_interval([side, side], 0.95)
    assert (found.low, found.high) == (0, 0)
    alone = over_images.image_interval([side], 0.95)
    assert alone.low < alone.estimate < alone.high


def planted_errors(generator, seeds, n=50, between=0.05, within=0.3):
    """Seeds' retentions vary around 0.6, and images are harder or easier for all seeds."""
    hard = np.maximum(0.05, 1 + within * generator.normal(size=n))
    sides = []
    for _ in range(seeds):
        lost = 0.4 + between * generator.normal()
        before, after = np.zeros((n, 2)), np.zeros((n, 2))
        before[:, 0], after[:, 0] = 0.0, lost * hard
        sides.append(over_images.SeedCounts(before, after, variation=float(n)))
    return [sides]


def of_seeds(sides):
    retained = [
        over_images.resampled_retentions(one, np.ones((1, 50)))[0] for one in sides[0]
    ]
    return intervals.mean_interval(retained, bounds=RETENTION)


def combined(sides, seed=0):
    images = over_images.image_interval(sides, 0.95, seed=seed)
    return over_images.seed_and_image_interval(of_seeds(sides), images, RETENTION)


def test_intervals_over_images_and_over_both_cover_the_truth(monkeypatch):
    monkeypatch.setattr(over_images, "RESAMPLES", 400)
    generator, studies, held, narrow = np.random.default_rng(0), 300, 0, 0
    for i in range(studies):
        sides = planted_errors(generator, seeds=4)
        both = combined(sides, seed=i)
        held += both.low <= 0.6 <= both.high
        sides = planted_errors(generator, seeds=4, between=0.0)
        alone = over_images.image_interval(sides, 0.95, seed=i)
        narrow += alone.low <= 0.6 <= alone.high
    error = math.sqrt(0.95 * 0.05 / studies)
    assert held / studies > 0.95 - 3 * error
    assert 0.94 - 3 * error < narrow / studies < 0.95 + 3 * error


def test_without_spread_of_images_both_is_the_interval_of_seeds():
    sides = planted_errors(np.random.default_rng(0), seeds=5, within=0.0)
    found, seeds = combined(sides), of_seeds(sides)
    assert (found.low, found.high) == pytest.approx((seeds.low, seeds.high), abs=1e-6)


def study(per_image=(0, 1)):
    """Every arm of all layers and the recipient itself, with a place in the counts file."""
    found = planted.study(per_image=per_image)
    return found + planted.arm((1.0,) * 3, control="self", per_image=per_image)


def read(record):
    skills = {"kernel": 0.3, "stats": 0.5}
    skill = 0.9 if record.control == "self" else skills.get(record.group, 0.8)
    return confusions(np.random.default_rng(record.seed), skill)


def test_verdicts_tell_both_intervals_where_counts_were_kept():
    found = {one.hypothesis: one for one in verdicts.judge(study(), SPEC, read)}
    for name in ("H1", "H2", "H3", "H4"):
        assert found[name].images.n == 40 and found[name].both.n == 3
        assert found[name].both.high > found[name].both.low
        assert found[name].to_json()["images"]["method"].startswith("percentile")
    assert found["H3"].images.estimate < found["H2"].images.estimate
    assert found["H5"].images is None


@pytest.mark.parametrize(
    ("records", "counts"),
    [
        (study(), None),
        (study(per_image=None), read),
        ([r for r in study() if r.control != "self"], read),
    ],
)
def test_without_counts_there_is_no_interval_over_images(records, counts):
    found = verdicts.judge(records, SPEC, counts)
    assert all(one.images is None and one.both is None for one in found)
