"""Encoders from elsewhere: names kept, sizes that fit, and dilation that changes no feature."""

import inspect
from functools import cache

import commands
import keras
import numpy as np
import pytest

from tfreuse import models, transplant
from tfreuse.errors import InputError
from tfreuse.models import encoders
from tfreuse.specs import ModelSpec
from tfreuse.specs import encoders as encoder_names

FEW = [  # one of each family that is built alike; the rest are tried by hand
    "keras.MobileNetV2",
    "keras.EfficientNetB0",
    "keras.ResNet50",
    "keras.DenseNet121",
    "keras.MobileNetV3Small",
    "keras.ConvNeXtTiny",
    "keras_cv.ResNet18",
    "keras_cv.ResNet50V2",
    "keras_cv.EfficientNetLiteB0",
]


def spec(architecture, encoder, **options):
    return ModelSpec(architecture=architecture, encoder=encoder, width=2, **options)


def build(spec, **options):
    return models.build(
        spec, task="segmentation", **{"num_classes": 3, "seed": 0} | options
    )


def images(height, width, channels=3):
    draw = np.random.default_rng(0)
    return draw.random((1, height, width, channels), dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def libraries():
    """Has a library make an encoder once for the networks here, which copy its layers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_keras", "_keras_cv"):
            patch.setattr(encoders, name, cache(getattr(encoders, name)))
        yield


@pytest.fixture(scope="module")
def networks():
    """Builds a network of (architecture, encoder) when it is first asked for, and keeps it.

    The U-Nets have all features of their encoder, down to the smallest.
    """

    @cache
    def network(architecture, encoder):
        options = {"depth": 5} if architecture == "unet" else {}
        return build(spec(architecture, encoder, **options))

    return network


@pytest.fixture
def model(request, networks):
    return networks(*request.param)


@pytest.mark.parametrize(
    "model",
    [(kind, encoder) for encoder in FEW for kind in ("unet", "pspnet")],
    ids="-".join,
    indirect=True,
)
def test_the_output_is_as_large_as_the_image_at_any_size(model):
    for size in ((64, 64), (77, 51)):
        output = model(images(*size)).numpy()
        assert output.shape == (1, *size, 3)
        assert np.isfinite(output).all()


def test_features_of_each_size_come_from_where_they_are_last_that_large():
    found = encoders.features("keras.MobileNetV2", keras.Input((64, 96, 3)))
    ends = {
        stride: tensor._keras_history.operation.name for stride, tensor in found.items()
    }
    assert ends == {
        2: "block_1_expand_relu",
        4: "block_3_expand_relu",
        8: "block_6_expand_relu",
        16: "block_13_expand_relu",
        32: "out_relu",
    }
    for stride, tensor in found.items():
        assert tensor.shape[1:3] == (64 // stride, 96 // stride)


def test_dilated_features_are_the_encoders_own_where_it_has_any():
    """Dropping every second place of a dilated layer gives what striding would have."""
    x = keras.Input((64, 64, 3))
    keras.utils.set_random_seed(1)
    plain = keras.Model(x, encoders.features("keras_cv.ResNet50", x)[32])
    y = keras.Input((64, 64, 3))
    kept = keras.Model(y, encoders.features("keras_cv.ResNet50", y, max_stride=8)[32])
    for layer in kept.layers:
        layer.set_weights(
            plain.get_layer(layer.name).get_weights() if layer.weights else []
        )
    inside = images(64, 64)
    wanted, found = plain(inside).numpy(), kept(inside).numpy()
    assert found.shape[1:3] == (8, 8)
    places = found[:, ::4, ::4]
    np.testing.assert_allclose(places, wanted, atol=2e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "model, make, module",
    [
        (("unet", f"keras.{make.__name__}"), make, module)
        for make, module in (
            (keras.applications.ResNet50, keras.applications.resnet),
            (keras.applications.DenseNet121, keras.applications.densenet),
            (keras.applications.EfficientNetB0, keras.applications.efficientnet),
        )
    ],
    ids=["ResNet50", "DenseNet121", "EfficientNetB0"],
    indirect=["model"],
)
def test_pre_trained_weights_by_transplant_see_what_they_were_trained_on(
    model, make, module
):
    """Those of MobileNetV2: tests/test_encoder_weights.py."""
    keras.utils.set_random_seed(3)
    donor = make(weights=None, include_top=False, input_shape=(64, 64, 3))
    plan = transplant.plan(donor, model, layers=["!decoder_*", "!head_*"])
    assert not plan.problems
    transplant.apply(plan, donor, model)
    inside = images(64, 64)
    wanted = donor(module.preprocess_input(255.0 * inside.copy())).numpy()
    end = donor.layers[-1].name
    features = keras.Model(model.input, model.get_layer(end).output)
    found = features(inside).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_names_that_keras_makes_up_are_those_of_a_new_process():
    encoders._keras.cache_clear()
    keras.layers.Rescaling(1.0)  # takes a number
    keras.layers.Normalization()
    net = build(spec("pspnet", "keras.EfficientNetB0"))
    assert {"rescaling", "normalization"} <= {layer.name for layer in net.layers}


def test_grey_images_reach_the_encoder_as_rgb():
    model = build(spec("unet", "keras.MobileNetV2", depth=2), channels=1)
    assert model(images(32, 32, 1)).shape == (1, 32, 32, 3)
    assert model.get_layer("Conv1").kernel.shape[2] == 3


@pytest.mark.parametrize("model", [("pspnet", "keras.ResNet50")], indirect=True)
def test_a_saved_model_loads_with_the_same_outputs(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    inside = images(40, 40)
    np.testing.assert_array_equal(model(inside), again(inside))


def test_stages_follow_the_size_of_features_and_hold_every_layer_once():
    model = build(spec("unet", "keras.MobileNetV2"))
    stages = models.stages(model)
    assert list(stages) == [
        *(f"encoder_{n}" for n in range(2, 6)),
        *(f"decoder_{n}" for n in range(4, 0, -1)),
        "head",
    ]
    assert stages["encoder_2"][0] == "Conv1"
    held = [name for names in stages.values() for name in names]
    assert sorted(held) == sorted(layer.name for layer in model.layers if layer.weights)
    assert models.stage_ends(model)["encoder_3"] == "block_3_expand_relu"


@pytest.mark.parametrize(
    "encoder, architecture, options, told",
    [
        ("keras.MobileNetV9", "unet", {}, "nearest: keras.MobileNetV"),
        (
            "keras.NASNetMobile",
            "unet",
            {},
            "cannot be built for images of .*incompatible",
        ),
        ("keras_cv.ResNet19", "unet", {}, "nearest: keras_cv.ResNet1"),
        (
            "keras.MobileNetV2",
            "unet",
            {"depth": 6},
            "1, 2, 3, 4, 5 times; got --depth=6",
        ),
        ("resnet50", "unet", {}, "for unet use --encoder=keras.ResNet50"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(encoder, architecture, options, told):
    with pytest.raises(InputError, match=told):
        build(spec(architecture, encoder, **options))


def test_a_name_of_no_library_is_refused_where_it_is_typed():
    with pytest.raises(InputError, match="--encoder takes small, resnet50, keras.NAME"):
        ModelSpec(encoder="torchvision.resnet18")


def test_a_name_that_no_library_has_is_refused_before_anything_is_begun(tmp_path):
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    for name, _ in functions:
        encoder_names.check(f"keras.{name}")
    assert set(encoder_names._applications()) == {name for name, _ in functions}
    words = "--encoder=keras.MobilNetV2", f"--out_dir={tmp_path}/run"
    done = commands.run("train", *words)
    assert done.returncode == 1 and "nearest: keras.MobileNetV2" in done.stderr
    assert done.stdout == "" and not list(tmp_path.iterdir())
