"""Gains between plans: summed counts, and an interval over units and folds."""

import math

import numpy as np
import pytest

from tfreuse.advisor import gains
from tfreuse.analysis import metrics


def counts(rights, size=10):
    """One confusion matrix [2, 2] an image: `rights` of `size` pixels of each class."""
    return np.array([[[r, size - r], [size - r, r]] for r in rights])


def test_many_mean_ious_are_each_the_mean_iou():
    drawn = np.random.default_rng(0).integers(0, 5, (20, 4, 4))
    drawn[3, 2], drawn[3, :, 2] = 0, 0  # an absent class
    drawn[4] = 0
    expected = [metrics.mean_iou(one) for one in drawn]
    np.testing.assert_allclose(metrics.mean_ious(drawn), expected)


def test_the_gain_is_the_difference_of_metrics_of_summed_counts():
    ours, theirs = counts([9, 8, 7, 9]), counts([5, 5, 6, 8])
    found = gains.gain(ours, theirs, np.arange(4), np.array([0, 0, 1, 1]))
    # 33 of 40 right: IoU 33 / 47; 24 of 40: 24 / 56
    assert found.estimate == pytest.approx(33 / 47 - 24 / 56)
    assert found.low < found.estimate < found.high and found.n == 4


def test_an_equal_plan_gains_nothing_with_certainty():
    same = counts([9, 8, 7])
    found = gains.gain(same, same, np.arange(3), np.arange(3))
    assert (found.low, found.estimate, found.high) == (0, 0, 0)


def test_for_a_linear_metric_the_jackknife_is_the_standard_error_of_the_mean(
    monkeypatch,
):
    monkeypatch.setattr(  # all images of one size: accuracy is a mean over images
        metrics, "mean_ious", lambda c: np.einsum("...ii->...", c) / c.sum((-1, -2))
    )
    rights = np.array([9, 4, 7, 6, 8])
    difference, error = gains.standard_error(
        counts(rights), counts([5] * 5), np.arange(5)
    )
    assert difference == pytest.approx((rights / 10 - 0.5).mean())
    assert error == pytest.approx((rights / 10).std(ddof=1) / math.sqrt(5))


def test_images_of_one_subject_count_once():
    ours, theirs = counts([9, 9, 6, 6]), counts([5, 5, 5, 5])
    apart = gains.gain(ours, theirs, np.arange(4), np.array([0, 0, 1, 1]))
    together = gains.gain(ours, theirs, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    assert together.estimate == apart.estimate and together.n == 2
    assert together.high - together.low > apart.high - apart.low


def test_what_a_training_adds_to_all_its_images_widens_the_interval():
    folds = np.repeat(np.arange(4), 4)
    swings = counts(np.repeat([9, 6, 9, 6], 4))  # by fold
    mixed = counts(np.tile([9, 6, 9, 6], 4))  # the same numbers, spread over folds
    theirs = counts([5] * 16)
    wide, narrow = (
        gains.gain(c, theirs, np.arange(16), folds) for c in (swings, mixed)
    )
    assert wide.estimate == narrow.estimate
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_one_unit_promises_nothing():
    found = gains.gain(
        counts([9, 8]), counts([5, 5]), np.zeros(2, int), np.zeros(2, int)
    )
    assert found.low == -math.inf
