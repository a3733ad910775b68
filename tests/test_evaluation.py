"""Metrics of corrupted auto-encoders, and of models that do not fit the data."""

import keras
import numpy as np
import pytest

from tfreuse import data, models, training
from tfreuse.data import corruption
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.training import evaluation

MODEL = ModelSpec(width=2, depth=1)


@pytest.fixture(scope="module")
def split(scenes):
    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    return data.load(spec, "test")


@pytest.fixture(scope="module")
def images(split):
    (batch,) = data.evaluation_batches(split, 8)
    return batch["image"].numpy()


@pytest.fixture(scope="module")
def identity():
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras.layers.Identity(name="copy")(inputs))


def counts(model, split, kind, **options):
    return evaluation.Evaluator(
        model, split, "autoencoder", corruption=kind, **options
    )()


def test_a_network_that_copies_its_input_makes_the_error_of_the_corruption(
    identity, split, images
):
    noisy = counts(identity, split, "noise").reconstruction
    per_number = noisy.squared_error / images.size
    assert abs(per_number / corruption.NOISE**2 - 1) < 4 * np.sqrt(2 / images.size)
    masked = counts(identity, split, "mask").reconstruction
    away = np.square(images - corruption.GREY).sum()
    assert 0.3 * away < masked.squared_error < 0.7 * away
    assert counts(identity, split, "scramble").value == 1.0  # its target is scrambled


def test_the_target_and_so_its_variation_stay_those_of_the_clean_image(
    identity, split, images
):
    variation = np.square(images - images.mean(axis=0), dtype=np.float64).sum()
    for kind in ("none", "noise", "mask"):
        found = counts(identity, split, kind)
        np.testing.assert_allclose(found.total_variation, variation, rtol=1e-6)
        assert found.floor == 0.0
    scrambled = data.corrupt(images, "scramble").numpy()
    variation = np.square(scrambled - scrambled.mean(axis=0), dtype=np.float64).sum()
    found = counts(identity, split, "scramble")
    np.testing.assert_allclose(found.total_variation, variation, rtol=1e-6)


@pytest.fixture(scope="module")
def of_wrong_size():
    """Gives back its input at another size, level and sign, but a channel that shows nothing."""
    inputs = keras.Input((16, 16, 3))
    outputs = keras.layers.Rescaling([5.0, -3.0, 0.0], [3.0, 1.0, 9.0])(inputs)
    return keras.Model(inputs, outputs)


def test_outputs_are_clipped_as_an_exported_picture_is(of_wrong_size, split, images):
    found = counts(of_wrong_size, split, "none")
    variation = np.square(images - images.mean(axis=0), dtype=np.float64).sum()
    output = images.astype(np.float64) * [5, -3, 0] + [3, 1, 9]
    for error, shown in (
        (found.per_image[:, 0].sum(), output.clip(0, 1)),
        (found.raw_squared_error, output),
    ):
        np.testing.assert_allclose(error, np.square(shown - images).sum(), rtol=1e-5)
    assert (
        found.metric == "r2" and found.value > 1 - found.raw_squared_error / variation
    )
    summary = found.summary(())
    assert summary["raw_r2"] < summary["r2"] and summary["raw_psnr"] < summary["psnr"]
    assert summary["raw_r2"] == pytest.approx(1 - found.raw_squared_error / variation)


def test_a_fitted_r2_sees_what_an_output_of_the_wrong_size_shows(
    of_wrong_size, split, images
):
    """Gains and offsets come from the images of the fit, never from the measured ones."""
    other = np.random.default_rng(0).random((20, 16, 16, 3)).astype(np.float32)
    found = counts(of_wrong_size, split, "none", fit=(other, other))
    assert found.metric == "fitted_r2" and len(found.per_image) == len(images)
    np.testing.assert_allclose(found.gains, [1 / 5, -1 / 3, 0], rtol=1e-5, atol=1e-6)
    expected = [-3 / 5, 1 / 3, other[..., 2].mean(dtype=np.float64)]
    np.testing.assert_allclose(found.offsets, expected, rtol=1e-5)
    lost = np.square(images[..., 2].astype(np.float64) - expected[2]).sum()
    np.testing.assert_allclose(found.per_image[:, 0].sum(), lost, rtol=1e-4)
    sums = found.sums()
    assert found.value == pytest.approx(
        1 - sums["squared_error"] / sums["total_variation"]
    )
    assert sums["raw_squared_error"] > 10 * sums["total_variation"]


def test_a_fit_depends_neither_on_batches_nor_on_the_evaluations_before_it(
    split, images
):
    model = models.build(MODEL, task="autoencoder", num_classes=0, seed=0)
    fit = (images[:5], images[:5])
    whole, parts = (
        evaluation.Evaluator(
            model, split, "autoencoder", fit=fit, batch_size=size, sweeping=sweeping
        )
        for size, sweeping in ((8, False), (3, True))
    )
    first = whole()
    np.testing.assert_allclose(first.value, parts().value, rtol=1e-5)
    kernel = model.layers[-1].kernel if model.layers[-1].weights else model.weights[0]
    start = kernel.numpy()
    before = parts()
    kernel.assign(2 * start)
    assert parts().gains != before.gains
    kernel.assign(start)
    again = parts()
    assert again.gains == before.gains and again.value == before.value
    assert np.array_equal(again.per_image[:, 0], before.per_image[:, 0])


@pytest.mark.parametrize("kind", ["noise", "mask", "scramble"])
def test_the_size_of_the_batches_changes_nothing(split, kind):
    model = models.build(MODEL, task="autoencoder", num_classes=0, seed=0)
    whole, parts = (counts(model, split, kind, batch_size=n) for n in (8, 3))
    np.testing.assert_allclose(whole.per_image[:, 0], parts.per_image[:, 0], rtol=1e-6)
    assert whole.total_variation == parts.total_variation


def test_batches_of_two_sizes_are_traced_once(split):
    """Of 101 images the last batch is smaller, and a trace takes as long as many batches."""
    traces = []

    class Traced(keras.layers.Layer):
        def call(self, images):
            traces.append(images.shape)
            return images

    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, Traced()(inputs))
    traces.clear()  # of the construction
    evaluate = evaluation.Evaluator(model, split, "autoencoder", batch_size=3)
    evaluate()
    evaluate()
    assert traces == [(None, 16, 16, 3)]


def test_all_metrics_say_what_the_input_lost(identity, split):
    clean = training.evaluate(identity, split, "autoencoder")
    masked = training.evaluate(identity, split, "autoencoder", "mask")
    assert (clean["corruption"], masked["corruption"]) == ("none", "mask")
    assert masked["r2"] < clean["r2"] == 1.0
    assert masked["ssim"] < clean["ssim"]


def test_a_segmentation_is_not_corrupted(split):
    model = models.build(MODEL, task="segmentation", num_classes=3, seed=0)
    with pytest.raises(ValueError, match="auto-encoders"):
        evaluation.Evaluator(model, split, "segmentation", corruption="noise")


def test_a_model_of_other_classes_is_refused_with_both_numbers(split):
    model = models.build(MODEL, task="segmentation", num_classes=2, seed=0)
    with pytest.raises(InputError, match="2 classes, the data set has 3.*--labels"):
        training.evaluate(model, split, "segmentation")
    found = training.evaluate(model, data.relabel(split, "foreground"), "segmentation")
    assert list(found["per_class_iou"]) == ["class 0", "foreground"]
    assert np.sum(found["confusion_matrix"]) == 8 * 16 * 16
