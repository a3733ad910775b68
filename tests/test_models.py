"""Contracts that every architecture keeps, and what each promises by itself."""

import dataclasses
import fnmatch
import functools
import inspect
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfreuse import models
from tfreuse.errors import InputError
from tfreuse.specs import ModelSpec

GOLDEN = pathlib.Path(__file__).parent / "golden"

UNET = ModelSpec(architecture="unet", width=4, depth=2)
PSPNET = ModelSpec(architecture="pspnet", width=2)
SPECS = {
    "unet": UNET,
    "unet without skips": dataclasses.replace(UNET, skips=False),
    "unet conv_relu_bn": dataclasses.replace(UNET, block_order="conv_relu_bn"),
    "unet conv_relu": dataclasses.replace(UNET, block_order="conv_relu"),
    "unet without biases": dataclasses.replace(UNET, use_bias=False),
    "pspnet": PSPNET,
    "pspnet conv_relu": dataclasses.replace(PSPNET, block_order="conv_relu"),
    "pspnet without biases": dataclasses.replace(PSPNET, use_bias=False),
    "pspnet auxiliary": dataclasses.replace(PSPNET, auxiliary=True),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
every_architecture = pytest.mark.parametrize(
    "spec", [UNET, SPECS["pspnet auxiliary"]], ids=["unet", "pspnet"]
)
every_task = pytest.mark.parametrize("task", ["segmentation", "autoencoder"])


def build(spec, task="segmentation", **options):
    return models.build(spec, task=task, **{"num_classes": 3, "seed": 0} | options)


@functools.cache
def unchanged(spec, task="segmentation"):
    """Builds a model once for all tests that only look at it."""
    return build(spec, task)


def images(height, width, channels=3):
    draw = np.random.default_rng(0)
    return draw.random((2, height, width, channels), dtype=np.float32)


def scramble(model):
    """Draws biases and batch norms anew: fresh ones are all alike, and would hide a mix-up."""
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:  # positive, since some are variances
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def layer_names(model):
    return [layer.name for layer in model.layers]


# Names


@pytest.mark.parametrize("architecture", sorted(models.ARCHITECTURES))
def test_layer_names_are_those_of_the_golden_list(architecture):
    # depth 4, with the auxiliary head: every name that default options can give
    auxiliary = architecture == "pspnet"
    model = build(ModelSpec(architecture=architecture, width=2, auxiliary=auxiliary))
    assert layer_names(model) == (GOLDEN / f"{architecture}.txt").read_text().split()


@every_spec
def test_no_option_changes_a_layer_name(spec):
    golden = (GOLDEN / f"{spec.architecture}.txt").read_text().split()
    assert set(layer_names(unchanged(spec))) <= set(golden)


@every_architecture
def test_heads_of_two_tasks_share_no_name_and_all_else_does(spec):
    mine = set(layer_names(unchanged(spec)))
    other = set(layer_names(unchanged(spec, "autoencoder")))
    assert mine & other and mine - other
    for name in mine ^ other:
        assert models.stage_of(name) in ("head", "auxiliary")
    for name in mine & other:
        assert not name.startswith(("head", "auxiliary"))


def test_stage_one_is_not_stage_ten():
    assert models.stage_of("encoder_1_a_conv") == "encoder_1"
    assert models.stage_of("encoder_10_a_conv") == "encoder_10"
    names = [f"encoder_{n}_a_conv" for n in (1, 10)]
    assert names[0] in layer_names(unchanged(UNET))
    assert fnmatch.filter(names, "encoder_1_*") == names[:1]


def test_a_name_outside_the_grammar_has_no_stage():
    with pytest.raises(InputError, match="'conv2d_1' is in no stage"):
        models.stage_of("conv2d_1")


@every_spec
def test_stages_hold_every_layer_with_weights_exactly_once(spec):
    model = unchanged(spec)
    held = [name for names in models.stages(model).values() for name in names]
    assert sorted(held) == sorted(layer.name for layer in model.layers if layer.weights)
    for stage, names in models.stages(model).items():
        assert all(name.startswith(f"{stage}_") for name in names)


def test_stages_run_from_input_to_output():
    unet = "encoder_1 encoder_2 bottleneck decoder_2 decoder_1 head"
    assert list(models.stages(unchanged(UNET))) == unet.split()
    pspnet = "conv1 conv2 conv3 conv4 conv5 pyramid fusion head auxiliary"
    assert list(models.stages(unchanged(SPECS["pspnet auxiliary"]))) == pspnet.split()


@pytest.mark.parametrize("order", ["conv_bn_relu", "conv_relu_bn", "conv_relu"])
def test_the_layers_of_a_block_stand_in_the_order_asked_for(order):
    model = unchanged(dataclasses.replace(UNET, block_order=order))
    block = [name for name in layer_names(model) if name.startswith("encoder_2_a_")]
    assert block == [f"encoder_2_a_{op}" for op in order.split("_")]


# Parameters


@pytest.mark.parametrize(
    "name, count",
    [
        # kernel + bias of a convolution: k k in out + out; batch norm: 4 out.
        # encoder_1: 112 + 16 + 148 + 16 = 292; encoder_2: 296 + 32 + 584 + 32 = 944;
        # bottleneck: 1168 + 64 + 2320 + 64 = 3616; decoder_2: 520 + 1160 + 32 + 584 + 32 = 2328;
        # decoder_1: 132 + 292 + 16 + 148 + 16 = 604; head: 15.
        ("unet", 292 + 944 + 3616 + 2328 + 604 + 15),
        ("unet conv_relu_bn", 7799),
        # the first convolution of each decoder stage reads half the channels: 9 8 8 and 9 4 4
        ("unet without skips", 7799 - 576 - 144),
        # 2 batch norms a stage of 4, 8, 16, 8 and 4 filters
        ("unet conv_relu", 7799 - 4 * 2 * (4 + 8 + 16 + 8 + 4)),
        # 2 a stage as above, up-convolutions of 8 and 4, the head's 3
        ("unet without biases", 7799 - 2 * (4 + 8 + 16 + 8 + 4) - (8 + 4) - 3),
        # convolution and batch norm: k k in out + 5 out. conv1: 49 3 2 + 10 = 304;
        # conv2, layers 0 to 3: 56 + 14 + 46 + 56 = 172; conv3: 208 + 52 + 164 + 144 = 568;
        # conv4: 672 + 168 + 616 + 416 = 1872; conv5: 2368 + 592 + 2384 + 1344 = 6688;
        # pyramid: 4 (64 16 + 80) = 4416; fusion: 9 128 16 + 80 = 18512; head: 16 3 + 3.
        ("pspnet", 304 + 172 + 568 + 1872 + 6688 + 4416 + 18512 + 51),
        # 9 32 8 + 40, and 8 3 + 3
        ("pspnet auxiliary", 32583 + 2344 + 27),
    ],
)
def test_parameters_are_as_many_as_worked_out_by_hand(name, count):
    assert unchanged(SPECS[name]).count_params() == count


@every_architecture
def test_one_seed_gives_the_same_bits(spec):
    first, again = build(spec, seed=7).get_weights(), build(spec, seed=7).get_weights()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_seed_gives_the_values_that_keras_gives_and_leaves_tensorflows_generator():
    keras.utils.set_random_seed(7)
    by_keras, drawn = build(UNET, seed=None).get_weights(), []
    for seed in (None, 7):
        tf.random.set_seed(3)
        model = build(UNET, seed=seed)
        drawn.append(tf.random.uniform([4]).numpy())
    np.testing.assert_array_equal(*drawn)
    for a, b in zip(by_keras, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@every_architecture
def test_another_seed_gives_other_kernels(spec):
    first, other = build(spec, seed=7), build(spec, seed=8)
    for a, b in zip(first.weights, other.weights, strict=True):
        if a.name == "kernel":
            assert not np.any(a.numpy() == b.numpy()), a.path


# What goes in and comes out


@every_architecture
@every_task
def test_the_output_is_as_large_as_the_image(spec, task):
    model = models.without_auxiliary(build(spec, task, channels=1, num_classes=5))
    assert model.input.name == "images"
    for height, width in [(8, 16), (24, 8)]:
        output = model(images(height, width, channels=1))
        assert output.shape == (2, height, width, 5 if task == "segmentation" else 1)
        assert output.dtype == tf.float32


def test_pspnet_of_free_size_takes_any_size():
    assert unchanged(PSPNET)(images(13, 29)).shape == (2, 13, 29, 3)


@every_architecture
def test_a_saved_model_loads_with_the_same_output(spec, tmp_path):
    model = scramble(models.without_auxiliary(build(spec)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images(16, 24)), loaded(images(16, 24)))


def test_unet_is_made_of_core_layers_so_that_it_loads_without_tfreuse():
    for layer in unchanged(UNET).layers:
        assert type(layer).__module__.startswith("keras."), layer.name


@every_architecture
def test_an_exported_model_serves_two_sizes_as_the_model_does(spec, tmp_path):
    model = scramble(models.without_auxiliary(build(spec)))
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for x in (images(16, 24), images(40, 32)):
        np.testing.assert_allclose(served.serve(x), model(x), rtol=1e-3, atol=1e-4)


@every_architecture
def test_training_takes_images_of_several_sizes(spec):
    model = build(spec, "autoencoder")
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    before = [kernel.numpy() for kernel in kernels]
    keys = ("head", "auxiliary") if spec.auxiliary else ()

    def batches():
        for x in (images(16, 24), images(24, 8)):
            yield x, dict.fromkeys(keys, x) or x

    free = tf.TensorSpec((None, None, None, 3))
    data = tf.data.Dataset.from_generator(
        batches, output_signature=(free, dict.fromkeys(keys, free) or free)
    )
    model.compile("sgd", dict.fromkeys(keys, "mse") or "mse", jit_compile=False)
    model.fit(data.repeat(), steps_per_epoch=2, shuffle=False, verbose=0)
    for old, kernel in zip(before, kernels, strict=True):
        assert np.any(old != kernel.numpy()), kernel.path


@every_architecture
def test_output_is_float32_when_computing_in_bfloat16(spec):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(spec)
    finally:
        keras.config.set_dtype_policy(policy)
    assert {layer.compute_dtype for layer in model.layers} == {"bfloat16", "float32"}
    for output in tf.nest.flatten(model(images(8, 8))):
        assert output.dtype == tf.float32
        # rounded to bfloat16 on the way, most numbers would end in 16 zero bits
        rounded = output.numpy().view(np.uint32) & 0xFFFF == 0
        assert rounded.mean() < 0.1


def test_without_auxiliary_shares_the_parameters_of_the_main_output():
    model = scramble(build(SPECS["pspnet auxiliary"]))
    main = models.without_auxiliary(model)
    np.testing.assert_array_equal(main(images(8, 8)), model(images(8, 8))["head"])
    assert "auxiliary" not in models.stages(main)
    assert main.get_layer("conv1_conv") is model.get_layer("conv1_conv")
    assert models.without_auxiliary(main) is main


# What is refused


@pytest.mark.parametrize(
    "spec, size, mend",
    [
        (UNET, (16, 18), "got 16,18. Use --image_size=16,16 or 16,20, or --depth=1."),
        (UNET, (17, 16), "Use --image_size=16,16 or 20,16.$"),
        (UNET, (None, 18), "Use --image_size=None,16 or None,20, or --depth=1."),
        (ModelSpec(), (20, 64), "Use --image_size=16,64 or 32,64, or --depth=2."),
        (PSPNET, (3, 60), "multiples of 8 pixels; got 3,60. Use --image_size=8,64.$"),
        (PSPNET, (64,), "height,width in pixels"),
        (PSPNET, (0, 64), "height,width in pixels"),
    ],
)
def test_a_size_that_cannot_work_is_refused_with_those_that_can(spec, size, mend):
    with pytest.raises(InputError, match=mend):
        build(spec, image_size=size)


def test_a_size_that_works_is_taken():
    for spec in (UNET, PSPNET):
        multiple = models.size_multiple(spec)
        assert build(spec, image_size=(multiple, None)).output.shape[1] == multiple
    assert models.size_multiple(ModelSpec()) == 16
    assert models.size_multiple(PSPNET) == 8


@pytest.mark.parametrize(
    "options, mend",
    [
        (
            {"architecture": "unet", "encoder": "resnet50"},
            "use --encoder=keras.ResNet50",
        ),
        ({"architecture": "unet", "auxiliary": True}, "unet has no --auxiliary"),
        ({"architecture": "pspnet", "skips": False}, "pspnet has no --skips"),
        ({"architecture": "pspnet", "depth": 3}, "pspnet has no --depth"),
        ({"architecture": "pspnet", "encoder": "resnet50"}, "Use --width=64"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(options, mend):
    with pytest.raises(InputError, match=mend):
        build(ModelSpec(**options))


def test_a_wrong_task_or_a_single_class_is_refused():
    with pytest.raises(InputError, match="got 'segmentaton'"):
        build(UNET, "segmentaton")
    with pytest.raises(InputError, match="at least 2"):
        build(UNET, num_classes=1)


@pytest.mark.parametrize("architecture", sorted(models.ARCHITECTURES))
def test_the_defaults_of_a_network_are_those_of_its_spec(architecture):
    defaults = dataclasses.asdict(ModelSpec())
    for name, parameter in inspect.signature(
        models.ARCHITECTURES[architecture]
    ).parameters.items():
        if name in defaults:
            assert parameter.default == defaults[name], name


# PSPNet's own layers and encoder


@pytest.mark.parametrize("size", [(12, 12), (7, 10), (4, 5), (1, 3)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_pooling_equals_the_stock_layer_whether_sides_are_known_or_free(size, bins):
    x, layer = images(*size), models.AdaptiveAveragePool(bins)
    pooled = layer(x)
    stock = keras.layers.AdaptiveAveragePooling2D(bins)(x)
    np.testing.assert_allclose(pooled, stock, rtol=1e-5)
    for sides in ((None, None), (size[0], None), (None, size[1]), size):
        spec = tf.TensorSpec((None, *sides, x.shape[3]), tf.float32)
        traced = tf.function(layer).get_concrete_function(spec)
        np.testing.assert_array_equal(traced(tf.constant(x)), pooled)
        kinds = {operation.type for operation in traced.graph.get_operations()}
        assert ("Range" in kinds) == (None in sides)


def test_pooling_overlaps_bins_as_worked_out_by_hand():
    # 3 pixels into 2 bins: pixels 0 and 1, pixels 1 and 2
    x = np.array([0.0, 3.0, 9.0]).reshape(1, 1, 3, 1)
    assert models.AdaptiveAveragePool(2)(x)[0, 0, :, 0].numpy().tolist() == [1.5, 6.0]


def test_resizing_is_bilinear_between_pixel_centres():
    x = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    resized = models.ResizeLike()(x, np.zeros((1, 2, 4, 3)))
    assert resized[0, 1, :, 0].numpy().tolist() == [0.0, 0.25, 0.75, 1.0]


@pytest.fixture(scope="module")
def resnets():
    """keras.applications' ResNet-50, and ours up to conv5 with its parameters by name."""
    stock = keras.applications.ResNet50(weights=None, include_top=False)
    scramble(stock)
    model = models.pspnet(encoder="resnet50", width=64)
    for layer in stock.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return stock, keras.Model(model.input, model.get_layer("conv5_block3_out").output)


def test_the_resnet50_encoder_has_the_layers_of_keras_applications(resnets):
    stock, ours = resnets
    assert sorted(layer_names(ours)[1:]) == sorted(layer_names(stock)[1:])  # [0]: input
    for layer in stock.layers[1:]:
        mine = ours.get_layer(layer.name)
        assert [w.shape for w in mine.weights] == [w.shape for w in layer.weights]
        assert getattr(mine, "epsilon", None) == getattr(layer, "epsilon", None)


def test_the_dilated_encoder_computes_resnet50_at_more_places(resnets):
    # Dilation in place of stride computes the same numbers at every fourth cell each way (the
    # "algorithme a trous"), and others in between.
    stock, ours = resnets
    x = images(64, 96)[:1]
    expected, dilated = stock(x).numpy(), ours(x).numpy()
    assert expected.shape == (1, 2, 3, 2048) and dilated.shape == (1, 8, 12, 2048)
    np.testing.assert_allclose(
        dilated[:, ::4, ::4], expected, rtol=1e-3, atol=1e-4 * expected.max()
    )


def test_a_resize_of_bfloat16_has_a_gradient_under_xla():
    """As on a GPU: TensorFlow's own from bfloat16 mixes its types there."""
    layer = models.ResizeLike(dtype="mixed_bfloat16")
    features = tf.ones((1, 2, 2, 3), tf.bfloat16)

    @tf.function(jit_compile=True)
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(features)
            resized = layer(tf.nn.relu(features), tf.zeros((1, 4, 4, 3)))
            total = tf.reduce_sum(tf.nn.relu(resized))
        return tape.gradient(total, features)

    np.testing.assert_array_equal(gradient().numpy().astype(float), 4.0)
