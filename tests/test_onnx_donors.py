"""ONNX files as donors: roles, settings and pairs come from the graph; no package is needed to read."""

import os

import handmade_torch
import keras
import numpy as np
import pytest
from handmade_torch import refusal
from keras import layers

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError
from tfreuse.plan import COPY, REFUSED, SAME

onnx = pytest.importorskip("onnx")  # writes the files of the tests, and runs them
pytest.importorskip("onnx.reference")
helper, TensorProto = onnx.helper, onnx.TensorProto

SIDE = 8
DRAW = np.random.default_rng(0)
SAME_PADS = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}


class Net:
    """Collects nodes and constants; every method returns the name of its output."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def value(self, name, *shape, low=-0.5, high=0.5):
        self.constants[name] = DRAW.uniform(low, high, shape).astype("f4")
        return name

    def node(self, op, *inputs, **attributes):
        output = f"{op}_{len(self.nodes)}_output"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def conv(self, x, name, *shape, bias=False, op="Conv", **attributes):
        inputs = [self.value(f"{name}.weight", *shape)]
        if bias:
            outputs = shape[1] if op == "ConvTranspose" else shape[0]
            inputs.append(self.value(f"{name}.bias", outputs))
        return self.node(op, x, *inputs, **attributes)

    def norm(self, x, name, size, **attributes):
        parts = ("weight", "bias", "running_mean")
        inputs = [self.value(f"{name}.{part}", size) for part in parts]
        inputs.append(self.value(f"{name}.running_var", size, low=0.5, high=1.5))
        return self.node("BatchNormalization", x, *inputs, **attributes)

    def model(self, *ends):
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ends
        ]
        constants = [
            onnx.numpy_helper.from_array(a, n) for n, a in self.constants.items()
        ]
        image = helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, [None, 3, SIDE, SIDE]
        )
        graph = helper.make_graph(self.nodes, "net", [image], values, constants)
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=9)


def exported():
    """A network as `keras_network`, whose two branches have the same shapes and no order."""
    net = Net()
    pads = {"strides": [2, 2], "pads": [0, 0, 1, 1], "kernel_shape": [3, 3]}
    x = net.norm(
        net.conv("image", "z.stem", 4, 3, 3, 3, **pads), "z.bn", 4, epsilon=1e-3
    )
    x = net.node("Relu", x)
    wide = net.conv(x, "a.left", 6, 4, 1, 1)
    wide = net.node("Relu", net.norm(wide, "a.left_bn", 6, epsilon=1e-3))
    wide = net.conv(wide, "c.left", 6, 6, 3, 3, bias=True, **SAME_PADS)
    short = net.norm(net.conv(x, "b.right", 6, 4, 1, 1), "b.right_bn", 6, epsilon=1e-3)
    x = net.node("Add", wide, short)
    x = net.conv(x, "deep", 12, 1, 3, 3, group=6, **SAME_PADS)
    x = net.norm(x, "deep_bn", 12, epsilon=1e-3)
    x = net.node("PRelu", x, net.value("slope.weight", 12, 1, 1, low=0.1))
    x = net.conv(x, "grouped", 8, 6, 3, 3, group=2, bias=True, **SAME_PADS)
    sides = {"strides": [2, 2], "kernel_shape": [2, 2]}
    x = net.conv(x, "up", 8, 5, 2, 2, bias=True, op="ConvTranspose", **sides)
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    inputs = net.value("fc.weight", 7, 5), net.value("fc.bias", 7)
    x = net.node("Gemm", x, *inputs, transB=1)
    matrix = net.value("onnx::MatMul_1", 7, 2)
    x = net.node("Add", net.value("last.bias", 2), net.node("MatMul", x, matrix))
    return net.model(x)


def keras_network(strides=2, padding="same"):
    def conv(x, filters, side, **options):
        return layers.Conv2D(filters, side, padding="same", **options)(x)

    bn = layers.BatchNormalization
    bare = {"use_bias": False}
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, strides=strides, padding=padding, name="stem", **bare)(
        inputs
    )
    x = layers.ReLU()(bn(name="stem_bn")(x))
    short = bn()(conv(x, 6, 1, **bare))  # in another order than the file's
    wide = layers.ReLU()(bn()(conv(x, 6, 1, **bare)))
    x = layers.Add()([short, conv(wide, 6, 3)])
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, **bare)(x)
    x = layers.PReLU(shared_axes=[1, 2])(bn()(x))
    x = conv(x, 8, 3, groups=2)
    x = layers.Conv2DTranspose(5, 2, strides=2)(x)
    x = layers.Dense(7)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(2)(x))


@pytest.fixture(scope="module")
def model():
    return exported()


@pytest.fixture(scope="module")
def donor(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def recipient():
    return keras_network()


def test_the_recipient_computes_what_the_file_does(model, donor, recipient):
    plan = transplant.plan(donor, recipient).check()
    assert {entry.status for entry in plan.entries} <= {COPY, SAME}
    assert not [note for note in plan.notes if "images" not in note]
    transplant.apply(plan, donor, recipient)
    assert "onnx, unverified" in transplant.info(donor)["text"]
    images = DRAW.uniform(-1, 1, (2, SIDE, SIDE, 3)).astype("f4")
    session = onnx.reference.ReferenceEvaluator(model)
    (expected,) = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
    ours = recipient(images, training=False).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1


def test_settings_are_compared_exactly(donor):
    other = keras_network(strides=1)
    notes = " ".join(transplant.plan(donor, other).notes)
    assert "strides (2, 2) in the donor, (1, 1) in the recipient, in 1 layers" in notes
    assert "padding ((0, 1), (0, 1)) in the donor, ((1, 1), (1, 1)) in the" in notes
    assert "version 1.5" not in notes and "registered" not in notes
    valid = " ".join(transplant.plan(donor, keras_network(padding="valid")).notes)
    assert "((0, 0), (0, 0)) in the recipient, in 1 layers (stem)" in valid
    with checkpoints.open(donor) as file:
        settings = {v.layer: dict(v.settings) for v in file.variables}
    assert settings["z.bn"] == {"epsilon": 1e-3}
    assert settings["deep"]["groups"] == 6 and settings["z.stem"]["strides"] == (2, 2)


def padded_net(before=(), **attributes):
    """A convolution of 3 x 3 behind a Pad of the amounts `before`, if any."""
    net, x = Net(), "image"
    if before:
        net.constants["amounts"] = np.array(before, "i8")
        x = net.node("Pad", x, "amounts")
    return net.model(net.conv(x, "c", 4, 3, 3, 3, **attributes))


UPPER, LOWER = {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}
ONE = (0, 0, 1, 1, 0, 0, 1, 1)  # a Pad's, of both sides of both axes


@pytest.mark.parametrize(
    "strides, donor, before, keras_pads, differs",
    [
        (1, UPPER, (), "same", ""),
        (1, LOWER, (), "same", ""),
        (1, {"pads": [1, 1, 1, 1]}, (), "same", ""),
        (1, UPPER, (), 1, ""),
        (1, {}, ONE, 1, ""),
        (1, {}, ONE, "same", ""),
        (2, UPPER, (), "same", ""),
        (2, UPPER, (), ((0, 1), (0, 1)), ""),
        (2, {}, (0, 0, 0, 0, 0, 0, 1, 1), ((0, 1), (0, 1)), ""),
        (2, LOWER, (), "same", "((1, 0), (1, 0)) in the donor, ((0, 1), (0, 1)) in"),
        (2, UPPER, (), 1, "((0, 1), (0, 1)) in the donor, ((1, 1), (1, 1)) in"),
        (2, {}, ONE, "same", "((1, 1), (1, 1)) in the donor, ((0, 1), (0, 1)) in"),
        (1, UPPER, (), "valid", "((1, 1), (1, 1)) in the donor, ((0, 0), (0, 0)) in"),
        (1, {}, (), "same", "((0, 0), (0, 0)) in the donor, ((1, 1), (1, 1)) in"),
        (1, {}, ONE, "valid", "((1, 1), (1, 1)) in the donor, ((0, 0), (0, 0)) in"),
    ],
)
def test_paddings_are_compared_by_what_they_add(
    strides, donor, before, keras_pads, differs, tmp_path
):
    file = padded_net(before=before, strides=[strides, strides], **donor)
    onnx.save(file, tmp_path / "net.onnx")
    x = inputs = keras.Input((SIDE, SIDE, 3))
    if not isinstance(keras_pads, str):
        x, keras_pads = layers.ZeroPadding2D(keras_pads)(x), "valid"
    last = layers.Conv2D(4, 3, strides, keras_pads, use_bias=False)
    model = keras.Model(inputs, last(x))
    plan = transplant.plan(tmp_path / "net.onnx", model).check()
    notes = " ".join(plan.notes)
    assert ("padding" in notes) == bool(differs) and differs in notes
    transplant.apply(plan, tmp_path / "net.onnx", model)
    images = DRAW.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype("f4")
    session = onnx.reference.ReferenceEvaluator(file)
    (theirs,) = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
    ours = model(images).numpy().transpose(0, 3, 1, 2)
    equal = ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-5)
    assert equal == (not differs)


def test_biases_of_zero_that_an_exporter_drops_are_filled_in(tmp_path):
    onnx.save(padded_net(strides=[1, 1], **UPPER), tmp_path / "net.onnx")
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, padding="same", bias_initializer="ones", name="c")(inputs)
    model = keras.Model(inputs, x)
    with pytest.raises(InputError, match="--adapters='c=zero' sets it to zero"):
        transplant.plan(tmp_path / "net.onnx", model).check()
    plan = transplant.plan(tmp_path / "net.onnx", model, adapters=["c=zero"])
    transplant.apply(plan.check(), tmp_path / "net.onnx", model)
    np.testing.assert_array_equal(model.get_layer("c").bias, np.zeros(4))


@pytest.mark.parametrize(
    "producer, says",
    [
        ("tf2onnx", r"tools/export.py .* Take the \.keras file"),
        ("pytorch", r"Export in training mode \(torch\.onnx\.export"),
        ("other", "Take the weights of the network"),
    ],
)
def test_normalizations_folded_into_kernels_are_refused(
    producer, says, recipient, tmp_path
):
    net = Net()
    pads = {"strides": [2, 2], "pads": [0, 0, 1, 1]}
    x = net.conv("image", "onnx::Conv_1", 4, 3, 3, 3, bias=True, **pads)
    file = net.model(net.node("Relu", x))
    file.producer_name = producer
    onnx.save(file, tmp_path / "folded.onnx")
    plan = transplant.plan(tmp_path / "folded.onnx", recipient, layers="stem*")
    refused = [e for e in plan.entries if e.recipient and e.status == REFUSED]
    assert {e.recipient.layer for e in refused} == {"stem", "stem_bn"}
    state = {"stem.weight": np.ones((4, 3, 3, 3)), "bn.weight": np.ones(4)}
    state |= {f"bn.{n}": np.ones(4) for n in ("bias", "running_mean", "running_var")}
    back = tmp_path / "recipient.safetensors"
    arrays = {name: array.astype("f4") for name, array in state.items()}
    handmade_torch.save_safetensors(back, arrays, {"format": "pt"})
    other = transplant.plan(tmp_path / "folded.onnx", back, layers="bn")
    for refused in (plan, other):
        with pytest.raises(InputError, match=says) as caught:
            refused.check()
        message = str(caught.value)
        assert message.count("folds batch norm") + message.count("fold batch") == 1
        assert "--map" not in message


def test_quantized_files_are_refused(tmp_path):
    net = Net()
    net.constants |= {"scale": np.float32(0.5), "zero": np.int8(0)}
    net.constants["w"] = np.ones((4, 3, 3, 3), "i1")
    weight = net.node("DequantizeLinear", "w", "scale", "zero")
    onnx.save(net.model(net.node("Conv", "image", weight)), tmp_path / "q.onnx")
    assert "is quantized (DequantizeLinear" in refusal(tmp_path / "q.onnx")


def values(path):
    with checkpoints.open(path) as file:
        return {variable.path: file.read(variable) for variable in file.variables}


def same(values, others):
    assert values.keys() == others.keys()
    for path, value in values.items():
        np.testing.assert_array_equal(value, others[path])


def test_external_arrays_lie_beside_the_file(model, donor, tmp_path):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    path = tmp_path / "net.onnx"
    onnx.save(
        copy, path, save_as_external_data=True, location="net.data", size_threshold=0
    )
    same(values(path), values(donor))
    whole = path.read_bytes()
    data = tmp_path / "net.data"
    data.rename(tmp_path / "outside")
    data.symlink_to(tmp_path / "outside")
    assert "symbolic link" in refusal(path)
    data.unlink()
    assert "net.data" in refusal(path)
    data.write_bytes((tmp_path / "outside").read_bytes()[:100])
    assert "only 100 are there" in refusal(path)
    for name in (b"../a.onn", b"/a/b/c/d", b"a\\..\\b\\c"):
        path.write_bytes(whole.replace(b"net.data", name))
        assert "names a file" in refusal(path)


def test_constants_of_several_layers_and_views_are_read(tmp_path):
    net = Net()
    net.value("fc.weight", 3, 4)  # [out, in], and turned by the graph
    x = net.node("MatMul", "image", net.node("Transpose", "fc.weight", perm=[1, 0]))
    net.value("shared", 3)
    again = net.node("Identity", "shared")
    net.norm(x, "first", 3)
    net.nodes.pop()
    spread = net.constants["first.running_var"]
    for name in ("shared", again):
        rest = ("shared", "first.running_mean", "first.running_var")
        x = net.node("BatchNormalization", x, name, *rest)
    net.value("a.weight", 3)  # by which b's is replaced, since they are equal
    net.nodes.append(helper.make_node("Identity", ["a.weight"], ["b.weight"]))
    for name in ("a", "b", "a"):  # one of them is called twice
        rest = [
            net.value(f"{name}.{part}", 3, low=0.5) for part in ("bias", "mean", "var")
        ]
        x = net.node("BatchNormalization", x, f"{name}.weight", *rest)
    held = onnx.numpy_helper.from_array(np.ones((3, 2), "f4"))
    x = net.node("MatMul", x, net.node("Constant", value=held))
    net.nodes.append(helper.make_node("Identity", [again], ["shared"]))  # a circle
    path = tmp_path / "views.onnx"
    onnx.save(net.model(x), path)
    with checkpoints.open(path) as file:
        kernel = file.read("fc/0")
        np.testing.assert_array_equal(kernel, net.constants["fc.weight"].T)
        names = [v.layer for v in file.variables if v.role == "gamma"]
        assert names[2:] == ["a", "b"]
        for name in ("a", "b"):
            found = file.read(f"{name}/0"), file.read(f"{name}/1")
            expected = net.constants["a.weight"], net.constants[f"{name}.bias"]
            np.testing.assert_array_equal(found, expected)
        spreads = [v for v in file.variables if v.role == "moving_variance"][:2]
        for variable in spreads:
            np.testing.assert_array_equal(file.read(variable), spread)
        gammas = [file.read(v) for v in file.variables if v.role == "gamma"][:2]
        np.testing.assert_array_equal(gammas, [net.constants["shared"]] * 2)
        (ones,) = [v for v in file.variables if v.shape == (3, 2)]
        assert (file.read(ones) == 1).all()


def test_a_file_cut_or_spoilt_anywhere_is_one_line(donor, tmp_path):
    whole = donor.read_bytes()
    path = tmp_path / "cut.onnx"
    for size in (*range(1, 60, 4), *range(60, len(whole), 397)):
        path.write_bytes(whole[:size])
        assert str(path) in refusal(path)
    draw = np.random.default_rng(1)
    for place in draw.integers(0, len(whole), 100):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << draw.integers(8)
        path.write_bytes(spoilt)
        try:
            same_names = values(path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(same_names, dict)
    assert os.path.getsize(path) == len(whole)
