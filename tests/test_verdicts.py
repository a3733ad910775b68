"""Verdicts on planted truths: what is true is supported, false refuted, unclear left open."""

import json

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import caveats, verdicts
from tfreuse.errors import InputError

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,))
# Six seeds of which every claim is true; the margin is one that six seeds can show.
WIDE = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6, margin=0.5)
CLEAR = {
    "kernel": (0.01, 0.0, 0.02, 0.0, 0.01, 0.0),
    "bias": (1.0, 0.995, 1.002, 1.0, 1.0, 0.99),
    "affine": (0.99, 0.98, 1.0, 1.0, 0.99, 1.0),
    "stats": (0.0, 0.02, 0.0, 0.01, 0.0, 0.0),
}


def judged(records, spec=SPEC):
    return {one.hypothesis: one for one in verdicts.judge(records, spec)}


def with_group(group, values, **changes):
    """The study in which everything is true, but for one group."""
    return planted.study(planted.TRUE | {group: values}, **changes)


def test_all_four_claims_are_supported_where_they_are_true():
    found = judged(planted.study(CLEAR), WIDE)
    assert [one.verdict for one in found.values()][:4] == ["supported"] * 4


@pytest.mark.parametrize(
    ("hypothesis", "group", "values"),
    [
        ("H1", "stats", (1.6, 1.55, 1.62, 1.0, 1.0, 1.0)),
        ("H2", "affine", (0.02, 0.05, 0.0, 0.0, 0.0, 0.01)),
        ("H3", "kernel", (0.99, 0.98, 1.1, 1.0, 1.0, 1.0)),
        ("H4", "bias", (0.02, 0.05, 0.0, 0.0, 0.0, 0.01)),
    ],
)
def test_a_claim_is_refuted_where_it_is_false(hypothesis, group, values):
    affine = {"affine": (0.0,) * 6} if hypothesis == "H1" else {}
    false = planted.study(CLEAR | affine | {group: values})
    assert judged(false, WIDE)[hypothesis].verdict == "refuted"


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
    """Three seeds of 0.95 to 0.99: of three at 1 already the mean may be .025^(1/3) = 0.29."""
    verdict = judged(with_group("affine", (0.95, 0.97, 0.99)))["H2"]
    assert verdict.verdict == "inconclusive"
    assert 0.97 * 0.29 < verdict.effect.low < 0.99 * 0.293
    assert verdict.smallest_margin == pytest.approx(1 - verdict.effect.low)


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
    equal = planted.study({"affine": (0.6,) * 3, "stats": (0.5,) * 3})
    effect, same = (judged(study)["H1"].effect for study in (records, equal))
    assert effect.estimate == pytest.approx(0.1)
    assert (effect.low, effect.high) == pytest.approx((same.low, same.high))


def test_equal_seeds_are_no_certainty():
    """Three seeds at 0 leave room for a mean of 1 - .025^(1/3); six decide H3."""
    few = judged(planted.study({"kernel": (0.0,) * 3}))["H3"]
    assert few.verdict == "inconclusive"
    assert few.effect.high == pytest.approx(1 - 0.025 ** (1 / 3))
    assert "n = 3 cannot settle it" in few.reason and "it takes 6" in few.reason
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6)
    six = judged(planted.study({"kernel": (0.0,) * 6}), spec)["H3"]
    assert six.verdict == "supported" and six.p == pytest.approx(2 / 64)


@pytest.mark.parametrize(
    ("n", "difference", "verdict"),
    [(3, 0.0, "inconclusive"), (80, 0.0, "no difference"), (80, 0.3, "supported")],
)
def test_h1_is_no_difference_where_many_seeds_show_that(n, difference, verdict):
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=n)
    values = {"affine": (1.0,) * n, "stats": (1.0 - difference,) * n}
    found = judged(planted.study(values), spec)["H1"]
    assert found.verdict == verdict
    assert (found.p < 0.05) == (verdict == "supported")


def test_biases_that_all_stand_still_make_h4_not_testable_and_are_quoted():
    changes = {"bias_shift": 0.0003, "bias_moved": 0.0}
    verdict = judged(with_group("bias", (1, 1, 1), **changes))["H4"]
    assert verdict.verdict == "not testable"
    assert "0.0003" in verdict.reason and "none by 0.01" in verdict.reason
    assert verdict.smallest_margin is None and verdict.p is None


def test_the_few_biases_that_move_are_judged_by_themselves():
    """A median of nothing once hid that the 15 % behind no batch normalization retain .3."""
    still = {"bias_shift": 0.0003, "bias_moved": 0.15}
    layers = [
        one
        for site, moved in (("decoder_up", 0.9), ("encoder_conv", 0.0))
        for one in planted.arm(
            (0.3, 0.1, 0.2),
            group="bias",
            site_kind="layer",
            site=site,
            bias_moved=moved,
        )
    ]
    verdict = judged(with_group("bias", (0.3, 0.1, 0.2), **still) + layers)["H4"]
    assert verdict.verdict == "refuted"
    (note,) = (note for note in verdict.notes if note.startswith("Judged by"))
    assert "15.0%" in note and "the claim is not testable" in note
    assert "decoder_up" in note and "encoder_conv" not in note


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
    assert judged(planted.study(CLEAR) + others, WIDE)["H2"].verdict == "supported"


def test_an_absurd_reconstruction_counts_as_nothing_retained():
    """R2 of -50 in one seed would else hide that statistics broke the network in each of them."""
    values = CLEAR | {"stats": (-50.0, -0.4, -9.0, -1.0, -30.0, -0.1)}
    records = planted.study(values, direction=planted.TO_IMAGES)
    spec = specs.StudySpec(directions=(planted.TO_IMAGES,), seeds=6)
    verdict = judged(records, spec)["H1"]
    assert verdict.unclipped.low < 1 < verdict.unclipped.high
    assert verdict.verdict == "supported"
    assert verdict.effect.estimate == pytest.approx(0.9933, abs=1e-4)
    assert any(
        note.startswith("6 of 12 retentions are below 0") for note in verdict.notes
    )


def test_how_far_below_nothing_two_wrecks_lie_is_no_evidence():
    records = planted.study(
        planted.TRUE | {"stats": (-50.0, -48.0, -52.0), "affine": (-2.0, -2.1, -1.9)}
    )
    verdict = judged(records)["H1"]
    assert verdict.unclipped.low > 0
    assert verdict.verdict == "inconclusive"


def test_retention_above_one_counts_as_nothing_lost_and_is_told():
    verdict = judged(with_group("affine", (1.3, 1.3, 1.2)))["H2"]
    assert verdict.effect.estimate == 1
    assert verdict.unclipped.estimate == pytest.approx(3.8 / 3)
    assert any("3 of 3 retentions are above 1" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        ((0.0, 0.01, 0.0, 0.02, 0.0, 0.0), "better than resetting"),
        ((0.99, 0.985, 0.99, 1.0, 1.0, 1.0), "not shown to be better than resetting"),
        (None, "Not measured: resetting"),
    ],
)
def test_h2_is_held_against_resetting(defaults, words):
    control = (
        planted.arm(defaults, group="affine", control="defaults") if defaults else []
    )
    assert words in judged(planted.study(CLEAR) + control, WIDE)["H2"].notes[0]


@pytest.mark.parametrize(
    ("same_task", "words"),
    [
        ((0.0, 0.0, 0.01, 0.0, 0.0, 0.02), "it fails too"),
        ((0.99, 0.98, 1.0, 1.0, 1.0, 1.0), "part of the loss is task related"),
        ((0.1, 0.9, 0.2, 0.4, 0.5, 0.1), "stays open"),
        (None, "Not measured: a donor of the same task"),
    ],
)
def test_h3_is_held_against_a_donor_of_the_same_task(same_task, words):
    control = (
        planted.arm(same_task, group="kernel", control="other_seed")
        if same_task
        else []
    )
    assert words in judged(planted.study(CLEAR) + control, WIDE)["H3"].notes[0]


@pytest.mark.parametrize(
    ("hypothesis", "group"),
    [("H1", "stats"), ("H2", "affine"), ("H3", "kernel"), ("H4", "bias")],
)
def test_a_verdict_says_what_recalibration_wins_back(hypothesis, group):
    without = judged(planted.study())[hypothesis].notes
    assert f"Not measured: {group} after recalibration." in without
    repaired = planted.arm((1, 0.999, 1), group=group, repair="recalibration")
    notes = judged(planted.study() + repaired)[hypothesis].notes
    assert any(
        f"After recalibration retention({group}) is 1.00" in note for note in notes
    )


def test_holm_counts_every_verdict_that_has_a_p():
    found = judged(planted.study(CLEAR), WIDE)
    assert found.pop("H5").p_holm is None  # not tested: these are arms of all layers
    smallest = min(found.values(), key=lambda one: one.p)
    assert smallest.p_holm == pytest.approx(4 * smallest.p)
    assert any("after Holm's correction for 4 tests" in note for note in smallest.notes)


def test_a_p_that_holm_takes_away_is_told():
    """Six seeds reach 2 / 64 at best for H1 and H3: two tests make it 0.0625."""
    spec = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=6)
    values = {"affine": (1.0,) * 6, "stats": (0.0,) * 6, "kernel": (0.0,) * 6}
    found = judged(planted.study(values), spec)
    for name in ("H1", "H3"):
        assert found[name].p == pytest.approx(1 / 32)
        assert found[name].p_holm > 0.05
        note = found[name].notes[-1]
        assert note.endswith("no longer below 0.05: read it as exploratory.")


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
    assert json.loads(text)[2]["unclipped"]["low"] is None


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (3, ["H1, H3 cannot be supported (that takes 6 seeds)",
             "H2, H4 cannot be supported (that takes 72 seeds)", "0.71 of the range"]),
        (6, ["H2, H4 cannot be supported (that takes 72 seeds)", "0.46 of the range"]),
        (72, []),
    ],
)  # fmt: skip
def test_what_the_number_of_seeds_cannot_show_is_said_at_once(seeds, words):
    told = caveats.few_seeds(specs.StudySpec(seeds=seeds))
    assert all(word in told for word in words) and bool(told) == bool(words)


def test_h1_is_told_for_the_other_links():
    spec = specs.StudySpec(
        directions=(planted.TO_MASKS,), links=("independent", "same")
    )
    same = planted.TRUE | {"stats": planted.TRUE["affine"]}
    records = planted.study() + planted.study(same, link="same")
    first, second = (
        one for one in verdicts.judge(records, spec) if one.hypothesis == "H1"
    )
    assert any("0.00 [−0.71, 0.71] with the link same" in note for note in first.notes)
    assert any("with the link independent, n = 3" in note for note in second.notes)
    alone = judged(planted.study())["H1"].notes
    assert any("the same with another link than independent" in one for one in alone)


def test_h4_names_the_networks_for_which_it_can_be_tested():
    still = {"bias_shift": 0.0003, "bias_moved": 0.0}
    records = planted.study(CLEAR, **still)
    records += planted.study(CLEAR, architecture="unet:no_norm")
    found = [one for one in verdicts.judge(records, WIDE) if one.hypothesis == "H4"]
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
