"""Label curves of a study: their plan, the choice of rates, and going on after a kill."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import time

import commands
import keras
import numpy as np
import pytest

from benchmarks import challenge
from tfreuse import (
    data,
    files,
    records,
    runtime,
    study,
    transplant,
)
from tfreuse.analysis import metrics
from tfreuse.errors import InputError
from tfreuse.few_labels.recipes import CATALOGUE
from tfreuse.runners import Cache
from tfreuse.specs import DataSpec, ModelSpec, StudySpec, TrainSpec
from tfreuse.specs.labels import LabelSpec
from tfreuse.study import labels

LABELS = LabelSpec(
    label_counts=(4, 12, 0),
    recipes=("scratch", "encoder"),
    label_donors=("masked",),
    label_steps=6,
    learning_rates=(0.01, 0.001),
)
MODEL = ModelSpec(width=3, depth=1)
TRAIN = TrainSpec(steps=8, batch_size=4, learning_rate=0.01, validations=1)


def specs_of(root="", **changes):
    return study.Specs(
        StudySpec(seeds=2, directions=(), calibration_examples=16),
        DataSpec(dataset="folder", data_dir=str(root), image_size=(16, 16)),
        MODEL,
        TRAIN,
        dataclasses.replace(LABELS, **changes),
    )


# --- the plan


def test_a_study_without_curves_is_the_study_that_it_was_before_there_were_any():
    plain = study.Specs(StudySpec(), DataSpec(), MODEL, TRAIN)
    assert list(plain.named()) == ["study", "data", "model", "train"]
    assert plain.curves() == []
    changed = dataclasses.replace(plain, labels=LabelSpec(label_steps=5))
    assert changed.digest == plain.digest
    assert dataclasses.replace(plain, labels=LABELS).digest != plain.digest


def test_a_study_of_nothing_is_refused():
    with pytest.raises(InputError, match="nothing to study"):
        study.Specs(StudySpec(directions=()), DataSpec(), MODEL, TRAIN)


def test_curves_need_their_donors(tmp_path):
    specs = specs_of()
    assert list(specs.networks()) == ["masked-0", "masked-1"]
    units = study.plan(specs, tmp_path)
    assert [unit.name for unit in units] == [
        "train masked-0", "train masked-1", "measure labels-0", "measure labels-1",
    ]  # fmt: skip
    assert units[2].needs == ("train masked-0",)
    first, second = specs.curves()
    assert first.arms() == [
        ("unet", donor, recipe, "0", count)
        for count in ("4", "12", "0")  # 0 is all, the most
        for donor, recipe in (("", "scratch"), ("masked", "encoder"))
    ]
    assert units[3].spec["owner"] == list(second.owner) == ["unet", "1"]


def test_a_fit_shares_its_initial_values_with_no_network_of_the_study():
    specs = dataclasses.replace(
        specs_of(), study=StudySpec(seeds=9, directions=("masked-to-segmentation",))
    )
    seeds = [network.first_seed for network in specs.networks().values()]
    fits = [curve.train.seed for curve in specs.curves()]
    assert not set(seeds) & set(fits) and len(set(fits)) == 9


def test_the_plan_is_told_in_a_line():
    text = specs_of().describe()
    assert "2 sets of label curves: 4, 12, all labels; recipes scratch, encoder" in text
    assert "blocks" not in text


def test_fits_compute_in_bfloat16_where_trainings_do():
    train = dataclasses.replace(TRAIN, mixed_precision=True)
    (curve, _) = dataclasses.replace(specs_of(), train=train).curves()
    model = labels.make_fitter(curve, 3, np.zeros((1, 16, 16, 3), np.float32)).model
    layer = model.get_layer("encoder_1_a_conv")
    assert (layer.compute_dtype, layer.variable_dtype) == ("bfloat16", "float32")


# --- one replicate


@pytest.fixture(scope="module")
def replicate(scenes, tmp_path_factory):
    specs = specs_of(scenes)
    curve = specs.curves()[0]
    models_dir = tmp_path_factory.mktemp("models")
    from tfreuse import training

    (network,) = curve.donors.values()
    folder = models_dir / network.name
    folder.mkdir()
    training.train(network.model, specs.data, network.train, folder)
    return labels.load(curve, models_dir)


@pytest.fixture(scope="module")
def measured(replicate):
    return {
        (recipe, asked): labels.measure_arm(replicate, donor, recipe, asked)
        for donor, recipe in LABELS.arms()
        for asked in (4, 12, 0)
    }


def test_all_arms_learn_from_the_same_images(replicate, measured):
    for asked, count in ((4, 4), (12, 12), (0, 32)):
        arms = [measured[recipe, asked] for recipe in LABELS.recipes]
        assert len({record.subset for record in arms}) == 1
        assert {record.labels for record in arms} == {count}
    assert list(replicate.subsets[4]) == list(replicate.subsets[12][:4])


def test_a_record_tells_what_was_measured_and_how(measured):
    record = measured["encoder", 12]
    assert (record.donor, record.steps, record.images, record.metric) == (
        "masked",
        6,
        8,
        "mean_iou",
    )
    assert [step for step, _ in record.course] == [1, 2, 3, 6]
    assert record.course[-1][1] == record.value > 0
    assert np.sum(record.counts["confusion_matrix"]) == 8 * 16 * 16
    assert measured["scratch", 12].donor_digest == "" != record.donor_digest


def test_the_rate_is_chosen_by_the_labels_alone(replicate, measured, monkeypatch):
    assert measured["encoder", 4].tried == {}  # too few to hold any out
    assert measured["encoder", 4].learning_rate == LABELS.learning_rates[0]
    record = measured["encoder", 12]
    assert set(record.tried) == {"0.01", "0.001"}
    assert record.tried[f"{record.learning_rate:g}"] == max(record.tried.values())

    def peek():
        raise AssertionError("the test images were looked at")

    monkeypatch.setattr(replicate, "evaluate", peek)
    monkeypatch.setattr(replicate.fitter, "donor", replicate.donors["masked"])
    rate, trials = labels.choose_rate(replicate, CATALOGUE["encoder"], 12)
    assert (rate, trials) == (record.learning_rate, record.tried)
    with pytest.raises(AssertionError, match="looked at"):
        labels.measure_arm(replicate, "", "scratch", 4)


def test_an_arm_reports_its_updates_and_those_of_its_trials(replicate, measured):
    for asked, fits in ((4, 1), (12, 3)):
        shares = []
        labels.measure_arm(replicate, "", "scratch", asked, shares.append)
        assert shares == pytest.approx([n / (6 * fits) for n in range(1, 6 * fits + 1)])


def test_the_inner_split_is_of_the_labelled_images(replicate):
    fit_split, evaluate = replicate.inner_split(12)
    assert fit_split.size == 9 and len(evaluate.batches[0][0]) == 3
    ids = {replicate.train.tensors["id"].numpy()[i] for i in replicate.subsets[12]}
    assert set(fit_split.tensors["id"].numpy()) < ids


def test_pixels_are_counted_by_class_and_what_is_ignored_is_not(replicate):
    counts = data.histogram(replicate.train)
    masks = replicate.train.tensors["mask"].numpy()
    assert counts.shape == (32, 3)
    assert counts[5].tolist() == [(masks[5] == label).sum() for label in range(3)]
    ignoring = dataclasses.replace(replicate.train, ignore_label=2)
    ignoring.__dict__["tensors"] = replicate.train.tensors
    assert data.histogram(ignoring)[5].tolist() == [*counts[5][:2], 0]


def test_groups_come_from_the_start_of_the_names(replicate):
    assert data.group_names(replicate.train, "") is None
    assert data.group_names(replicate.train, r"\d\d")[:11] == ["00"] * 10 + ["01"]
    with pytest.raises(InputError, match="does not match the start of '000'"):
        data.group_names(replicate.train, "[A-Z]+")


def test_the_metric_of_groups_adds_up_to_that_of_all(replicate, monkeypatch):
    assert labels.measure_arm(replicate, "", "scratch", 4).groups == {}
    monkeypatch.setattr(replicate, "groups", ["00"] * 32)
    monkeypatch.setattr(replicate, "test_groups", ["00"] * 6 + ["new"] * 2)
    record = labels.measure_arm(replicate, "", "scratch", 4)
    counts = replicate.evaluate().per_image
    assert {name: trained for name, (_, trained) in record.groups.items()} == {
        "00": True, "new": False,
    }  # fmt: skip
    assert record.groups["new"][0] == metrics.mean_iou(counts[6:].sum(axis=0))
    monkeypatch.setattr(replicate, "test_groups", ["00"] * 8)
    assert labels.metric_by_group(replicate, counts)["00"][0] == record.value


@pytest.mark.parametrize(
    "counts, message",
    [
        ((4, 33, 64), r"1 to 32 images, got \[33, 64\].*Type --label_counts=4,0 "),
        ((8, 32, 0), "names all 32 images twice.*Type --label_counts=8,0 "),
    ],
)
def test_numbers_of_labels_that_the_data_does_not_have_are_refused(
    replicate, counts, message
):
    specs = specs_of(label_counts=counts)
    with pytest.raises(InputError, match=f"--label_counts.*{message}"):
        labels.labelled_subsets(replicate.train, None, specs.curves()[0])


# --- the command


def flags(scenes, out_dir):
    return [
        "--dataset=folder", f"--data_dir={scenes}", f"--out_dir={out_dir}",
        "--image_size=16,16", "--width=3",
        "--depth=1", "--steps=8", "--batch_size=4", "--validations=1", "--seeds=2",
        "--jobs=1", "--unit_cpus=1", "--calibration_examples=16", "--directions=", "--label_counts=4,12",
        "--recipes=scratch,encoder,head_only", "--label_donors=masked", "--label_steps=6",
        "--learning_rates=0.01,0.001",
    ]  # fmt: skip


def values(path):
    return {
        record.key: (record.value, record.course, record.tried)
        for record in records.read_labels(path)
    }


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "whole"
    done = commands.run("study", *flags(scenes, path))
    assert done.returncode == 0, done.stderr
    assert "label curves over 4 to 12 labels" in done.stdout
    return path


@pytest.mark.slow
def test_curves_that_are_killed_go_on_and_give_the_same_records(
    scenes, whole, tmp_path
):
    broken = tmp_path / "broken"
    for name in ("models/masked-*", "units/train-*"):  # what the arms need
        for path in whole.glob(name):
            shutil.copytree(path, broken / path.relative_to(whole))
    assert (whole / "figures" / "label_savings_unet.csv").exists()
    described = files.read_json(whole / "study.json")
    assert described["recipes"]["encoder"] == CATALOGUE["encoder"].describe()
    command = [sys.executable, "-m", "tfreuse.cli.study", *flags(scenes, broken)]
    process = subprocess.Popen(  # another number of processes changes nothing
        [*command, "--jobs=2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path, deadline = broken / "labels.jsonl", time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # its workers notice that it is gone
    survivors = values(path)
    assert 3 <= len(survivors) < 12
    done = commands.run("study", *flags(scenes, broken))
    assert done.returncode == 0, done.stderr
    assert values(path) == values(whole / "labels.jsonl")
    assert len(values(path)) == 12 and survivors.items() <= values(path).items()


def test_a_forecast_refuses_the_label_counts_that_the_run_refuses(scenes, monkeypatch):
    monkeypatch.setattr(runtime, "start", lambda *_: None)  # TensorFlow runs already
    with pytest.raises(InputError, match="--label_counts: .*got.*99.*=4,0 "):
        study.forecast(specs_of(scenes, label_counts=(4, 99)))


@pytest.mark.slow
def test_a_dry_run_tells_what_curves_cost_and_writes_nothing(
    scenes, tmp_path, monkeypatch
):
    monkeypatch.setattr(runtime, "start", lambda *_: None)  # TensorFlow runs already
    words = [*flags(scenes, tmp_path / "none"), "--recipes=scratch,head_only"]
    words.append("--label_donors=masked,masked:skips=false")
    done = commands.run("study", *words, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "12 label-curve points on 8 test images" in done.stdout
    assert not (tmp_path / "none").exists()


# --- estimates compared with the curves


@pytest.mark.slow
def test_estimates_are_judged_by_what_the_trainings_gave(whole):
    estimates = challenge.run(whole, 12)
    assert estimates["plans"] == ["scratch", "encoder masked", "head_only masked"]
    by_key = {
        record.key[1:]: record.value
        for record in records.read_labels(whole / "labels.jsonl")
    }
    for seed, gains in enumerate(estimates["gains"]):
        scratch = by_key["", "scratch", str(seed), "12"]
        head_only = by_key["masked", "head_only", str(seed), "12"]
        assert gains[0] == 0 and gains[2] == head_only - scratch
    names = {row.name for row in estimates["rows"]}
    assert {"near kernels (z-RMSE)", "training-free retention"} <= names
    assert {"LogME, bottleneck", "H-score, decoder_1", "static", "random"} <= names
    regrets = [row.regret.estimate for row in estimates["rows"]]
    assert regrets == sorted(regrets) and all(regret >= 0 for regret in regrets)
    text = challenge.markdown(estimates)
    assert "12 labels, 2 seeds" in text and estimates["verdict"] in text


@pytest.fixture(scope="module")
def work(whole):
    """Computes the estimates of the first replicate."""
    curve = challenge._specs(whole).curves()[0]
    return challenge._Estimates(curve, whole / "models", 12, Cache())


@pytest.mark.slow
def test_estimates_are_of_the_network_as_each_plan_begins(work):
    scratch, encoder = work("", "scratch"), work("masked", "encoder")
    assert scratch.keys() == encoder.keys()
    assert all(
        np.isfinite(list(values.values())).all() for values in (scratch, encoder)
    )
    assert all(scratch[name] != encoder[name] for name in scratch)
    assert work("", "scratch") == pytest.approx(scratch)  # nothing is left of the other
    assert scratch["training-free retention"] == pytest.approx(1)  # nothing was taken
    assert scratch["near kernels (z-RMSE)"] == 0


@pytest.mark.slow
def test_a_peer_for_donor_is_near_and_the_recipient_itself_loses_nothing(work):
    trained, fitter = work._trained, work._replicate.fitter
    recipe = CATALOGUE["encoder"]
    estimates = {}
    for name, values in (("own", trained._recipient), ("peer", trained._peers[0])):
        fitter.model.set_weights(trained._weights)
        fitter.donor = keras.models.clone_model(fitter.model)
        for path, variable in transplant.variables(fitter.donor).items():
            variable.assign(values[path])
        estimates[name] = trained(recipe)
    assert estimates["own"]["training-free retention"] == pytest.approx(1)
    assert (
        estimates["own"]["near kernels (z-RMSE)"]
        > estimates["peer"]["near kernels (z-RMSE)"]
    )
    assert (
        abs(estimates["peer"]["near kernels (z-RMSE)"]) < 2
    )  # the peer is part of the distribution that its score is relative to


@pytest.mark.slow
def test_a_study_without_such_curves_is_refused(whole, tmp_path):
    with pytest.raises(InputError, match="no curves of two plans at 5 labels"):
        challenge.run(whole, 5)
    with pytest.raises(InputError, match="holds no study with label curves"):
        challenge.run(tmp_path, 12)


def test_pixels_are_taken_from_the_middle_of_parts():
    np.testing.assert_array_equal(challenge._centres(8, 2), [2, 6])
    np.testing.assert_array_equal(challenge._centres(4, 4), [0, 1, 2, 3])
