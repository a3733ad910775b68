"""Reading pairs of image and mask, and the order and units in which they are handed out."""

import dataclasses
import fractions

import numpy as np
import pytest
import tensorflow as tf
from pairs import PALETTE, examples, fill, picture, save
from PIL import Image
from scipy import ndimage

from tfreuse import data
from tfreuse.data import masks, pictures
from tfreuse.errors import InputError
from tfreuse.specs import DataSpec


def test_a_folder_is_read_whole_in_the_order_of_its_names_and_bit_for_bit(tmp_path):
    spec = fill(tmp_path)
    for name in (".DS_Store", "Thumbs.db"):  # put there by systems, not by people
        (tmp_path / "train" / "images" / name).touch()
    split = data.load(spec, "train")
    assert (split.name, split.size, split.num_classes) == ("train", 5, 3)
    assert [e["id"] for e in examples(split)] == [b"p0", b"p1", b"p2", b"p3", b"p4"]
    for i, example in enumerate(examples(split)):
        image, mask = picture(i + 500)
        assert example["image"].dtype == np.uint8 and example["mask"].dtype == np.int32
        np.testing.assert_array_equal(example["image"], image)
        np.testing.assert_array_equal(example["mask"], mask)


@pytest.mark.parametrize("size", [(90, 140), (140, 90), (75, 75), (20, 31)])
def test_an_image_painted_from_its_mask_still_fits_it_after_resizing(tmp_path, size):
    fill(tmp_path, size=size)
    spec = DataSpec(dataset="folder", data_dir=str(tmp_path), image_size=(24, 40))
    for example in examples(data.load(spec, "train")):
        mask = example["mask"]
        assert set(np.unique(mask)) <= {0, 1, 2}
        error = np.abs(example["image"].astype(int) - PALETTE[mask]).max(axis=-1)
        # Away from edges: one label in the five by five pixels around.
        inner = ndimage.minimum_filter(mask, 5) == ndimage.maximum_filter(mask, 5)
        assert inner.mean() > 0.2
        assert error[inner].max() <= 1


@pytest.mark.parametrize("edge", [5, 18, 30, 42])
@pytest.mark.parametrize("width", [24, 36, 40, 48, 70, 96, 113, 192])
def test_an_edge_is_at_one_place_in_image_and_mask_whatever_the_ratio(width, edge):
    """A drawn edge at column `edge` of 48, read at another size, up or down."""
    size = (
        7 * width // 48 + 1,
        width,
    )  # wider than the picture's proportions: all columns
    mask = np.zeros((8, 48), np.int32)
    mask[:, edge:] = 1
    image = pictures.fit_image((mask[..., None] * 240).astype(np.uint8), size)[..., 0]
    fitted = pictures.fit_mask(mask, size)
    scale = fractions.Fraction(48, width)
    centres = [(column + fractions.Fraction(1, 2)) * scale for column in range(width)]
    wanted = np.array([centre >= edge for centre in centres], int)
    np.testing.assert_array_equal(fitted, np.tile(wanted, (size[0], 1)))
    # Where the image passes through half, counted in its own pixels from the left.
    place = width - (image.astype(float) / 240).sum(axis=1)
    np.testing.assert_allclose(place, edge / float(scale), atol=0.1)
    assert abs(width - wanted.sum() - edge / float(scale)) <= 0.5
    # TensorFlow's resize with centres of pixels gives the same labels but where it rounds.
    near = tf.image.resize(mask[..., None], (8, width), "nearest")[0, :, 0].numpy()
    off_edge = np.array([abs(centre - edge) > 1e-3 for centre in centres])
    np.testing.assert_array_equal(near[off_edge], wanted[off_edge])


def test_a_mask_of_each_format_gives_the_same_labels_at_another_size(tmp_path):
    mask = picture(3, (45, 77))[1]
    palette = Image.fromarray(mask)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "index.png")
    save(mask, tmp_path / "grey.png")
    save(mask.astype(np.uint16), tmp_path / "deep.png")
    save(
        np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[mask],
        tmp_path / "rgb.png",
    )
    colours = DataSpec(palette=("000000", "ff0000", "00ff00"))
    wanted = Image.fromarray(mask).resize(
        (32, 20), Image.Resampling.NEAREST, (2.5, 0, 74.5, 45)
    )
    for name in ("index", "grey", "deep", "rgb"):
        spec = colours if name == "rgb" else DataSpec()
        fitted = pictures.fit_mask(
            masks.read(tmp_path / f"{name}.png", spec).labels, (20, 32)
        )
        np.testing.assert_array_equal(fitted, wanted)


def test_the_middle_of_a_picture_is_kept_and_its_ends_are_cut_off():
    assert pictures._box((8, 4), (2, 2)) == (2, 0, 6, 4)
    assert pictures._box((4, 8), (2, 2)) == (0, 2, 4, 6)
    columns = np.tile(np.arange(8, dtype=np.int32), (4, 1))
    # The box is columns 2 to 5; its two pixels have their centres at 3.0 and 5.0.
    assert pictures.fit_mask(columns, (2, 2)).tolist() == [[3, 5], [3, 5]]
    assert pictures.fit_mask(columns.T, (2, 2)).tolist() == [[3, 3], [5, 5]]
    halves = np.zeros((64, 128), np.uint8)
    halves[:, 64:] = 200
    image = pictures.fit_image(halves[..., None], (16, 16))[..., 0]
    assert (image[:, :7] == 0).all() and (image[:, 9:] == 200).all()


def test_fine_detail_is_averaged_and_not_aliased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 200
    image = pictures.fit_image(stripes[..., None], (16, 16))
    assert np.abs(image.astype(int) - 100).max() <= 8


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "CMYK"])
def test_images_of_every_usual_mode_become_the_channels_asked_for(
    tmp_path, mode, channels
):
    spec = dataclasses.replace(fill(tmp_path), channels=channels)
    path = tmp_path / "train" / "images" / "p0"
    original = Image.open(path.with_suffix(".png")).convert(mode)
    path.with_suffix(".png").unlink()
    original.save(path.with_suffix(".tif"))
    first = examples(data.load(spec, "train"))[0]["image"]
    wanted = np.asarray(original.convert("L" if channels == 1 else "RGB"))
    np.testing.assert_allclose(
        first, wanted.reshape(12, 16, channels).astype(int), atol=2
    )


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "1"])
def test_masks_of_every_single_channel_mode_keep_their_labels(tmp_path, mode):
    spec = dataclasses.replace(fill(tmp_path), num_classes=1000)
    labels = picture(500)[1]
    labels = labels > 0 if mode == "1" else labels
    if mode == "I;16":
        labels = labels.astype(np.uint16) * 400  # over 255
    mask = Image.fromarray(labels)
    if mode == "P":
        mask.putpalette([9, 9, 9, 0, 0, 0, 250, 3, 3])  # indices count, not colours
    assert mask.mode == mode
    mask.save(tmp_path / "train" / "masks" / "p0.png")
    first = examples(data.load(spec, "train"))[0]["mask"]
    np.testing.assert_array_equal(first, labels.astype(int))


STORED = {  # how a picture is stored that its mark of orientation turns upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def store_turned(root, number, ending=".png", masks=False):
    """Stores train/images/p0, and its mask too, as a camera does that was turned."""
    exif = Image.Exif()
    exif[0x0112] = number
    for kind, array in zip(("images", "masks"), picture(500), strict=True):
        path = root / "train" / kind / "p0.png"
        path.unlink()
        turned = Image.fromarray(array)
        if kind == "images":
            turned = turned.transpose(STORED[number])
            turned.save(path.with_suffix(ending), exif=exif, lossless=True)
        else:
            (turned.transpose(STORED[number]) if masks else turned).save(path)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("number", STORED)
def test_a_photo_is_turned_upright_with_a_mask_that_was_drawn_on_its_stored_pixels(
    tmp_path, number, ending, masks
):
    spec = fill(tmp_path, [("train", 1), ("val", 1), ("test", 1)])
    store_turned(tmp_path, number, ending, masks)
    choice = "stored" if masks else "upright"
    for option in {choice, "auto"} if number >= 5 or not masks else {choice}:
        spec = dataclasses.replace(spec, mask_orientation=option)
        example = examples(data.load(spec, "train"))[0]
        wanted, mask = picture(500)
        np.testing.assert_array_equal(example["image"], wanted)
        np.testing.assert_array_equal(example["mask"], mask)


def test_the_report_counts_turned_photos_and_the_masks_turned_with_them(tmp_path):
    spec = fill(tmp_path)
    store_turned(tmp_path, 3)
    note = "train: 1 of 5 photos are turned by their EXIF mark and their masks are not"
    assert note in data.check(spec) and "--mask_orientation=stored" in data.check(spec)
    fill(tmp_path / "six")
    store_turned(tmp_path / "six", 6, masks=True)
    spec = dataclasses.replace(spec, data_dir=str(tmp_path / "six"))
    assert (
        "1 of 5 photos are turned by their EXIF mark, and with them their"
        in data.check(spec)
    )
    # Of p1 the size does not tell, but p0 does: it is not left to chance.
    exif = Image.Exif()
    exif[0x0112] = 3
    path = tmp_path / "six" / "train" / "images" / "p1.png"
    Image.open(path).save(path, exif=exif)
    with pytest.raises(InputError, match="--mask_orientation=stored or upright"):
        data.check(spec)
    data.check(dataclasses.replace(spec, mask_orientation="stored"))


def test_the_number_of_classes_comes_from_all_splits_and_leaves_out_the_ignored(
    tmp_path,
):
    spec = fill(tmp_path)
    mask = picture(0)[1]
    mask[0, 0] = 6
    Image.fromarray(mask).save(tmp_path / "test" / "masks" / "p1.png")
    assert data.load(spec, "train").num_classes == 7
    assert (
        data.load(dataclasses.replace(spec, ignore_label=6), "train").num_classes == 3
    )
    mask[0, 0] = 4  # a changed file is noticed in the same process
    Image.fromarray(mask).save(tmp_path / "test" / "masks" / "p1.png")
    assert data.load(spec, "train").num_classes == 5


def test_examples_can_be_limited_by_split(tmp_path):
    spec = dataclasses.replace(fill(tmp_path), train_examples=3, test_examples=1)
    sizes = [data.load(spec, split).size for split in data.SPLITS]
    assert sizes == [3, 1, 1]
    assert [e["id"] for e in examples(data.load(spec, "train"))] == [
        b"p0",
        b"p1",
        b"p2",
    ]


def test_images_without_masks_serve_an_autoencoder_but_no_segmentation(tmp_path):
    spec = fill(tmp_path)
    for file in (tmp_path / "train" / "masks").iterdir():
        file.unlink()
    split = data.load(spec, "train", masks=False)
    images, targets = next(iter(data.training_batches(split, "autoencoder", 2, seed=0)))
    np.testing.assert_array_equal(images, targets)
    assert "mask" not in next(iter(data.evaluation_batches(split, 2)))
    with pytest.raises(ValueError, match="without"):
        data.training_batches(split, "segmentation", 2, seed=0)


def batches(split, count, size=3, task="segmentation", **options):
    drawn = data.training_batches(split, task, size, **options)
    return [(x.numpy(), y.numpy()) for x, y in drawn.take(count)]


def which(split, drawn):
    """The number of the example that each image drawn is."""
    known = [example["image"] / np.float32(255) for example in examples(split)]
    images = np.concatenate([x for x, _ in drawn])
    return [
        next(i for i, k in enumerate(known) if np.array_equal(k, image))
        for image in images
    ]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    root = tmp_path_factory.mktemp("seven")
    return data.load(fill(root, [("train", 7), ("val", 1), ("test", 1)]), "train")


def test_every_example_comes_once_a_pass_and_each_pass_has_its_own_order(split):
    order = which(split, batches(split, 14, seed=1))  # 42 examples: six passes of seven
    passes = [order[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 3


def test_a_run_resumed_at_a_step_sees_the_batches_it_would_have_seen(split):
    through = batches(split, 12, seed=1)
    for start in (1, 2, 5, 7, 9):  # within a pass, and at and after the end of one
        resumed = batches(split, 3, seed=1, start_step=start)
        for (x, y), (u, v) in zip(through[start:], resumed):
            np.testing.assert_array_equal(x, u)
            np.testing.assert_array_equal(y, v)


def test_no_thread_tunes_batches_whose_sleep_would_be_waited_for(split):
    for batches in (
        data.training_batches(split, "autoencoder", 4, seed=0).map(lambda x, y: (x, y)),
        data.evaluation_batches(split, 4),
    ):
        assert batches.options().autotune.enabled is False


def test_the_seed_fixes_the_order_and_another_seed_gives_another(split):
    assert which(split, batches(split, 5, seed=1)) == which(
        split, batches(split, 5, seed=1)
    )
    assert which(split, batches(split, 5, seed=1)) != which(
        split, batches(split, 5, seed=2)
    )


def test_iterating_the_same_batches_twice_gives_the_same_order(split):
    drawn = data.training_batches(split, "autoencoder", 3, seed=1).take(4)
    first, second = ([x.numpy() for x, _ in drawn] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_batches_have_the_shapes_dtypes_and_units_that_are_promised(split):
    (images, masks), *_ = batches(split, 1, seed=0)
    assert (images.shape, images.dtype) == ((3, 12, 16, 3), np.float32)
    assert (masks.shape, masks.dtype) == ((3, 12, 16), np.int32)
    np.testing.assert_allclose(images * 255, PALETTE[masks], atol=1e-4)
    (images, targets), *_ = batches(split, 1, seed=0, task="autoencoder")
    np.testing.assert_array_equal(images, targets)


def test_a_batch_may_be_larger_than_the_split(split):
    order = which(split, batches(split, 2, size=14, seed=1))
    assert sorted(order[:14]) == sorted([*range(7), *range(7)])


def test_evaluation_sees_every_example_once_in_order_and_keeps_the_last(split):
    drawn = list(data.evaluation_batches(split, 3).as_numpy_iterator())
    assert [len(batch["id"]) for batch in drawn] == [3, 3, 1]
    ids = [name for batch in drawn for name in batch["id"]]
    assert ids == [f"p{i}".encode() for i in range(7)]
    masks = np.concatenate([batch["mask"] for batch in drawn])
    images = np.concatenate([batch["image"] for batch in drawn])
    assert masks.dtype == np.int32 and images.dtype == np.float32
    np.testing.assert_allclose(images * 255, PALETTE[masks], atol=1e-4)


def test_the_report_counts_pairs_sizes_modes_and_labels(tmp_path):
    spec = fill(tmp_path, [("train", 2), ("val", 1), ("test", 1)])
    for split in data.SPLITS:
        for path in (tmp_path / split / "masks").iterdir():
            mask = np.zeros((12, 16), np.uint8)
            mask[:3] = 1  # a quarter
            mask[3:6, :4] = 9  # a sixteenth
            save(mask, path)
    save(np.zeros((24, 20), np.uint8), tmp_path / "train" / "images" / "p1.png")
    save(np.ones((24, 20), np.uint8), tmp_path / "train" / "masks" / "p1.png")
    # train: 192 + 480 pixels; 132 + 0 of label 0, 48 + 480 of 1, 12 of the ignored 9
    wanted = """\
train: 2 pairs, 16 x 12 to 20 x 24 pixels (width x height), modes RGB / L (1), L / L (1)
val: 1 pairs, 16 x 12 pixels (width x height), modes RGB / L (1)
test: 1 pairs, 16 x 12 pixels (width x height), modes RGB / L (1)

label      train      val     test  class
    0     19.64%   68.75%   68.75%
    1     78.57%   25.00%   25.00%
    9      1.79%    6.25%    6.25%  ignored"""
    assert data.check(dataclasses.replace(spec, ignore_label=9)) == wanted


def test_foreground_is_every_label_but_zero_and_the_rest_stays_as_it_was(tmp_path):
    split = data.load(dataclasses.replace(fill(tmp_path), ignore_label=255), "train")
    before = [example["mask"] for example in examples(split)]
    two = data.relabel(split, "foreground")
    assert (two.num_classes, two.class_names) == (2, ("class 0", "foreground"))
    assert (two.name, two.size, two.ignore_label) == ("train", 5, 255)
    for old, new, kept in zip(before, examples(two), examples(split), strict=True):
        np.testing.assert_array_equal(new["mask"], old > 0)
        np.testing.assert_array_equal(
            kept["mask"], old
        )  # the split itself is untouched
        np.testing.assert_array_equal(kept["image"], new["image"])
        assert (new["mask"].dtype, kept["id"]) == (np.int32, new["id"])
    assert two.tensors["image"] is split.tensors["image"]
    (_, masks), *_ = batches(two, 1, seed=0)
    assert set(np.unique(masks)) == {0, 1}
    assert data.relabel(split, "all") is split


@pytest.mark.parametrize(("ignored", "becomes"), [(1, 2), (2, 2)])
def test_what_is_ignored_is_no_foreground(tmp_path, ignored, becomes):
    split = data.load(dataclasses.replace(fill(tmp_path), ignore_label=ignored), "val")
    two = data.relabel(split, "foreground")
    assert two.ignore_label == becomes
    for old, new in zip(examples(split), examples(two), strict=True):
        wanted = np.where(old["mask"] == ignored, becomes, old["mask"] > 0)
        np.testing.assert_array_equal(new["mask"], wanted)


def test_foreground_needs_masks_and_a_background(tmp_path):
    spec = fill(tmp_path)
    with pytest.raises(ValueError, match="without"):
        data.relabel(data.load(spec, "val", masks=False), "foreground")
    split = dataclasses.replace(data.load(spec, "val"), ignore_label=0)
    with pytest.raises(InputError, match="--ignore_label=0 ignores it"):
        data.relabel(split, "foreground")


def test_some_examples_of_a_split_are_a_split_in_the_order_asked_for():
    split = data.load(DataSpec(image_size=(16, 16), train_examples=6), "train")
    few = data.take(split, [4, 1])
    assert (few.size, few.num_classes) == (2, split.num_classes)
    for name, tensor in few.tensors.items():
        np.testing.assert_array_equal(tensor, split.tensors[name].numpy()[[4, 1]])
    for indices in ([], [6], [-1]):
        with pytest.raises(InputError, match="examples 0 to 5 of the train split"):
            data.take(split, indices)
