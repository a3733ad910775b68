"""Folders as people have them: masks in colour, and images that nobody has divided."""

import shutil

import keras
import numpy as np
import pytest
from pairs import PALETTE, examples, fill, picture, save
from PIL import Image

from tfreuse import (
    data,
    export,
    models,
    prediction,
    training,
)
from tfreuse.advisor import trials
from tfreuse.data import contact_sheet, layout
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.specs import DataSpec, ModelSpec, TrainSpec

COLOURS = tuple("".join(f"{value:02x}" for value in colour) for colour in PALETTE)


def paint(root):
    """Masks saved as pictures in the palette's colours."""
    for path in root.glob("*/masks/*.png"):
        split, number = path.parent.parent.name, int(path.stem[1:])
        save(picture(number + 100 * len(split))[0], path)


def test_colours_are_labels_by_the_palette(tmp_path):
    spec = fill(tmp_path)
    plain = data.load(spec, "train").tensors["mask"].numpy()
    paint(tmp_path)
    coloured = DataSpec(**spec.__dict__ | {"palette": COLOURS})
    split = data.load(coloured, "train")
    assert split.num_classes == 3 == trials._with_classes(coloured).num_classes
    np.testing.assert_array_equal(split.tensors["mask"].numpy(), plain)


def test_a_colour_can_be_given_a_label_of_its_own(tmp_path):
    spec = fill(tmp_path)
    paint(tmp_path)
    palette = (COLOURS[0], COLOURS[1], f"#{COLOURS[2]}=255")
    spec = DataSpec(**spec.__dict__ | {"palette": palette, "ignore_label": 255})
    split = data.load(spec, "train")
    assert split.num_classes == 2
    assert set(np.unique(split.tensors["mask"])) == {0, 1, 255}


def test_a_colour_that_the_palette_lacks_is_named(tmp_path):
    spec = fill(tmp_path)
    paint(tmp_path)
    spec = DataSpec(**spec.__dict__ | {"palette": COLOURS[:2]})
    with pytest.raises(InputError, match=f"also has {COLOURS[2]}"):
        data.load(spec, "train")


@pytest.mark.parametrize(
    "palette, told",
    [(("red",), "got 'red'"), (("ff0000", "FF0000"), "names the colour FF0000 twice")],
)
def test_a_palette_is_of_colours(palette, told):
    with pytest.raises(InputError, match=told):
        DataSpec(palette=palette)


@pytest.fixture
def whole(tmp_path):
    """<root>/{images,masks} of 8 subjects with 5 images each."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(40):
        name = f"s{i // 5}_{i}.png"
        for kind, array in zip(("images", "masks"), picture(i), strict=True):
            save(array, tmp_path / kind / name)
    return DataSpec(
        dataset="folder", data_dir=str(tmp_path), image_size=(12, 16), group_by="[^_]+"
    )


def test_images_without_splits_are_divided_by_subject(whole):
    found = {
        split: [one["id"].decode() for one in examples(data.load(whole, split))]
        for split in layout.SPLITS
    }
    assert {name: len(ids) for name, ids in found.items()} == {
        "train": 30, "val": 5, "test": 5,
    }  # fmt: skip
    subjects = [{name.partition("_")[0] for name in ids} for ids in found.values()]
    assert not subjects[0] & subjects[1] | subjects[0] & subjects[2]
    assert set().union(*subjects) == {f"s{i}" for i in range(8)}


def test_without_a_pattern_each_image_is_its_own_subject(whole):
    spec = DataSpec(**whole.__dict__ | {"group_by": ""})
    sizes = [data.load(spec, split).size for split in layout.SPLITS]
    assert sizes == [28, 6, 6]


def test_too_few_subjects_are_not_divided(whole, tmp_path):
    spec = DataSpec(**whole.__dict__ | {"group_by": "s"})
    with pytest.raises(InputError, match="must be 3 subjects or more; got 1"):
        data.load(spec, "train")
    spec = DataSpec(**whole.__dict__ | {"group_by": "t"})
    with pytest.raises(InputError, match="does not match the start"):
        data.load(spec, "train")


def test_a_folder_with_splits_keeps_them(tmp_path):
    spec = fill(tmp_path)
    shutil.copytree(tmp_path / "train" / "images", tmp_path / "images")
    assert data.load(spec, "val").size == 2


def test_balancing_weights_are_of_median_frequency_and_keep_the_loss(tmp_path):
    spec = fill(tmp_path)
    split = data.load(spec, "train")
    weights = data.balancing_weights(split)
    shares = data.histogram(split).sum(axis=0) / data.histogram(split).sum()
    # every image has every class, so frequencies are shares of all pixels
    np.testing.assert_allclose(weights * shares, np.full(3, 1 / 3), rtol=1e-6)
    four = DataSpec(**spec.__dict__ | {"num_classes": 4})
    assert data.balancing_weights(data.load(four, "train"))[3] == 0


def bands(root, axis):
    """The same images as TIFF files of five bands, stored pixel by pixel or band by band."""
    tifffile = pytest.importorskip("tifffile")
    for path in root.glob("*/images/*.png"):
        image = np.asarray(Image.open(path))
        five = np.concatenate([image, 255 - image[..., :2]], axis=-1)
        tifffile.imwrite(path.with_suffix(".tif"), np.moveaxis(five, -1, axis))
        path.unlink()


@pytest.mark.parametrize("axis", [-1, 0])
def test_tiff_files_give_all_their_bands(tmp_path, axis):
    spec = fill(tmp_path)
    plain = data.load(spec, "train").tensors["image"].numpy()
    bands(tmp_path, axis)
    spec = DataSpec(**spec.__dict__ | {"channels": 5})
    found = data.load(spec, "train").tensors["image"].numpy()
    np.testing.assert_array_equal(found[..., :3], plain)
    np.testing.assert_array_equal(found[..., 3:], 255 - plain[..., :2])
    wide = DataSpec(**spec.__dict__ | {"image_size": (6, 8)})
    assert data.load(wide, "val").tensors["image"].shape == (2, 6, 8, 5)


def test_other_bands_than_said_are_refused(tmp_path):
    spec = fill(tmp_path)
    four = DataSpec(**spec.__dict__ | {"channels": 4})
    with pytest.raises(InputError, match="can't be read as TIFF"):
        data.load(four, "train")
    bands(tmp_path, -1)
    with pytest.raises(InputError, match="4 bands.*uint8 .*5"):
        data.load(four, "train")
    with pytest.raises(InputError, match="only of --dataset=folder"):
        DataSpec(channels=4)


@pytest.mark.slow
def test_a_network_of_five_bands_is_trained_exported_and_predicts(tmp_path):
    spec = fill(tmp_path / "data")
    bands(tmp_path / "data", -1)
    spec = DataSpec(**spec.__dict__ | {"channels": 5})
    contact_sheet.write(spec, tmp_path / "sheet.png")
    train = TrainSpec(steps=2, batch_size=2, validations=1)
    training.train(ModelSpec(width=2, depth=1), spec, train, tmp_path / "run")
    model = saving.load(tmp_path / "run" / "model.keras")
    served = export.export(model, tmp_path / "served")
    image = next((tmp_path / "data" / "test" / "images").iterdir())
    prediction.write(prediction.Predictor(served), image, tmp_path)
    with Image.open(tmp_path / f"{image.stem}_overlay.png") as overlay:
        assert overlay.mode == "RGB"


@pytest.mark.parametrize("auxiliary", [False, True])
def test_balanced_training_weighs_each_pixel_by_its_class(tmp_path, auxiliary):
    split = data.load(
        DataSpec(**fill(tmp_path).__dict__ | {"ignore_label": 2}), "train"
    )
    spec = TrainSpec(class_weights="balanced", batch_size=5)
    model = models.unet(width=2, depth=1, num_classes=2)
    if auxiliary:
        both = dict.fromkeys(("head", "auxiliary"), model.output)
        model = keras.Model(model.input, both)
    _, masks, weights = next(iter(training.batches(model, split, spec)))
    if auxiliary:
        assert set(weights) == set(masks) == {"head", "auxiliary"}
        masks, weights = masks["head"], weights["auxiliary"]
    wanted = np.append(
        data.balancing_weights(split), 0
    )  # what is ignored weighs nothing
    np.testing.assert_allclose(weights, wanted[masks.numpy()], rtol=1e-6)
    counted = weights.numpy()[masks.numpy() != 2]
    assert counted.mean() == pytest.approx(1)  # so that the loss keeps its size
