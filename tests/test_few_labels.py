"""Recipes and subsets: hand-worked cases and laws; no TensorFlow."""

import dataclasses

import numpy as np
import pytest

from tfreuse.errors import InputError
from tfreuse.few_labels import subsets
from tfreuse.few_labels.recipes import CATALOGUE, Recipe

# class 0 in all images, class 1 in half of them, class 2 in image 4 alone
HISTOGRAM = np.array([[9, 1, 0], [9, 0, 0], [8, 2, 0], [9, 0, 0], [5, 1, 4], [9, 0, 0]])


def test_no_two_recipes_of_the_catalogue_mean_the_same():
    assert sum(recipe.advised for recipe in CATALOGUE.values()) <= 12
    assert all(name == recipe.name for name, recipe in CATALOGUE.items())
    meanings = {dataclasses.astuple(recipe)[1:] for recipe in CATALOGUE.values()}
    assert len(meanings) == len(CATALOGUE)
    assert len({recipe.describe() for recipe in CATALOGUE.values()}) == len(CATALOGUE)


def test_a_recipe_says_in_one_sentence_what_it_does():
    assert CATALOGUE["scratch"].describe() == (
        "Starts from fresh values and trains everything."
    )
    assert CATALOGUE["encoder_frozen"].describe() == (
        "Takes everything of the encoder (every stage before the decoder) and trains only "
        "what was not taken; they compute with the donor's statistics, in training too."
    )
    assert CATALOGUE["kernels"].describe() == (
        "Takes the kernels of all stages but the head and trains everything."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"takes": "half"},
        {"takes": "prefix:0"},
        {"takes": "head"},
        {"trains": "kernels"},
        {"statistics": "frozen"},
        {"copies": "ranks"},
        {"groups": ()},
        {"groups": ("kernels",)},
        {"takes": "none"},
        {"copies": "moments"},
    ],
)
def test_a_recipe_that_means_nothing_is_refused(change):
    with pytest.raises(InputError):
        dataclasses.replace(CATALOGUE["encoder"], **change)


def test_heads_are_never_taken():
    with pytest.raises(InputError, match="head"):  # a stage by name is checked by model
        from tfreuse import models
        from tfreuse.few_labels import freezing

        model = models.unet(width=2, depth=1)
        recipe = Recipe("x", "stage:head", ("all",), "all", "moving")
        freezing.stage_names(model, recipe.takes)


# --- subsets


@pytest.mark.parametrize("seed", range(8))
def test_the_smaller_subset_is_the_beginning_of_the_larger(seed):
    chosen = subsets.nested(HISTOGRAM, [1, 2, 4, 6], seed)
    assert list(chosen) == [1, 2, 4, 6]
    for size, indices in chosen.items():
        assert list(indices) == list(chosen[6][:size])
    assert sorted(chosen[6]) == list(range(6))


def test_the_rarest_class_is_there_from_the_first_image_on():
    by_chance = {np.random.default_rng(seed).permutation(6)[0] for seed in range(20)}
    assert len(by_chance) > 1  # else the next line shows nothing
    assert {subsets.nested(HISTOGRAM, [1], seed)[1][0] for seed in range(20)} == {4}


@pytest.mark.parametrize("seed", range(5))
def test_every_class_keeps_its_share(seed):
    rng = np.random.default_rng(7)
    histogram = (rng.random((200, 6)) < [0.9, 0.6, 0.4, 0.2, 0.1, 0.02]).astype(int)
    share = (histogram > 0).mean(axis=0)
    for size, indices in subsets.nested(histogram, [20, 80], seed).items():
        found = (histogram[indices] > 0).mean(axis=0)
        assert (found > 0).all()
        assert np.all(found >= share - 1.5 / size)


def test_the_same_seed_gives_the_same_subset_and_another_another():
    histogram = np.ones((50, 2))
    first, again, other = (
        subsets.nested(histogram, [10], seed)[10].tolist() for seed in (3, 3, 4)
    )
    assert first == again != other


def test_groups_get_their_share_too():
    groups = ["a"] * 30 + ["b"] * 10
    chosen = subsets.nested(np.ones((40, 1)), [8], 0, groups)[8]
    assert sorted(groups[i] for i in chosen) == ["a"] * 6 + ["b"] * 2


@pytest.mark.parametrize("size", [0, 7])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(InputError, match="1 to 6 images"):
        subsets.nested(HISTOGRAM, [2, size], 0)


def test_folds_hold_every_image_out_once():
    found = subsets.folds(10, 3, seed=1)
    assert sorted(np.concatenate([held for _, held in found])) == list(range(10))
    for rest, held in found:
        assert sorted([*rest, *held]) == list(range(10))
        assert len(held) in (3, 4)


def test_a_group_is_on_one_side_of_every_fold():
    groups = ["a", "b", "a", "c", "b", "a"]  # worked by hand: {a: 3} and {b: 2, c: 1}
    for seed in range(5):
        sides = {
            frozenset(groups[i] for i in held)
            for _, held in subsets.folds(6, 2, seed, groups)
        }
        assert sides == {frozenset("a"), frozenset("bc")}


def test_more_folds_than_groups_are_refused():
    with pytest.raises(InputError, match="2 to 2 folds of 2 groups"):
        subsets.folds(6, 3, 0, ["a", "b", "a", "b", "b", "a"])
    with pytest.raises(InputError, match="a group for each of the 6 images, got 2"):
        subsets.folds(6, 2, 0, ["a", "b"])


def test_the_group_of_a_name_is_what_is_before_its_last_underscore():
    names = ["0001TP_006690", "Seq05VD_f00000", "alone", "a_b_1"]
    assert subsets.by_prefix(names) == ("0001TP", "Seq05VD", "alone", "a_b")
