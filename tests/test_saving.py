"""Networks of one structure loaded one after another into one model."""

import keras
import numpy as np
import pytest
from keras import layers

from tfreuse.models import saving
from tfreuse.runners import Cache


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two networks of one structure whose every array differs, adapted statistics too."""
    made = []
    for seed in range(2):
        draw = np.random.default_rng(seed)
        adapted = layers.Normalization(name="adapted")
        adapted.adapt(draw.normal(seed, 1 + seed, (40, 8, 8, 3)))
        x = images = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, padding="same", name="conv")(adapted(x))
        x = layers.BatchNormalization(name="bn")(x)
        model = keras.Model(images, layers.Conv2D(2, 1, name="head")(x))
        for weight in model.get_layer("bn").weights:
            weight.assign(draw.uniform(0.5, 2, weight.shape))
        made.append(tmp_path_factory.mktemp("models") / f"{seed}.keras")
        model.save(made[-1])
    return made


def test_a_file_is_loaded_into_the_model_that_its_structure_has_already(paths):
    images = np.random.default_rng(5).random((2, 8, 8, 3), np.float32)
    wanted = [keras.saving.load_model(path).predict(images) for path in paths]
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1
    cache, prepared = Cache(), []
    for number in (0, 1, 0):
        path = paths[number]
        model, _ = saving.load_shared(
            cache, "test", "key", path, lambda model: (model, prepared.append(model))
        )
        assert np.array_equal(model.predict(images), wanted[number])
    assert prepared == [model]


def test_a_file_that_cannot_be_loaded_leaves_no_entry(paths, tmp_path):
    cache = Cache()
    with pytest.raises(ValueError, match="none.keras"):
        saving.load_shared(cache, "test", 0, tmp_path / "none.keras", list)
    assert saving.load_shared(cache, "test", 0, paths[0], lambda model: 7) == 7
