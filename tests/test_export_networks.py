"""Networks that users bring, exported: what Keras computes, at any size where that can be, said plainly."""

import dataclasses
import importlib.util
import os
import re

import keras
import numpy as np
import people
import pytest
import tensorflow as tf
from keras import layers

from tfreuse import export, prediction
from tfreuse.errors import InputError, in_one_line
from tfreuse.export import check, portable, serving, sides
from tfreuse.models import endings

ONNX = all(map(importlib.util.find_spec, ("tf2onnx", "onnxruntime")))


def pixels(side=16, count=2):
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def keras_output(model, images):
    return np.asarray(model(images.astype(np.float32) / 255.0, training=False))


def softmax(values):
    return tf.nn.softmax(values).numpy()


def loaded(path):
    """A function of images and a signature's name, which runs the SavedModel."""
    saved_model = tf.saved_model.load(path)

    def run(images, signature="serving_default"):
        outputs = saved_model.signatures[signature](images=tf.constant(images))
        return {name: value.numpy() for name, value in outputs.items()}

    return run


# Every network that tests/people.py has, and every format


@pytest.mark.parametrize("kind", people.NETWORKS)
def test_the_files_of_a_network_compute_what_keras_does_at_two_sizes(kind, tmp_path):
    model = people.build(kind)
    path = export.export(model, tmp_path, task="segmentation")
    facts = export.metadata(path)
    ends_in_softmax = kind == "softmax end"
    assert facts["model_output"] == ("probabilities" if ends_in_softmax else "logits")
    assert facts["fixed_size"] is None and facts["image_range"] == "uint8 images / 255"
    served = loaded(path)
    for side in (16, 24):
        images = pixels(side)
        values = keras_output(people.resized(model, side), images)
        expected = values if ends_in_softmax else softmax(values)
        found = served(images)
        np.testing.assert_allclose(found["probabilities"], expected, 0, 1e-5)
        logits = served(images, "logits")["logits"]
        np.testing.assert_allclose(softmax(logits), expected, 0, 1e-5)
        assert (found["mask"] == expected.argmax(-1)).mean() > 0.99
    assert served(pixels(16)[:, :13, :9])["mask"].shape == (2, 13, 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "kind"),
    [
        ("onnx", "softmax end"),
        ("onnx", "bilinear"),
        ("onnx", "Normalization"),
        ("litert", "nested"),
        ("litert", "bilinear"),
    ],
)
def test_onnx_and_litert_files_compute_what_keras_does(kind, format, tmp_path):
    if format == "onnx" and not ONNX:
        pytest.skip("pip install -e '.[onnx]'")
    model = people.build(kind)
    facts = export.convert(model, format, tmp_path, size=(24, 24), task="segmentation")
    values = keras_output(people.resized(model, 24), pixels(24))
    expected = values if kind == "softmax end" else softmax(values)
    found = portable.runner(format, tmp_path / facts["file"])(pixels(24))
    np.testing.assert_allclose(found["probabilities"], expected, 0, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_files_hold_grouped_convolutions_and_exact_gelu(format, tmp_path):
    if format == "onnx" and not ONNX:
        pytest.skip("pip install -e '.[onnx]'")
    model = model_of(
        lambda x: conv(conv(conv(x, 8), 8, groups=2, activation="gelu"), 2, groups=2)
    )
    facts = export.convert(model, format, tmp_path, size=(24, 24), task="segmentation")
    found = portable.runner(format, tmp_path / facts["file"])(pixels(24))
    expected = softmax(keras_output(people.resized(model, 24), pixels(24)))
    np.testing.assert_allclose(found["probabilities"], expected, 0, 1e-5)


def test_a_file_that_its_runtime_refuses_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(
        portable, "_to_litert", lambda network, path, *rest: path.write_bytes(b"?")
    )
    model = people.build("softmax end")
    with pytest.raises(InputError, match="cannot be converted to litert: [^\n]*$"):
        export.convert(model, "litert", tmp_path, size=(24, 24), task="segmentation")


# What the output is


def conv(x, filters=3, **options):
    return layers.Conv2D(filters, 3, padding="same", **options)(x)


def half(x):
    return layers.MaxPooling2D()(conv(x, 4))


def model_of(function, shape=(16, 16, 3)):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    return keras.Model(inputs, function(inputs))


def nested_softmax(x):
    return model_of(lambda y: layers.Softmax()(conv(y)))(x)


def two(probability):
    return np.concatenate([1 - probability, probability], axis=-1)


def same(values):
    return values


def sigmoid(values):
    return tf.sigmoid(values).numpy()


# network: (function, probabilities from Keras's own output, what that is, logits are served)
ENDINGS = {
    "layer": (lambda x: layers.Softmax()(conv(x)), same, "probabilities", True),
    "Activation": (
        lambda x: layers.Activation("softmax")(conv(x)), same, "probabilities", True,
    ),
    "convolution": (
        lambda x: conv(x, activation="softmax"), same, "probabilities", True,
    ),
    "operation": (
        lambda x: keras.ops.softmax(conv(x), axis=3), same, "probabilities", True,
    ),
    "Reshape behind": (
        lambda x: layers.Reshape((16, 16, 3))(
            layers.Softmax()(layers.Reshape((256, 3))(conv(x)))
        ), same, "probabilities", True,
    ),
    "nearest behind": (
        lambda x: layers.UpSampling2D()(layers.Softmax()(conv(half(x)))),
        same, "probabilities", True,
    ),
    "bilinear behind": (
        lambda x: layers.UpSampling2D(interpolation="bilinear")(
            layers.Softmax()(conv(half(x)))
        ), same, "probabilities", False,
    ),
    "inner model": (nested_softmax, same, "probabilities", False),
    "sigmoid of one": (
        lambda x: conv(x, 1, activation="sigmoid"), two, "probabilities", True,
    ),
    "sigmoid of two": (
        lambda x: keras.ops.sigmoid(conv(x, 2)), same, "probabilities", True,
    ),
    "one logit": (lambda x: conv(x, 1), lambda y: two(sigmoid(y)), "logits", True),
    "linear resizing": (
        lambda x: keras.ops.image.resize(conv(half(x)), (16, 16)),
        softmax, "logits", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_probabilities_are_those_of_keras_however_the_network_ends(ending):
    function, probabilities, kind, has_logits = ENDINGS[ending]
    model = model_of(function)
    expected = probabilities(keras_output(model, pixels()))
    network = export.examined(model, "segmentation")
    found = serving.server(network)(tf.constant(pixels()))
    np.testing.assert_allclose(found["probabilities"], expected, 0, 1e-5)
    np.testing.assert_allclose(check.expected(network, pixels()), expected, 0, 1e-6)
    assert (found["mask"].numpy() == expected.argmax(axis=-1)).mean() > 0.99
    assert network.facts()["model_output"] == kind
    assert ("logits" in serving.signatures(network)) == has_logits
    assert network.num_classes == expected.shape[-1]


@pytest.mark.parametrize("around", [None, "softmax", "an inner model", "one_hot"])
def test_a_last_argmax_is_cut_off_and_its_labels_are_the_mask(around, tmp_path):
    def function(x):
        x = layers.Softmax()(conv(x)) if around == "softmax" else conv(x)
        labels = keras.ops.cast(keras.ops.argmax(x, axis=-1), "uint8")
        return keras.ops.one_hot(labels, 3) if around == "one_hot" else labels

    model = model_of(function)
    if around == "an inner model":
        model = model_of(model)
    path = export.export(model, tmp_path, task="segmentation")
    found = loaded(path)(pixels())
    labels = keras_output(model, pixels())
    labels = labels.argmax(-1) if around == "one_hot" else labels
    np.testing.assert_array_equal(found["mask"], labels)
    np.testing.assert_array_equal(found["probabilities"].argmax(-1), found["mask"])
    facts = export.metadata(path)
    assert facts["model_output"] == "labels" and "argmax" in facts["remarks"][0]


def test_the_check_does_not_share_a_mistake_on_what_the_output_is():
    """A softmax that was overlooked would be applied twice, by the file and by the check."""
    model = people.build("softmax end")
    network = export.examined(model, "segmentation")
    mistaken = dataclasses.replace(
        network, model=sides.freed(model)[0], activation=endings.LINEAR
    )
    serve = serving.server(mistaken)

    def run(images):
        yield {name: x.numpy() for name, x in serve(tf.constant(images)).items()}

    with pytest.raises(InputError, match="differs from the model by"):
        check.agree(mistaken, run, [(16, 16)])


@pytest.mark.parametrize("inside", [False, True], ids=["layer", "inner model"])
def test_a_network_that_scales_its_pixels_gets_them_from_0_to_255(inside):
    def function(x):
        return conv(layers.Rescaling(1 / 127.5, offset=-1.0)(x))

    model = model_of(lambda x: model_of(function)(x) if inside else function(x))
    expected = softmax(model(pixels().astype(np.float32), training=False))
    network = export.examined(model, "segmentation")
    served = serving.server(network)(tf.constant(pixels()))["probabilities"]
    np.testing.assert_allclose(served, expected, 0, 1e-5)
    assert "from 0 to 255" in network.remarks[0]
    assert network.facts()["image_range"] == "uint8 images / 1"


# Sizes


def pooled(x):
    """Averages over the image beside features, as in PSPNet and ASPP; of one size."""
    whole = layers.GlobalAveragePooling2D(keepdims=True)(x)
    whole = layers.UpSampling2D(16, interpolation="bilinear")(whole)
    return conv(layers.Concatenate()([x, whole]))


def dense(x):
    return layers.Reshape((16, 16, 3))(layers.Dense(768)(layers.Flatten()(half(x))))


def resized_inside(x):
    """Calls a network of two outputs, one of which has 8 x 8 pixels at any size."""
    inner = keras.Input((16, 16, 3))
    body = keras.Model(inner, [conv(inner), layers.Resizing(8, 8)(conv(inner))])
    fine, coarse = body(x)
    return layers.Add()([fine, layers.UpSampling2D()(coarse)])


class Position(layers.Layer):
    """Adds a value of its own to each of 16 x 16 pixels, which its output's shape does not show."""

    def build(self, shape):
        self.values = self.add_weight(shape=(1, 16, 16, 3))

    def call(self, x):
        return x + self.values

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (pooled, "up_sampling2d.* gives 16 x 16 pixels at any size"),
        (dense, "16 x 16"),
        (lambda x: layers.Resizing(16, 16)(conv(half(x))), "resizing.* gives 16 x 16"),
        (resized_inside, "resizing.* gives 8 x 8"),
        (lambda x: conv(Position()(x)), "only: of 2 x 3 pixels, .*must be equal"),
    ],
    ids=["pooled", "dense", "Resizing", "inside", "assumed"],
)
def test_a_network_that_takes_one_size_is_served_at_that_size(function, reason):
    model = model_of(function)
    network = export.examined(model, "segmentation")
    assert network.size == (16, 16) and network.facts()["fixed_size"] == [16, 16]
    (remark,) = network.remarks
    assert remark.startswith("served for images of 16 x 16 pixels only: ")
    assert re.search(reason, remark)
    expected = softmax(keras_output(model, pixels()))
    found = serving.server(network)(tf.constant(pixels()))["probabilities"]
    np.testing.assert_allclose(found, expected, 0, 1e-5)


class ByNumPy(layers.Layer):
    """Computes outside TensorFlow: a graph of it has no shapes, its trace has."""

    def call(self, x):
        doubled = tf.numpy_function(lambda values: 2 * values, [x], x.dtype)
        doubled.set_shape(x.shape)
        return doubled


@pytest.mark.parametrize(
    ("function", "multiple", "sizes"),
    [
        (lambda x: layers.UpSampling2D()(half(x)), 2, [(None, None)]),
        (lambda x: ByNumPy()(conv(x)), 1, [(None, None), (2, 3)]),
    ],
    ids=["known", "open"],
)
def test_sizes_are_inferred_from_one_graph_where_its_shapes_are_known(
    function, multiple, sizes, monkeypatch
):
    traced, trace = [], sides._traced
    monkeypatch.setattr(
        sides, "_traced", lambda *args: (traced.append(args[-2:]), trace(*args))[1]
    )
    assert sides.freed(model_of(function))[1] == multiple
    assert traced == sizes


def test_a_network_is_traced_once_while_it_is_written(tmp_path, monkeypatch):
    network = export.examined(model_of(conv), "segmentation")
    calls, run = [], type(network).run
    monkeypatch.setattr(
        type(network), "run", lambda *args: (calls.append(1), run(*args))[1]
    )
    serving.write(network, tmp_path)
    assert len(calls) == 1


def test_files_of_a_network_of_one_size_have_that_size(tmp_path):
    model = model_of(pooled)
    path = export.export(model, tmp_path, task="segmentation")
    signature = tf.saved_model.load(path).signatures["serving_default"]
    images = signature.structured_input_signature[1]["images"]
    assert images.shape == (None, 16, 16, 3)
    # Smaller images are padded, larger ones are cut into tiles.
    assert prediction.Predictor(path).picture(pixels(9)[0]).shape == (9, 9)
    assert prediction.Predictor(path).picture(pixels(24)[0]).shape == (24, 24)
    facts = export.convert(
        model, "litert", tmp_path, size=(64, 64), task="segmentation"
    )
    assert "16 x 16" in facts["check"]["images"]


@pytest.mark.parametrize(
    "layer",
    [
        layers.UpSampling2D((2, 3), interpolation="bilinear"),
        layers.UpSampling2D(2, interpolation="bicubic"),
        layers.AdaptiveAveragePooling2D(3),
    ],
    ids=["bilinear", "bicubic", "adaptive"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["layer", "inner model"])
def test_layers_that_need_fixed_sides_are_replaced_by_equal_ones(layer, inside):
    model = model_of(lambda x: model_of(layer)(x) if inside else layer(x))
    free = sides.changed(model, None, None)
    for size in ((16, 16), (7, 10)):
        images = np.random.default_rng(0).random((2, *size, 3), dtype=np.float32)
        traced = tf.function(
            free, input_signature=[tf.TensorSpec((None, None, None, 3))]
        )
        np.testing.assert_allclose(traced(images), layer(images), 0, 1e-6)


def test_a_sequential_model_that_was_never_called_is_a_network_too():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(3, 1)])
    network = export.examined(model, "segmentation")
    assert network.size is None and network.num_classes == 3


def test_a_model_is_refused_before_it_is_exported_by_what_it_needs():
    for model, words in (
        (model_of(half), "8, 8.* pixels of images of .16, 16.*UpSampling2D"),
        (keras.Sequential([layers.Conv2D(3, 1)]), "subclassed or unbuilt"),
        (model_of(lambda x: layers.Flatten()(x)), "got the shapes"),
        (model_of(layers.Permute((3, 1, 2)), (3, 16, 16)), "channels first"),
    ):
        with pytest.raises(InputError, match=words):
            export.examined(model, "segmentation")


# Disks that are full, and libraries that talk


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def half_written(network, path, *args, **options):
        (path / "saved_model.pb").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(
            None, None, f"{path}; No space left on device"
        )

    monkeypatch.setattr(serving, "write", half_written)
    model = people.build("axis 1")
    for write in (
        lambda: export.export(model, tmp_path / "a" / "b", task="segmentation"),
        lambda: export.convert(model, "litert", tmp_path / "a", task="segmentation"),
    ):
        with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
            write()
        assert in_one_line(caught.value).startswith("no space is left on the disk")
        assert not list(tmp_path.iterdir())


def test_what_a_converter_says_is_shown_only_if_it_fails(tmp_path, monkeypatch, capfd):
    model = people.build("axis 1")
    facts = export.convert(
        model, "litert", tmp_path, size=(16, 16), task="segmentation"
    )
    assert capfd.readouterr() == ("", "") and facts["bytes"] > 0

    def failing(*args):
        os.write(2, b"the real reason \x1b[31m\n")  # as C++ does
        raise RuntimeError("no luck")

    monkeypatch.setattr(portable, "_to_litert", failing)
    with pytest.raises(InputError, match="converted to litert: no luck"):
        export.convert(model, "litert", tmp_path, task="segmentation")
    assert "the real reason \\x1b[31m" in capfd.readouterr().err
