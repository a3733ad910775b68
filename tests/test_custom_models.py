"""Custom models: structure taken, head for the task, one line where it cannot be."""

import sys

import keras
import numpy as np
import people
import pytest
import tensorflow as tf

from tfreuse import models, records, study, training
from tfreuse.errors import InputError
from tfreuse.models import made_up_names, saving
from tfreuse.runners import RunnerSpec
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import reading
from tfreuse.training import evaluation

layers = keras.layers


def segmenter(normalize=layers.BatchNormalization, classes=4, sides=None):
    """A net as users have them: pixels from 0 to 255, strided convolutions, a softmax."""
    x = images = keras.Input((sides, sides, 3))
    x = layers.Rescaling(1 / 255)(x)
    for i, width in enumerate((4, 8)):
        x = layers.Conv2D(width, 3, strides=2, padding="same", name=f"down{i}")(x)
        x = normalize(name=f"norm{i}")(x)
        x = layers.ReLU()(x)
    for i in range(2):
        x = layers.UpSampling2D()(x)
        x = layers.Conv2D(4, 3, padding="same", activation="relu", name=f"up{i}")(x)
    x = layers.Conv2D(classes, 1, name="classes")(x)
    return keras.Model(images, layers.Softmax()(x), name="mine")


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.keras"
    segmenter().save(path)
    return ModelSpec(model=str(path))


def build(spec, task="segmentation", **options):
    return models.build(spec, task=task, **{"num_classes": 3, "seed": 0} | options)


def images(*size):
    return np.random.default_rng(0).random((2, *size), dtype=np.float32)


def test_a_file_gives_its_structure_with_a_head_for_each_task(mine):
    net, other = build(mine), build(mine, "autoencoder")
    assert net(images(16, 24, 3)).shape == (2, 16, 24, 3)
    assert evaluation.task_of(net) == "segmentation"
    assert evaluation.task_of(other) == "autoencoder"
    own = {one.name for one in net.layers if one.weights}
    assert own ^ {one.name for one in other.layers if one.weights} == {
        "head_segmentation_conv", "head_autoencoder_conv",
    }  # fmt: skip
    assert {"down0", "norm1", "up1"} <= own and "classes" not in own


def test_its_values_are_fresh_and_follow_from_the_seed(mine):
    file = keras.models.load_model(mine.model)
    one, same, other = (build(mine, seed=seed) for seed in (1, 1, 2))
    kernel = [net.get_layer("down0").kernel.numpy() for net in (one, same, other, file)]
    np.testing.assert_array_equal(kernel[0], kernel[1])
    assert (kernel[0] != kernel[2]).any() and (kernel[0] != kernel[3]).any()
    drawn = []  # by the user's code, which may use TensorFlow's generator
    for seed in (1, 1, 2):
        build(mine, seed=seed)
        drawn.append(float(tf.random.uniform([])))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("scale", [1, 255])
def test_adapted_statistics_stay_and_tell_the_range_of_pixels(tmp_path, scale):
    """Its first layer normalizes images of this range, as it was adapted to do."""
    norm = layers.Normalization(name="adapted")
    norm.adapt(scale * images(8, 8, 3) * [0.2, 0.5, 1])
    x = layers.Conv2D(4, 3, padding="same", name="conv")(
        norm(seen := keras.Input((8, 8, 3)))
    )
    model = keras.Model(seen, layers.Conv2D(2, 1, name="out")(x))
    model.save(tmp_path / "adapted.keras")
    spec = ModelSpec(model=str(tmp_path / "adapted.keras"))
    batch = images(8, 8, 3)
    wanted = norm(scale * batch).numpy()
    for net in (build(spec), reading.reinitialised(build(spec), 3)):
        conv = net.get_layer("conv")
        features = keras.Model(net.inputs, conv.input).predict(batch)
        np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)
        assert np.abs(conv.kernel - model.get_layer("conv").kernel).max() > 0.1
    net.save(tmp_path / "saved.keras")
    again = saving.load(tmp_path / "saved.keras")
    np.testing.assert_array_equal(again.predict(batch), net.predict(batch))


def test_outputs_are_logits_though_the_file_ends_in_a_softmax(mine):
    assert (build(mine)(images(16, 16, 3)).numpy() < 0).any()


def test_a_network_that_divides_by_255_gets_what_it_expects(mine):
    net = build(mine)
    first = keras.Model(net.input, net.get_layer("down0").input)
    inside = images(16, 16, 3)
    np.testing.assert_allclose(first(inside), inside, atol=1e-6)


def test_stages_are_found_by_the_size_of_features(mine):
    stages = models.stages(build(mine))
    assert stages == {
        "encoder_2": ["down0", "norm0"],
        "encoder_3": ["down1", "norm1"],
        "decoder_2": ["up0"],
        "decoder_1": ["up1"],
        "head": ["head_segmentation_conv"],
    }


def test_stages_can_be_given(mine):
    told = ("front=down0", "front=norm0", "middle=*1", "back=up*")
    spec = ModelSpec(model=mine.model, stages=told)
    assert models.stages(build(spec)) == {
        "front": ["down0", "norm0"],
        "middle": ["down1", "norm1", "up1"],
        "back": ["up0"],
        "head": ["head_segmentation_conv"],
    }
    again = models.with_stages(build(mine), spec.stages)  # as a loaded file's
    assert list(models.stages(again)) == ["front", "middle", "back", "head"]
    for globs, told in (
        (("front=down*",), "the layer norm0 fits no glob"),
        (("front=dawn*", "rest=*"), "front=dawn. fits no layer; nearest: down"),
    ):
        with pytest.raises(InputError, match=told):
            build(ModelSpec(model=mine.model, stages=globs))
    with pytest.raises(InputError, match="--stages takes STAGE=GLOB"):
        ModelSpec(stages=("front",))


def test_grey_images_are_given_to_each_of_its_channels(mine):
    assert build(mine, channels=1)(images(16, 16, 1)).shape == (2, 16, 16, 3)


def test_a_function_of_ones_own_file_makes_the_network(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "import keras\n"
        "def make(image_size, channels):\n"
        "    x = keras.Input((*image_size, channels))\n"
        "    y = keras.layers.Conv2D(4, 3, padding='same', name='only')(x)\n"
        "    y = keras.layers.GroupNormalization(2, name='group')(y)\n"
        "    return keras.Model(x, keras.layers.Conv2D(1, 1)(y))\n"
        "def wrong(): pass\n"
        "def none(image_size, channels): return 3\n"
        "def fails(image_size, channels): raise KeyError('width:\\n')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    net = build(ModelSpec(model="own_nets:make"), channels=1)
    assert net(images(8, 8, 1)).shape == (2, 8, 8, 3)
    assert models.stages(net)["encoder_1"] == ["only", "group"]
    for name, told in (
        ("own_nets:mak", "no such function; nearest: make"),
        ("own_nets:wrong", r"called as function\(\(H, W\), channels\)"),
        ("own_nets:none", "gave int; expected a keras.Model"),
        ("own_netz:make", "No module named 'own_netz'"),
        ("own_nets:fails", "fails raised KeyError: 'width.*--debug shows where.$"),
        ("own_nets.make", "takes FILE.keras or package.module:function"),
    ):
        with pytest.raises(InputError, match=told):
            build(ModelSpec(model=name))


def unnamed(image_size, channels):
    """A network whose layers Keras names, but for one that is named as Keras would."""
    x = images = keras.Input((*image_size, channels))
    layers.Conv2D(9, 1)  # takes a number, and is no part of the network
    for _ in range(2):
        x = layers.ReLU()(
            layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
        )
    block = keras.Sequential([keras.Input((None, None, 4)), layers.DepthwiseConv2D(1)])
    x = block(x + 0.5)
    x = layers.LayerNormalization(name="layer_normalization_3")(x)
    return keras.Model(images, layers.Conv2D(2, 1)(x))


def test_names_that_keras_makes_up_are_those_of_a_new_process(monkeypatch):
    """A worker trains one network after another, and layers are paired by name."""
    monkeypatch.setattr(people, "unnamed", unnamed, raising=False)
    spec = ModelSpec(model="people:unnamed")
    nets = [build(spec), build(spec, "autoencoder")]
    names, others = ([one.name for one in net.operations] for net in nets)
    assert names[1:-1] == others[1:-1] == [
        "conv2d_1", "batch_normalization", "re_lu", "conv2d_2", "batch_normalization_1",
        "re_lu_1", "add", "depthwise_conv2d", "layer_normalization_3",
    ]  # fmt: skip
    assert nets[0].name == nets[1].name == "functional_1"  # the first is the block's


def test_the_names_of_others_go_on_as_if_it_had_not_been_built():
    layers.DepthwiseConv2D(1)
    before = layers.DepthwiseConv2D(1).name
    made_up_names.counted_anew(lambda: layers.DepthwiseConv2D(1))
    after = layers.DepthwiseConv2D(1).name
    number = int(before.rpartition("_")[2])
    assert after == f"depthwise_conv2d_{number + 1}"


def test_a_network_is_made_with_the_policy_of_data_types(monkeypatch):
    monkeypatch.setattr(people, "unnamed", unnamed, raising=False)
    with training.precision(True):
        net = build(ModelSpec(model="people:unnamed"))
    assert net.get_layer("conv2d_1").compute_dtype == "bfloat16"


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    "make, told",
    [
        (lambda: Subclassed(), "a subclassed or unbuilt model"),
        (
            lambda: keras.applications.MobileNetV2(weights=None),
            "expected one of images",
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((8, 8, 3)),
                    layers.Conv2D(2, 3),
                    layers.BatchNormalization(),
                ]
            ),
            "expected a convolution that gives the output",
        ),
    ],
)
def test_what_is_no_network_of_images_to_pixels_is_refused(monkeypatch, make, told):
    monkeypatch.setattr(saving, "load", lambda path: make())
    with pytest.raises(InputError, match=told):
        build(ModelSpec(model="some.keras"))


def test_a_sequential_and_a_nested_network_are_graphs_too(tmp_path):
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(4, 3, padding="same", name="a")],
        name="backbone",
    )
    outer = keras.Sequential([keras.Input((None, None, 3)), inner, layers.Conv2D(2, 1)])
    outer.save(tmp_path / "outer.keras")
    net = build(ModelSpec(model=str(tmp_path / "outer.keras")))
    assert net(images(8, 8, 3)).shape == (2, 8, 8, 3)
    assert models.stages(net) == {
        "encoder_1": ["a"], "head": ["head_segmentation_conv"],
    }  # fmt: skip


def test_sizes_are_named_only_where_the_network_takes_them(mine, tmp_path):
    models.check_image_size(mine, (16, 16))
    with pytest.raises(InputError, match="makes .20, 20. of images of .18, 18.") as one:
        models.check_image_size(mine, (18, 18))
    size = str(one.value).partition("--image_size=")[2].rstrip(".")
    models.check_image_size(mine, tuple(map(int, size.split(","))))

    own = people.own_names(None)  # joins two branches: fails to build at odd sides
    own.save(tmp_path / "own.keras")
    spec = ModelSpec(model=str(tmp_path / "own.keras"))
    with pytest.raises(
        InputError, match="matching shapes.*; type --image_size=16,16.$"
    ):
        models.check_image_size(spec, (17, 15))

    x = images = keras.Input((16, 16, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, padding="same")(x))
    half = keras.Model(images, layers.Conv2D(2, 1)(x))
    half.save(tmp_path / "half.keras")
    spec = ModelSpec(model=str(tmp_path / "half.keras"))
    with pytest.raises(InputError, match="every size .* append .*UpSampling2D") as one:
        models.check_image_size(spec, (16, 16))
    assert "--image_size" not in str(one.value)


@pytest.mark.parametrize("sides", [(16, 16), (None, None)])
def test_channels_first_are_not_mistaken_for_many_channels(tmp_path, sides):
    images = keras.Input((3, *sides))
    conv = layers.Conv2D(2, 1, data_format="channels_first")
    model = keras.Model(images, conv(images))
    model.save(tmp_path / "first.keras")
    spec = ModelSpec(model=str(tmp_path / "first.keras"))
    for channels in (1, 3):
        with pytest.raises(InputError, match="data_format='channels_last'") as one:
            models.check_image_size(spec, (16, 16), channels)
        assert "--channels" not in str(one.value)
        with pytest.raises(InputError, match="data_format='channels_last'"):
            models.images.check(model, (16, 16), channels)


def test_a_study_compares_it_with_ours_by_the_files_name(mine):
    spec = ModelSpec(model=mine.model, width=8, stages=("all=*",))
    assert spec.name == "mine"
    assert spec.variant("mine") == spec
    assert spec.variant("unet:depth=2") == ModelSpec(width=8, depth=2)


@pytest.mark.slow
def test_a_study_of_ones_own_network_runs_to_its_end(mine, scenes, tmp_path):
    specs = study.Specs(
        study=StudySpec(
            seeds=2,
            directions=("autoencoder-to-segmentation",),
            groups=("kernel", "stats"),
            calibration_examples=8,
            controls=("self",),
        ),
        data=DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16)),
        model=mine,
        train=TrainSpec(steps=4, validations=1, batch_size=4),
    )
    # two jobs: all units, the last one too, are forked from one process
    assert study.run(specs, tmp_path / "out", RunnerSpec(jobs=2)) == {}
    found = records.read(tmp_path / "out" / "records.jsonl")
    assert {one.architecture for one in found} == {"mine"}
    assert {"encoder_2", "decoder_1", "down0"} <= {one.site for one in found}
    own = [one for one in found if one.control == "self"]
    assert own and all(one.after == one.before for one in own)
