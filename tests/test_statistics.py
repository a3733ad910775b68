"""Intervals and p-values: tables worked by hand, laws, and coverage measured by simulation."""

import math

import numpy as np
import pytest

from tfreuse import statistics


def test_three_values_give_the_student_interval_worked_by_hand():
    # mean 2, sd 1, standard error 1/sqrt(3) = 0.57735; t(2, 0.975) = 4.30265
    found = statistics.interval([1, 2, 3])
    assert (found.estimate, found.n, found.method) == (2.0, 3, "Student t")
    assert found.low == pytest.approx(2 - 4.30265 * 0.57735, abs=1e-4)
    assert found.high == pytest.approx(2 + 4.30265 * 0.57735, abs=1e-4)


def test_lower_confidence_gives_a_narrower_interval():
    # t(2, 0.95) = 2.91999
    found = statistics.interval([1, 2, 3], confidence=0.9)
    assert found.high - 2 == pytest.approx(2.91999 * 0.57735, abs=1e-4)


def test_the_bootstrap_begins_at_six_values():
    values = [0.3, 0.9, 0.1, 0.7, 0.45, 0.6]
    assert statistics.interval(values[:5]).method == "Student t"
    assert statistics.interval(values).method == "bootstrap-t"


def test_one_value_leaves_the_mean_unknown():
    found = statistics.interval([0.9])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.to_json()["low"] is None


@pytest.mark.parametrize("n", [2, 3, 7])
def test_equal_values_give_an_interval_without_width_and_no_p(n):
    found = statistics.interval([0.1] * n)
    assert (found.low, found.estimate, found.high) == (0.1, 0.1, 0.1)
    assert found.method == "no spread"
    assert statistics.p_value([0.1] * n) is None


def test_many_equal_values_fall_back_to_student_instead_of_an_infinite_end():
    found = statistics.interval([0, 0, 0, 0, 0, 1])
    assert found.method == "Student t"
    assert math.isfinite(found.low) and math.isfinite(found.high)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf], [[1, 2]]])
def test_values_that_are_no_finite_replicates_are_refused(values):
    with pytest.raises(ValueError, match="finite numbers"):
        statistics.interval(values)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = [0.3, 0.9, 0.1, 0.7, 0.45, 0.6, 0.2]
    first = statistics.interval(values, seed=1)
    assert first == statistics.interval(values, seed=1)
    assert first.low != statistics.interval(values, seed=2).low


@pytest.mark.parametrize("n", [4, 8])
def test_intervals_move_and_stretch_with_the_values(n):
    values = np.random.default_rng(0).normal(size=n)
    plain, moved = statistics.interval(values), statistics.interval(3 * values + 10)
    assert moved.low == pytest.approx(3 * plain.low + 10)
    assert moved.high == pytest.approx(3 * plain.high + 10)


@pytest.mark.parametrize(("n", "studies"), [(3, 1500), (5, 1500), (6, 250), (10, 250)])
def test_nominal_95_percent_intervals_cover_the_mean_of_normal_data(n, studies):
    """A percentile bootstrap covers 0.74 (n = 3) to 0.90 (n = 10) and fails here."""
    generator = np.random.default_rng(n)
    found = [
        statistics.interval(generator.normal(size=n), seed=i) for i in range(studies)
    ]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    error = math.sqrt(0.95 * 0.05 / studies)
    assert 0.95 - 3 * error < covered < 0.95 + 3 * error


@pytest.mark.parametrize("n", [3, 5, 6, 9])
def test_p_is_below_0_05_just_where_the_interval_excludes_the_value(n):
    values = np.random.default_rng(n).normal(size=n)
    found = statistics.interval(values)
    for edge in (found.low, found.high):
        inside = edge + 0.02 * (found.estimate - edge)
        outside = edge - 0.02 * (found.estimate - edge)
        assert statistics.p_value(values, inside) > 0.05
        assert statistics.p_value(values, outside) < 0.05


def test_p_of_three_values_is_students_worked_by_hand():
    # t = 2 / 0.57735 = 3.46410; with 2 degrees of freedom p = 1 - t / sqrt(2 + t^2) = 0.07418
    assert statistics.p_value([1, 2, 3]) == pytest.approx(0.07418, abs=1e-5)


def test_the_smallest_sign_flip_p_is_two_of_all_sign_patterns():
    found = [statistics.smallest_sign_flip_p(n) for n in (1, 3, 5, 6)]
    assert found == [1.0, 0.25, 0.0625, 0.03125]


def test_holm_gives_the_table_worked_by_hand():
    # sorted .01 .02 .03 .9: 4 x .01 = .04; 3 x .02 = .06; 2 x .03 = .06; 1 x .9 = .9
    found = statistics.holm([0.9, 0.01, 0.03, 0.02])
    assert found == pytest.approx([0.9, 0.04, 0.06, 0.06])


def test_holm_never_passes_one_nor_falls_below_the_one_before():
    assert statistics.holm([0.6, 0.5, 0.7]) == [1.0, 1.0, 1.0]
    # 2 x .04 = .08, then 1 x .045 = .045 is raised to .08
    assert statistics.holm([0.04, 0.045]) == pytest.approx([0.08, 0.08])
    assert statistics.holm([]) == []


def test_the_needed_n_is_the_first_whose_half_width_suffices():
    # t(5, 0.975) / sqrt(6) = 2.5706 / 2.4495 = 1.0494; t(9) / sqrt(10) = 2.2622 / 3.1623 = 0.7154
    assert statistics.needed_n(sd=1.0, half_width=1.05) == 6
    assert statistics.needed_n(sd=1.0, half_width=1.049) == 7
    assert statistics.needed_n(sd=1.0, half_width=0.7154) == 10


def test_what_no_affordable_n_settles_is_none():
    assert statistics.needed_n(sd=1.0, half_width=0.0) is None
    assert statistics.needed_n(sd=1.0, half_width=0.01) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.934, "0.93"),
        (0.996, "0.996"),
        (1.0, "1.00"),
        (-0.001, "−0.001"),
        (-0.0, "0.00"),
        (-53.219, "−53.22"),
        (-1234.5, "−1234"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_a_number_has_two_decimals_unless_that_hides_it(value, text):
    assert statistics.number(value) == text
