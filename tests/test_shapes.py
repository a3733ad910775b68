"""The built-in scenes: exact masks, classes that only shape tells, and safe preparation."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from tfreuse import data
from tfreuse.data import scenes
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec

SIDE = scenes.SIDE
GRID = (np.arange(400, dtype=np.float32) + 0.5) / 400  # points to measure areas at


@pytest.fixture(scope="module")
def drawn():
    """600 scenes: images uint8 [N, H, W, 3] and masks uint8 [N, H, W]."""
    images, masks = zip(*(scenes.draw("train", i) for i in range(600)), strict=True)
    return np.stack(images), np.stack(masks)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of TFDS with eight scenes a split."""
    from tfreuse.data import shapes

    folder = tmp_path_factory.mktemp("tfds")
    shapes.prepare(str(folder), max_examples_per_split=8)
    return folder


@pytest.mark.parametrize("label", [1, 2, 3, 4])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_the_shapes_have_equal_areas_at_every_angle(label, angle):
    share = scenes.covers(label, 0.5, 0.5, 0.3, angle, GRID, GRID).mean()
    assert share == pytest.approx(2.04 * 0.3**2, rel=0.03)


@pytest.mark.parametrize(
    ("label", "inside", "outside"),  # (down, right) of the centre, in radii
    [
        (1, [(0, 0.79), (0.56, 0.56)], [(0, 0.81), (0.58, 0.58)]),
        (2, [(0.7, 0.7), (0, -0.7)], [(0.72, 0), (0, 0.72)]),
        (3, [(1.2, 0), (-0.6, 1.0)], [(-0.64, 0), (0.6, 0.5), (1.27, 0)]),
        (4, [(0.94, 0.32), (0.32, -0.94)], [(0.34, 0.34), (0.96, 0)]),
    ],
)
def test_each_shape_covers_the_points_that_geometry_says(label, inside, outside):
    for points, wanted in ((inside, True), (outside, False)):
        for down, right in points:
            at = np.array([0.5 + 0.2 * down]), np.array([0.5 + 0.2 * right])
            assert scenes.covers(label, 0.5, 0.5, 0.2, 0.0, *at).item() is wanted
            # Turned by a right angle, right becomes down and down becomes left.
            at = np.array([0.5 + 0.2 * right]), np.array([0.5 - 0.2 * down])
            turned = scenes.covers(label, 0.5, 0.5, 0.2, np.pi / 2, *at)
            assert turned.item() is wanted


def test_a_mask_lies_on_the_object_that_is_seen(monkeypatch):
    """Flat objects on flat ground: a pixel's colour tells how much of it the object covers."""
    flat = {"TEXTURE": 0, "LIGHTING": 0, "NOISE": 0, "OBJECTS": (1, 1)}
    for name, value in flat.items():
        monkeypatch.setattr(scenes, name, value)
    judged = 0
    for i in range(30):
        image, mask = scenes.draw("val", i)
        colours = sorted(np.unique(image.reshape(-1, 3), axis=0), key=np.sum)
        # Anti-aliased: of the four points drawn in a pixel none to four lie on the object.
        if len(colours) < 5:
            continue  # at some angles no pixel has, say, three of them
        judged += 1
        covered = sum((image > colour).any(axis=-1).astype(int) for colour in colours)
        # Of a straight border, three points are on the side of the pixel's centre; a corner
        # may differ.
        assert (mask[covered >= 3] == 0).sum() <= 2
        assert (mask[covered <= 1] > 0).sum() <= 2
    assert judged >= 20


def test_scenes_hold_every_class_one_to_three_objects_and_mostly_ground(drawn):
    shares = np.bincount(drawn[1].ravel(), minlength=5) / drawn[1].size
    assert 0.6 < shares[0] < 0.85
    assert shares[1:].min() > 0.04 and shares[1:].max() < 0.1
    assert len(np.unique(drawn[1])) == 5
    classes = [len(np.unique(mask)) - 1 for mask in drawn[1]]
    assert set(classes) == {1, 2, 3}


def test_colour_does_not_tell_the_class(drawn):
    """The classes' mean colours agree within four standard errors, borders left out."""
    colours = {label: [] for label in range(1, 5)}
    for image, mask in zip(drawn[0] / 255, drawn[1], strict=True):
        inner = ndimage.minimum_filter(mask, 3) == ndimage.maximum_filter(mask, 3)
        for label in set(mask[inner]) - {0}:
            colours[label].append(image[inner & (mask == label)].mean(axis=0))
    for one, other in itertools.combinations(map(np.array, colours.values()), 2):
        error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
        assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 4 * error).all()


def test_an_object_stands_out_from_its_ground(drawn):
    for image, mask in zip(drawn[0][:100] / 255, drawn[1][:100], strict=True):
        ground, figure = image[mask == 0].mean(axis=0), image[mask > 0].mean(axis=0)
        assert np.linalg.norm(figure - ground) > 0.2


def test_scenes_repeat_and_differ_between_numbers_and_splits():
    image, mask = scenes.draw("train", 3)
    np.testing.assert_array_equal(image, scenes.draw("train", 3)[0])
    np.testing.assert_array_equal(mask, scenes.draw("train", 3)[1])
    for other in (("train", 4), ("val", 3), ("test", 3)):
        assert (image != scenes.draw(*other)[0]).mean() > 0.5


def test_example_i_of_a_prepared_split_is_scene_i_whatever_the_split_holds(prepared):
    for name in data.SPLITS:
        spec = DataSpec(data_dir=str(prepared))
        split = data.load(spec, name)
        assert (split.size, split.num_classes) == (8, 5)
        assert split.class_names == scenes.CLASS_NAMES
        for i, example in enumerate(split.examples.as_numpy_iterator()):
            image, mask = scenes.draw(name, i)
            np.testing.assert_array_equal(example["image"], image)
            np.testing.assert_array_equal(example["mask"], mask)


def test_shapes_can_be_had_grey_small_and_few(prepared):
    spec = DataSpec(
        data_dir=str(prepared), image_size=(32, 32), channels=1, train_examples=3
    )
    split = data.load(spec, "train")
    assert split.tensors["image"].shape == (3, 32, 32, 1)
    # Every second pixel: nearest takes the pixel just after the middle of two.
    np.testing.assert_array_equal(
        split.tensors["mask"][2], scenes.draw("train", 2)[1][1::2, 1::2]
    )


def test_the_report_names_the_classes(prepared):
    report = data.check(DataSpec(data_dir=str(prepared)))
    assert "train: 8 pairs, 64 x 64 pixels" in report
    assert report.endswith("cross")


def test_fewer_classes_than_the_scenes_have_are_refused(prepared):
    with pytest.raises(
        InputError, match="Labels must be 0 to 2 .*Type --num_classes=5"
    ):
        data.load(DataSpec(data_dir=str(prepared), num_classes=3), "train")


def test_a_tfds_data_set_is_read_with_its_keys_and_label_offset(prepared):
    spec = DataSpec(dataset="tfds:shapes", data_dir=str(prepared))
    plain = data.load(spec, "val")
    assert (plain.size, plain.num_classes) == (8, 5)
    shifted = dataclasses.replace(spec, ignore_label=0, label_offset=1, num_classes=6)
    wanted = plain.tensors["mask"].numpy()
    wanted = np.where(wanted == 0, 0, wanted + 1)
    np.testing.assert_array_equal(data.load(shifted, "val").tensors["mask"], wanted)
    grey = dataclasses.replace(spec, mask_threshold=2, intensity_range="0,200")
    split, image = data.load(grey, "val"), plain.tensors["image"].numpy()
    np.testing.assert_array_equal(
        split.tensors["mask"], plain.tensors["mask"].numpy() >= 2
    )
    wanted = np.rint(np.minimum(image / 200, 1) * 255)
    np.testing.assert_array_equal(split.tensors["image"], wanted)
    for fields, message in (
        ({"label_offset": -1}, "--label_offset=0"),
        (
            {"mask_key": "annotation"},
            "no 'annotation'; it has image, segmentation_mask",
        ),
        ({"mask_key": "image"}, r"Masks must be \[H, W\]"),
        ({"intensity_range": "0,4095"}, "tfds:shapes has 8 bits"),
        ({"image_key": "segmentation_mask", "mask_key": "segmentation"}, "no 'segmen"),
    ):
        with pytest.raises(InputError, match=message):
            data.load(dataclasses.replace(spec, **fields), "val")


def test_splits_are_what_tfds_cuts_them_to(prepared):
    spec = DataSpec(
        dataset="tfds:shapes",
        data_dir=str(prepared),
        splits=("train=train[:4]", "val=train[4:]", "test=train[:2]+train[-1:]"),
    )
    plain = DataSpec(dataset="tfds:shapes", data_dir=str(prepared))
    whole = data.load(plain, "train").tensors["image"].numpy()
    train, val, test = (
        data.load(spec, name).tensors["image"].numpy() for name in data.SPLITS
    )
    np.testing.assert_array_equal(np.concatenate([train, val]), whole)
    np.testing.assert_array_equal(test, whole[[0, 1, -1]])
    bad = dataclasses.replace(spec, splits=("train=trian[:4]",))
    with pytest.raises(
        InputError, match="--splits=train=trian.*is none of tfds:shapes's"
    ):
        data.load(bad, "train")
    with pytest.raises(InputError, match="--splits takes train=..., val=..."):
        dataclasses.replace(spec, splits=("all=train",))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:oxford_iiit_pet", "nothing is downloaded unasked.*download_and_prepare"),
        ("tfds:oxford_iit_pet", "Nearest: oxford_iiit_pet"),
    ],
)
def test_a_tfds_data_set_that_is_not_there_is_refused_at_once(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        data.load(DataSpec(dataset=name, data_dir=str(tmp_path)), "train")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--data_dir=DIR"):
        data.load(DataSpec(data_dir=str(tmp_path / "file")), "train")


def test_damaged_scenes_are_refused_with_the_folder_to_remove(tmp_path):
    (tmp_path / "shapes" / "1.0.0").mkdir(parents=True)
    with pytest.raises(InputError, match="Remove the folder"):
        data.load(DataSpec(data_dir=str(tmp_path)), "train")


def test_a_process_that_is_overtaken_uses_what_the_other_has_drawn(
    tmp_path, monkeypatch
):
    from tfreuse.data import shapes

    generate = shapes.Shapes.download_and_prepare

    def overtaken(builder, **options):
        if not (tmp_path / "rival").exists():
            (tmp_path / "rival").touch()
            shapes.prepare(str(tmp_path), max_examples_per_split=2)
            raise OSError("Directory not empty")
        generate(builder, **options)

    monkeypatch.setattr(shapes.Shapes, "download_and_prepare", overtaken)
    builder = shapes.prepare(str(tmp_path), max_examples_per_split=2)
    assert builder.info.splits["train"].num_examples == 2


def test_a_folder_data_set_does_not_wait_for_tfds_to_be_imported():
    code = "import sys, tfreuse.data; sys.exit('tensorflow_datasets' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
