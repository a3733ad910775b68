"""Networks that users bring, through every format: what moves equals the live donor's values."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import people
import pytest
import tensorflow as tf
from keras import layers as L

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError
from tfreuse.plan import AMBIGUOUS
from tfreuse.transplant import live

SIDE = (8, 8, 3)


def fill(model, seed):
    """Gives every array random values, positive so that variances are."""
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        if "int" not in weight.dtype:
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    return model


def arrays(model):
    """Arrays by "layer path/name in Keras", as the readers of named arrays expect."""
    return {
        f"{path}/{array.name}": array.value.numpy()
        for path, layer in live.layers(model)
        for array in live.own_weights(layer)
    }


def write_safetensors(model, path):
    header, data = {}, b""
    for name, value in arrays(model).items():
        span = [len(data), len(data) + value.nbytes]
        code = {"f": "F", "i": "I"}[value.dtype.kind] + str(value.dtype.itemsize * 8)
        header[name] = {"dtype": code, "shape": value.shape, "data_offsets": span}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


WRITERS = {
    "model.keras": lambda model, path: model.save(path),
    "model.weights.h5": lambda model, path: model.save_weights(path),
    "model.h5": lambda model, path: model.save(path),
    "exported": lambda model, path: model.export(path, verbose=False),
    "checkpoint": lambda m, path: tf.train.Checkpoint(model=m).write(str(path)),
    "arrays.npz": lambda model, path: np.savez(path, **arrays(model)),
    "arrays.safetensors": write_safetensors,
}


@keras.saving.register_keras_serializable("people")
class TwoScales(L.Layer):
    """A block with two arrays of one shape, whose order in a file matters."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:], name="gamma")
        self.shift = self.add_weight(shape=shape[-1:], name="shift", trainable=False)

    def call(self, x):
        return x * self.gamma + self.shift


@keras.saving.register_keras_serializable("people")
class Unnamed(L.Layer):
    """An array without a name, as in ConvNeXt's LayerScale: Keras calls it "variable_7"."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=shape[-1:])

    def call(self, x):
        return x * self.gamma


def unusual(side=SIDE):
    """Layers that have arrays of their own kinds, or layers within them."""
    inputs = keras.Input(side)
    x = L.SpectralNormalization(L.Conv2D(4, 3, name="within"), name="spectral")(inputs)
    x = L.BatchNormalization(synchronized=True, name="synchronized")(x)
    x = Unnamed(name="unnamed")(TwoScales(name="scales")(x))
    x = L.SeparableConv2D(4, 3, name="separable")(L.PReLU(name="slopes")(x))
    x = L.TimeDistributed(L.Dense(4, name="each"), name="rows")(x)
    x = L.Bidirectional(L.GRU(2, name="gru"), name="both")(L.Reshape((4, 16))(x))
    return keras.Model(inputs, L.Dense(2, name="out")(x), name="unusual")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.enc = L.Conv2D(4, 3, name="enc")
        self.bn = L.BatchNormalization(name="bn")
        self.head = L.Conv2D(2, 1, name="head")

    def call(self, x):
        return self.head(self.bn(self.enc(x)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, *SIDE), "float32"))
    return model


def made_up_names(depth=5):
    """A chain whose names Keras makes up, with more than ten layers of a class in all."""
    keras.utils.clear_session()
    x = inputs = keras.Input((None, None, 3))
    for width in range(depth):
        for _ in range(2):
            x = L.Conv2D(4 + width, 3, padding="same")(x)
            x = L.ReLU()(L.BatchNormalization()(x))
    return keras.Model(inputs, L.Conv2D(2, 1)(x))


BUILDERS = {
    **{kind: lambda kind=kind: people.build(kind) for kind in people.NETWORKS},
    "unusual layers": unusual,
    "subclassed": subclassed,
    "made-up names": made_up_names,
}

# Formats without the names of inner models cannot tell the two layers "out" apart.
AMBIGUOUS_IN = {"nested": {"checkpoint"}}

# An export takes a second; the others are as "own names" is.
EXPORTED = ("own names", "nested", "Normalization", "unusual layers", "subclassed")


@pytest.mark.parametrize("kind", BUILDERS)
def test_all_arrays_move_from_every_format(kind, tmp_path):
    donor, recipient = fill(BUILDERS[kind](), 1), BUILDERS[kind]()
    wanted = transplant.values(donor)
    for name, write in WRITERS.items():
        if name == "exported" and kind not in EXPORTED:
            continue
        write(donor, tmp_path / name)
        fill(recipient, 2)
        plan = transplant.plan(tmp_path / name, recipient)
        if name in AMBIGUOUS_IN.get(kind, ()):
            assert {entry.status for entry in plan.problems} == {AMBIGUOUS}
            continue
        assert len(plan.check().copies) == len(wanted)
        transplant.apply(plan, tmp_path / name, recipient)
        for path, value in transplant.values(recipient).items():
            np.testing.assert_array_equal(
                value, wanted[path], err_msg=f"{name}: {path}"
            )


def test_a_written_file_computes_as_its_donor(tmp_path):
    """Also where the file repeats an array, as that of a spectral normalization."""
    donor, recipient = fill(unusual(), 1), fill(unusual(), 2)
    donor.save_weights(tmp_path / "donor.weights.h5")
    recipient.save(tmp_path / "recipient.keras")
    files = tmp_path / "donor.weights.h5", tmp_path / "recipient.keras"
    plan = transplant.plan(*files).check()
    transplant.apply(plan, *files, tmp_path / "out.keras")
    transplant.verify(plan, *files, tmp_path / "out.keras").check()
    images = people.images(2, 8)
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "out.keras")(images), donor(images)
    )


def test_state_of_optimizers_is_no_layer(tmp_path):
    model = made_up_names(1)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True), "mse")
    images = people.images(2, 8)
    model.train_on_batch(images, images[..., :2])
    slots = tf.train.Checkpoint()  # as tf.keras 2.11 to 2.15 names them
    slots._variables = [
        tf.Variable(weight.value, name=f"{slot}/{weight.path}")
        for weight in model.trainable_weights
        for slot in ("Adam/m", "Adam/v", "SGD/average")
    ]
    layer = tf.train.Checkpoint(kernel=tf.Variable(np.ones((1, 2)), name="c1/kernel"))
    old = tf.train.Checkpoint(model=layer, optimizer=slots)
    old.write(str(tmp_path / "old"))
    assert [v.path for v in transplant.index(tmp_path / "old")] == ["c1/0"]
    for name in ("trained", "named"):
        held = {"model": model} | (
            {"state": model.optimizer} if name == "named" else {}
        )
        tf.train.Checkpoint(**held).write(str(tmp_path / name))
    model.save(tmp_path / "trained.keras")
    model.save(tmp_path / "trained.h5")
    for name in ("trained", "named", "trained.keras", "trained.h5"):
        plan = transplant.plan(tmp_path / name, model).check()
        assert len(plan.copies) == len(model.weights)
        with checkpoints.open(tmp_path / name) as file:
            assert {array.kind for array in file.unaddressed} == {"optimizer"}


def test_whole_numbers_of_bare_weights_have_no_roles(tmp_path):
    """A kernel_scale has the shape of a bias."""
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, use_bias=False, name="d")])
    plain = keras.Sequential([keras.Input((8,)), L.Dense(4, name="d")])
    model.get_layer("d").quantize("int8")
    model.save_weights(tmp_path / "int8.weights.h5")
    assert {v.role for v in transplant.index(tmp_path / "int8.weights.h5")} == {None}
    plan = transplant.plan(tmp_path / "int8.weights.h5", plain)
    assert {entry.status for entry in plan.problems} == {"REFUSED"}
    assert "quantized" in plan.problems[0].reason


def test_a_folder_of_an_unzipped_model_is_read_as_its_file(tmp_path):
    donor, recipient = (fill(people.build("own names"), seed) for seed in (1, 2))
    donor.save(tmp_path / "folder", zipped=False)
    donor.save(tmp_path / "file.keras")
    assert transplant.index(tmp_path / "folder") == transplant.index(
        tmp_path / "file.keras"
    )
    plan = transplant.plan(tmp_path / "folder", recipient).check()
    transplant.apply(plan, tmp_path / "folder", recipient)
    for path, value in transplant.values(recipient).items():
        np.testing.assert_array_equal(value, transplant.values(donor)[path])
    files = tmp_path / "file.keras", tmp_path / "folder"
    with pytest.raises(InputError, match="keras_folder file cannot be written"):
        transplant.apply(transplant.plan(*files), *files, tmp_path / "out.keras")
    (tmp_path / "folder" / "metadata.json").unlink()
    with pytest.raises(InputError, match="has no metadata.json"):
        transplant.index(tmp_path / "folder")


@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_arrays_in_fortran_order_are_read_as_numpy_reads_them(dtype, tmp_path):
    kernel = np.arange(24, dtype=dtype).reshape(1, 2, 3, 4)
    np.savez(tmp_path / "a.npz", **{"c/kernel": np.asfortranarray(kernel)})
    with checkpoints.open(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file.read("c/0"), kernel)
        numbers = np.concatenate(list(file.numbers("c/0")))
        np.testing.assert_array_equal(numbers, kernel.ravel())


def keras_2(path, layers, configured=True):
    """Writes a chain of layers as Keras 2 does.

    Args:
        path: file to write.
        layers: (class, name, settings, arrays by their names in the file).
        configured: whether the file has the configuration too.
    """
    entries, before = [], []
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights") if configured else file
        top.attrs["layer_names"] = [name.encode() for _, name, _, _ in layers]
        for class_name, name, settings, values in layers:
            group = top.create_group(name)
            group.attrs["weight_names"] = [f"{key}:0".encode() for key in values]
            for key, value in values.items():
                group[f"{key}:0"] = value
            config = {"name": name, **settings}
            entry = {"class_name": class_name, "config": config, "name": name}
            entries.append(
                {**entry, "inbound_nodes": [[[*before, {}]]] if before else []}
            )
            before = [name, 0, 0]
        ends = {"input_layers": [[layers[0][1], 0, 0]], "output_layers": [before]}
        config = {"name": "model", "layers": entries, **ends}
        text = json.dumps({"class_name": "Functional", "config": config})
        if configured:
            file.attrs["model_config"] = text.encode()


INPUT = ("InputLayer", "in", {"batch_input_shape": [None, 4, 4, 3]}, {})


def wrapper(class_name, **more):
    """A wrapper "td" of a convolution: Keras 2 names the arrays of both after it."""
    settings = {"name": "conv", "filters": 2, "kernel_size": [1, 1], "use_bias": True}
    inner = {"layer": {"class_name": "Conv2D", "config": settings}}
    arrays = {"td/kernel": np.ones((1, 1, 3, 2), "f4"), "td/bias": np.ones(2, "f4")}
    return class_name, "td", inner, {**arrays, **more}


@pytest.mark.parametrize("configured", [True, False])
def test_the_layer_in_a_wrapper_has_the_arrays_that_keras_2_calls_after_it(
    configured, tmp_path
):
    keras_2(tmp_path / "2.h5", [INPUT, wrapper("TimeDistributed")], configured)
    inner = L.Conv2D(2, 1, name="conv")
    sequence = keras.Sequential(
        [keras.Input((2, 4, 4, 3)), L.TimeDistributed(inner, name="td")]
    )
    plan = transplant.plan(tmp_path / "2.h5", sequence).check()
    transplant.apply(plan, tmp_path / "2.h5", sequence)
    assert [float(value.mean()) for value in inner.get_weights()] == [1, 1]
    sequence.save(tmp_path / "3.keras")
    back = transplant.plan(tmp_path / "3.keras", tmp_path / "2.h5").check()
    assert {entry.recipient.role for entry in back.copies} == {"kernel", "bias"}


@pytest.mark.parametrize(
    "class_name, name",
    [("WeightNormalization", "g"), ("PruneLowMagnitude", "mask")],
)
def test_a_kernel_that_its_wrapper_changes_is_refused(class_name, name, tmp_path):
    changed = wrapper(class_name, **{f"td/{name}": np.zeros(2, "f4")})
    keras_2(tmp_path / "2.h5", [INPUT, changed])
    plain = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(2, 1, name="conv")])
    for selected in ("all", "kernel"):
        plan = transplant.plan(tmp_path / "2.h5", plain, roles=selected)
        assert not plan.copies
        assert "REFUSED" in {entry.status for entry in plan.problems}
    assert class_name in transplant.info(tmp_path / "2.h5")["text"]


def test_synchronized_batch_normalization_of_keras_2_is_that_of_keras_3(tmp_path):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    arrays = {f"bn/{name}": np.full(3, n, "f4") for n, name in enumerate(names, 1)}
    settings = {"axis": [3], "epsilon": 1e-3, "momentum": 0.99}
    sync = "SyncBatchNormalization", "bn", settings, arrays
    keras_2(tmp_path / "2.h5", [INPUT, sync])
    bn = L.BatchNormalization(synchronized=True, name="bn")
    recipient = keras.Sequential([keras.Input((4, 4, 3)), bn])
    plan = transplant.plan(tmp_path / "2.h5", recipient, roles="bn").check()
    transplant.apply(plan, tmp_path / "2.h5", recipient)
    assert [float(value[0]) for value in bn.get_weights()] == [1, 2, 3, 4]


def without_names(path):
    """Takes the names of layers out of a weights file: Keras before 3.3 wrote none."""
    with h5py.File(path, "a") as file:
        groups = []
        file.visititems(lambda _, group: groups.append(group))
        for group in groups:
            group.attrs.pop("name", None)


def rewritten(path, new, change):
    """Writes a copy of a `.keras` file after `change` of its open weights."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    change(weights)
    parts["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(new, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_bare_weights_pair_by_counters_where_names_are_missing_or_shifted(tmp_path):
    def own():  # half of the names are the user's
        x = inputs = keras.Input((None, None, 3))
        for number in range(11):
            name = f"mine_{number}" if number % 2 else None
            x = L.BatchNormalization()(L.Conv2D(3, 3, name=name)(x))
        return keras.Model(inputs, L.PReLU(shared_axes=(1, 2), name="slopes")(x))

    donor, recipient = fill(own(), 1), fill(own(), 2)  # numbers of names have shifted
    path = tmp_path / "donor.weights.h5"
    donor.save_weights(path)
    for step in ("shifted", "nameless"):
        plan = transplant.plan(path, recipient).check()
        transplant.apply(plan, path, recipient)
        for value, right in zip(
            recipient.get_weights(), donor.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(value, right, err_msg=step)
        fill(recipient, 2)
        without_names(path)
    shorter = keras.Model(recipient.input, recipient.layers[-4].output)
    plan = transplant.plan(path, shorter, allow_unused=["*"])
    assert not plan.copies and plan.problems


def test_files_of_keras_2_12_to_2_15_name_no_layers_and_hold_metrics(tmp_path):
    def sequence():
        inner = L.TimeDistributed(L.Conv2D(2, 1, name="conv"), name="td")
        return keras.Sequential([keras.Input((2, 4, 4, 3)), inner])

    donor, recipient = fill(sequence(), 1), fill(sequence(), 2)
    donor.save(tmp_path / "donor.keras")

    def change(weights):
        with h5py.File(weights, "a") as file:
            file["metrics/mean/vars/0"] = np.float32(1)
        without_names(weights)

    rewritten(tmp_path / "donor.keras", tmp_path / "old.keras", change)
    plan = transplant.plan(tmp_path / "old.keras", recipient).check()
    transplant.apply(plan, tmp_path / "old.keras", recipient)
    for path, value in transplant.values(recipient).items():
        np.testing.assert_array_equal(value, transplant.values(donor)[path])


def attention():
    inputs = keras.Input((6, 8))
    attention = L.MultiHeadAttention(2, 4, name="attention")
    x = attention(query=inputs, value=inputs)  # a call of keywords alone
    last = L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", name="last")
    return keras.Model(inputs, last(x))


def wrapped_in_a_chain():
    """Keras names arrays in wrappers of a Sequential model "s/td/c", of it alone."""
    within = [keras.Input((6, 6, 4)), L.Conv2D(2, 1, name="c"), L.ReLU(name="r")]
    layers = [
        L.TimeDistributed(L.Conv2D(4, 3, name="c"), name="td"),
        L.TimeDistributed(L.BatchNormalization(name="b"), name="td2"),
        L.TimeDistributed(keras.Sequential(within, name="within"), name="td3"),
    ]
    return keras.Sequential([keras.Input((2, 8, 8, 3)), *layers], name="s")


def separable_by_numbers():
    keras.utils.clear_session()
    chain = [L.SeparableConv2D(3, 3), L.BatchNormalization(), L.SeparableConv2D(3, 1)]
    return keras.Sequential([keras.Input((8, 8, 3)), *chain])


@pytest.mark.parametrize("build", [attention, wrapped_in_a_chain, separable_by_numbers])
def test_all_arrays_move_between_files_that_know_roles_or_paths_and_those_that_do_not(
    build, tmp_path
):
    donor = fill(build(), 1)
    wanted = [np.array(value) for value in donor.get_weights()]
    assert len(transplant.plan(donor, build()).check().copies) == len(wanted)
    for name in ("model.keras", "model.weights.h5", "model.h5", "checkpoint"):
        WRITERS[name](donor, tmp_path / name)
    fill(build(), 2).save(tmp_path / "to.keras")
    fill(build(), 2).save_weights(tmp_path / "to.weights.h5")
    fill(build(), 2).save(tmp_path / "to.h5")
    for name in ("model.keras", "model.weights.h5", "model.h5", "checkpoint"):
        for suffix in (".keras", ".weights.h5", ".h5"):
            files = tmp_path / name, tmp_path / f"to{suffix}"
            out = tmp_path / f"out{suffix}"
            plan = transplant.plan(*files).check()
            transplant.apply(plan, *files, out, overwrite=True)
            model = build()
            model.load_weights(out)
            for value, right in zip(model.get_weights(), wanted, strict=True):
                np.testing.assert_array_equal(value, right, err_msg=f"{name} {suffix}")


def test_bare_weights_with_gamma_or_beta_alone_say_so_and_move_the_rest(tmp_path):
    """Names that Keras made up count although roles are unknown in the file (InceptionV3)."""

    def chain():
        keras.utils.clear_session()
        layers = [L.Conv2D(3, 1), L.BatchNormalization(scale=False), L.Conv2D(3, 1)]
        return keras.Sequential([keras.Input((8, 8, 3)), *layers])

    chain().save(tmp_path / "to.keras")
    chain().save_weights(tmp_path / "from.weights.h5")
    plan = transplant.plan(tmp_path / "from.weights.h5", tmp_path / "to.keras")
    assert [str(entry.recipient) for entry in plan.problems] == [
        "batch_normalization:beta"
    ]
    with pytest.raises(InputError, match="has gamma or beta, its file does not say"):
        plan.check()


def in_two_models():
    """A network in which a layer of an inner model is called once more."""
    inputs, images = keras.Input(SIDE), keras.Input(SIDE)
    conv = L.Conv2D(3, 3, padding="same", name="conv")
    inner = keras.Model(inputs, L.BatchNormalization(name="bn")(conv(inputs)), name="a")
    return keras.Model(images, L.Conv2D(3, 3, name="h")(conv(inner(images))))


def test_a_layer_that_h5_stores_twice_moves_to_and_from_both_places(tmp_path):
    donor, recipient = fill(in_two_models(), 1), in_two_models()
    right = donor(people.images(2, 8))
    for name in ("whole.h5", "weights.weights.h5", "new.keras"):
        donor.save_weights(tmp_path / name) if "weights" in name else donor.save(
            tmp_path / name
        )
    with (
        h5py.File(tmp_path / "whole.h5") as whole,
        h5py.File(tmp_path / "weights.h5", "w") as weights,
    ):  # as save_weights of Keras 2 wrote it
        for name, group in whole["model_weights"].items():
            whole.copy(group, weights, name)
        weights.attrs.update(whole["model_weights"].attrs)
    for name in ("whole.h5", "weights.h5"):
        fill(recipient, 2)
        plan = transplant.plan(tmp_path / name, recipient).check()
        transplant.apply(plan, tmp_path / name, recipient)
        np.testing.assert_array_equal(recipient(people.images(2, 8)), right)
    fill(recipient, 2).save(tmp_path / "to.h5")
    for name in ("whole.h5", "weights.weights.h5", "new.keras"):
        files = tmp_path / name, tmp_path / "to.h5"
        plan = transplant.plan(*files).check()
        transplant.apply(plan, *files, tmp_path / "out.h5", overwrite=True)
        transplant.verify(plan, *files, tmp_path / "out.h5").check()
        out = keras.saving.load_model(tmp_path / "out.h5")
        np.testing.assert_array_equal(out(people.images(2, 8)), right)
    plan = transplant.plan(*files, layers=["a/conv"]).check()
    assert {str(entry.recipient) for entry in plan.copies} == {
        *("a/conv:kernel", "a/conv:bias", "conv:kernel", "conv:bias")
    }
    # equal names and values of new normalizations are no sign of one layer
    chain = [keras.Input(SIDE), L.BatchNormalization(name="bn")]
    inner = keras.Sequential(chain, name="inner")
    keras.Sequential([*chain, inner]).save(tmp_path / "new.h5")
    with checkpoints.open(tmp_path / "new.h5") as file:
        assert not file.repeats


def test_keras_2_does_not_count_a_layer_that_an_inner_model_has_too(tmp_path):
    """Its `.keras` file then was "not of one model", or gave the layer another's values."""
    donor, recipient = fill(in_two_models(), 1), fill(in_two_models(), 2)
    donor.save(tmp_path / "3.keras")

    def change(weights):
        with h5py.File(weights, "a") as file:
            file["layers"].pop("conv2d", None)  # of the outer "conv", without arrays
            file["layers"].move("conv2d_1", "conv2d")
        without_names(weights)

    rewritten(tmp_path / "3.keras", tmp_path / "2.keras", change)
    plan = transplant.plan(tmp_path / "2.keras", recipient).check()
    transplant.apply(plan, tmp_path / "2.keras", recipient)
    images = people.images(2, 8)
    np.testing.assert_array_equal(recipient(images), donor(images))


def test_a_model_in_a_wrapper_has_its_layers_classes_and_numbers(tmp_path):
    """Also in files of Keras 2.12 to 2.15, which have no names."""
    donor, recipient = (fill(wrapped_in_a_chain(), seed) for seed in (1, 2))
    donor.save(tmp_path / "donor.keras")
    rewritten(tmp_path / "donor.keras", tmp_path / "old.keras", without_names)
    for name in ("donor.keras", "old.keras"):
        plan = transplant.plan(tmp_path / name, recipient, roles="kernel").check()
        assert len(plan.copies) == 2
        transplant.apply(plan, tmp_path / name, recipient)
    moved = recipient.get_layer("td3").layer.get_layer("c").get_weights()[0]
    right = donor.get_layer("td3").layer.get_layer("c").get_weights()[0]
    np.testing.assert_array_equal(moved, right)
