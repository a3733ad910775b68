"""H5 and the predictors of retention: what closeness tells of kernels, on planted records."""

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import closeness, intervals, magnitude, predictors, verdicts
from tfreuse.analysis.arms import by_part
from tfreuse.analysis.bounded import DIFFERENCE

SEEDS = 10  # of a correlation of .8 and more, as few as show that it is above 0
SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=SEEDS)


def parts(records):
    (found,) = by_part(records).values()
    return found


def layers(retained, seeds=SEEDS, count=12, **changes):
    """Kernels of single layers; `retained(rmse, depth, generator)` tells the retention.

    RMSE is drawn, depth is the layer's, size falls and rises with depth.
    """
    generator, found = np.random.default_rng(changes.pop("draw", 0)), []
    for seed in range(seeds):
        for depth in range(count):
            rmse = generator.uniform(0.1, 1.0)
            site = {"site_kind": "layer", "site": f"layer_{depth}", "depth": depth}
            fields = site | {
                "group": "kernel",
                "rmse": rmse,
                "parameters": 100 * (1 + abs(depth - 5)),
                "cosine": 1 - rmse,
            }
            value = retained(rmse, depth, generator)
            found.append(planted.record(value, seed=seed, **(fields | changes)))
    return found


def falls(rmse, depth, generator):
    """Half of the kernels can be reused: those that lie close."""
    return 1.0 - max(0.0, rmse - 0.5) + 0.02 * generator.normal() * (rmse > 0.5)


def chance(rmse, depth, generator):
    return generator.choice([1.0, 0.5]) + 0.01 * generator.normal()


def deep(rmse, depth, generator):
    """Shallow kernels can be reused, whatever their RMSE."""
    return 1.0 if depth < 6 else 0.9 - 0.05 * depth


def h5(records, spec=SPEC):
    return next(one for one in verdicts.judge(records, spec) if one.hypothesis == "H5")


def test_h5_is_supported_where_closer_kernels_retain_more():
    verdict = h5(layers(falls))
    assert verdict.verdict == "supported"
    assert verdict.effect.low > 0 and verdict.n == SEEDS and verdict.threshold == 0
    assert verdict.p < 0.05 and verdict.p_holm == pytest.approx(verdict.p)
    assert any("AUROC" in note for note in verdict.notes)
    assert any("Correlation of other predictors" in note for note in verdict.notes)
    assert any("-z_rmse" in n for n in verdict.notes if n.startswith("Not measured"))
    assert any("No threshold of RMSE is told" in note for note in verdict.notes)


def test_h5_is_refuted_where_closer_kernels_retain_less():
    found = h5(layers(lambda rmse, *rest: falls(1.1 - rmse, *rest)))
    assert found.verdict == "refuted" and "correlation lies below 0" in found.reason


def test_h5_is_not_supported_where_retention_is_chance():
    assert h5(layers(chance)).verdict != "supported"


def test_h5_is_not_supported_where_rmse_tells_no_more_than_depth():
    """RMSE grows with depth and depth decides: rho is high, but nothing is added to depth."""
    records = [
        planted.record(
            deep(0, r.depth, None), seed=r.seed, group="kernel", site_kind="layer",
            site=r.site, depth=r.depth, parameters=r.parameters,
            rmse=0.1 * r.depth + 0.3 * r.rmse,
        )
        for r in layers(chance)
    ]  # fmt: skip
    found = h5(records)
    assert found.effect.low > 0
    assert found.verdict == "inconclusive"
    assert "not shown to add to depth and size" in found.reason


@pytest.mark.parametrize(
    ("correlation", "auroc", "partial", "verdict", "words"),
    [
        ((0.1, 0.8), (0.71, 0.6), (0.1, 0.5), "supported", "adds to depth"),
        (
            (-0.1, 0.8),
            (0.9, 0.8),
            (0.1, 0.5),
            "inconclusive",
            "of the correlation is not",
        ),
        ((0.1, 0.8), (0.69, 0.6), (0.1, 0.5), "inconclusive", "AUROC is not above"),
        ((0.1, 0.8), (0.9, 0.8), (-0.1, 0.5), "inconclusive", "not shown to add"),
        ((0.1, 0.8), (0.9, 0.8), None, "inconclusive", "not shown to add"),
        ((-0.8, -0.1), (0.9, 0.8), (0.1, 0.5), "refuted", "correlation lies below 0"),
        ((0.1, 0.8), (0.5, 0.4), (0.1, 0.5), "refuted", "AUROC lies below"),
    ],
)
def test_h5_needs_all_three(correlation, auroc, partial, verdict, words):
    def made(ends):
        middle = sum(ends) / 2
        return intervals.Interval(middle, *ends, 6, "bootstrap-t", 0.95)

    estimate, low = auroc
    over = {
        "spearman": made(correlation),
        "auroc": intervals.Interval(
            estimate, low, 2 * estimate - low, 6, "bootstrap-t", 0.95
        ),
        "partial": made(partial) if partial else None,
    }
    found, reason = closeness._compare(over)
    assert found == verdict and words in reason


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (planted.study(), "Arms are missing"),
        (layers(falls, count=3), "at least 4 single layers"),
        (layers(falls, seeds=3), "of 10 seeds, 3 have"),
        (layers(falls, rmse=0.5), "is the same at every layer"),
        (layers(lambda rmse, *rest: 1.1 - 0.1 * rmse), "nothing to tell apart"),
        (layers(falls, before=0.25), "too little to lose"),
    ],
)
def test_h5_is_not_testable_without_what_it_needs(records, words):
    verdict = h5(records)
    assert verdict.verdict == "not testable" and words in verdict.reason
    assert verdict.p is None


def test_h5_needs_the_group_kernel():
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), groups=("bias",))
    assert "--groups leaves kernel out" in h5(layers(falls), spec).reason


def test_stages_serve_where_layers_were_not_measured():
    verdict = h5(layers(falls, site_kind="stage"))
    assert verdict.verdict == "supported" and "stage" in verdict.quantity


def told(rows, predictor, quantity, kind="layer"):
    (row,) = (
        row
        for row in rows
        if (row["predictor"], row["quantity"], row["site_kind"])
        == (predictor, quantity, kind)
    )
    return row


def test_predictors_are_told_with_the_sign_that_makes_closer_better():
    records = layers(falls)
    closer = {"relative_distance": 1, "output_error": 1, "cosine": -1, "cka": -1}
    records = [
        planted.record(
            r.retention, seed=r.seed, group="kernel", site_kind="layer", site=r.site,
            depth=r.depth, rmse=r.rmse, **{k: s * r.rmse for k, s in closer.items()},
        )
        for r in records
    ]  # fmt: skip
    rows = predictors.rows(parts(records), SPEC)
    first = told(rows, "-rmse", "spearman")
    assert first["mean"] > 0.8 and (first["sites"], first["n"]) == (12, SEEDS)
    for name in ("-relative_distance", "-output_error", "cosine", "cka"):
        assert told(rows, name, "spearman")["mean"] == pytest.approx(first["mean"])
    assert not [row for row in rows if row["predictor"] == "-z_rmse"]
    assert told(rows, predictors.BASELINE, "auroc")["n"] == SEEDS


def test_z_rmse_takes_out_what_two_networks_of_one_task_differ_by_at_a_layer():
    """RMSE itself tells only the layer's scale; against the null it tells all."""
    generator, records = np.random.default_rng(0), []
    for depth in range(8):
        site = {"site_kind": "layer", "site": f"layer_{depth}", "depth": depth}
        scale = 10.0 ** (depth % 4)
        for seed in range(4):
            away = generator.uniform(0, 2)
            fields = site | {"group": "kernel", "seed": seed}
            records.append(
                planted.record(1 - 0.2 * away, rmse=scale * (1 + away), **fields)
            )
            null = scale * (1 + 0.1 * (-1) ** seed)
            records.append(
                planted.record(0.5, rmse=null, control="other_seed", **fields)
            )
    rows = predictors.rows(parts(records), SPEC)
    assert told(rows, "-z_rmse", "spearman")["mean"] == pytest.approx(1)
    assert abs(told(rows, "-rmse", "spearman")["mean"]) < 0.6


def test_spearman_is_scipys_and_partial_takes_out_what_is_known():
    from scipy import stats

    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 20))
    y = np.round(y, 1)  # ties
    assert predictors.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    depth = np.arange(20.0)
    both = depth + 1e-3 * x, depth + 1e-3 * y
    assert predictors.spearman(*both) == pytest.approx(1)
    assert predictors.spearman(*both, covariates=[depth]) == 0  # nothing is left
    assert predictors.spearman(depth, np.ones(20)) is None
    assert predictors.spearman(x[:3], y[:3]) is None
    mixed = depth + 8 * x, depth + 8 * generator.normal(size=20)
    assert predictors.spearman(*mixed, covariates=[depth]) < predictors.spearman(*mixed)


def test_auroc_worked_by_hand():
    positive = np.array([True, True, False, False])
    # pairs: 3 > 1, 3 > 2, 1 = 1 (half), 1 < 2
    found = predictors.auroc(np.array([3.0, 1.0, 1.0, 2.0]), positive)
    assert found == pytest.approx(2.5 / 4)
    assert predictors.auroc(np.ones(2), np.array([True, True])) is None


def test_the_rule_is_learned_from_other_seeds_alone():
    """In each seed the sign is its own: a rule that saw the seed would score 1, this one 0."""
    cells = {}
    for seed, sign in enumerate((1, -1)):
        x = np.linspace(0, 1, 6)
        retention = (sign * x > sign * 0.5).astype(float)
        cells[seed] = {"x": x, "retention": retention}
    assert predictors.held_out_aurocs(cells, ("x",), 0.05) == {0: 0.0, 1: 0.0}


def test_a_threshold_is_tried_on_the_architecture_it_was_not_chosen_for():
    records = layers(falls) + layers(falls, architecture="pspnet", draw=1)
    rows = predictors.across_architectures(by_part(records), SPEC)
    found = [r for r in rows if r["quantity"] == "balanced_accuracy"]
    found = [r for r in found if r["predictor"] == "-rmse"]
    assert {row["architecture"] for row in found} == {"unet", "pspnet"}
    for row in found:
        assert row["mean"] > 0.9 and -0.65 < row["threshold"] < -0.45
    shifted = layers(lambda rmse, *rest: falls(rmse / 10, *rest), draw=2)
    shifted = [r for r in shifted if r.retention]  # all can be reused: no accuracy
    records = layers(falls, architecture="pspnet") + shifted
    rows = predictors.across_architectures(by_part(records), SPEC)
    assert not [r for r in rows if r["architecture"] == "unet"]
    verdict = h5(layers(falls) + layers(falls, architecture="pspnet", draw=1))
    assert any("chosen on the other architectures" in note for note in verdict.notes)


def test_one_architecture_has_nothing_to_try_a_threshold_on():
    assert predictors.across_architectures(by_part(layers(falls)), SPEC) == []


def groups(loss, seeds=4, count=10):
    """Affine, stats and kernels of single layers; `loss(group, size, generator)`."""
    generator, found = np.random.default_rng(0), []
    for depth in range(count):
        site = {"site_kind": "layer", "site": f"layer_{depth}", "depth": depth}
        for group in ("affine", "stats", "kernel"):
            for seed in range(seeds):
                size = generator.uniform(0.1, 3)
                of_map = (
                    0.0 if group == "kernel" else size
                )  # kernels leave a and c alone
                shifts = {"scale_shift": of_map, "offset_shift": of_map / 2}
                shifts["output_error"] = size
                value = 1 - loss(group, size, generator)
                found.append(
                    planted.record(value, seed=seed, group=group, **site, **shifts)
                )
    return found


def by_size(group, size, generator):
    return 0.3 * np.log1p(size) + 0.01 * generator.normal()


def test_a_loss_that_only_size_explains_leaves_no_group_effect():
    rows = magnitude.rows(parts(groups(by_size)), SPEC)
    told = {(row["magnitude"], row["group"]): row for row in rows}
    assert set(told) == {
        ("shifts", "stats"), ("output_error", "stats"), ("output_error", "kernel"),
    }  # fmt: skip
    assert {row["effect"] for row in rows} == {"vanishes"}
    assert {row["against"] for row in rows} == {"affine"}
    assert all(row["overlap"] > 0.8 for row in rows)


def test_a_group_effect_beyond_size_comes_back_as_planted():
    def loss(group, size, generator):
        return by_size(group, size, generator) + 0.2 * (group == "kernel")

    rows = magnitude.rows(parts(groups(loss)), SPEC)
    told = {(row["magnitude"], row["group"]): row for row in rows}
    assert told["output_error", "kernel"]["effect"] == "stays"
    assert told["output_error", "kernel"]["mean"] == pytest.approx(0.2, abs=0.02)
    assert told["output_error", "kernel"]["raw"] == pytest.approx(0.2, abs=0.08)
    assert told["shifts", "stats"]["effect"] == "vanishes"


def test_sizes_of_moves_that_were_not_recorded_give_no_rows():
    assert magnitude.rows(parts(layers(falls)), SPEC) == []


def test_the_interval_of_h5_is_over_seeds():
    records = layers(falls)
    cells = predictors.columns_by_seed(parts(records), "layer")
    by_seed = predictors.measures(cells, "-rmse", 0.05)["spearman"]
    effect = intervals.mean_interval(by_seed, bounds=DIFFERENCE)
    assert h5(records).effect == effect
    assert len(by_seed) == SEEDS
