"""The advisor's parts: budget, kept trainings, provenance, the plan file, the seal, flags."""

import dataclasses
import shutil

import numpy as np
import pytest

from tfreuse import files
from tfreuse.advisor import (
    cautions,
    planfile,
    provenance,
    schedule,
    seal,
    selection,
    store,
)
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec, ModelSpec
from tfreuse.specs.advice import AdviceSpec

COSTS = {name: 1.0 for name in schedule.PRIORITY}


def made(minutes=18, step=0.06, **options):
    pace = schedule.Pace(step, training=1.0, start=3.0)
    return schedule.make_schedule(
        pace, minutes, **{"costs": COSTS, "folds": 5, "steps": 300} | options
    )


def test_with_time_enough_nothing_is_left_out():
    found = made(minutes=600)
    assert found.plans == tuple(COSTS) and not found.left_out
    assert (found.steps, found.folds) == (300, 5)
    assert "To fit" not in found.describe()


def test_a_shorter_time_asks_for_less_and_says_so():
    before = made(minutes=600)
    for minutes in (40, 20, 10, 5):
        found = made(minutes)
        assert found.seconds <= 60 * minutes
        a_step = found.seconds / found.steps  # and more
        assert found.steps == 300 or found.seconds > 60 * minutes - a_step
        work = found.steps * selection.most_trainings(len(found.plans), found.folds)
        assert work <= before.steps * selection.most_trainings(
            len(before.plans), before.folds
        )
        before = found
        assert set(found.plans) | set(found.left_out) == set(COSTS)
    assert "To fit into 5 min, 300 steps became" in before.describe()
    assert "left out" in before.describe()


def test_too_short_a_time_is_exceeded_and_says_so():
    found = made(minutes=1, step=1.0)
    assert found.seconds > 60 and "longer than the 1 min" in found.describe()
    assert found.steps >= schedule.FEWEST_STEPS and len(found.plans) == 2


def test_what_is_kept_is_what_most_often_helps():
    assert "encoder" in made(minutes=1, step=1.0).plans
    two = {name: 1.0 for plan in COSTS for name in (plan, f"{plan}@2")}
    kept = made(minutes=1, step=1.0, costs=two).plans
    assert set(kept) == {"encoder", "encoder@2"}


def test_a_schedule_comes_back_from_its_json():
    assert schedule.Schedule.from_json(made().to_json()) == made()


def test_a_training_is_done_once_and_goes_on_after_a_kill(tmp_path):
    calls = []

    def score(name, train, test, repeat):
        calls.append((name, repeat))
        return np.full((len(test), 2, 2), repeat)

    kept = store.cached(score, tmp_path)
    train, test = np.arange(4), np.arange(4, 6)
    first = kept("encoder", train, test, 3)
    (tmp_path / ".encoder.04.npz.0-1-x").write_bytes(b"half")  # a kill in between
    again = store.cached(score, tmp_path)("encoder", train, test, 3)
    np.testing.assert_array_equal(first, again)
    assert calls == [("encoder", 3)] and store.number_of_trainings(tmp_path) == 1
    with pytest.raises(InputError, match="other images"):
        kept("encoder", train, test + 1, 3)
    store.path_of(tmp_path, "encoder", 3).write_bytes(b"damaged")
    with pytest.raises(InputError, match="remove it"):
        kept("encoder", train, test, 3)


@pytest.fixture
def donor(tmp_path, scenes):
    """A donor as tools/train.py leaves it: a file beside its run.json."""
    shutil.copytree(scenes, tmp_path / "data")
    spec = DataSpec(dataset="folder", data_dir=str(tmp_path / "data"))
    run = tmp_path / "donor"
    run.mkdir()
    (run / "model.keras").write_bytes(b"a model")
    told = {
        "data": spec.to_json(),
        "train": {"task": "autoencoder", "corruption": "mask"},
    }
    files.write_json(run / "run.json", {"specs": told})
    return run / "model.keras", spec, tmp_path / "data"


def test_a_donors_images_are_known_from_its_run(donor):
    path, spec, _ = donor
    found = provenance.examine(path, spec)
    assert found.documented and found.sha256 == files.file_digest(path)
    assert "autoencoder (mask) on 40 images" in found.origin
    assert "none of them among the 8 test images" in found.origin


def test_a_donor_that_saw_test_images_is_refused(donor):
    path, spec, root = donor
    shutil.copy(root / "test/images/003.png", root / "train/images/other name.png")
    with pytest.raises(
        InputError, match="1 of the 8 test images.*003.png.*out of .*test/images\\."
    ):
        provenance.examine(path, spec)


def test_a_donor_that_learned_from_the_images_of_all_splits_is_refused(donor):
    path, spec, _ = donor
    run = files.read_json(path.parent / "run.json")
    run["specs"]["train"]["unlabelled"] = "all"
    files.write_json(path.parent / "run.json", run)
    with pytest.raises(InputError, match="8 of the 8 test images"):
        provenance.examine(path, spec)
    shapes = DataSpec(dataset="shapes")
    run["specs"]["data"] = shapes.to_json()
    files.write_json(path.parent / "run.json", run)
    assert "all splits of shapes" in provenance.examine(path, spec).origin
    with pytest.raises(InputError, match="--unlabelled=all, on the test images"):
        provenance.examine(path, shapes)


def test_a_donor_of_another_division_of_the_folder_says_how_to_agree(donor):
    path, spec, root = donor
    for kind in ("images", "masks"):
        (root / kind).mkdir()
        for number in range(12):
            name = f"plate{number // 2}_{number}.png"
            (root / kind / name).write_bytes(f"{kind} {number}".encode())
    for split in ("train", "val", "test"):
        shutil.rmtree(root / split)
    assert provenance.examine(path, spec).documented
    grouped = dataclasses.replace(spec, group_by=".*(?=_)")
    with pytest.raises(InputError) as refusal:
        provenance.examine(path, grouped)
    text = str(refusal.value)
    assert f"(e.g. {root / 'images' / 'plate'}" in text and "out of test/" not in text
    assert "train the donor with --group_by='.*(?=_)' too" in text
    held = files.read_json(path.parent / "run.json")
    held["specs"]["data"] = grouped.to_json()
    files.write_json(path.parent / "run.json", held)
    assert provenance.examine(path, grouped).documented
    # the warning that names --group_by says so before
    names = tuple(f"plate{number // 2}_{number}" for number in range(12))
    prefixes = tuple(name.partition("_")[0] for name in names)
    assert provenance.is_divided(spec)
    ((_, warning),) = cautions.of_names(names, prefixes, divided=True).items()
    assert "train the donor with the same --group_by" in warning
    ((_, warning),) = cautions.of_names(names, prefixes).items()
    assert "train the donor" not in warning


def test_a_donor_that_saw_test_images_as_validation_or_earlier_is_refused(donor):
    path, spec, root = donor
    clean = provenance.examine(path, spec)
    assert clean.documented
    later = path.parent.parent / "later"
    later.mkdir()
    (later / "model.keras").write_bytes(b"trained on")
    held = files.read_json(path.parent / "run.json")
    held["specs"]["train"]["initial_model"] = "../donor/model.keras"
    files.write_json(later / "run.json", held)
    assert "trained on from" in provenance.examine(later / "model.keras", spec).origin
    shutil.copy(root / "test/images/003.png", root / "val/images/other.png")
    with pytest.raises(InputError, match="test images"):
        provenance.examine(later / "model.keras", spec)


def test_a_donor_whose_data_have_a_relative_path_is_checked_from_anywhere(
    donor, tmp_path, monkeypatch
):
    path, spec, root = donor
    settings = files.read_json(path.parent / "run.json")
    settings["specs"]["data"]["data_dir"] = "data"
    settings["directory"] = str(tmp_path)
    files.write_json(path.parent / "run.json", settings)
    monkeypatch.chdir(path.parent)
    assert provenance.examine(path, spec).documented
    shutil.copy(root / "test/images/003.png", root / "train/images/other name.png")
    with pytest.raises(InputError, match="1 of the 8 test images"):
        provenance.examine(path, spec)


def test_a_donor_of_unknown_origin_is_told_not_refused(donor):
    path, spec, _ = donor
    (path.parent / "run.json").unlink()
    found = provenance.examine(path, spec)
    assert not found.documented and "no run.json beside it" in found.origin
    made_here = provenance.examine(path, spec, "pretrained:efficientnet_lite0")
    assert not made_here.documented and "run.json" not in made_here.origin
    assert "made with the encoder weights pretrained:eff" in made_here.origin
    (path.parent / "run.json").write_text("[]")
    assert "does not say on which" in provenance.examine(path, spec).origin
    with pytest.raises(InputError, match="does not exist"):
        provenance.examine(path.with_name("other.keras"), spec)


def test_images_whose_labels_a_donor_saw_are_counted(donor):
    path, spec, root = donor
    ids = ("000", "003", "other")

    def seen(task, **data):
        held = files.read_json(path.parent / "run.json")
        held["specs"]["train"] = {"task": task}
        held["specs"]["data"] = spec.to_json() | data
        files.write_json(path.parent / "run.json", held)
        return provenance.seen_labels(path, spec, ids)

    assert seen("autoencoder") == 0
    assert seen("segmentation") == 2
    assert seen("segmentation", train_examples=2) == 1
    shutil.copytree(root, root.parent / "copy")  # other names of the same bytes
    assert seen("segmentation", data_dir=str(root.parent / "copy")) == 2
    shapes = DataSpec(train_examples=7)
    assert seen("segmentation", **shapes.to_json()) == 0
    assert provenance.seen_labels(path, shapes, ("train/6", "train/7")) == 1


def test_images_of_a_folder_without_splits_are_checked(donor, tmp_path):
    path, spec, root = donor
    flat = dataclasses.replace(spec, data_dir=str(tmp_path / "flat"))
    for kind in ("images", "masks"):
        shutil.copytree(root / "train" / kind, tmp_path / "flat" / kind)
    held = files.read_json(path.parent / "run.json")
    held["specs"]["data"] = flat.to_json()
    files.write_json(path.parent / "run.json", held)
    found = provenance.examine(path, flat)
    assert found.documented and "none of them among the 5 test images" in found.origin


def test_images_that_are_gone_make_the_origin_unknown(donor):
    path, spec, root = donor
    held = files.read_json(path.parent / "run.json")
    held["specs"]["data"]["data_dir"] = str(root / "gone")
    files.write_json(path.parent / "run.json", held)
    assert not provenance.examine(path, spec).documented


def plan_file(path):
    return planfile.PlanFile(
        name="encoder@2",
        recipe=planfile.recipe_fields("encoder@2"),
        steps=30,
        sha256={str(path): files.file_digest(path)},
        images="digest",
        labelled=("a", "b"),
        advice=AdviceSpec(donor=(str(path),)),
        data=DataSpec(),
        model=ModelSpec(),
        about={},
    )


def test_a_plan_comes_back_and_knows_its_files(tmp_path):
    donor = tmp_path / "donor.keras"
    donor.write_bytes(b"one")
    plan = plan_file(donor)
    planfile.write(tmp_path / "plan.json", plan)
    assert planfile.read(tmp_path / "plan.json") == plan
    planfile.check_files(plan)
    planfile.check_images(plan, "digest")
    with pytest.raises(InputError, match="labelled images"):
        planfile.check_images(plan, "another")
    donor.write_bytes(b"two")
    with pytest.raises(InputError, match="SHA-256 differs"):
        planfile.check_files(plan)


def test_a_plan_of_another_meaning_is_refused(tmp_path):
    donor = tmp_path / "donor.keras"
    donor.write_bytes(b"one")
    plan = plan_file(donor)
    other = dataclasses.replace(plan, recipe=plan.recipe | {"trains": "head"})
    planfile.write(tmp_path / "plan.json", other)
    with pytest.raises(InputError, match="in this version"):
        planfile.read(tmp_path / "plan.json")
    for text in ("", "{}", "[]", '{"format": "tfreuse advice plan 1"}'):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(InputError, match=r"OUT_DIR/plan\.json"):
            planfile.read(tmp_path / "plan.json")


def test_the_test_split_is_opened_once_and_logged(tmp_path):
    opened = []

    def killed():
        opened.append(files.read_json(tmp_path / seal.NAME))  # logged before it is read
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal.open_once(tmp_path, "encoder", killed)
    assert len(opened[0]["opened"]) == 1
    result = {"mean_iou": 0.5, "images": 8}
    assert seal.open_once(tmp_path, "encoder", lambda: result) == result
    log = files.read_json(tmp_path / seal.NAME)
    assert len(log["opened"]) == 2 and log["result"] == result  # nobody saw the first
    with pytest.raises(InputError, match="opened on"):
        seal.open_once(tmp_path, "encoder", lambda: pytest.fail("read again"))


def test_flags_tell_what_the_images_cannot_settle():
    histogram = np.ones((12, 3), int)
    histogram[2:, 2] = 0
    folds, units = np.arange(12) % 4, np.arange(12)
    found = cautions.of_images(histogram, folds, units, ["a", "b", "c", "a"])
    assert set(found) == {
        "few images of a class",
        "small folds",
        "few units",
        "unstable choice",
    }
    assert "class 2 in 2 of 12" in found["few images of a class"]
    many = np.ones((30, 3), int)
    assert not cautions.of_images(many, np.arange(30) % 5, np.arange(30), ["a"] * 5)


def test_names_that_look_like_subjects_are_told():
    ids = tuple(f"{subject}_{i}" for subject in "ab" for i in range(5))
    assert "group_by" in str(cautions.of_names(ids, tuple(one[0] for one in ids)))
    assert not cautions.of_names(ids, ids)  # each its own
    assert not cautions.of_names(ids, ("a",) * 10)  # all alike
