"""Four ways in which Keras moves the wrong thing between live models without a word.

Each test first shows what Keras does, so that it tells when Keras changes. The same for files
is in test_checkpoints.py.
"""

import keras
import nets
import numpy as np
import pytest
from keras import layers

from tfreuse import transplant
from tfreuse.errors import InputError


def chain(*names):
    return keras.Sequential(
        [keras.Input((3,)), *(layers.Dense(3, name=name) for name in names)]
    )


def kernels(model):
    return {layer.name: layer.kernel.numpy().tolist() for layer in model.layers}


def test_layers_in_another_order_keep_their_names():
    donor, recipient = nets.scrambled(chain("x", "y"), 1), chain("y", "x")
    recipient.set_weights(donor.get_weights())
    assert kernels(recipient)["y"] == kernels(donor)["x"]  # Keras goes by order
    transplant.apply(transplant.plan(donor, recipient), donor, recipient)
    assert kernels(recipient) == kernels(donor)


def test_layers_that_the_donor_has_too_many_are_accounted_for(tmp_path):
    donor, recipient = nets.scrambled(chain("x", "y", "z"), 1), chain("x", "y")
    donor.save_weights(tmp_path / "donor.weights.h5")
    recipient.load_weights(tmp_path / "donor.weights.h5")
    assert kernels(recipient)["y"] == kernels(donor)["y"]  # Keras says nothing of z
    with pytest.raises(InputError, match=r"z:kernel UNUSED"):
        transplant.plan(donor, recipient).check()
    transplant.plan(donor, recipient, allow_unused=["z"]).check()


def test_beta_never_becomes_gamma():
    def norm(**flags):
        bn = layers.BatchNormalization(name="bn", **flags)
        return keras.Sequential([keras.Input((3,)), bn])

    donor, recipient = nets.scrambled(norm(scale=False), 1), norm(center=False)
    beta = donor.layers[0].beta.numpy()
    recipient.set_weights(donor.get_weights())
    np.testing.assert_array_equal(
        recipient.layers[0].gamma, beta
    )  # Keras goes by order
    plan = transplant.plan(donor, recipient)
    assert {(e.status, e.variable.role) for e in plan.problems} == {
        ("MISSING", "gamma"),
        ("UNUSED", "beta"),
    }


def test_freezing_changes_neither_what_moves_nor_where():
    donor, recipient = nets.scrambled(chain("x", "y", "z"), 1), chain("x", "y", "z")
    recipient.get_layer("x").trainable = False
    for model in (donor, recipient):
        model.compile("sgd", "mse")  # get_state_tree needs it
    before = kernels(recipient)["x"]
    recipient.set_state_tree(donor.get_state_tree())
    assert kernels(recipient)["x"] == before  # Keras leaves what is frozen behind
    transplant.apply(transplant.plan(donor, recipient), donor, recipient)
    assert kernels(recipient) == kernels(donor)
