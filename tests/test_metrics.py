import numpy as np
import pytest

from tfreuse.analysis import metrics

# rows the truth, columns the prediction; class 2 is in neither
CONFUSION = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def test_iou_of_a_hand_worked_table():
    # class 0: hit 6, truth 8, predicted 7 -> 6 / (8 + 7 - 6); class 1: 3 / (4 + 5 - 3)
    np.testing.assert_allclose(metrics.per_class_iou(CONFUSION)[:2], [6 / 9, 3 / 6])
    assert np.isnan(metrics.per_class_iou(CONFUSION)[2])


def test_an_absent_class_does_not_count_in_the_mean():
    assert metrics.mean_iou(CONFUSION) == pytest.approx((6 / 9 + 3 / 6) / 2)


def test_accuracy_and_floor_of_the_same_table():
    assert metrics.pixel_accuracy(CONFUSION) == pytest.approx(9 / 12)
    # always class 0: its IoU is 8 / 12, class 1's is 0
    assert metrics.floor_mean_iou(CONFUSION) == pytest.approx(8 / 12 / 2)


def test_a_perfect_prediction_scores_one():
    assert metrics.mean_iou(np.diag([3, 4, 5])) == 1.0


def test_the_mean_iou_of_summed_counts_is_not_the_mean_of_mean_ious():
    one, two = np.array([[1, 0], [0, 9]]), np.array([[0, 9], [0, 1]])
    mean = (metrics.mean_iou(one) + metrics.mean_iou(two)) / 2
    assert metrics.mean_iou(one + two) != pytest.approx(mean)


def test_r2_is_zero_for_the_mean_image_and_psnr_of_a_tenth_is_twenty():
    images = np.random.default_rng(0).random((5, 4, 4, 3))
    variation = np.square(images - images.mean(axis=0)).sum()
    mean = metrics.Reconstruction(variation, variation, 0.0, images.size, 5)
    assert mean.r2() == 0.0
    off = metrics.Reconstruction(0.01 * images.size, variation, 5.0, images.size, 5)
    assert off.psnr() == pytest.approx(20.0)  # error 0.1 everywhere, peak 1
    assert off.ssim() == 1.0
    raw = metrics.Reconstruction(0, variation, 0, images.size, 5, 49 * variation)
    assert (raw.r2(), raw.raw()["raw_r2"]) == (1.0, -48.0)


def test_gains_and_offsets_are_those_of_least_squares():
    draw = np.random.default_rng(0)
    y = draw.normal(3, 2, (4, 6, 5, 2))
    t = 0.2 * y + draw.normal(0.4, 0.1, y.shape)
    y[..., 1] = 7.0  # an output that shows nothing
    moments = np.stack(
        [x.sum(axis=(1, 2)) for x in (y, t, y * y, y * t, t * t)], axis=1
    )
    gains, offsets = metrics.gains_and_offsets(moments, pixels=30)
    np.testing.assert_allclose(
        [gains[0], offsets[0]], np.polyfit(y[..., 0].ravel(), t[..., 0].ravel(), 1)
    )
    assert gains[1] == 0 and offsets[1] == pytest.approx(t[..., 1].mean())
    errors = metrics.fitted_errors(moments, gains, offsets, pixels=30)
    plain = np.square(gains * y + offsets - t).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(errors, plain, rtol=1e-9)
