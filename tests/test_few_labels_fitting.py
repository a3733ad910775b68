"""Freezing and fitting: what each recipe changes and what it leaves, bit for bit."""

import dataclasses

import keras
import numpy as np
import pytest

from tfreuse import (
    data,
    models,
    training,
    transplant,
)
from tfreuse.errors import InputError
from tfreuse.few_labels import cost, fitting, freezing
from tfreuse.few_labels.recipes import CATALOGUE, Recipe
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.training import recalibration

MODEL = ModelSpec(width=3, depth=1)
SPEC = TrainSpec(batch_size=4, learning_rate=0.01, warmup=0.0)
STATS = ("moving_mean", "moving_variance")


@pytest.fixture(scope="module")
def split():
    return data.load(DataSpec(image_size=(16, 16), train_examples=12), "train")


@pytest.fixture(scope="module")
def unlabelled(split):
    return fitting.unit_images(split)


@pytest.fixture(scope="module")
def donor(unlabelled):
    model = models.build(MODEL, task="autoencoder", num_classes=0, seed=9)
    for _ in range(5):  # moves the statistics off their start
        model(unlabelled, training=True)
    return model


def build(seed):
    return models.build(MODEL, task="segmentation", num_classes=5, seed=seed)


@pytest.fixture(scope="module")
def fitter(donor, unlabelled):
    return fitting.Fitter(donor, build, unlabelled, SPEC)


def same(first, second):
    return {path: np.array_equal(first[path], second[path]) for path in second}


# --- the trap: what Keras does with frozen batch norms


def normalization():
    images = keras.Input((4, 4, 2))
    layer = keras.layers.BatchNormalization(name="encoder_1_a_bn")
    head = keras.layers.Conv2D(2, 1, name="head_segmentation_conv")
    return keras.Model(images, head(layer(images))), layer


BATCH = np.random.default_rng(0).normal(3, 2, (8, 4, 4, 2)).astype(np.float32)


def step(model, spec=SPEC):
    optimizer = keras.optimizers.SGD(0.1)
    graph = training.trainable(model, optimizer, "segmentation", -1)
    graph.train_on_batch(BATCH, np.ones((8, 4, 4), np.int32))


def test_a_layer_that_is_not_trainable_computes_with_its_stored_statistics():
    model, layer = normalization()
    layer.trainable = False
    before = transplant.values(model)
    step(model)
    kept = same(before, transplant.values(model))
    assert [kept[f"encoder_1_a_bn/{i}"] for i in range(4)] == [True] * 4
    np.testing.assert_array_equal(layer(BATCH, training=True), layer(BATCH))


def test_variables_that_are_not_trainable_leave_the_layer_with_its_batch():
    model, layer = normalization()
    before = transplant.values(model)
    with freezing.training_only(model, freezing.trained_variables(model, "head")):
        step(model)
    kept = same(before, transplant.values(model))
    assert [kept[f"encoder_1_a_bn/{i}"] for i in range(4)] == [True, True, False, False]
    assert np.abs(np.asarray(layer(BATCH, training=True) - layer(BATCH))).max() > 0.1


def test_a_held_layer_keeps_its_statistics_while_gamma_and_beta_train():
    model, _ = normalization()
    before = transplant.values(model)
    view = freezing.with_stored_statistics(model, ["encoder_1_a_bn"])
    step(view)
    kept = same(before, transplant.values(model))
    assert [kept[f"encoder_1_a_bn/{i}"] for i in range(4)] == [False, False, True, True]
    np.testing.assert_array_equal(view(BATCH, training=True), model(BATCH))


def test_a_held_layer_is_left_out_of_re_estimation():
    model, layer = normalization()
    recalibration.Recalibrator(
        freezing.with_stored_statistics(model, ["encoder_1_a_bn"]), BATCH
    )()
    assert layer.moving_mean.numpy().tolist() == [0.0, 0.0]
    recalibration.Recalibrator(model, BATCH)()
    assert layer.moving_mean.numpy() == pytest.approx(BATCH.mean((0, 1, 2)), rel=1e-5)


def test_what_is_trainable_is_as_before_after_only_even_if_it_fails():
    model, layer = normalization()
    before = [variable.trainable for variable in model.variables]
    with pytest.raises(RuntimeError), freezing.training_only(model, [layer.gamma]):
        assert [v.path for v in model.trainable_variables] == [layer.gamma.path]
        raise RuntimeError
    assert [variable.trainable for variable in model.variables] == before


def test_training_under_a_layer_that_is_not_trainable_is_refused():
    model, layer = normalization()
    layer.trainable = False
    only = freezing.training_only(model, [layer.gamma])
    with pytest.raises(InputError, match="trainable to True"), only:
        pass


def test_stages_are_selected_relative_to_the_model():
    model = models.unet(width=2, depth=2)
    assert freezing.stage_names(model, "none") == []
    assert freezing.stage_names(model, "encoder") == [
        "encoder_1",
        "encoder_2",
        "bottleneck",
    ]
    assert freezing.stage_names(model, "prefix:2") == ["encoder_1", "encoder_2"]
    assert freezing.stage_names(model, "stage:last") == ["decoder_1"]
    assert freezing.stage_names(model, "stage:bottleneck") == ["bottleneck"]
    assert freezing.stage_names(model, "all")[-1] == "decoder_1"
    with pytest.raises(InputError, match="more stages"):
        freezing.stage_names(model, "prefix:6")
    with pytest.raises(InputError, match="nearest"):
        freezing.stage_names(model, "stage:decoder_9")
    pspnet = models.pspnet((48, 48), width=4)
    assert freezing.stage_names(pspnet, "encoder")[-1] == "conv5"


# --- what each recipe changes

# by hand: the roles of the body that training changes; the head always changes
TRAINED = {
    "encoder_frozen": {"decoder_1": {"kernel", "bias", "gamma", "beta"}},
    "affine_only": {stage: {"gamma", "beta"} for stage in ("encoder_1", "bottleneck", "decoder_1")},
    "head_only": {},
    "surgical": {"decoder_1": {"kernel", "bias", "gamma", "beta"}},
}  # fmt: skip


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_a_recipe_does_not_train_is_bit_for_bit_what_it_started_from(
    name, fitter, split, donor
):
    recipe = CATALOGUE[name]
    plan = fitter.plan(recipe)
    start = transplant.values(build(5))
    given = transplant.values(donor)
    if plan and recipe.copies == "values":
        start |= {e.recipient.path: given[e.donor.path] for e in plan.copies}
    model = fitter(recipe, split, 3, seed=5)
    kept = same(start, transplant.values(model))
    for variable in transplant.index(model):
        if variable.role in STATS:
            continue
        stage = models.stage_of(variable.layer)
        trained = TRAINED.get(name, {}).get(stage, set())
        if stage == "head" or name not in TRAINED:
            trained = {"kernel", "bias", "gamma", "beta"}
        # a bias before batch norm has a gradient of rounding alone: it may stay
        if variable.role != "bias" or variable.role not in trained:
            assert kept[variable.path] == (variable.role not in trained), variable


def statistics(model):
    return {
        variable.path: transplant.values(model)[variable.path]
        for variable in transplant.index(model)
        if variable.role in STATS
    }


def test_recalibrated_statistics_are_exact_at_the_end(fitter, split, unlabelled):
    for name in ("encoder", "head_only", "scratch"):
        model = fitter(CATALOGUE[name], split, 3)
        found = statistics(model)
        recalibration.Recalibrator(model, unlabelled)()
        for path, value in statistics(model).items():
            np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6)


def test_kept_statistics_are_the_donors_and_only_the_taken_layers(
    fitter, split, donor, unlabelled
):
    model = fitter(CATALOGUE["encoder_frozen"], split, 3)
    found, given = statistics(model), statistics(donor)
    kept = {path: np.array_equal(found[path], given[path]) for path in found}
    assert kept == {path: not path.startswith("decoder") for path in found}
    view = freezing.with_stored_statistics(
        model, [p.split("/")[0] for p in kept if kept[p]]
    )
    recalibration.Recalibrator(view, unlabelled)()
    for path, value in statistics(model).items():
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6)


def test_moving_statistics_are_on_their_way_from_the_donors(
    fitter, split, donor, unlabelled
):
    model = fitter(CATALOGUE["fine_tuned"], split, 3)
    found, given = statistics(model), statistics(donor)
    recalibration.Recalibrator(model, unlabelled)()
    exact = statistics(model)
    path = "encoder_1_a_bn/2"
    assert 0 < np.abs(found[path] - given[path]).max() < 0.5 * np.abs(exact[path] - given[path]).max()  # fmt: skip


def test_moments_have_the_donors_mean_and_deviation_and_not_its_values(
    fitter, split, donor
):
    recipe = Recipe("x", "all", ("kernel",), "nothing", "moving", copies="moments")
    model = fitter(recipe, split, 3, seed=2)
    theirs = donor.get_layer("bottleneck_b_conv").kernel.numpy()
    ours = model.get_layer("bottleneck_b_conv").kernel.numpy()
    assert not np.allclose(ours, theirs)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.2)
    again = (
        fitter(recipe, split, 3, seed=2).get_layer("bottleneck_b_conv").kernel.numpy()
    )
    np.testing.assert_array_equal(ours, again)


# --- fitting


def test_a_fit_depends_on_its_arguments_alone(fitter, split, donor, unlabelled):
    few = data.take(split, [1, 2, 3])  # fewer than a batch
    recipe = CATALOGUE["encoder"]
    first = transplant.values(fitter(recipe, few, 4, seed=0))
    fitter(CATALOGUE["head_only"], split, 2, seed=3)
    fitter(CATALOGUE["scratch"], few, 2, seed=3)  # by the same traced step
    again = transplant.values(fitter(recipe, few, 4, seed=0))
    alone = transplant.values(
        fitting.fit(recipe, donor, build, few, unlabelled, SPEC, 4)
    )
    other = transplant.values(fitter(recipe, few, 4, seed=1))
    for path, value in first.items():
        np.testing.assert_array_equal(value, again[path])
        np.testing.assert_array_equal(value, alone[path])
    assert not np.array_equal(other["decoder_1_a_conv/0"], first["decoder_1_a_conv/0"])


def test_recipes_that_train_alike_are_traced_once(
    split, donor, unlabelled, monkeypatch
):
    traced, trainable = [], training.trainable

    def count(*args):
        traced.append(args)
        return trainable(*args)

    monkeypatch.setattr(training, "trainable", count)
    fitter = fitting.Fitter(donor, build, unlabelled, SPEC)
    for name in ("scratch", "encoder", "encoder_kernels", "fine_tuned"):
        fitter(CATALOGUE[name], split, 1)
    assert len(traced) == 1
    fitter(CATALOGUE["encoder_stats"], split, 1)  # computes with other statistics
    assert len(traced) == 2


def test_gradients_are_clipped_as_in_every_other_training(split, unlabelled):
    spec = dataclasses.replace(SPEC, clip_norm=0.25)
    fitter = fitting.Fitter(None, build, unlabelled, spec)
    fitter(CATALOGUE["scratch"], split, 1)
    (trace,) = fitter._traces.values()
    assert trace.optimizer.global_clipnorm == 0.25


def test_weights_of_classes_reach_the_fits(split, donor, unlabelled):
    plain, weighted = (
        fitting.fit(CATALOGUE["encoder"], donor, build, split, unlabelled, spec, 2)
        for spec in (SPEC, dataclasses.replace(SPEC, class_weights="balanced"))
    )
    heads = (transplant.values(model) for model in (plain, weighted))
    assert not np.array_equal(*(values["head_segmentation_conv/0"] for values in heads))


def test_watching_changes_nothing_and_shows_the_end_as_it_is(fitter, split):
    recipe, seen = CATALOGUE["encoder"], {}
    plain = transplant.values(fitter(recipe, split, 4))

    def watch(step, loss, model):
        seen[step] = loss, transplant.values(model)

    model = fitter(recipe, split, 4, watch=watch, watched=(0, 2, 4))
    assert list(seen) == [0, 2, 4]
    assert np.isnan(seen[0][0]) and seen[2][0] > 0
    for path, value in transplant.values(model).items():
        np.testing.assert_array_equal(value, plain[path])
        np.testing.assert_array_equal(value, seen[4][1][path])
    kernel = "encoder_1_a_conv/0"
    assert not np.array_equal(seen[2][1][kernel], seen[4][1][kernel])


def test_the_rate_is_that_of_every_other_training():
    spec = TrainSpec(steps=40, learning_rate=0.3, warmup=0.1)
    schedule = training.optimizer(build(0), spec)._learning_rate
    for step in range(41):
        ours = fitting.learning_rate_at(step, 40, 0.3, 0.1)
        assert ours == pytest.approx(float(schedule(step)), abs=1e-6)


def test_without_unlabelled_images_statistics_come_from_the_labelled_ones(split, donor):
    few = data.take(split, range(5))
    none = np.zeros((0, 16, 16, 3), np.float32)
    model = fitting.fit(CATALOGUE["encoder"], donor, build, few, none, SPEC, 2)
    found = statistics(model)
    recalibration.Recalibrator(model, fitting.unit_images(few))()
    for path, value in statistics(model).items():
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6)


def test_a_recipe_without_its_donor_or_with_one_that_does_not_fit_is_refused(
    split, unlabelled
):
    fitter = fitting.Fitter(None, build, unlabelled, SPEC)
    with pytest.raises(InputError, match="needs a donor"):
        fitter(CATALOGUE["encoder"], split, 1)
    wide = models.build(ModelSpec(width=4, depth=1), task="autoencoder", num_classes=0)
    fitter = fitting.Fitter(wide, build, unlabelled, SPEC)
    with pytest.raises(InputError, match="does not fit donor and recipient"):
        fitter(CATALOGUE["encoder"], split, 1)


def test_a_loss_that_is_not_finite_says_which_rate_to_lower(fitter, split):
    with pytest.raises(InputError, match="lower --learning_rate than 1e"):
        fitter(CATALOGUE["scratch"], split, 20, learning_rate=1e30)


def test_the_cost_of_a_step_is_counted_in_multiplications():
    images = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", name="encoder_1_a_conv")(images)
    model = keras.Model(images, keras.layers.Conv2D(2, 1, name="head_x_conv")(x))
    # a place: 9 * 1 * 2 = 18 and 2 * 2 = 4; no gradient goes into the image
    whole = (18 + 4) + (18 + 4) + 4
    assert cost.step_cost(CATALOGUE["scratch"], model) == 1.0
    head = Recipe("x", "none", (), "head", "moving")
    assert cost.step_cost(head, model) == pytest.approx((18 + 4 + 4) / whole)
    nothing = Recipe("x", "none", (), "nothing", "moving")
    assert cost.step_cost(nothing, model) == 0.0


def test_fewer_trained_layers_cost_less():
    model = models.unet((16, 16), width=3, depth=2)
    costs = {name: cost.step_cost(recipe, model) for name, recipe in CATALOGUE.items()}
    assert costs["head_only"] < costs["surgical"] < costs["encoder_frozen"] < 1.0
    assert costs["fine_tuned"] == costs["scratch"] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_pspnet_with_dropout_and_a_second_head_is_fitted_the_same_way_twice():
    split = data.load(DataSpec(image_size=(48, 48), train_examples=8), "train")
    images = fitting.unit_images(split)
    spec = ModelSpec(architecture="pspnet", width=4)
    donor = models.build(spec, task="autoencoder", num_classes=0, seed=1)
    donor(images, training=True)

    def pspnet(seed):
        own = ModelSpec(architecture="pspnet", width=4, auxiliary=True)
        return models.build(own, task="segmentation", num_classes=5, seed=seed)

    fitter = fitting.Fitter(donor, pspnet, images, SPEC)
    recipe = CATALOGUE["encoder_frozen"]
    first = [variable.numpy() for variable in fitter(recipe, split, 3).variables]
    fitter(CATALOGUE["head_only"], split, 2)
    for before, variable in zip(first, fitter(recipe, split, 3).variables, strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    assert 0 < cost.step_cost(recipe, fitter.model) < 1
