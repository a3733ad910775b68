"""Networks as users bring them: layers, names and wiring that tfreuse's own networks lack.

Every network maps images [B, 16, 16, 3] to a value of every pixel [B, 16, 16, classes] and takes tasks'
heads as any `--model=` does. `NETWORKS` is the set over which each tool's contract is tested.
"""

import json
import tempfile

import keras
import numpy as np
from keras import layers

SIDE = 16


def _block(x, name, filters=4, axis=-1, **options):
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(axis=axis, name=f"{name}_norm", **options)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def own_names(side=SIDE, classes=3, middle=None, **options):
    """An encoder and decoder with names of its own; `middle` is applied at half resolution."""
    inputs = keras.Input((side, side, 3), name="photo")
    fine = _block(inputs, "one", **options)
    x = layers.MaxPooling2D(name="shrink")(fine)
    x = _block(x, "two", 8, **options)
    if middle is not None:
        x = middle(x)
    x = layers.UpSampling2D(name="grow")(x)
    x = layers.Concatenate(name="join")([x, fine])
    x = _block(x, "three", **options)
    return keras.Model(inputs, layers.Conv2D(classes, 1, name="out")(x), name="mine")


def dropout():
    return own_names(middle=layers.Dropout(0.5, name="drop"))


def renormalized():
    return own_names(renorm=True)


def nested():
    """A network as a layer of another, behind a Rescaling layer."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Rescaling(2.0, offset=-1.0, name="scale")(inputs)
    inner = own_names(classes=6)
    inner.name = "body"
    x = layers.ReLU(name="after")(inner(x))
    return keras.Model(inputs, layers.Conv2D(3, 1, name="out")(x), name="wrapped")


def several_outputs():
    """A nested backbone whose features of three sizes a decoder joins, behind a Rescaling."""
    photo = x = keras.Input((SIDE, SIDE, 3), name="photo")
    features = []
    for name, filters in (("fine", 4), ("middle", 6), ("coarse", 8)):
        x = layers.MaxPooling2D(name=f"{name}_shrink")(x) if features else x
        x = _block(x, name, filters)
        features.append(x)
    body = keras.Model(photo, features, name="body")
    inputs = keras.Input((SIDE, SIDE, 3))
    scaled = layers.Rescaling(2.0, offset=-1.0, name="scale")(inputs)
    fine, middle, x = body(scaled)
    for name, feature in (("join_middle", middle), ("join_fine", fine)):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"{name}_grow")(x)
        x = _block(layers.Concatenate(name=name)([x, feature]), name)
    x = layers.Conv2D(3, 3, padding="same", name="classes")(x)
    return keras.Model(inputs, x, name="several")


def softmax_end():
    body = own_names()
    return keras.Model(
        body.input, layers.Softmax(name="probabilities")(body.output), name="softmax"
    )


def bilinear():
    """Bilinear up-sampling, which needs fixed sides."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.MaxPooling2D(name="shrink")(_block(inputs, "one"))
    x = _block(x, "two", 8)
    x = layers.UpSampling2D(interpolation="bilinear", name="grow")(x)
    return keras.Model(inputs, layers.Conv2D(3, 1, name="out")(x), name="bilinear")


def channels_axis_1():
    """Batch normalization along axis 1 between two transpositions."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = _block(inputs, "one")
    x = layers.Permute((3, 1, 2), name="to_front")(x)
    x = layers.BatchNormalization(axis=1, name="front_norm")(x)
    x = layers.Permute((2, 3, 1), name="to_back")(x)
    return keras.Model(inputs, layers.Conv2D(3, 1, name="out")(x), name="front")


def shared_layers():
    """One convolution and one batch normalization that are each called twice."""
    inputs = keras.Input((SIDE, SIDE, 3))
    x = _block(inputs, "one")
    twice = layers.Conv2D(4, 3, padding="same", name="twice_conv")
    norm = layers.BatchNormalization(name="twice_norm")
    x = norm(twice(norm(twice(x))))
    return keras.Model(inputs, layers.Conv2D(3, 1, name="out")(x), name="shared")


def normalized():
    """A Normalization layer that was adapted to images."""
    inputs = keras.Input((SIDE, SIDE, 3))
    norm = layers.Normalization(name="adapted")
    norm.adapt(np.random.default_rng(0).uniform(0, 1, (8, SIDE, SIDE, 3)))
    body = own_names()
    return keras.Model(inputs, body.call(norm(inputs)), name="normalized")


NETWORKS = {
    "own names": own_names,
    "nested": nested,
    "several outputs": several_outputs,
    "softmax end": softmax_end,
    "bilinear": bilinear,
    "renorm": renormalized,
    "axis 1": channels_axis_1,
    "shared layers": shared_layers,
    "dropout": dropout,
    "Normalization": normalized,
}


def build(kind, seed=0):
    """Builds the network of a kind; the same seed gives the same values."""
    keras.utils.set_random_seed(seed)
    return NETWORKS[kind]()


def images(count=6, side=SIDE, seed=0):
    """Images [B, side, side, 3] in [0, 1]."""
    draw = np.random.default_rng(seed)
    return draw.uniform(0, 1, (count, side, side, 3)).astype("float32")


def resized(model, side):
    """The same network and values for images of another side, as Keras alone rebuilds it."""
    config = json.dumps(keras.saving.serialize_keras_object(model))
    shape = f'"batch_shape": [null, {SIDE}, {SIDE}, 3]'
    assert shape in config
    other = shape.replace(str(SIDE), str(side))
    copy = keras.saving.deserialize_keras_object(
        json.loads(config.replace(shape, other))
    )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/values.weights.h5"
        model.save_weights(path)
        copy.load_weights(path)
    return copy
