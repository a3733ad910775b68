"""Distances worked out by hand, summed and never averaged twice, without TensorFlow."""

import math
import subprocess
import sys

import numpy as np
import pytest
from test_plan import bn, conv, layer

from tfreuse import plan as plans
from tfreuse.errors import InputError
from tfreuse.transplant import comparison


def compare(theirs, ours, a, b, **options):
    """Rows of two nets whose values are given by variable path."""
    plan = plans.make(theirs, ours, **options)
    return comparison.rows(
        plan, lambda v: np.float32(a[v.path]), lambda v: np.float32(b[v.path])
    )


def dense(path="x"):
    return layer(path, "Dense", (1, 2), use_bias=False)


def only(a, b):
    (row,) = compare(dense(), dense(), {"x/0": [a]}, {"x/0": [b]})
    return row


@pytest.mark.parametrize(
    "a, b, max_abs, relative, rmse, cosine",
    [
        ([3, 4], [3, 4], 0, 0, 0, 1),
        ([3, 4], [0, 5], 3, math.sqrt(10) / 5, math.sqrt(5), 4 / 5),
        ([1, 0], [0, 1], 1, math.sqrt(2), 1, 0),
        ([-2, 0], [2, 0], 4, 2, math.sqrt(8), -1),
        ([0, 0], [0, 0], 0, 0, 0, None),
        ([1, 0], [0, 0], 1, math.inf, math.sqrt(0.5), None),
    ],
)
def test_distances_are_as_worked_out_by_hand(a, b, max_abs, relative, rmse, cosine):
    row = only(a, b)
    assert row.max_abs == max_abs and row.identical == (a == b)
    assert row.relative_l2 == pytest.approx(relative)
    assert row.rmse == pytest.approx(rmse)
    assert row.cosine == (None if cosine is None else pytest.approx(cosine))


def statistics(means, variances):
    """Values of a batch norm of two channels with gamma 1 and beta 0."""
    return dict(zip((f"n/{i}" for i in range(4)), ([1, 1], [0, 0], means, variances)))


@pytest.mark.parametrize(
    "theirs, ours, expected",
    [
        # equal Gaussians; a shift of one standard deviation; twice the variance
        (([0, 0], [1, 1]), ([0, 0], [1, 1]), 0),
        (([1, 0], [1, 1]), ([0, 0], [1, 1]), 0.5 / 2),
        (([0, 0], [2, 2]), ([0, 0], [1, 1]), (2 - 1 - math.log(2)) / 2),
    ],
)
def test_divergence_of_batch_norms_is_as_worked_out_by_hand(theirs, ours, expected):
    norm = bn("n", 2, epsilon=0.0)
    rows = compare(norm, norm, statistics(*theirs), statistics(*ours))
    row = {r.role: r for r in rows}["moving_variance"]
    assert row.kl == pytest.approx(expected, abs=1e-7)
    assert row.variables == 1 and row.channels == 2


def test_divergence_counts_epsilon_as_part_of_the_variance():
    wide, narrow = bn("n", 2, epsilon=1.0), bn("n", 2, epsilon=0.0)
    rows = compare(wide, narrow, statistics([0, 0], [1, 1]), statistics([0, 0], [2, 2]))
    assert {r.role: r for r in rows}["moving_variance"].kl == pytest.approx(0)


def test_a_row_over_layers_is_what_one_array_of_all_would_give():
    theirs = [*dense("encoder_1_a"), *dense("encoder_1_b"), *dense("encoder_2_a")]
    a = {
        "encoder_1_a/0": [[1, 2]],
        "encoder_1_b/0": [[3, 4]],
        "encoder_2_a/0": [[5, 6]],
    }
    b = {
        "encoder_1_a/0": [[1, 2]],
        "encoder_1_b/0": [[9, 1]],
        "encoder_2_a/0": [[0, 1]],
    }
    first, second = compare(theirs, theirs, a, b)
    assert (first.stage, second.stage) == ("encoder_1", "encoder_2")
    x, y = np.array([1, 2, 3, 4.0]), np.array([1, 2, 9, 1.0])
    assert first.relative_l2 == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(y))
    assert first.rmse == pytest.approx(np.sqrt(np.mean((x - y) ** 2)))
    assert (first.variables, first.identical, first.max_abs) == (2, 1, 6)


def test_a_value_that_is_not_a_number_is_not_lost_in_a_maximum():
    theirs = [*dense("a_1"), *dense("a_2")]
    good, bad = [[1, 2]], [[np.nan, 1]]
    for first, second in ((good, bad), (bad, good)):
        values = {"a_1/0": first, "a_2/0": second}
        (row,) = compare(theirs, theirs, values, {"a_1/0": good, "a_2/0": good})
        assert math.isnan(row.max_abs)
        assert row.to_json()["max_abs"] is None


def test_equal_numbers_of_other_bits_are_not_identical():
    row = only([0.0, 1.0], [-0.0, 1.0])
    assert row.max_abs == 0 and row.identical == 0


def test_each_variable_is_read_once_and_one_layer_at_a_time():
    both = [*conv("a_1"), *bn("b_1"), *conv("c_1")]
    reads = []

    def read(side):
        def value(variable):
            reads.append((side, variable.path))
            return np.ones(variable.shape, np.float32)

        return value

    comparison.rows(plans.make(both, both), read("a"), read("b"))
    assert len(reads) == len(set(reads)) == 2 * len(both)
    assert [path.split("/")[0] for _, path in reads] == (
        ["a_1"] * 4 + ["b_1"] * 8 + ["c_1"] * 4
    )


def test_large_arrays_are_compared_in_pieces(monkeypatch):
    monkeypatch.setattr(comparison, "_CHUNK", 7)
    draw = np.random.default_rng(0)
    a, b = draw.random((2, 3, 3, 4, 4), dtype=np.float32)
    net = layer("x", "Conv2D", (3, 3, 4, 4), use_bias=False)
    (row,) = compare(net, net, {"x/0": a}, {"x/0": b})
    assert row.max_abs == np.abs(a.astype(float) - b).max()
    assert row.rmse == pytest.approx(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


def test_a_value_of_another_shape_is_refused():
    with pytest.raises(InputError, match="should have shape"):
        compare(dense(), dense(), {"x/0": [[1, 2, 3]]}, {"x/0": [[1, 2]]})


def test_two_networks_without_a_common_variable_are_refused():
    with pytest.raises(InputError, match="no variables in common"):
        compare(dense("x"), dense("y"), {}, {})


def test_the_table_puts_what_differs_most_first_and_ends_with_a_total():
    theirs = [*dense("encoder_1_a"), *dense("encoder_2_a")]
    a = {"encoder_1_a/0": [[1, 2]], "encoder_2_a/0": [[5, 6]]}
    b = {"encoder_1_a/0": [[1, 2]], "encoder_2_a/0": [[0, 1]]}
    rows = compare(theirs, theirs, a, b)
    by_distance = comparison.table(rows).splitlines()
    assert [line.split()[0] for line in by_distance[1:]] == [
        "encoder_2",
        "encoder_1",
        "total",
    ]
    by_place = comparison.table(rows, by="place").splitlines()
    assert by_place[1].startswith("encoder_1") and max(map(len, by_place)) <= 100


def test_comparing_imports_neither_tensorflow_nor_keras():
    code = "import sys, tfreuse.transplant.comparison; print(sorted({'keras', 'tensorflow'} & {*sys.modules}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "[]", ran.stderr
