"""Intervals and p-values: tables worked by hand, laws, and coverage measured by simulation."""

import dataclasses
import math
import time

import numpy as np
import pytest

from tfreuse.analysis import bounded, intervals
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION


def test_three_values_give_the_student_interval_worked_by_hand():
    # mean 2, sd 1, standard error 1/sqrt(3) = 0.57735; t(2, 0.975) = 4.30265
    found = intervals.mean_interval([1, 2, 3])
    assert (found.estimate, found.n, found.method) == (2.0, 3, "Student t")
    assert found.low == pytest.approx(2 - 4.30265 * 0.57735, abs=1e-4)
    assert found.high == pytest.approx(2 + 4.30265 * 0.57735, abs=1e-4)


def test_lower_confidence_gives_a_narrower_interval():
    # t(2, 0.95) = 2.91999
    found = intervals.mean_interval([1, 2, 3], confidence=0.9)
    assert found.high - 2 == pytest.approx(2.91999 * 0.57735, abs=1e-4)


def test_the_bootstrap_begins_at_six_values():
    values = [0.3, 0.9, 0.1, 0.7, 0.45, 0.6]
    assert intervals.mean_interval(values[:5]).method == "Student t"
    assert intervals.mean_interval(values).method == "bootstrap-t"


def test_one_value_leaves_the_mean_unknown():
    found = intervals.mean_interval([0.9])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.to_json()["low"] is None


@pytest.mark.parametrize("n", [2, 3, 7])
def test_equal_values_without_bounds_say_nothing_of_their_mean(n):
    found = intervals.mean_interval([0.1] * n)
    assert (found.low, found.estimate, found.high) == (-math.inf, 0.1, math.inf)
    assert found.method == "no spread"
    assert intervals.p_value([0.1] * n) == 1


def test_many_equal_values_fall_back_to_student_instead_of_an_infinite_end():
    found = intervals.mean_interval([0, 0, 0, 0, 0, 1])
    assert found.method == "Student t"
    assert math.isfinite(found.low) and math.isfinite(found.high)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf], [[1, 2]]])
def test_values_that_are_no_finite_replicates_are_refused(values):
    with pytest.raises(ValueError, match="finite numbers"):
        intervals.mean_interval(values)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = [0.3, 0.9, 0.1, 0.7, 0.45, 0.6, 0.2]
    first = intervals.mean_interval(values, seed=1)
    assert first == intervals.mean_interval(values, seed=1)
    assert first.low != intervals.mean_interval(values, seed=2).low


@pytest.mark.parametrize("n", [4, 8])
def test_intervals_move_and_stretch_with_the_values(n):
    values = np.random.default_rng(0).normal(size=n)
    plain, moved = (
        intervals.mean_interval(values),
        intervals.mean_interval(3 * values + 10),
    )
    assert moved.low == pytest.approx(3 * plain.low + 10)
    assert moved.high == pytest.approx(3 * plain.high + 10)


@pytest.mark.parametrize(("n", "studies"), [(3, 1500), (5, 1500), (6, 250), (10, 250)])
def test_nominal_95_percent_intervals_cover_the_mean_of_normal_data(n, studies):
    """A percentile bootstrap covers 0.74 (n = 3) to 0.90 (n = 10) and fails here."""
    generator = np.random.default_rng(n)
    found = [
        intervals.mean_interval(generator.normal(size=n), seed=i)
        for i in range(studies)
    ]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    error = math.sqrt(0.95 * 0.05 / studies)
    assert 0.95 - 3 * error < covered < 0.95 + 3 * error


@pytest.mark.parametrize("n", [3, 5, 6, 9])
def test_p_is_below_0_05_just_where_the_interval_excludes_the_value(n):
    values = np.random.default_rng(n).normal(size=n)
    found = intervals.mean_interval(values)
    for edge in (found.low, found.high):
        inside = edge + 0.02 * (found.estimate - edge)
        outside = edge - 0.02 * (found.estimate - edge)
        assert intervals.p_value(values, inside) > 0.05
        assert intervals.p_value(values, outside) < 0.05


def test_p_of_three_values_is_students_worked_by_hand():
    # t = 2 / 0.57735 = 3.46410; with 2 degrees of freedom p = 1 - t / sqrt(2 + t^2) = 0.07418
    assert intervals.p_value([1, 2, 3]) == pytest.approx(0.07418, abs=1e-5)


def test_holm_gives_the_table_worked_by_hand():
    # sorted .01 .02 .03 .9: 4 x .01 = .04; 3 x .02 = .06; 2 x .03 = .06; 1 x .9 = .9
    found = intervals.holm([0.9, 0.01, 0.03, 0.02])
    assert found == pytest.approx([0.9, 0.04, 0.06, 0.06])


def test_holm_never_passes_one_nor_falls_below_the_one_before():
    assert intervals.holm([0.6, 0.5, 0.7]) == [1.0, 1.0, 1.0]
    # 2 x .04 = .08, then 1 x .045 = .045 is raised to .08
    assert intervals.holm([0.04, 0.045]) == pytest.approx([0.08, 0.08])
    assert intervals.holm([]) == []


def test_the_needed_n_is_the_first_whose_half_width_suffices():
    # t(5, 0.975) / sqrt(6) = 2.5706 / 2.4495 = 1.0494; t(9) / sqrt(10) = 2.2622 / 3.1623 = 0.7154
    assert intervals.needed_n(sd=1.0, half_width=1.05) == 6
    assert intervals.needed_n(sd=1.0, half_width=1.049) == 7
    assert intervals.needed_n(sd=1.0, half_width=0.7154) == 10


def test_what_no_affordable_n_settles_is_none():
    assert intervals.needed_n(sd=1.0, half_width=0.0) is None
    assert intervals.needed_n(sd=1.0, half_width=0.01) is None


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
    assert intervals.number(value) == text


def test_many_cells_at_once_give_what_one_at_a_time_gives():
    generator = np.random.default_rng(3)
    cells = [generator.normal(size=n) for n in (3, 6, 6, 8, 1, 5, 8)] + [[0.5] * 7]
    cells += [[0, 0, 0, 0, 0, 1]]
    together = intervals.mean_intervals(cells)
    assert {one.method for one in together} == {
        "Student t", "bootstrap-t", "one value", "no spread",
    }  # fmt: skip
    for values, found in zip(cells, together, strict=True):
        intervals._memory.cache_clear()
        alone = intervals.mean_interval(values)
        assert (found.n, found.method) == (alone.n, alone.method)
        assert (found.low, found.estimate, found.high) == pytest.approx(
            (alone.low, alone.estimate, alone.high)
        )
    told = intervals.p_values(cells, 0.1)
    assert told[-2] == told[4] == 1
    assert told == [intervals.p_value(one, 0.1) for one in cells]


@pytest.mark.parametrize("bounds", [None, RETENTION])
def test_intervals_that_were_computed_before_are_those_of_a_first_call(bounds):
    cells = np.random.default_rng(4).random(size=(200, 6)).round(1).tolist()
    cells += [[0.0, 1.0], [0.5] * 3, [0.0, 1.0]]

    def computed(cells, confidence=0.9):
        return intervals.mean_intervals(cells, confidence, bounds=bounds)

    intervals._memory.cache_clear()
    first = computed(cells)
    assert computed(cells[::-1])[::-1] == first  # from memory
    assert computed(cells, 0.95) != first
    for cell, interval in zip(cells, first, strict=True):
        intervals._memory.cache_clear()
        (alone,) = computed([cell])
        assert dataclasses.astuple(alone) == pytest.approx(
            dataclasses.astuple(interval)
        )


@pytest.mark.parametrize("values", [[0, 2, 9, 1, 5, 3], [0, 0, 4, 4, 3, 1, 9]])
def test_the_bootstrap_t_is_that_of_the_textbook(values):
    """Resamples one by one, their own means and standard errors, NumPy's quantiles.

    Of the second values 2 x (2 / 7)^7, about three resamples, are of one value and left out.
    """
    values, n = np.array(values, float), len(values)
    draws = np.random.default_rng(0).integers(0, n, (intervals.RESAMPLES, n))
    resampled = values[draws]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (resampled.mean(axis=1) - values.mean()) / (
            resampled.std(axis=1, ddof=1) / math.sqrt(n)
        )
    ratios = ratios[np.ptp(resampled, axis=1) > 0]
    (ours,) = intervals._ratios([values], 0)
    assert np.sort(ours) == pytest.approx(np.sort(ratios))
    error = values.std(ddof=1) / math.sqrt(n)
    below, above = np.quantile(ratios, [0.025, 0.975])
    found = intervals.mean_interval(values)
    assert found.low == pytest.approx(values.mean() - above * error)
    assert found.high == pytest.approx(values.mean() - below * error)


@pytest.mark.parametrize("bounds", [None, RETENTION])
def test_thousands_of_cells_take_seconds(bounds):
    cells = np.random.default_rng(0).random(size=(3000, 6))
    began = time.perf_counter()
    intervals.mean_intervals(cells, bounds=bounds)
    assert time.perf_counter() - began < 30  # about 3 s


def test_benjamini_hochberg_gives_the_table_worked_by_hand():
    # sorted .01 .02 .03 .9: .01 x 4/1 = .04; .02 x 4/2 = .04; .03 x 4/3 = .04; .9
    found = intervals.benjamini_hochberg([0.9, 0.01, 0.03, 0.02])
    assert found == pytest.approx([0.9, 0.04, 0.04, 0.04])
    # .04 x 2/1 = .08 is lowered to .045 x 2/2
    assert intervals.benjamini_hochberg([0.04, 0.045]) == pytest.approx([0.045] * 2)
    assert intervals.benjamini_hochberg([]) == []


def test_benjamini_hochberg_is_scipys():
    from scipy import stats

    p = np.random.default_rng(0).uniform(size=50) ** 3
    assert intervals.benjamini_hochberg(p) == pytest.approx(
        stats.false_discovery_control(p)
    )


def test_equal_bounded_values_leave_the_room_that_their_number_leaves():
    """P(n values at 0) = (1 - p)^n of values that are 0 or 1: .025 at p = 1 - .025^(1/n)."""
    for n in (1, 3, 6):
        found = intervals.mean_interval([0.0] * n, bounds=RETENTION)
        assert (found.low, found.method) == (0, bounded.METHOD)
        assert found.high == pytest.approx(1 - 0.025 ** (1 / n))
        ones = intervals.mean_interval([1.0] * n, bounds=RETENTION)
        assert (ones.low, ones.high) == pytest.approx((0.025 ** (1 / n), 1))


def test_of_zeros_and_ones_the_bounds_are_clopper_and_pearsons():
    from scipy import stats

    for ones in range(11):
        values = [1.0] * ones + [0.0] * (10 - ones)
        found = intervals.mean_interval(values, bounds=RETENTION)
        exact = stats.binomtest(ones, 10).proportion_ci(method="exact")
        assert (found.low, found.high) == pytest.approx(tuple(exact), abs=1e-6)


def test_the_bounds_are_quantiles_of_means_with_random_weights():
    """Gaffke's definition, by drawing the weights."""
    generator = np.random.default_rng(0)
    values = np.sort(generator.random(6))
    weights = generator.dirichlet(np.ones(7), 200_000)
    found = intervals.mean_interval(values, 0.9, bounds=RETENTION)
    for end, level, bound in ((found.low, 0.05, 0.0), (found.high, 0.95, 1.0)):
        drawn = weights @ np.append(values, bound)
        assert end == pytest.approx(np.quantile(drawn, level), abs=2e-3)


def test_bounds_move_and_stretch_with_the_range():
    values = np.array([0.2, 0.9, 0.9, 0.4])
    plain = intervals.mean_interval(values, bounds=RETENTION)
    wide = intervals.mean_interval(2 * values - 1, bounds=DIFFERENCE)
    assert (wide.low, wide.high) == pytest.approx(
        (2 * plain.low - 1, 2 * plain.high - 1)
    )
    with pytest.raises(ValueError, match="must lie in"):
        intervals.mean_interval([0.2, 1.1], bounds=RETENTION)


@pytest.mark.parametrize("n", [1, 3, 6, 40])
def test_a_bounded_p_is_below_0_05_just_where_the_interval_excludes_the_value(n):
    generator = np.random.default_rng(n)
    cells = [np.clip(generator.normal(0.6, 0.4, n), 0, 1) for _ in range(20)]
    for values, found in zip(
        cells, intervals.mean_intervals(cells, bounds=RETENTION), strict=True
    ):
        assert found == intervals.mean_interval(values, bounds=RETENTION)
        for mean in np.linspace(0, 1, 21):
            p = intervals.p_value(values, mean, bounds=RETENTION)
            assert (p < 0.05) == (not found.low <= mean <= found.high)


def test_the_fewest_seeds_are_the_first_that_settle_a_side():
    for threshold, bounds in ((0.5, RETENTION), (0.95, RETENTION), (0.0, DIFFERENCE)):
        for end, n in zip(bounds[::-1], bounded.fewest(threshold, bounds), strict=True):
            settled = [
                intervals.p_value([end] * count, threshold, bounds=bounds) < 0.05
                for count in (n - 1, n)
                if count
            ]
            assert settled == [False, True][-len(settled) :]
    assert bounded.fewest(0.5, RETENTION) == (6, 6)
    assert bounded.fewest(0.95, RETENTION) == (72, 2)
    assert bounded.fewest(1.0, RETENTION) == (None, 1)


def test_the_needed_seeds_settle_what_fewer_do_not():
    values, threshold = [0.4, 0.3, 0.9], 0.8
    n = bounded.needed_n(values, threshold, RETENTION)
    for count, settled in ((n + n // 5, True), (n - n // 5, False)):
        quantiles = np.sort(values)[((np.arange(count) + 0.5) / count * 3).astype(int)]
        p = intervals.p_value(quantiles, threshold, bounds=RETENTION)
        assert (p < 0.05) == settled
    assert bounded.needed_n([0.5] * 3, 0.5, RETENTION) is None
    # equal values: x .025^(1/n) + 0 > .95 and -(x .025^(1/n)) likewise from the other side
    assert bounded.needed_n([0.98] * 4, 0.95, RETENTION) == 119
    assert bounded.needed_n([-1.0] * 3, 0.0, DIFFERENCE) == 6
    undecided = [0.81, 0.77, 0.89, 0.81, 0.7, 0.85]  # six, whose interval just holds 0
    assert bounded.ends([undecided], DIFFERENCE)[0][0] < 0
    assert bounded.needed_n(undecided, 0.0, DIFFERENCE) == 7


def test_fiellers_interval_worked_by_hand():
    # above 1 3, below 1 1: mean 2 / 1; the denominator has no spread, so it is the t interval
    found = intervals.ratio_interval([1, 3], [1, 1])
    plain = intervals.mean_interval([1, 3])
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    # where both are the same in every seed, the ratio is 1
    found = intervals.ratio_interval([1, 1.2, 1.1], [1, 1.2, 1.1])
    assert (found.low, found.estimate, found.high) == pytest.approx((1, 1, 1))


def test_fiellers_ends_are_the_ratios_that_a_t_test_just_rejects():
    generator = np.random.default_rng(0)
    above, below = generator.normal(1, 0.2, 5), generator.normal(2, 0.3, 5)
    found = intervals.ratio_interval(above, below)
    for end in (found.low, found.high):
        assert intervals.p_value(above - end * below) == pytest.approx(0.05)


def test_the_ratio_to_what_may_be_nothing_has_no_ends():
    found = intervals.ratio_interval([1, 2, 3], [-1, 1, 0.5])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert math.isnan(intervals.ratio_interval([1, 2], [-1, 1]).estimate)


def test_fieller_covers_the_ratio_of_the_means():
    generator, held, studies = np.random.default_rng(0), 0, 1000
    for _ in range(studies):
        below = generator.normal(0.5, 0.2, 5)
        above = 0.3 * below + generator.normal(0, 0.1, 5)
        found = intervals.ratio_interval(above, below)
        held += found.low <= 0.3 <= found.high
    error = math.sqrt(0.95 * 0.05 / studies)
    assert 0.95 - 3 * error < held / studies < 0.95 + 3 * error
