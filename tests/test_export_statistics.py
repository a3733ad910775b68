"""Exports whose batch normalization computes with the statistics of the batch that it is given."""

import commands
import keras
import numpy as np
import people
import pytest
import tensorflow as tf
from keras import layers

from tfreuse import export
from tfreuse.errors import InputError
from tfreuse.export.network import Network


def pixels(count=3, side=16):
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def scrambled(model):
    """Statistics, gammas and betas that are not those of a fresh model."""
    draw = np.random.default_rng(1)
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def in_training(model, images):
    """What plain Keras computes with training=True; the moving statistics stay."""
    before = model.get_weights()
    values = np.asarray(model(images.astype(np.float32) / 255.0, training=True))
    model.set_weights(before)
    return values


def bare(scale, center, axis=-1):
    inputs = keras.Input((16, 16, 3))
    norm = layers.BatchNormalization(axis=axis, scale=scale, center=center)
    x = layers.ReLU()(norm(layers.Conv2D(4, 3, padding="same")(inputs)))
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


def frozen(held=True):
    """A backbone as transfer learning calls it: not trainable, and with training=False."""
    inputs = keras.Input((16, 16, 3))
    keras.utils.set_random_seed(0)
    body = bare(True, True)
    body.trainable = not held
    x = body(inputs, training=False) if held else body(inputs)
    return keras.Model(inputs, layers.Conv2D(3, 1)(layers.BatchNormalization()(x)))


def pooled():
    """Features of the whole image join, as in a pyramid of pooled features."""
    inputs = x = keras.Input((16, 16, 3))
    x = layers.BatchNormalization(name="fine")(layers.Conv2D(4, 3, padding="same")(x))
    whole = layers.GlobalAveragePooling2D(keepdims=True)(x)
    whole = layers.BatchNormalization(name="whole")(layers.Conv2D(4, 1)(whole))
    x = layers.Add()([x, whole])
    return keras.Model(inputs, layers.Conv2D(3, 1)(x))


MODELS = {  # and the model that plain Keras runs with training=True
    "nested": (lambda: people.build("nested"),) * 2,
    "shared": (lambda: people.build("shared layers"),) * 2,
    "axis 1": (lambda: people.build("axis 1"),) * 2,
    "no gamma, no beta": (lambda: bare(False, False),) * 2,
    "no gamma": (lambda: bare(False, True, axis=2),) * 2,
    "frozen": (frozen, lambda: frozen(held=False)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_network_computes_what_keras_does_in_training(kind):
    model, reference = (scrambled(build()) for build in MODELS[kind])
    reference.set_weights(model.get_weights())
    network = Network.of(model, "segmentation", "batch")
    before = model.get_weights()
    for images in (pixels(3), pixels(1)):
        expected = in_training(reference, images)
        for part in (network.model, network.original):
            served = network.run(part, images / np.float32(255))
            np.testing.assert_allclose(served, expected, 0, 2e-5)
    stored = np.asarray(model(images / np.float32(255), training=False))
    assert np.abs(stored - expected).max() > 0.05  # else nothing was tested
    for now, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, value)


def test_the_tool_exports_it_and_says_what_it_does_to_single_images(tmp_path):
    model = scrambled(pooled())
    model.save(tmp_path / "mine.keras")
    words = (f"--model={tmp_path}/mine.keras", f"--out_dir={tmp_path}/served")
    words += ("--task=segmentation", "--statistics=batch")
    refused = commands.run("export", *words, "--formats=litert")
    assert refused.returncode == 1 and "litert files take one image" in refused.stderr
    assert not (tmp_path / "served").exists()
    done = commands.run("export", *words)
    assert done.returncode == 0, done.stderr
    assert "an image alone is normalized by itself" in done.stdout
    assert "of an image alone whole has one value a channel" in done.stdout
    path = tmp_path / "served" / "1"
    assert export.metadata(path)["statistics"] == "batch"
    loaded = tf.saved_model.load(path)
    for images in (pixels(3), pixels(1)):
        served = loaded.signatures["logits"](images=tf.constant(images))["logits"]
        np.testing.assert_allclose(served, in_training(model, images), 0, 2e-5)
    image = tf.io.encode_png(images[0])
    alone = loaded.signatures["from_bytes"](image_bytes=image)["probabilities"]
    expected = tf.nn.softmax(in_training(model, images))
    np.testing.assert_allclose(alone, expected, 0, 2e-5)


def test_models_without_statistics_of_a_batch_are_refused_in_one_line():
    inputs = keras.Input((16, 16, 3))
    without = keras.Model(inputs, layers.Conv2D(3, 1)(inputs))
    cases = [(without, "no batch normalization"), (people.build("renorm"), "one_norm")]
    for model, says in cases:
        with pytest.raises(InputError, match=says) as caught:
            export.examined(model, "segmentation", "batch")
        assert "\n" not in str(caught.value) and "--statistics" in str(caught.value)
