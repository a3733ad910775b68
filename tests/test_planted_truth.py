"""Where nothing is true, little is claimed; where something is planted, it comes back.

A bound on a simulated rate is the promised rate plus three of its standard errors over the
simulated studies, so that a method that keeps its promise fails once in a thousand runs; the
seeds are fixed, so it fails always or never.
"""

import gc
import math
import time

import numpy as np
import planted
import pytest

from tfreuse import specs
from tfreuse.analysis import (
    intervals,
    ladder,
    paths,
    predictors,
    reasons,
    significance,
    verdicts,
)
from tfreuse.analysis.arms import by_part, independent
from tfreuse.analysis.bounded import DIFFERENCE, RETENTION

SEEDS = 6
SPEC = specs.StudySpec(directions=(planted.TO_MASKS,), seeds=SEEDS)
STUDIES = 200


def bound(rate, studies):
    return rate + 3 * math.sqrt(rate * (1 - rate) / studies)


def parts(records):
    (found,) = by_part(records).values()
    return found


def normal(generator, mean, size, sd=0.04):
    return generator.normal(mean, sd, size)


def skewed(generator, mean, size, sd=0.04):
    """Most retain a little more than the mean and few much less, as networks do."""
    return mean + sd * (2 - generator.gamma(2, 1, size)) / math.sqrt(2)


def null_study(generator, draw):
    """Every hypothesis is false by a hair: its mean is the threshold itself.

    Affine and stats are alike (H1) and retain 1 - margin in the mean (H2), as do biases (H4);
    kernels retain `large` (H3). Deep layers retain less and lie farther off, but at one depth
    RMSE tells nothing: it correlates and separates well, and adds nothing to depth (H5).
    """
    means = {"affine": 0.95, "stats": 0.95, "bias": 0.95, "kernel": 0.5}
    found = planted.study({g: draw(generator, m, SEEDS) for g, m in means.items()})
    for depth in range(10):
        site = {"site_kind": "layer", "site": f"layer_{depth}", "depth": depth}
        for seed in range(SEEDS):
            rmse = 0.1 * depth + generator.uniform(0.1, 0.5)
            fields = {"group": "kernel", "rmse": rmse}
            retention = 1 - 0.03 * max(0, depth - 3) + 0.02 * generator.normal()
            size = {"parameters": 100 + 7 * (depth % 4)}
            one = planted.record(retention, seed=seed, **site, **fields, **size)
            found.append(one)
    return found


@pytest.mark.parametrize("draw", [normal, skewed])
def test_null_donors_are_seldom_called_supported(draw):
    """The whole way from records to verdicts, for each of H1 to H5."""
    generator, studies = np.random.default_rng(0), 10
    false = dict.fromkeys(("H1", "H2", "H3", "H4", "H5"), 0)
    for _ in range(studies):
        for one in verdicts.judge(null_study(generator, draw), SPEC):
            assert one.verdict != "not testable", one.reason
            false[one.hypothesis] += one.verdict == "supported"
    assert max(false.values()) / studies <= bound(0.03, studies), false


def clipped(generator, mean, size):
    """Normal values of standard deviation 0.3, clipped; centred so that the mean is `mean`."""
    from scipy import optimize, stats

    def surplus(centre):
        low, high = (0 - centre) / 0.3, (1 - centre) / 0.3
        inner = stats.norm.cdf(high) - stats.norm.cdf(low)
        inner_mean = centre * inner - 0.3 * (stats.norm.pdf(high) - stats.norm.pdf(low))
        return inner_mean + stats.norm.sf(high) - mean

    centre = optimize.brentq(surplus, -2, 3)
    return np.clip(generator.normal(centre, 0.3, size), 0, 1)


def two_clusters(generator, mean, size):
    """Each seed retains all or nothing."""
    return (generator.random(size) < mean).astype(float)


def far_skewed(generator, mean, size):
    """Most seeds near one end, few far from it."""
    return generator.beta(mean / 2, (1 - mean) / 2, size)


def tied(generator, mean, size):
    """Three values alone, the most frequent one not the mean."""
    low, high = max(0.0, mean - 0.3), min(1.0, mean + 0.15)
    middle = mean - 0.05
    # weights w, 0.5, 0.5 - w with this mean
    share = (0.5 * middle + 0.5 * high - mean) / (high - low)
    values, shares = (low, middle, high), (share, 0.5, 0.5 - share)
    return generator.choice(values, p=shares, size=size)


def heavy_tailed(generator, mean, size):
    """Student's t with 1.5 degrees of freedom, squeezed into the range about the mean."""
    reach = min(mean, 1 - mean)
    return mean + reach * np.tanh(generator.standard_t(1.5, size))


HARD = (clipped, two_clusters, far_skewed, tied, heavy_tailed)


@pytest.mark.parametrize("n", [3, 6, 10])
@pytest.mark.parametrize("draw", HARD)
def test_intervals_and_verdicts_hold_for_every_kind_of_retention(draw, n):
    """Coverage of 95 % at least .93, and .03 at most are called supported by chance.

    Every claim is false by a hair: the mean is the threshold itself.
    """
    generator, studies = np.random.default_rng(n), 2000
    for mean in (0.05, 0.5, 0.95):
        cells = draw(generator, mean, (studies, n))
        assert cells.mean() == pytest.approx(mean, abs=0.02)
        ends = intervals.mean_intervals(cells, bounds=RETENTION)
        held = np.mean([end.low <= mean <= end.high for end in ends])
        above = np.mean([end.low > mean for end in ends])  # "supported" of H2 and H4
        below = np.mean([end.high < mean for end in ends])  # "supported" of H3
        assert held >= 0.93 and max(above, below) <= 0.03, (mean, held, above, below)
    first, second = draw(generator, 0.7, (2, studies, n))
    ends = intervals.mean_intervals(first - second, bounds=DIFFERENCE)
    assert np.mean([end.low > 0 for end in ends]) <= 0.03  # "supported" of H1


def test_students_intervals_did_not_hold_for_them():
    """What decided before: equal seeds were certain, clipped ones covered .38 of the time."""
    generator, studies = np.random.default_rng(0), 4000
    clip = np.clip(generator.normal(-0.3, 0.3, (studies, 3)), 0, 1)
    mean = np.clip(generator.normal(-0.3, 0.3, 1_000_000), 0, 1).mean()

    def held(cells, mean):
        reach = (
            intervals.student_quantile(0.975, 2) * cells.std(axis=1, ddof=1) / 3**0.5
        )
        return np.mean(np.abs(cells.mean(axis=1) - mean) <= reach)

    assert held(clip, mean) < 0.45
    ends = intervals.mean_intervals(clip, bounds=RETENTION)
    assert np.mean([end.low <= mean <= end.high for end in ends]) >= 0.95
    assert held(two_clusters(generator, 0.55, (studies, 3)), 0.55) < 0.8


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("ring", [True, False])
def test_donors_of_the_same_task_count_once_for_each_pair_of_networks(ring, shared):
    """A network's effects as donor and as recipient correlate by `shared`.

    As six replicates of a ring, 0 <- 1 <- ... <- 0, their intervals of 95 % cover .81.
    """
    n, studies, generator = 6, 4000, np.random.default_rng(0)
    donors = [(seed + 1) % n if ring else seed ^ 1 for seed in range(n)]
    records = {
        seed: planted.record(
            0.5, seed=seed, control="other_seed",
            donor=f"segmentation-{donor}", recipient=f"segmentation-{seed}",
        )
        for seed, donor in enumerate(donors)
    }  # fmt: skip
    received = generator.normal(size=(studies, n))
    given = shared * received
    given += math.sqrt(1 - shared**2) * generator.normal(size=(studies, n))
    # a seed retains all where neither network is a bad one, else nothing
    values = ((received > -0.6) & (given[:, donors] > -0.6)).astype(float)
    mean = 0.7257469**2
    cells = [
        [*independent(dict(enumerate(seeds.tolist())), records).values()]
        for seeds in values
    ]
    assert {len(cell) for cell in cells} == {3}

    def held(cells):
        ends = intervals.mean_intervals(cells, bounds=RETENTION)
        return np.mean([end.low <= mean <= end.high for end in ends])

    assert held(cells) >= 0.95
    if shared == 1.0:
        assert held(values) < 0.9


def test_three_seeds_in_a_ring_are_one_replicate_and_other_donors_are_left_alone():
    ring = {
        seed: planted.record(
            0.5, seed=seed, control="other_seed",
            donor=f"autoencoder-{(seed + 1) % 3}", recipient=f"autoencoder-{seed}",
        )
        for seed in range(3)
    }  # fmt: skip
    values = {0: 0.2, 1: 0.4, 2: 0.9}
    assert independent(values, ring) == {0: 0.2}
    transfer = {seed: planted.record(0.5, seed=seed) for seed in range(3)}
    assert independent(values, transfer) == values


def test_what_a_bent_course_along_depth_explains_is_not_credited_to_rmse():
    """RMSE grows with depth, retention falls from the middle on: no more is there to tell.

    Depth taken out as a straight line would leave the bend, and support a fifth of these.
    """
    generator, false = np.random.default_rng(0), 0
    depth = np.arange(12.0)
    for _ in range(STUDIES):
        cells = {
            seed: {
                "depth": depth,
                "bow": (depth - depth.mean()) ** 2,
                "size": np.abs(depth - 5),
                "retention": np.where(depth < 6, 1.0, 0.9 - 0.05 * depth),
                "-rmse": -0.1 * depth - 0.3 * generator.uniform(0.1, 1, 12),
            }
            for seed in range(SEEDS)
        }
        values = predictors.correlations(cells, "-rmse", predictors.COVARIATES)
        false += intervals.mean_interval(values, bounds=DIFFERENCE).low > 0
    assert false / STUDIES <= bound(0.05, STUDIES)


def false_support(n, draw, studies=3000):
    """Rate at which the lower end lies above the mean: what "supported" means in H2."""
    cells = draw(np.random.default_rng(n), 0.95, (studies, n))
    found = intervals.mean_intervals(cells)
    return np.mean([one.low > 0.95 for one in found])


def test_five_skewed_seeds_are_not_enough_and_six_are():
    """What the docs say of presets: Student's t lets 7 % through; the bootstrap-t 5 %."""
    assert false_support(5, skewed) > 0.055
    assert false_support(6, skewed) <= bound(0.05, 3000)
    assert false_support(10, skewed) <= bound(0.045, 3000)


@pytest.mark.parametrize(
    ("n", "draw", "lowest"),
    [
        (3, normal, 0.95), (5, normal, 0.95), (6, normal, 0.95), (10, normal, 0.95),
        (6, skewed, 0.93), (10, skewed, 0.94),
    ],
)  # fmt: skip
def test_intervals_hold_the_mean_as_often_as_they_say(n, draw, lowest):
    studies = 1500
    cells = draw(np.random.default_rng(n), 0.7, (studies, n))
    found = intervals.mean_intervals(cells)
    held = np.mean([one.low <= 0.7 <= one.high for one in found])
    error = 3 * math.sqrt(0.95 * 0.05 / studies)
    assert lowest - error < held < 0.95 + error


def test_on_skewed_values_the_bootstrap_t_holds_more_often_than_students():
    cells = skewed(np.random.default_rng(0), 0.7, (1500, 8))
    ours = intervals.mean_intervals(cells)
    reach = intervals.student_quantile(0.975, 7) * cells.std(axis=1, ddof=1) / 8**0.5
    student = np.abs(cells.mean(axis=1) - 0.7) <= reach
    held = np.mean([one.low <= 0.7 <= one.high for one in ours])
    assert held > student.mean() + 0.005


def moves(generator, donor, random, count, sd=0.06, draws=3, seeds=SEEDS):
    """Stages with a donor and comparable random values of these mean retentions."""
    found = []
    for depth in range(count):
        site = {"site_kind": "stage", "site": f"s{depth}", "depth": depth}
        site |= {"group": "kernel"}
        found += planted.arm(generator.normal(donor, sd, seeds), **site)
        for draw in range(draws):
            values = generator.normal(random, sd, seeds)
            found += planted.arm(values, control="angle", draw=draw, **site)
    return found


@pytest.mark.parametrize(
    ("donor", "random", "false"),
    [
        (0.6, 0.6, "general features"),  # no better than random
        (0.94, 0.96, "small difference"),  # the donor does harm, by a hair
        (0.6, 0.55, "neither"),  # better than random by the margin itself
        (0.6, 0.6, "worse than random"),
        (0.5, 0.0, "general features"),  # better, and a large loss by a hair
        (0.2, 0.0, "general features"),  # better, and nothing worth having
    ],
)
def test_null_donors_are_seldom_given_a_reason(donor, random, false):
    rows = reasons.rows(
        parts(moves(np.random.default_rng(0), donor, random, STUDIES)), SPEC
    )
    rate = np.mean([row["reason"] == false for row in rows])
    assert rate <= bound(0.05, STUDIES)


@pytest.mark.parametrize(
    ("donor", "random", "reason"),
    [
        (1.0, 1.0, "small difference"),
        (0.9, 0.4, "general features"),
        (0.3, 0.34, "worse than random"),
        (0.6, 0.6, "neither"),
        (0.2, 0.0, "neither"),
    ],
)
def test_planted_reasons_are_found(donor, random, reason):
    generator = np.random.default_rng(0)
    rows = reasons.rows(
        parts(moves(generator, donor, random, 6, 0.01, 1, seeds=150)), SPEC
    )
    assert np.mean([row["reason"] == reason for row in rows]) > 0.9


def test_shares_of_planted_losses_are_held_by_their_intervals():
    """A loss of 0.6 +- 0.1: 30 % statistics, 50 % permutation, 20 % features."""
    generator, found = np.random.default_rng(0), []
    planned = {"statistics": 0.3, "permutation": 0.5, "features": 0.2}
    for depth in range(300):
        site = {"site_kind": "stage", "site": f"s{depth}", "depth": depth}
        site |= {"group": "kernel"}
        lost = generator.normal(0.6, 0.1, SEEDS)
        noise = generator.normal(0, 0.02, (3, SEEDS))
        levels = {
            "none": 1 - lost,
            "recalibration": 1 - 0.7 * lost + noise[1],
            "permutation": 1 - lost + noise[0],
            "permutation+recalibration": 1 - 0.2 * lost + noise[2],
        }
        for repair, values in levels.items():
            found += planted.arm(values, repair=repair, **site)
    rows = ladder.rows(parts(found), SPEC)
    for step, share in planned.items():
        own = [r for r in rows if (r["quantity"], r["step"]) == ("share", step)]
        held = np.mean([row["low"] <= share <= row["high"] for row in own])
        assert len(own) == 300
        assert 0.95 - 0.04 < held < 0.95 + 0.04, step  # 3 standard errors: 0.038


def test_cells_that_lose_the_margin_are_seldom_significant():
    """Share of false discoveries, and how often a band leaves any true mean out."""
    generator, wrong, left_out, maps = np.random.default_rng(0), [], 0, 30
    for _ in range(maps):
        found = []
        for depth in range(20):
            site = {"site_kind": "stage", "site": f"s{depth}", "depth": depth}
            mean = 0.1 if depth < 5 else 0.95
            values = far_skewed(generator, mean, SEEDS)
            found += planted.arm(values, group="kernel", **site)
        rows = significance.rows(parts(found), SPEC)
        claimed = [row["depth"] for row in rows if row["significant"]]
        wrong.append(np.mean([depth >= 5 for depth in claimed]) if claimed else 0)
        left_out += any(
            not row["band_low"]
            <= (0.1 if row["depth"] < 5 else 0.95)
            <= row["band_high"]
            for row in rows
        )
    assert np.mean(wrong) <= 0.05 + 3 * np.std(wrong) / math.sqrt(maps)
    assert left_out / maps <= bound(0.05, maps)


def many(layers):
    """Arms of three seeds at so many layers."""
    generator, found = np.random.default_rng(0), []
    for depth in range(layers):
        site = {"site_kind": "layer", "site": f"l{depth}", "depth": depth}
        for group in ("kernel", "bias", "affine", "stats"):
            for repair in ("none", "recalibration", "permutation+recalibration"):
                values = generator.uniform(size=3)
                found += planted.arm(values, group=group, repair=repair, **site)
            for control in ("angle", "other_seed"):
                values = generator.uniform(size=3)
                found += planted.arm(values, group=group, control=control, **site)
    return parts(found)


@pytest.fixture
def uncollected():
    """Keeps the garbage collector off: it would go through all that earlier tests have left."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_time_and_rows_grow_with_the_records_not_with_their_square(uncollected):
    told = (
        reasons.rows, ladder.rows, reasons.excess,
        significance.rows, paths.profiles,
    )  # fmt: skip
    few, more = many(25), many(200)
    for one in told:
        one(few, SPEC)  # imports
        began = time.thread_time()  # idle threads of libraries take time too
        first = one(few, SPEC)
        between = time.thread_time()
        second = one(more, SPEC)
        spent = between - began, time.thread_time() - between
        assert spent[1] < 24 * spent[0] + 0.1, one.__name__  # 8 times as many records
        if one is not paths.profiles:  # has no rows for single layers
            assert len(second) == 8 * len(first)
