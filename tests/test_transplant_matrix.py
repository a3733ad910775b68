"""From a model or a file into a model or a file: the same plan, values, proof and errors."""

import copy
import itertools

import keras
import nets
import numpy as np
import pytest
from keras import layers

from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError

SIDES = list(itertools.product(("model", "file"), repeat=2))
every_side = pytest.mark.parametrize("sides", SIDES, ids="-to-".join)


def net(seed, channels=3, dtype=None, classes=2):
    inputs = keras.Input((8, 8, channels))
    x = layers.Conv2D(4, 3, padding="same", name="stem", dtype=dtype)(inputs)
    x = layers.BatchNormalization(name="stem_bn", dtype=dtype)(x)
    x = layers.Conv2D(5, 3, padding="same", name="body", dtype=dtype)(x)
    x = layers.BatchNormalization(name="body_bn", dtype=dtype)(x)
    x = layers.Conv2D(classes, 1, name="head", dtype=dtype)(x)
    return nets.scrambled(keras.Model(inputs, x, name="net"), seed)


class Pair:
    """A donor and a recipient, each as a model and as a file of it."""

    def __init__(self, folder, donor, recipient):
        self.models = {"donor": donor, "recipient": recipient}
        self.folder = folder
        for name, model in self.models.items():
            model.save(folder / f"{name}.keras")

    def sides(self, kinds):
        """Donor and recipient, each of its kind: "model" or "file"."""
        return [
            self.models[name] if kind == "model" else str(self.folder / f"{name}.keras")
            for name, kind in zip(("donor", "recipient"), kinds, strict=True)
        ]

    def moved(self, plan, kinds):
        """Values after the transplant, which is proven and undone again."""
        donor, recipient = self.sides(kinds)
        if kinds[1] == "file":
            out = self.folder / "out.keras"
            transplant.apply(plan, donor, recipient, out, overwrite=True)
            values = file_values(out)
            transplant.verify(plan, donor, recipient, out).check()
            transplant.undo(out)
            assert out.read_bytes() == (self.folder / "recipient.keras").read_bytes()
            return values
        before = transplant.values(recipient)
        displaced = transplant.apply(plan, donor, recipient)
        values = transplant.values(recipient)
        proof = transplant.verify(plan, donor, before, recipient).check()
        assert (proof.moved, proof.kept) == (len(displaced), len(before) - proof.moved)
        transplant.undo(displaced, recipient)
        assert in_bytes(transplant.values(recipient)) == in_bytes(before)
        return values


def file_values(path):
    with checkpoints.open(path) as file:
        return {v.path: file.read(v) for v in file.variables}


def in_bytes(values):
    return {path: value.tobytes() for path, value in values.items()}


CASES = {
    "all": (net, net, {}),
    "some": (net, net, {"roles": "stats,bias", "layers": ["!head"]}),
    "map": (net, net, {"layers": ["stem"], "mapping": {"stem": "stem"}}),
    "blend": (net, net, {"adapters": ["*=blend:0.25"]}),
    "align": (net, net, {"roles": "bn", "adapters": ["*=align"]}),
    "align and blend": (net, net, {"adapters": ["*=align", "body=blend:0.5"]}),
    "slice": (lambda s: net(s, 5), net, {"adapters": ["stem=channels:slice"]}),
    "pad": (net, lambda s: net(s, 5), {"adapters": ["stem=channels:pad"]}),
    "mean": (net, lambda s: net(s, 1), {"adapters": ["stem=channels:mean"]}),
    "cast": (net, lambda s: net(s, dtype="float16"), {"adapters": ["*=cast"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_and_its_values_are_the_same_whatever_holds_the_models(case, tmp_path):
    donor, recipient, options = CASES[case]
    pair = Pair(tmp_path, donor(1), recipient(2))
    before = in_bytes(transplant.values(pair.models["recipient"]))
    plans, values = [], []
    for kinds in SIDES:
        plans.append(transplant.plan(*pair.sides(kinds), **options).check())
        values.append(in_bytes(pair.moved(plans[-1], kinds)))
    assert len({plan.hash for plan in plans}) == 1
    assert all(plan == plans[0] for plan in plans)
    assert all(value == values[0] for value in values) and values[0] != before
    # a plan that was made of the files serves the models too
    assert in_bytes(pair.moved(plans[-1], ("model", "model"))) == values[0]


@every_side
def test_equal_values_are_marked_and_plan_files_serve_all(sides, tmp_path):
    pair = Pair(tmp_path, net(1), net(1))
    donor, recipient = pair.sides(sides)
    pair.models["recipient"].get_layer("body").bias.assign(np.zeros(5))
    pair.models["recipient"].save(tmp_path / "recipient.keras")
    plan = transplant.plan(donor, recipient)
    different = [str(e.variable) for e in plan.copies if e.status == "COPY"]
    assert different == ["body:bias"] and len(plan.copies) == 14
    transplant.save(plan, tmp_path / "plan.json", donor, recipient)
    assert transplant.load(tmp_path / "plan.json", *pair.sides(sides[::-1])) == plan
    _, rows = transplant.diff(donor, recipient)
    assert sum(row.variables - row.identical for row in rows) == 1


def spoilt(role, value):
    model = net(1)
    index = {"bias": 1, "moving_variance": 3}[role]
    layer = model.get_layer("body" if role == "bias" else "body_bn")
    layer.weights[index].assign(np.full(5, value))
    return model


FAULTS = {
    "pattern": (net(1), {"layers": ["bodi"]}, "nearest: ['body'"),
    "nothing": (net(1), {"layers": ["head"], "roles": "stats"}, "nothing was selected"),
    "mismatch": (net(1, classes=4), {}, "head:kernel MISMATCH"),
    "adapter": (net(1), {"adapters": ["*=blend:2"]}, "blend:A"),
    "idle adapter": (net(1), {"adapters": ["*=cast"]}, "changes nothing"),
    "NaN": (spoilt("bias", np.nan), {"roles": "bias"}, "body:bias has values that are"),
    "NaN, blended": (
        spoilt("bias", np.nan),
        {"roles": "bias", "adapters": ["body=blend:0.5"]},
        "body:bias has values that are",
    ),
    "NaN, aligned": (spoilt("bias", np.inf), {"adapters": ["*=align"]}, "not finite"),
    "variance": (spoilt("moving_variance", -1), {"roles": "stats"}, "below zero"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_are_the_same_and_change_nothing(fault, tmp_path):
    donor, options, text = FAULTS[fault]
    pair = Pair(tmp_path, donor, net(2))
    before = in_bytes(transplant.values(pair.models["recipient"]))
    texts = set()
    for kinds in SIDES:
        sides = pair.sides(kinds)
        out = [tmp_path / "out.keras"] if kinds[1] == "file" else []
        with pytest.raises(InputError) as error:
            transplant.apply(transplant.plan(*sides, **options), *sides, *out)
        texts.add(str(error.value))
    assert len(texts) == 1 and text in texts.pop()
    assert in_bytes(transplant.values(pair.models["recipient"])) == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "donor.keras",
        "recipient.keras",
    }


@every_side
def test_a_dry_run_checks_and_writes_nothing(sides, tmp_path):
    pair = Pair(tmp_path, net(1), net(2))
    donor, recipient = pair.sides(sides)
    plan = transplant.plan(donor, recipient)
    before = in_bytes(transplant.values(pair.models["recipient"]))
    out = [tmp_path / "out.keras"] if sides[1] == "file" else []
    transplant.apply(plan, donor, recipient, *out, dry_run=True)
    assert in_bytes(transplant.values(pair.models["recipient"])) == before
    assert not (tmp_path / "out.keras").exists()


@pytest.mark.parametrize("kind", ["model", "file"])
def test_a_proof_of_a_live_model_finds_each_kind_of_difference(kind, tmp_path):
    pair = Pair(tmp_path, net(1), net(2))
    donor, model = pair.sides((kind, "model"))
    plan = transplant.plan(donor, model, roles="kernel")
    before = transplant.values(model)

    def differences(donor=donor, before=before):
        return transplant.verify(plan, donor, before, model).differences

    assert len(differences()) == 3  # nothing was moved yet
    displaced = transplant.apply(plan, donor, model)
    assert differences() == ()
    assert differences(before=str(tmp_path / "recipient.keras")) == ()
    assert len(differences(donor=transplant.values(net(3)))) == 3
    model.get_layer("head").bias.assign([7, 7])
    assert differences() == ("head:bias is not the recipient's",)
    model.get_layer("stem").kernel.assign(np.ones((3, 3, 3, 4)))
    assert "stem:kernel is not the donor's" in differences()
    with pytest.raises(InputError, match="2 differences from the plan"):
        transplant.verify(plan, donor, before, model).check()
    with pytest.raises(InputError, match="Keep transplant.values"):
        differences(before=displaced)
    with pytest.raises(InputError, match="not of these models"):
        transplant.verify(plan, net(1, classes=4), before, model)


def test_arguments_that_do_not_fit_a_side_are_refused(tmp_path):
    pair = Pair(tmp_path, net(1), net(2))
    donor, file = pair.sides(("model", "file"))
    model = pair.models["recipient"]
    plan = transplant.plan(donor, file)
    for arguments, text in (
        ((plan, donor, file), "give out="),
        ((plan, donor, model, "out.keras"), "changed in place"),
        ((plan, 7, model), "a keras.Model or the path"),
    ):
        with pytest.raises(InputError, match=text):
            transplant.apply(*arguments)
    with pytest.raises(InputError, match="optimizer state in a file"):
        transplant.apply(plan, donor, file, tmp_path / "c.keras", optimizer="drop")
    for options in ({"overwrite": True}, {"crc": False}):
        with pytest.raises(InputError, match="a recipient that is a file"):
            transplant.apply(plan, donor, model, **options)
    for function in (transplant.apply, transplant.verify):
        with pytest.raises(InputError, match="read by transplant.load.*got a str"):
            function("p.json", donor, file, "out.keras")
    with pytest.raises(InputError, match="needs the model"):
        transplant.undo(transplant.values(model))
    with pytest.raises(InputError, match="path of a file that apply wrote"):
        transplant.undo(model)
    with pytest.raises(InputError, match="for a file, leave the model away"):
        transplant.undo("x.keras", model)


def test_a_model_compared_with_itself_as_it_is_now_is_no_proof(tmp_path):
    donor, model = net(1), net(2)
    plan = transplant.plan(donor, model)
    transplant.apply(plan, donor, model)
    with pytest.raises(
        InputError, match=r"proves nothing; keep transplant.values\(model"
    ):
        transplant.verify(plan, donor, model, model)


def test_displaced_values_go_back_only_to_their_own_model():
    donor, model, other = net(1), net(2), net(3)
    before, untouched = transplant.values(model), transplant.values(other)
    displaced = transplant.apply(transplant.plan(donor, model), donor, model)
    with pytest.raises(InputError, match="displaced from another model"):
        transplant.undo(displaced, other)
    assert_equal(transplant.values(other), untouched)
    transplant.undo(copy.deepcopy(displaced), other)  # a copy belongs to no model
    assert_equal(transplant.values(other), before)
    transplant.undo(displaced, model)
    assert_equal(transplant.values(model), before)
    transplant.undo(untouched, model)  # a plain mapping
    assert_equal(transplant.values(model), untouched)


def assert_equal(values, expected):
    assert values.keys() == expected.keys()
    for path, value in values.items():
        np.testing.assert_array_equal(value, expected[path])


def test_a_model_and_its_file_are_described_alike(tmp_path):
    pair = Pair(tmp_path, net(1), net(2))
    model, file = pair.sides(("model", "file"))[0], pair.sides(("file", "file"))[0]
    live, stored = transplant.info(model), transplant.info(file)
    same = ("layers", "variables", "parameters", "bytes", "stages", "doctor")
    assert [live[key] for key in same] == [stored[key] for key in same]
    assert transplant.index(model) == transplant.index(file)
    assert transplant.ties(model) == transplant.ties(file)
    assert "model 'net': live" in live["text"]
