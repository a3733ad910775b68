"""What losses are made of, on planted records: every part comes back as it was planted."""

import itertools
import math

import numpy as np
import planted
import pytest

from tfreuse import roles, specs
from tfreuse.analysis import ladder, reasons, shapley
from tfreuse.analysis.arms import by_part

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=4)
STAGE = {"site_kind": "stage", "site": "encoder_1", "depth": 0}
NOISE = np.array([0.01, -0.005, 0.0, -0.005])  # of four seeds, mean 0


def parts(records):
    """The arms of the only part."""
    (found,) = by_part(records).values()
    return found


def cell(donor, random, spread=NOISE, **changes):
    """Donor and two draws of the norm-matched control, which lie 0.02 to each side."""
    site = STAGE | {"group": "kernel"} | changes
    found = planted.arm(donor + spread, **site)
    for draw, away in enumerate((0.02, -0.02)):
        values = random + away + spread[::-1]
        found += planted.arm(values, control="matched", draw=draw, **site)
    return found


@pytest.mark.parametrize(
    ("donor", "random", "reason"),
    [
        (0.99, 0.98, "small difference"),
        (0.98, 0.40, "general features"),
        (0.99, 0.90, "general features"),  # random values do some harm
        (0.60, 0.20, "general features"),
        (0.30, 0.30, "neither"),
        (0.10, 0.50, "neither"),  # worse than random
        (0.325, 0.30, "neither"),  # better, but by less than the margin
        (0.95, 0.95, "open"),
    ],
)
def test_the_two_reasons_are_told_apart(donor, random, reason):
    (row,) = reasons.rows(parts(cell(donor, random)), SPEC)
    assert row["reason"] == reason and reason in reasons.REASONS
    assert row["mean"] == pytest.approx(donor - random)
    assert row["donor_mean"] == pytest.approx(donor)
    assert row["random_mean"] == pytest.approx(random)
    assert (row["n"], row["draws"], row["relative_distance"]) == (4, 2, 1.0)
    assert {key: row[key] for key in STAGE} == STAGE


def test_a_wide_spread_leaves_the_reason_open_and_tells_the_seeds_needed():
    wide = np.array([0.3, -0.1, 0.0, -0.2])
    (row,) = reasons.rows(parts(cell(0.8, 0.6, wide)), SPEC)
    assert row["reason"] == "open"
    # donor - random by seed: .2 + (.3 + .2, -.1 - 0, 0 + .1, -.2 - .3) = .7 .1 .3 -.3: sd .4163.
    # t(n - 1) x .4163 / sqrt(n) <= .2 first at n = 20 (2.093 x .4163 / 4.472 = .1948)
    assert row["needed_n"] == 20


def test_the_seeds_needed_are_those_of_the_condition_that_takes_most():
    """Both at 0.97, of which 0.02 is to spare; the donor spreads least."""
    site = STAGE | {"group": "kernel"}
    narrow, wide = np.array([1, -1, 1, -1]) * 0.02, np.array([1, 1, -1, -1]) * 0.04
    records = planted.arm(0.97 + narrow, **site)
    records += planted.arm(0.97 + wide, control="matched", **site)
    (row,) = reasons.rows(parts(records), SPEC)
    assert row["reason"] == "open"
    # sd .0462 (random): t(n - 1) x .0462 / sqrt(n) <= .02 first at n = 23 (2.0739 / 4.7958);
    # sd .0231 (donor): first at n = 8
    assert row["needed_n"] == 23


def test_reasons_come_only_where_random_values_were_tried():
    assert reasons.rows(parts(planted.study()), SPEC) == []


def test_absurd_images_count_as_nothing_retained_in_the_reasons():
    (row,) = reasons.rows(parts(cell(-50.0, -3.0)), SPEC)
    assert (row["mean"], row["donor_high"], row["reason"]) == (0.0, 0.0, "neither")


def test_excess_is_paired_by_seed():
    shared = np.array([0.0, 0.1, 0.2, 0.3])
    site = STAGE | {"group": "kernel"}
    records = planted.arm(0.2 + shared, **site)
    records += planted.arm(0.5 + shared, control="other_seed", **site)
    (row,) = reasons.excess(parts(records), SPEC)
    assert row["mean"] == pytest.approx(0.3)
    assert row["high"] - row["low"] < 1e-9
    assert row["same_task_mean"] == pytest.approx(0.65)


def unions(loss, site=STAGE, players=shapley.PLAYERS, seeds=3, names=None):
    """All unions of the players, each with the loss that `loss(union, seed)` tells."""
    sizes = {"kernel": 1000, "bias": 10, "gamma": 10, "beta": 10, "stats": 20}
    found = []
    for count in range(1, len(players) + 1):
        for chosen in itertools.combinations(players, count):
            name = "+".join(chosen)
            found += planted.arm(
                [1 - loss(set(chosen), seed) for seed in range(seeds)],
                group=(names or {}).get(name, name),
                parameters=sum(sizes[one] for one in chosen),
                **site,
            )
    return found


def by_group(rows, quantity):
    return {row["group"]: row for row in rows if row["quantity"] == quantity}


def test_shapley_values_of_an_additive_loss_are_its_parts_and_nothing_interacts():
    own = {"kernel": 0.4, "bias": 0.0, "gamma": 0.1, "beta": 0.05, "stats": 0.2}
    records = unions(lambda chosen, seed: sum(own[one] for one in chosen) + 0 * seed)
    rows = shapley.rows(parts(records), SPEC)
    values = by_group(rows, "value")
    assert {name: row["mean"] for name, row in values.items()} == pytest.approx(own)
    pairs = by_group(rows, "interaction")
    assert len(pairs) == 10
    assert all(abs(row["mean"]) < 1e-12 for row in pairs.values())


def test_shapley_of_kernels_that_need_their_statistics():
    """Worked by hand: kernel alone .6, stats alone .4, both .2; the others do nothing."""

    def loss(chosen, seed):
        kernel, stats = "kernel" in chosen, "stats" in chosen
        return 0.2 if kernel and stats else 0.6 * kernel + 0.4 * stats

    rows = shapley.rows(parts(unions(loss)), SPEC)
    values = by_group(rows, "value")
    # half the orders move kernel first: (.6 + (.2 - .4)) / 2 = .2; stats (.4 + (.2 - .6)) / 2
    assert values["kernel"]["mean"] == pytest.approx(0.2)
    assert values["stats"]["mean"] == pytest.approx(0.0)
    pairs = by_group(rows, "interaction")
    assert pairs["kernel+stats"]["mean"] == pytest.approx(0.2 - 0.6 - 0.4)
    assert (pairs["kernel+stats"]["first"], pairs["kernel+stats"]["second"]) == (
        "kernel",
        "stats",
    )
    assert pairs["kernel+bias"]["mean"] == pytest.approx(0)


def test_shapley_values_sum_to_the_total_loss_for_any_game():
    drawn = np.random.default_rng(0).uniform(-0.2, 1.0, (3, 32))

    def loss(chosen, seed):
        return drawn[seed, sum(2 ** shapley.PLAYERS.index(one) for one in chosen)]

    names = {
        "gamma+beta": "affine",
        "gamma+beta+stats": "bn",
        "kernel+bias": "conv",
        "kernel+bias+gamma+beta+stats": "all",
    }
    rows = shapley.rows(parts(unions(loss, names=names)), SPEC)
    (total,) = by_group(rows, "total").values()
    assert total["mean"] == pytest.approx(drawn[:, 31].mean(), abs=1e-12)
    summed = sum(row["mean"] for row in by_group(rows, "value").values())
    assert summed == pytest.approx(total["mean"], abs=1e-12)
    assert total["n"] == 3 and total["low"] < total["mean"] < total["high"]


def test_roles_that_a_network_does_not_have_get_nothing():
    own = {"kernel": 0.5, "bias": 0.1}
    records = unions(
        lambda chosen, seed: sum(own[one] for one in chosen) + 0.01 * seed,
        players=("kernel", "bias"),
        names={"kernel+bias": "all"},
    )
    rows = shapley.rows(parts(records), SPEC)
    values = by_group(rows, "value")
    assert {name for name, row in values.items() if row["absent"]} == {
        "gamma",
        "beta",
        "stats",
    }
    assert values["gamma"]["mean"] == pytest.approx(0, abs=1e-12)
    assert values["kernel"]["mean"] == pytest.approx(0.505)
    assert list(by_group(rows, "interaction")) == ["kernel+bias"]


def test_a_group_with_an_absent_role_is_the_union_without_it():
    players = ("kernel", "gamma", "beta", "stats")
    records = unions(lambda chosen, seed: 0.1 * len(chosen), players=players)
    records += planted.arm((0.9,) * 3, group="conv", parameters=1000, **STAGE)
    values = by_group(shapley.rows(parts(records), SPEC), "value")
    assert values["bias"]["absent"] and values["kernel"]["mean"] == pytest.approx(0.1)


def test_half_of_the_statistics_is_no_player():
    records = unions(lambda chosen, seed: 0.1 * len(chosen))
    records += planted.arm((0.2,) * 3, group="moving_mean", parameters=10, **STAGE)
    records += planted.arm(
        (0.2,) * 3, group="kernel+moving_mean", parameters=1010, **STAGE
    )
    values = by_group(shapley.rows(parts(records), SPEC), "value")
    assert values["stats"]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize("missing", ["bias", "kernel+stats", "all"])
def test_a_site_without_all_unions_is_left_out(missing):
    names = {"kernel+bias+gamma+beta+stats": "all"}
    records = unions(lambda chosen, seed: 0.1 * len(chosen), names=names)
    records += unions(
        lambda chosen, seed: 0.1 * len(chosen), STAGE | {"site": "encoder_2"}
    )
    records = [r for r in records if (r.site, r.group) != ("encoder_1", missing)]
    rows = shapley.rows(parts(records), SPEC)
    assert {row["site"] for row in rows} == {"encoder_2"}


def test_an_ordinary_study_has_no_shapley_values():
    assert shapley.rows(parts(planted.study()), SPEC) == []


def rungs(raw, recalibrated, both, noise=NOISE, **changes):
    site = STAGE | {"group": "kernel"} | changes
    found = planted.arm(raw + noise, **site)
    found += planted.arm(recalibrated + noise, repair="recalibration", **site)
    if both is not None:
        repair = "permutation+recalibration"
        found += planted.arm(both + noise, repair=repair, **site)
        found += planted.arm(raw + noise, repair="permutation", **site)
    return found


def steps(rows, quantity):
    return {row["step"]: row for row in rows if row["quantity"] == quantity}


def test_the_shares_of_a_loss_are_those_that_were_planted_and_sum_to_one():
    rows = ladder.rows(parts(rungs(0.2, 0.4, 0.8)), SPEC)
    shares = steps(rows, "share")
    told = {step: row["mean"] for step, row in shares.items()}
    assert told == pytest.approx(
        {"statistics": 0.25, "permutation": 0.5, "features": 0.25}
    )
    assert math.fsum(told.values()) == pytest.approx(1)
    assert {row["outcome"] for row in rows} == {"lost"}
    assert shares["statistics"]["method"] == "Fieller"
    assert steps(rows, "level")["recalibration"]["mean"] == pytest.approx(0.4)


def test_without_permutation_what_recalibration_leaves_is_one_share():
    rows = ladder.rows(parts(rungs(0.2, 0.4, None)), SPEC)
    shares = {step: row["mean"] for step, row in steps(rows, "share").items()}
    assert shares == pytest.approx(
        {"statistics": 0.25, "permutation and features": 0.75}
    )


def test_shares_of_next_to_nothing_are_not_told():
    rows = ladder.rows(parts(rungs(0.97, 0.99, 1.0)), SPEC)
    assert {row["outcome"] for row in rows} == {"nothing lost"}
    assert not steps(rows, "share") and len(steps(rows, "level")) == 4


def test_shares_of_a_loss_that_may_be_none_have_no_ends():
    noise = np.array([0.3, -0.3, 0.1, -0.1])
    rows = ladder.rows(parts(rungs(0.85, 0.9, 0.95, noise)), SPEC)
    assert {row["outcome"] for row in rows} == {"loss not shown"}
    assert steps(rows, "share")["statistics"]["high"] == math.inf


def test_a_stitch_is_held_against_a_stitch_of_fresh_values():
    site = STAGE | {"group": "kernel"}
    records = rungs(0.2, 0.4, 0.8)
    records += planted.arm(0.9 + NOISE, repair="stitch", **site)
    records += planted.arm(
        0.7 + NOISE, repair="stitch", control="reinitialised", **site
    )
    rows = ladder.rows(parts(records), SPEC)
    assert steps(rows, "difference")["stitch"]["mean"] == pytest.approx(0.2)
    levels = {
        row["control"]: row["mean"]
        for row in rows
        if (row["quantity"], row["step"]) == ("level", "stitch")
    }
    assert levels == pytest.approx({"transfer": 0.9, "reinitialised": 0.7})


def test_players_are_all_roles_once():
    found = [role for name in shapley.PLAYERS for role in roles.expand(name)]
    assert sorted(found) == sorted(roles.ROLES)
