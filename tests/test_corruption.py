"""What auto-encoders' inputs lose, and that nothing but seed and number decides it."""

import numpy as np
import pytest
from pairs import fill

from tfreuse import data
from tfreuse.data import corruption
from tfreuse.specs import CORRUPTIONS

KINDS = [kind for kind in CORRUPTIONS if kind != "none"]


def pictures(count=6, size=(16, 24), channels=3):
    draw = np.random.default_rng(0)
    # 0.5 comes nowhere by chance, so that a masked pixel can be told from any other
    return draw.uniform(0.0, 0.49, (count, *size, channels)).astype(np.float32)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    root = tmp_path_factory.mktemp("seven")
    return data.load(fill(root, [("train", 7), ("val", 1), ("test", 1)]), "train")


def test_none_is_the_image_itself():
    images = pictures()
    assert data.corrupt(images, "none") is images


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_and_number_give_the_same_image_in_any_batch(kind):
    images = pictures()
    whole = data.corrupt(images, kind, 3).numpy()
    np.testing.assert_array_equal(whole, data.corrupt(images, kind, 3))
    part = data.corrupt(images[4:], kind, 3, numbers=np.array([4, 5]))
    np.testing.assert_array_equal(whole[4:], part)
    other = data.corrupt(images, kind, 4).numpy()
    assert all((a != b).any() for a, b in zip(whole, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_two_images_never_share_a_draw(kind):
    same = np.repeat(pictures(1), 5, axis=0)
    drawn = data.corrupt(same, kind).numpy()
    assert len({image.tobytes() for image in drawn}) == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "channels"), [((7, 9), 1), ((1, 5), 3), ((16, 16), 3)]
)
def test_every_size_and_number_of_channels_keeps_its_shape(kind, size, channels):
    images = pictures(2, size, channels)
    drawn = data.corrupt(images, kind)
    assert (drawn.shape, drawn.dtype) == (images.shape, np.float32)


def test_noise_has_mean_zero_and_the_deviation_that_is_promised():
    images = pictures(8, (32, 32))
    noise = data.corrupt(images, "noise").numpy() - images
    error = corruption.NOISE / np.sqrt(noise.size)
    assert abs(noise.mean()) < 4 * error
    assert abs(noise.std() - corruption.NOISE) < 4 * error
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.06  # each channel its own


def test_a_mask_hides_half_of_the_patches_whole_and_leaves_the_rest_alone():
    images = pictures(6, (16, 24))
    drawn = data.corrupt(images, "mask").numpy()
    hidden = (drawn == corruption.GREY).all(axis=-1)
    np.testing.assert_array_equal(drawn[~hidden], images[~hidden])
    patches = hidden.reshape(6, 8, 2, 12, 2).mean(axis=(2, 4))  # 16 / 8 = 2 pixels
    assert set(np.unique(patches)) == {0.0, 1.0}
    assert (patches.sum(axis=(1, 2)) == 48).all()  # of 96


def test_every_place_is_hidden_as_often_as_any_other():
    hidden = data.corrupt(pictures(200, (16, 16)), "mask").numpy() == corruption.GREY
    assert np.abs(hidden.mean(axis=0) - 0.5).max() < 0.18  # 5 / sqrt(4 x 200)


def test_patches_that_do_not_fit_are_cut_off_at_the_edge():
    hidden = data.corrupt(pictures(40, (33, 39)), "mask").numpy() == corruption.GREY
    assert abs(hidden.mean() - corruption.MASKED) < 0.02
    assert hidden[:, -1].any() and not hidden[:, -1].all()


def test_scrambling_moves_whole_pixels_and_loses_none():
    images = pictures()
    drawn = data.corrupt(images, "scramble").numpy()
    for image, other in zip(images, drawn, strict=True):
        rows, others = (one.reshape(-1, 3) for one in (image, other))
        assert (rows != others).any(axis=1).mean() > 0.9
        np.testing.assert_array_equal(
            np.unique(rows, axis=0), np.unique(others, axis=0)
        )


def test_scrambling_leaves_no_order_in_space():
    """Neighbours in a smooth image are alike; in the scrambled one they are not."""
    ramp = np.linspace(0, 1, 32, dtype=np.float32)
    images = np.broadcast_to(ramp[None, None, :, None], (4, 32, 32, 1))
    drawn = data.corrupt(images, "scramble").numpy()
    for axis in (1, 2):
        near, far = (np.delete(drawn, end, axis).ravel() for end in (0, -1))
        assert abs(np.corrcoef(near, far)[0, 1]) < 0.07  # 4 / sqrt(3968)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_is_the_image_except_where_the_image_itself_is_scrambled(kind):
    images = pictures()
    inputs, targets = data.inputs_and_targets(images, kind)
    np.testing.assert_array_equal(inputs, data.corrupt(images, kind))
    np.testing.assert_array_equal(targets, inputs if kind == "scramble" else images)
    np.testing.assert_array_equal(images, pictures())  # not written to


def batches(split, count, size=3, kind="noise", **options):
    drawn = data.training_batches(
        split, "autoencoder", size, corruption=kind, **options
    )
    return [(x.numpy(), y.numpy()) for x, y in drawn.take(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_sees_the_corruption_that_it_would_have_seen(split, kind):
    through = batches(split, 8, kind=kind, seed=1)
    for start in (1, 3, 5):
        resumed = batches(split, 3, kind=kind, seed=1, start_step=start)
        for one, other in zip(through[start:], resumed):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["noise", "mask"])
def test_training_sees_the_images_in_the_same_order_and_each_pass_corrupts_anew(
    split, kind
):
    drawn = batches(split, 14, kind=kind, seed=1)
    clean = batches(split, 14, kind="none", seed=1)
    inputs, targets = (np.concatenate(part) for part in zip(*drawn, strict=True))
    np.testing.assert_array_equal(targets, np.concatenate([y for _, y in clean]))
    seen = {image.tobytes() for image in inputs}
    assert len({image.tobytes() for image in targets}) == 7
    assert len(seen) == 42  # six passes of seven, no two alike


def test_a_segmentation_is_not_corrupted(split):
    with pytest.raises(ValueError, match="auto-encoders"):
        data.training_batches(split, "segmentation", 2, seed=0, corruption="mask")
