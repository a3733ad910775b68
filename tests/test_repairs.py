"""A stitch undoes a linear change and leaves no trace; fine-tuning is repeatable."""

import keras
import numpy as np
import pytest
from nets import scrambled

from tfreuse import data, models
from tfreuse.specs import DataSpec, TrainSpec
from tfreuse.study import repairs

IMAGES = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)


@pytest.fixture
def model():
    return scrambled(models.unet((16, 16), num_classes=3, width=4, depth=1), seed=1)


def test_open_stitches_change_no_bit(model):
    view = repairs.Stitches(model)
    assert np.array_equal(view.model(IMAGES), model(IMAGES))
    rng = np.random.default_rng(1)
    view.close("encoder_1", rng.normal(size=(50, 4)), rng.normal(size=(50, 4)))
    assert not np.allclose(view.model(IMAGES), model(IMAGES))
    view.open()
    assert np.array_equal(view.model(IMAGES), model(IMAGES))


def test_a_stitch_undoes_a_permutation_and_scaling_of_a_stages_channels(model):
    end = models.stage_ends(model)["encoder_1"]
    probe = repairs.Probe(model, [end], IMAGES, positions=500)
    targets, before = probe(end), model(IMAGES).numpy()
    layer = model.get_layer("encoder_1_b_bn")
    order, factor = [2, 0, 3, 1], np.array([2.0, 0.5, 3.0, 1.0], np.float32)
    layer.set_weights(
        [
            value[order] * (factor if number < 2 else 1)  # gamma and beta
            for number, value in enumerate(layer.get_weights())
        ]
    )
    kernel, bias = model.get_layer("encoder_1_b_conv").get_weights()
    model.get_layer("encoder_1_b_conv").set_weights([kernel[..., order], bias[order]])
    assert not np.allclose(model(IMAGES), before, atol=1e-2)
    view = repairs.Stitches(model)
    view.close("encoder_1", probe(end), targets)
    np.testing.assert_allclose(view.model(IMAGES), before, rtol=1e-4)


def test_a_probe_looks_at_the_same_places_every_time(model):
    names = [layer.name for layer in model.layers if layer.weights]
    probe = repairs.Probe(model, names, IMAGES, positions=100)
    first, second = probe.all(), {name: probe(name) for name in names}
    assert list(first) == names
    for name in names:
        assert first[name].shape == (100, model.get_layer(name).output.shape[-1])
        assert np.array_equal(first[name], second[name])


def test_fine_tuning_from_equal_parameters_gives_equal_parameters(model, scenes):
    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    split = data.load(spec, "train")
    model = models.unet(
        (16, 16), num_classes=split.num_classes, width=4, depth=1, task="segmentation"
    )
    start = model.get_weights()
    tune = repairs.FineTuner(model, split, TrainSpec(batch_size=4), steps=3)
    tune()
    first = model.get_weights()
    assert not all(map(np.array_equal, first, start))
    tune()  # from elsewhere
    assert not all(map(np.array_equal, model.get_weights(), first))
    model.set_weights(start)
    tune()
    assert all(map(np.array_equal, model.get_weights(), first))
    assert isinstance(model, keras.Model)
    model.set_weights(start)
    balanced = TrainSpec(batch_size=4, class_weights="balanced")
    repairs.FineTuner(model, split, balanced, steps=3)()
    assert not all(map(np.array_equal, model.get_weights(), first))
