import keras
import numpy as np
import people
import pytest
import tensorflow as tf

from tfreuse.training import norms


def people_with_statistics(kind):
    """A network whose statistics are of other images than those of the test."""
    model = people.build(kind)
    model(people.images(12, seed=7) ** 2, training=True)
    return model


def by_keras(model, layer, images):
    """Trains the statistics of one layer with momentum 0, while all others hold theirs."""
    layers = norms.normalizations(model)
    before = [variable.numpy() for variable in model.weights]
    momentum = layer.momentum
    for other in layers:
        other.trainable = other is layer
    layer.momentum = 0.0
    model(images, training=True)
    moments = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    for other in layers:
        other.trainable = True
    layer.momentum = momentum
    for variable, value in zip(model.weights, before, strict=True):
        variable.assign(value)
    return moments


@pytest.mark.parametrize(
    "kind", ["nested", "several outputs", "axis 1", "Normalization"]
)
def test_moments_are_those_that_keras_computes_behind_the_held_statistics(kind):
    model, images = people_with_statistics(kind), people.images()
    before = [variable.numpy() for variable in model.weights]
    rows = norms.Measurer(model)(images, batch_size=4)  # the last batch is smaller
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert {row[0] for row in rows} == set(norms.normalizations(model))
    for layer, mean, variance in rows:
        wanted = by_keras(model, layer, images)
        np.testing.assert_allclose(mean, wanted[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance, wanted[1], rtol=1e-4, atol=1e-6)


def test_batches_of_two_sizes_are_traced_once(monkeypatch):
    traces, run = [], norms.run
    monkeypatch.setattr(norms, "run", lambda *args: (traces.append(1), run(*args)))
    norms.Measurer(people.build("nested"))(people.images(5), batch_size=4)
    assert len(traces) == 1


def test_moments_are_traced_once_for_all_layers_and_models():
    norms._moments.cache_clear()
    for kind in ("nested", "own names"):
        model = people.build(kind)
        norms.Measurer(model)(people.images(4))
        assert len(norms.normalizations(model)) > 1
    assert norms._moments.cache_info().currsize == 1
    compute = norms._moments(tf.float32, 4, (0, 1, 2))
    assert compute.experimental_get_tracing_count() == 1


def test_a_shared_layer_has_the_moments_of_all_its_inputs():
    model, images = people_with_statistics("shared layers"), people.images()
    layer, twice = model.get_layer("twice_norm"), model.get_layer("twice_conv")
    first = keras.Model(model.input, model.get_layer("one_relu").output)(images)
    inputs = [twice(first)]
    inputs.append(twice(layer(inputs[0], training=False)))
    values = np.float64(keras.ops.convert_to_numpy(inputs)).reshape(-1, 4)
    rows = {row[0]: row[1:] for row in norms.Measurer(model)(images, batch_size=4)}
    mean, variance = rows[layer]
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, values.var(0), rtol=1e-4)


def test_several_inputs_and_parameters_that_change_after_the_first_call():
    sides = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    joined = keras.layers.Concatenate()(sides)
    model = keras.Model(sides, keras.layers.BatchNormalization()(joined))
    images = [people.images(5, 8), people.images(5, 8, seed=1) * 3]
    measure = norms.Measurer(model)
    counts = []
    ((_, mean, variance),) = measure(images, 2, counts.append)
    assert counts == [2, 4, 5]
    values = np.concatenate(images, axis=-1).astype(np.float64)
    np.testing.assert_allclose(mean, values.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, values.var((0, 1, 2)), rtol=1e-5)

    inputs = keras.Input((8, 8, 3))
    kernel = keras.layers.Conv2D(4, 3)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(kernel(inputs)))
    measure = norms.Measurer(model)
    first = measure(images[0])[0][2]
    kernel.kernel.assign(2 * kernel.kernel)
    np.testing.assert_allclose(measure(images[0])[0][2], 4 * first, rtol=1e-4)


@pytest.mark.parametrize("over", [[0, 1, 2], [1, 2]], ids=["batch", "rows"])
@pytest.mark.parametrize("mean", [0.0, 3.0, 5.0, 6.0, 1e4])
def test_moments_keep_their_digits_however_large_the_mean_is(mean, over):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(4, 192, 192, 3)) * [1, 0, 1] + [mean, mean, 0]
    values = values.astype(np.float32)
    exact = values.astype(np.float64)
    expected = exact.mean(tuple(over)), exact.var(tuple(over))
    computed = tf.function(lambda x: norms.moments(x, over))(values)
    for ours, right, tolerance in zip(
        computed, expected, (1e-6 * max(1, mean), 2e-5), strict=True
    ):
        np.testing.assert_allclose(ours, right, atol=tolerance)


def test_moments_of_channels_first_and_of_vectors_are_those_of_numpy():
    draw = np.random.default_rng(0)
    images = draw.normal(3, 1, (5, 2, 8, 6)).astype(np.float32)
    for values, over in (
        (images, [0, 2, 3]),
        (images, [2, 3]),
        (images[:, :, 0, 0], [0]),
    ):
        mean, variance = norms.moments(tf.constant(values), over)
        np.testing.assert_allclose(mean, values.mean(tuple(over)), rtol=1e-5)
        np.testing.assert_allclose(variance, values.var(tuple(over)), rtol=1e-4)


def test_moments_of_values_whose_squares_overflow_are_finite():
    values = np.float32([[1e25, 1], [3e25, 3]])
    mean, _ = norms.moments(tf.constant(values), [0])
    np.testing.assert_allclose(mean, [2e25, 2])


def test_moments_of_rows_that_are_single_values_are_those_values():
    values = np.float32([[[[3, 0]]], [[[5, 0]]]])
    mean, variance = norms.moments(tf.constant(values), [1, 2])
    np.testing.assert_array_equal(mean, [[3, 0], [5, 0]])
    np.testing.assert_array_equal(variance, np.zeros((2, 2)))
