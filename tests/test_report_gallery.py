"""The gallery of a study: the arrays that a report's pictures are drawn from."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tfreuse import models, transplant
from tfreuse.report import arrays
from tfreuse.specs import ModelSpec
from tfreuse.study import gallery
from tfreuse.study.recipient import Recipient
from tfreuse.training import recalibration

GROUPS = ("kernel", "affine", "stats", "gamma+beta")


def recipient(task="segmentation", order="conv_bn_relu"):
    """A recipient and a donor, both untrained; parts that no gallery reads are stand-ins."""
    rng = np.random.default_rng(0)
    images = rng.random((8, 16, 16, 3)).astype(np.float32)
    spec = ModelSpec(width=4, depth=2, block_order=order)
    pair = [models.build(spec, task=task, num_classes=3, seed=s) for s in (0, 1)]
    for network in pair:
        recalibration.Recalibrator(network, images)()
    model, donor = pair
    donor = types.SimpleNamespace(
        variables=transplant.index(donor), values=transplant.values(donor)
    )
    masks = tf.constant(rng.integers(-1, 3, (8, 16, 16)).astype(np.int32))
    truth = masks if task == "segmentation" else tf.constant(images)
    train_spec = types.SimpleNamespace(task=task)
    return Recipient(
        block=types.SimpleNamespace(
            parts={"recipient": types.SimpleNamespace(train=train_spec)}
        ),
        digest="",
        model=model,
        variables=transplant.index(model),
        values=transplant.values(model),
        train=None,
        test=types.SimpleNamespace(ignore_label=-1),
        images=images,
        targets=images,
        recalibrate=recalibration.Recalibrator(model, images),
        evaluate=types.SimpleNamespace(batches=[(tf.constant(images), truth)]),
        before=None,
        donors=types.SimpleNamespace(get=lambda control: donor),
    )


@pytest.fixture(scope="module")
def drawn():
    opened = recipient()
    arrays = gallery.gallery(opened, GROUPS)
    present = transplant.values(opened.model)
    for path, value in opened.values.items():
        np.testing.assert_array_equal(present[path], value)  # restored
    return arrays


def test_a_gallery_has_the_arrays_that_the_report_draws(drawn, tmp_path):
    names = {*arrays.STRIP, *arrays.NORMS, *arrays.KERNELS}
    assert set(drawn) == names
    for name, array in drawn.items():
        assert array.dtype != object, name
    assert drawn["groups"].tolist() == list(GROUPS)
    assert drawn["after"].shape == (4, 3, 16, 16, 3)
    assert drawn["bn_channels"].sum() == drawn["bn_donor"].shape[1]


def test_recalibration_gives_a_transplant_of_statistics_back_exactly(drawn):
    stats = GROUPS.index("stats")
    maps = drawn["map_recipient"]
    assert np.abs(drawn["map_after"][stats] - maps).max() > 0.1
    np.testing.assert_allclose(drawn["map_recalibrated"][stats], maps, atol=1e-4)
    same = drawn["recalibrated"][stats] == drawn["before"]
    assert same.mean() > 0.99


def test_kernels_alone_leave_the_map_alone_and_unions_are_their_groups(drawn):
    kernel = GROUPS.index("kernel")
    np.testing.assert_array_equal(drawn["map_after"][kernel], drawn["map_recipient"])
    affine, union = GROUPS.index("affine"), GROUPS.index("gamma+beta")
    np.testing.assert_array_equal(drawn["after"][affine], drawn["after"][union])


def test_errors_count_nothing_where_the_label_is_ignored():
    opened = recipient()
    ignored = tf.fill((8, 16, 16), -1)
    opened.evaluate.batches = [(opened.evaluate.batches[0][0], ignored)]
    drawn = gallery.gallery(opened, ("kernel",))
    assert drawn["after_error"].max() == 0


def test_an_auto_encoder_without_batch_normalization_has_no_figure_of_it():
    drawn = gallery.gallery(recipient("autoencoder", "conv_relu"), ("kernel", "stats"))
    assert drawn["groups"].tolist() == ["kernel"]
    assert not set(arrays.NORMS) - {"groups"} & set(drawn)
    assert set(arrays.STRIP) <= set(drawn)
    assert 0 < drawn["before_error"].mean() < 255
