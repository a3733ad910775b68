"""Folders as people have them: other trees and names, missing splits, masks with an ending."""

import csv
import dataclasses
import os
import pathlib
import re
import shutil

import commands
import pytest
from pairs import examples, fill

from tfreuse import data
from tfreuse.advisor import provenance, trials
from tfreuse.data import folder, layout, pictures
from tfreuse.errors import InputError


def contents(spec, split="train"):
    return {
        example["id"].decode(): (example["image"].tobytes(), example["mask"].tobytes())
        for example in examples(data.load(spec, split))
    }


def moved(root, rule):
    """Moves each file to `rule(split, kind, path)`, a path below the root; returns the root."""
    for path in sorted(root.glob("*/*/*.png")):
        target = root / "new" / rule(path.parts[-3], path.parts[-2], path)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for name in layout.SPLITS:
        shutil.rmtree(root / name)
    for path in (root / "new").iterdir():
        path.rename(root / path.name)
    (root / "new").rmdir()


TREES = {
    "kinds first": (lambda s, k, p: f"{k}/{s}/{p.name}", ""),
    "an outer folder": (
        lambda s, k, p: f"mine/{s}/{k}/{p.name}",
        "the data set is in .*mine",
    ),
    "other names": (
        lambda s, k, p: (
            f"{s.replace('val', 'Valid')}/"
            f"{k.replace('masks', 'labels').replace('images', 'img')}/{p.name}"
        ),
        "named labels are read as masks",
    ),
    "folders in folders": (lambda s, k, p: f"{s}/{k}/{p.stem[-1]}/deep/{p.name}", ""),
    "upper case": (lambda s, k, p: f"{s}/{k}/{p.stem}.PNG", ""),
    "an ending of masks": (
        lambda s, k, p: f"{s}/{k}/{p.stem}{'_mask' if k == 'masks' else ''}.png",
        "compared without '_mask'",
    ),
    "two endings": (
        lambda s, k, p: f"{k}/{s}/{p.stem}{'_gt_seg' if k == 'masks' else '_rgb'}.png",
        "compared without '_rgb' and '_gt_seg'",
    ),
    "beginnings": (
        lambda s, k, p: f"{s}/{k}/{p.stem[-1]}/{k[:-1]}_{p.stem}.png",
        "compared without 'image_' and 'mask_'",
    ),
}


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_with_one_plain_reading_is_read_and_what_was_decided_is_said(
    tmp_path, tree
):
    spec = fill(tmp_path)
    before = {split: contents(spec, split) for split in layout.SPLITS}
    rule, note = TREES[tree]
    moved(tmp_path, rule)
    masks = next(tmp_path.rglob("*p0*")).parent
    (masks / "__MACOSX").mkdir()
    for name in ("Thumbs.db", ".DS_Store", "__MACOSX/._p0.png"):  # of systems
        (masks / name).touch()
    for split, pairs in before.items():
        assert list(contents(spec, split).values()) == list(pairs.values())
    reader = folder.Folder(spec)
    reader.read("train")
    assert re.search(note, "\n".join(reader.notes))
    assert bool(note) == bool(reader.notes)


@pytest.mark.parametrize("missing", [("val",), ("test",), ("val", "test")])
def test_missing_splits_are_divided_off_train_by_names_alone(tmp_path, missing, caplog):
    spec = fill(tmp_path, [("train", 20), ("val", 2), ("test", 2)])
    everything = contents(spec)
    kept = {s: contents(spec, s) for s in ("val", "test") if s not in missing}
    for split in missing:
        shutil.rmtree(tmp_path / split)
    parts = [contents(spec, split) for split in ("train", *missing)]
    assert [len(part) for part in parts[1:]] == [3] * len(missing)
    assert {k: v for part in parts for k, v in part.items()} == everything
    assert sum(map(len, parts)) == 20
    assert all(contents(spec, split) == pairs for split, pairs in kept.items())
    assert f"no folders for {' and '.join(missing)}" in caplog.text
    assert layout.listed(layout.SPLITS) == "train, val and test"
    # What an auto-encoder trains on, without masks, is no image of the other splits.
    images = examples(data.load(spec, "train", masks=False))
    assert {example["id"].decode() for example in images} == set(parts[0])
    digests = provenance.hashes(spec, "train", missing[0])
    assert len(digests) == len(parts[0]) + 3


def test_a_decision_is_told_once_for_all_splits(tmp_path, caplog, monkeypatch):
    spec = fill(tmp_path, [("train", 20)])
    monkeypatch.setattr(data, "_LOGGED", set())
    data.check_files(spec, layout.SPLITS)
    assert caplog.text.count("no folders for val and test") == 1


def test_the_check_of_data_says_a_decision_once(tmp_path, monkeypatch):
    spec = fill(tmp_path, [("train", 20)])
    monkeypatch.setattr(data, "_LOGGED", set())
    words = ["--dataset=folder", f"--data_dir={spec.data_dir}", "--image_size=12,16"]
    done = commands.run("train", "--check_data", *words)
    assert not done.returncode, done.stderr
    assert (done.stdout + done.stderr).count("no folders for val and test") == 1
    done = commands.run(
        "train", "--check_data", f"--out_dir={tmp_path / 'out'}", *words
    )
    assert f"Images of each split: {tmp_path / 'out' / 'splits.csv'}" in done.stdout
    text = (tmp_path / "out" / "splits.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    for split in layout.SPLITS:
        names = [pathlib.Path(r["image"]).stem for r in rows if r["split"] == split]
        assert names == list(contents(spec, split))
    assert (tmp_path / rows[0]["image"]).is_file() and len(rows) == 20


def test_a_folder_that_is_not_there_is_named_and_no_split_is_demanded(tmp_path):
    spec = fill(tmp_path / "cells")
    messages = {
        "cels": f"folder .*cels does not exist. Did you mean {tmp_path / 'cells'}",
        "other/deep": "deep does not exist. Check its name",
        "file": "file is a file; expected a folder",
        "flat": "no folder .*flat/images. Expected the folders images and masks, or",
    }
    (tmp_path / "file").touch()
    (tmp_path / "flat").mkdir()
    for name, message in messages.items():
        spec = dataclasses.replace(spec, data_dir=str(tmp_path / name))
        with pytest.raises(InputError, match=message):
            data.check_files(spec)


def test_errors_of_images_without_labels_name_their_flag(tmp_path):
    spec = fill(tmp_path)
    shutil.rmtree(tmp_path / "train" / "masks")
    assert trials._more_images(spec, str(tmp_path)).size == 5
    # images alone may lie in the folder itself, or in images; all of them are taken
    flat = tmp_path / "flat"
    shutil.copytree(tmp_path / "train" / "images", flat)
    shutil.copytree(flat, tmp_path / "deep" / "images")
    for name in ("flat", "deep"):
        more = trials._more_images(spec, str(tmp_path / name))
        assert more.size == len(os.listdir(flat)) == 5
        assert len({e["image"].tobytes() for e in examples(more)}) == 5
    with pytest.raises(InputError, match="no folder .*flat/images"):
        data.check_files(dataclasses.replace(spec, data_dir=str(flat)))
    with pytest.raises(InputError, match="^--unlabelled_dir: The folder .* not exist"):
        trials._more_images(spec, str(tmp_path / "none"))


def test_subjects_stay_whole_where_splits_are_divided_off(tmp_path):
    spec = fill(tmp_path, [("train", 20)])
    for path in tmp_path.glob("train/*/*.png"):
        path.rename(path.with_name(f"s{int(path.stem[1:]) // 4}-{path.name}"))
    spec = dataclasses.replace(spec, group_by="s[0-9]+")
    parts = [contents(spec, split) for split in layout.SPLITS]
    assert [len(part) for part in parts] == [12, 4, 4]
    spec = dataclasses.replace(spec, group_by="s")
    with pytest.raises(InputError, match="3 subjects or more; got 1. Make the folders"):
        data.load(spec, "val")


def test_three_images_are_a_train_a_val_and_a_test_image(tmp_path):
    spec = fill(tmp_path, [("train", 3)])
    assert [len(contents(spec, split)) for split in layout.SPLITS] == [1, 1, 1]


@pytest.mark.parametrize(
    ("images", "masks", "pairs"),
    [
        (["p0"], ["p0_mask"], ["p0-p0_mask"]),  # a split of one image
        (["cat_img"], ["cat_seg"], ["cat_img-cat_seg"]),
        (["a1", "b1"], ["a1_L", "b1_L"], ["a1-a1_L", "b1-b1_L"]),  # as in CamVid
        (["cat"], ["dog_mask"], None),
        (["a_1", "b_1"], ["a_2", "b_2"], None),  # other numbers are other frames
        (["a", "b", "c"], ["a_mask", "b_mask"], None),  # c is alone
        (["a", "b"], ["a", "b_mask"], None),
    ],
)
def test_names_are_paired_without_an_ending_that_all_have(
    tmp_path, images, masks, pairs
):
    for kind, names in (("images", images), ("masks", masks)):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name in names:
            (tmp_path / "train" / kind / f"{name}.png").touch()
    for split in ("val", "test"):
        shutil.copytree(tmp_path / "train", tmp_path / split)
    if pairs is None:
        with pytest.raises(InputError, match="no partner") as refusal:
            layout.find(tmp_path, "train")
        assert len(images) != 3 or "train/images/c.png. Add" in str(refusal.value)
    else:
        found, _ = layout.find(tmp_path, "train")
        assert [f"{pair.image.stem}-{pair.mask.stem}" for pair in found] == pairs


def test_two_folders_for_one_split_are_refused(tmp_path):
    spec = fill(tmp_path)
    shutil.copytree(tmp_path / "val", tmp_path / "validation")
    with pytest.raises(
        InputError, match="Only one folder may hold val; .*val and validation"
    ):
        data.load(spec, "val")


def test_system_files_are_known_by_name(tmp_path):
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "@eaDir"):
        assert pictures.is_system_file(tmp_path / name)
    assert not pictures.is_system_file(tmp_path / "thumbs.png")
