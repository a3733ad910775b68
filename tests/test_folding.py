"""The folded view computes what the model computes, by its own variables."""

import keras
import nets
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfreuse import models
from tfreuse.training import folding

IMAGES = np.random.default_rng(0).random((4, 32, 32, 3), dtype=np.float32)


def chain(
    *, dilation=1, groups=1, read_twice=False, output=False, shared=False, **norm
):
    """Convolution, normalization, ReLU; with what makes it foldable or not."""
    x = images = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 1, name="before")(x)
    options = {"dilation_rate": dilation, "groups": groups, "padding": "same"}
    convolve = layers.Conv2D(4, 3, name="conv", **options)
    x = features = convolve(x)
    x = layers.BatchNormalization(name="bn", **norm)(x)
    x = layers.ReLU()(x)
    if read_twice:
        x = layers.Add()([x, features])
    if shared:
        x = convolve(x)
    return keras.Model(images, [x, features] if output else x)


def sequential():
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
        ]
    )


def nested():
    images = keras.Input((32, 32, 3))
    return keras.Model(images, chain()(layers.Conv2D(3, 1)(images)))


FOLDED = {
    "unet": (lambda: models.unet((32, 32), 3, width=4, depth=2), 10),
    "unet without bias": (
        lambda: models.unet((32, 32), 3, width=4, depth=1, use_bias=False), 6
    ),
    "relu first": (
        lambda: models.unet((32, 32), 3, width=4, depth=1, block_order="conv_relu_bn"), 0
    ),
    "pspnet": (lambda: models.pspnet((32, 32), 3, width=4, encoder="small"), 22),
    "dilated": (lambda: chain(dilation=2), 1),
    "grouped": (lambda: chain(groups=2), 1),
    "no gamma": (lambda: chain(scale=False), 1),
    "no beta": (lambda: chain(center=False), 1),
    "read twice": (lambda: chain(read_twice=True), 0),
    "an output": (lambda: chain(output=True), 0),
    "called twice": (lambda: chain(shared=True), 0),
    "sequential": (sequential, 1),
    "nested": (nested, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDED)
def test_the_view_gives_what_the_model_gives(name):
    build, expected = FOLDED[name]
    model = nets.scrambled(build(), 0)
    view = folding.folded(model)
    found = tf.nest.flatten(view(IMAGES, training=False))
    for own, wanted in zip(found, tf.nest.flatten(model(IMAGES)), strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(own, wanted, 0, 1e-5 * scale)
    merged = [layer for layer in view._flatten_layers() if hasattr(layer, "norm")]
    assert len(merged) == expected


def test_the_view_follows_the_models_variables():
    model = nets.scrambled(chain(), 0)
    view = folding.folded(model)
    for layer in ("conv", "bn"):
        for variable in model.get_layer(layer).weights:
            before = np.asarray(view(IMAGES))
            variable.assign(variable * 1.5)
            assert np.abs(view(IMAGES) - before).max() > 1e-3, variable.path
            np.testing.assert_allclose(view(IMAGES), model(IMAGES), 1e-4, 1e-4)


def test_it_computes_in_the_models_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = nets.scrambled(chain(), 0)
    finally:
        keras.config.set_dtype_policy("float32")
    view = folding.folded(model)
    assert view(IMAGES).dtype == tf.bfloat16
    own, wanted = (np.asarray(tf.cast(m(IMAGES), tf.float32)) for m in (view, model))
    np.testing.assert_allclose(own, wanted, 0, 0.02 * np.abs(wanted).max())


def test_a_subclassed_model_is_left_as_it_is():
    class Own(keras.Model):
        def call(self, images):
            return images

    model = Own()
    assert folding.folded(model) is model
