"""Estimators held against slow definitions and hand-worked cases, and how they are judged."""

import numpy as np
import pytest
from scipy import optimize, stats

from benchmarks import estimators

DRAW = np.random.default_rng(0)


def slow_log_me(features, labels):
    """The evidence as the definition has it: y ~ N(0, 1/beta + F F' / alpha), maximised."""
    found = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)

        def loss(logs, target=target):
            alpha, beta = np.exp(logs)
            covariance = np.eye(len(target)) / beta + features @ features.T / alpha
            return -stats.multivariate_normal.logpdf(target, cov=covariance)

        best = min(
            (
                optimize.minimize(loss, start, method="Nelder-Mead")
                for start in ([0, 0], [2, 2])
            ),
            key=lambda one: one.fun,
        )
        found.append(-best.fun)
    return np.mean(found) / len(features)


@pytest.mark.parametrize("width", [3, 40])  # fewer and more features than samples
def test_log_me_is_the_largest_evidence(width):
    labels = DRAW.integers(0, 3, 25)
    features = DRAW.normal(size=(25, width)) + 0.7 * labels[:, None]
    fast = estimators.log_me(features, labels)
    assert fast == pytest.approx(slow_log_me(features, labels), abs=2e-3)


def test_log_me_prefers_features_that_tell_the_classes():
    labels = np.repeat([0, 1], 50)
    noise = DRAW.normal(size=(100, 4))
    assert estimators.log_me(noise + 3 * labels[:, None], labels) > estimators.log_me(
        noise, labels
    )


def test_h_score_is_the_share_of_variance_between_classes_in_one_dimension():
    # means -1 and 1, deviations of 1: between 1, total 1 + 1
    features = np.array([[-2.0], [0.0], [0.0], [2.0]])
    assert estimators.h_score(features, np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    apart = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    assert estimators.h_score(apart, np.array([0, 0, 1, 1])) == pytest.approx(1.0)


def test_h_score_does_not_change_with_the_features_units():
    labels, features = DRAW.integers(0, 3, 60), DRAW.normal(size=(60, 4))
    features[:, 0] += labels
    mixed = features @ DRAW.normal(size=(4, 4)) + 5
    assert estimators.h_score(mixed, labels) == pytest.approx(
        estimators.h_score(features, labels)
    )


def test_z_rmse_by_hand():
    assert estimators.z_rmse(5.0, [1.0, 3.0]) == pytest.approx(3 / np.sqrt(2))
    assert np.isnan(estimators.z_rmse(5.0, [1.0, 1.0]))  # no spread, no unit


def test_the_relative_gradient_norm_takes_arrays_together():
    gradients, values = [np.array([3.0]), np.array([4.0])], [np.array([0.0, 10.0])]
    assert estimators.relative_gradient_norm(gradients, values) == pytest.approx(0.5)


def test_retention_by_hand():
    assert estimators.retention(0.3, 0.5, 0.1) == pytest.approx(0.5)
    assert np.isnan(estimators.retention(0.3, 0.1, 0.1))


def test_the_pixels_are_of_each_class_alike():
    labels = np.repeat([0, 1, 2, -1], [900, 80, 5, 500])
    places = estimators.stratified(labels, 120, seed=0)
    assert np.bincount(labels[places]).tolist() == [40, 40, 5]
    assert len(set(places)) == len(places)
    np.testing.assert_array_equal(places, estimators.stratified(labels, 120, seed=0))


def test_regret_by_hand():
    gains = np.array([[0.1, 0.3, 0.2], [0.0, 0.4, 0.1]])
    rows = {
        row.name: row
        for row in estimators.judge(
            gains, {"guess": np.array([[1, 2, 3], [1, 2, 0]])}, [3, 2, 1]
        )
    }
    assert rows["guess"].regret.estimate == pytest.approx(0.05)  # 0.1 and 0
    assert rows["static"].regret.estimate == pytest.approx((0.2 + 0.4) / 2)
    assert rows["random"].regret.estimate == pytest.approx((0.1 + (0.4 - 0.5 / 3)) / 2)
    assert rows["guess"].tau.n == 2


def test_an_oracle_beats_the_static_ranker_and_noise_does_not():
    gains = DRAW.normal(size=(8, 6)) * 0.1
    noise = DRAW.normal(size=(8, 6))
    rows = estimators.judge(gains, {"oracle": gains, "noise": noise}, range(6))
    assert rows[0].name == "oracle" and rows[0].beats_static
    assert rows[0].tau.estimate == pytest.approx(1)
    assert estimators.verdict(rows) == "oracle beat the static ranker (n = 8 seeds)."
    rows = estimators.judge(gains, {"noise": noise}, range(6))
    assert "No estimator" in estimators.verdict(rows)
