"""Channels aligned between files: the same graph, the same arrays as between live models."""

import json
import subprocess
import sys
import zipfile

import handmade
import keras
import nets
import numpy as np
import pytest
from keras import layers
from test_alignment import NETS, every_net, opaque, random_model, random_order
from test_transplant_tool import listing, no, no_process_stays, ok, run, values

from tfreuse import checkpoints, transplant
from tfreuse.checkpoints import graph
from tfreuse.errors import InputError
from tfreuse.plan.variables import by_layer
from tfreuse.transplant import alignment, live, loading

assert no_process_stays  # a fixture: this module's commands end with it
ALIGN = "--adapters=*=align"


def permuted(model, kind, seed=2):
    """A network of this kind that computes what `model` does, its channels elsewhere."""
    ties, arrays = transplant.ties(model), transplant.values(model)
    other = NETS[kind]()
    found = alignment.permute(ties, arrays, random_order(ties, seed))
    transplant.undo(dict(zip(transplant.values(other), found.values())), other)
    return other


@pytest.fixture
def here(tmp_path, monkeypatch):
    """b.keras, and a.keras, which is b.keras with its channels elsewhere."""
    monkeypatch.chdir(tmp_path)
    model = random_model("unet", 1)
    model.save("b.keras")
    permuted(model, "unet").save("a.keras")
    return tmp_path


def statuses(plan):
    return {entry.status for entry in plan.entries}


# ---------------------------------------------------------------------------- the graph


def told(found):
    """Calls without their numbers; shapes only of what is read, others no file tells."""
    calls, outputs = found
    read = {name for call in calls for name in call.reads}
    path = {call.name: call.path for call in calls}
    lines = [
        (
            call.path,
            call.class_name,
            [path[name] for name in call.reads],
            (call.channels, call.rank) if call.name in read else None,
            call.axis,
        )
        for call in calls
    ]
    return sorted(lines, key=repr), [path[name] for name in outputs]


GRAPHS = {**NETS, "opaque": opaque}
GRAPHS |= {kind: nets.ZOO[kind] for kind in ("shared", "sequential", "bfloat16")}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_file_tells_the_graph_of_its_model(kind, tmp_path):
    model = GRAPHS[kind]()
    model.save(tmp_path / "a.keras")
    with checkpoints.open(tmp_path / "a.keras") as file:
        found = graph.calls(file)
        assert told(found) == told(live.LiveModel(model).calls())
        ties = alignment.tie(*found, by_layer(file.variables))
    assert ties == transplant.ties(model)


@pytest.mark.parametrize("kind", sorted(GRAPHS.keys() - {"knotted"}))
def test_a_legacy_file_gives_the_same_groups(kind, tmp_path):
    model = GRAPHS[kind]()
    model.save(tmp_path / "a.h5")
    with checkpoints.open(tmp_path / "a.h5") as file:
        ties = alignment.tie(*graph.calls(file), by_layer(file.variables))
    assert ties.sizes == transplant.ties(model).sizes


# ------------------------------------------------------------- plan, apply, verify, undo


@every_net
def test_a_donor_that_is_the_recipient_in_another_order_gives_its_bytes_back(
    kind, tmp_path
):
    model = random_model(kind, 1)
    model.save(tmp_path / "b.keras")
    permuted(model, kind).save(tmp_path / "a.keras")
    files = [tmp_path / f"{name}.keras" for name in "abc"]
    assert "COPY" in statuses(transplant.plan(*files[:2]))
    plan = transplant.plan(*files[:2], adapters=["*=align"])
    assert statuses(plan) == {"SAME"}
    transplant.apply(plan, *files)
    assert {p: v.tobytes() for p, v in values(files[2]).items()} == {
        p: v.tobytes() for p, v in values(files[1]).items()
    }


def test_files_are_aligned_as_live_models_are(here):
    donor = random_model("unet", 3)
    donor.save("a.keras")
    recipient = keras.models.load_model("b.keras")
    options = {
        "layers": ["encoder_*"],
        "adapters": ["*=align", "encoder_1_*=blend:0.5"],
    }
    plan = transplant.plan("a.keras", "b.keras", **options)
    transplant.apply(plan, "a.keras", "b.keras", "c.keras")
    live_plan = transplant.plan(donor, recipient, **options)
    transplant.apply(live_plan, donor, recipient)
    made = values("c.keras")
    for path, value in transplant.values(recipient).items():
        np.testing.assert_array_equal(made[path], value, err_msg=path)


@pytest.mark.parametrize("aligned", ["*=align", "encoder_1_*=align"])
def test_a_file_is_aligned_with_a_live_model_as_with_its_file(here, aligned):
    donor = random_model("unet", 3)
    donor.save("a.keras")
    options = {"roles": "kernel", "adapters": [aligned, "encoder_1_*=blend:0.5"]}
    one, other = (keras.models.load_model("b.keras") for _ in range(2))
    before = transplant.values(one)
    displaced = loading.load("a.keras", one, **options)
    transplant.apply(transplant.plan(donor, other, **options), donor, other)
    found = transplant.values(one)
    for path, value in transplant.values(other).items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)
    transplant.undo(displaced, one)
    for path, value in transplant.values(one).items():
        np.testing.assert_array_equal(before[path], value, err_msg=path)


def test_the_tool_aligns_proves_it_and_takes_it_back(here):
    before = (here / "b.keras").read_bytes()
    random_model("unet", 3).save("d.keras")
    flags = ["--donor=d.keras", ALIGN, "--layers=encoder_*"]
    shown = ok(run("plan", *flags, "--plan=p.json"))
    assert "through align" in shown
    assert "channels in 12 groups may change places" in shown.replace("\n    ", " ")
    assert "channel" not in ok(run("plan", "--donor=d.keras"))
    ok(run("apply", *flags[:1], "--plan=p.json", "--out=c.keras"))
    assert "24 arrays" in ok(run("verify", *flags, "--out=c.keras"))
    plain = [flags[0], flags[2], "--out=c.keras"]
    no(run("verify", *plain), "is not the donor's")
    ok(run("undo", "--out=c.keras"))
    assert (here / "c.keras").read_bytes() == before


def test_what_moves_is_put_in_the_order_of_kernels_that_stay(here):
    same = transplant.plan("a.keras", "b.keras", roles="stats", adapters=["*=align"])
    assert {e.status for e in same.copies} == {"SAME"}
    models = [keras.models.load_model(f"{name}.keras") for name in "ab"]
    plan = transplant.plan(*models, roles="stats", adapters=["*=align"])
    assert {e.status for e in plan.copies} == {"SAME"}


def test_a_plan_is_bound_to_all_that_chose_its_order(here):
    flags = [ALIGN, "--roles=stats", "--plan=p.json"]
    ok(run("plan", *flags))
    kernel = values("a.keras")["encoder_1_a_conv/0"]
    spoilt = {"encoder_1_a_conv/0": kernel[..., ::-1].copy()}
    checkpoints.write("a.keras", "d.keras", spoilt, {})
    no(run("apply", "--donor=d.keras", "--plan=p.json", "--out=c.keras"), "conv/0")
    ok(run("apply", "--plan=p.json", "--out=c.keras"))


def test_a_recipient_of_arrays_alone_is_enough(here):
    keras.models.load_model("b.keras").save_weights("b.weights.h5")
    files = ["a.keras", "b.weights.h5", "c.weights.h5"]
    plan = transplant.plan(*files[:2], adapters=["*=align"])
    assert statuses(plan) == {"SAME"}
    transplant.apply(plan, *files)
    transplant.verify(plan, *files).check()


def test_a_donor_that_is_held_in_memory_is_checked_whole(here):
    with checkpoints.open("a.keras") as donor:
        start, _ = donor.extent("head_segmentation_conv/0")  # not even selected
    data = bytearray((here / "a.keras").read_bytes())
    data[start] ^= 1
    (here / "a.keras").write_bytes(data)
    flags = ["--layers=encoder_*", "--out=c.keras"]
    for adapter in ("--alpha=0.5", ALIGN):
        no(run("apply", adapter, *flags), "CRC")
    ok(run("apply", ALIGN, *flags, "--nocrc"))
    permuted(random_model("unet", 1), "unet").save("a.keras")
    shown = ok(run("apply", ALIGN, *flags, "--overwrite"))
    assert "b.keras crc32" in shown and "a.keras crc32" in shown


# ---------------------------------------------------------------------------- refusals


def test_a_donor_without_a_graph_is_told_what_to_give(here):
    model = keras.models.load_model("a.keras")
    model.save_weights("a.weights.h5")
    arrays = transplant.index(model)
    named = {f"{v.layer}/{v.role}": transplant.values(model)[v.path] for v in arrays}
    np.savez("a.npz", **named)
    nets.subclassed().save("s.keras")
    refusal = pytest.raises(InputError, match="give the .keras file")
    with checkpoints.open("s.keras") as file, refusal:
        graph.calls(file)
    for donor in ("a.weights.h5", "a.npz"):
        no(run("plan", ALIGN, f"--donor={donor}"), donor, "give the .keras file")
    before = listing(here)
    no(run("apply", ALIGN, "--donor=a.npz", "--out=c.keras"), "a.npz", ".keras")
    assert listing(here) == before


def stated(config, layers_, tmp_path):
    """The graph of a file with this configuration."""
    path = tmp_path / "made.keras"
    handmade.write_keras(path, layers_, text=json.dumps(config).encode())
    with checkpoints.open(path) as file:
        return graph.calls(file)


def entry(kind, layer, *reads, **config):
    """A layer as Keras writes it, called once on each of the lists of tensors."""
    nodes = []
    for tensors in reads:
        histories = [
            {"class_name": "__keras_tensor__", "config": {"keras_history": list(t)}}
            for t in tensors
        ]
        nodes.append({"args": [histories], "kwargs": {}})
    made = {"class_name": kind, "name": layer, "inbound_nodes": nodes}
    return {**made, "config": {**config, "name": layer}}


def functional(*entries, ends=None):
    ends = ends or [[entries[-1]["name"], 0, 0]]
    return {
        "name": "model",
        "layers": list(entries),
        "input_layers": [["x", 0, 0]],
        "output_layers": ends,
    }


X = ("x", 0, 0)


def test_models_that_call_models_twice_and_so_on_cost_no_more_than_a_bound(
    tmp_path, monkeypatch
):
    inner = functional(entry("InputLayer", "x"))
    for level in range(40):  # 2 ** 40 calls in a short text
        twice = entry("Functional", f"m{level}", [X], [(f"m{level}", 0, 0)], **inner)
        inner = functional(entry("InputLayer", "x"), twice, ends=[[f"m{level}", 1, 0]])
    monkeypatch.setattr("tfreuse.checkpoints.graph.MAX_OBJECTS", 1_000)
    with pytest.raises(InputError, match="over 1,000 calls"):
        stated({"class_name": "Functional", "config": inner}, [], tmp_path)


@pytest.mark.parametrize(
    "entries, says",
    [
        ([entry("ReLU", "x", [X])], "no InputLayer"),
        ([entry("InputLayer", "x"), entry("ReLU", "r", [("s", 0, 0)])], "cannot"),
        ([entry("InputLayer", "x"), entry("ReLU", "r", [("r", 0, 0)])], "cycle"),
        ([entry("InputLayer", "x"), entry("ReLU", "r", [()])], "none that can be read"),
        ([entry("InputLayer", "x"), entry("Conv2D", "c", [X])], "missing"),
    ],
)
def test_a_graph_that_cannot_be_followed_is_refused(entries, says, tmp_path):
    config = {"class_name": "Functional", "config": functional(*entries)}
    with pytest.raises(InputError, match=says):
        stated(config, [], tmp_path)


def test_a_layer_whose_arrays_are_another_s_under_a_name_not_told_is_refused(tmp_path):
    NETS["knotted"]().save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = members["config.json"].replace(b"shared_object_id", b"of_older_keras")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        for name, data in {**members, "config.json": text}.items():
            archive.writestr(name, data)
    refusal = pytest.raises(InputError, match="both of .* shares its arrays")
    with checkpoints.open(tmp_path / "a.keras") as file, refusal:
        graph.calls(file)


def test_inputs_by_name_of_a_model_within_are_not_guessed(tmp_path):
    """Keras sorts them in one way, a file tells them in another: what they feed stays."""
    one, two = (keras.Input((4, 4, 3), name=name) for name in ("z", "y"))
    joined = layers.Concatenate()([layers.Conv2D(3, 1)(one), layers.Conv2D(3, 1)(two)])
    inner = keras.Model([one, two], joined)
    image = keras.Input((4, 4, 3))
    a, b = layers.Conv2D(3, 1)(image), layers.Conv2D(3, 1)(image)
    for made, groups in ((inner([a, b]), 4), (inner({"z": a, "y": b}), 0)):
        model = keras.Model(image, layers.Conv2D(2, 1)(made))
        model.save(tmp_path / "a.keras")
        with checkpoints.open(tmp_path / "a.keras") as file:
            ties = alignment.tie(*graph.calls(file), by_layer(file.variables))
        assert len(ties.sizes) == len(transplant.ties(model).sizes) == groups


def test_alignment_that_changes_nothing_is_refused(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="only")(inputs))
    model.save(tmp_path / "a.keras")
    with pytest.raises(InputError, match="changes nothing"):
        transplant.plan(
            tmp_path / "a.keras", tmp_path / "a.keras", adapters=["*=align"]
        )


def test_numbers_that_are_not_finite_are_refused(here):
    model = keras.models.load_model("a.keras")
    model.get_layer("encoder_1_a_conv").bias.assign([np.nan, 1])
    model.save("a.keras")
    no(run("plan", ALIGN, "--layers=encoder_2_*"), "encoder_1_a_conv", "not finite")


def test_aligning_files_never_loads_tensorflow(here):
    code = (
        "import sys\n"
        "from tfreuse import transplant\n"
        "transplant.plan('a.keras', 'b.keras', adapters=['*=align'])\n"
        "heavy = {'tensorflow', 'keras'} & {*sys.modules}\n"
        "assert not heavy and 'scipy' in sys.modules, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
