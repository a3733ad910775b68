"""The picture of a data set: a row a split, masks over images, ignored pixels black."""

import numpy as np
import pytest
from PIL import Image

from tfreuse import data
from tfreuse.data import contact_sheet
from tfreuse.specs import DataSpec


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2), ("test", 1)):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for i in range(count):
            pixels = draw.integers(0, 256, (16, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / "images" / f"{i}.png")
            mask = np.full((16, 24), i % 2, np.uint8)
            mask[:4] = 9
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{i}.png")
    return DataSpec(
        dataset="folder", data_dir=str(tmp_path), image_size=(16, 24),
        num_classes=2, ignore_label=9,
    )  # fmt: skip


def test_samples_come_from_all_over_the_split(folder):
    split = data.load(folder, "train")
    images, masks = contact_sheet._samples(split)
    everything = split.tensors["image"].numpy() / np.float32(255)
    np.testing.assert_array_equal(images, everything[[0, 1, 3, 5]])
    assert masks.shape == (4, 16, 24) and set(np.unique(masks)) == {0, 1, 9}


def test_an_image_stands_beside_itself_under_its_labels():
    image = np.full((2, 3, 1), 0.5, np.float32)
    mask = np.array([[0, 1, 9], [0, 0, 0]])
    colours = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    found = contact_sheet._pair(image, mask, colours, ignore_label=9)
    assert found.shape == (2, 6, 3)
    np.testing.assert_allclose(found[:, :3], 0.5)
    np.testing.assert_allclose(
        found[0, 3:], [[0.75, 0.25, 0.25], [0.25, 0.75, 0.25], [0.25] * 3]
    )


def test_the_sheet_has_a_row_a_split_and_one_of_changed_images(folder, tmp_path):
    contact_sheet.write(folder, tmp_path / "plain.png")
    contact_sheet.write(folder, tmp_path / "more.png", ("flip", "colour"))
    with Image.open(tmp_path / "plain.png") as one:
        plain = np.asarray(one)[..., :3]
    with Image.open(tmp_path / "more.png") as one:
        more = np.asarray(one)
    assert plain.shape[1] == more.shape[1] > 1000
    assert more.shape[0] > plain.shape[0] * 1.2
    colours = {tuple(pixel) for pixel in plain.reshape(-1, 3)}
    assert len(colours) > 1000  # pictures, not an empty frame
