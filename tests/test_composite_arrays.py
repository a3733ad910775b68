"""Arrays that mean something only together move together, or are refused by name."""

import keras
import pytest
import tensorflow as tf
from keras import layers as L

from tfreuse import transplant
from tfreuse.plan import COPY, REFUSED


def network(kind):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, name="d1")])
    if kind == "lora":
        model.get_layer("d1").enable_lora(2)
    elif kind:
        model.get_layer("d1").quantize(kind)
    return model


def write(model, path):
    if path.suffix:
        model.save(path)
    else:
        tf.train.Checkpoint(model=model).write(str(path))


@pytest.mark.parametrize("kind", ["int8", "int4", "float8", "lora"])
@pytest.mark.parametrize("name", ["donor.keras", "donor.h5", "checkpoint", "live"])
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


@pytest.mark.parametrize("name", ["donor.keras", "donor.h5", "checkpoint", "live"])
def test_a_plain_kernel_moves_from_the_same_formats(name, tmp_path):
    donor = network("")
    if name != "live":
        write(donor, tmp_path / name)
        donor = tmp_path / name
    plan = transplant.plan(donor, network(""))
    assert {entry.status for entry in plan.check().copies} <= {COPY, "SAME"}
    assert len(plan.copies) == 2
