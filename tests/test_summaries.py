"""Summaries of a training have the form and the values of TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfreuse.training import summaries


def tensors(folder):
    """Returns each tag's (step, plugin, array)."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: (
            events.Tensors(tag)[0].step,
            events.summary_metadata[tag].plugin_data.plugin_name,
            tf.make_ndarray(events.Tensors(tag)[0].tensor_proto),
        )
        for tag in events.Tags()["tensors"]
    }


def test_scalars_and_histograms_are_those_that_tensorflow_writes(tmp_path):
    draw = np.random.default_rng(0)
    arrays = {
        "many": draw.normal(size=(3, 3, 40)).astype(np.float32),
        "one value": np.full(7, 0.25, np.float32),
        "one number": np.float32([3.0]),
    }
    scalars = {"loss": 0.1, "rate": np.float32(3e-4)}
    writer = summaries.Writer(tmp_path / "ours")
    writer.scalars({**scalars, "no number": np.nan, "none": None}, 5)
    writer.histograms({**arrays, "no finite": np.float32([np.nan])}, 5)
    writer.flush()
    theirs = tf.summary.create_file_writer(str(tmp_path / "theirs"))
    with theirs.as_default(5):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
        for name, value in arrays.items():
            tf.summary.histogram(name, value)
    theirs.flush()
    found, expected = tensors(tmp_path / "ours"), tensors(tmp_path / "theirs")
    assert found.keys() == expected.keys()
    for tag, (step, plugin, array) in expected.items():
        assert found[tag][:2] == (step, plugin)
        np.testing.assert_allclose(found[tag][2], array, rtol=1e-12)
        assert found[tag][2].dtype == array.dtype


def test_values_that_are_not_finite_are_left_out_of_a_histogram(tmp_path):
    writer = summaries.Writer(tmp_path)
    writer.histograms({"a": np.float32([1, 2, np.inf, np.nan, 3])}, 1)
    writer.flush()
    ((_, _, rows),) = tensors(tmp_path).values()
    assert rows[:, 2].sum() == 3
    assert (rows[0, 0], rows[-1, 1]) == pytest.approx((1, 3))
