"""Augmentation: masks follow their images, labels stay labels, draws follow from the key."""

import numpy as np
import pytest
import tensorflow as tf

from tfreuse import data
from tfreuse.data.augmentation import augment
from tfreuse.specs import AUGMENTATIONS, DataSpec, TrainSpec

GEOMETRIC = [n for n in AUGMENTATIONS if n not in ("colour", "grid_mask")]
LABELS, IGNORED = 5, 255


@pytest.fixture(scope="module")
def painted():
    """Masks of large patches, some ignored, and images that show their labels as grey."""
    draw = np.random.default_rng(0)
    coarse = draw.choice([0, 1, 2, 3, IGNORED], (6, 4, 4))
    masks = coarse.repeat(16, 1).repeat(16, 2).astype(np.int32)
    grey = np.where(masks == IGNORED, 4, masks) / (LABELS - 1)
    return np.repeat(grey[..., None], 3, -1).astype(np.float32), masks


def key(number):
    return tf.constant([7, number], tf.int64)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_masks_follow_their_images(painted, name):
    images, masks = painted
    found, labels = augment(images, masks, (name,), key(1))
    assert found.dtype == tf.float32 and labels.dtype == tf.int32
    assert found.shape == images.shape and labels.shape == masks.shape
    assert (found.numpy() != images).any()
    grey = np.where(labels == IGNORED, 4, labels) / (LABELS - 1)
    # at the edges of patches a pixel's grey is between two labels'
    assert np.mean(np.abs(found.numpy()[..., 0] - grey) < 0.13) > 0.93


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_label_is_made_up_and_pixels_stay_in_range(painted, name):
    images, masks = painted
    found, labels = augment(images, masks, (name,), key(2))
    assert set(np.unique(labels)) <= set(np.unique(masks))
    assert found.numpy().min() >= 0 and found.numpy().max() <= 1


def test_colour_leaves_masks_alone_and_changes_each_image_its_own_way(painted):
    images, masks = painted
    same = np.broadcast_to(0.5 + 0.2 * images[:1], images.shape)
    found, labels = augment(same, masks, ("colour",), key(3))
    np.testing.assert_array_equal(labels, masks)
    assert len({one.tobytes() for one in found.numpy()}) == len(images)


def test_a_grid_hides_about_a_quarter_of_the_image_and_nothing_of_the_mask(painted):
    images, masks = painted
    found, labels = augment(0.5 + images / 2, masks, ("grid_mask",), key(8))
    np.testing.assert_array_equal(labels, masks)
    hidden = (found.numpy() == 0).all(-1)
    assert 0.1 < hidden.mean() < 0.4
    assert len({one.tobytes() for one in hidden}) == len(images)


def test_a_mosaic_has_its_own_images_part_and_others(painted):
    images, masks = painted
    numbers = np.arange(1, len(images) + 1)[:, None, None, None] / 10
    found, _ = augment(numbers + 0 * images, masks, ("mosaic",), key(9))
    values = [set(np.unique(np.round(10 * one)).astype(int)) for one in found.numpy()]
    assert all(number in held for number, held in enumerate(values, 1))
    assert sum(len(held) > 1 for held in values) > 3


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_follow_from_the_key_alone(painted, name):
    def drawn(number):
        return [
            one.numpy().tobytes() for one in augment(*painted, (name,), key(number))
        ]

    assert drawn(4) == drawn(4)
    assert len({drawn(number)[0] for number in range(4, 10)}) > 1


def test_a_grey_image_keeps_its_single_channel(painted):
    images, masks = painted
    found, _ = augment(images[..., :1], masks, AUGMENTATIONS, key(5))
    assert found.shape == (*images.shape[:3], 1)


@pytest.fixture(scope="module")
def split():
    spec = DataSpec(image_size=(16, 16), train_examples=6, test_examples=2)
    return data.load(spec, "train")


def batches(split, task, names, start_step=0):
    found = data.training_batches(
        split, task, 4, seed=1, start_step=start_step, augment=names
    )
    return [[t.numpy() for t in pair] for pair in found.take(4 - start_step)]


@pytest.mark.parametrize("task", ["segmentation", "autoencoder"])
def test_a_training_that_goes_on_sees_what_it_would_have_seen(split, task):
    whole, rest = (batches(split, task, AUGMENTATIONS, start) for start in (0, 2))
    for one, other in zip(whole[2:], rest, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    plain = batches(split, task, ())
    assert any((a != b).any() for a, b in zip(whole[0], plain[0], strict=True))


def test_an_autoencoder_reconstructs_the_changed_image(split):
    for images, targets in batches(split, "autoencoder", ("flip", "zoom")):
        np.testing.assert_array_equal(images, targets)


def test_the_same_image_is_changed_otherwise_in_every_pass(split):
    one = data.take(split, [0])
    found = data.training_batches(one, "segmentation", 1, seed=0, augment=("rotate",))
    images = [image.numpy().tobytes() for image, _ in found.take(4)]
    assert len(set(images)) == 4


def test_the_spec_takes_known_names_only():
    assert TrainSpec(augment=("flip", "colour")).augment == ("flip", "colour")
    with pytest.raises(ValueError, match="--augment"):
        TrainSpec(augment=("flop",))
