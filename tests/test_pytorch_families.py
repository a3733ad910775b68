"""Pairs and notes for networks of families that people take from PyTorch."""

import itertools
import pathlib

import handmade_torch
import keras
import numpy as np
import pytest
from keras import layers
from test_pytorch_donors import described

from tfreuse import models, transplant
from tfreuse.errors import InputError
from tfreuse.plan import branches, structure, topology
from tfreuse.plan.variables import by_layer
from tfreuse.specs import ModelSpec
from tfreuse.transplant import loading
from tfreuse.transplant.opening import open_model

GOLDEN = pathlib.Path(__file__).parent / "golden"


def save(path, arrays):
    """Writes {name: array} as a state dict."""
    tensors = {
        name: handmade_torch.tensor(np.asarray(array, np.float32))
        for name, array in arrays.items()
    }
    handmade_torch.save(path, tensors)


def drawn(model):
    draw = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def images(size):
    return np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype("f4")


def state(pairs):
    """The state dict of a Keras model's layers, from {PyTorch's name: Keras layer}."""
    arrays = {}
    for name, layer in pairs.items():
        values = {v.path.rpartition("/")[2]: v.numpy() for v in layer.weights}
        norm = isinstance(layer, layers.BatchNormalization | layers.LayerNormalization)
        if norm:
            roles = ("gamma", "beta", "moving_mean", "moving_variance")
            names = ("weight", "bias", "running_mean", "running_var")
        else:
            roles, names = ("kernel", "bias"), ("weight", "bias")
        for role, last in zip(roles, names, strict=True):
            if role in values:
                value = values[role]
                if role == "kernel":
                    value = np.moveaxis(value, (-1, -2), (0, 1))
                arrays[f"{name}.{last}"] = value
    return arrays


def test_inception_v3_of_torchvision_pairs_whole():
    keras.backend.clear_session()
    model = keras.applications.InceptionV3(
        weights=None, include_top=False, input_shape=(75, 75, 3)
    )
    lines = (GOLDEN / "torchvision_inception_v3.txt").read_text().splitlines()
    kernels = {path: tuple(map(int, s)) for path, *s in map(str.split, lines)}
    shapes = {}
    for path, shape in kernels.items():
        shapes |= {path: shape, f"{path[:-5]}.bn": shape[-1]}
    with open_model(model) as recipient:
        by_path = by_layer(recipient.variables)
        reads = topology.contract(recipient.edges, by_path)
        pooled = branches.pooled(recipient.calls()[0], by_path)
    paired, unclear = structure.pair(described(shapes), by_path, reads, pooled)
    assert not unclear
    # both count layers as they are created, and both create them in the same order
    created = sorted(
        (layer for layer in model.layers if layer.name.startswith("conv2d")),
        key=lambda layer: int(layer.name.partition("_")[2] or 0),
    )
    registered = [path for path in kernels if not path.startswith("AuxLogits")]
    for layer, path in zip(created, registered, strict=True):
        norm = layer.name.replace("conv2d", "batch_normalization")
        assert paired[layer.name][0] == path, layer.name
        assert paired[norm][0] == f"{path[:-5]}.bn", norm


def convnext(blocks=2):
    """Blocks of ConvNeXt (arXiv 2201.03545), as keras.applications builds them."""
    factors = keras.src.applications.convnext.LayerScale
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 2, strides=2, name="stem")(inputs)
    x = layers.LayerNormalization(epsilon=1e-6, name="stem_norm")(x)
    for i in range(blocks):
        y = layers.Conv2D(4, 3, padding="same", groups=4, name=f"deep_{i}")(x)
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}")(y)
        y = layers.Activation("gelu")(layers.Dense(8, name=f"wide_{i}")(y))
        y = layers.Dense(4, name=f"narrow_{i}")(y)
        x = layers.Add()([x, factors(0.5, 4, name=f"factor_{i}")(y)])
    return keras.Model(inputs, x)


@pytest.mark.parametrize("shape", [(4, 1, 1), (4,)], ids=["torchvision", "timm"])
def test_convnext_pairs_whole_with_the_factors_of_its_channels(shape, tmp_path):
    model = drawn(convnext())
    arrays = state(
        {"0.0": model.get_layer("stem"), "0.1": model.get_layer("stem_norm")}
    )
    for i in range(2):
        factor = model.get_layer(f"factor_{i}").weights[0].numpy()
        arrays[f"1.{i}.layer_scale"] = factor.reshape(shape)
        names = {"block.0": "deep", "block.2": "norm", "block.3": "wide"}
        names |= {"block.5": "narrow"}
        for name, layer in names.items():
            arrays |= state({f"1.{i}.{name}": model.get_layer(f"{layer}_{i}")})
    path, file = tmp_path / "weights.pth", tmp_path / "recipient.keras"
    save(path, arrays)
    recipient = convnext()
    recipient.save(file)
    plan = transplant.plan(path, recipient).check()
    transplant.apply(plan, path, recipient)
    np.testing.assert_array_equal(recipient(images(8)), model(images(8)))
    out = tmp_path / "out.keras"
    plan = transplant.plan(path, file).check()
    transplant.apply(plan, path, file, out)
    transplant.verify(plan, path, file, out).check()
    np.testing.assert_array_equal(
        keras.models.load_model(out)(images(8)), model(images(8))
    )


@pytest.fixture(scope="module")
def prepared():
    """A network that prepares its images, with a normalization without gamma."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Normalization(name="normal")(
        layers.Rescaling(0.5, name="scaled")(inputs)
    )
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(x)
    model = keras.Model(inputs, layers.BatchNormalization(scale=False, name="bn")(x))
    return drawn(model)


def test_a_network_that_prepares_images_keeps_that_and_the_plan_says_so(
    prepared, tmp_path
):
    path = tmp_path / "weights.pth"
    arrays = state({"c": prepared.get_layer("conv"), "b": prepared.get_layer("bn")})
    save(path, arrays)
    before = [v.numpy() for v in prepared.get_layer("normal").weights]
    plan = transplant.plan(path, prepared).check()
    transplant.apply(plan, path, prepared)
    for new, old in zip(prepared.get_layer("normal").weights, before, strict=True):
        np.testing.assert_array_equal(new, old)
    assert "changes images itself (scaled, normal)" in " ".join(plan.notes)


def test_factors_of_one_need_no_counterpart_and_others_do(prepared, tmp_path):
    path = tmp_path / "weights.pth"
    arrays = state({"c": prepared.get_layer("conv"), "b": prepared.get_layer("bn")})
    save(path, arrays | {"b.weight": np.ones(4)})
    plan = transplant.plan(path, prepared).check()
    assert len(plan.copies) == 4
    save(path, arrays | {"b.weight": [1, 1, 1, 1.001]})
    with pytest.raises(InputError, match="the recipient's layer has no gamma"):
        transplant.plan(path, prepared).check()


def bottleneck(*, first, padding="even", shortcut=True):
    """A block of ResNet-50: strides in its first convolution (version 1) or in its second."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(4, 1, strides=2 if first else 1, name="c1")(x)
    y = layers.BatchNormalization(epsilon=1.001e-5, name="n1")(y)
    if padding == "even" and not first:
        y = layers.ZeroPadding2D(1)(layers.ReLU()(y))
    elif padding == "uneven":
        y = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(layers.ReLU()(y))
    same = "same" if padding == "same" or first else "valid"
    y = layers.Conv2D(4, 3, strides=1 if first else 2, padding=same, name="c2")(y)
    if shortcut:
        y = layers.Add()([layers.Conv2D(4, 1, strides=2, name="short")(x), y])
    pool = layers.AveragePooling2D(3, strides=1, padding="same", name="mean")
    last = layers.Conv2D(6, 3, name="c3")
    return keras.Model(inputs, last(pool(y) if padding == "same" else y))


def bottleneck_state(model):
    names = {"stem": "stem", "b.conv1": "c1", "b.bn1": "n1", "b.conv2": "c2"}
    names |= {"b.downsample.0": "short", "c.conv1": "c3"}
    present = {layer.name for layer in model.layers}
    return state(
        {name: model.get_layer(n) for name, n in names.items() if n in present}
    )


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
def test_notes_on_strides_and_paddings_hold_for_the_recipient_at_hand(live, tmp_path):
    stride, pad = "strides in convolutions of 1 x 1", "pads the end of images more"
    mean = "leave the border out (mean)"
    cases = {
        (True, "even"): (True, "", False),
        (False, "even"): (False, "", False),
        (False, "same"): (False, "(c2)", True),
        (False, "uneven"): (False, "(pad)", False),
    }
    for (first, padding), expected in cases.items():
        model = drawn(bottleneck(first=first, padding=padding))
        path, target = tmp_path / "weights.pth", model
        save(path, bottleneck_state(model))
        if not live:
            target = tmp_path / "recipient.keras"
            model.save(target)
        notes = " ".join(transplant.plan(path, target).check().notes)
        assert (stride in notes) == expected[0], (first, padding)
        assert (pad in notes) == bool(expected[1]) and expected[1] in notes
        assert (mean in notes) == expected[2]


def test_an_epsilon_that_is_folded_is_no_longer_noted(tmp_path):
    model = drawn(bottleneck(first=True))
    path = tmp_path / "weights.pth"
    save(path, bottleneck_state(model))
    assert "epsilon is 1.001e-05" in " ".join(transplant.plan(path, model).notes)
    plan = transplant.plan(path, model, adapters=["*=epsilon:1e-5"])
    assert "epsilon is" not in " ".join(plan.notes)


def test_a_variance_that_an_adapter_makes_negative_names_it(tmp_path):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="a")(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(name="n")(x))
    model.get_layer("n").moving_variance.assign([1, 1, 1e-4, 1])
    path = tmp_path / "weights.pth"  # of a network made for TensorFlow: epsilon 1e-3
    save(path, state({name: model.get_layer(name) for name in ("a", "n")}))
    plan = transplant.plan(path, model).check()
    (note,) = (note for note in plan.notes if note.startswith("epsilon is 0.001"))
    assert "made for TensorFlow (timm's tf_...) have 0.001 and need none" in note
    transplant.apply(plan, path, model)
    model.save(tmp_path / "net.keras")
    adapters = ["*=epsilon:1e-5"]
    says = "n:moving_variance has a variance below zero after epsilon:1e-5.*leave the"
    for target in (model, tmp_path / "net.keras"):
        with pytest.raises(InputError, match=says):
            transplant.plan(path, target, adapters=adapters)
    with pytest.raises(InputError, match=says):
        loading.load(path, model, adapters=adapters)


def separable():
    """A block of Xception (arXiv 1610.02357), whose shortcut has the shape of its branch."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="stem")(inputs)
    short = layers.Conv2D(4, 1, use_bias=False, name="short")(x)
    short = layers.BatchNormalization(name="short_bn")(short)
    for i in (1, 2):
        x = layers.SeparableConv2D(
            4, 3, padding="same", use_bias=i == 2, name=f"sep_{i}"
        )(x)
        x = layers.BatchNormalization(name=f"bn_{i}")(x)
    return keras.Model(inputs, layers.Add()([short, x]))


def test_a_separable_convolution_takes_two_layers_of_the_donor(tmp_path):
    model = drawn(separable())
    named = {"conv1": "stem", "b.skip": "short", "b.skipbn": "short_bn"}
    arrays = state({name: model.get_layer(n) for name, n in named.items()})
    for i, place in ((1, 0), (2, 3)):
        deep, point, *bias = (w.numpy() for w in model.get_layer(f"sep_{i}").weights)
        arrays[f"b.rep.{place}.conv1.weight"] = deep.transpose(2, 3, 0, 1)
        arrays[f"b.rep.{place}.pointwise.weight"] = point.transpose(3, 2, 0, 1)
        if bias:
            arrays[f"b.rep.{place}.pointwise.bias"] = bias[0]
        arrays |= state({f"b.rep.{place + 1}": model.get_layer(f"bn_{i}")})
    path, file, out = (
        tmp_path / n for n in ("weights.pth", "recipient.keras", "out.keras")
    )
    save(path, arrays)
    recipient = separable()
    recipient.save(file)
    plan = transplant.plan(path, recipient).check()
    transplant.apply(plan, path, recipient)
    np.testing.assert_array_equal(recipient(images(8)), model(images(8)))
    plan = transplant.plan(path, file).check()
    transplant.apply(plan, path, file, out)
    transplant.verify(plan, path, file, out).check()
    moved = keras.models.load_model(out)
    np.testing.assert_array_equal(moved(images(8)), model(images(8)))
    back, filled = tmp_path / "back.safetensors", tmp_path / "filled.safetensors"
    empty = {name: np.zeros_like(array) for name, array in arrays.items()}
    handmade_torch.save_safetensors(back, empty, {"format": "pt"})
    plan = transplant.plan(model, back).check()
    transplant.apply(plan, model, back, filled)
    values, _ = handmade_torch.load_safetensors(filled)
    for name, array in arrays.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)
    again = separable()  # safetensors list layers by name, in no order of theirs
    transplant.apply(transplant.plan(filled, again).check(), filled, again)
    np.testing.assert_array_equal(again(images(8)), model(images(8)))
    del arrays["b.rep.3.pointwise.weight"], arrays["b.rep.3.pointwise.bias"]
    save(path, arrays)
    with pytest.raises(InputError, match="sep_2"):
        transplant.plan(path, separable()).check()


def test_an_encoder_of_segmentation_models_pytorch_pairs_with_ours():
    spec = ModelSpec(encoder="keras_cv.ResNet18", width=2, depth=5)
    model = models.build(spec, task="segmentation", num_classes=3, seed=0)
    expected = {"conv1_conv": "encoder.conv1", "conv1_bn": "encoder.bn1"}
    for stage, block, i in itertools.product(range(4), (0, 1), (1, 2)):
        ours, theirs = (
            f"v2_stack_{stage}_block{block + 1}",
            f"encoder.layer{stage + 1}.{block}",
        )
        expected |= {f"{ours}_{i}_conv": f"{theirs}.conv{i}"}
        expected |= {f"{ours}_{i}_bn": f"{theirs}.bn{i}"}
        if stage and not block and i == 2:
            expected |= {f"{ours}_0_conv": f"{theirs}.downsample.0"}
            expected |= {f"{ours}_0_bn": f"{theirs}.downsample.1"}
    with open_model(model) as recipient:
        by_path = by_layer(recipient.variables)
        reads = topology.contract(recipient.edges, by_path)
    shapes = {}
    for ours, theirs in expected.items():
        shape = by_path[ours].variables[0].shape
        shapes[theirs] = shape if len(shape) == 4 else shape[0]
    shapes |= {"decoder.blocks.0.conv1.0": (3, 3, 768, 256), "head.0": (3, 3, 16, 3)}
    paired, unclear = structure.pair(described(shapes), by_path, reads)
    assert not unclear
    assert {ours: theirs for ours, (theirs, _) in paired.items()} == expected


def test_the_benchmark_of_pytorchs_networks_says_what_it_needs(tmp_path, monkeypatch):
    from benchmarks import torch_donors

    monkeypatch.setattr(torch_donors, "_has", lambda package: False)
    with pytest.raises(InputError, match="pip install torch torchvision"):
        torch_donors.run(["torchvision.resnet50"], tmp_path)


def test_a_network_padded_as_pytorch_pads_has_its_paddings_and_strides():
    from benchmarks import torch_donors

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, strides=2, name="a_1_conv")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="a_2_conv")(x)
    model = drawn(keras.Model(inputs, layers.MaxPooling2D(3, 2, padding="same")(x)))
    first, second = (model.get_layer(f"a_{i}_conv").get_weights() for i in (1, 2))
    y = keras.ops.conv(images(8), first[0]) + first[1]
    padded = keras.ops.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = keras.ops.conv(padded, second[0], strides=2) + second[1]
    floor = float("-inf")
    y = keras.ops.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=floor)
    expected = keras.ops.max_pool(y, 3, 2)
    actual = torch_donors.as_pytorch(model)(images(8))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
