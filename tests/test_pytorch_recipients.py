"""Keras models back into PyTorch's layout: a safetensors file takes their values."""

import handmade_torch
import keras
import ml_dtypes
import numpy as np
import pytest
from keras import layers
from test_pytorch_donors import (
    FLATTEN,
    arrays,
    as_pytorch,
    flat,
    flat_arrays,
    network,
)

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError

BACK = "fc=flatten:5"  # of the layer "head" of `network`
METADATA = {"format": "pt"}


def drawn(model, seed):
    """The model with values between 0.5 and 1.5."""
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def with_counts(values):
    """The arrays with PyTorch's count of batches after each normalization's."""
    state = {}
    for name, array in values.items():
        state[name] = array
        if name.endswith("running_var"):
            count = name.replace("running_var", "num_batches_tracked")
            state[count] = np.array(7, "i8")
    return state


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(Keras donor, its file, PyTorch recipient, a file)."""
    folder = tmp_path_factory.mktemp("back")
    model = drawn(network(), 0)
    model.save(folder / "donor.keras")
    recipient = folder / "recipient.safetensors"
    values = with_counts(arrays(drawn(network(), 1)))
    handmade_torch.save_safetensors(recipient, values, METADATA)
    return model, folder / "donor.keras", recipient


@pytest.mark.parametrize("live", [True, False], ids=["live", "file"])
def test_every_value_lands_where_pytorch_has_it(pair, live, tmp_path):
    model, file, recipient = pair
    donor, out = model if live else file, tmp_path / "out.safetensors"
    plan = transplant.plan(donor, recipient, adapters=[BACK]).check()
    transplant.apply(plan, donor, recipient, out)
    transplant.verify(plan, donor, recipient, out).check()
    values, metadata = handmade_torch.load_safetensors(out)
    expected = with_counts(arrays(model))
    assert list(values) == list(expected) and metadata == METADATA
    for name, array in expected.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)
    back = network()
    again = transplant.plan(out, back, adapters=[FLATTEN])
    transplant.apply(again, out, back)
    for new, old in zip(back.weights, model.weights, strict=True):
        np.testing.assert_array_equal(new, old, err_msg=new.path)
    content = recipient.read_bytes()
    assert transplant.undo(out) == "crc32" and out.read_bytes() == content


def test_a_plan_file_and_a_comparison_are_of_the_same_pairs(pair, tmp_path):
    model, file, recipient = pair
    plan = transplant.plan(file, recipient, adapters=[BACK])
    notes = " ".join(plan.notes)
    assert "in 4 layers of the donor" in notes and "which images" not in notes
    transplant.save(plan, tmp_path / "plan.json", file, recipient)
    assert transplant.load(tmp_path / "plan.json", file, recipient) == plan
    _, rows = transplant.diff(file, recipient)
    assert sum(row.size for row in rows) == model.count_params() - 560  # of the head
    text = transplant.info(recipient)["text"]
    assert "can be a donor, not a recipient" not in text and "4 arrays" in text


def test_a_changed_number_name_or_description_is_a_difference(pair, tmp_path):
    _, file, recipient = pair
    out, options = tmp_path / "out.safetensors", {"layers": ["!fc"]}
    options["allow_unused"] = ["head"]
    plan = transplant.plan(file, recipient, **options).check()
    transplant.apply(plan, file, recipient, out)
    values, _ = handmade_torch.load_safetensors(out)
    right = transplant.verify(plan, file, recipient, out)
    assert not right.differences and right.moved == 24

    def differences(change, metadata=METADATA):
        changed = {name: array.copy() for name, array in values.items()}
        change(changed)
        handmade_torch.save_safetensors(out, changed, metadata)
        return transplant.verify(plan, file, recipient, out).differences

    def swapped(arrays):  # square kernels that nothing but their numbers tells apart
        arrays["conv1.weight"] = arrays["conv1.weight"].swapaxes(2, 3)

    def kept(arrays):
        arrays["fc.bias"][0] += 1

    def count(arrays):
        arrays["bn1.num_batches_tracked"] += 1

    assert differences(swapped) == ("conv1:kernel is not the donor's",)
    assert differences(kept) == ("fc:bias is not the recipient's",)
    assert len(differences(count)) == 1
    assert "header" in differences(lambda arrays: None, {"format": "np"})[0]


@pytest.mark.parametrize(
    "kind", ["plain", "residual", "transposed", "input", "normalized", "pooled"]
)
def test_rows_behind_a_flatten_are_turned_right_or_refused(kind, tmp_path):
    model, channels = flat(kind)
    drawn(model, 0)
    recipient, out = tmp_path / "recipient.safetensors", tmp_path / "out.safetensors"
    empty = {
        k: np.ones_like(array) for k, array in flat_arrays(model, channels).items()
    }
    handmade_torch.save_safetensors(recipient, empty)
    turned = ["fc", "flat_bn"] if kind == "normalized" else ["fc"]
    right = [f"{name}=flatten:{channels}" for name in turned if channels]
    wrong = [["fc=flatten:2"], [*right, "out=flatten:2"]]
    wrong += [[], right[:-1]] if right else []
    for adapters in wrong:
        with pytest.raises(InputError, match="flattened image"):
            transplant.plan(model, recipient, adapters=adapters).check()
    plan = transplant.plan(model, recipient, adapters=right)
    transplant.apply(plan, model, recipient, out)
    values, _ = handmade_torch.load_safetensors(out)
    for name, array in flat_arrays(model, channels).items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)


def test_a_donor_without_a_graph_must_say_what_its_dense_layers_read(tmp_path):
    model, channels = flat("plain")
    bare, recipient = tmp_path / "bare.weights.h5", tmp_path / "recipient.safetensors"
    drawn(model, 0).save_weights(bare)
    handmade_torch.save_safetensors(recipient, flat_arrays(model, channels))
    for adapters in ([], ["fc=flatten:5"], ["out=flatten:1"]):
        with pytest.raises(InputError, match="does not show .*flatten:C"):
            transplant.plan(bare, recipient, adapters=adapters).check()
    adapters = ["fc=flatten:5", "out=flatten:1"]
    plan = transplant.plan(bare, recipient, adapters=adapters).check()
    assert {entry.status for entry in plan.entries} == {"SAME"}


def test_types_biases_and_epsilon_follow_from_adapters(pair, tmp_path):
    model, _, _ = pair
    values = arrays(drawn(network(), 1))
    del values["block.0.conv2.bias"]
    values["conv_last.extra"] = np.ones(2, "f4")
    recipient, out = tmp_path / "recipient.safetensors", tmp_path / "out.safetensors"
    half = {
        k: array.astype(ml_dtypes.bfloat16 if k.startswith("fc") else "f2")
        for k, array in values.items()
    }
    handmade_torch.save_safetensors(recipient, half, METADATA)
    options = {"allow_missing": ["conv_last"]}
    with pytest.raises(InputError, match="cast"):
        transplant.plan(model, recipient, adapters=[BACK], **options).check()
    adapters = [BACK, "*=cast", "*=epsilon:1e-5"]
    plan = transplant.plan(model, recipient, adapters=adapters, **options)
    with pytest.raises(
        InputError, match="project:bias UNUSED .*has no bias.* bias=True"
    ):
        plan.check()
    options["allow_unused"] = ["project"]
    plan = transplant.plan(model, recipient, adapters=adapters, **options)
    transplant.apply(plan, model, recipient, out)
    transplant.verify(plan, model, recipient, out).check()
    with checkpoints.open(out) as file:
        written = {variable.path: file.read(variable) for variable in file.variables}
    np.testing.assert_array_equal(
        written["conv1/0"], model.get_layer("stem").kernel.numpy().astype("f2")
    )
    assert written["fc/0"].dtype == ml_dtypes.bfloat16
    variance = model.get_layer("stem_bn").moving_variance.numpy()
    expected = variance + np.float32(1e-3 - 1e-5)
    np.testing.assert_array_equal(written["bn1/3"], expected.astype("f2"))


def test_pytorchs_own_format_is_no_recipient(pair, tmp_path):
    model, _, _ = pair
    path = tmp_path / "weights.pth"
    handmade_torch.save(path, as_pytorch(model))
    with pytest.raises(InputError, match="torch.load.*weights.safetensors"):
        transplant.plan(model, path)
    transplant.diff(model, path)


def test_pytorch_files_pair_by_name_in_their_own_order(pair, tmp_path):
    model, _, recipient = pair
    donor, out = tmp_path / "weights.pth", tmp_path / "out.safetensors"
    handmade_torch.save(donor, as_pytorch(model))
    plan = transplant.plan(donor, recipient)
    transplant.apply(plan, donor, recipient, out)
    transplant.verify(plan, donor, recipient, out).check()
    values, _ = handmade_torch.load_safetensors(out)
    for name, array in arrays(model).items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)


def every_layer():
    """A Keras network of each kind of layer that PyTorch has too, and channels of its Flatten."""
    inputs = keras.Input((10, 10, 4))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)  # square kernels
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="slope")(x)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.GroupNormalization(2, epsilon=1e-5, name="group")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.GroupNormalization(-1, epsilon=1e-5, name="instance")(x)
    x = layers.Conv2DTranspose(16, 3, name="up")(x)
    x = layers.PReLU(shared_axes=[1, 2, 3], name="one_slope")(x)
    x = layers.Flatten()(layers.Conv2D(3, 3, name="last")(x))
    x = layers.LayerNormalization(epsilon=1e-5, name="features")(x)
    x = layers.Dense(6, name="hidden")(x)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(inputs, layers.Dense(6, name="head")(x))


def test_pytorch_computes_what_keras_does_with_its_weights(tmp_path):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    net = nn.Sequential(
        *(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.PReLU(4)),
        *(nn.Conv2d(4, 8, 3, groups=2), nn.GroupNorm(2, 8)),
        *(nn.Conv2d(8, 16, 3, groups=8), nn.InstanceNorm2d(16, affine=True)),
        *(nn.ConvTranspose2d(16, 16, 3), nn.PReLU(), nn.Conv2d(16, 3, 3)),
        *(nn.Flatten(), nn.LayerNorm(48), nn.Linear(48, 6)),
        *(nn.LayerNorm(6), nn.Linear(6, 6)),
    ).eval()
    model = drawn(every_layer(), 0)
    recipient, out = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    handmade_torch.save_safetensors(recipient, state, METADATA)
    turned = ["11=flatten:3", "12=flatten:3"]
    for adapters in ([], turned[:1], turned[1:]):
        with pytest.raises(InputError, match="flattened image of 3 channels"):
            transplant.plan(model, recipient, adapters=adapters).check()
    plan = transplant.plan(model, recipient, adapters=[*turned, "*=epsilon:1e-5"])
    transplant.apply(plan, model, recipient, out)
    transplant.verify(plan, model, recipient, out).check()
    values, _ = handmade_torch.load_safetensors(out)
    net.load_state_dict({name: torch.tensor(array) for name, array in values.items()})
    images = np.random.default_rng(2).normal(size=(2, 10, 10, 4)).astype("f4")
    with torch.no_grad():
        outputs = net(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(outputs, model(images), atol=1e-4)
    again = drawn(every_layer(), 1)
    turned = ["features=flatten:3", "hidden=flatten:3", "*=epsilon:1e-5"]
    plan = transplant.plan(out, again, adapters=turned)
    transplant.apply(plan, out, again)
    np.testing.assert_allclose(again(images), model(images), atol=1e-4)
