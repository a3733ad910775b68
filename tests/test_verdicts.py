"""Verdicts on planted truths: what is true is supported, false refuted, unclear left open."""

import json

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import verdicts
from tfreuse.errors import InputError

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,))


def judged(records, spec=SPEC):
    return {one.hypothesis: one for one in verdicts.judge(records, spec)}


def with_group(group, values, **changes):
    """The study in which everything is true, but for one group."""
    return planted.study(planted.TRUE | {group: values}, **changes)


def test_all_four_claims_are_supported_where_they_are_true():
    found = judged(planted.study())
    assert [one.verdict for one in found.values()][:4] == ["supported"] * 4


@pytest.mark.parametrize(
    ("hypothesis", "group", "values"),
    [
        ("H1", "stats", (1.6, 1.55, 1.62)),
        ("H2", "affine", (0.5, 0.52, 0.48)),
        ("H3", "kernel", (0.9, 0.92, 0.88)),
        ("H4", "bias", (0.5, 0.52, 0.48)),
    ],
)
def test_a_claim_is_refuted_where_it_is_false(hypothesis, group, values):
    assert judged(with_group(group, values))[hypothesis].verdict == "refuted"


@pytest.mark.parametrize(
    ("hypothesis", "group", "values"),
    [
        ("H1", "stats", (0.2, 0.9, 0.5)),
        ("H2", "affine", (0.7, 1.0, 0.99)),
        ("H3", "kernel", (0.1, 0.8, 0.4)),
        ("H4", "bias", (0.7, 1.0, 0.99)),
    ],
)
def test_three_seeds_with_a_wide_spread_are_inconclusive(hypothesis, group, values):
    verdict = judged(with_group(group, values))[hypothesis]
    assert verdict.verdict == "inconclusive"
    assert any("would settle it" in note for note in verdict.notes)


def test_an_estimate_beyond_the_margin_does_not_suffice():
    # mean 0.97 >= 0.95, sd 0.02, standard error 0.011547, low = 0.97 - 4.30265 x 0.011547 = 0.9203
    verdict = judged(with_group("affine", (0.95, 0.97, 0.99)))["H2"]
    assert verdict.verdict == "inconclusive"
    assert verdict.effect.low == pytest.approx(0.9203, abs=1e-4)
    assert verdict.smallest_margin == pytest.approx(0.0797, abs=1e-4)
    # sd 0.02 against a distance of 0.02: t(n - 1) / sqrt(n) <= 1 first at n = 7 (2.4469 / 2.6458)
    assert any("about 7 seeds would settle it" in note for note in verdict.notes)


def test_the_smallest_margin_is_one_that_would_have_supported_the_claim():
    records = with_group("affine", (0.95, 0.97, 0.99))
    smallest = judged(records)["H2"].smallest_margin
    for margin, verdict in (
        (smallest * 1.01, "supported"),
        (smallest * 0.99, "inconclusive"),
    ):
        spec = specs.StudySpec(directions=(planted.TO_MASKS,), margin=margin)
        assert judged(records, spec)["H2"].verdict == verdict


def test_h1_pairs_by_seed_so_that_what_seeds_share_cancels():
    affine = (0.3, 0.6, 0.9)
    records = planted.study({"affine": affine, "stats": [v - 0.1 for v in affine]})
    effect = judged(records)["H1"].effect
    assert effect.estimate == pytest.approx(0.1)
    assert effect.high - effect.low < 1e-9


def test_h1_is_no_difference_where_both_are_harmless():
    records = planted.study(planted.TRUE | {"affine": (1.0,) * 3, "stats": (1.0,) * 3})
    verdict = judged(records)["H1"]
    assert verdict.verdict == "inconclusive"
    assert "is 0 for every seed" in verdict.reason


def test_biases_that_hardly_moved_make_h4_not_testable_and_are_quoted():
    changes = {"bias_shift": 0.0003, "bias_moved": 0.04}
    verdict = judged(with_group("bias", (1, 1, 1), **changes))["H4"]
    assert verdict.verdict == "not testable"
    assert "0.0003" in verdict.reason and "only 4.0%" in verdict.reason
    assert verdict.smallest_margin is None and verdict.p is None


def test_the_median_over_seeds_decides_whether_biases_moved():
    records = [
        planted.record(1.0, seed=seed, group="bias", bias_shift=shift)
        for seed, shift in enumerate((0.001, 0.02, 0.03))
    ]
    assert judged(records)["H4"].verdict == "supported"


@pytest.mark.parametrize(
    "changes", [{"bias_shift": None}, {"variables": 0, "changed": 0}]
)
def test_networks_without_biases_make_h4_not_testable(changes):
    verdict = judged(planted.arm((1, 1, 1), group="bias", **changes))["H4"]
    assert verdict.verdict == "not testable"
    assert " no " in verdict.reason


def test_a_recipient_near_its_floor_makes_every_claim_not_testable():
    records = planted.study()
    weak = [
        planted.record(0.5, seed=2, group=r.group, before=0.25)
        for r in records
        if r.seed == 2
    ]
    found = judged([r for r in records if r.seed != 2] + weak)
    assert {one.verdict for one in found.values()} == {"not testable"}
    assert "seed 2 is 0.05 above its floor" in found["H3"].reason


def test_a_recipient_at_its_floor_has_no_retention_and_is_no_crash():
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), minimum=0.0)
    found = judged(planted.study(before=0.2), spec)
    assert {one.verdict for one in found.values()} == {"not testable"}
    assert found["H3"].effect is None


@pytest.mark.parametrize("group", ["stats", "affine"])
def test_a_missing_arm_makes_h1_not_testable_and_is_named(group):
    records = [r for r in planted.study() if r.group != group]
    verdict = judged(records)["H1"]
    assert verdict.verdict == "not testable"
    assert "Arms are missing" in verdict.reason and f"with {group} of" in verdict.reason


def test_a_group_that_the_study_leaves_out_is_named():
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), groups=("kernel",))
    assert "--groups leaves bias out" in judged(planted.study(), spec)["H4"].reason


def test_a_seed_yet_to_come_makes_a_claim_not_testable_but_shows_what_there_is():
    verdict = judged([r for r in planted.study() if r.seed < 2])["H3"]
    assert verdict.verdict == "not testable"
    assert verdict.effect.n == verdict.n == 2


def test_equal_values_of_donor_and_recipient_prove_nothing():
    verdict = judged(with_group("affine", (1, 1, 1), changed=0))["H2"]
    assert verdict.verdict == "not testable"
    assert "same values" in verdict.reason


def test_only_plain_transfer_of_all_layers_counts():
    others = planted.arm((0, 0, 0), group="affine", control="reinitialised")
    others += planted.arm((0, 0, 0), group="affine", repair="recalibration")
    others += planted.arm(
        (0, 0, 0), group="affine", site_kind="stage", site="encoder_1"
    )
    assert judged(planted.study() + others)["H2"].verdict == "supported"


def test_an_absurd_reconstruction_counts_as_nothing_retained():
    """R2 of -50 in one seed would else hide that statistics broke the network in each of them."""
    records = with_group("stats", (-50.0, -0.4, -9.0), direction=planted.TO_IMAGES)
    spec = specs.StudySpec(directions=(planted.TO_IMAGES,))
    verdict = judged(records, spec)["H1"]
    assert verdict.unclipped.low < 0 < verdict.unclipped.high  # alone: inconclusive
    assert verdict.verdict == "supported"
    assert verdict.effect.estimate == pytest.approx(0.99)
    assert any(
        note.startswith("3 of 6 retentions are below 0") for note in verdict.notes
    )


def test_how_far_below_nothing_two_wrecks_lie_is_no_evidence():
    records = planted.study(
        planted.TRUE | {"stats": (-50.0, -48.0, -52.0), "affine": (-2.0, -2.1, -1.9)}
    )
    verdict = judged(records)["H1"]
    assert verdict.unclipped.low > 0
    assert verdict.verdict == "inconclusive"


def test_retention_above_one_is_left_as_it_is():
    assert judged(with_group("affine", (1.3, 1.3, 1.3)))[
        "H2"
    ].effect.estimate == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        ((0.5, 0.52, 0.48), "better than resetting"),
        ((0.99, 0.985, 0.99), "not shown to be better than resetting"),
        ((1.1, 1.09, 1.11), "worse than resetting"),
        (None, "Not measured: resetting"),
    ],
)
def test_h2_is_held_against_resetting(defaults, words):
    control = (
        planted.arm(defaults, group="affine", control="defaults") if defaults else []
    )
    assert words in judged(planted.study() + control)["H2"].notes[0]


@pytest.mark.parametrize(
    ("same_task", "words"),
    [
        ((0.06, 0.03, 0.07), "it fails too"),
        ((0.95, 0.97, 0.96), "part of the loss is task related"),
        ((0.1, 0.9, 0.2), "stays open"),
        (None, "Not measured: a donor of the same task"),
    ],
)
def test_h3_is_held_against_a_donor_of_the_same_task(same_task, words):
    control = (
        planted.arm(same_task, group="kernel", control="other_seed")
        if same_task
        else []
    )
    assert words in judged(planted.study() + control)["H3"].notes[0]


@pytest.mark.parametrize(("hypothesis", "group"), [("H1", "stats"), ("H3", "kernel")])
def test_recalibration_is_told_beside_h1_and_h3(hypothesis, group):
    without = judged(planted.study())[hypothesis].notes
    assert f"Not measured: {group} after recalibration." in without
    repaired = planted.arm((1, 0.999, 1), group=group, repair="recalibration")
    notes = judged(planted.study() + repaired)[hypothesis].notes
    assert any(
        f"After recalibration retention({group}) is 1.00" in note for note in notes
    )


def test_three_seeds_are_said_to_be_too_few_for_a_sign_flip_test_and_six_are_not():
    few = judged(planted.study())["H3"].notes
    assert any("n = 3 cannot reach p < 0.05" in note and "0.25" in note for note in few)
    records = planted.arm((0.05, 0.02, 0.08, 0.04, 0.03, 0.06), group="kernel")
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6)
    assert not any("cannot reach" in note for note in judged(records, spec)["H3"].notes)


def test_holm_counts_every_verdict_that_has_a_p():
    found = judged(planted.study())
    assert found.pop("H5").p_holm is None  # not tested: these are arms of all layers
    smallest = min(found.values(), key=lambda one: one.p)
    assert smallest.p_holm == pytest.approx(4 * smallest.p)
    assert any("after Holm's correction for 4 tests" in note for note in smallest.notes)


def test_a_p_that_holm_takes_away_is_told():
    # affine .50 .60 .75: mean .6167, standard error .0726. H1: .3167 / .0726 = 4.36, p = .049;
    # H2: (.6167 - .95) / .0726 = -4.59, p = .044. Holm: 2 x .044 = .089, at least that for both.
    records = planted.study({"affine": (0.5, 0.6, 0.75), "stats": (0.3, 0.3, 0.3)})
    found = judged(records)
    for name, p in (("H1", 0.0488), ("H2", 0.0443)):
        assert found[name].p == pytest.approx(p, abs=2e-3)
        assert found[name].p_holm == pytest.approx(2 * 0.0443, abs=4e-3)
        assert (
            found[name]
            .notes[-1]
            .endswith("no longer below 0.05: read it as exploratory.")
        )


def test_verdicts_come_for_every_architecture_and_direction_in_order():
    records = planted.study(architecture="unet") + planted.study(architecture="pspnet")
    found = verdicts.judge(records, specs.StudySpec())
    assert [(one.architecture, one.direction) for one in found[::5]] == [
        ("pspnet", planted.TO_MASKS),
        ("pspnet", planted.TO_IMAGES),
        ("unet", planted.TO_MASKS),
        ("unet", planted.TO_IMAGES),
    ]
    assert [one.hypothesis for one in found[:5]] == ["H1", "H2", "H3", "H4", "H5"]
    assert found[5].verdict == "not testable"  # no records of that direction


def test_two_records_of_one_arm_and_seed_are_an_error():
    with pytest.raises(InputError, match="expected one record"):
        judged(planted.study() + [planted.record(0.5, group="kernel")])


def test_verdicts_are_plain_json_even_with_infinite_ends():
    found = verdicts.judge([planted.record(0.5, group="kernel")], SPEC)
    text = json.dumps([one.to_json() for one in found], allow_nan=False)
    assert json.loads(text)[2]["effect"]["low"] is None


def test_random_noise_is_seldom_called_a_difference():
    """300 studies in which affine and stats are alike: at most 5 % may be decided, 9 % by luck."""
    generator, decided = np.random.default_rng(0), 0
    for _ in range(300):
        affine, stats = generator.normal(0.7, 0.1, (2, 3))
        verdict = judged(planted.study({"affine": affine, "stats": stats}))["H1"]
        decided += verdict.verdict != "inconclusive"
    assert decided / 300 < 0.09


def test_a_margin_that_the_spread_cannot_meet_is_told_with_the_seeds_it_takes():
    verdict = judged(with_group("affine", (0.7, 1.0, 0.99)))["H2"]
    # sd .1704: t(n - 1) x .1704 / sqrt(n) <= .05 first at n = 48 (2.0117 x .1704 / 6.928 = .0495)
    told = "a margin of 0.05 takes about 48 seeds even where nothing is lost"
    assert any(told in note for note in verdict.notes)


def test_h1_is_told_for_the_other_links():
    spec = specs.StudySpec(
        directions=(planted.TO_MASKS,), links=("independent", "same")
    )
    same = planted.TRUE | {"stats": (0.99, 0.98, 1.0)}
    records = planted.study() + planted.study(same, link="same")
    first, second = (
        one for one in verdicts.judge(records, spec) if one.hypothesis == "H1"
    )
    assert any("0.00 [0.00, 0.00] with the link same" in note for note in first.notes)
    assert any("with the link independent, n = 3" in note for note in second.notes)
    alone = judged(planted.study())["H1"].notes
    assert any("the same with another link than independent" in one for one in alone)


def test_h4_names_the_networks_for_which_it_can_be_tested():
    still = {"bias_shift": 0.0003, "bias_moved": 0.0}
    records = planted.study(**still) + planted.study(architecture="unet:no_norm")
    found = [one for one in verdicts.judge(records, SPEC) if one.hypothesis == "H4"]
    assert [one.verdict for one in found] == ["not testable", "supported"]
    assert "unet:no_norm" in found[0].notes[-1]
    assert "supported" in found[0].notes[-1]
    assert not any("Tested where" in note for note in found[1].notes)


def moved(gap, spread=0.01, shift=1.0):
    """Affine and stats at 8 layers: losses grow with the shift, stats' by `gap` more."""
    generator, found = np.random.default_rng(0), []
    for layer in range(8):
        for group, more, factor in (("affine", 0, 1), ("stats", gap, shift)):
            for seed in range(3):
                size = factor * (1 + layer % 4) * generator.uniform(0.5, 1.5)
                loss = 0.2 * np.log1p(size) + more + spread * generator.normal()
                site = {"site": f"layer_{layer}", "depth": layer, "group": group}
                sizes = {"scale_shift": size, "offset_shift": generator.uniform()}
                one = planted.record(
                    1 - loss, seed=seed, site_kind="layer", **site, **sizes
                )
                found.append(one)
    return found


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (moved(0.0), "the size of the move explains the difference"),
        (moved(0.3), "the kind of parameter matters beyond the size"),
        (moved(0.05, spread=0.15), "stays open"),
        (moved(0.0, shift=100.0), "kind and size cannot be told apart"),
        ([], "Not measured: stats and affine moved equally far"),
    ],
)
def test_h1_is_told_at_equal_size_of_the_move(records, words):
    assert words in judged(planted.study() + records)["H1"].notes[1]
