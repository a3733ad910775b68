"""Formats whose names leave out inner models never give one layer's arrays for another's."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tfreuse import transplant
from tfreuse.errors import InputError
from tfreuse.plan import AMBIGUOUS

FORMATS = ("checkpoint", "arrays.npz", "arrays.safetensors")


def branch(name):
    inputs = keras.Input((8, 8, 3))
    outputs = L.BatchNormalization(name="bn1")(L.Conv2D(2, 1, name="conv1")(inputs))
    return keras.Model(inputs, outputs, name=name)


def two_branches():
    rgb, depth = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    joined = L.Concatenate()([branch("rgb")(rgb), branch("depth")(depth)])
    return keras.Model([rgb, depth], L.Conv2D(2, 1, name="head")(joined))


def write(model, path):
    if path.name == "checkpoint":
        tf.train.Checkpoint(model=model).write(str(path))
    elif path.suffix == ".npz":  # TensorFlow's spelling beside Keras's: one name, twice
        head = model.get_layer("head").get_weights()
        arrays = {"head/kernel": head[0], "head/bias": head[1]}
        for name, spelling in (("rgb", ""), ("depth", ":0")):
            kernel, bias = model.get_layer(name).get_layer("conv1").get_weights()
            arrays |= {f"conv1/kernel{spelling}": kernel, f"conv1/bias{spelling}": bias}
        np.savez(path, **arrays)
    else:
        header, data = {}, b""
        for key, layer in (
            ("conv1.kernel", "rgb"),
            ("conv1.kernel:0", "depth"),
            ("head.kernel", "head"),
        ):
            part = model.get_layer(layer)
            part = part if layer == "head" else part.get_layer("conv1")
            kernel = part.get_weights()[0]
            span = [len(data), len(data) + kernel.nbytes]
            header[key] = {"dtype": "F32", "shape": kernel.shape, "data_offsets": span}
            data += kernel.tobytes()
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("name", FORMATS)
def test_layers_of_one_name_in_several_inner_models_are_ambiguous(name, tmp_path):
    donor = two_branches()
    write(donor, tmp_path / name)
    inputs = keras.Input((8, 8, 3))
    recipient = keras.Model(inputs, branch("depth")(inputs))
    before = transplant.values(recipient)
    plan = transplant.plan(
        tmp_path / name,
        recipient,
        roles="kernel",
        layers=["depth/*"],
        allow_unused=["*"],
    )
    assert [entry.status for entry in plan.problems] == [AMBIGUOUS]
    with pytest.raises(InputError, match="inner models"):
        transplant.apply(plan, tmp_path / name, recipient)
    for path, value in transplant.values(recipient).items():
        np.testing.assert_array_equal(value, before[path])
    assert "duplicate" in transplant.info(tmp_path / name)["text"]


def test_an_export_has_the_inner_models_in_the_scopes_of_its_function(tmp_path):
    donor = two_branches()
    donor.export(tmp_path / "exported", verbose=False)
    inputs = keras.Input((8, 8, 3))
    recipient = keras.Model(inputs, branch("depth")(inputs))
    options = {"layers": ["depth/*"], "allow_unused": ["*"]}
    plan = transplant.plan(tmp_path / "exported", recipient, **options).check()
    transplant.apply(plan, tmp_path / "exported", recipient)
    for layer in ("conv1", "bn1"):
        moved = recipient.get_layer("depth").get_layer(layer).get_weights()
        wanted = donor.get_layer("depth").get_layer(layer).get_weights()
        for value, right in zip(moved, wanted, strict=True):
            np.testing.assert_array_equal(value, right)


class Part(keras.Model):
    """A subclassed model: TensorFlow's names of its variables leave out its layers."""

    def __init__(self):
        super().__init__(name="part")
        self.steps = [L.Conv2D(3, 3, padding="same", name=f"step{n}") for n in (0, 1)]

    def call(self, x):
        for step in self.steps:
            x = step(x)
        return x


def test_an_export_has_the_layers_of_a_subclassed_part_of_a_graph(tmp_path):
    def model():
        inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, L.Conv2D(2, 1, name="head")(Part()(inputs)))

    donor, recipient = model(), model()
    donor.export(tmp_path / "exported", verbose=False)
    plan = transplant.plan(tmp_path / "exported", recipient).check()
    transplant.apply(plan, tmp_path / "exported", recipient)
    for value, right in zip(recipient.get_weights(), donor.get_weights(), strict=True):
        np.testing.assert_array_equal(value, right)


@pytest.mark.parametrize("name", FORMATS)
def test_layers_with_a_name_of_their_own_still_move(name, tmp_path):
    donor, recipient = two_branches(), two_branches()
    write(donor, tmp_path / name)
    plan = transplant.plan(
        tmp_path / name,
        recipient,
        roles="kernel",
        layers=["head"],
        allow_unused=["*"],
    ).check()
    transplant.apply(plan, tmp_path / name, recipient)
    moved = recipient.get_layer("head").get_weights()[0]
    np.testing.assert_array_equal(moved, donor.get_layer("head").get_weights()[0])


def test_verify_does_not_take_another_branch_for_the_donor(tmp_path):
    """The wrong transplant of before: rgb's kernel where depth's was selected."""
    donor = two_branches()
    write(donor, tmp_path / "checkpoint")
    donor.save(tmp_path / "donor.keras")
    inputs = keras.Input((8, 8, 3))
    recipient = keras.Model(inputs, branch("depth")(inputs))
    before = transplant.values(recipient)
    options = {"roles": "kernel", "layers": ["depth/*"], "allow_unused": ["*"]}
    right = transplant.plan(tmp_path / "donor.keras", recipient, **options)
    recipient.get_layer("depth").get_layer("conv1").set_weights(
        donor.get_layer("rgb").get_layer("conv1").get_weights()
    )
    with pytest.raises(InputError, match="not the donor's"):
        proof = transplant.verify(right, tmp_path / "donor.keras", before, recipient)
        proof.check()
    wrong = transplant.plan(tmp_path / "checkpoint", recipient, **options)
    with pytest.raises(InputError, match="inner models"):
        transplant.verify(wrong, tmp_path / "checkpoint", before, recipient).check()


@keras.saving.register_keras_serializable("same_names")
class Pair(L.Layer):
    """A block whose two layers have one name, as code that builds layers in a loop gives them."""

    def __init__(self, **options):
        super().__init__(**options)
        self.steps = [L.Conv2D(3, 3, padding="same", name="conv") for _ in range(2)]

    def build(self, shape):
        for step in self.steps:
            step.build(shape)

    def call(self, x):
        for step in self.steps:
            x = step(x)
        return x


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_layers_of_one_path_on_both_sides_are_ambiguous_not_left_behind(
    suffix, tmp_path
):
    """Exit status 0 and "100.0 % of the recipient" without these layers, before."""
    files = tmp_path / f"donor{suffix}", tmp_path / f"recipient{suffix}"
    for file in files:
        inputs = keras.Input((8, 8, 3))
        outputs = L.Conv2D(2, 1, name="head")(Pair(name="pair")(inputs))
        model = keras.Model(inputs, outputs)
        model.save(file) if suffix == ".keras" else model.save_weights(file)
    plan = transplant.plan(*files)
    assert [entry.status for entry in plan.problems] == [AMBIGUOUS] * 8
    with pytest.raises(InputError, match="names of their own"):
        plan.check()
    with pytest.raises(InputError, match="pair/conv"):
        transplant.plan(*files, layers=["conv"]).check()
    assert len(transplant.plan(*files, layers=["head"]).check().copies) == 2
    accepted = {"allow_unused": ["conv"], "allow_missing": ["conv"]}
    assert len(transplant.plan(*files, **accepted).check().copies) == 2
