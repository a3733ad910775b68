"""Small networks of every kind that parameters are moved between."""

import keras
import numpy as np
from keras import layers

from tfreuse import models
from tfreuse.transplant import index, live


def scrambled(model, seed):
    """Draws every array anew: fresh batch norms are all alike and would hide a mix-up."""
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name != "seed_generator_state":
            value = draw.uniform(
                0.5, 1.5, variable.shape
            )  # positive: some are variances
            variable.assign(value.astype(variable.dtype))
    return model


def snapshot(model):
    """Bytes of every variable of the model, and of its optimizer if it has one."""
    held = [*model.weights]
    if getattr(model, "optimizer", None) is not None:
        held += model.optimizer.variables
    return [variable.value.numpy().tobytes() for variable in held]


def arrays(model):
    """Arrays by variable path, without the code under test."""
    found = {}
    for path, layer in live.layers(model):
        below = {id(v) for sub in layer._layers for v in sub.weights}
        own = [v for v in layer.weights if id(v) not in below]
        found |= {f"{path}/{i}": v.value.numpy() for i, v in enumerate(own)}
    assert set(found) == {variable.path for variable in index(model)}
    return found


def block(x, name, filters=3, **bn):
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_bn", **bn)(x)


def flat(*names):
    x = inputs = keras.Input((8, 8, 3))
    for name in names or ("a", "b"):
        x = block(x, name)
    return keras.Model(inputs, x)


def nested():
    """Three levels: model, backbone, stem; the stem shares layer names with the head."""
    inner = keras.Input((8, 8, 3))
    stem = keras.Model(inner, block(inner, "a"), name="stem")
    middle = keras.Input((8, 8, 3))
    backbone = keras.Model(middle, block(stem(middle), "b"), name="backbone")
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, block(backbone(inputs), "a", 2))


def shared():
    """One convolution called twice, one nested model called twice."""
    inputs = keras.Input((8, 8, 3))
    twice = layers.Conv2D(3, 3, padding="same", name="twice")
    part = flat("a")
    return keras.Model(inputs, block(part(part(twice(twice(inputs)))), "b"))


def sequential():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SeparableConv2D(4, 3, name="separable"),
            layers.BatchNormalization(scale=False, name="no_gamma"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.BatchNormalization(center=False, name="no_beta"),
            layers.Conv2DTranspose(2, 2, use_bias=False, name="up"),
        ]
    )


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """A model by hand: its layers in attributes and lists, some with one name."""

    def __init__(self):
        super().__init__()
        self.first = layers.Conv2D(3, 3, name="conv")
        second = layers.Conv2D(3, 3, name="conv")
        self.rest = [second, layers.BatchNormalization(name="bn")]
        self.top = layers.Dense(2, name="top")

    def call(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return self.top(x)


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def bfloat16():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return flat()
    finally:
        keras.config.set_dtype_policy(policy)


ZOO = {
    "unet": lambda: models.unet((8, 8), num_classes=3, width=2, depth=2),
    "pspnet": lambda: models.pspnet((8, 8), num_classes=3, width=2, auxiliary=True),
    "nested": nested,
    "shared": shared,
    "sequential": sequential,
    "subclassed": subclassed,
    "bfloat16": bfloat16,
}


def smallest(task="segmentation", outputs=3, channels=3):
    """Two convolutions: for tests of what is written or read, not of what is computed."""
    pixels = keras.Input((None, None, channels), name="images")
    conv = layers.Conv2D(4, 3, padding="same", name="encoder_1_a_conv")
    head = layers.Conv2D(outputs, 1, name=f"head_{task}_conv")
    return keras.Model(pixels, head(conv(pixels)))


def images(count=2):
    return np.random.default_rng(0).random((count, 8, 8, 3), dtype=np.float32)


def outputs(model, x=None):
    """The model's outputs as bytes, in a fixed order."""
    made = model(images() if x is None else x)
    return [np.asarray(part, np.float32).tobytes() for part in keras.tree.flatten(made)]
