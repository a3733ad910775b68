"""The transplant tool on files, as a person uses it."""

import functools
import json
import os
import pathlib
import re
import resource
import subprocess
import sys

import handmade
import keras
import numpy as np
import pytest
import tensorflow as tf
from test_cli import refused, tool

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError
from tfreuse.transplant.proof import Proof, prove

ROOT = pathlib.Path(__file__).parent.parent
VERBS = ("plan", "apply", "verify", "diff", "info", "undo")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a donor and a recipient of the same layers; the head is equal in both."""
    monkeypatch.chdir(tmp_path)
    handmade.write_keras(tmp_path / "a.keras", handmade.model(1))
    handmade.write_keras(tmp_path / "b.keras", handmade.model(2))
    return tmp_path


# What tools/transplant.py does, in a process for each command; but the imports, which take
# ten times as long as a command, are made once, and the processes split off after them.
COMMANDS = """
import json, os, sys, traceback
import h5py
from tfreuse.cli import transplant
for line in sys.stdin:
    folder, flags = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for stream, name in ((1, ".stdout"), (2, ".stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
        sys.argv = ["transplant.py", *flags]
        status = 0
        try:
            transplant.run()
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
            status = 3
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def commands():
    words = [sys.executable, "-c", COMMANDS]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)


def run(verb, *flags):
    if verb not in ("info", "undo"):
        flags = ["--donor=a.keras", "--recipient=b.keras", *flags]
    flags = [verb, *flags]
    server = commands()
    print(json.dumps([os.getcwd(), flags]), file=server.stdin, flush=True)
    status = int(server.stdout.readline())
    shown = []
    for name in (".stdout", ".stderr"):
        shown.append(pathlib.Path(name).read_text())
        os.unlink(name)
    return subprocess.CompletedProcess(flags, status, *shown)


@pytest.fixture(autouse=True, scope="module")
def no_process_stays():
    yield
    if commands.cache_info().currsize:
        with commands() as server:
            server.stdin.close()
        commands.cache_clear()  # another module of tests starts its own


def ok(done):
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def no(done, *words):
    """Status 1, one line that says all the words."""
    assert done.returncode == 1
    assert len(refused(done, *words)) == 1, done.stderr


def values(path):
    with checkpoints.open(path) as model:
        return {v.path: model.read(v) for v in model.variables}


def change(path, variable, out, byte=0):
    """A copy of the file in which one byte of one variable is another, checksum and all."""
    with checkpoints.open(path) as model:
        array = model.read(variable).copy()
        provenance = model.provenance or {}
    array.reshape(-1).view(np.uint8)[byte] ^= 1
    checkpoints.write(path, out, {variable: array}, provenance)


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------- plan, apply, undo


def test_plan_says_what_would_move_and_writes_nothing(here):
    before = listing(here)
    shown = ok(run("plan", "--roles=stats,kernel", "--layers=b*,!b2"))
    assert re.search(r"COPY +backbone/stem/b1 +stats +2 ", shown)
    assert "KEEP" in shown and "b2" not in shown
    assert "statistics without gamma and beta" in shown
    assert listing(here) == before


def test_apply_moves_the_selected_roles_bit_for_bit_and_undo_restores_every_byte(here):
    donor, recipient = values("a.keras"), values("b.keras")
    before = (here / "b.keras").read_bytes()
    shown = ok(run("apply", "--roles=affine", "--layers=backbone/*", "--out=c.keras"))
    assert "2 variables" in shown and "c.keras.undo" in shown and "crc32" in shown
    assert "optimizer" in shown  # whose state now belongs to other values
    moved = {"backbone/stem/b1/0", "backbone/stem/b1/1"}
    for path, value in values("c.keras").items():
        wanted = donor if path in moved else recipient
        np.testing.assert_array_equal(value, wanted[path])
    assert any((donor[p] != recipient[p]).any() for p in moved)
    assert "again" in ok(run("undo", "--out=c.keras"))
    assert (here / "c.keras").read_bytes() == before
    assert sorted(listing(here)) == ["a.keras", "b.keras", "c.keras"]


def test_what_apply_writes_loads_in_keras_and_predicts(tmp_path):
    draw = np.random.default_rng(0)
    models = []
    for name in ("a", "b"):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(4, 3, name="conv"),
                keras.layers.BatchNormalization(name="bn"),
            ]
        )
        for weight in model.weights:
            weight.assign(draw.uniform(0.5, 2, weight.shape))
        model.save(tmp_path / f"{name}.keras")
        model.save_weights(tmp_path / f"{name}.weights.h5")
        models.append(model)
    donor, recipient = models
    images = draw.random((2, 8, 8, 3), np.float32)
    displaced = transplant.apply(
        transplant.plan(donor, recipient, roles="stats,bias"), donor, recipient
    )
    wanted = recipient(images).numpy()
    transplant.undo(displaced, recipient)
    assert np.abs(recipient(images).numpy() - wanted).max() > 1e-3
    for ending in ("keras", "weights.h5"):
        files = [tmp_path / f"{name}.{ending}" for name in "abc"]
        plan = transplant.plan(*files[:2], roles="stats,bias")
        transplant.apply(plan, *files)
        transplant.verify(plan, *files).check()
        loaded = recipient
        if ending == "keras":
            loaded = keras.models.load_model(files[2])
        else:
            loaded.load_weights(files[2])
        np.testing.assert_array_equal(loaded(images).numpy(), wanted)


def test_a_tensorflow_checkpoint_is_a_donor_and_brings_no_chatter(here):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="last")])
    model.layers[0].kernel.assign([[1, 2], [3, 4], [5, 6]])
    tf.train.Checkpoint(model=model).write("checkpoint")
    handmade.write_keras(
        here / "b.keras",
        [("Dense", "last", {}, [np.zeros((3, 2), "<f4"), np.ones(2, "<f4")])],
    )
    ok(run("apply", "--donor=checkpoint", "--roles=kernel", "--out=c.keras"))
    out = values("c.keras")
    assert out["last/0"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert out["last/1"].tolist() == [1, 1]


def test_the_same_inputs_give_the_same_plan_and_the_same_bytes(here):
    written = []
    for seed in ("1", "2"):
        code = (
            "from tfreuse import transplant\n"
            "p = transplant.plan('a.keras', 'b.keras', roles='bn')\n"
            "transplant.save(p, 'p.json', 'a.keras', 'b.keras')\n"
            "transplant.apply(p, 'a.keras', 'b.keras', 'c.keras', overwrite=True)\n"
        )
        env = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code], check=True, env=env)
        written.append(listing(here))
    assert written[0] == written[1] and len(written[0]) == 5


def test_provenance_in_the_output_names_the_plan_and_both_files(here):
    plan = transplant.plan("a.keras", "b.keras", roles="stats")
    transplant.apply(plan, "a.keras", "b.keras", "c.keras")
    with checkpoints.open("c.keras") as out:
        found = out.provenance
    assert found["plan"] == plan.hash and found["variables"] == 4
    assert found["donor"]["file"] == "a.keras"
    assert found["recipient"]["file"] == "b.keras"
    again = transplant.plan(
        "c.keras", "a.keras", roles="stats"
    )  # what moved goes nowhere new
    transplant.apply(again, "c.keras", "a.keras", "d.keras")
    with checkpoints.open("d.keras") as out:
        assert out.provenance["donor"]["values"] == found["donor"]["values"]
        assert out.provenance["recipient"]["values"] == found["donor"]["values"]
    assert found["recipient"]["values"] != found["donor"]["values"]
    assert {"tfreuse", "numpy", "h5py"} == set(found["versions"])
    assert plan.hash[:12] in ok(run("info", "--model=c.keras"))


def test_values_that_are_equal_already_are_told(here):
    plan = transplant.plan("a.keras", "b.keras", layers=["head", "b2"])
    same = {str(e.recipient) for e in plan.entries if e.status == "SAME"}
    assert same == {"head:kernel", "head:bias"}  # handmade.model makes one head


@pytest.mark.parametrize("place", [0, 1023, 1024, 300_000, -1])
def test_values_that_differ_in_one_number_anywhere_are_told_apart(here, place):
    layers = [handmade.conv("c", (3, 3, 256, 256), use_bias=False)]
    handmade.write_keras(here / "a.keras", layers)
    handmade.write_keras(here / "b.keras", layers)
    assert [e.status for e in transplant.plan("a.keras", "b.keras").entries] == ["SAME"]
    layers[0][3][0].reshape(-1)[place] += 1
    handmade.write_keras(here / "b.keras", layers)
    assert [e.status for e in transplant.plan("a.keras", "b.keras").entries] == ["COPY"]


def test_a_blend_is_between_donor_and_recipient(here):
    flags = ["--roles=kernel", "--layers=c2", "--alpha=0.25", "--out=c.keras"]
    assert "are a.keras's, by *=blend:0.25 (" in ok(run("apply", *flags))
    ok(run("verify", *flags))
    info = ok(run("info", "--model=c.keras"))
    assert "with variables (*=blend:0.25) of a.keras" in info
    a, b, c = (values(f"{name}.keras")["backbone/c2/0"] for name in "abc")
    np.testing.assert_allclose(c, 0.75 * b + 0.25 * a, rtol=1e-6)
    no(run("verify", *flags[:2], "--alpha=0.5", "--out=c.keras"), "c2:kernel")


def test_a_map_pairs_layers_of_other_names(here):
    layers = handmade.model(1)
    layers[1] = (layers[1][0], "other", *layers[1][2:])
    handmade.write_keras(here / "a.keras", layers)
    (here / "names.map").write_text("other = b2  # the last batch norm\n")
    flags = ["--roles=stats", "--layers=b2", "--map=names.map", "--out=c.keras"]
    ok(run("apply", *flags))
    np.testing.assert_array_equal(
        values("c.keras")["b2/1"], values("a.keras")["other/1"]
    )
    no(run("plan", "--map=nowhere.map"), "nowhere.map")


def test_a_file_of_names_alone_takes_settings_from_the_other_and_never_roles(here):
    with checkpoints.open("a.keras") as donor:
        arrays = {f"{v.layer_path}/{v.role}": donor.read(v) for v in donor.variables}
    np.savez(here / "a.npz", **arrays)
    plan = transplant.plan("a.npz", "b.keras").check()
    assert len(plan.copies) == 12 and "does not say the settings" in plan.table()
    transplant.apply(plan, "a.npz", "b.keras", "c.keras")
    transplant.verify(plan, "a.npz", "b.keras", "c.keras").check()
    for path, value in values("c.keras").items():
        np.testing.assert_array_equal(value, values("a.keras")[path])
    renamed = {name.replace("b2/", "other/"): array for name, array in arrays.items()}
    np.savez(here / "a.npz", **renamed)
    options = {"layers": ["b2"], "mapping": {"other": "b2"}}
    assert len(transplant.plan("a.npz", "b.keras", **options).check().copies) == 3
    # three arrays of one shape: a bare weights file does not tell beta from gamma
    handmade.write_weights(here / "a.weights.h5", handmade.model(1))
    plan = transplant.plan("a.weights.h5", "b.keras")
    assert [str(e.recipient) for e in plan.problems] == ["b2:beta"]


# ------------------------------------------------------------------------------ verify


@pytest.mark.parametrize(
    "variable, says",
    [
        ("backbone/stem/b1/2", "backbone/stem/b1:moving_mean is not the donor's"),
        ("b2/0", "b2:beta is not the recipient's"),
        ("head/1", "head:bias is not the recipient's"),
    ],
)
def test_verify_fails_when_one_byte_of_a_variable_was_changed(here, variable, says):
    flags = ["--roles=stats", "--layers=b1", "--out=c.keras"]
    ok(run("apply", *flags))
    assert "2 arrays" in ok(run("verify", *flags))
    change("c.keras", variable, "d.keras")
    no(run("verify", *flags[:2], "--out=d.keras"), says)


def test_verify_fails_on_a_byte_that_no_checksum_was_mended_for(here):
    plan = transplant.plan("a.keras", "b.keras", roles="stats")
    transplant.apply(plan, "a.keras", "b.keras", "c.keras")
    with checkpoints.open("c.keras") as out:
        start, _ = out.extent("backbone/c2/0")
    data = bytearray((here / "c.keras").read_bytes())
    data[start + 2] ^= 1
    (here / "c.keras").write_bytes(data)
    proof = transplant.verify(plan, "a.keras", "b.keras", "c.keras")
    assert proof.differences[0] == "backbone/c2:kernel is not the recipient's"
    assert "CRC" in proof.differences[1] and proof.checked == "damaged"


def test_verify_sees_optimizer_state_and_configuration_too(here):
    plan = transplant.plan("a.keras", "b.keras", roles="stats")
    transplant.apply(plan, "a.keras", "b.keras", "c.keras")

    def differences(layers, **options):
        handmade.write_keras(here / "other.keras", layers, **options)
        return transplant.verify(plan, "a.keras", "other.keras", "c.keras").differences

    def optimizer(file):
        file["optimizer/vars/0"][()] = 4

    layers = handmade.model(2)
    assert differences(layers) == ()
    weights = handmade.weights_h5(layers, optimizer)
    (found,) = differences(layers, weights=weights)
    assert "/optimizer/vars/0" in found
    text = json.dumps(handmade.config(layers, "renamed")).encode()
    (found,) = differences(layers, text=text)
    assert "config.json" in found

    def label(file):
        file["vars"].attrs["name"] = "renamed"

    weights = handmade.weights_h5(layers, label)
    (found,) = differences(layers, weights=weights)
    assert "attributes" in found


CHUNKED = "layers/conv2d/vars/0"  # the kernel of the head


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "shuffle": True},
        {"chunks": (1, 1, 1, 1), "compression": "gzip"},
        {"chunks": (1, 1, 1, 1)},
        {"chunks": (1, 1, 8, 2), "maxshape": (1, 1, None, 2)},
    ],
)
def test_arrays_in_chunks_stay_and_are_proven_to(here, ending, options):
    layers = handmade.model(2)
    layers[2] = handmade.conv(
        "head", (1, 1, 150, 2)
    )  # 300 chunks: an index of two levels
    changed = handmade.model(2)
    changed[2] = ("Conv2D", "head", *layers[2][2:3], [a.copy() for a in layers[2][3]])
    changed[2][3][0][0, 0, 100, 1] += 1

    def write(name, layers, **options):
        def repack(file):
            array = file[CHUNKED][()]
            del file[CHUNKED]
            file.create_dataset(CHUNKED, data=array, **options)

        weights = handmade.weights_h5(layers, repack)
        if ending == "keras":
            return handmade.write_keras(
                here / f"{name}.{ending}", layers, weights=weights
            )
        (here / f"{name}.{ending}").write_bytes(weights)
        return here / f"{name}.{ending}"

    recipient, out = write("r", layers, **options), here / f"c.{ending}"
    plan = transplant.plan("a.keras", recipient, roles="stats")
    transplant.apply(plan, "a.keras", recipient, out)
    proof = transplant.verify(plan, "a.keras", recipient, out).check()
    assert proof.moved == 4
    for other, says in (
        (write("other", changed, **options), f"/{CHUNKED} is not the recipient's"),
        (write("plain", layers), "head:kernel is stored in another way than"),
    ):
        with transplant.opened("a.keras", other) as pair, checkpoints.open(out) as made:
            (found,) = prove(plan, pair.donor, pair.recipient, made).differences
        assert found.startswith(says)
    head = transplant.plan(other, other, layers=["head"])  # `other` is in no chunks
    refusal = pytest.raises(InputError, match="no transplant writes such an array")
    with transplant.opened(other, recipient) as pair, refusal:
        prove(head, pair.donor, pair.recipient, pair.recipient)


def test_errors_of_missing_files_and_single_differences_read_well(here):
    ok(run("apply", "--roles=stats", "--out=c.keras"))
    done = run("verify", "--roles=stats", "--plan=no.json", "--out=c.keras")
    no(done, "--plan decides what moves")
    done = run("verify", "--plan=no.json", "--out=c.keras")
    no(done, "plan file no.json cannot be read: No such file or directory. Make")
    assert "Errno" not in done.stderr
    done = run("plan", "--map=no.map")
    no(done, "map file no.map cannot be read: No such file or directory.")
    assert "Errno" not in done.stderr
    ok(run("undo", "--out=c.keras"))
    no(
        run("undo", "--out=c.keras"),
        "nothing to undo",
        "no c.keras.undo beside c.keras",
    )


def test_undo_asks_for_a_recipient_that_moved_and_a_copy_needs_none(here):
    before = pathlib.Path("b.keras").read_bytes()
    assert "once it is overwritten" in ok(run("apply", "--out=c.keras"))
    assert "copy of the replaced values" in ok(
        run("apply", "--out=d.keras", "--undo=copy")
    )
    os.rename("b.keras", "moved.keras")
    ok(run("undo", "--out=d.keras"))
    asked = ("c.keras takes", "b.keras, which is no longer there", "--recipient=")
    no(run("undo", "--out=c.keras", "--recipient="), *asked)
    ok(run("undo", "--out=c.keras", "--recipient=moved.keras"))
    for name in ("c.keras", "d.keras"):
        assert pathlib.Path(name).read_bytes() == before


def test_a_proof_counts_its_differences_in_words():
    def message(*differences):
        with pytest.raises(InputError) as caught:
            Proof(1, 1, "crc32", None, differences).check()
        return str(caught.value)

    assert message("a.") == "1 difference from the plan: a. Apply the plan again."
    assert message("a", "b.").startswith("2 differences from the plan: a; b. Apply")


def test_verify_fails_for_another_selection(here):
    ok(run("apply", "--roles=stats", "--out=c.keras"))
    no(run("verify", "--roles=affine", "--out=c.keras"), "7 differences", "beta")
    no(run("verify", "--roles=stats", "--layers=b2", "--out=c.keras"), "b1")
    assert "names this plan" in ok(run("verify", "--roles=stats", "--out=c.keras"))
    again = [
        "--roles=stats",
        "--layers=b1,b2",
        "--out=c.keras",
    ]  # the same in other words
    assert "names another plan" in ok(run("verify", *again))
    with checkpoints.open("c.keras") as out:
        same = {"b2/1": out.read("b2/1")}
    for provenance in ({"plan": [1]}, [2]):  # the file may say anything
        checkpoints.write("c.keras", "d.keras", same, provenance)
        again = ok(run("verify", "--roles=stats", "--out=d.keras"))
        assert "names no plan" in again
        ok(run("info", "--model=d.keras"))


# --------------------------------------------------------------------------- plan files


def test_a_plan_file_is_obeyed_and_bound_to_what_both_files_held(here):
    ok(run("plan", "--roles=stats", "--plan=p.json"))
    ok(run("apply", "--plan=p.json", "--out=c.keras"))
    ok(run("verify", "--plan=p.json", "--out=c.keras"))
    ok(run("verify", "--roles=stats", "--out=c.keras"))
    no(run("apply", "--plan=p.json", "--roles=bn", "--out=d.keras"), "--roles")
    no(run("plan", "--roles=stats", "--plan=p.json"), "exists", "--overwrite")
    kept = listing(here)
    for file in ("a.keras", "b.keras"):
        change(file, "b2/1", "new.keras")
        os.replace("new.keras", file)
        no(run("apply", "--plan=p.json", "--out=d.keras"), file, "b2/1")
        (here / file).write_bytes(kept[file])
    change("a.keras", "head/0", "new.keras")  # which the plan does not mention
    os.replace("new.keras", "a.keras")
    ok(run("apply", "--plan=p.json", "--out=d.keras"))


def test_a_plan_that_was_edited_or_is_of_other_files_is_refused(here):
    plan = transplant.plan("a.keras", "b.keras", roles="stats")
    transplant.save(plan, "p.json", "a.keras", "b.keras")
    content = json.loads((here / "p.json").read_text())
    for text in ("{}", "[1]", "{", json.dumps({"plan": 3})):
        (here / "p.json").write_text(text)
        no(run("apply", "--plan=p.json", "--out=c.keras"), "plan")
    content["plan"]["layers"] = ["b2"]
    (here / "p.json").write_text(json.dumps(content))
    no(run("apply", "--plan=p.json", "--out=c.keras"), "changed after it was made")
    epsilon, head = handmade.model(2), handmade.model(2)
    epsilon[1][2]["epsilon"] = 0.5
    head[2] = handmade.conv("head", (1, 1, 5, 3))  # which the plan leaves alone
    for layers in (epsilon, head):
        handmade.write_keras(here / "b.keras", layers)
        with pytest.raises(InputError, match="not of these models"):
            transplant.apply(plan, "a.keras", "b.keras", "c.keras")
    assert not (here / "c.keras").exists()


# ---------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "verb, flags, words",
    [
        ("plan", ["--layers=stm*"], ["stm*", "stem"]),
        ("plan", ["--layers=backbone/*", "--stages=hed"], ["hed", "head"]),
        ("plan", ["--roles=kernal"], ["kernal", "kernel"]),
        ("plan", ["--roles=stats", "--layers=head"], ["nothing was selected"]),
        ("plan", ["--depth=1..0"], ["depth", "0..0.5"]),
        ("plan", ["--adapters=*=blur"], ["blur", "blend"]),
        ("plan", ["--adapters=*=align"], ["a.keras", "graph", ".keras"]),
        ("plan", ["--allow_missing=nobody"], ["nobody"]),
        ("plan", ["--donor=none.keras"], ["none.keras", "No such file"]),
        ("plan", ["--donor="], ["--donor"]),
        ("plan", ["--plan=p", "--out=q"], ["one file"]),
        ("apply", [], ["--out"]),
        ("apply", ["--out=a.keras"], ["is the input", "a.keras"]),
        ("apply", ["--out=b.keras", "--overwrite"], ["is the input", "b.keras"]),
        ("apply", ["--out=taken.keras"], ["taken.keras", "--overwrite"]),
        ("apply", ["--out=c.h5"], ["c.h5", ".keras"]),
        ("apply", ["--out=c.h5", "--dry_run"], ["c.h5", ".keras"]),
        ("verify", ["--out=none.keras"], ["none.keras"]),
        ("diff", ["--layers=nothing"], ["nothing"]),
        ("info", ["--model=none.keras"], ["none.keras"]),
        ("info", ["--model=."], ["the folder . holds 4 files of weights"]),
        ("info", ["--donor=a.keras"], ["--donor", "give the file as --model"]),
        ("plan", ["--donor=/", "--recipient=b.keras"], ["folder / holds no file"]),
        ("info", ["--model=junk.keras"], ["junk.keras"]),
        ("info", [], ["--model"]),
        ("undo", ["--out=b.keras"], ["b.keras.undo"]),
        ("undo", ["--out=b.keras", "--dry_run"], ["b.keras.undo"]),
        ("aply", [], ["aply", "apply"]),
        ("apply", ["now", "--out=c.keras"], ["now", "--name=value"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(here, verb, flags, words):
    (here / "taken.keras").write_text("mine")
    (here / "junk.keras").write_bytes(b"PK\3\4 junk")
    before = listing(here)
    no(run(verb, *flags), *words)
    assert listing(here) == before


ALL_VERBS = (*VERBS, "check")
PAIR = ("plan", "apply", "verify", "diff")
FOR = {
    ("--donor=a.keras", "--roles=stats", "--stages=c1", "--depth=0..0.5"): PAIR,
    ("--map=m", "--adapters=*=zero", "--allow_unused=c1"): PAIR,
    ("--allow_missing=c1",): PAIR,
    ("--recipient=b.keras",): (*PAIR, "undo"),
    ("--layers=c1",): (*PAIR, "check"),
    ("--out=c.keras",): ("plan", "apply", "verify", "undo"),
    ("--alpha=0.5", "--channels=c.json", "--plan=p.json"): ("plan", "apply", "verify"),
    ("--dry_run",): ("plan", "apply", "undo"),
    ("--overwrite",): ("plan", "apply"),
    ("--nocrc", "--undo=copy"): ("apply",),
    ("--model=a.keras",): ("info", "check"),
    ("--download",): (*PAIR, "info"),
    ("--images=photos", "--pixels=caffe", "--out_dir=d", "--most_images=3"): ("check",),
    ("--image_size=8,8", "--background=ff0000", "--intensity_range=0,9"): ("check",),
}


@pytest.mark.parametrize("verb", ALL_VERBS)
def test_a_flag_that_the_verb_would_ignore_is_refused(verb):
    for names, verbs in FOR.items():
        for flag in names:
            refusal = f"{verb} takes no {flag.partition('=')[0]}, which is for"
            done = tool("transplant", verb, flag)
            if verb in verbs:
                assert refusal not in done.stderr, flag
            else:
                no(done, f"{refusal} {', '.join(verbs)}; ")
                wanted = flag.endswith(".keras") and verb in ("info", "check")
                assert ("as --model." in done.stderr) == wanted
                assert ("leave it out." in done.stderr) != wanted


def test_each_flag_of_the_tool_is_for_all_verbs_or_some(here):
    flags = {flag.partition("=")[0] for names in FOR for flag in names}
    known = {flag.removeprefix("--").removeprefix("no") for flag in flags}
    shown = run("info", "--helpshort").stdout
    named = {*re.findall(r"^  --(?:\[no\])?(\w+):", shown, re.MULTILINE)}
    assert named == {*known, "json", "debug"}


def test_a_verb_is_asked_for():
    no(tool("transplant"), *VERBS)


def test_what_is_selected_and_has_no_place_is_a_failure_until_it_is_allowed(here):
    layers = handmade.model(1)
    handmade.write_keras(here / "a.keras", layers[:2])  # without the head
    done = run("plan", "--plan=p.json")
    assert "MISSING: head:kernel" in done.stdout
    no(done, "head:kernel MISSING")
    no(run("plan"), "head:kernel MISSING")
    assert not (here / "p.json").exists()
    no(run("apply", "--out=c.keras"), "MISSING")
    with pytest.raises(InputError, match="MISSING"):
        transplant.apply(
            transplant.plan("a.keras", "b.keras"), "a.keras", "b.keras", "c.keras"
        )
    no(run("diff"), "MISSING")
    assert sorted(listing(here)) == ["a.keras", "b.keras"]
    ok(run("apply", "--allow_missing=head", "--out=c.keras"))
    ok(run("diff", "--layers=!head"))


@pytest.mark.parametrize("value, says", [(np.nan, "not finite"), (-1, "below zero")])
def test_a_donor_of_impossible_values_is_refused_in_a_dry_run_too(here, value, says):
    layers = handmade.model(1)
    layers[1][3][-1][0] = value
    handmade.write_keras(here / "a.keras", layers)
    before = listing(here)
    for dry in ([], ["--dry_run"]):
        no(run("apply", "--roles=stats", "--out=c.keras", *dry), "b2", says)
    assert listing(here) == before
    assert says in ok(run("info", "--model=a.keras")).replace("\n", " ")


def test_a_dry_run_checks_and_writes_nothing(here):
    ok(run("apply", "--roles=stats", "--out=c.keras"))
    before = listing(here)
    assert "not written" in ok(run("plan", "--plan=p.json", "--dry_run"))
    assert "nothing" in ok(run("apply", "--out=d.keras", "--dry_run"))
    assert "would be" in ok(run("undo", "--out=c.keras", "--dry_run"))
    assert listing(here) == before


def test_an_output_that_exists_is_refused_before_a_plan_is_made(here):
    ok(run("apply", "--roles=stats", "--out=c.keras"))
    before = listing(here)
    for flags in ([], ["--dry_run"]):
        done = run("apply", "--out=c.keras", *flags)
        no(done, "c.keras exists already", "--overwrite")
        assert done.stdout == ""
    assert listing(here) == before


def test_a_damaged_donor_is_found_by_its_checksum_before_anything_is_written(here):
    with checkpoints.open("a.keras") as donor:
        start, _ = donor.extent("head/0")  # not even selected
    data = bytearray((here / "a.keras").read_bytes())
    data[start] ^= 1
    (here / "a.keras").write_bytes(data)
    for dry in ([], ["--dry_run"]):
        no(run("apply", "--roles=stats", "--out=c.keras", *dry), "CRC")
    assert not (here / "c.keras").exists()
    shown = ok(run("apply", "--roles=stats", "--out=c.keras", "--nocrc"))
    assert "a.keras unverified" in shown


# ------------------------------------------------------------------------- diff and info


def test_diff_tells_how_far_apart_two_files_are(here):
    rows = json.loads(ok(run("diff", "--json")))["rows"]
    (head,) = [r for r in rows if (r["stage"], r["role"]) == ("head", "kernel")]
    assert head["identical"] == head["variables"] == 1 and head["rmse"] == 0
    (row,) = [r for r in rows if (r["stage"], r["role"]) == ("b", "moving_mean")]
    a, b = (
        np.concatenate([values(f)[p] for p in ("backbone/stem/b1/2", "b2/1")])
        for f in ("a.keras", "b.keras")
    )
    assert row["max_abs"] == pytest.approx(np.abs(a - b).max())
    assert row["relative_l2"] == pytest.approx(
        np.linalg.norm(a - b) / np.linalg.norm(b)
    )
    assert "total" in ok(run("diff"))


def test_info_lists_what_a_transplant_cannot_address(here):
    found = json.loads(ok(run("info", "--model=b.keras", "--json")))
    assert found["checked"] == "crc32" and found["variables"] == 12
    assert [s["stage"] for s in found["stages"]] == ["c", "b", "head"]
    (line,) = found["doctor"]
    assert line.startswith("optimizer: 1 arrays")
    handmade.write_weights(here / "b.weights.h5", handmade.model(2))
    shown = ok(run("info", "--model=b.weights.h5"))
    for words in ("unverified", "unknown role: b2/0", "no graph", "no settings"):
        assert words in shown
    layers = [("Special", "odd", {}, [np.ones(3, "<f4")]), *handmade.model(2)]
    layers.append(handmade.conv("conv2d_7", (1, 1, 2, 2)))
    handmade.write_keras(here / "odd.keras", layers)
    shown = ok(run("info", "--model=odd.keras"))
    assert "class Special" in shown and "conv2d_7" in shown


def test_info_lists_the_steps_that_made_a_file(here):
    ok(run("apply", "--roles=stats", "--out=one.keras"))
    flags = ("--recipient=one.keras", "--roles=kernel", "--out=two.keras")
    ok(run("apply", *flags))
    shown = ok(run("info", "--model=two.keras")).splitlines()
    first, second = [line for line in shown if line.startswith("written by tfreuse")]
    assert first.startswith("written by tfreuse: b.keras with variables of a.keras")
    assert second.startswith("written by tfreuse: one.keras with variables of a.keras")


# ------------------------------------------------------------------------------- startup


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_answers_at_once_and_never_loads_tensorflow(here, verb):
    transplant.apply(
        transplant.plan("a.keras", "b.keras"), "a.keras", "b.keras", "c.keras"
    )
    code = (
        "import sys\n"
        "from tfreuse.cli import transplant\n"
        "try:\n"
        "    transplant.run()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'tensorflow', 'keras', 'scipy', 'matplotlib'} & {*sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    flags = ["--donor=a.keras", "--recipient=b.keras"]
    flags = {"info": ["--model=a.keras"], "undo": []}.get(verb, flags)
    if verb not in ("plan", "diff", "info"):
        flags = [*flags, f"--out={'d' if verb == 'apply' else 'c'}.keras"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, verb, *flags], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert seconds < 2.5  # of the CPU: 0.3 on a quiet machine
