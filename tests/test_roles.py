"""Roles come from a layer's class and configuration, and agree with what Keras builds."""

import keras
import pytest
from keras import layers

from tfreuse import roles
from tfreuse.errors import InputError
from tfreuse.transplant import index

BN = ("gamma", "beta", "moving_mean", "moving_variance")


@pytest.mark.parametrize(
    "class_name, config, expected",
    [
        ("BatchNormalization", {}, BN),
        ("BatchNormalization", {"scale": False}, BN[1:]),
        ("BatchNormalization", {"center": False}, ("gamma", *BN[2:])),
        ("BatchNormalization", {"center": False, "scale": False}, BN[2:]),
        ("BatchNormalization", {"renorm": True}, (*BN, None, None, None)),
        ("SyncBatchNormalization", {"scale": False}, BN[1:]),
        ("Conv2D", {}, ("kernel", "bias")),
        ("Conv2D", {"use_bias": False}, ("kernel",)),
        ("Conv2DTranspose", {}, ("kernel", "bias")),
        ("DepthwiseConv2D", {"use_bias": False}, ("kernel",)),
        ("SeparableConv2D", {}, ("kernel", "kernel", "bias")),
        ("SeparableConv2D", {"use_bias": False}, ("kernel", "kernel")),
        ("Dense", {}, ("kernel", "bias")),
        ("LayerNormalization", {"center": False}, ("gamma",)),
        ("GroupNormalization", {"scale": False}, ("beta",)),
        ("Normalization", {}, ("moving_mean", "moving_variance", None)),
        ("MyConv2D", {}, None),
        ("SeparableConv3D", {}, None),
    ],
)
def test_roles_follow_class_and_configuration(class_name, config, expected):
    assert roles.layer_roles(class_name, config) == expected


def layers_of_every_kind():
    return [
        layers.Conv1D(4, 3),
        layers.Conv2D(4, 3, groups=2),
        layers.Conv2DTranspose(6, 2, use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.SeparableConv2D(5, 3, depth_multiplier=2),
        layers.Dense(3),
        layers.BatchNormalization(scale=False),
        layers.BatchNormalization(center=False),
        layers.LayerNormalization(),
        layers.GroupNormalization(2, scale=False),
    ]


@pytest.mark.parametrize("layer", layers_of_every_kind(), ids=lambda v: v.name)
def test_roles_are_the_names_that_keras_gives_the_arrays(layer):
    shape = (8, 4) if isinstance(layer, layers.Conv1D) else (8, 8, 4)
    model = keras.Sequential([keras.Input(shape), layer])
    # Keras calls both parts of a separable kernel something-kernel
    names = [weight.name.rpartition("_kernel")[2] for weight in layer.weights]
    names = [name or "kernel" for name in names]
    assert [variable.role for variable in index(model)] == names


class Scaled(layers.Layer):
    """A class that nobody told tfreuse about."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="gamma")

    def call(self, x):
        return x * self.scale


class Conv2D(layers.Conv2D):
    """A subclass under its parent's name that keeps one array more."""

    def build(self, shape):
        super().build(shape)
        self.extra = self.add_weight(shape=(1,), name="extra")


@pytest.mark.parametrize("layer", [Scaled(), Conv2D(2, 1)], ids=["unknown", "more"])
def test_an_unknown_layer_is_listed_without_roles(layer):
    variables = index(keras.Sequential([keras.Input((4, 4, 2)), layer]))
    assert variables and {variable.role for variable in variables} == {None}


def test_groups_and_roles_expand_in_one_order_without_repeats():
    assert roles.expand("stats, kernel,moving_mean") == ("kernel", *BN[2:])
    assert roles.expand(["affine"]) == ("gamma", "beta")
    assert roles.expand("all") == roles.ROLES
    assert roles.expand("gamma + kernel") == roles.expand(["kernel+gamma"])
    assert roles.expand("affine+stats,kernel") == ("kernel", *BN)


def test_an_unknown_role_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"'moving_men' is unknown.*moving_mean"):
        roles.expand("moving_men")
    with pytest.raises(InputError, match=r"'moving_men' is unknown"):
        roles.expand("kernel+moving_men")
    with pytest.raises(InputError, match="no role was named"):
        roles.expand(" , ")


def test_settings_are_the_same_whether_a_list_or_a_number_was_written():
    batch_norm = {"axis": [3], "epsilon": 0.001, "momentum": 0.9, "name": "x"}
    expected = (("axis", 3), ("epsilon", 0.001), ("momentum", 0.9))
    assert roles.layer_settings(batch_norm) == expected
    assert roles.layer_settings(batch_norm | {"axis": 3}) == expected
    assert roles.layer_settings({"strides": [2, 2]}) == (("strides", (2, 2)),)
    assert roles.layer_settings({"epsilon": None}) == ()
