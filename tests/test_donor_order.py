"""safetensors list arrays by name: PyTorch's order is found again, or the layers are ambiguous."""

import handmade_torch
import keras
import numpy as np
import pytest
from keras import layers

from tfreuse import transplant
from tfreuse.plan import AMBIGUOUS, COPY, ordering
from tfreuse.plan.variables import Variable, by_layer


def network():
    """A stem, a bottleneck with a shortcut of the last kernel's shape, twelve alike, and a head."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    short = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x))
    x = layers.BatchNormalization()(layers.Conv2D(4, 1, use_bias=False)(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x))
    x = layers.Add()([short, x])
    for _ in range(12):  # each normalizes first
        x = layers.BatchNormalization()(x)
        x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.Conv2D(5, 1)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(7)(x))


STATE = {  # in the order of registration; a norm: the length of its arrays
    "conv1": (4, 3, 3, 3),
    "bn1": 4,
    "block.conv1": (4, 4, 1, 1),
    "block.bn1": 4,
    "block.conv2": (8, 4, 1, 1),
    "block.bn2": 8,
    "block.downsample.0": (8, 4, 1, 1),
    "block.downsample.1": 8,
    **{
        f"deep{number}.{name}": shape
        for number in range(1, 13)
        for name, shape in (("norm", 8), ("conv", (8, 8, 3, 3)))
    },
    "after.norm": 8,
    "after.conv": (5, 8, 1, 1),
    "fc": (7, 5),
}
BIASED = ("after.conv", "fc")


def arrays(state, seed=0):
    draw = np.random.default_rng(seed)
    shapes = {}
    for layer, shape in state.items():
        names = ("weight", "bias", "running_mean", "running_var")
        if isinstance(shape, int):
            shapes |= {f"{layer}.{name}": (shape,) for name in names}
            continue
        shapes[f"{layer}.weight"] = shape
        if layer in BIASED:
            shapes[f"{layer}.bias"] = shape[:1]
    return {n: draw.uniform(0.5, 1.5, s).astype("f4") for n, s in shapes.items()}


def pairs(plan):
    return {
        entry.recipient.path: (entry.donor.layer, entry.donor.role)
        for entry in plan.entries
        if entry.status == COPY
    }


@pytest.mark.parametrize("suffix", ["safetensors", "index.json"])
def test_layers_listed_by_name_pair_as_those_registered(tmp_path, suffix):
    state, model = arrays(STATE), network()
    handmade_torch.save(
        tmp_path / "registered.pth",
        {name: handmade_torch.tensor(array) for name, array in state.items()},
    )
    by_name = {name: state[name] for name in sorted(state)}
    path = tmp_path / "model.safetensors"
    handmade_torch.save_safetensors(path, by_name)
    if suffix == "index.json":
        path = handmade_torch.shard(path, by_name)
    registered = pairs(transplant.plan(tmp_path / "registered.pth", model).check())
    plan = transplant.plan(path, model).check()
    assert pairs(plan) == registered and len(registered) == len(model.weights)
    assert any("lists layers by name" in note for note in plan.notes)
    before = [w.numpy() for w in model.weights]
    transplant.apply(plan, path, model)
    moved = {variable.path: value for variable, value in zip(model.weights, before)}
    for weight in model.weights:
        assert not np.array_equal(moved[weight.path], weight.numpy()), weight.path


def test_siblings_that_nothing_orders_are_ambiguous(tmp_path):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    for name in ("one", "two"):
        x = layers.Conv2D(4, 1, use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
    model = keras.Model(inputs, x)
    state = {"stem": (4, 3, 3, 3)}
    for name in ("expand", "adapt"):
        state |= {f"{name}.conv": (4, 4, 1, 1), f"{name}.bn": 4}
    written = arrays(state) | {"stem.bias": np.ones(4, "f4")}
    path = tmp_path / "model.safetensors"
    handmade_torch.save_safetensors(path, {n: written[n] for n in sorted(written)})
    plan = transplant.plan(path, model)
    status = {entry.variable.layer: entry.status for entry in plan.entries}
    unclear = ("one", "one_bn", "two", "two_bn")
    assert {status[name] for name in unclear} == {AMBIGUOUS} and status["stem"] == COPY
    assert COPY not in {
        status[f"{name}.{part}"]
        for name in ("adapt", "expand")
        for part in ("conv", "bn")
    }
    mapping = {"expand.conv": "one", "expand.bn": "one_bn"}
    mapping |= {"adapt.conv": "two", "adapt.bn": "two_bn"}
    assert transplant.plan(path, model, mapping=mapping).check()


def kernel(path, shape):
    return Variable(f"{path}/0", path, "Conv2D", "kernel", 0, shape, "float32")


def test_a_layer_that_the_recipient_lacks_comes_last():
    shapes = {"b": (1, 1, 2, 3), "a": (1, 1, 3, 4), "c": (1, 1, 9, 9)}
    donor = by_layer(kernel(path, shapes[path]) for path in sorted(shapes))
    recipient = by_layer(kernel(f"r{n}", shapes[n]) for n in ("b", "a"))
    ordered, ties = ordering.by_shapes(donor, recipient)
    assert list(ordered) == ["b", "a", "c"] and not ties


def convolution(path, biased, shape=(1, 1, 4, 4)):
    bias = Variable(f"{path}/1", path, "Conv2D", "bias", 1, shape[-1:], "float32")
    return [kernel(path, shape), *[bias][:biased]]


@pytest.mark.parametrize(
    "donor, recipient, known",
    [
        ((True, False), (False, True), True),  # b of the donor comes first
        ((False, True), (False, True), True),
        ((True, False), (True, True), False),  # a bias may have no counterpart
        ((False, False), (False, True), False),
        ((True, True), (True, True), False),
    ],
)
def test_a_bias_orders_layers_of_one_shape_where_it_tells_all(donor, recipient, known):
    pairs = zip("ab", donor, strict=True)
    layers_of_file = by_layer(v for n, b in pairs for v in convolution(n, b))
    places = enumerate(recipient)
    of_model = by_layer(v for n, b in places for v in convolution(f"r{n}", b))
    ordered, ties = ordering.by_shapes(layers_of_file, of_model)
    assert bool(ties) != known
    if known:
        biased = {path: len(layer.variables) == 2 for path, layer in ordered.items()}
        assert tuple(biased.values()) == recipient
