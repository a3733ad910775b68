"""Files of Keras 1 and 2 give the layers, connections and settings that the live model has."""

import json

import h5py
import keras
import nets
import numpy as np
import old_keras
import people
import pytest
from keras import layers

from tfreuse import checkpoints, transplant
from tfreuse.checkpoints import configs, nodes
from tfreuse.checkpoints.nodes import Tensor

KERAS_2 = {"2.keras": old_keras.archive, "2.h5": old_keras.h5}
WRITERS = KERAS_2 | {
    "3.keras": lambda model, path: model.save(path),
    "3.h5": lambda model, path: model.save(path),
}


def branches(p):
    """Branches of equal shapes, told apart by what they read and by what reads them."""
    x = inputs = keras.Input((8, 8, 3), name=f"{p}in")
    x = layers.Conv2D(4, 3, padding="same", name=f"{p}first")(x)
    x = layers.BatchNormalization(name=f"{p}norm", momentum=0.9)(x)
    left = layers.DepthwiseConv2D(3, padding="same", name=f"{p}depth")(x)
    left = layers.Conv2D(4, 1, name=f"{p}left")(left)
    right = layers.Conv2D(4, 1, name=f"{p}right")(x)
    total = layers.Add(name=f"{p}add")([left, right])
    x = layers.Concatenate(name=f"{p}join")([total, right])
    outputs = layers.SeparableConv2D(2, 3, name=f"{p}out")(x)
    return keras.Model(inputs, [outputs, total])


def nested(p):
    """A model of two inputs and two outputs, a Sequential one, and a layer called twice."""
    one, two = keras.Input((8, 8, 4)), keras.Input((8, 8, 4))
    x = layers.Conv2D(5, 1, name=f"{p}conv")(layers.Concatenate()([one, two]))
    inner = keras.Model([one, two], [x, layers.Conv2D(5, 3, name=f"{p}wide")(x)])
    inner.name = f"{p}inner"
    chain = keras.Sequential(
        [
            keras.Input((8, 8, 5)),
            layers.Conv2D(6, 1, name=f"{p}one"),
            layers.BatchNormalization(name=f"{p}norm"),
        ],
        name=f"{p}chain",
    )
    inputs = keras.Input((8, 8, 3), name=f"{p}in")
    x = layers.Conv2D(4, 3, padding="same", name=f"{p}first")(inputs)
    twice = layers.Conv2D(4, 3, padding="same", name=f"{p}twice")
    x = twice(x)
    narrow, wide = inner([x, twice(x)])
    return keras.Model(inputs, [chain(narrow), wide])


def ranks(p):
    """Normalizations of inputs of four, three and two axes in one network."""
    x = inputs = keras.Input((8, 8, 3), name=f"{p}in")
    x = layers.Conv2D(4, 3, name=f"{p}conv2")(x)
    x = layers.BatchNormalization(name=f"{p}norm4", epsilon=1e-5)(x)
    x = layers.Reshape((36, 4), name=f"{p}rows")(layers.ReLU(name=f"{p}relu")(x))
    x = layers.Conv1D(5, 3, name=f"{p}conv1")(x)
    x = layers.BatchNormalization(name=f"{p}norm3", scale=False)(x)
    x = layers.LayerNormalization(name=f"{p}layer")(x)
    x = layers.GlobalAveragePooling1D(name=f"{p}pool")(x)
    x = layers.Dense(6, name=f"{p}dense")(x)
    x = layers.BatchNormalization(name=f"{p}norm2")(x)
    return keras.Model(inputs, layers.Dense(2, name=f"{p}out")(x))


def sequential(p):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name=f"{p}conv"),
            layers.BatchNormalization(name=f"{p}norm"),
            layers.Flatten(name=f"{p}flat"),
            layers.Dense(5, name=f"{p}dense"),
            layers.BatchNormalization(name=f"{p}norm2"),
        ]
    )


def front(axis, p="", between=None):
    x = inputs = keras.Input((4, 4, 4))
    x = layers.Conv2D(4, 3, padding="same", name=f"{p}conv")(x)
    x = between(x) if between else x
    return keras.Model(inputs, layers.BatchNormalization(axis=axis, name=f"{p}norm")(x))


NETWORKS = {net.__name__: net for net in (branches, nested, ranks, sequential)}


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request):
    """A donor, and a network of its kind and other values, whose layers have other names."""
    build = NETWORKS[request.param]
    return nets.scrambled(build("a_"), 1), nets.scrambled(build("b_"), 2)


def in_order(model):
    return list(nets.arrays(model).values())


@pytest.mark.parametrize("name", WRITERS)
def test_a_renamed_network_gets_every_value_from_a_file_of_any_keras(
    pair, name, tmp_path
):
    donor, recipient = pair
    before = transplant.values(recipient)
    path = tmp_path / f"donor{name}"
    WRITERS[name](donor, path)
    plan = transplant.plan(path, recipient).check()
    transplant.apply(plan, path, recipient)
    for value, expected in zip(in_order(recipient), in_order(donor), strict=True):
        np.testing.assert_array_equal(value, expected)
    transplant.undo(before, recipient)
    assert not any("epsilon" in note or "axis" in note for note in plan.notes)


@pytest.mark.parametrize("name", KERAS_2)
def test_a_file_of_keras_2_is_a_recipient_too(pair, name, tmp_path):
    donor, recipient = pair
    KERAS_2[name](recipient, tmp_path / f"b{name}")
    plan = transplant.plan(donor, tmp_path / f"b{name}").check()
    transplant.apply(plan, donor, tmp_path / f"b{name}", tmp_path / f"c{name}")
    with checkpoints.open(tmp_path / f"c{name}") as written:
        values = [written.read(variable) for variable in written.variables]
    for value, expected in zip(values, in_order(donor), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", KERAS_2)
def test_channels_of_a_file_of_keras_2_are_tied_as_the_model_s(pair, name, tmp_path):
    donor, _ = pair
    with checkpoints.open(KERAS_2[name](donor, tmp_path / f"a{name}")) as file:
        sizes = sorted(transplant.ties(file).sizes.values())
    told = name != "2.h5" or not isinstance(donor, keras.Sequential)  # it has no shapes
    assert sizes == (sorted(transplant.ties(donor).sizes.values()) if told else [])


@pytest.mark.parametrize("name", KERAS_2)
def test_a_segmentation_network_of_keras_2_computes_the_same_in_keras_3(name, tmp_path):
    donor = nets.scrambled(people.own_names(momentum=0.999), 1)
    recipient = people.own_names(epsilon=1e-3)
    path = KERAS_2[name](donor, tmp_path / f"donor{name}")
    plan = transplant.plan(path, recipient).check()
    transplant.apply(plan, path, recipient)
    images = people.images(2)
    np.testing.assert_array_equal(recipient(images), donor(images))


@pytest.mark.parametrize("name", WRITERS)
def test_equal_shapes_at_another_place_are_no_pair(name, tmp_path):
    def chain(*names):
        x = inputs = keras.Input((8, 8, 3))
        for filters, own in zip((3, 8, 16), names, strict=False):
            x = layers.Conv2D(filters, 3, padding="same", name=own)(x)
        return keras.Model(inputs, x)

    path = tmp_path / f"donor{name}"
    WRITERS[name](chain("conv2d_10", "conv2d_11", "conv2d_12"), path)
    x = inputs = keras.Input((8, 8, 3))
    first = layers.Conv2D(8, 3, padding="same", name="first")(x)  # as conv2d_11
    recipient = keras.Model(inputs, first)
    plan = transplant.plan(path, recipient, layers="first")
    assert {entry.status for entry in plan.problems} == {"MISSING"}


# Connections


@pytest.mark.parametrize(
    "call, reads",
    [
        ([["a", 0, 0, {}], ["b", 1, 2, {}]], [("a", 0, 0), ("b", 1, 2)]),
        ([["a", 0, 0]], [("a", 0, 0)]),  # Keras 1
        (["a", 0, 0, {"y": ["b", 0, 1], "name": None}], [("a", 0, 0), ("b", 0, 1)]),
        ([["a", 0, 0, {"value": ["a", 0, 0]}]], [("a", 0, 0), ("a", 0, 0)]),
        ([["a", 0, 0, {"size": ["c", 1, 1]}]], [("a", 0, 0)]),  # "c" is no layer
        ({"y": ["b", 0, 0, {}], "x": ["a", 0, 0, {}]}, [("a", 0, 0), ("b", 0, 0)]),
        ([["_CONSTANT_VALUE", -1, 2.0, {}], ["b", 0, 0, {}]], [("b", 0, 0)]),
    ],
)
def test_each_form_of_a_connection_of_keras_1_and_2_is_read(call, reads):
    # forms written by tf_keras 2.21.0, but for the second, of Keras 1.2
    assert list(nodes.node(call, {"a", "b"}).reads) == [Tensor(*r) for r in reads]


def entries_of(config):
    return {entry["name"]: entry for entry in config["config"]["layers"]}


@pytest.fixture(scope="module")
def renamed():
    """One network, twice, whose layers have other names."""
    return front(-1, "a_"), front(-1, "b_")


@pytest.mark.parametrize(
    "call", ["a", [["a"]], [["a", 0, "0", {}]], [["a", -1, 0, {}]], {"args": 3}, 5, []]
)
def test_connections_of_no_known_form_are_no_graph_and_that_is_said(
    call, renamed, tmp_path
):
    def change(config):
        entries_of(config)["a_norm"]["inbound_nodes"] = [call] if call else []

    for name, write in KERAS_2.items():
        path = write(renamed[0], tmp_path / f"donor{name}", change=change)
        info = transplant.info(path)["doctor"]
        assert any(line.startswith("no graph: ") for line in info)
        plan = transplant.plan(path, renamed[1])
        assert not plan.copies
        assert any("the donor has no graph" in note for note in plan.notes)


def test_bare_weights_have_no_graph_and_the_plan_says_so(renamed, tmp_path):
    path = old_keras.h5(renamed[0], tmp_path / "weights.h5", whole=False)
    plan = transplant.plan(path, renamed[1])
    assert not plan.copies
    assert any("the donor has no graph" in note for note in plan.notes)
    same = transplant.plan(path, renamed[0]).check()  # names pair all: no note on it
    assert not any("graph" in note for note in same.notes)


@pytest.mark.parametrize("whole", [True, False])
def test_names_with_slashes_are_those_of_layers(whole, tmp_path):
    """MobileNetV3 and DenseNet121 of Keras 2: 'expanded_conv/project/BatchNorm'."""
    donor, recipient = nets.scrambled(front(-1, "a_"), 1), front(-1, "b_")

    def slashed(name):
        return name.replace("a_", "expanded_conv/project/")

    def change(config):
        text = json.dumps(config).replace('"a_', '"expanded_conv/project/')
        config.update(json.loads(text))

    path = old_keras.h5(donor, tmp_path / "donor.h5", whole=whole, change=change)
    with h5py.File(path, "a") as file:
        root = file["model_weights"] if whole else file
        names = [layer.name for layer in donor.layers]
        root.attrs["layer_names"] = [slashed(name) for name in names]
        for name in names:
            root.move(name, f"new/{name}")
        for name in names:
            group = root[f"new/{name}"]
            arrays = [str(n) for n in group.attrs["weight_names"]]
            target = root.create_group(slashed(name))
            target.attrs["weight_names"] = [slashed(n) for n in arrays]
            for n in arrays:
                target[slashed(n)] = group[n][()]
        del root["new"]
    with checkpoints.open(path) as file:
        assert {v.layer_path for v in file.variables} == {
            slashed(layer.name) for layer in donor.layers if layer.weights
        }
    if whole:
        transplant.apply(transplant.plan(path, recipient).check(), path, recipient)
        for value, expected in zip(in_order(recipient), in_order(donor), strict=True):
            np.testing.assert_array_equal(value, expected)


# Sequential models of Keras before 2.2.3


def test_the_configuration_of_a_sequential_model_may_be_a_list(tmp_path):
    donor, recipient = nets.scrambled(sequential("a_"), 1), sequential("b_")

    def change(config):
        first, *entries = config["config"]["layers"]
        for entry in entries:
            del entry["name"], entry["inbound_nodes"]
        entries[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
        config["config"] = entries

    path = old_keras.h5(donor, tmp_path / "donor.h5", change=change)
    transplant.apply(transplant.plan(path, recipient).check(), path, recipient)
    for value, expected in zip(in_order(recipient), in_order(donor), strict=True):
        np.testing.assert_array_equal(value, expected)
    with checkpoints.open(path) as file:
        assert [call.path for call in file.calls()[0]][1:] == [
            layer.name for layer in donor.layers
        ]


def test_models_without_a_name_within_a_list_open_without_a_graph(tmp_path):
    def change(config):
        chain = {"class_name": "Sequential", "config": []}
        config["config"] = [chain, chain, *config["config"]["layers"]]
        config["class_name"] = "Sequential"

    path = old_keras.h5(sequential("a_"), tmp_path / "donor.h5", change=change)
    assert len(transplant.plan(path, sequential("a_")).check().copies) == 12


@pytest.mark.parametrize("named", [True, False])
def test_a_model_without_a_name_in_a_list_has_that_of_its_group(named, tmp_path):
    donor, recipient = nets.scrambled(chain_in_chain("a_"), 1), chain_in_chain("b_")

    def change(config):
        _, chain, last = config["config"]["layers"]
        chain = {"class_name": "Sequential", "config": chain["config"]["layers"]}
        del last["name"]
        config["config"] = [chain, last] if named else [chain, last, chain]

    path = old_keras.h5(donor, tmp_path / "donor.h5", change=change)
    plan = transplant.plan(path, recipient)
    assert len(plan.copies) == (8 if named else 0)
    if named:
        transplant.apply(plan, path, recipient)
        for value, expected in zip(in_order(recipient), in_order(donor), strict=True):
            np.testing.assert_array_equal(value, expected)


def chain_in_chain(p):
    inner = [
        keras.Input((8, 8, 3)),
        layers.Conv2D(4, 3, name=f"{p}conv"),
        layers.BatchNormalization(name=f"{p}norm"),
    ]
    inner = keras.Sequential(inner, name=f"{p}inner")
    last = layers.Conv2D(2, 1, name=f"{p}last")
    return keras.Sequential([keras.Input((8, 8, 3)), inner, last])


# Keras 1


def test_branches_within_the_first_layer_of_a_sequential_model_are_no_graph():
    merge = {"class_name": "Merge", "config": {"name": "merge_1", "layers": []}}
    dense = {"class_name": "Dense", "config": {"name": "dense_1"}}
    text = json.dumps({"class_name": "Sequential", "config": [merge, dense]})
    read = configs.parse(text, "a.h5")
    assert (read.edges, [*read.layers]) == (None, ["merge_1", "dense_1"])


def keras_1(p, transposed=False):
    x = inputs = keras.Input((9, 9, 3), name=f"{p}in")
    x = layers.Conv2D(4, 3, strides=2, name=f"{p}conv")(x)
    x = layers.BatchNormalization(name=f"{p}norm")(x)
    x = layers.SeparableConv2D(5, 3, name=f"{p}apart")(x)
    if transposed:
        x = layers.Conv2DTranspose(5, 2, strides=2, name=f"{p}up")(x)
    x = layers.Flatten(name=f"{p}flat")(x)
    return keras.Model(inputs, layers.Dense(2, name=f"{p}dense")(x))


@pytest.mark.parametrize("number", ["", "_1"])
@pytest.mark.parametrize("p", ["a_", "b_"])
def test_arrays_of_keras_1_have_roles(p, number, tmp_path):
    """As Keras 1.2.2 on TensorFlow saved them; a number is there when it had loaded them."""
    donor, recipient = nets.scrambled(keras_1("a_"), 1), keras_1(p)
    path = old_keras.keras_1_h5(donor, tmp_path / "donor.h5", number=number)
    plan = transplant.plan(path, recipient).check()
    assert not plan.notes
    transplant.apply(plan, path, recipient)
    for value, expected in zip(in_order(recipient), in_order(donor), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_bare_weights_of_keras_1_move_where_their_layout_leaves_no_choice(tmp_path):
    donor, recipient = nets.scrambled(keras_1("a_"), 1), keras_1("a_")
    path = old_keras.keras_1_h5(donor, tmp_path / "donor.h5", whole=False)
    plan = transplant.plan(path, recipient)
    assert {e.variable.layer for e in plan.problems} == {"a_apart"}
    plan = transplant.plan(path, recipient, layers="*,!a_apart").check()
    transplant.apply(plan, path, recipient)
    kernel = recipient.get_layer("a_conv").kernel
    np.testing.assert_array_equal(kernel, donor.get_layer("a_conv").kernel)


@pytest.mark.parametrize("ordering", ["tf", "th"])
def test_kernels_of_keras_1_in_another_layout_are_refused_by_name(ordering, tmp_path):
    donor = keras_1("a_", transposed=True)
    path = old_keras.keras_1_h5(donor, tmp_path / "donor.h5", ordering=ordering)
    plan = transplant.plan(path, keras_1("a_", transposed=True))
    refused = {e.variable.layer for e in plan.problems if e.status == "REFUSED"}
    others = {"a_conv", "a_apart", "a_norm"}  # axis -1 is not that of channels first
    assert refused == {"a_up"} | (others if ordering == "th" else set())
    assert {e.status for e in plan.problems} == {"REFUSED"}


# Axes of normalizations


@pytest.mark.parametrize("name", WRITERS)
def test_an_axis_of_another_meaning_is_refused_whatever_its_number(name, tmp_path):
    donor = front(1)
    path = tmp_path / f"donor{name}"
    WRITERS[name](donor, path)
    plan = transplant.plan(path, front(-1), roles="bn")
    assert {entry.status for entry in plan.problems} == {"REFUSED"}
    assert "axis 1 does not fit -1" in plan.problems[0].reason
    assert len(transplant.plan(path, front(-3), roles="bn").check().copies) == 4


def test_an_axis_of_unknown_rank_goes_by_shape_and_the_plan_says_so(tmp_path):
    def between(x):
        return layers.Lambda(lambda x: x, name="code")(x)

    def change(config):
        entries_of(config)["code"]["class_name"] = "FromElsewhere"

    path = old_keras.h5(front(3, between=between), tmp_path / "a.h5", change=change)
    positive = old_keras.h5(front(3, between=between), tmp_path / "b.h5", change=change)

    def negative(config):
        change(config)
        entries_of(config)["norm"]["config"]["axis"] = -1

    old = old_keras.h5(front(3, between=between), tmp_path / "c.h5", change=negative)
    plan = transplant.plan(path, old).check()
    assert any(note.startswith("axis 3 in the donor, -1 in") for note in plan.notes)
    assert not transplant.plan(path, positive).check().notes
    # the recipient says how many axes there are: no doubt is left
    plan = transplant.plan(path, front(-1)).check()
    assert not any(note.startswith("axis") for note in plan.notes)
    wrong = transplant.plan(path, front(1), roles="bn")
    assert {entry.status for entry in wrong.problems} == {"REFUSED"}


# Scopes that TensorFlow 1 made unique


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("build", [branches, nested, sequential])
def test_scopes_with_a_number_are_the_layers_of_their_group(build, whole, tmp_path):
    def numbered(name):
        return f"{name}_1"

    donor, recipient = nets.scrambled(build("a_1"), 1), nets.scrambled(build("a_1"), 2)
    path = old_keras.h5(donor, tmp_path / "donor.h5", scope=numbered, whole=whole)
    plan = transplant.plan(path, recipient)
    if build is nested and not whole:  # which are layers and which models is not told
        assert not any("inner" in entry.recipient.path for entry in plan.copies)
        return
    transplant.apply(plan.check(), path, recipient)
    for value, expected in zip(in_order(recipient), in_order(donor), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_number_that_is_a_layer_s_own_is_not_taken_away(tmp_path):
    """TensorFlow calls the scope of conv2d conv2d_1, beside a layer conv2d_1."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3, padding="same", name="conv2d")(inputs)
    x = layers.Conv2D(3, 3, padding="same", name="conv2d_1")(x)
    inner = keras.Model(inputs, x, name="inner")
    outer = keras.Input((8, 8, 3))
    model = nets.scrambled(keras.Model(outer, inner(outer)), 1)
    path = old_keras.h5(model, tmp_path / "a.h5", scope=lambda name: f"{name}_1")
    with checkpoints.open(path) as file:
        for path, value in nets.arrays(model).items():
            np.testing.assert_array_equal(file.read(path), value)


# Conventions of batch normalization in families of networks


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "convention",
    [
        {"momentum": 0.9, "epsilon": 1e-3},
        {"momentum": 0.99, "epsilon": 1.001e-5},  # ResNet
        {"momentum": 0.999, "epsilon": 1e-3},  # MobileNetV2
        {"momentum": 0.9997, "epsilon": 1e-5},
        {"scale": False},  # InceptionV3
        {"center": False},
    ],
    ids=str,
)
def test_roles_and_notes_follow_each_convention_of_batch_norm(
    convention, name, tmp_path
):
    def network(**settings):
        x = inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 1, name="conv")(x)
        norm = layers.BatchNormalization(name="norm", **settings)
        return keras.Model(inputs, norm(x))

    donor, recipient = nets.scrambled(network(**convention), 1), network(epsilon=1e-4)
    path = tmp_path / f"donor{name}"
    WRITERS[name](donor, path)
    absent = {"scale": "gamma", "center": "beta"}.get(next(iter(convention)))
    plan = transplant.plan(path, recipient)
    assert [e.variable.role for e in plan.problems] == ([absent] if absent else [])
    plan = transplant.plan(path, recipient, allow_missing="norm").check()
    transplant.apply(plan, path, recipient)
    for role in {"gamma", "beta", "moving_mean", "moving_variance"} - {absent}:
        value = getattr(recipient.get_layer("norm"), role)
        expected = getattr(donor.get_layer("norm"), role)
        np.testing.assert_array_equal(value, expected)
    assert any(note.startswith("epsilon ") for note in plan.notes)
    differs = convention.get("momentum", 0.99) != 0.99
    assert any(note.startswith("momentum ") for note in plan.notes) == differs
