"""Arrays that mean something only together move together, or are refused by name."""

import keras
import pytest
import tensorflow as tf
from keras import layers as L

from tfreuse import transplant
from tfreuse.errors import InputError
from tfreuse.plan import COPY, REFUSED

FORMATS = ("donor.keras", "donor.h5", "checkpoint", "live")


def network(kind):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, name="d1")])
    if kind == "lora":
        model.get_layer("d1").enable_lora(2)
    elif kind:
        model.get_layer("d1").quantize(kind)
    return model


def write(model, path):
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.suffix:
        model.save(path)
    else:
        tf.train.Checkpoint(model=model).write(str(path))


@pytest.mark.parametrize("kind", ["int8", "int4", "float8", "lora"])
@pytest.mark.parametrize("name", FORMATS)
def test_no_part_of_a_composite_kernel_moves_alone(kind, name, tmp_path):
    donor = network(kind)
    if name != "live":
        write(donor, tmp_path / name)
        donor = tmp_path / name
    plan = transplant.plan(donor, network(kind), allow_unused=["*"])
    assert {entry.status for entry in plan.problems} == {REFUSED}
    assert not plan.copies
    if (kind, name) == ("lora", "donor.keras"):
        return  # Keras writes the merged kernel there; only the recipient is composite
    text = transplant.info(donor)["text"]
    assert "unknown role" in text or "quantized" in text or "LoRA" in text


@pytest.mark.parametrize("name", FORMATS)
def test_a_plain_kernel_moves_from_the_same_formats(name, tmp_path):
    donor = network("")
    if name != "live":
        write(donor, tmp_path / name)
        donor = tmp_path / name
    plan = transplant.plan(donor, network(""))
    assert {entry.status for entry in plan.check().copies} <= {COPY, "SAME"}
    assert len(plan.copies) == 2


@keras.saving.register_keras_serializable("composite")
class Scaled(L.Wrapper):
    """A weight normalization: the kernel of the layer within is a direction only."""

    def build(self, shape):
        self.layer.build(shape)
        self.g = self.add_weight(shape=(self.layer.units,), name="g")
        self.ready = self.add_weight(shape=(), dtype="bool", name="ready")

    def call(self, x):
        return x @ keras.ops.normalize(self.layer.kernel, axis=0) * self.g


@pytest.mark.parametrize("name", [*FORMATS, "donor.weights.h5"])
def test_a_kernel_in_a_wrapper_with_arrays_of_its_own_does_not_move(name, tmp_path):
    def chain(layer):
        return keras.Sequential([keras.Input((8,)), layer, L.Dense(2, name="d2")])

    donor = chain(Scaled(L.Dense(4, name="d1"), name="scaled"))
    plain = chain(L.Dense(4, name="d1"))
    if name != "live":
        write(donor, tmp_path / name)
        donor = tmp_path / name
    for options in ({"roles": "kernel"}, {"layers": ["d1"]}, {}):
        plan = transplant.plan(donor, plain, allow_unused=["*"], **options)
        assert not any(entry.recipient.layer == "d1" for entry in plan.copies)
        with pytest.raises(InputError, match="d1:kernel"):
            plan.check()


@keras.saving.register_keras_serializable("composite")
class Gained(L.Dense):
    """A subclass whose own array Keras leaves out of weights files."""

    def build(self, shape):
        super().build(shape)
        self.gain = self.add_weight(shape=(self.units,), name="gain")

    def call(self, x):
        return x @ (self.kernel * self.gain) + self.bias


def test_bare_weights_of_a_subclass_are_not_those_of_its_keras_class(tmp_path):
    def model(layer):
        return keras.Sequential([keras.Input((8,)), layer, L.PReLU(name="slopes")])

    donor = model(Gained(4, name="d1"))
    donor.save_weights(tmp_path / "donor.weights.h5")
    for options in ({}, {"roles": "kernel"}, {"allow_unused": ["*"]}):
        plan = transplant.plan(
            tmp_path / "donor.weights.h5", model(L.Dense(4, name="d1")), **options
        )
        assert {entry.status for entry in plan.problems} >= {REFUSED}
        assert "d1" not in {entry.recipient.layer for entry in plan.copies}
    whole = transplant.plan(tmp_path / "donor.weights.h5", donor, layers=["slopes"])
    assert len(whole.check().copies) == 1
