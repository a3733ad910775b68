"""Weights that PyTorch computes from several arrays are refused by name, and other bad input."""

import pickle
import zipfile

import handmade_torch
import keras
import numpy as np
import pytest
from keras import layers

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError

KERNEL, VECTOR = (8, 3, 3, 3), (8,)
COMPOSITES = {  # names and shapes as PyTorch 2.13 and peft write them; what to type
    "weight_norm": (
        {"0.weight_g": (8, 1, 1, 1), "0.weight_v": KERNEL},
        "remove_weight_norm",
    ),
    "parametrizations.weight_norm": (
        {
            "0.parametrizations.weight.original0": (8, 1, 1, 1),
            "0.parametrizations.weight.original1": KERNEL,
        },
        "remove_parametrizations",
    ),
    "spectral_norm": (
        {"0.weight_orig": KERNEL, "0.weight_u": VECTOR, "0.weight_v": (27,)},
        "remove_spectral_norm",
    ),
    "parametrizations.spectral_norm": (
        {
            "0.parametrizations.weight.original": KERNEL,
            "0.parametrizations.weight.0._u": VECTOR,
            "0.parametrizations.weight.0._v": (27,),
        },
        "remove_parametrizations",
    ),
    "prune": ({"0.weight_orig": KERNEL, "0.weight_mask": KERNEL}, "prune.remove"),
    "prune of the bias": ({"0.weight": KERNEL, "0.bias_mask": VECTOR}, "prune.remove"),
    "peft": (
        {
            "0.base_layer.weight": KERNEL,
            "0.lora_A.default.weight": (2, 3, 3, 3),
            "0.lora_B.default.weight": (8, 2, 1, 1),
        },
        "merge_and_unload",
    ),
    "loralib": (
        {"0.weight": KERNEL, "0.lora_A": (6, 9), "0.lora_B": (24, 6)},
        "merge_and_unload",
    ),
    "quantized": ({"0.weight": KERNEL, "0.zero_point": (1,)}, "float weights"),
}


def values(shapes):
    return {name: np.ones(shape, "f4") for name, shape in shapes.items()}


def norm(name):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": VECTOR for part in parts}


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((9, 9, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="first")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, layers.Conv2D(8, 3, use_bias=False, name="last")(x))


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_weight_of_several_arrays_is_refused_on_either_side(kind, model, tmp_path):
    shapes, remedy = COMPOSITES[kind]
    state = values({**shapes, **norm("1"), "2.weight": (8, 8, 3, 3)})
    donor, file = tmp_path / "weights.pth", tmp_path / "weights.safetensors"
    tensors = {k: handmade_torch.tensor(array) for k, array in state.items()}
    handmade_torch.save(donor, tensors)
    handmade_torch.save_safetensors(file, state)
    for sides in ((donor, model), (model, file)):
        plan = transplant.plan(*sides)
        assert {e.status for e in plan.problems} <= {"REFUSED", "UNUSED"}
        assert len(plan.copies) == 5  # all others have their pairs
        with pytest.raises(InputError, match=f"not plain: .*{remedy}"):
            plan.check()
        name = "first" if sides[1] is model else "0"
        left = ["!0"] if sides[1] is model else ["!0", "!first"]
        assert transplant.plan(*sides, layers=[f"!{name}", *left]).check()


def test_a_composite_without_a_counterpart_is_not_passed_over(model, tmp_path):
    state = {"0.weight": KERNEL, **norm("1"), "2.weight": (8, 8, 3, 3)}
    state |= {"3.weight_g": (4, 1, 1, 1), "3.weight_v": (4, 8, 1, 1)}
    handmade_torch.save_safetensors(tmp_path / "a.safetensors", values(state))
    with pytest.raises(InputError, match="3/0 UNUSED .*remove_weight_norm"):
        transplant.plan(tmp_path / "a.safetensors", model).check()


def test_arrays_with_other_meanings_are_named(tmp_path):
    state = {"rnn.weight_ih_l0": (20, 8), "rnn.weight_hh_l0": (20, 5)}
    state |= {"norm.weight": (8, 2, 2), "norm.bias": (8, 2, 2), "square.weight": (8, 8)}
    handmade_torch.save_safetensors(tmp_path / "a.safetensors", values(state))
    inputs = keras.Input((2,), dtype="int32")
    x = layers.Embedding(8, 8, name="square")(inputs)
    x = layers.Reshape((2, 2, 4))(x)
    x = layers.LayerNormalization(axis=[1, 2, 3], name="norm")(x)
    x = layers.LSTM(5, name="rnn")(layers.Reshape((2, 8))(x))
    entries = transplant.plan(
        tmp_path / "a.safetensors", keras.Model(inputs, x)
    ).entries
    reasons = " ".join(entry.reason for entry in entries)
    assert not any(entry.status in ("COPY", "SAME") for entry in entries)
    assert "LSTM or GRU" in reasons, reasons
    assert "Dense's arrays mean something else in a Embedding" in reasons, reasons
    with checkpoints.open(tmp_path / "a.safetensors") as file:
        assert "over several axes" in file.notes["norm/0"]


def test_a_network_of_another_width_is_told_by_its_first_shape(model, tmp_path):
    state = {"0.weight": (16, 3, 3, 3), "1.weight": (8, 16, 3, 3)}
    handmade_torch.save_safetensors(tmp_path / "a.safetensors", values(state))
    with pytest.raises(InputError, match=r"\[3, 3, 3, 8\].*0, has \[3, 3, 3, 16\]"):
        transplant.plan(tmp_path / "a.safetensors", model).check()


@pytest.mark.parametrize(
    "name, words",
    [
        ("torch._utils\n_rebuild_qtensor", "quantized weights.*before it is converted"),
        ("torch\nQInt8Storage", "quantized weights"),
        ("torch._utils\n_rebuild_sparse_tensor", "sparse.*to_dense"),
        ("torch._utils\n_rebuild_meta_tensor_no_storage", "without values"),
    ],
)
def test_tensors_that_are_no_plain_arrays_are_named(name, words, tmp_path):
    data = pickle.dumps({"a": 1}, protocol=2).replace(b"}", f"c{name}\n}}".encode())
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(InputError, match=words):
        checkpoints.open(path)


def test_files_without_weights_say_what_to_save(tmp_path):
    path = tmp_path / "file.pth"
    handmade_torch.save(path, {"state": {}, "param_groups": []})
    with pytest.raises(InputError, match="optimizer.*state_dict"):
        checkpoints.open(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("export/archive_format", "pt2")
    with pytest.raises(InputError, match=r"torch\.export\.load"):
        checkpoints.open(path)
    adapter = {"0.lora_A.weight": (2, 3), "0.lora_B.weight": (8, 2)}
    handmade_torch.save_safetensors(tmp_path / "a.safetensors", values(adapter))
    with pytest.raises(InputError, match="no weights to move.*merge_and_unload"):
        checkpoints.open(tmp_path / "a.safetensors")
