"""Output channels chosen one by one, compared with slices taken by plain NumPy."""

import json

import commands
import keras
import nets
import numpy as np
import people
import pytest
from keras import layers
from test_transplant_tool import no, ok, values

from tfreuse import transplant
from tfreuse.errors import InputError

CHOSEN = {"a": [1, 4, 2], "d": [0, 5], "u": [3], "n": [6, 0], "head": [1]}
# by layer: the batch normalization that has its channels, and the axis of its kernel's outputs
AXES = {"a": ("a_bn", -1), "d": ("d_bn", -2), "u": (None, -2), "head": (None, -1)}


def network(seed):
    """A residual network with kernels of every layout, and a normalization of a sum."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.Conv2D(6, 3, padding="same", name="a")(x))
    x = skip = layers.BatchNormalization(name="a_bn")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="d")(x)
    x = layers.BatchNormalization(name="d_bn", scale=False)(x)
    x = layers.Add()([skip, x])
    x = layers.BatchNormalization(name="sum_bn")(x)  # of no convolution alone
    x = layers.Concatenate()([x, layers.Conv2D(2, 1, name="b")(skip)])
    x = layers.BatchNormalization(name="n")(x)  # named itself
    x = layers.Conv2DTranspose(4, 3, padding="same", name="u")(x)
    x = layers.Conv2D(4, 3, padding="same", groups=2, name="grouped")(x)
    x = layers.SeparableConv2D(4, 3, padding="same", name="separable")(x)
    x = layers.BatchNormalization(name="separable_bn")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="double")(x)
    x = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x))
    return nets.scrambled(keras.Model(inputs, x), seed)


def expected(donor, recipient, model):
    """The recipient's arrays with the chosen slices of the donor's, by variable path."""
    arrays = {path: value.copy() for path, value in recipient.items()}
    for name, chosen in CHOSEN.items():
        norm, axis = AXES.get(name, (None, -1))
        for layer in filter(None, (name, norm)):
            for position in range(len(model.get_layer(layer).weights)):
                path = f"{layer}/{position}"
                at = axis if arrays[path].ndim > 1 else 0
                for index in chosen:
                    new = np.moveaxis(arrays[path], at, 0)  # a view
                    new[index] = np.moveaxis(donor[path], at, 0)[index]
    return arrays


def equal(one, other):
    assert one.keys() == other.keys()
    return [path for path in one if one[path].tobytes() == other[path].tobytes()]


def test_a_study_moves_channels_of_layers_with_the_normalizations_behind_them(models):
    assert transplant.channels_of(models[0]) == {
        "a": ("a", "a_bn"),
        "d": ("d", "d_bn"),
        "sum_bn": ("sum_bn",),
        "b": ("b",),
        "n": ("n",),
        "u": ("u",),
        "head": ("head",),
    }


@pytest.mark.parametrize("kind", ["nested", "shared layers", "Normalization"])
def test_networks_that_people_bring_keep_all_but_the_chosen_channels(kind):
    donor, recipient = (nets.scrambled(people.build(kind), seed) for seed in (1, 2))
    before, source = transplant.values(recipient), transplant.values(donor)
    groups = transplant.channels_of(recipient)
    plan = transplant.plan(donor, recipient, channels=dict.fromkeys(groups, (2,)))
    transplant.apply(plan.check(), donor, recipient)
    transplant.verify(plan, donor, before, recipient).check()
    moved = {path for group in groups.values() for path in group}
    for path, value in transplant.values(recipient).items():
        want = before[path].copy()
        if path.rpartition("/")[0] in moved:
            want[..., 2] = source[path][..., 2]
        assert np.array_equal(value, want), path


def test_a_normalization_whose_arrays_are_unknown_is_not_left_behind():
    donor, recipient = people.build("renorm", 1), people.build("renorm", 2)
    with pytest.raises(InputError, match="one_norm normalizes the output of one_conv"):
        transplant.plan(donor, recipient, channels={"one_conv": [0]})
    assert transplant.channels_of(recipient) == {"out": ("out",)}


@pytest.fixture(scope="module")
def models():
    return network(1), network(2)


@pytest.fixture
def here(tmp_path, monkeypatch, models):
    monkeypatch.chdir(tmp_path)
    for name, model in zip(("a.keras", "b.keras"), models, strict=True):
        model.save(name)
    (tmp_path / "channels.json").write_text(json.dumps(CHOSEN))
    return tmp_path


def run(verb, *flags):
    pair = ("--donor=a.keras", "--recipient=b.keras")
    return commands.run("transplant", verb, *pair, *flags)


def test_file_to_file_moves_the_slices_and_nothing_else_and_is_proved_and_undone(
    here, models
):
    by_file = "--channels=channels.json"
    shown = ok(run("plan", by_file, "--plan=plan.json"))
    assert "through outputs:1-2+4" in shown
    assert "9 of 27 output channels of 5 layers, with 2 batch normalizations" in (
        " ".join(shown.split())
    )
    shown = ok(run("apply", "--plan=plan.json", "--out=c.keras"))
    assert "the chosen channels of 18 variables" in shown
    want = expected(values("a.keras"), values("b.keras"), models[1])
    got = values("c.keras")
    assert equal(got, want) == list(want)
    same = equal(values("c.keras"), values("b.keras"))
    assert {"sum_bn/0", "b/0", "b/1", "grouped/0"} <= {*same}
    assert len(same) == len(want) - 18
    # the plan made again is the same
    moved = "b.keras with output channels a 1-2+4, a_bn 1-2+4, d 0+5 and 4 more"
    assert f"{moved}, in 18 arrays" in ok(run("verify", by_file, "--out=c.keras"))
    assert f"{moved} of a.keras" in ok(
        commands.run("transplant", "info", "--model=c.keras")
    )
    proof = json.loads(ok(run("verify", by_file, "--out=c.keras", "--json")))
    normalized = {norm: CHOSEN[name] for name, (norm, _) in AXES.items() if norm}
    named = {name: sorted(chosen) for name, chosen in (CHOSEN | normalized).items()}
    assert proof["channels"] == named
    moved = sum(want[p].size for p in want) - sum(
        (want[p] == values("b.keras")[p]).sum() for p in want
    )
    assert f"moves 18 variables, {moved} parameters" in shown
    opened = keras.saving.load_model("c.keras")  # by Keras alone
    for variable, array in zip(opened.weights, want.values(), strict=True):
        assert np.array_equal(variable, array)
    ok(commands.run("transplant", "undo", "--out=c.keras"))
    assert (here / "c.keras").read_bytes() == (here / "b.keras").read_bytes()


def test_a_live_recipient_gets_the_same_and_a_blend_reaches_the_channels_alone(models):
    donor, recipient = models
    before, source = transplant.values(recipient), transplant.values(donor)
    options = {"channels": {"a": np.array([5])}, "roles": "kernel,stats"}
    plan = transplant.plan(donor, recipient, adapters=["*=blend:0.25"], **options)
    displaced = transplant.apply(plan.check(), donor, recipient)
    try:
        transplant.verify(plan, donor, before, recipient).check()
        after = transplant.values(recipient)
        assert {p for p in after if not np.array_equal(after[p], before[p])} == {
            *("a/0", "a_bn/2", "a_bn/3")
        }
        half = 0.75 * before["a/0"] + 0.25 * source["a/0"]
        np.testing.assert_allclose(after["a/0"][..., 5], half[..., 5], rtol=1e-6)
        assert np.array_equal(after["a/0"][..., :5], before["a/0"][..., :5])
    finally:
        transplant.undo(displaced, recipient)


def test_a_bias_that_the_donor_lacks_is_zero_in_the_chosen_channels_alone():
    def plain(bias):
        conv = layers.Conv2D(4, 1, use_bias=bias, name="x")
        return nets.scrambled(keras.Sequential([keras.Input((8, 8, 3)), conv]), bias)

    donor, recipient = plain(bias=False), plain(bias=True)
    kernel, bias = recipient.get_weights()
    plan = transplant.plan(donor, recipient, channels={"x": [3]}, adapters=["x=zero"])
    transplant.apply(plan.check(), donor, recipient)
    kernel[..., 3], bias[3] = donor.get_weights()[0][..., 3], 0
    for array, want in zip(recipient.get_weights(), (kernel, bias), strict=True):
        assert np.array_equal(array, want)


def test_channels_follow_a_layer_into_a_nested_model_and_past_other_names(models):
    inner, outer = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    middle = keras.Model(inner, nets.block(inner, "x", 6), name="middle")
    recipient = nets.scrambled(keras.Model(outer, middle(outer)), 3)
    narrow, chosen = nets.flat("x"), {"x_conv": [0]}  # 3 channels for 6
    with pytest.raises(InputError, match="shape"):
        transplant.plan(narrow, recipient, channels=chosen).check()
    pairs = {"a": "middle/x_conv", "a_bn": "middle/x_bn"}
    plan = transplant.plan(
        models[0], recipient, mapping=pairs, channels={"middle/x_conv": [2]}
    )
    assert {e.recipient.layer_path for e in plan.check().copies} == {*pairs.values()}
    assert all(e.size in (27, 1) for e in plan.copies)


def test_without_channels_a_plan_has_the_hash_that_it_had_before(models):
    plan = transplant.plan(*models, roles="stats")
    assert "channels" not in plan.to_json()
    chosen = transplant.plan(*models, roles="stats", channels={"a": [0]})
    assert chosen.hash != plan.hash
    assert type(chosen).from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    same = transplant.plan(*models, roles="stats", channels={"a": [0], "a_bn": [0]})
    assert same.hash == chosen.hash


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", ["no such JSON"]),
        ("[" * 100_000, ["no such JSON"]),
        ('{"a": [0], "a": [1]}', ["names a layer twice"]),
        ("[1, 2]", ["no layers", '{"encoder_1_a_conv": [0, 3, 5]}']),
        ("{}", ["no layers"]),
        ('{"a": []}', ["'a' needs a list of whole numbers"]),
        ('{"a": "01"}', ["'a' needs a list of whole numbers"]),
        ('{"a": [true]}', ["'a' needs a list of whole numbers"]),
        ('{"a": [1.0]}', ["'a' needs a list of whole numbers"]),
        ('{"a": [1, 2, 1]}', ["'a' has channel 1 twice"]),
        ('{"a": [6]}', ["a has output channels 0 to 5; got 6"]),
        ('{"a": [-1]}', ["a has output channels 0 to 5; got -1"]),
        ('{"sum_b": [0]}', ["no layer 'sum_b'", "nearest: ['sum_bn'"]),
        ('{"\\u001b[31m": [0]}', ["no layer", "x1b[31m"]),
        ('{"a": [0], "a_bn": [1]}', ["a_bn normalizes the output of a"]),
        ('{"grouped": [0]}', ["grouped is a Conv2D whose output channels"]),
        ('{"separable": [0]}', ["separable is a SeparableConv2D"]),
        ('{"double": [0]}', ["double is a DepthwiseConv2D"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(here, content, words):
    (here / "channels.json").write_text(content)
    no(run("plan", "--channels=channels.json", "--roles=all"), *words)


def test_what_would_be_ignored_or_cannot_be_known_is_refused(here, models):
    flag = "--channels=channels.json"
    no(run("plan", "--channels=none.json"), "none.json", "cannot be read")
    no(run("plan", flag, "--layers=!u"), "nothing of u moves")
    no(run("plan", flag, "--roles=stats"), "nothing of u moves")
    no(run("diff", flag), "diff", "--channels")
    models[1].save_weights("b.weights.h5")
    plan = ("plan", "--donor=a.keras", "--recipient=b.weights.h5", flag)
    no(commands.run("transplant", *plan), "b.weights.h5 has none", ".keras file")
    with (here / "large.json").open("wb") as file:
        file.truncate(16_000_001)
    no(run("plan", "--channels=large.json"), "larger than 16 MB")
