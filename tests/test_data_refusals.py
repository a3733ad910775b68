"""What a data set must not hold: each is refused in one line that names the file and the way out."""

import dataclasses
import re

import numpy as np
import pytest
from pairs import fill, picture, save
from PIL import Image

from tfreuse import data
from tfreuse.data import labels, survey
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
        "notes.txt. Move such",
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
        "A file must hold one image; .*p1.tif holds 2",
    ),
    "numbers that are no labels": (
        spoil(lambda images, masks: instances(masks / "p1.png")),
        "Labels must be 0 to 65535; .*p1.tif has 0 to 70000",
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
        r"Labels must be 0 to 2 .*masks/p1.png has 7. Type --num_classes=10",
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


def test_the_check_names_all_files_that_cannot_be_used(tmp_path):
    spec = fill(tmp_path, [("train", 12), ("val", 2), ("test", 2)])
    for path in sorted(tmp_path.glob("train/images/*.png")) + [
        tmp_path / "val" / "masks" / "p1.png"
    ]:
        path.write_bytes(path.read_bytes()[:60])
    (tmp_path / "test" / "images" / "p0.png").write_bytes(b"no image")
    with pytest.raises(InputError) as refusal:
        data.check(spec)
    text = str(refusal.value)
    assert (
        "p0.png can't be decoded" in text
        and "remove it and its mask, if any. 14 files" in text
    )
    assert text.endswith(
        "p5.png, " + str(tmp_path / "train/images/p6.png") + " and 5 more."
    )
    for i in range(12):
        save(RGB, tmp_path / "train" / "images" / f"p{i}.png")
    with pytest.raises(
        InputError, match=r"its image\. 2 files .* are .*test/images/p0"
    ):
        data.check(spec)
    with pytest.raises(InputError, match=r"p1.png can't be .* and its image\.$"):
        data.load(spec, "val")
    for name in ("notes.txt", "b.csv", "c.csv", "d.csv"):
        (tmp_path / "train" / "images" / name).touch()
    with pytest.raises(
        InputError, match="also has b.csv, c.csv, d.csv and 1 more. Move"
    ):
        data.check_files(spec)


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


def put(root, paint):
    """Replaces every mask by paint(labels of the mask, number of the file)."""
    for number, path in enumerate(sorted(root.glob("*/masks/*.png"))):
        save(paint(np.asarray(Image.open(path)), number), path)


def soft(mask, number, by=2):
    """The mask's foreground as white, its edges made soft by scaling down."""
    white = Image.fromarray((mask > 0).astype(np.uint8) * 255)
    width, height = white.size
    white = white.resize((width * by, height * by)).resize(
        (width, height), Image.BICUBIC
    )
    turned = white.rotate(5 + number, Image.Resampling.BILINEAR)
    return np.asarray(turned)


@pytest.mark.parametrize("fields", [{}, {"ignore_label": 255}, {"num_classes": 2}])
@pytest.mark.parametrize("white", [255, 65535, 200])
def test_soft_edges_are_named_and_the_flag_to_read_them_works(tmp_path, fields, white):
    spec = fill(tmp_path, size=(48, 64))
    dtype = np.uint16 if white > 255 else np.uint8
    put(tmp_path, lambda mask, i: (soft(mask, i) / 255 * white).round().astype(dtype))
    sharp = [
        np.asarray(Image.open(p)) for p in sorted(tmp_path.glob("train/masks/*.png"))
    ]
    message = (
        f"grey values between 0 and {white}, as black and white masks with soft edges"
    )
    with pytest.raises(InputError, match=message) as refusal:
        data.check(dataclasses.replace(spec, **fields))
    threshold = int(re.search(r"--mask_threshold=(\d+)", str(refusal.value))[1])
    spec = dataclasses.replace(spec, image_size=(48, 64), mask_threshold=threshold)
    split = data.load(spec, "train")
    assert split.num_classes == 2
    wanted = np.stack(sharp) >= (white + 1) // 2
    np.testing.assert_array_equal(split.tensors["mask"], wanted)
    classes = int(re.search(r"--num_classes=(\d+)", str(refusal.value))[1])
    if white < 65535:
        data.check(dataclasses.replace(spec, mask_threshold=0, num_classes=classes))


LABELS = {  # of masks that are no grey pictures, as counts of files: none is refused
    "classes and a mark": [[50, 9, 9, 9, *[0] * 251, 9]],
    "many classes and a mark": [[5] * 150 + [0] * 105 + [60]],
    "few of many classes": [[5, 0, 0, 9, *[0] * 146, 80, *[0] * 104, 6]],
    "all of 255 classes and a mark": [[1] * 256],
    "background and the last of many": [[500, *[3] * 60, 0, 0, 90]] * 9,
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_not_taken_for_soft_edges(case):
    counts = [("mask.png", np.array(pixels)) for pixels in LABELS[case]]
    assert labels.classes(counts, 255) >= 4


def test_labels_that_occur_nowhere_are_named_with_what_makes_them_classes(
    tmp_path, caplog
):
    spec = fill(tmp_path)
    put(tmp_path, lambda mask, number: (mask > 0) * np.uint8(7))
    report = data.check(spec)
    assert "Note: 1 to 6 of 8 labels occur in no mask" in report
    assert "    1 to 6: no pixels" in report
    palette = tuple(re.search(r"--palette=(\S+)", report)[1].split(","))
    few = data.load(dataclasses.replace(spec, palette=palette), "train")
    assert (few.num_classes, set(np.unique(few.tensors["mask"]))) == (2, {0, 1})
    put(tmp_path, lambda mask, number: (mask > 0) * np.uint8(1 + 20 * number))
    data.load(spec, "train")
    assert (
        "2 to 20, 22 to 40, 42 to 60, 62 to 80 and 76 more of 162 labels" in caplog.text
    )
    assert "if they number objects, --mask_threshold=1" in caplog.text
    one = data.load(dataclasses.replace(spec, mask_threshold=1), "train")
    assert one.num_classes == 2


def test_instance_numbers_and_grey_classes_are_named_with_the_flag_that_reads_them(
    tmp_path,
):
    spec = fill(tmp_path)
    columns = np.arange(16, dtype=np.uint8)
    put(tmp_path, lambda mask, number: np.tile(np.minimum(columns, number), (12, 1)))
    report = data.check(spec)
    assert "every mask has labels from 1 to some number, up to 8, without" in report
    assert "--mask_threshold=1" in report
    put(tmp_path, lambda mask, number: np.array([0, 128, 255], np.uint8)[mask % 3])
    with pytest.raises(InputError, match="--palette=000000,808080,ffffff if"):
        data.check(spec)
    # 16 bits have no colours
    put(tmp_path, lambda mask, number: np.uint16(1000) * (mask > 0))
    assert "--palette" not in data.check(spec)


def test_a_stray_pixel_is_named_with_its_mask_and_the_flag_that_leaves_it_out(tmp_path):
    spec = fill(tmp_path)
    put(tmp_path, lambda mask, number: (mask > 0).astype(np.uint8))
    path = tmp_path / "val" / "masks" / "p0.png"
    mask = np.array(Image.open(path))
    mask[0, 0] = 7
    save(mask, path)
    report = data.check(spec)
    note = f"label 7: 1 pixel in 1 mask ({path}); if it is no class, repair"
    assert (
        note in report and "--palette" not in report and "mask_threshold" not in report
    )
    assert re.search(r"^ +7 +- +0.26% +-$", report, re.MULTILINE)  # 1 of 2 * 12 * 16
    flag = int(re.search(r"--ignore_label=(\d+)", report)[1])
    spec = dataclasses.replace(spec, ignore_label=flag)
    assert data.load(spec, "val").num_classes == 2 and "label 7:" not in data.check(
        spec
    )
    few = [("a.png", np.array([10**6, 9 * 10**5, 11]))]
    assert labels.notes(few, -1)[0].startswith("label 2: 11 pixels in 1 mask (a.png)")
    assert survey._percent(11 / 1_900_011) == "<0.01%"
    assert not labels.notes([("a.png", np.array([9, 5, 4]))], -1)  # a tiny data set


def test_grey_masks_stored_in_colour_are_read_and_said(tmp_path):
    spec = fill(tmp_path)
    plain = data.load(spec, "train").tensors["mask"].numpy()
    put(tmp_path, lambda mask, number: np.stack([mask] * 3, -1))
    np.testing.assert_array_equal(data.load(spec, "train").tensors["mask"], plain)
    assert "train: 5 of 5 masks are RGB with three equal channels" in data.check(spec)
    put(tmp_path, lambda mask, number: np.stack([mask[..., 0]] * 4, -1))
    with pytest.raises(InputError, match="RGBA and is partly transparent"):
        data.load(spec, "train")


def test_a_palette_and_a_threshold_exclude_each_other():
    with pytest.raises(InputError, match="give one"):
        DataSpec(palette=("000000",), mask_threshold=128)
