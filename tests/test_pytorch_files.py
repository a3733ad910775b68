"""PyTorch's weight files are read by role, in Keras's layout, without PyTorch."""

import pickle
import zipfile

import handmade_torch
import ml_dtypes
import numpy as np
import pytest
from handmade_torch import View, tensor

from tfreuse import checkpoints
from tfreuse.errors import InputError

WRITERS = {"zip": handmade_torch.save, "legacy": handmade_torch.save_legacy}


def numbers(*shape, seed=0, dtype="f4"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def network():
    """Arrays of one layer of each kind, by PyTorch's names."""
    return {
        "stem.weight": numbers(6, 3, 3, 5, seed=1),  # Conv2d: out, in, kh, kw
        "stem.bias": numbers(6, seed=2),
        "norm.weight": numbers(6, seed=3),
        "norm.bias": numbers(6, seed=4),
        "norm.running_mean": numbers(6, seed=5),
        "norm.running_var": np.abs(numbers(6, seed=6)),
        "norm.num_batches_tracked": np.array(7, "i8"),
        "depth.weight": numbers(12, 1, 3, 3, seed=7),  # depthwise, two a channel
        "up.weight": numbers(6, 4, 2, 2, seed=8),  # ConvTranspose2d: in, out, kh, kw
        "group.weight": numbers(6, seed=9),
        "group.bias": numbers(6, seed=10),
        "slope.weight": numbers(6, seed=11),  # PReLU
        "head.weight": numbers(2, 6, seed=12),  # Linear: out, in
        "head.bias": numbers(2, seed=13),
    }


def state(arrays):
    return {name: tensor(array) for name, array in arrays.items()}


def read(path):
    """{(layer, role): value} of a file, and the open file's other arrays."""
    with checkpoints.open(path) as file:
        values = {(v.layer, v.role): file.read(v) for v in file.variables}
        return values, {array.path for array in file.unaddressed}


def refusal(path):
    with pytest.raises(InputError) as caught, checkpoints.open(path) as file:
        for variable in file.variables:
            file.read(variable)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    def writing(tree, **options):
        path = tmp_path / "weights.pth"
        WRITERS[request.param](path, tree, **options)
        return path

    return writing


def test_roles_follow_from_the_arrays_beside(write):
    arrays = network()
    values, others = read(write(state(arrays)))
    assert others == {"norm.num_batches_tracked"}
    expected = {
        ("stem", "kernel"): arrays["stem.weight"].transpose(2, 3, 1, 0),
        ("stem", "bias"): arrays["stem.bias"],
        ("norm", "gamma"): arrays["norm.weight"],
        ("norm", "beta"): arrays["norm.bias"],
        ("norm", "moving_mean"): arrays["norm.running_mean"],
        ("norm", "moving_variance"): arrays["norm.running_var"],
        ("depth", "kernel"): arrays["depth.weight"].transpose(2, 3, 1, 0),
        ("up", "kernel"): arrays["up.weight"].transpose(2, 3, 1, 0),
        ("group", "gamma"): arrays["group.weight"],
        ("group", "beta"): arrays["group.bias"],
        ("slope", None): arrays["slope.weight"],
        ("head", "kernel"): arrays["head.weight"].T,
        ("head", "bias"): arrays["head.bias"],
    }
    assert values.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(values[key], value)


def test_a_checkpoint_of_training_is_searched_for_its_state_dict(write):
    arrays = network()
    wrapped = {f"module.{name}": array for name, array in arrays.items()}
    moments = {"state": {0: {"exp_avg": tensor(numbers(6))}}}
    tree = {"epoch": 3, "state_dict": state(wrapped), "optimizer": moments}
    plain, _ = read(write(state(arrays)))
    nested, _ = read(write(tree))
    assert nested.keys() == plain.keys()
    for key, value in plain.items():
        np.testing.assert_array_equal(nested[key], value)


def test_weights_that_are_left_out_are_named(write):
    tree = {"state_dict_ema": state(network()), "state_dict": state(network())}
    with checkpoints.open(write(tree)) as file:
        assert "state_dict is read, not state_dict_ema" in file.remark


def test_views_share_a_storage_in_any_order_of_axes(write):
    flat = numbers(60)
    tree = {
        "a.weight": View(flat, (3, 4), (1, 3), 5),  # a transposed part
        "b.weight": View(flat, (3, 4), (4, 1), 5),
        "c.weight": View(flat, (2, 2, 3, 1), (24, 6, 2, 1), 1),
    }
    values, _ = read(write(tree))
    np.testing.assert_array_equal(values["a", "kernel"], flat[5:17].reshape(4, 3))
    np.testing.assert_array_equal(values["b", "kernel"], flat[5:17].reshape(3, 4).T)
    index = np.array([[24 * o + 6 * i for o in range(2)] for i in range(2)])
    for row in range(3):
        np.testing.assert_array_equal(
            values["c", "kernel"][row, 0], flat[1 + 2 * row + index]
        )


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_the_first_piece_of_a_turned_kernel_is_read_by_itself(tmp_path, byteorder):
    arrays = {"a.weight": numbers(9, 5, 3, 3), "deep.weight": numbers(300, 1, 3, 3)}
    arrays["a.bias"] = numbers(9)
    path = tmp_path / "weights.pth"
    handmade_torch.save(path, state(arrays), byteorder=byteorder)
    with checkpoints.open(path) as file:
        for variable in file.variables:
            expected = file.read(variable).tobytes()
            pieces = [bytes(piece) for piece in file.growing_pieces(variable)]
            assert b"".join(pieces) == expected
            assert len(pieces[0]) == min(64, len(expected))


def test_half_and_bfloat16_keep_their_types(write):
    half = numbers(3, 2, dtype="f2")
    wide = numbers(3, 2).astype(ml_dtypes.bfloat16)
    tree = {
        "a.weight": tensor(half),
        "b.weight": tensor(wide.view("u2"), kind="BFloat16"),
    }
    handmade_torch.STORAGES |= {"u2": "Short"}
    values, _ = read(write(tree))
    np.testing.assert_array_equal(values["a", "kernel"], half.T)
    assert values["b", "kernel"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(values["b", "kernel"], wide.T)


def test_the_byte_order_of_the_writer_is_read(tmp_path):
    arrays = network()
    handmade_torch.save(tmp_path / "little.pth", state(arrays))
    handmade_torch.save(tmp_path / "big.pth", state(arrays), byteorder="big")
    little, _ = read(tmp_path / "little.pth")
    big, _ = read(tmp_path / "big.pth")
    for key, value in little.items():
        np.testing.assert_array_equal(big[key], value)


def test_safetensors_with_pytorchs_names_have_the_same_roles(tmp_path, write):
    arrays = network()
    path = tmp_path / "model.safetensors"
    handmade_torch.save_safetensors(path, arrays)
    values, others = read(path)
    expected, other = read(write(state(arrays)))
    assert values.keys() == expected.keys() and others == other
    for key, value in expected.items():
        np.testing.assert_array_equal(values[key], value)


def test_reparametrized_kernels_have_no_role(write):
    tree = {
        "a.weight_g": tensor(numbers(3, 1, 1, 1)),
        "a.weight_v": tensor(numbers(3, 2, 1, 1)),
        "b.parametrizations.weight.original0": tensor(numbers(3, 1)),
        "b.parametrizations.weight.original1": tensor(numbers(3, 2)),
        "b.bias": tensor(numbers(3)),
    }
    values, _ = read(write(tree))
    assert {layer for layer, _ in values} == {"a", "b"}
    assert {role for _, role in values} == {None}


# ------------------------------------------------------------ files that are not read


CALLS = []


class Harmless:
    """Pickles as a call of `record_call`: a name that no weights need."""

    def __reduce__(self):
        return record_call, ("executed",)


def record_call(word):
    CALLS.append(word)


def test_other_names_are_refused_and_nothing_runs(write):
    message = refusal(write({"a.weight": tensor(numbers(2, 2)), "x": Harmless()}))
    assert f"{__name__}.record_call" in message and "state_dict()" in message
    assert not CALLS


def test_whole_modules_are_told_how_to_save_weights(tmp_path):
    data = pickle.dumps({"a": 1}, protocol=2).replace(
        b"}", b"ctorch.nn.modules.conv\nConv2d\n}"
    )
    path = tmp_path / "module.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    assert "whole module (torch.nn.modules.conv.Conv2d)" in refusal(path)
    assert "model.state_dict()" in refusal(path)


@pytest.mark.parametrize("pack", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "member, kind, how",
    [
        ("code/__torch__/net.py", "TorchScript", "torch.jit.load(path).state_dict()"),
        ("archive_format", "torch.export", "torch.export.load(path).state_dict,"),
    ],
)
def test_programs_are_told_how_to_save_weights(tmp_path, member, kind, how, pack):
    path = tmp_path / "program.pt"
    with zipfile.ZipFile(path, "w", pack) as archive:
        archive.writestr(f"program/{member}", "def forward(self): pass\n" * 9)
        archive.writestr("program/data.pkl", pickle.dumps({}, protocol=2))
    assert kind in refusal(path) and how in refusal(path)


@pytest.mark.parametrize(
    "shape, strides, offset",
    [((3, 4), (4, 1), 1), ((4096, 4096), (0, 0), 0), ((3, -4), (4, 1), 0)],
    ids=["past the end", "repeated", "negative"],
)
def test_a_tensor_never_reaches_beyond_its_storage(write, shape, strides, offset):
    path = write({"a.weight": View(numbers(12), shape, strides, offset)})
    assert "tensor" in refusal(path)


def test_a_file_cut_anywhere_is_refused_in_one_line(write, tmp_path):
    whole = write(state(network())).read_bytes()
    for size in range(16, len(whole), len(whole) // 40):
        path = tmp_path / "cut.pth"
        path.write_bytes(whole[:size])
        refusal(path)


def test_a_checkpoint_without_tensors_is_refused(write):
    assert "no dictionary of tensors" in refusal(write({"epoch": 3, "loss": 0.5}))


# ------------------------------------------------------------ against PyTorch itself


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorchs_own_files(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 2)
    )
    path = tmp_path / "weights.pt"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped)
    values, others = read(path)
    assert others == {"1.num_batches_tracked"}
    for key, (name, axes) in {
        ("0", "kernel"): ("0.weight", (2, 3, 1, 0)),
        ("1", "moving_variance"): ("1.running_var", (0,)),
        ("2", "kernel"): ("2.weight", (1, 0)),
    }.items():
        expected = net.state_dict()[name].numpy().transpose(axes)
        np.testing.assert_array_equal(values[key], expected)
