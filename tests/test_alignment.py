"""Permuted networks compute the same function, and planted permutations are found again."""

import dataclasses

import keras
import nets
import numpy as np
import pytest
from keras import layers

from tfreuse import transplant
from tfreuse.errors import InputError
from tfreuse.plan.variables import by_layer
from tfreuse.transplant import alignment, live


def separable():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(x)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.SeparableConv2D(5, 3)(x)
    x = layers.LayerNormalization()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(6, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def attention():
    """Squeeze and excitation: channels scaled by numbers that all of them make."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(x)
    scale = layers.GlobalAveragePooling2D(keepdims=True)(x)
    scale = layers.Conv2D(2, 1, activation="relu")(scale)
    scale = layers.Conv2D(4, 1, activation="sigmoid")(scale)
    mask = layers.Conv2D(1, 1)(x)
    x = layers.Multiply()([x, scale, mask])
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


def deep():
    """Two outputs a channel: their order is the channels', but what follows is free."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2)(x)
    x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


def opaque():
    """Nothing in it may be permuted: each channel reaches something that counts on its place."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.Conv2D(4, 3, groups=2)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.Conv2D(6, 1)(x)
    x = layers.Reshape((2, 8, 6))(x)
    x = layers.GroupNormalization(2)(x)
    x = layers.Conv2D(4, 1)(x)
    joined = layers.Concatenate()([x, layers.Conv2D(2, 1)(x)])
    x = layers.Add()([joined, layers.Conv2D(6, 1)(joined)])
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


def repeated():
    """One convolution and one nested model, each called twice."""
    inputs = keras.Input((8, 8, 3))
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    middle = keras.Input((8, 8, 4))
    part = keras.Model(middle, layers.BatchNormalization()(layers.Conv2D(4, 1)(middle)))
    x = layers.Conv2D(4, 1)(inputs)
    return keras.Model(inputs, layers.Conv2D(2, 1)(part(part(twice(twice(x))))))


def knotted():
    """Operations, numbers of a channel's own, parts cut off, layers in two models, a chain."""
    inner, other = keras.Input((8, 8, 4)), keras.Input((8, 8, 4))
    both = layers.Conv2D(4, 1, name="both")
    first = keras.Model(inner, layers.ReLU()(both(inner) * 2.0) + inner, name="first")
    second = keras.Model(other, [both(other), layers.Conv2D(6, 1)(other)])
    chain = [layers.Conv2D(5, 1), layers.ReLU(), layers.Flatten(), layers.Dropout(0.1)]
    inputs = {name: keras.Input((8, 8, 3), name=name) for name in ("b", "a")}
    joined = keras.ops.concatenate(
        [layers.Conv2D(4, 1)(inputs["a"]), layers.Conv2D(3, 1)(inputs["b"])], axis=-1
    )
    x, y = second(first(layers.Conv2D(4, 3, padding="same")(joined)))
    y = layers.Conv2D(5, 1)(y) * np.arange(1, 6, dtype="f4")
    left, right = keras.ops.split(layers.Conv2D(5, 1)(y), [2], axis=-1)
    right = layers.Conv2D(4, 1)(right)
    ends = {"z": layers.Conv2D(2, 1)(layers.Add()([x, right])), "y": left}
    dense = [layers.Dense(3, activation="relu"), layers.Dense(2)]
    return keras.Model(inputs, {**ends, "x": keras.Sequential(chain + dense)(x)})


NETS = {
    **{k: nets.ZOO[k] for k in ("unet", "pspnet", "nested")},
    "repeated": repeated,
    "separable": separable,
    "attention": attention,
    "deep": deep,
    "knotted": knotted,
}
every_net = pytest.mark.parametrize("kind", NETS)


def random_model(kind, seed):
    """Like `nets.scrambled`, but with kernels of both signs: sums cancel as in real ones."""
    model = nets.scrambled(NETS[kind](), seed)
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) > 1:
            fan = np.prod(variable.shape[:-1])
            variable.assign(draw.normal(0, fan**-0.5, variable.shape))
    return model


def random_order(ties, seed):
    draw = np.random.default_rng(seed)
    return {group: draw.permutation(size) for group, size in ties.sizes.items()}


@every_net
def test_a_permuted_network_computes_the_same_function(kind):
    model, other = random_model(kind, 1), NETS[kind]()
    ties, values = transplant.ties(model), transplant.values(model)
    permuted = alignment.permute(ties, values, random_order(ties, 2))
    moved = [
        path for path in values if not np.array_equal(values[path], permuted[path])
    ]
    assert moved
    mine, theirs = transplant.values(model), permuted
    assert {v.shape for v in mine.values()} == {v.shape for v in theirs.values()}
    transplant.undo(dict(zip(transplant.values(other), permuted.values())), other)
    x = nets.images()
    if isinstance(model.input, dict):
        x = dict.fromkeys(model.input, x)
    for a, b in zip(*(keras.tree.flatten(m(x)) for m in (model, other)), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        # Another order of summation: each layer rounds to 2**-24 of its largest terms, some 30
        # layers deep (3e-7 was measured). A wrong permutation is off by the size of a itself.
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max(), rtol=0)


def test_permuting_without_the_consumers_changes_the_function():
    model, other = random_model("unet", 1), NETS["unet"]()
    ties, values = transplant.ties(model), transplant.values(model)
    permuted = alignment.permute(ties, values, random_order(ties, 2))
    permuted["encoder_1_b_conv/0"] = values["encoder_1_b_conv/0"]
    transplant.undo(permuted, other)
    a, b = np.asarray(model(nets.images())), np.asarray(other(nets.images()))
    assert np.abs(a - b).max() > 1e-2 * np.abs(a).max()


@every_net
def test_a_planted_permutation_is_found_again_exactly(kind):
    model = random_model(kind, 1)
    ties, values = transplant.ties(model), transplant.values(model)
    planted = alignment.permute(ties, values, random_order(ties, 2))
    found = alignment.match(ties, values, planted)
    again = alignment.permute(ties, planted, found)
    for path, value in values.items():
        np.testing.assert_array_equal(again[path], value, err_msg=path)


def test_a_planted_permutation_is_found_again_under_noise():
    model = random_model("pspnet", 1)
    ties, values = transplant.ties(model), transplant.values(model)
    order = random_order(ties, 2)
    draw = np.random.default_rng(3)
    noisy = {p: v + draw.normal(0, 0.02, v.shape) * v for p, v in values.items()}
    found = alignment.match(ties, values, alignment.permute(ties, noisy, order))
    for group, permutation in order.items():
        np.testing.assert_array_equal(
            permutation[found[group]], range(len(permutation))
        )


def test_going_from_input_to_output_already_finds_a_planted_permutation(monkeypatch):
    monkeypatch.setattr(alignment, "_SWEEPS", 0)
    model = random_model("pspnet", 1)
    ties, values = transplant.ties(model), transplant.values(model)
    planted = alignment.permute(ties, values, random_order(ties, 2))
    found = alignment.permute(ties, planted, alignment.match(ties, values, planted))
    assert all(np.array_equal(found[path], values[path]) for path in values)


def test_no_group_alone_could_agree_more():
    ties = transplant.ties(random_model("unet", 1))
    ours, theirs = (transplant.values(random_model("unet", s)) for s in (1, 2))
    order = alignment.match(ties, ours, theirs)

    def agreement(order):
        values = alignment.permute(ties, theirs, order)
        return sum(float((ours[p] * values[p]).sum()) for p in ties.trained)

    best = agreement(order)
    for group, permutation in order.items():  # every swap of two channels of one group
        for i in range(len(permutation)):
            for j in range(i):
                swapped = permutation.copy()
                swapped[[i, j]] = swapped[[j, i]]
                assert agreement({**order, group: swapped}) <= best + 1e-6


def test_matching_never_agrees_less_than_the_order_as_it_stands():
    ties = transplant.ties(random_model("unet", 1))
    ours, theirs = (transplant.values(random_model("unet", s)) for s in (1, 2))

    def agreement(values):
        return sum(float((ours[p] * values[p]).sum()) for p in ties.trained)

    matched = alignment.permute(ties, theirs, alignment.match(ties, ours, theirs))
    assert agreement(matched) > agreement(theirs)


def test_residual_sums_tie_and_inputs_and_outputs_are_fixed():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="a")(inputs)
    y = layers.Conv2D(4, 1, name="b")(x)
    z = layers.Add()([x, y])
    joined = layers.Concatenate()([z, layers.Conv2D(2, 1, name="c")(z)])
    model = keras.Model(inputs, layers.Conv2D(5, 1, name="d")(joined))
    ties = transplant.ties(model)
    made = {path: ties.axes[f"{path}/1"][0] for path in "abcd"}
    assert made["a"] == made["b"] != made["c"]
    assert ties.axes["d/0"][2] == (*made["a"], *made["c"])  # side by side
    assert sorted(ties.sizes.values()) == [
        2,
        4,
    ]  # neither the 3 inputs nor the 5 outputs


def test_every_group_that_may_be_permuted_is_found():
    # convolution, depthwise and the depth part of the separable; its points, through the
    # normalization and Flatten; the first dense layer
    assert sorted(transplant.ties(separable()).sizes.values()) == [4, 5, 6]
    assert sorted(transplant.ties(deep()).sizes.values()) == [6]
    # five convolution blocks of two, two up-convolutions
    assert len(transplant.ties(NETS["unet"]()).sizes) == 5 * 2 + 2


def test_numbers_of_a_channel_s_own_and_parts_cut_off_keep_their_order():
    # one of a, one of b; the one that reads both, tied by a sum to what `both` makes and to
    # what reads the cut; the second model's; the chain's convolution and dense layer. Not
    # what is multiplied by five numbers, nor what comes from the cut
    sizes = transplant.ties(NETS["knotted"]()).sizes
    assert sorted(sizes.values()) == [3, 3, 4, 4, 5, 6]


def test_what_reads_a_number_of_channels_that_is_not_known_is_left_whole():
    model = separable()
    calls, outputs = live.LiveModel(model).calls()
    unknown = [dataclasses.replace(c, class_name="", channels=None) for c in calls]
    for known in range(1, len(calls)):  # from input to output: any of them may be so
        some = [*calls[:known], unknown[known], *calls[known + 1 :]]
        ties = alignment.tie(some, outputs, by_layer(transplant.index(model)))
        values = transplant.values(model)
        for path, value in alignment.permute(ties, values, {}).items():
            np.testing.assert_array_equal(value, values[path], err_msg=path)


def test_what_the_network_hands_out_keeps_its_order():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1)(inputs)
    assert transplant.ties(keras.Model(inputs, layers.Conv2D(2, 1)(x))).sizes
    both = keras.Model(inputs, [x, layers.Conv2D(2, 1)(x)])
    assert not transplant.ties(both).sizes


def test_what_counts_on_its_place_is_never_permuted():
    assert not transplant.ties(opaque()).sizes
    assert not transplant.ties(nets.shared()).sizes  # reads the image and itself


def test_the_adapter_aligns_a_permuted_donor_with_its_recipient():
    recipient, donor = random_model("pspnet", 1), NETS["pspnet"]()
    ties, values = transplant.ties(recipient), transplant.values(recipient)
    transplant.undo(alignment.permute(ties, values, random_order(ties, 2)), donor)
    before = nets.snapshot(recipient)
    plain = transplant.plan(donor, recipient, roles="kernel", stages=["conv3"])
    displaced = transplant.apply(plain, donor, recipient)
    assert nets.snapshot(recipient) != before
    transplant.undo(displaced, recipient)
    # what is aligned by all kernels is then the recipient's own
    plan = transplant.plan(donor, recipient, adapters=["*=align"])
    assert plan.hash != transplant.plan(donor, recipient).hash
    transplant.apply(plan, donor, recipient)
    assert nets.snapshot(recipient) == before


def test_alignment_says_what_it_cannot_do():
    donor = random_model("unet", 1)
    plan = transplant.plan(donor, donor, adapters=["*=align"])
    with pytest.raises(InputError, match="give the model, not its values"):
        transplant.apply(plan, transplant.values(donor), donor)
    with pytest.raises(InputError, match="no graph of layers"):
        transplant.ties(nets.subclassed())
    first = keras.Sequential(
        [keras.Input((3, 8, 8)), layers.Conv2D(2, 1, data_format="channels_first")]
    )
    with pytest.raises(InputError, match="channels first"):
        transplant.ties(first)
