"""What a data set must not hold: each is refused in one line that names the file and the way out."""

import dataclasses
import re

import numpy as np
import pytest
from pairs import fill, picture, save
from PIL import Image

from tfreuse import data
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec


def spoil(change):
    """A way to spoil train/{images,masks}/p1.png: change(images, masks folders)."""
    return lambda root: change(root / "train" / "images", root / "train" / "masks")


def two_pages(path):
    page = Image.open(path)
    page.save(path.with_suffix(".tif"), save_all=True, append_images=[page])
    path.unlink()


def instances(path):
    save(
        np.asarray(Image.open(path)).astype(np.int32) * 35000, path.with_suffix(".tif")
    )
    path.unlink()


RGB = picture(501)[0]
REFUSALS = {
    "no such folder": (
        lambda root: (root / "train").rename(root / "training set"),
        "has val and test, but no train",
    ),
    "an empty split": (
        spoil(lambda images, masks: [f.unlink() for f in images.iterdir()]),
        "images is empty",
    ),
    "an image alone": (
        spoil(lambda images, masks: (masks / "p1.png").unlink()),
        "no partner: train/images/p1.png",
    ),
    "masks alone": (
        spoil(
            lambda images, masks: [(images / f"p{i}.png").unlink() for i in range(4)]
        ),
        r"train/masks/p0.png, .*p1.png, .*p2.png and 1 more",
    ),
    "two of one stem": (
        spoil(lambda images, masks: save(RGB, images / "p1.jpg")),
        "p1.jpg and p1.png. Remove one",
    ),
    "a stray file": (
        spoil(lambda images, masks: (images / "notes.txt").write_text("x")),
        "notes.txt. Move it",
    ),
    "a broken image": (
        spoil(lambda images, masks: (images / "p1.png").write_bytes(b"no image")),
        "image .*p1.png can't be decoded",
    ),
    "a mask cut short": (
        spoil(
            lambda images, masks: (masks / "p1.png").write_bytes(
                (masks / "p1.png").read_bytes()[:-30]
            )
        ),
        "mask .*p1.png can't be decoded",
    ),
    "two pictures in a file": (
        spoil(lambda images, masks: two_pages(images / "p1.png")),
        "one image; .*p1.tif holds 2",
    ),
    "numbers that are no labels": (
        spoil(lambda images, masks: instances(masks / "p1.png")),
        "Labels are 0 to 65535; .*p1.tif has 0 to 70000",
    ),
    "16 bits a channel": (
        spoil(
            lambda images, masks: save(RGB[..., 0] * np.uint16(9), images / "p1.png")
        ),
        "8 bits a channel; .*p1.png has values .*--intensity_range=0,[0-9]+ .*percentile",
    ),
    "a transparent image": (
        spoil(lambda images, masks: save(RGB[..., [0, 1, 2, 0]], images / "p1.png")),
        "p1.png is partly transparent.*--background=000000",
    ),
    "another size": (
        spoil(lambda images, masks: save(RGB[:, 1:, 0] // 255, masks / "p1.png")),
        "images/p1.png is 16 x 12, .*masks/p1.png is 15 x 12",
    ),
    "a mask in colour": (
        spoil(lambda images, masks: save(RGB, masks / "p1.png")),
        "masks/p1.png has mode RGB in colour.*--palette=",
    ),
    "a JPEG mask": (
        spoil(
            lambda images, masks: (
                (masks / "p1.png").unlink(),
                save(RGB[..., 0], masks / "p1.jpg"),
            )
        ),
        "p1.jpg is JPEG, which blurs",
    ),
    "a label out of range": (
        spoil(lambda images, masks: save(picture(0)[1] + 7, masks / "p1.png")),
        r"Labels are 0 to 2 .*masks/p1.png has 7. Type --num_classes=10",
    ),
}


@pytest.mark.parametrize("spoilt", REFUSALS)
def test_what_cannot_be_used_is_refused_by_name_before_training_and_in_the_check(
    tmp_path, spoilt
):
    change, message = REFUSALS[spoilt]
    spec = dataclasses.replace(fill(tmp_path), num_classes=3)
    data.load(spec, "train")  # sound before it is spoilt
    change(tmp_path)
    for use in (lambda: data.load(spec, "train"), lambda: data.check(spec)):
        with pytest.raises(InputError, match=message) as refusal:
            use()
        assert "\n" not in str(refusal.value)


def blacken(root, label=255):
    for split in data.SPLITS:
        for path in (root / split / "masks").iterdir():
            save((np.asarray(Image.open(path)) > 0).astype(np.uint8) * label, path)


@pytest.mark.parametrize("num_classes", [0, 2])
def test_black_and_white_masks_are_refused_and_the_flag_to_read_them_works(
    tmp_path, num_classes
):
    spec = dataclasses.replace(fill(tmp_path), num_classes=num_classes)
    masks = (
        data.load(spec, "train").tensors["mask"].numpy() if not num_classes else None
    )
    blacken(tmp_path)
    with pytest.raises(InputError, match="--ignore_label=255") as refusal:
        data.load(spec, "train")
    threshold = int(re.search(r"--mask_threshold=(\d+)", str(refusal.value))[1])
    split = data.load(dataclasses.replace(spec, mask_threshold=threshold), "train")
    assert split.num_classes == 2
    if masks is not None:
        np.testing.assert_array_equal(split.tensors["mask"], masks > 0)


def test_255_beside_other_labels_is_not_taken_for_class_255_unasked(tmp_path):
    spec = fill(tmp_path)
    mask = picture(501)[1]
    mask[0, 0] = 255
    save(mask, tmp_path / "train" / "masks" / "p1.png")
    with pytest.raises(InputError, match="p1.png has 255.*--num_classes=256"):
        data.load(spec, "train")
    assert (
        data.load(dataclasses.replace(spec, ignore_label=255), "train").num_classes == 3
    )
    assert (
        data.load(dataclasses.replace(spec, num_classes=256), "train").num_classes
        == 256
    )


def test_masks_of_a_single_class_are_refused_unless_more_are_announced(tmp_path):
    spec = fill(tmp_path)
    blacken(tmp_path, label=0)
    with pytest.raises(InputError, match="all of these hold label 0"):
        data.load(spec, "train")
    assert data.load(dataclasses.replace(spec, num_classes=2), "train").size == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "foldr"}, "Did you mean folder"),
        ({"dataset": "folder"}, "type --data_dir=DIR"),
    ],
)
def test_a_source_that_is_not_there_is_named_with_what_to_type(fields, message):
    with pytest.raises(InputError, match=message):
        data.load(DataSpec(**fields), "train")


def test_a_split_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match="train, val, test; got 'validation'"):
        data.load(fill(tmp_path), "validation")
