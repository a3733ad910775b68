"""The advisor from a donor file and a folder to a page, a plan and a model that loads."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from test_cli import refused, tool

from tfreuse import (
    advisor,
    data,
    files,
    training,
)
from tfreuse.advisor import page, planfile, schedule, trials
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.report import markdown
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec
from tfreuse.specs.advice import AdviceSpec

MODEL = ModelSpec(width=4, depth=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Three folds and two plans, however fast the machine is."""
    monkeypatch.setattr(schedule, "LADDER", ((1.0, 2, 3),))


@pytest.fixture(scope="module")
def place(tmp_path_factory, scenes):
    """A donor and a data set whose test split cannot be read."""
    root = tmp_path_factory.mktemp("advisor")
    shutil.copytree(scenes, root / "data")
    train = TrainSpec(task="autoencoder", steps=4, validations=1, batch_size=8)
    training.train(MODEL, folder(root), train, root / "donor")
    shutil.copytree(root / "data/test", root / "test")
    for path in (root / "data/test").rglob("*.png"):
        path.write_bytes(b"no picture: " + path.name.encode())
    return root


def folder(root, **options):
    return DataSpec(
        dataset="folder", data_dir=str(root / "data"), image_size=(16, 16), **options
    )


def question(root, **options):
    donor = (str(root / "donor/model.keras"),)
    return AdviceSpec(
        **{"donor": donor, "labels": 12, "steps": 3, "batch_size": 4} | options
    )


def asked(root, out_dir, group_by="", **options):
    images = dataclasses.replace(folder(root), group_by=group_by)
    return advisor.run(question(root, **options), images, MODEL, out_dir)


@pytest.fixture(scope="module")
def advice(place, tmp_path_factory):
    """An advice, with the splits that were loaded for it."""
    loaded, load = [], data.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "LADDER", ((1.0, 2, 3),))
        patch.setattr(
            data,
            "load",
            lambda spec, split, **o: loaded.append(split) or load(spec, split, **o),
        )
        out_dir = tmp_path_factory.mktemp("advice")
        told = asked(place, out_dir)
    return told, out_dir, loaded


def test_the_search_reads_the_training_split_alone(advice):
    _, _, loaded = advice
    assert set(loaded) == {"train"}  # and the test split's files are no pictures at all


def test_it_ends_with_a_page_a_plan_and_models_that_load(advice, place):
    told, out_dir, _ = advice
    for name in (
        "advice.html",
        "advice.md",
        "advice.json",
        "plan.json",
        "figures/gains.csv",
    ):
        assert (out_dir / name).is_file(), name
    images = data.load(folder(place, num_classes=3), "train").tensors["image"]
    model = saving.load(out_dir / "model.keras")
    served = tf.saved_model.load(out_dir / "savedmodel/1").signatures["serving_default"]
    masks = served(images=images)["mask"].numpy()
    logits = model(tf.cast(images, tf.float32) / 255).numpy()
    assert (masks == logits.argmax(-1)).mean() > 0.999
    promise = told["choice"]["promise"]
    assert told["choice"]["abstains"] == (promise["low"] <= 0)
    assert promise["n"] == 12 and len(told["choice"]["rows"]) == 2
    assert told["choice"]["trainings"] == 2 * 3 + 3 * 3


def test_the_page_tells_gain_interval_optimism_cost_and_when_it_is_wrong(advice):
    told, out_dir, _ = advice
    html, text = ((out_dir / f"advice.{kind}").read_text() for kind in ("html", "md"))
    for word in ("95 % interval", "n = 12 images", "selection optimism", "cost",
                 "When this would be wrong", "plan.json", "small folds"):  # fmt: skip
        assert word in html and word.replace("_", "\\_") in text, word
    assert "none of them among the 8 test images" in html
    assert "expected gain" in page.summary(told)
    assert list(told["flags"]) == sorted(told["flags"])
    choice = told["choice"] | {"best": "x", "chosen": [["y", 4], ["z", 4], ["y", 4]]}
    other = told | {"choice": choice}
    reason = "(y in 2 of 3, z in 1 of 3 folds); with all images, x is the cheapest"
    assert reason in page.summary(other)
    choice["chosen"] = [["x", 6], ["x", 6]]
    assert "of recipes chosen without" not in page.summary(other)


def test_options_of_the_trainings_reach_every_fit_and_the_page(place, advice):
    options = {"clip_norm": 0.1, "class_weights": "balanced", "augment": ("flip",)}
    told = trials.Trials(question(place, **options), folder(place), MODEL)
    assert [getattr(told._fitters[0].spec, name) for name in options] == list(
        options.values()
    )
    weighted = {**advice[0], "training": question(place, **options).to_json()}
    text = markdown.render(page.compose(weighted))
    assert "random changes of the images (flip), gradients clipped to" in text
    assert "classes weighted (balanced)" in text


def test_the_advice_names_a_donor_that_saw_the_labels(advice, place):
    content = files.read_json(advice[1] / "advice.json")
    donor = str(place / "donor/model.keras")
    assert content["data"]["seen_by_donors"] == {donor: 0}  # an auto-encoder
    assert "masks of" not in str(page.compose(content))
    content["data"]["seen_by_donors"] = {donor: 12}
    assert "with the masks of 12 of these images" in str(page.compose(content))


def test_the_plan_repeats_the_models_values_bit_for_bit(advice, tmp_path):
    _, out_dir, _ = advice
    plan = planfile.read(out_dir / "plan.json")
    advisor.repeat(plan, tmp_path)
    one, other = (saving.load(d / "model.keras") for d in (out_dir, tmp_path))
    for ours, theirs in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_killed_half_way_it_goes_on_to_the_same_answer(
    advice, place, tmp_path, monkeypatch
):
    told, out_dir, _ = advice
    shutil.copytree(out_dir / "folds", tmp_path / "folds")
    for path in sorted((tmp_path / "folds").iterdir())[::4]:  # left to do
        path.unlink()
    score, done = trials.Trials.score, []

    def stopping(self, name, train, test, repeat, steps, report=None):
        if report and len(done) == 2:
            raise KeyboardInterrupt
        done.extend([name] if report else [])
        return score(self, name, train, test, repeat, steps, report)

    with monkeypatch.context() as patch:
        patch.setattr(trials.Trials, "score", stopping)
        with pytest.raises(KeyboardInterrupt):
            asked(place, tmp_path)
    assert len(done) == 2
    again = asked(place, tmp_path)
    assert again["reused"] == told["choice"]["trainings"] - 4 + 2 == 13
    assert again["choice"] == told["choice"]
    assert asked(place, tmp_path) == again  # a third time: nothing is left to do


def test_the_test_split_is_opened_once(advice, place, tmp_path):
    _, out_dir, _ = advice
    shutil.copytree(out_dir, tmp_path / "out")
    shutil.copytree(place / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data/test")
    shutil.copytree(place / "test", tmp_path / "data/test")
    held = files.read_json(tmp_path / "out/plan.json")
    held["data"]["data_dir"] = str(tmp_path / "data")
    files.write_json(tmp_path / "out/plan.json", held)
    assert "was not read" in (tmp_path / "out/advice.md").read_text()
    found = advisor.unseal(tmp_path / "out")
    assert "was opened" in (tmp_path / "out/advice.md").read_text()
    assert found["images"] == 8 and 0 <= found["mean_iou"] <= 1
    with pytest.raises(InputError, match="opened on"):
        advisor.unseal(tmp_path / "out")


def test_what_cannot_be_answered_is_refused_in_one_line(place, tmp_path):
    with pytest.raises(InputError, match="--labels=99 is more than the 32"):
        asked(place, tmp_path / "a", labels=99)
    assert not (tmp_path / "a").exists()  # it is free for a better question
    with pytest.raises(InputError, match="makes 1 groups"):
        asked(place, tmp_path / "b", group_by="0")
    with pytest.raises(InputError, match="does not"):
        asked(place, tmp_path / "c", group_by="x")
    with pytest.raises(InputError, match="no recipe fits"):
        advisor.run(
            question(place), folder(place), ModelSpec(width=6, depth=1), tmp_path / "d"
        )
    asked_ = question(place, donor=())
    with pytest.raises(InputError, match="--donor is not given"):
        advisor.run(asked_, folder(place), MODEL, tmp_path / "e")


def test_another_donor_of_the_same_name_is_refused(place, advice, tmp_path):
    _, out_dir, _ = advice
    shutil.copytree(out_dir, tmp_path / "out")
    (tmp_path / "out/advice.json").unlink()
    held = files.read_json(tmp_path / "out/schedule.json")
    held["of"]["sha256"] = dict.fromkeys(held["of"]["sha256"], "0" * 64)
    files.write_json(tmp_path / "out/schedule.json", held)
    with pytest.raises(InputError, match="another donor"):
        asked(place, tmp_path / "out")


def test_the_tool_refuses_bad_input_in_one_line(tmp_path):
    out = f"--out_dir={tmp_path / 'out'}"
    assert len(refused(tool("advise", out), "--donor")) == 1
    refused(tool("advise", "--donor=no.keras", out), "no.keras", "does not exist")
    refused(tool("advise", "--plan=no.json", out), "no plan", "plan.json")
    refused(tool("advise", "--group_by=(", out), "regular expression")
    refused(tool("advise", "--folds=2", out), "folds")


def test_the_tool_takes_the_network_from_the_donor_and_keeps_subjects_in_one_fold(
    place, tmp_path, monkeypatch
):
    monkeypatch.setattr(schedule, "LADDER", ((1.0, 1, 3),))
    done = tool(
        "advise", f"--donor={place / 'donor/model.keras'}", "--dataset=folder",
        f"--data_dir={place / 'data'}", "--labels=32", "--steps=2", "--batch_size=4",
        "--group_by=0[0-3]", f"--out_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "expected gain over scratch" in done.stdout
    flags = (tmp_path / "config.flags").read_text()
    assert (
        "--width=4" in flags and "--depth=1" in flags and "--image_size=16,16" in flags
    )
    told = files.read_json(tmp_path / "advice.json")
    assert told["data"]["groups"] == ["00", "01", "02", "03"]  # of images 000 to 031
    assert told["choice"]["promise"]["n"] == 4
    assert "subjects" in (tmp_path / "advice.html").read_text()
