"""Shapley values and interactions: of games worked by hand, and of absent roles."""

import itertools

import numpy as np
import planted
import pytest

from tfreuse import roles, specs
from tfreuse.analysis import shapley

SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=4)
STAGE = {"site_kind": "stage", "site": "encoder_1", "depth": 0}


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
    rows = shapley.rows(planted.only_part(records), SPEC)
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

    rows = shapley.rows(planted.only_part(unions(loss)), SPEC)
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
    rows = shapley.rows(planted.only_part(unions(loss, names=names)), SPEC)
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
    rows = shapley.rows(planted.only_part(records), SPEC)
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
    values = by_group(shapley.rows(planted.only_part(records), SPEC), "value")
    assert values["bias"]["absent"] and values["kernel"]["mean"] == pytest.approx(0.1)


def test_half_of_the_statistics_is_no_player():
    records = unions(lambda chosen, seed: 0.1 * len(chosen))
    records += planted.arm((0.2,) * 3, group="moving_mean", parameters=10, **STAGE)
    records += planted.arm(
        (0.2,) * 3, group="kernel+moving_mean", parameters=1010, **STAGE
    )
    values = by_group(shapley.rows(planted.only_part(records), SPEC), "value")
    assert values["stats"]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize("missing", ["bias", "kernel+stats", "all"])
def test_a_site_without_all_unions_is_left_out(missing):
    names = {"kernel+bias+gamma+beta+stats": "all"}
    records = unions(lambda chosen, seed: 0.1 * len(chosen), names=names)
    records += unions(
        lambda chosen, seed: 0.1 * len(chosen), STAGE | {"site": "encoder_2"}
    )
    records = [r for r in records if (r.site, r.group) != ("encoder_1", missing)]
    rows = shapley.rows(planted.only_part(records), SPEC)
    assert {row["site"] for row in rows} == {"encoder_2"}


def test_an_ordinary_study_has_no_shapley_values():
    assert shapley.rows(planted.only_part(planted.study()), SPEC) == []


def test_players_are_all_roles_once():
    found = [role for name in shapley.PLAYERS for role in roles.expand(name)]
    assert sorted(found) == sorted(roles.ROLES)
