"""Model files are read by offset and written in place; unmodified Keras is the judge."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile
import zlib

import h5py
import handmade
import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from keras import layers as L

from tfreuse import checkpoints, plan, transplant
from tfreuse.checkpoints import crc as crc_module
from tfreuse.checkpoints import journal, provenance
from tfreuse.errors import InputError
from tfreuse.plan import topology


def network(seed=0, half="bfloat16"):
    """Nested models, both one-sided batch norms, two kernels in a layer, bfloat16, a wrapper."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3, use_bias=False, name="c1")(image)
    x = L.BatchNormalization(scale=False, name="b1")(x)
    stem = keras.Model(image, keras.ops.relu(x), name="stem")
    image = keras.Input((8, 8, 3), name="picture")
    x = L.SeparableConv2D(5, 3, name="separable")(stem(image))
    x = L.BatchNormalization(center=False, name="b2")(x)
    backbone = keras.Model(image, x, name="backbone")
    image = keras.Input((8, 8, 3), name="input")
    x = L.Dropout(0.5, name="drop")(backbone(image))
    tail = [
        L.Conv2D(4, 1, name="s1"),
        L.ReLU(name="relu"),
        L.GroupNormalization(2, name="gn"),
    ]
    x = keras.Sequential(tail, name="tail")(x)
    x = L.TimeDistributed(L.Dense(3, name="dense"), name="wrapped")(x)
    y = L.Conv2D(3, 1, name="half", dtype=half)(x)
    model = keras.Model(image, L.Add(name="add")([x, y]), name="whole")
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(draw.uniform(0.1, 2, weight.shape))
    return model


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """One compiled model, saved in every format that Keras and TensorFlow write."""
    root = tmp_path_factory.mktemp("saved")
    model = network()
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(root / "model.keras")
    model.save_weights(root / "model.weights.h5")
    model.save_weights(root / "sharded.weights.json", max_shard_size=1e-6)
    model.save(root / "legacy.h5")
    network(half="float32").save(
        root / "loadable.h5"
    )  # Keras loads no bfloat16 from these
    tf.train.Checkpoint(model=model).write(str(root / "checkpoint"))
    model.export(root / "exported", verbose=False)
    return root, model


FILES = {
    "model.keras": "keras",
    "model.weights.h5": "weights_h5",
    "sharded.weights.json": "sharded",
    "legacy.h5": "legacy_h5",
    "checkpoint": "tf",
    "exported": "tf",
}


def values(path):
    with checkpoints.open(path) as checkpoint:
        return {v.path: checkpoint.read(v) for v in checkpoint.variables}


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ----------------------------------------------------------------------------- reading


def test_a_keras_file_has_the_variables_of_the_live_model(saved):
    root, model = saved
    live = transplant.values(model)
    with checkpoints.open(root / "model.keras") as checkpoint:
        assert checkpoint.variables == transplant.index(model)
        assert len(checkpoint.variables) == 1 + 3 + 3 + 3 + 2 + 2 + 2 + 2
        for variable in checkpoint.variables:
            assert same(checkpoint.read(variable), live[variable.path])


def test_a_keras_file_knows_what_each_layer_reads_from(saved):
    root, model = saved
    with checkpoints.open(root / "model.keras") as checkpoint:
        assert checkpoint.edges["add"] == ("wrapped", "half")
        assert checkpoint.edges["backbone/separable"] == ("backbone/stem/relu",)
        layers = {variable.layer_path for variable in checkpoint.variables}
        inputs = topology.contract(checkpoint.edges, layers)
        assert inputs == topology.contract(transplant.edges(model), layers)
        assert inputs["half"] == (
            "tail/gn",
        )  # the wrapper's own arrays are its dense layer's


@pytest.mark.parametrize("file", sorted(FILES))
def test_every_format_gives_the_same_values_and_never_a_wrong_role(saved, file):
    root, model = saved
    live = transplant.values(model)
    roles = {v.path: v.role for v in transplant.index(model)}
    with checkpoints.open(root / file) as checkpoint:
        assert checkpoint.kind == FILES[file]
        assert len(checkpoint.variables) == len(live)
        for variable in checkpoint.variables:
            path = variable.path
            if (
                checkpoint.kind == "tf" and path not in live
            ):  # nested names are not in it
                (path,) = [p for p in live if p.endswith(f"/{variable.path}")]
            assert same(checkpoint.read(variable), live[path])
            assert variable.role in (roles[path], None)
            assert (variable.role is None) == (variable.path in checkpoint.notes)
        kinds = {array.kind for array in checkpoint.unaddressed}
        assert kinds <= {"optimizer", "seed", "other"}
        assert ("optimizer" in kinds) == (file != "exported")


def test_a_bare_file_leaves_open_only_what_it_does_not_tell(saved):
    with checkpoints.open(saved[0] / "model.weights.h5") as checkpoint:
        open_ = {v.path for v in checkpoint.variables if v.role is None}
        assert open_ == {
            "backbone/stem/b1/0",  # beta here
            "backbone/b2/0",  # gamma here
            "wrapped/dense/0",  # the file names the wrapper's part, not its class
            "wrapped/dense/1",
        }
        assert "gamma or beta" in checkpoint.notes["backbone/b2/0"]


def test_a_list_of_weight_names_that_is_cut_into_parts_is_put_together(tmp_path):
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"net", b"empty"])
        group = file.create_group("net")
        file.create_group("empty").attrs["weight_names"] = np.array([], "S1")
        for part in range(3):
            names = [f"net/conv{part}_{i}/kernel:0" for i in range(1000)]
            group.attrs[f"weight_names{part}"] = np.array(names, "S40")
            for number, name in enumerate(names):
                group[name] = np.float32(number)
    with checkpoints.open(path) as checkpoint:
        assert len(checkpoint.variables) == 3000
        assert checkpoint.read("net/conv2_998/0") == 998


@pytest.mark.parametrize("write", ["npz", "safetensors"])
def test_arrays_by_name_are_read_from(write, tmp_path):
    draw = np.random.default_rng(0)
    names = ["b/moving_variance", "b/beta", "b/moving_mean", "in/c/bias", "in/c/kernel"]
    entries = {name: draw.normal(size=3).astype("f4") for name in names}
    entries["plain/0"] = draw.normal(size=(2, 3)).astype("f4")
    path = tmp_path / f"donor.{write}"
    if write == "npz":
        np.savez(path, **entries)
    else:
        path.write_bytes(handmade.safetensors(entries))
    with checkpoints.open(path) as checkpoint:
        assert checkpoint.kind == write
        roles = {v.path: v.role for v in checkpoint.variables}
        assert roles == {
            "b/0": "beta",
            "b/1": "moving_mean",
            "b/2": "moving_variance",
            "in/c/0": "kernel",
            "in/c/1": "bias",
            "plain/0": None,
        }
        for path, role in roles.items():
            key = f"{path.rpartition('/')[0]}/{role or 0}"
            assert same(checkpoint.read(path), entries[key])
        status = checkpoints.CRC32 if write == "npz" else checkpoints.UNVERIFIED
        assert checkpoint.verify() == status


def test_a_file_in_the_other_byte_order_is_read_and_written(tmp_path):
    big = handmade.write_keras(tmp_path / "big.keras", [handmade.bn("b", dtype=">f4")])
    little = handmade.write_keras(tmp_path / "little.keras", [handmade.bn("b")])
    assert values(big).keys() == values(little).keys()
    for path, value in values(big).items():
        assert same(value, values(little)[path])
    with checkpoints.open(big) as a, checkpoints.open(little) as b:
        assert a.variables == b.variables
        assert a.digest("b/0") == b.digest("b/0")
        moved = {"b/0": (b, b.variables[1])}
        checkpoints.write(big, tmp_path / "out.keras", moved, {})
    assert same(values(tmp_path / "out.keras")["b/0"], values(little)["b/1"])


def test_a_variable_that_changed_since_the_plan_is_not_read(tmp_path):
    path = handmade.write_keras(tmp_path / "a.keras")
    second = handmade.write_keras(tmp_path / "b.keras", [handmade.bn("b2", 6)])
    with checkpoints.open(path) as a, checkpoints.open(second) as b:
        variable = next(v for v in a.variables if v.path == "b2/0")
        with pytest.raises(
            InputError, match=r"should be float32 \(5,\), is float32 \(6,\)"
        ):
            b.read(variable)
        with pytest.raises(InputError, match="no variable 'nowhere/0'; nearest"):
            b.read("nowhere/0")


def test_what_is_read_is_what_was_asked_for(tmp_path):
    """80 MB of kernels around a few batch norms: only the batch norms are read."""
    layers = []
    for number in range(8):
        layers.append(handmade.conv(f"c{number}", (3, 3, 512, 543)))
        layers.append(handmade.bn(f"b{number}", 543))
    path = handmade.write_keras(tmp_path / "large.keras", layers)
    assert path.stat().st_size > 80e6

    def read():
        text = pathlib.Path("/proc/self/io").read_text()
        return int(text.split()[1])

    start = read()
    with checkpoints.open(path) as checkpoint:
        index = read() - start
        chosen = [v for v in checkpoint.variables if v.layer.startswith("b")]
        for variable in chosen:
            checkpoint.read(variable)
        payload = read() - start - index
    selected = sum(variable.bytes for variable in chosen)
    assert selected == 8 * 4 * 543 * 4
    assert selected <= payload < selected + 1000
    assert index < 200_000


def test_two_layers_of_one_path_are_neither_of_them_addressed(tmp_path):
    path = handmade.write_weights(
        tmp_path / "a.weights.h5", [handmade.bn("twin"), handmade.bn("twin", 6)]
    )
    with checkpoints.open(path) as checkpoint:
        assert checkpoint.variables == ()
        kinds = [array.kind for array in checkpoint.unaddressed]
        assert kinds.count("duplicate") == 8


def test_weights_of_another_configuration_are_refused(tmp_path):
    wider = [*handmade.model()[:-1], handmade.conv("head", (1, 1, 5, 3))]
    for layers, reason in (
        (wider, "2 outputs"),
        (handmade.model()[:-1], "weights of head are missing"),
        ([*handmade.model()[:1], handmade.conv("b2", (1, 1, 5, 2))], "calls b2 a"),
    ):
        path = handmade.write_keras(
            tmp_path / "a.keras", weights=handmade.weights_h5(layers)
        )
        with pytest.raises(InputError, match=reason):
            checkpoints.open(path)


def test_nothing_here_loads_tensorflow(tmp_path):
    path = handmade.write_keras(tmp_path / "a.keras")
    code = (
        "import sys; from tfreuse import checkpoints\n"
        f"checkpoints.write({str(path)!r}, {str(tmp_path / 'b.keras')!r}, {{}}, {{}})\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------- the four silent cases, beside Keras (R7)


def test_frozen_layers_rotate_weights_in_keras_and_not_here(tmp_path):
    def chain(frozen):
        inner = keras.Sequential(
            [keras.Input((2,)), *(L.Dense(2, name=f"k{i}") for i in range(3))],
            name="inner",
        )
        inner.layers[0].trainable = not frozen
        return keras.Sequential([keras.Input((2,)), inner])

    donor, recipient = chain(frozen=True), chain(frozen=False)
    donor.save(tmp_path / "frozen.h5")
    live = transplant.values(donor)
    recipient.load_weights(tmp_path / "frozen.h5")
    wrong = transplant.values(recipient)
    assert not same(wrong["inner/k0/0"], live["inner/k0/0"])  # Keras: silently
    loaded = values(tmp_path / "frozen.h5")
    assert loaded.keys() == live.keys()
    for path, value in live.items():
        assert same(loaded[path], value)


def test_beta_becomes_gamma_in_keras_and_not_here(tmp_path):
    def norm(**flags):
        return keras.Sequential(
            [keras.Input((3,)), L.BatchNormalization(name="b", **flags)]
        )

    donor, recipient = norm(scale=False), norm(center=False)
    donor.layers[0].beta.assign([5.0, 6.0, 7.0])
    donor.save(tmp_path / "donor.keras")
    donor.save_weights(tmp_path / "donor.weights.h5")
    recipient.save(tmp_path / "recipient.keras")
    recipient.load_weights(tmp_path / "donor.weights.h5")
    assert recipient.layers[0].gamma.numpy().tolist() == [5, 6, 7]  # Keras: silently
    with (
        checkpoints.open(tmp_path / "donor.keras") as a,
        checkpoints.open(tmp_path / "recipient.keras") as b,
    ):
        assert a.variables[0].role == "beta"
        assert b.variables[0].role == "gamma"
        moves = plan.make(a.variables, b.variables, roles="bn")
        assert {e.variable.role for e in moves.problems} == {"gamma", "beta"}
        assert {e.recipient.role for e in moves.copies} == {
            "moving_mean",
            "moving_variance",
        }


def test_layers_in_another_order_are_swapped_by_keras_and_not_here(tmp_path):
    def pair(names):
        return keras.Sequential(
            [keras.Input((2,)), *(L.Dense(2, name=n) for n in names)]
        )

    donor, recipient = pair("xy"), pair("yx")
    donor.save(tmp_path / "donor.keras")
    donor.save_weights(tmp_path / "donor.weights.h5")
    recipient.load_weights(tmp_path / "donor.weights.h5")
    kernel = donor.get_layer("x").kernel.numpy()
    assert (recipient.get_layer("y").kernel.numpy() == kernel).all()  # Keras: silently
    for file in ("donor.keras", "donor.weights.h5"):
        assert same(values(tmp_path / file)["x/0"], kernel)


def test_extra_layers_of_a_donor_are_dropped_by_keras_and_not_here(tmp_path):
    def chain(count):
        return keras.Sequential(
            [keras.Input((2,)), *(L.Dense(2, name=f"d{i}") for i in range(count))]
        )

    chain(3).save_weights(tmp_path / "donor.weights.h5")
    recipient = chain(2)
    recipient.save(tmp_path / "recipient.keras")
    recipient.load_weights(tmp_path / "donor.weights.h5")  # Keras: no word about d2
    with (
        checkpoints.open(tmp_path / "donor.weights.h5") as a,
        checkpoints.open(tmp_path / "recipient.keras") as b,
    ):
        moves = plan.make(a.variables, b.variables, roles="conv")
        assert {e.variable.layer for e in moves.problems} == {"d2"}


# ----------------------------------------------------------------------------- writing


def write(recipient, out, moved, **options):
    return checkpoints.write(recipient, out, moved, {"plan": "hash"}, **options)


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5", "loadable.h5"])
def test_an_output_loads_in_keras_with_exactly_the_plan_changed(
    saved, file, crc, tmp_path
):
    root, _ = saved
    half = "float32" if file == "loadable.h5" else "bfloat16"
    old, new = (
        transplant.values(network(half=half)),
        transplant.values(network(1, half)),
    )
    out = tmp_path / file
    moved = {p: v for p, v in new.items() if "b1/" in p or "half" in p or "s1/0" in p}
    assert len(moved) == 6
    report = write(root / file, out, moved, crc=crc)
    assert report.variables == 6
    assert report.bytes == sum(value.nbytes for value in moved.values())
    proof = "crc32" if crc and file.endswith(".keras") else "unverified"
    assert report.checked == {str(root / file): proof}
    if file.endswith(".keras"):
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
            assert len(archive.namelist()) == 3
        loaded = keras.models.load_model(out)
        assert loaded.optimizer is not None
    else:
        loaded = network(2, half)
        loaded.load_weights(out)
    for path, value in transplant.values(loaded).items():
        assert same(value, moved.get(path, old[path])), path
    with checkpoints.open(out) as checkpoint:
        assert checkpoint.provenance == {"plan": "hash"}


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_an_output_keeps_the_provenance_of_its_recipient(saved, suffix, tmp_path):
    before = saved[0] / f"model{suffix}"
    for step in range(3):
        out = tmp_path / f"{step}{suffix}"
        checkpoints.write(before, out, {}, {"step": step})
        before = out
    with checkpoints.open(before) as checkpoint:
        origin = checkpoint.provenance
    assert origin == {"step": 2, "earlier": [{"step": 0}, {"step": 1}]}


@pytest.mark.parametrize(
    ("before", "following"),
    [
        (None, {}),
        ("a word", {}),
        ({"step": float("nan")}, {"left_out": 1}),  # no JSON
        ({"step": 1, "earlier": "a word"}, {"earlier": [{"step": 1}]}),
        (
            {"step": 2, "earlier": [{"step": "x" * 70_000}, {"step": 1}]},
            {"earlier": [{"step": 1}, {"step": 2}], "left_out": 1},
        ),
        ({"step": "x" * 70_000, "left_out": 2}, {"left_out": 3}),
        ({"left_out": "many", "earlier": [0] * 100_000}, {"earlier": [{}], "left_out": 100_000}),
    ],
    ids=["none", "a word", "not a number", "a wrong type", "a long step", "too long", "many"],
)  # fmt: skip
def test_former_provenance_may_be_anything(before, following):
    assert provenance.following({"step": 3}, before) == {"step": 3} | following


def test_as_many_steps_are_kept_as_a_file_has_room_for():
    step = {}
    for number in range(200):
        step = provenance.following({"step": number, "words": "x" * 1000}, step)
        provenance.text(step)  # fits
    kept = [former["step"] for former in step["earlier"]]
    assert kept == list(range(199 - len(kept), 199)) and 50 < len(kept) < 60
    assert step["left_out"] == 200 - len(kept)  # the first is empty


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5", "legacy.h5"])
def test_undo_restores_every_byte_of_the_recipient(saved, file, crc, tmp_path):
    recipient, out = saved[0] / file, tmp_path / file
    moved = {path: value + value for path, value in values(recipient).items()}
    report = write(recipient, out, moved, crc=crc)
    assert out.read_bytes() != recipient.read_bytes()
    assert report.undo_path == f"{out}.undo"
    proof = checkpoints.undo(out)
    assert proof == ("crc32" if crc else "unverified")
    assert out.read_bytes() == recipient.read_bytes()
    assert os.listdir(tmp_path) == [file]


def test_undo_refuses_an_output_that_changed_since(tmp_path):
    recipient = handmade.write_keras(tmp_path / "a.keras")
    out = tmp_path / "out.keras"
    write(recipient, out, {"b2/0": np.ones(5, "f4")})
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    with pytest.raises(InputError, match="changed since"):
        checkpoints.undo(out)
    assert out.read_bytes() == data
    undo = pathlib.Path(f"{out}.undo")
    undo.write_bytes(undo.read_bytes()[:-1])
    with pytest.raises(InputError, match="not an undo file, or damaged"):
        checkpoints.undo(out)


def test_an_output_is_a_recipient_again_and_grows_by_a_word_on_its_recipient(tmp_path):
    path = handmade.write_keras(tmp_path / "0.keras")
    sizes = []
    for step in range(1, 5):
        out = tmp_path / f"{step}.keras"
        write(path, out, {"b2/0": np.full(5, step, "f4")})
        path = out
        sizes.append(out.stat().st_size)
        assert values(out)["b2/0"].tolist() == [step] * 5
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
    word = len('{"plan": "hash"}, ')
    assert np.diff(sizes)[1:].tolist() == [word, word]


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_equal_inputs_give_equal_bytes_in_any_process(suffix, tmp_path):
    make = handmade.write_keras if suffix == ".keras" else handmade.write_weights
    recipient = make(tmp_path / f"a{suffix}")
    outputs = []
    for seed in ("0", "1"):
        out = tmp_path / f"out{seed}{suffix}"
        code = (
            "import numpy as np; from tfreuse import checkpoints\n"
            "moved = {'b2/0': np.ones(5, 'f4'), 'backbone/stem/c1/1': np.ones(4, 'f4')}\n"
            f"checkpoints.write({str(recipient)!r}, {str(out)!r}, moved,"
            " {k: 1 for k in {'x', 'y', 'z'}})"
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        outputs.append(out.read_bytes() + pathlib.Path(f"{out}.undo").read_bytes())
    assert outputs[0] == outputs[1]


def test_directories_beyond_four_gigabytes_are_written_as_zip64(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_ZIP64_FROM", 1000)  # stands for 4 GiB
    recipient = handmade.write_keras(tmp_path / "a.keras")
    out = tmp_path / "out.keras"
    write(recipient, out, {"b2/0": np.ones(5, "f4")})
    assert b"PK\6\6" in out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert b"hash" in archive.read("metadata.json")
    assert values(out)["b2/0"].tolist() == [1] * 5
    checkpoints.undo(out)
    assert out.read_bytes() == recipient.read_bytes()


REFUSALS = {
    "another shape": ({"b2/0": np.ones(6, "f4")}, r"is float32 \(6,\)"),
    "another type": ({"b2/0": np.ones(5, "f8")}, "is float64"),
    "no such variable": ({"b3/0": np.ones(5, "f4")}, "nearest"),
    "not finite": ({"b2/0": np.full(5, np.nan, "f4")}, "not finite"),
    "a negative variance": ({"b2/2": np.full(5, -1, "f4")}, "below zero"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_value_that_does_not_fit_leaves_the_old_output(case, tmp_path):
    moved, message = REFUSALS[case]
    recipient = handmade.write_keras(tmp_path / "a.keras")
    out = tmp_path / "out.keras"
    out.write_bytes(b"old")
    with pytest.raises(InputError, match=message):
        write(recipient, out, moved)
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.keras", "out.keras"]


def test_an_input_is_never_the_output(tmp_path):
    recipient = handmade.write_keras(tmp_path / "a.keras")
    donor = handmade.write_keras(tmp_path / "d.keras", handmade.model(seed=1))
    os.link(recipient, tmp_path / "hard.keras")
    os.symlink(donor, tmp_path / "soft.keras")
    before = donor.read_bytes(), recipient.read_bytes()
    with checkpoints.open(donor) as opened:
        moved = {"b2/0": (opened, opened.variables[-3])}
        for name in ("a.keras", "d.keras", "hard.keras", "soft.keras"):
            with pytest.raises(InputError, match=r"the same file|not a regular file"):
                write(recipient, tmp_path / name, moved)
    with pytest.raises(InputError, match=r"must end in \.keras"):
        write(recipient, tmp_path / "out.h5", {})
    assert (donor.read_bytes(), recipient.read_bytes()) == before


def test_a_damaged_donor_or_recipient_is_found_before_anything_is_written(tmp_path):
    recipient = handmade.write_keras(tmp_path / "a.keras")
    with checkpoints.open(recipient) as opened:
        offset = opened.extent("backbone/stem/c1/0")[0]
    damaged = tmp_path / "damaged.keras"
    data = bytearray(recipient.read_bytes())
    data[offset] ^= 1
    damaged.write_bytes(data)
    out = tmp_path / "out.keras"
    with checkpoints.open(damaged) as donor:
        moved = {"b2/0": (donor, "b2/0")}
        with pytest.raises(InputError, match="does not fit its CRC"):
            write(recipient, out, moved)
        report = write(recipient, out, moved, crc=False)
        assert set(report.checked.values()) == {"unverified"}
    with pytest.raises(InputError, match="does not fit its CRC"):
        write(damaged, out, {})
    # without the check, a damaged recipient gives an output that is as damaged
    write(damaged, out, {"b2/0": np.ones(5, "f4")}, crc=False)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() == "model.weights.h5"


def test_writing_takes_little_memory_whatever_the_file_holds(tmp_path):
    layers = [
        handmade.conv(f"c{i}", (3, 3, 512, 1024), use_bias=False) for i in range(6)
    ]
    path = handmade.write_keras(tmp_path / "large.keras", layers)
    assert path.stat().st_size > 110e6
    code = (
        "import resource; from tfreuse import checkpoints\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "start = peak()\n"
        f"with checkpoints.open({str(path)!r}) as donor:\n"
        "    moved = {v.path: (donor, v) for v in donor.variables}\n"
        f"    checkpoints.write({str(path)!r}, {str(tmp_path / 'out.keras')!r}, moved, {{}})\n"
        "print(peak() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) * 1024 < 64 * 2**20  # and no variable on top of it


# ----------------------------------------------------------------------- laws, by Hypothesis


@st.composite
def models(draw, depth=0):
    """Layers of a random model: batch norms with any flags, convolutions, nested models."""
    layers = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["bn", "conv", "model"] if depth < 2 else ["bn", "conv"])
        )
        name = f"{kind}{number}"
        seed = draw(st.integers(0, 99))
        if kind == "bn":
            flags = {"scale": draw(st.booleans()), "center": draw(st.booleans())}
            layers.append(
                handmade.bn(name, draw(st.integers(1, 5)), seed=seed, **flags)
            )
        elif kind == "conv":
            shape = (*(draw(st.integers(1, 3)) for _ in range(4)),)
            layers.append(
                handmade.conv(name, shape, use_bias=draw(st.booleans()), seed=seed)
            )
        else:
            layers.append(("Functional", name, {}, draw(models(depth=depth + 1))))
    return layers


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(layers=models(), data=st.data())
def test_nothing_but_the_plan_changes_and_undo_is_its_inverse(
    tmp_path_factory, layers, data
):
    root = tmp_path_factory.mktemp("law")
    keras_format = data.draw(st.booleans())
    make = handmade.write_keras if keras_format else handmade.write_weights
    recipient = make(root / f"a{'.keras' if keras_format else '.weights.h5'}", layers)
    oracle = handmade.arrays(layers)
    chosen = data.draw(st.sets(st.sampled_from(sorted(oracle))))
    moved = {path: oracle[path] * 2 + 1 for path in chosen}
    moved = {path: np.abs(value) for path, value in moved.items()}
    out = root / f"out{''.join(recipient.suffixes)}"
    write(recipient, out, moved)
    written = values(out)
    assert written.keys() == oracle.keys()
    for path, value in written.items():
        assert same(value, moved.get(path, oracle[path]))
    if keras_format:
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
            assert (
                json.loads(archive.read("metadata.json"))["keras_version"] == "3.15.1"
            )
    checkpoints.undo(out)
    assert out.read_bytes() == recipient.read_bytes()


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.binary(max_size=60),
    st.lists(
        st.tuples(st.integers(0, 70), st.binary(min_size=1, max_size=30) | st.none())
    ),
)
def test_any_writes_and_cuts_are_taken_back(tmp_path_factory, before, changes):
    path = tmp_path_factory.mktemp("journal") / "file"
    path.write_bytes(before)
    undo_path = path.with_name("file.undo")
    with open(path, "r+b") as file, open(undo_path, "wb") as undo:
        changed = journal.Journal(file.fileno(), undo)
        for offset, data in changes:
            if data is None:
                changed.truncate(offset)
            else:
                changed.write(offset, data)
        changed.close({"crc": zlib.crc32(before)})
    after = path.read_bytes()
    assert checkpoints.undo(path, dry_run=True) == "crc32"
    assert path.read_bytes() == after and undo_path.exists()
    checkpoints.undo(path)
    assert path.read_bytes() == before and not undo_path.exists()


@hypothesis.given(
    st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300)
)
def test_a_checksum_is_mended_from_the_bytes_that_changed(before, old, after):
    new = bytes(byte ^ 0x5A for byte in old)
    delta = zlib.crc32(old) ^ zlib.crc32(new)
    (change,) = crc_module.shift([delta], [len(after)])
    assert zlib.crc32(before + old + after) ^ int(change) == zlib.crc32(
        before + new + after
    )
    parts = [(zlib.crc32(part), len(part)) for part in (before, old, after)]
    joined = zlib.crc32(before + old)
    assert crc_module.joined([parts[:2], [], parts[:1]]) == [joined, 0, parts[0][0]]
