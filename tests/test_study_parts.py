"""Sites, arms, computed controls, distances: each against a definition or a law."""

import numpy as np
import pytest

from tfreuse import models, roles, transplant
from tfreuse.specs import CONTROLS, REPAIRS, SITES, StudySpec
from tfreuse.study import controls, distances, treatments

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return models.unet((16, 16), num_classes=3, width=4, depth=1)


def arms(model, **changes):
    spec = StudySpec(sites=SITES, controls=CONTROLS, repairs=REPAIRS, **changes)
    sites = treatments.sites(model, spec.sites)
    return treatments.arms(sites, transplant.index(model), spec)


def test_a_prefix_and_the_suffix_behind_it_are_all_layers(model):
    sites = treatments.sites(model, SITES)
    (everywhere,) = (site for site in sites if site.kind == "all")
    stages = [site for site in sites if site.kind == "stage"]
    prefixes = {site.depth: site for site in sites if site.kind == "prefix"}
    suffixes = {site.depth: site for site in sites if site.kind == "suffix"}
    assert len(prefixes) == len(suffixes) == len(stages) - 1
    for depth, prefix in prefixes.items():
        assert prefix.layers + suffixes[depth + 1].layers == everywhere.layers
    for site in (site for site in sites if site.kind == "leave_one_out"):
        (stage,) = (stage_site for stage_site in stages if stage_site.name == site.name)
        assert sorted(site.layers + stage.layers) == sorted(everywhere.layers)
    assert not any("head" in layer for layer in everywhere.layers)


def test_no_arm_comes_twice_and_all_layers_come_first(model):
    listed = arms(model, strengths=(0.5, 1.0), shapley=True)
    keys = [
        (
            a.site.kind,
            a.site.name,
            a.group,
            a.control,
            a.strength,
            a.draw,
            a.order,
            a.share,
        )
        for a in listed
    ]
    assert len(keys) == len(set(keys))
    kinds = [arm.site.kind for arm in listed]
    assert kinds.index("stage") == kinds.count("all")


def test_unions_and_groups_together_are_every_union_of_the_five_players(model):
    spec = StudySpec(sites=("all",), shapley=True, groups=("kernel", "affine", "all"))
    listed = treatments.arms(
        treatments.sites(model, spec.sites), transplant.index(model), spec
    )
    treated = [arm.group for arm in listed if arm.control == "transfer"]
    sets = [
        frozenset(role for name in group.split("+") for role in roles.expand(name))
        for group in treated
    ]
    assert len(sets) == len(set(sets)) == 31


def groups_of(arms, control):
    return {arm.group for arm in arms if arm.control == control}


def test_a_control_is_left_out_where_it_would_bound_nothing(model):
    listed = arms(model, groups=("kernel", "bias", "affine", "stats", "all"))
    assert groups_of(listed, "zeroed") == {"all"}  # else the arm is a treatment itself
    assert groups_of(listed, "defaults") == {"bias", "affine", "stats"}
    assert groups_of(listed, "initial") == groups_of(listed, "transfer")


def test_a_recipient_trained_on_from_its_donor_has_no_initial_values_of_its_own(model):
    spec = StudySpec(sites=("all",), controls=("initial", "zeroed"))
    sites = treatments.sites(model, spec.sites)
    linked = treatments.arms(sites, transplant.index(model), spec, "sequential")
    assert {arm.control for arm in linked} == {"transfer", "zeroed"}


@pytest.mark.parametrize(
    "control", ["angle", "matched", "moments", "shuffled", "zeroed"]
)
def test_a_computed_control_keeps_its_law_for_every_role(control):
    pairs = [
        controls.Pair(
            f"{role}/0",
            role,
            np.abs(RNG.normal(1, 0.3, (40, 5))).astype(np.float32),
            np.abs(RNG.normal(2, 0.5, (40, 5))).astype(np.float32),
        )
        for role in roles.ROLES
    ]
    values = controls.make(control, 0, pairs, seed=1)
    again = controls.make(control, 0, pairs, seed=1)
    redrawn = controls.make(control, 1, pairs, seed=1)
    for pair in pairs:
        value = values[pair.path]
        assert value.dtype == np.float32
        assert np.array_equal(value, again[pair.path])
        assert (control == "zeroed") == np.array_equal(value, redrawn[pair.path])
        _LAWS[control](pair, value.astype(np.float64))


def _of_angle(pair, value):
    """Distance, norm and cosine are the donor's; the rest of the direction is not."""
    scale = np.log if pair.role == "moving_variance" else np.array
    recipient, donor, value = (
        scale(array).ravel() for array in (pair.recipient, pair.donor, value)
    )
    for measure in (
        lambda array: np.linalg.norm(array - recipient),
        np.linalg.norm,
        lambda array: array @ recipient / np.linalg.norm(array),
    ):
        assert measure(value) == pytest.approx(measure(donor), rel=1e-4)
    along = recipient * (recipient @ donor) / (recipient @ recipient)
    across = (value - along) @ (donor - along) / ((donor - along) @ (donor - along))
    assert abs(across) < 4 / len(donor) ** 0.5  # of a random direction: sd 1 / sqrt(n)


def angle(recipient, donor, role="kernel", draw=0):
    pair = controls.Pair("a", role, *(np.float32(v) for v in (recipient, donor)))
    return controls.make("angle", draw, [pair], seed=0)["a"]


def test_arrays_without_another_direction_stay_the_donors():
    """Equal arrays, one number, multiples of the recipient's; of two numbers there are two."""
    ours = RNG.normal(size=5).astype(np.float32)
    for recipient, donor in (
        (ours, ours), ([2], [-3]), (ours, 4 * ours), (ours, 0 * ours), (0 * ours, 0 * ours),
    ):  # fmt: skip
        np.testing.assert_array_equal(angle(recipient, donor), np.float32(donor))
    assert angle([0.5], [0.25], "moving_variance") == np.float32(0.25)
    pair = {tuple(angle([1, 0], [2, 1], draw=draw).tolist()) for draw in range(20)}
    assert pair == {(2, 1), (2, -1)}


def test_an_angle_to_zeros_is_any_and_variances_stay_above_zero():
    """Biases before batch normalization are zeros; a dead channel's variance is too."""
    drawn = angle(np.zeros(50), np.ones(50))
    assert np.linalg.norm(drawn) == pytest.approx(50**0.5, rel=1e-6)
    assert not np.allclose(drawn, 1)
    drawn = angle(np.zeros(4), [0, 1, 2, 3], "moving_variance")
    assert np.isfinite(drawn).all() and (drawn > 0).all()


def test_kernels_with_the_control_of_angles_are_measured_with_statistics_that_fit(
    model,
):
    for arm in arms(model):
        if arm.control == "angle":
            assert arm.site.kind in ("all", "stage")
            assert arm.repairs == ("none", "recalibration")


def _of_matched(pair, value):
    scale = np.log if pair.role == "moving_variance" else np.array
    recipient, donor = scale(pair.recipient), scale(pair.donor)
    step = np.linalg.norm(scale(value) - recipient)
    assert step == pytest.approx(np.linalg.norm(donor - recipient), rel=1e-4)
    assert not np.allclose(value, pair.donor)


def _of_moments(pair, value):
    scale = np.log if pair.role == "moving_variance" else np.array
    want = scale(pair.donor)
    assert scale(value).mean() == pytest.approx(
        want.mean(), abs=float(4 * want.std() / 200**0.5)
    )
    assert scale(value).std() == pytest.approx(want.std(), rel=0.25)


def _of_shuffled(pair, value):
    assert np.array_equal(np.sort(value.ravel()), np.sort(pair.donor.ravel()))
    assert not np.array_equal(value, pair.donor)


_LAWS = {
    "angle": _of_angle,
    "matched": _of_matched,
    "moments": _of_moments,
    "shuffled": _of_shuffled,
    "zeroed": lambda pair, value: np.testing.assert_array_equal(value, 0),
}


def test_distances_are_those_of_all_numbers_together():
    old = [RNG.normal(size=(3, 4)), RNG.normal(size=7)]
    new = [old[0] + 1.0, old[1].copy()]
    measured = distances.between(zip(old, new, strict=True))
    a, b = (np.concatenate([x.ravel() for x in arrays]) for arrays in (old, new))
    assert measured["parameters"] == 19
    assert measured["changed"] == 12
    assert measured["rmse"] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)))
    assert measured["relative_distance"] == pytest.approx(
        np.linalg.norm(a - b) / np.linalg.norm(a)
    )
    assert measured["cosine"] == pytest.approx(
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    )


def test_what_moves_bias_and_mean_alike_moves_no_function():
    scale = distances.Scale("bn", 1e-3, "g", "b", "m", "v", "k")
    old = {name: RNG.uniform(0.5, 2, 6).astype(np.float32) for name in "gbmvk"}
    together = distances.scale_and_offset(
        [scale], old, {"k": old["k"] + 3, "m": old["m"] + 3}
    )
    assert together["scale_shift"] == 0
    assert together["offset_shift"] == pytest.approx(0, abs=1e-5)
    alone = distances.scale_and_offset([scale], old, {"k": old["k"] + 3})
    spread = np.sqrt(old["v"].astype(np.float64))
    assert alone["offset_shift"] == pytest.approx(np.median(3 / spread), rel=1e-4)
    doubled = distances.scale_and_offset([scale], old, {"g": 2 * old["g"]})
    assert doubled["scale_shift"] == pytest.approx(1.0)
    assert distances.scale_and_offset([], old, {})["scale_shift"] is None


def _plain_cka(x, y):
    """By the kernels themselves: unbiased HSIC of Song et al. 2012, equation 5."""

    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        ones = np.ones(n)
        return (
            np.trace(k @ m)
            + ones @ k @ ones * (ones @ m @ ones) / ((n - 1) * (n - 2))
            - 2 / (n - 2) * (ones @ k @ m @ ones)
        ) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def cka(x, y):
    return distances.cka(distances.Features(x), distances.Features(y))


def test_similarity_equals_its_definition_and_does_not_mind_rotation_and_shift():
    x = RNG.normal(size=(60, 5))
    y = x @ RNG.normal(size=(5, 4)) + 0.3 * RNG.normal(size=(60, 4))
    assert cka(x, y) == pytest.approx(_plain_cka(x, y), rel=1e-9)
    turn, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    assert cka(x, 7 * y @ turn + 100) == pytest.approx(cka(x, y), rel=1e-9)
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, np.ones((60, 2))) is None
    assert cka(x, np.full((60, 2), np.nan)) is None


def test_independent_features_are_not_similar_on_average():
    values = [
        cka(RNG.normal(size=(30, 8)), RNG.normal(size=(30, 8))) for _ in range(200)
    ]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / 200**0.5)
