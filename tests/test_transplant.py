"""Transplants between live models: exact, all or nothing, undone bit for bit."""

import fnmatch
import functools

import keras
import nets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tfreuse import checkpoints, models, roles, transplant
from tfreuse import plan as plans
from tfreuse.errors import InputError
from tfreuse.transplant import comparison, live

every_net = pytest.mark.parametrize("kind", nets.ZOO)


@functools.cache
def pair(kind):
    """A donor and a recipient of one kind; tests leave both as they found them."""
    return nets.scrambled(nets.ZOO[kind](), 1), nets.scrambled(nets.ZOO[kind](), 2)


def whole(kind, donor, recipient):
    if kind != "subclassed":
        return transplant.plan(donor, recipient).check()
    # two of its layers have one name: a map says which is which
    pairs = {path: path for path in ("conv", "conv#2")}
    return transplant.plan(donor, recipient, mapping=pairs).check()


# What moves, moves exactly


@every_net
def test_a_whole_transplant_makes_the_recipient_the_donor(kind):
    donor, recipient = pair(kind)
    assert nets.outputs(donor) != nets.outputs(recipient)
    before = nets.snapshot(recipient)
    plan = whole(kind, donor, recipient)
    readers = transplant.reader(donor), transplant.reader(recipient)
    assert not any(row.identical for row in comparison.rows(plan, *readers))
    displaced = transplant.apply(plan, donor, recipient)
    assert nets.snapshot(recipient) == nets.snapshot(donor)
    assert nets.outputs(recipient) == nets.outputs(donor)
    for row in comparison.rows(plan, *readers):
        assert row.identical == row.variables and row.max_abs == 0
    transplant.undo(displaced, recipient)
    assert nets.snapshot(recipient) == before


@every_net
def test_a_transplant_from_itself_changes_no_bit(kind):
    donor, _ = pair(kind)
    before, output = nets.snapshot(donor), nets.outputs(donor)
    plan = whole(kind, donor, donor)
    assert {entry.status for entry in plan.copies} == {"SAME"}
    transplant.apply(plan, donor, donor)
    assert nets.snapshot(donor) == before and nets.outputs(donor) == output


def test_a_donor_of_values_is_as_good_as_a_model():
    donor, recipient = pair("nested")
    plan = transplant.plan(donor, recipient, roles="bn")
    first = transplant.apply(plan, donor, recipient)
    moved = nets.snapshot(recipient)
    transplant.undo(first, recipient)
    again = transplant.apply(plan, transplant.values(donor), recipient)
    assert nets.snapshot(recipient) == moved
    transplant.undo(again, recipient)


def test_compiled_predictions_see_the_new_values():
    donor, recipient = pair("unet")
    recipient.compile("sgd", "mse")
    old = recipient.predict(nets.images(), verbose=0)
    displaced = transplant.apply(transplant.plan(donor, recipient), donor, recipient)
    new = recipient.predict(nets.images(), verbose=0)
    np.testing.assert_allclose(new, donor.predict(nets.images(), verbose=0), rtol=1e-5)
    assert np.abs(new - old).max() > 1e-3
    transplant.undo(displaced, recipient)


def test_later_training_of_the_recipient_leaves_the_donor_alone():
    donor, recipient = nets.scrambled(nets.flat(), 1), nets.scrambled(nets.flat(), 2)
    before = nets.snapshot(donor)
    transplant.apply(transplant.plan(donor, recipient), donor, recipient)
    recipient.compile("sgd", "mse")
    recipient.fit(nets.images(), np.zeros((2, 8, 8, 3)), verbose=0)
    assert nets.snapshot(donor) == before
    assert nets.snapshot(recipient)[: len(before)] != before


@pytest.mark.parametrize("jit", [False, True])
def test_what_was_displaced_survives_training(jit):
    donor, recipient = nets.scrambled(nets.flat(), 1), nets.scrambled(nets.flat(), 2)
    before = [value.tobytes() for value in transplant.values(recipient).values()]
    plan = transplant.plan(donor, recipient)
    displaced = transplant.apply(plan, donor, recipient)
    recipient.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=jit)
    recipient.fit(nets.images(), np.zeros((2, 8, 8, 3)), epochs=2, verbose=0)
    transplant.undo(displaced, recipient)
    after = [value.tobytes() for value in transplant.values(recipient).values()]
    assert after == before


def test_a_donor_of_values_may_be_written_over_afterwards():
    donor, recipient = nets.scrambled(nets.flat(), 1), nets.scrambled(nets.flat(), 2)
    values = transplant.values(donor)
    transplant.apply(transplant.plan(donor, recipient), values, recipient)
    for value in values.values():
        value[...] = 7
    assert nets.snapshot(recipient) == nets.snapshot(donor)


# The oracle: a NumPy dictionary


@st.composite
def networks(draw, depth=3):
    """How to build a random nest of models; strings are layers, lists are models."""
    kinds = ["conv", "bn", "bn without gamma", "bn without beta", "depthwise", "again"]
    if depth == 0:
        return draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))
    part = st.one_of(st.sampled_from(kinds), networks(depth - 1))
    return draw(st.lists(part, min_size=1, max_size=4))


def build(recipe):
    inputs = x = keras.Input((4, 4, 2))
    made = {}
    for number, kind in enumerate(recipe):
        name = f"part_{number}"
        if isinstance(kind, list):
            layer = build(kind)
            layer.name = name
        elif kind == "again" and made:
            layer = made[min(made)]
        elif kind.startswith("bn"):
            layer = layers.BatchNormalization(
                scale="gamma" not in kind, center="beta" not in kind, name=f"{name}_bn"
            )
        elif kind == "depthwise":
            layer = layers.DepthwiseConv2D(1, name=f"{name}_conv")
        else:
            layer = layers.Conv2D(2, 1, name=f"{name}_conv")
        made[number] = layer
        x = layer(x)
    return keras.Model(inputs, x)


def meant(variable, chosen, pattern):
    """Whether roles and pattern mean the variable, said again without the code under test."""
    glob = pattern.removeprefix("!")
    words = (variable.layer, variable.path.rpartition("/")[0])
    hit = any(fnmatch.fnmatchcase(word, glob) for word in words)
    return variable.role in chosen and hit != pattern.startswith("!")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    recipe=networks(),
    chosen=st.sets(st.sampled_from(roles.ROLES), min_size=1),
    pattern=st.sampled_from(["*", "*_bn", "!*_conv", "part_0*", "*part_1/*"]),
)
def test_nothing_but_the_plan_changes_in_random_nested_models(recipe, chosen, pattern):
    donor, recipient = (nets.scrambled(build(recipe), seed) for seed in (1, 2))
    theirs, ours = nets.arrays(donor), nets.arrays(recipient)
    try:
        plan = transplant.plan(donor, recipient, roles=chosen, layers=[pattern])
    except InputError:  # the pattern or the roles match nothing in this model
        return
    if plan.problems:  # two nests of one name: refused, not guessed
        with pytest.raises(InputError, match="AMBIGUOUS"):
            transplant.apply(plan, donor, recipient)
        moves = set()
    else:
        moves = {v.path for v in transplant.index(donor) if meant(v, chosen, pattern)}
        displaced = transplant.apply(plan, donor, recipient)
    for path, value in nets.arrays(recipient).items():
        expected = theirs[path] if path in moves else ours[path]
        assert value.tobytes() == expected.tobytes(), path
    if moves:
        transplant.undo(displaced, recipient)
    for path, value in nets.arrays(recipient).items():
        assert value.tobytes() == ours[path].tobytes(), path


# All or nothing


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_at_any_write_leaves_every_bit_as_it_was(error, monkeypatch):
    donor, recipient = pair("nested")
    plan = transplant.plan(donor, recipient)
    before = nets.snapshot(recipient)
    assign, calls = live.assign, []

    def failing(variable, value):
        calls.append(1)
        if len(calls) == fail_at:
            raise error
        return assign(variable, value)

    monkeypatch.setattr(live, "assign", failing)
    for fail_at in range(1, len(plan.copies) + 1):
        calls.clear()
        with pytest.raises(error):
            transplant.apply(plan, donor, recipient)
        assert nets.snapshot(recipient) == before, fail_at
        assert len(calls) > fail_at - 1
    calls.clear()
    fail_at = -1
    displaced = transplant.apply(plan, donor, recipient)
    assert nets.snapshot(recipient) != before  # the loop above did reach every write
    for fail_at in range(1, len(plan.copies) + 1):
        calls.clear()
        moved = nets.snapshot(recipient)
        with pytest.raises(error):
            transplant.undo(displaced, recipient)
        assert nets.snapshot(recipient) == moved, fail_at
    fail_at = -1
    transplant.undo(displaced, recipient)


def test_a_second_interrupt_waits_until_all_is_put_back(monkeypatch):
    donor, recipient = pair("nested")
    before = nets.snapshot(recipient)
    assign, calls = live.assign, []

    def failing(variable, value):
        calls.append(1)
        if len(calls) in (5, 7):  # the fifth write, and the second that puts back
            raise KeyboardInterrupt
        return assign(variable, value)

    plan = transplant.plan(donor, recipient)
    monkeypatch.setattr(live, "assign", failing)
    with pytest.raises(KeyboardInterrupt):
        transplant.apply(plan, donor, recipient)
    monkeypatch.undo()
    assert nets.snapshot(recipient) == before


@pytest.mark.parametrize(
    "role, bad, why",
    [
        ("kernel", np.nan, "not finite"),
        ("bias", np.inf, "not finite"),
        ("moving_variance", -1e-3, "variance below zero"),
    ],
)
def test_bad_values_are_refused_before_the_first_write(role, bad, why, monkeypatch):
    donor, recipient = pair("nested")
    plan = transplant.plan(donor, recipient)
    values = transplant.values(donor)
    last = [e for e in plan.copies if e.donor.role == role][-1]
    values[last.donor.path].flat[-1] = bad
    monkeypatch.setattr(live, "assign", lambda *_: pytest.fail("has written"))
    with pytest.raises(InputError, match=why):
        transplant.apply(plan, values, recipient)


def test_a_donor_that_changed_since_the_plan_is_refused():
    donor, recipient = pair("nested")
    plan = transplant.plan(donor, recipient)
    values = transplant.values(donor)
    path = plan.copies[-1].donor.path
    for other in (values[path][:1], values[path].astype(np.float64)):
        with pytest.raises(InputError, match="should be .*, is .* Make the plan again"):
            transplant.apply(plan, {**values, path: other}, recipient)
    del values[path]
    with pytest.raises(InputError, match="has no variable 'a_bn/3'"):
        transplant.apply(plan, values, recipient)


def test_a_recipient_that_is_another_model_is_refused():
    donor, _ = pair("nested")
    plan = transplant.plan(donor, donor)
    with pytest.raises(
        InputError, match="the model has no layer 'backbone/stem/a_conv'"
    ):
        transplant.apply(plan, donor, nets.flat())


def test_a_plan_with_problems_is_not_applied():
    donor, recipient = nets.flat("a", "b"), nets.nested()
    before = nets.snapshot(recipient)
    with pytest.raises(InputError, match="cannot be moved"):
        transplant.apply(transplant.plan(donor, recipient), donor, recipient)
    assert nets.snapshot(recipient) == before


# Pairing of real graphs


def unnamed():
    """A small encoder with Keras's own names, and a classifier's head."""
    inputs = x = keras.Input((8, 8, 3))
    for filters in (2, 2, 4, 4):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def test_an_unnamed_classifier_goes_into_the_encoder_of_a_unet_by_place():
    donor = nets.scrambled(unnamed(), 1)
    recipient = nets.scrambled(nets.ZOO["unet"](), 2)
    plan = transplant.plan(
        donor, recipient, layers=["encoder_*"], allow_unused=["*"]
    ).check()
    assert (
        len(plan.copies) == 4 * 6
    )  # two stages of two blocks: kernel, bias, batch norm
    convolutions = [layer for layer in donor.layers if isinstance(layer, layers.Conv2D)]
    pairs = {e.recipient.layer: e.donor.layer for e in plan.copies}
    for stage, layer in zip(["1_a", "1_b", "2_a", "2_b"], convolutions, strict=True):
        assert pairs[f"encoder_{stage}_conv"] == layer.name
    transplant.apply(plan, donor, recipient)
    kernel = recipient.get_layer("encoder_2_b_conv").kernel.numpy()
    np.testing.assert_array_equal(kernel, convolutions[3].kernel.numpy())


def test_a_nested_backbone_pairs_with_an_inlined_one_without_names():
    def backbone(x):
        for filters in (2, 3):
            x = layers.Conv2D(filters, 3)(x)
            x = layers.BatchNormalization()(x)
        return x

    inner = keras.Input((8, 8, 3))
    part = keras.Model(inner, backbone(inner))
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    donor = keras.Model(first, layers.Conv2D(5, 1, name="top")(part(first)))
    recipient = keras.Model(second, layers.Conv2D(5, 1, name="top")(backbone(second)))
    plan = transplant.plan(donor, recipient).check()
    transplant.apply(plan, nets.scrambled(donor, 1), recipient)
    assert nets.outputs(donor) == nets.outputs(recipient)


def test_a_keras_cv_backbone_is_a_foreign_donor():
    keras_cv = pytest.importorskip("keras_cv")

    def resnet():
        return keras_cv.models.ResNetBackbone(
            stackwise_filters=[64, 128],
            stackwise_blocks=[1, 1],
            stackwise_strides=[1, 2],
            include_rescaling=False,
            input_shape=(32, 32, 3),
            block_type="basic_block",
        )

    donor, recipient = nets.scrambled(resnet(), 1), nets.scrambled(resnet(), 2)
    plan = transplant.plan(donor, recipient).check()
    assert {e.variable.role for e in plan.entries} <= set(roles.ROLES)
    transplant.apply(plan, donor, recipient)
    assert nets.snapshot(donor) == nets.snapshot(recipient)


@every_net
def test_edges_name_only_layers_and_reach_every_one_that_has_arrays(kind):
    model, _ = pair(kind)
    edges = transplant.edges(model)
    if kind == "subclassed":
        assert edges is None
        return
    paths = {path for path, _ in transplant.live.every_layer(model)}
    inputs = {path for path, sources in edges.items() if not sources}
    named = set(edges) | {s for sources in edges.values() for s in sources}
    assert inputs and named - inputs <= paths
    assert {v.layer_path for v in transplant.index(model)} <= set(edges)


@pytest.mark.parametrize("kind", [kind for kind in nets.ZOO if kind != "subclassed"])
def test_a_plan_of_files_is_the_plan_of_the_live_models(kind, tmp_path):
    donor, recipient = pair(kind)
    donor.save(tmp_path / "donor.keras")
    recipient.save(tmp_path / "recipient.keras")
    with (
        checkpoints.open(tmp_path / "donor.keras") as a,
        checkpoints.open(tmp_path / "recipient.keras") as b,
    ):
        of_files = plans.make(
            a.variables,
            b.variables,
            roles="stats,kernel",
            donor_edges=a.edges,
            recipient_edges=b.edges,
        )
    live = transplant.plan(donor, recipient, roles="stats,kernel")
    assert of_files.hash == live.hash


def test_resnet50_goes_into_the_encoder_of_pspnet_by_name():
    donor = keras.applications.ResNet50(weights=None, include_top=False)
    nets.scrambled(donor, 1)  # fresh biases and batch norms would be equal
    recipient = models.pspnet(num_classes=5, width=64, encoder="resnet50")
    plan = transplant.plan(donor, recipient, layers=["conv?_*"]).check()
    # 53 convolutions with biases, 53 batch norms
    assert len(plan.copies) == 53 * 2 + 53 * 4
    assert {e.reason for e in plan.copies} == {"same layer name"}
    assert all("dilation_rate" in n or "strides" in n for n in plan.notes)
    rows = [line for line in plan.table().splitlines() if line.startswith("COPY")]
    assert len(rows) == 4


def test_a_layer_in_two_nested_models_is_listed_once():
    part = layers.Conv2D(3, 1, name="part")

    def around(name):
        inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, part(inputs), name=name)

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, around("right")(around("left")(inputs)))
    assert [v.path for v in transplant.index(model)] == ["left/part/0", "left/part/1"]


# Adapters


def test_a_blend_is_the_weighted_mean_of_both():
    donor, recipient = pair("nested")
    theirs, ours = nets.arrays(donor), nets.arrays(recipient)
    plan = transplant.plan(donor, recipient, adapters=["*=blend:0.25"])
    displaced = transplant.apply(plan, donor, recipient)
    for path, value in nets.arrays(recipient).items():
        expected = 0.75 * ours[path] + 0.25 * theirs[path]
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    transplant.undo(displaced, recipient)


@pytest.mark.parametrize("share, is_donor", [("1", True), ("0", False)])
def test_a_blend_of_one_is_the_donor_and_of_nought_the_recipient(share, is_donor):
    donor, recipient = pair("nested")
    expected = nets.snapshot(donor if is_donor else recipient)
    plan = transplant.plan(donor, recipient, adapters=[f"*=blend:{share}"])
    displaced = transplant.apply(plan, donor, recipient)
    assert nets.snapshot(recipient) == expected
    transplant.undo(displaced, recipient)


def stem(channels):
    return keras.Sequential(
        [keras.Input((8, 8, channels)), layers.Conv2D(4, 3, name="stem")]
    )


def test_a_colour_stem_reads_grey_images_as_it_read_grey_in_colour():
    donor, recipient = nets.scrambled(stem(3), 1), stem(1)
    plan = transplant.plan(donor, recipient, adapters=["stem=channels:mean"])
    transplant.apply(plan, donor, recipient)
    grey = nets.images()[..., :1]
    colour = np.repeat(grey, 3, axis=-1)
    np.testing.assert_allclose(recipient(grey), donor(colour), rtol=1e-5)


def test_a_stem_of_more_channels_ignores_the_new_ones_and_of_fewer_takes_the_first():
    rgb, four, two = nets.scrambled(stem(3), 1), stem(4), stem(2)
    plan = transplant.plan(rgb, four, adapters=["stem=channels:pad"])
    transplant.apply(plan, rgb, four)
    x = nets.images()
    more = np.concatenate([x, x[..., :1]], axis=-1)
    np.testing.assert_allclose(four(more), rgb(x), rtol=1e-5)
    plan = transplant.plan(rgb, two, adapters=["stem=channels:slice"])
    transplant.apply(plan, rgb, two)
    kernel = rgb.layers[0].kernel.numpy()
    np.testing.assert_array_equal(two.layers[0].kernel, kernel[:, :, :2])


def test_a_cast_is_made_only_if_it_is_asked_for_and_stays_finite():
    donor = nets.scrambled(stem(3), 1)
    half = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="stem", dtype="float16")]
    )
    assert transplant.plan(donor, half).problems[0].status == "MISMATCH"
    plan = transplant.plan(donor, half, adapters=["*=cast"]).check()
    transplant.apply(plan, donor, half)
    expected = donor.layers[0].kernel.numpy().astype(np.float16)
    np.testing.assert_array_equal(half.layers[0].kernel.numpy(), expected)
    donor.layers[0].bias.assign([1e6] * 4)  # float16 ends at 65,504
    before = nets.snapshot(half)
    with pytest.raises(InputError, match="not finite after the cast to float16"):
        transplant.apply(plan, donor, half)
    assert nets.snapshot(half) == before


# What hangs on parameters


def trained(optimizer):
    model = nets.scrambled(nets.flat(), 2)
    model.compile(optimizer, "mse", jit_compile=False)
    model.fit(nets.images(), np.zeros((2, 8, 8, 3)), epochs=2, verbose=0)
    return model


def slots(model, layer):
    """Optimizer variables that belong to the layer's kernel, by name."""
    word = f"{layer}_kernel"
    return [v for v in model.optimizer.variables if word in v.path]


@pytest.mark.parametrize(
    "optimizer, count",
    [
        (lambda: keras.optimizers.Adam(1e-3), 2),
        (lambda: keras.optimizers.SGD(1e-3, momentum=0.9), 1),
        (lambda: keras.optimizers.RMSprop(1e-3, momentum=0.9), 2),
    ],
    ids=["adam", "sgd", "rmsprop"],
)
def test_slots_of_moved_variables_start_again_and_no_others(optimizer, count):
    donor, recipient = nets.scrambled(nets.flat(), 1), trained(optimizer())
    before = nets.snapshot(recipient)
    moved, other = slots(recipient, "a_conv"), slots(recipient, "b_conv")
    assert len(moved) == len(other) == count
    kept = [v.numpy() for v in other]
    assert all(np.any(v.numpy()) for v in moved)
    plan = transplant.plan(donor, recipient, roles="kernel", layers=["a_conv"])
    displaced = transplant.apply(plan, donor, recipient)
    assert not any(np.any(v.numpy()) for v in moved)
    for variable, value in zip(other, kept, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert displaced.report == (f"{count} optimizer slots set to zero (zero)",)
    transplant.undo(displaced, recipient)
    assert nets.snapshot(recipient) == before


def test_slots_can_be_kept_or_all_dropped():
    donor, recipient = nets.scrambled(nets.flat(), 1), trained("adam")
    plan = transplant.plan(donor, recipient, roles="kernel", layers=["a_conv"])
    before = nets.snapshot(recipient)
    displaced = transplant.apply(plan, donor, recipient, optimizer="keep")
    assert len(displaced) == 1 and displaced.report == ()
    transplant.undo(displaced, recipient)
    rate = float(recipient.optimizer.learning_rate.numpy())
    displaced = transplant.apply(plan, donor, recipient, optimizer="drop")
    assert int(recipient.optimizer.iterations.numpy()) == 0
    assert not any(np.any(v.numpy()) for v in slots(recipient, "b_conv"))
    assert float(recipient.optimizer.learning_rate.numpy()) == rate
    transplant.undo(displaced, recipient)
    assert nets.snapshot(recipient) == before
    with pytest.raises(InputError, match="zero, keep, drop"):
        transplant.apply(plan, donor, recipient, optimizer="reset")


def test_moving_averages_of_weights_do_not_bring_the_old_values_back():
    optimizer = keras.optimizers.SGD(
        0.01, use_ema=True, ema_overwrite_frequency=1, ema_momentum=0.9
    )
    donor, recipient = nets.scrambled(nets.flat(), 1), trained(optimizer)
    recipient.optimizer.learning_rate = 0.0
    plan = transplant.plan(donor, recipient, roles="kernel")
    displaced = transplant.apply(plan, donor, recipient)
    assert "2 moving averages of the optimizer follow" in displaced.report
    recipient.fit(nets.images(), np.zeros((2, 8, 8, 3)), verbose=0)
    np.testing.assert_allclose(
        recipient.get_layer("a_conv").kernel,
        donor.get_layer("a_conv").kernel,
        rtol=1e-6,
    )


def test_a_normalization_layer_computes_with_what_was_moved():
    def normalizing(low, high):
        layer = layers.Normalization(name="norm")
        layer.adapt(np.linspace(low, high, 12).reshape(4, 3))
        return keras.Sequential([keras.Input((3,)), layer])

    donor, recipient = normalizing(0, 1), normalizing(5, 9)
    x = np.ones((1, 3), np.float32)
    old = recipient(x).numpy()
    plan = transplant.plan(donor, recipient, roles="stats").check()
    displaced = transplant.apply(plan, donor, recipient)
    np.testing.assert_array_equal(recipient(x), donor(x))
    assert "1 Normalization layers recomputed" in displaced.report
    transplant.undo(displaced, recipient)
    np.testing.assert_array_equal(recipient(x), old)
