import keras
import numpy as np
import pytest

from tfreuse import transplant
from tfreuse.training import recalibration

IMAGES = np.random.default_rng(0).random((50, 12, 12, 3), dtype=np.float32) * 3


def network(dropout=0.0):
    """Three convolutions with batch norm, a join, and dropout where asked for."""
    x = images = keras.Input((None, None, 3))
    joined = []
    for number in range(3):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"{number}_conv")(x)
        x = keras.layers.BatchNormalization(name=f"{number}_bn")(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.Dropout(dropout)(x)
        joined.append(x)
    x = keras.layers.Concatenate()(joined)
    return keras.Model(images, keras.layers.Conv2D(2, 1)(x))


def statistics(model):
    return {
        layer.name: (layer.moving_mean.numpy(), layer.moving_variance.numpy())
        for layer in recalibration.normalizations(model)
    }


def by_definition(model, images):
    """Layer by layer with NumPy: mean and variance of each layer's own input."""
    for layer in recalibration.normalizations(model):
        inputs = np.asarray(keras.Model(model.input, layer.input)(images), np.float64)
        layer.moving_mean.assign(inputs.mean(axis=(0, 1, 2)))
        layer.moving_variance.assign(inputs.var(axis=(0, 1, 2)))


@pytest.mark.parametrize("batch_size", [None, 16, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_statistics_are_those_of_each_layers_input_over_all_images(batch_size, dropout):
    keras.utils.set_random_seed(1)
    model, expected = network(dropout), network(dropout)
    expected.set_weights(model.get_weights())
    by_definition(expected, IMAGES)
    recalibration.Recalibrator(model, IMAGES, batch_size)()
    wanted = statistics(expected)
    for name, found in statistics(model).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-4, atol=1e-5)


def test_only_moving_statistics_change():
    model = network()
    before = {v.path: v.numpy() for v in model.trainable_variables}
    recalibration.Recalibrator(model, IMAGES)()
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(before[variable.path], variable.numpy())


def test_it_follows_parameters_that_change_after_it_was_made():
    model = network()
    recalibrate = recalibration.Recalibrator(model, IMAGES)
    recalibrate()
    first = statistics(model)["0_bn"][1]
    kernel = model.get_layer("0_conv").kernel
    kernel.assign(2 * kernel)
    recalibrate()
    np.testing.assert_allclose(statistics(model)["0_bn"][1], 4 * first, rtol=1e-4)


def test_scaled_kernels_are_the_same_function_after_it():
    model = network()
    recalibrate = recalibration.Recalibrator(model, IMAGES)
    recalibrate()
    before = np.asarray(model(IMAGES[:4]))
    kernel = model.get_layer("1_conv").kernel
    kernel.assign(3 * kernel)
    assert np.abs(before - model(IMAGES[:4])).max() > 1e-2
    recalibrate()
    np.testing.assert_allclose(before, model(IMAGES[:4]), atol=2e-2)  # up to epsilon


def test_wrong_statistics_and_biases_leave_no_trace_after_it():
    """stats + recalibration = recalibration, bit for bit; likewise a bias before a norm."""
    model, donor = network(), network()
    recalibrate = recalibration.Recalibrator(model, IMAGES)
    recalibrate()
    before = np.asarray(model(IMAGES[:4]))
    donor(IMAGES * 5 + 2, training=True)
    plan = transplant.plan(donor, model, roles="stats")
    displaced = transplant.apply(plan, donor, model)
    assert np.abs(before - model(IMAGES[:4])).max() > 1e-3
    recalibrate()
    np.testing.assert_array_equal(before, model(IMAGES[:4]))
    transplant.undo(displaced, model)
    model.get_layer("0_conv").bias.assign([5.0, -3.0, 0.5, 1.0])
    recalibrate()
    np.testing.assert_allclose(before, model(IMAGES[:4]), atol=1e-4)


def test_a_model_without_batch_norm_is_left_alone():
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.Conv2D(2, 1)(images))
    recalibration.Recalibrator(model, IMAGES)()


@pytest.mark.parametrize("change", ["bias", "scaled kernel"])
def test_what_batch_norm_takes_out_again_costs_nothing_once_recalibrated(change):
    """A bias before batch norm, and the scale of a kernel, are no part of the function."""
    keras.utils.set_random_seed(1)
    model = network()
    for layer in recalibration.normalizations(model):
        layer.epsilon = 1e-9  # with the usual one small scales would matter a little
    recalibrate = recalibration.Recalibrator(model, IMAGES)
    recalibrate()
    before = model(IMAGES).numpy()
    layer = model.get_layer("1_conv")
    kernel, bias = layer.get_weights()
    layer.set_weights([3 * kernel, bias] if "kernel" in change else [kernel, bias + 5])
    assert not np.allclose(model(IMAGES), before, atol=0.1)
    recalibrate()
    np.testing.assert_allclose(model(IMAGES), before, atol=2e-4)
