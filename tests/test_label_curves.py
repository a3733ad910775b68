"""Results of label curves by hand: heights, savings, crossovers, speeds; no TensorFlow."""

import dataclasses
import math

import pytest

from tfreuse.analysis import intervals, label_curves, label_savings
from tfreuse.errors import InputError
from tfreuse.few_labels.recipes import CATALOGUE
from tfreuse.records import LabelLog, LabelRecord, read_labels
from tfreuse.specs.labels import RECIPES, LabelSpec


def record(recipe, labels, value, seed=0, donor="masked", course=()):
    return LabelRecord(
        study="s", architecture="unet", donor="" if recipe == "scratch" else donor,
        donor_digest="d", recipe=recipe, seed=seed, asked=labels, labels=labels,
        subset="x", steps=100, learning_rate=0.01, tried={"0.01": 0.5}, metric="mean_iou",
        value=value, floor=0.1, course=course or ((100, value),), counts={"n": 1},
        images=8, cost=1.0, seconds=0.5, versions={"tfreuse": "0"},
    )  # fmt: skip


def curve(recipe, values, seed=0, **more):
    return [record(recipe, n, value, seed, **more) for n, value in values.items()]


SCRATCH = {8: 0.2, 16: 0.3, 32: 0.4, 64: 0.5}


def test_the_flags_name_the_recipes_of_the_catalogue_in_its_order():
    assert tuple(CATALOGUE) == RECIPES


# --- how many labels scratch needs


@pytest.mark.parametrize(
    "value, count, censored",
    [
        (0.2, 8, ""),
        (0.3, 16, ""),
        (0.35, 2**4.5, ""),  # half-way in log2 between 16 and 32
        (0.5, 64, ""),
        (0.51, 64, ">"),
        (0.19, 8, "<"),
    ],
)
def test_scratch_needs_as_many_labels_as_its_curve_says(value, count, censored):
    found = label_savings.labels_needed(SCRATCH, value)
    assert found == (pytest.approx(count), censored)


def test_a_dip_of_scratch_is_levelled_and_a_plateau_counts_from_its_start():
    dipping = {8: 0.2, 16: 0.5, 32: 0.3, 64: 0.6}  # monotone: 0.2, 0.4, 0.4, 0.6
    assert label_savings.labels_needed(dipping, 0.4) == (pytest.approx(16), "")
    assert label_savings.labels_needed(dipping, 0.3) == (pytest.approx(2**3.5), "")
    assert label_savings.labels_needed(dipping, 0.5) == (pytest.approx(2**5.5), "")


def test_more_metric_never_needs_fewer_labels():
    noisy = {8: 0.31, 16: 0.24, 32: 0.44, 64: 0.41, 128: 0.52}
    found = [label_savings.labels_needed(noisy, i / 100)[0] for i in range(20, 60)]
    assert found == sorted(found) and len(set(found)) > 10


def test_the_saving_of_scratch_itself_is_one():
    values = [(seed, {n: v + seed / 50 for n, v in SCRATCH.items()}) for seed in (0, 1)]
    records = [r for seed, own in values for r in curve("scratch", own, seed)]
    records += [r for seed, own in values for r in curve("encoder", own, seed)]
    rows = label_curves.savings(label_curves.by_arm(records), 0.95)
    assert len(rows) == 4
    for row in rows:
        assert row["mean"] == pytest.approx(1)
        assert row["censored"] == ""


def test_donors_are_sorted_by_the_numbers_in_their_names():
    names = ["a", "a:steps=30", "a:steps=100", "a:train_examples=16", "b"]
    records = [
        dataclasses.replace(record, donor=name)
        for name in reversed(names)
        for record in curve("encoder", {8: 0.5}, 0)
    ]
    assert [arm.donor for arm in label_curves.by_arm(records)] == names


def test_a_saving_is_a_mean_of_factors_with_its_interval_over_seeds():
    records = [r for seed in range(3) for r in curve("scratch", SCRATCH, seed)]
    for seed, value in enumerate((0.3, 0.4, 0.5)):  # needs 16, 32, 64
        records.append(record("encoder", 8, value, seed))
    (row,) = label_curves.savings(label_curves.by_arm(records), 0.95)
    told = intervals.mean_interval([1.0, 2.0, 3.0])
    assert row["mean"] == pytest.approx(4.0)
    assert (row["low"], row["high"]) == pytest.approx((2**told.low, 2**told.high))
    assert (row["n"], row["censored"], row["labels"]) == (3, "", 8)


def test_a_scratch_curve_that_is_not_all_measured_bounds_nothing():
    records = [r for seed in range(2) for r in curve("scratch", SCRATCH, seed)]
    records += curve("scratch", {8: 0.2, 16: 0.3}, 2)
    records += [record("encoder", 8, 0.4, seed) for seed in range(3)]
    (row,) = label_curves.savings(label_curves.by_arm(records), 0.95)
    assert (row["n"], row["censored"]) == (2, "")


def test_beyond_the_range_of_scratch_there_is_only_a_bound():
    records = [r for seed in range(3) for r in curve("scratch", SCRATCH, seed)]
    for seed, value in enumerate((0.4, 0.9, 0.9)):
        records.append(record("encoder", 16, value, seed))
        records.append(record("kernels", 16, 0.1, seed))
    above, below = label_curves.savings(label_curves.by_arm(records), 0.95)
    assert (above["censored"], above["seeds_censored"], above["high"]) == (
        ">",
        2,
        math.inf,
    )
    assert above["low"] < above["mean"] == pytest.approx(2 ** (5 / 3))
    assert (below["censored"], below["low"], below["mean"]) == ("<", 0.0, 0.5)


@pytest.mark.parametrize(
    ("value", "spread", "low", "high"),
    [
        (0.9, 0.01, 4.0, math.inf),  # above scratch with 64 labels
        (0.51, 0.6, 0.5, math.inf),  # above it in every seed, and shown with 8 alone
        (0.05, 0.01, 0.0, 0.5),  # below scratch with 8 labels
    ],
)
def test_bounds_in_all_seeds_have_the_interval_of_tests_against_scratch(
    value, spread, low, high
):
    records = []
    for seed, shift in enumerate(
        (0.0, 0.1, -0.1, 0.05)
    ):  # seeds that differ as a whole
        values = {n: metric + shift for n, metric in SCRATCH.items()}
        records += curve("scratch", values, seed)
        records.append(record("encoder", 16, value + shift + spread * (seed > 1), seed))
    (row,) = label_curves.savings(label_curves.by_arm(records), 0.95)
    assert row["seeds_censored"] == 4
    assert (row["low"], row["high"]) == (low, high)
    assert row["method"].startswith("tests against scratch")


# --- curves, heights, crossovers, speeds


def test_gains_are_paired_by_seed():
    records = curve("scratch", {8: 0.1}, 0) + curve("scratch", {8: 0.5}, 1)
    records += curve("encoder", {8: 0.2}, 0) + curve("encoder", {8: 0.601}, 1)
    records += curve("encoder", {8: 0.9}, 2)  # scratch has not come to it yet
    rows = label_curves.curves(label_curves.by_arm(records), 0.95)
    assert [row["recipe"] for row in rows] == ["scratch", "encoder"]
    assert "gain_mean" not in rows[0]
    assert (rows[1]["n"], rows[1]["gain_n"]) == (3, 2)
    assert rows[1]["gain_mean"] == pytest.approx(0.1005)
    assert rows[1]["gain_low"] == pytest.approx(
        0.1005, abs=0.007
    )  # though the levels differ by 0.4


def test_the_height_is_the_mean_over_the_logarithm_of_n():
    records = [
        r for s in (0, 1) for r in curve("scratch", {8: 0.2, 16: 0.4, 64: 0.4}, s)
    ]
    for seed, more in ((0, 0.1), (1, 0.12)):
        up = {8: 0.2 + more, 16: 0.4 + more, 64: 0.4 + more}
        records += curve("encoder", up, seed)
    scratch, encoder = label_curves.areas(label_curves.by_arm(records), 0.95)
    assert scratch["mean"] == pytest.approx((0.3 * 1 + 0.4 * 2) / 3)  # log2 n: 3, 4, 6
    assert encoder["gain_mean"] == pytest.approx(0.11)
    assert (encoder["verdict"], encoder["labels"]) == ("inconclusive", "8 to 64")


@pytest.mark.parametrize(
    "gains, verdict",
    [
        ((0.10, 0.11, 0.12), "supported"),
        ((-0.10, -0.11, -0.12), "refuted"),
        ((0.10, -0.11, 0.12), "inconclusive"),
        ((0.1,), "not testable"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(gains, verdict):
    records = []
    for seed, gain in enumerate(gains):
        records += curve("scratch", SCRATCH, seed)
        records += curve("encoder", {n: v + gain for n, v in SCRATCH.items()}, seed)
    _, row = label_curves.areas(label_curves.by_arm(records), 0.95)
    assert row["verdict"] == verdict


def test_the_crossover_is_where_the_mean_gain_ends():
    scratch = dict.fromkeys((8, 16, 32, 64), 0.5)

    def ends(*gains):
        arm = {n: 0.5 + gain for n, gain in zip(scratch, gains, strict=True)}
        records = curve("scratch", scratch) + curve("encoder", arm)
        (row,) = label_curves.crossovers(label_curves.by_arm(records), 0.95)
        return row["crossover"], row["censored"]

    assert ends(0.2, 0.1, -0.1, -0.1) == (pytest.approx(2**4.5), "")
    assert ends(-0.1, 0.3, 0.1, -0.3) == (pytest.approx(2**5.25), "")
    assert ends(0.2, 0.1, 0.1, 0.1) == (None, ">")
    assert ends(-0.2, 0.0, -0.1, -0.1) == (None, "<")


def test_updates_to_ninety_percent_of_scratch():
    scratch = ((10, 0.2), (50, 0.6), (100, 1.1))  # floor 0.1: the goal is 1.0
    fast = ((10, 0.8), (50, 1.2), (100, 1.2))  # half-way from 10 to 50
    slow = ((10, 0.2), (50, 0.3), (100, 0.9))
    at_once = ((10, 1.0), (50, 1.0), (100, 1.0))
    records = [record("scratch", 8, 1.1, course=scratch)]
    records += [
        record(recipe, 8, course[-1][1], course=course)
        for recipe, course in (
            ("encoder", fast),
            ("kernels", slow),
            ("prefix", at_once),
        )
    ]
    rows = label_curves.speeds(label_curves.by_arm(records), 0.95)
    found = {row["recipe"]: (row["reached"], row.get("mean")) for row in rows}
    assert found == {
        "scratch": (1, pytest.approx(90.0)),
        "encoder": (1, pytest.approx(30.0)),
        "kernels": (0, None),
        "prefix": (1, 10.0),
    }


def test_the_metric_is_told_group_by_group_with_the_gain_in_each():
    records = []
    for seed in (0, 1):
        for recipe, new in (("scratch", 0.2), ("encoder", 0.1)):
            groups = {"a": (0.5 + seed / 10, True), "b": (new, False)}
            one = record(recipe, 8, 0.3, seed)
            records.append(dataclasses.replace(one, groups=groups))
    rows = label_curves.by_group(label_curves.by_arm(records), 0.95)
    told = [(row["recipe"], row["group"], row["seen"]) for row in rows]
    assert told == [
        ("scratch", "a", True), ("scratch", "b", False),
        ("encoder", "a", True), ("encoder", "b", False),
    ]  # fmt: skip
    assert rows[2]["mean"] == pytest.approx(0.55) and rows[2]["gain_mean"] == 0
    assert rows[3]["gain_mean"] == pytest.approx(-0.1)
    assert (
        label_curves.by_group(label_curves.by_arm([record("scratch", 8, 0.1)]), 0.95)
        == []
    )


def test_two_records_of_one_fit_are_refused():
    with pytest.raises(InputError, match="expected one record"):
        label_curves.by_arm([record("scratch", 8, 0.1), record("scratch", 8, 0.2)])


# --- the spec and the log


@pytest.mark.parametrize(
    "change, told",
    [
        ({"recipes": ("encoder",)}, "leaves scratch out"),
        ({"recipes": ("scratch", "half")}, "one of"),
        ({"label_counts": (8, 8)}, "twice"),
        ({"label_counts": (-1,)}, "at least 0"),
        ({"learning_rates": ()}, "is empty"),
        ({"label_donors": ("unmasked",)}, "one of"),
    ],
)
def test_a_spec_that_cannot_be_measured_is_refused(change, told):
    with pytest.raises(InputError, match=told):
        LabelSpec(**{"label_counts": (8,)} | change)


def test_scratch_is_fitted_once_whatever_the_donors():
    spec = LabelSpec(
        recipes=("encoder", "scratch"), label_donors=("masked", "denoising")
    )
    assert spec.arms() == [
        ("", "scratch"), ("masked", "encoder"), ("denoising", "encoder"),
    ]  # fmt: skip


def test_a_kill_in_the_middle_of_a_line_loses_that_line_alone(tmp_path):
    path = tmp_path / "labels.jsonl"
    first, second = record("scratch", 8, 0.1), record("encoder", 8, 0.2)
    second = dataclasses.replace(second, groups={"a": (0.5, True)})
    with LabelLog(path) as log:
        log.append(first)
        log.append(second)
    assert read_labels(path) == [first, second]
    path.write_bytes(path.read_bytes()[:-5])
    assert read_labels(path) == [first]
    with LabelLog(path) as log:
        assert log.records == [first]
        log.append(second)
    assert read_labels(path) == [first, second]


def test_a_second_writer_and_a_damaged_line_are_refused(tmp_path):
    path = tmp_path / "labels.jsonl"
    with LabelLog(path) as log:
        log.append(record("scratch", 8, 0.1))
        with pytest.raises(InputError, match="another process"), LabelLog(path):
            pass
    path.write_text(path.read_text() + '{"half": 1}\n')
    with pytest.raises(InputError, match=r"labels\.jsonl, line 2: expected a record"):
        read_labels(path)
    line = record("scratch", 8, 0.1).to_line()
    path.write_text(line + line.replace("0.1", "NaN"))
    with pytest.raises(
        InputError, match=r"line 2: expected a record.*NaN is no number"
    ):
        read_labels(path)
    assert read_labels(tmp_path / "none.jsonl") == []


def test_a_record_of_another_seed_or_number_is_another_arm():
    one = record("encoder", 8, 0.1)
    for change in ({"seed": 1}, {"asked": 16}, {"recipe": "prefix"}, {"donor": "x"}):
        assert dataclasses.replace(one, **change).key != one.key
    assert dataclasses.replace(one, value=0.9, seconds=1.0).key == one.key
