"""Studies of networks that exist: the values of plain Keras, pairs as seeds, and refusals."""

import dataclasses
import json
import re

import commands
import keras
import numpy as np
import pairs_of_networks
import people
import pytest
from keras import layers
from PIL import Image

from tfreuse import data, models, records, roles, study, transplant
from tfreuse.errors import InputError
from tfreuse.runners.unit import Output, carry_out
from tfreuse.specs import DataSpec, GivenSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.study import checks, given, work

STUDY = StudySpec(
    groups=("kernel", "stats", "all"),
    sites=("stage", "all"),
    repairs=("none",),
    draws=1,
    fold_batch_norm=False,
    calibration_examples=8,
)


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """A folder of r.keras, donors and DATA, whose masks are what r.keras gives."""
    folder = tmp_path_factory.mktemp("nets")
    model, images, labels = pairs_of_networks.recipient()
    for split, some in (("train", slice(8)), ("test", slice(None))):
        for kind, arrays in (("images", images * 255), ("masks", labels)):
            place = folder / "DATA" / split / kind
            place.mkdir(parents=True)
            for number, array in enumerate(arrays[some]):
                picture = Image.fromarray(np.round(array).astype(np.uint8))
                picture.save(place / f"{number:03}.png")
    model.save(folder / "r.keras")
    for number, name in enumerate(("a.keras", "b.weights.h5", "c.keras")):
        donor = pairs_of_networks.noisy(model, number)
        save = donor.save if name.endswith(".keras") else donor.save_weights
        save(folder / name)
    return folder


@pytest.fixture(scope="module")
def data_spec(nets):
    return DataSpec(
        dataset="folder",
        data_dir=str(nets / "DATA"),
        image_size=(16, 16),
        num_classes=3,
    )


def specs_of(data_spec, networks, spec=STUDY):
    settings = given.settings(networks, spec, ModelSpec(), TrainSpec(), {})
    return study.Specs(data=data_spec, **settings)


def networks_of(folder, *donors, recipient="r.keras", task="segmentation", **options):
    names = tuple(str(folder / donor) for donor in donors)
    return GivenSpec(str(folder / recipient), names, task=task, **options)


def run(specs, out_dir):
    """Runs the units of a study in this process up to the first failure; returns it."""
    failures = (carry_out(unit, out_dir, 0) for unit in work.plan(specs, out_dir))
    return next(filter(None, failures), None)


def records_in(out_dir):
    logs = sorted(out_dir.glob("units/*/records.jsonl"))
    return [record for log in logs for record in records.read(log)]


@pytest.fixture(scope="module")
def measured(nets, data_spec, tmp_path_factory):
    """The records of a study that was stopped among its arms, and went on."""
    out_dir = tmp_path_factory.mktemp("given")
    specs = specs_of(data_spec, networks_of(nets, "a.keras", "b.weights.h5"))
    written = 0

    def stop_after_seven(output, record, per_image=None):
        nonlocal written
        written += 1
        if written > 7:
            raise OSError("stopped")
        plain(output, record, per_image)

    plain = Output.record
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "record", stop_after_seven)
        assert run(specs, out_dir).message == "stopped"
    first = records_in(out_dir)
    assert len(first) == 7
    assert run(specs, out_dir) is None
    every = records_in(out_dir)
    assert [r for r in every if r.direction == first[0].direction][:7] == first
    assert len({record.key for record in every}) == len(every)
    return specs, every


def test_a_study_of_networks_that_exist_trains_none(measured, tmp_path):
    specs, _ = measured
    names = [unit.name for unit in work.plan(specs, tmp_path)]
    assert names == [
        "read recipient-0", "read a-0", "read b-0",
        "measure a-to-segmentation-0", "measure b-to-segmentation-0",
    ]  # fmt: skip
    assert specs.study.controls == ("self", "reinitialised", "defaults", "angle")


def test_an_arm_is_what_plain_keras_gives_with_the_weights_set_by_hand(
    measured, nets, data_spec
):
    _, every = measured
    tensors = data.load(data_spec, "test").tensors
    images, masks = tensors["image"].numpy() / 255, tensors["mask"].numpy()
    model = keras.models.load_model(nets / "r.keras", compile=False)
    start, donor = model.get_weights(), people.own_names()
    compared = 0
    for name in ("a.keras", "b.weights.h5"):
        donor.load_weights(nets / name)
        for record in every:
            if record.control != "transfer" or record.direction[0] != name[0]:
                continue
            model.set_weights(start)
            for layer in pairs_of_networks.STAGES[record.site]:
                pairs = (m.get_layer(layer).weights for m in (model, donor))
                for variable, value in zip(*pairs, strict=True):
                    if variable.name in roles.expand(record.group):
                        variable.assign(value)
            predicted = model(images, training=False).numpy().argmax(-1)
            confusion = np.zeros((3, 3), int)
            np.add.at(confusion, (masks.ravel(), predicted.ravel()), 1)
            assert record.counts["confusion_matrix"] == confusion.tolist(), record.key
            compared += 1
    assert compared == 2 * 4 * 3  # donors, sites, groups
    copies = [r for r in every if r.control == "self"]
    assert copies and all(record.after == record.before == 1 for record in copies)


def test_pairs_count_as_seeds_and_other_seed_is_another_pairs_recipient(
    nets, data_spec, tmp_path
):
    lines = [f"{nets / 'r.keras'} {nets / 'a.keras'}  # the first",
             f"{nets / 'c.keras'} {nets / 'b.weights.h5'}"]  # fmt: skip
    (tmp_path / "pairs.txt").write_text("\n".join(lines))
    (tmp_path / "pairs.json").write_text(
        json.dumps([line.split()[:2] for line in lines])
    )
    spec = dataclasses.replace(
        STUDY, groups=("all",), sites=("all",), controls=("self", "other_seed")
    )
    of_lines, of_json = (
        specs_of(
            data_spec, GivenSpec(pairs=str(tmp_path / name), task="segmentation"), spec
        )
        for name in ("pairs.txt", "pairs.json")
    )
    assert of_lines.given.files == of_json.given.files
    assert run(of_lines, tmp_path) is None
    every = {(r.control, r.seed): r for r in records_in(tmp_path)}
    assert len(every) == 2 * 3
    assert every["other_seed", 0].donor == "recipient-1"
    # all parameters of the other recipient but the head's
    assert every["other_seed", 0].recipient == "recipient-0"
    assert every["self", 0].before == 1 > every["self", 1].before
    assert every["transfer", 1].direction == "donor-to-segmentation"


def test_another_file_of_the_same_name_is_another_study(nets, data_spec, tmp_path):
    for name in ("r.keras", "a.keras"):
        (tmp_path / name).write_bytes((nets / name).read_bytes())
    before = specs_of(data_spec, networks_of(tmp_path, "a.keras"))
    again = specs_of(data_spec, networks_of(tmp_path, "a.keras"))
    (tmp_path / "a.keras").write_bytes((nets / "c.keras").read_bytes())
    changed = specs_of(data_spec, networks_of(tmp_path, "a.keras"))
    assert before.digest == again.digest != changed.digest


@pytest.fixture(scope="module")
def misfits(nets):
    """Networks that do not fit: other sizes of output, other layers, no biases."""
    people.own_names(classes=5).save(nets / "five.keras")
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(3, 3, strides=2, padding="same", name="half")(x)
    keras.Model(inputs, x).save(nets / "half.keras")
    x = layers.Conv2D(7, 5, use_bias=False, name="other")(inputs)
    keras.Model(inputs, x).save(nets / "other.keras")
    model = keras.models.load_model(nets / "r.keras", compile=False)
    inputs = keras.Input((16, 16, 3))
    encoder = model.get_layer("two_relu").output
    keras.Model(model.input, encoder).save(nets / "encoder.keras")
    return nets


@pytest.mark.parametrize(
    ("recipient", "donor", "message"),
    [
        ("five.keras", "a.keras", r"5 values a pixel, and the classes .* are 3"),
        ("half.keras", "a.keras", r"does not fit images of 16 x 16 pixels"),
        ("r.keras", "other.keras", r"does not fit the recipient in .* another donor"),
        (
            "r.keras",
            "encoder.keras",
            r"three_conv:kernel MISSING.*--layers='\*,!three_\*'",
        ),
    ],
)
def test_networks_that_do_not_fit_are_refused_by_name_before_any_work(
    recipient, donor, message, misfits, data_spec
):
    specs = specs_of(data_spec, networks_of(misfits, donor, recipient=recipient))
    with pytest.raises(InputError, match=message) as caught:
        checks.check_here(specs)
    assert "\n" not in str(caught.value)


def test_a_bias_that_the_donor_has_not_is_zero():
    donor = models.unet(width=2, depth=1, use_bias=False)
    recipient = models.unet(width=2, depth=1)
    for layer in recipient.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.ones(layer.bias.shape))
    with transplant.opened(donor, recipient) as pair:
        plan = pair.filled(pair.plan())
        assert not plan.problems
        pair.apply(plan)
    assert not any(np.any(w) for w in recipient.weights if w.name == "bias")


def test_a_donor_of_some_layers_is_measured_at_these(misfits, data_spec, tmp_path):
    networks = networks_of(misfits, "encoder.keras", layers=("*", "!three_*"))
    spec = dataclasses.replace(STUDY, groups=("all",), controls=("self",))
    specs = specs_of(data_spec, networks, spec)
    assert run(specs, tmp_path) is None
    every = records_in(tmp_path)
    assert {r.site for r in every} == {"all", "encoder_1", "encoder_2"}
    for record in every:  # they are the recipient's own first layers
        assert (record.changed, record.after) == (0, record.before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipient={r}"], "--donors is not given"),
        (["--recipient={r}", "--donors={a}"], "type --task=segmentation or --task="),
        (
            ["--recipient={r}", "--donors={a}", "--task=segmentation",
             "--controls=self,other_seed"],
            "other_seed needs a second network .* give --pairs; type --controls=self",
        ),
        (
            ["--recipient={r}", "--donors={a}", "--task=segmentation",
             "--controls=self,scrambled"],
            "scrambled needs a network trained on scrambled images",
        ),
        (
            ["--recipient={r}", "--donors={a}", "--task=segmentation", "--links=same"],
            "--links is of networks that a study trains",
        ),
        (
            ["--recipient={r}", "--donors={a},{a}", "--task=segmentation"],
            "names .*a.keras twice",
        ),
        (["--recipient={r}", "--donors={a}.txt"], "a.keras.txt cannot be read: No such file"),
        (["--pairs={r}"], "cannot be read"),
        (["--task=autoencoder"], "--task is of networks that exist"),
        (["--seeds=1"], "--seeds takes at least 2; got 1"),
        (["--directions=a-to-segmentation"], "--directions takes one of"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_measured_are_refused_in_one_line(
    words, message, nets, data_spec, tmp_path
):
    paths = {name: nets / f"{name}.keras" for name in "ra"}
    done = commands.run(
        "study", *(word.format(**paths) for word in words), "--dataset=folder",
        f"--data_dir={data_spec.data_dir}", "--image_size=16,16",
        f"--out_dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "out").exists()
