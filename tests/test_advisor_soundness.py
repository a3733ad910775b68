"""The advisor's promises, by simulation: it finds what helps, abstains where nothing does."""

import numpy as np
import pytest
from planted_learner import World

from tfreuse.advisor import selection
from tfreuse.analysis import metrics

HELPS = World({"scratch": 10, "encoder": 3, "half": 6, "all": 10})
HELPS_MUCH = World({"scratch": 1, "encoder": 3, "half": 1, "all": 10})  # it sees more
NULL = World({"scratch": 10, "a": 10, "b": 10, "c": 10, "d": 10, "e": 10})


def search(world, seed, images=32, folds=5, costs=None, read=lambda indices: None):
    """The choice of one search on images of the world, with the images and its folds."""
    draw = np.random.default_rng(seed)
    labelled = world.images(images, draw)
    places = draw.permutation(np.arange(images) % folds)
    names = list(world.features)
    candidates = [selection.Candidate(n, (costs or {}).get(n, 1.0)) for n in names[1:]]
    found = selection.Search(candidates, names[0], places).run(
        world.score(labelled, seed, read)
    )
    return found, labelled, places


def true_gain(world, choice, labelled, places, seed):
    """What the outer folds' choices are worth on 150 new images."""
    fresh = world.images(150, np.random.default_rng([1, seed]))
    together = tuple(np.concatenate(pair) for pair in zip(labelled, fresh, strict=True))
    score, test = world.score(together, seed), np.arange(len(places), len(places) + 150)
    gains = []
    for k, (name, _) in enumerate(choice.chosen):
        folds = len(
            choice.chosen
        )  # their trainings are numbered after those of the pairs
        train, repeat = np.flatnonzero(places != k), folds * (folds - 1) // 2 + k
        ours, default = (
            metrics.mean_iou(score(one, train, test, repeat).sum(0))
            for one in (name, "scratch")
        )
        gains.append(ours - default)
    return np.mean(gains)


def test_where_a_donor_helps_the_advisor_finds_it():
    found = [search(HELPS_MUCH, seed)[0] for seed in range(20)]
    assert sum(not choice.abstains for choice in found) >= 16
    assert sum(choice.best == "encoder" for choice in found) >= 16


def test_with_a_donor_that_is_worth_nothing_it_abstains_in_95_of_100_runs():
    found = [search(NULL, seed)[0] for seed in range(100)]
    assert sum(choice.abstains for choice in found) >= 95
    # and what was chosen looks better than it is: why the search is nested
    assert np.mean([choice.optimism for choice in found]) > 0.005
    assert abs(np.mean([choice.promise.estimate for choice in found])) < 0.01


@pytest.mark.parametrize("folds", [3, 5])
@pytest.mark.parametrize("world", [HELPS, NULL], ids=["helps", "null"])
def test_the_promised_gains_interval_covers_the_true_gain(world, folds):
    runs, held, truth = 100, [], []
    for seed in range(runs):
        choice, labelled, places = search(world, seed, folds=folds)
        held.append(choice.promise)
        truth.append(true_gain(world, choice, labelled, places, seed))
    expected = np.mean(truth)
    covered = np.mean([one.low <= expected <= one.high for one in held])
    assert covered >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / runs)
    # not by being endless: within three times the spread of what was estimated
    assert np.mean([one.high - one.low for one in held]) < 6 * np.std(
        [one.estimate for one in held]
    )


def test_of_two_equal_plans_the_cheaper_is_taken():
    twins = World({"scratch": 10, "dear": 3, "cheap": 3})
    found = [
        search(twins, seed, costs={"dear": 2.0, "cheap": 1.0})[0] for seed in range(12)
    ]
    assert sum(choice.best == "cheap" for choice in found) >= 9
    better = World({"scratch": 10, "dear": 3, "cheap": 10})  # cheap, and worse
    found = [
        search(better, seed, images=64, costs={"dear": 2.0, "cheap": 1.0})[0]
        for seed in range(12)
    ]
    assert sum(choice.best == "dear" for choice in found) >= 9


def test_a_fold_has_no_say_in_what_is_chosen_for_it():
    world, seed = HELPS, 3
    plain, labelled, places = search(world, seed)
    wrong = (labelled[0], labelled[1].copy())
    wrong[1][places == 2] = (wrong[1][places == 2] + 1) % 3  # other labels in fold 3
    names = list(world.features)[1:]
    search_ = selection.Search(
        [selection.Candidate(name, 1.0) for name in names], "scratch", places
    )
    again = search_.run(world.score(wrong, seed))
    assert again.chosen[2] == plain.chosen[2]
    assert again.promise.estimate < plain.promise.estimate - 0.02  # it can tell


def test_no_training_is_judged_by_an_image_that_it_saw():
    seen = []
    base = HELPS.score(HELPS.images(20, np.random.default_rng(0)), 0)

    def score(name, train, test, repeat):
        seen.append((name, frozenset(train), frozenset(test), repeat))
        return base(name, train, test, repeat)

    places = np.arange(20) % 5
    candidates = [selection.Candidate(name, 1.0) for name in ("encoder", "half", "all")]
    choice = selection.Search(candidates, "scratch", places).run(score)
    assert len(seen) == choice.trainings == len(set(seen))
    for _, train, test, _ in seen:
        assert not train & test and train | test == set(range(20))
    subsets = {train: repeat for _, train, _, repeat in seen}
    assert sorted(subsets.values()) == list(range(15))  # 10 pairs and 5 folds


def test_halving_trains_less_and_tells_what_it_dropped():
    many = World({"scratch": 10} | {f"plan{i}": 10 for i in range(8)})
    choice, _, _ = search(many, 0)
    assert choice.trainings < 8 * 15 + 5
    assert len(choice.rows) + len(choice.dropped) == 8
    assert choice.trainings <= selection.most_trainings(8, 5) + 8 * 5


def test_images_of_one_unit_stay_in_one_fold():
    with pytest.raises(ValueError, match="Unit 0"):
        selection.Search(
            [selection.Candidate("a", 1.0)], "scratch", np.arange(9) % 3, np.zeros(9)
        )
    with pytest.raises(ValueError, match="three"):
        selection.Search([selection.Candidate("a", 1.0)], "scratch", np.arange(8) % 2)
