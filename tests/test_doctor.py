"""The doctor finds each planted oddity and nothing in a plain network; the inventory adds up."""

import keras
import nets
import numpy as np
import pytest
from keras import layers
from test_plan import layer as described
from test_plan import net

from tfreuse import transplant
from tfreuse.plan import inventory


def kinds(model):
    return {finding.kind for finding in transplant.examine(model)}


@pytest.mark.parametrize("kind", ["unet", "pspnet", "sequential", "bfloat16"])
def test_a_plain_network_is_without_findings(kind):
    assert transplant.examine(nets.scrambled(nets.ZOO[kind](), 1)) == ()


def test_what_is_called_twice_is_shared():
    found = transplant.examine(nets.shared())
    assert {f.where for f in found if f.kind == "shared"} >= {"twice"}
    assert "called 2 times: arrays that move, move for all calls" in "".join(
        map(str, found)
    )


class Tied(layers.Layer):
    """Holds another layer's kernel."""

    def __init__(self, other):
        super().__init__(name="tied")
        self.kernel = other.kernel

    def call(self, x):
        return x


def test_one_variable_in_two_layers_is_shared():
    first = layers.Dense(3, name="first")
    x = inputs = keras.Input((3,))
    x = first(x)
    found = transplant.examine(keras.Model(inputs, Tied(first)(x)))
    assert any(f.kind == "shared" and f.where == "tied" for f in found)


def test_a_subclassed_model_with_two_layers_of_one_name_is_told():
    assert {"no graph", "duplicate name"} <= kinds(nets.subclassed())


def test_one_path_for_two_variables_is_told():
    assert "duplicate path" in kinds(
        nets.nested()
    )  # Keras leaves the nest out of a path


def test_an_unbuilt_layer_is_told():
    assert "unbuilt" in kinds(keras.Sequential([layers.Dense(2)]))


class Saving(layers.Dense):
    """Saves under other names."""

    def save_own_variables(self, store):
        store["kernel"] = self.kernel


def test_a_layer_that_saves_its_own_way_and_is_of_no_known_class_is_told():
    model = keras.Sequential([keras.Input((3,)), Saving(2)])
    assert {"saving", "unknown role"} <= kinds(model)


def test_lora_and_quantized_layers_are_told():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.Dense(4)])
    model.layers[0].enable_lora(2)
    model.layers[1].quantize("int8")
    assert {"LoRA", "quantized", "unknown role"} <= kinds(model)
    assert {variable.role for variable in transplant.index(model)} == {None}


def test_values_that_no_donor_may_have_are_told():
    model = nets.flat()
    model.get_layer("a_bn").moving_variance.assign([1, -1, 1])
    model.get_layer("b_conv").bias.assign([0, np.nan, 0])
    found = {(f.kind, f.where) for f in transplant.examine(model)}
    assert found == {
        ("a variance below zero", "a_bn:moving_variance"),
        ("values that are not finite", "b_conv:bias"),
    }


def test_frozen_batch_norms_and_averages_are_told():
    model = nets.flat()
    model.get_layer("a_bn").trainable = False
    model.get_layer("b_bn").gamma.trainable = False
    model.compile(keras.optimizers.SGD(use_ema=True), "mse")
    texts = [str(finding) for finding in transplant.examine(model)]
    assert any(t.startswith("frozen: a_bn: is frozen") for t in texts)
    assert any(t.startswith("frozen: b_bn: has frozen gamma") for t in texts)
    assert any(t.startswith("averages: ") for t in texts)


def test_the_inventory_counts_roles_by_stage_and_adds_up():
    variables = [
        *net("encoder_1_a", "encoder_1_b", "head_x"),
        *described("o", "Odd", (7,)),
    ]
    first, head, odd = inventory.rows(variables)
    assert (first["stage"], first["layers"], first["parameters"]) == (
        "encoder_1",
        4,
        328,
    )
    assert first["roles"]["kernel"] == first["roles"]["gamma"] == 2
    assert (head["stage"], odd["roles"]) == ("head", {"unknown": 1})
    text = inventory.table(variables).splitlines()
    assert text[-2].split()[-3:] == ["499", "2.0", "kB"]  # 3 blocks of 164, and 7
    assert text[-1].endswith("Odd") and max(map(len, text)) <= 100


def test_the_inventory_shows_whole_names_where_a_line_has_room(monkeypatch):
    name = "_blocks.0._depthwise"
    variables = [
        *described(name, "Dense", (2, 2), (2,)),
        *described("b", "Dense", (2, 2), (2,)),
    ]
    stage = inventory.rows(variables)[0]["stage"]
    assert len(stage) > 12
    first, line, *_ = inventory.table(variables).splitlines()
    assert line.startswith(f"{stage} ") and len(line) == len(first)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    assert inventory.table(variables).splitlines()[1].startswith(f"{stage[:11]}…")
    monkeypatch.setenv("COLUMNS", "200")
    assert inventory.table(variables).splitlines()[1] == line
