"""tools/recalibrate.py and `tfreuse.recalibrate`: statistics again from unlabelled images."""

import json
import os
import pathlib

import keras
import numpy as np
import people
import pytest
from commands import run
from keras import layers
from PIL import Image

import tfreuse
from tfreuse import checkpoints, transplant
from tfreuse.errors import InputError
from tfreuse.training import norms

IMAGES = people.images(11)


def stale(model, seed=1):
    """Gives a model's batch normalizations arbitrary statistics; returns the model."""
    draw = np.random.default_rng(seed)
    for layer in norms.normalizations(model):
        shape = layer.moving_mean.shape
        layer.moving_mean.assign(draw.normal(0, 1, shape))
        layer.moving_variance.assign(draw.uniform(0.2, 3, shape))
    return model


def statistics(model):
    return {
        layer.name: (layer.moving_mean.numpy(), layer.moving_variance.numpy())
        for layer in norms.normalizations(model)
    }


def inputs_by_layer(model, images, monkeypatch):
    """The values that plain Keras passes to each batch normalization, float64 [n, channels]."""
    seen, plain = {}, layers.BatchNormalization.call

    def spy(self, inputs, training=None, mask=None):
        values = np.moveaxis(np.asarray(inputs, np.float64), self.axis, -1)
        seen.setdefault(self.name, []).append(values.reshape(-1, values.shape[-1]))
        return plain(self, inputs, training=training, mask=mask)

    with monkeypatch.context() as patch:
        patch.setattr(layers.BatchNormalization, "call", spy)
        model(images, training=False)
    return {name: np.concatenate(values) for name, values in seen.items()}


def check_exact(model, images, monkeypatch, old=None, blend=0.0):
    """Checks each layer's statistics by those of its inputs, behind the new statistics."""
    seen = inputs_by_layer(model, images, monkeypatch)
    assert seen.keys() == statistics(model).keys()
    for name, (mean, variance) in statistics(model).items():
        kept = (0, 0) if old is None else old[name]
        values = seen[name]
        wanted = (1 - blend) * values.mean(0) + blend * kept[0]
        np.testing.assert_allclose(mean, wanted, atol=5e-5 * values.std(0).max())
        wanted = (1 - blend) * values.var(0) + blend * kept[1]
        np.testing.assert_allclose(variance, wanted, rtol=2e-4)


def without_gamma():
    return people.own_names(scale=False, synchronized=True)


@pytest.mark.parametrize("memory", [None, 1])
@pytest.mark.parametrize(
    "kind", ["nested", "several outputs", "axis 1", "shared layers", "without gamma"]
)
def test_statistics_are_those_of_each_layers_inputs_over_all_batches(
    kind, memory, monkeypatch
):
    """Whether what waits between layers fits in the memory, or is computed again."""
    keras.utils.set_random_seed(0)
    model = stale(people.NETWORKS.get(kind, without_gamma)())
    shares = []
    done = tfreuse.recalibrate(
        model, IMAGES, batch_size=4, memory=memory, report=shares.append
    )
    check_exact(model, IMAGES, monkeypatch)
    assert shares[-1] == 1 and done.images == 11 and done.unreached == ()
    assert (done.passes == 1) == (memory is None)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return stale(people.own_names())


@pytest.fixture
def fresh(model):
    """The model, whose values are restored after the test."""
    before = model.get_weights()
    yield model
    model.set_weights(before)


def test_intervals_are_of_images_and_undo_is_exact(fresh):
    before = fresh.get_weights()
    done = tfreuse.recalibrate(fresh, IMAGES, batch_size=4)
    layer = fresh.get_layer("one_norm")
    inputs = np.asarray(fresh.get_layer("one_conv")(IMAGES), np.float64)
    means = inputs.mean((1, 2))
    squares = ((inputs - inputs.mean((0, 1, 2))) ** 2).mean((1, 2))
    deviation = np.sqrt(inputs.var((0, 1, 2)) + layer.epsilon)
    (row, *_) = done.layers
    t = 2.2281388520  # of 10 degrees of freedom, from a table
    error = means.std(0, ddof=1) / np.sqrt(11) / deviation
    assert row["mean_half_width"] == pytest.approx(t * np.median(error), rel=1e-3)
    error = squares.std(0, ddof=1) / np.sqrt(11) / squares.mean(0)
    assert row["log_variance_half_width"] == pytest.approx(
        t * np.median(error), rel=1e-3
    )
    assert row["layer"] == "one_norm" and row["channels"] == 4
    assert "11 images determine means to ± " in done.text()
    transplant.undo(done.displaced, fresh)
    for value, now in zip(before, fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


def test_one_image_has_no_interval(fresh):
    done = tfreuse.recalibrate(fresh, IMAGES[:1])
    assert done.layers[0]["mean_half_width"] is None
    assert "1 image does not tell" in done.text()
    json.dumps(done.to_json(), allow_nan=False)


@pytest.mark.parametrize("one_pass", [False, True])
def test_a_share_of_the_old_statistics_stays(fresh, one_pass, monkeypatch):
    old = statistics(fresh)
    size = 11 if one_pass else 4  # exact for one batch
    options = {"batch_size": size, "one_pass": one_pass, "blend": 0.25}
    tfreuse.recalibrate(fresh, IMAGES, **options)
    check_exact(fresh, IMAGES, monkeypatch, old, 0.25)


def test_one_pass_joins_the_moments_that_keras_computes_in_training(fresh):
    batches = []
    for start in (0, 4):
        for layer in norms.normalizations(fresh):
            layer.momentum = 0.0
        fresh(IMAGES[start : start + 4], training=True)
        batches.append(statistics(fresh))
    tfreuse.recalibrate(fresh, IMAGES[:8], batch_size=4, one_pass=True)
    for name, (mean, variance) in statistics(fresh).items():
        means, variances = (np.float64([b[name][i] for b in batches]) for i in range(2))
        np.testing.assert_allclose(mean, means.mean(0), rtol=1e-4, atol=1e-5)
        wanted = variances.mean(0) + means.var(0)
        np.testing.assert_allclose(variance, wanted, rtol=1e-4)


def two_inputs():
    left, right = (keras.Input((8, 8, 3), name=name) for name in ("left", "right"))
    x = layers.Concatenate()([left, layers.Rescaling(3.0)(right)])
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model([left, right], layers.Conv2D(2, 1)(x))


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_inputs_take_a_list_or_a_dictionary(as_dict):
    model = two_inputs()
    images = {"right": people.images(5, 8), "left": people.images(5, 8, seed=1)}
    both = np.concatenate([images["left"], 3 * images["right"]], axis=-1)
    if not as_dict:
        images = [images["left"], images["right"]]
    tfreuse.recalibrate(model, images, batch_size=2)
    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, both.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, both.var((0, 1, 2)), rtol=1e-4)


def plain():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Conv2D(2, 1)(inputs))


@pytest.mark.parametrize(
    ("build", "images", "options", "words"),
    [
        (plain, IMAGES, {}, "no batch normalization"),
        (people.renormalized, IMAGES, {}, "one_norm.*renorm=True"),
        (people.own_names, IMAGES[:0], {}, "at least one"),
        (people.own_names, IMAGES[..., :1], {}, r"\(16, 16, 3\), got \(16, 16, 1\)"),
        (people.own_names, IMAGES, {"blend": 1.0}, "from 0 to below 1"),
        (two_inputs, IMAGES, {}, "2 inputs .left, right., got 1 array"),
        (two_inputs, [IMAGES, IMAGES[:3]], {}, r"got \[3, 11\]"),
    ],
)
def test_what_cannot_be_re_estimated_is_refused(build, images, options, words):
    with pytest.raises(InputError, match=words):
        tfreuse.recalibrate(build(), images, **options)


def test_numbers_that_are_not_finite_change_nothing(fresh):
    fresh.get_layer("two_conv").bias.assign(np.full(8, np.nan))
    before = statistics(fresh)
    with pytest.raises(InputError, match="inputs of two_norm are not finite"):
        tfreuse.recalibrate(fresh, IMAGES, batch_size=4)
    for name, values in statistics(fresh).items():
        np.testing.assert_array_equal(values, before[name])


# ---------------------------------------------------------------------------- the tool


@pytest.fixture(scope="module")
def here(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recalibrate")
    model.save(folder / "model.keras")
    (folder / "photos").mkdir()
    for number, image in enumerate(IMAGES):
        pixels = (image * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number:02}.png")
    return folder


def pictures(folder):
    paths = sorted(pathlib.Path(folder).glob("*.png"))
    return np.stack([np.asarray(Image.open(path), np.float32) for path in paths])


def test_the_tool_writes_what_python_computes_and_undo_restores_the_file(here, model):
    out = here / "out.keras"
    words = (f"--model={here}/model.keras", f"--images={here}/photos/*.png")
    done = run("recalibrate", *words, f"--out={out}", "--pixels=-1..1")
    assert done.returncode == 0, done.stderr
    assert "3 batch normalizations: means moved by" in done.stdout
    wanted = keras.models.load_model(here / "model.keras")
    tfreuse.recalibrate(wanted, pictures(here / "photos") / np.float32(127.5) - 1)
    written = keras.models.load_model(out)
    for value, now in zip(wanted.get_weights(), written.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)
    with checkpoints.open(out) as file:
        origin = file.provenance
    assert origin["recalibration"]["images"] == 11
    assert origin["recipient"]["file"] == "model.keras" and origin["versions"]["keras"]
    info = run("transplant", "info", f"--model={out}").stdout
    assert "model.keras, recalibrated on 11 images" in info
    again = run("recalibrate", *words, f"--out={out}")
    assert again.returncode == 1 and "--overwrite" in again.stderr
    assert run("transplant", "undo", f"--out={out}").returncode == 0
    assert out.read_bytes() == (here / "model.keras").read_bytes()


def test_a_kill_leaves_nothing_and_the_next_run_goes_through(
    here, tmp_path, monkeypatch
):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    words = (f"--model={here}/model.keras", f"--images={here}/photos", "--json")
    words += (f"--out={tmp_path}/out.keras", "--most_images=3", "--batch_size=2")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        assert run("recalibrate", *words).returncode == 130
    assert not list(tmp_path.iterdir())
    done = run("recalibrate", *words, "--undo=copy")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 3
    assert (tmp_path / "out.keras.undo").read_bytes().startswith(b"tfreuse undo 2")
    assert {path.name for path in tmp_path.iterdir()} == {"out.keras", "out.keras.undo"}


def test_a_folder_for_each_input(here, tmp_path):
    model = two_inputs()
    model.save(tmp_path / "two.keras")
    words = (f"--model={tmp_path}/two.keras", f"--out={tmp_path}/out.keras")
    photos = here / "photos"
    done = run("recalibrate", *words, f"--images=right={photos},left={photos}")
    assert done.returncode == 0, done.stderr
    written = keras.models.load_model(tmp_path / "out.keras")
    mean, _ = statistics(written)["norm"]
    np.testing.assert_allclose(mean[3:], 3 * mean[:3], rtol=1e-4)
    refused = run("recalibrate", *words, f"--images=front={photos}", "--overwrite")
    assert refused.returncode == 1
    assert "--images=left=FOLDER,right=FOLDER" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images="], ["--images is not given"]),
        (["--images=none/*.png"], ["none/*.png", "matches no file"]),
        (["--model=none.keras"], ["none.keras"]),
        (["--out={here}/out.h5"], ["must end in .keras"]),
        (["--out={here}/model.keras"], ["is the input"]),
        (["--image_size=8,8"], ["takes one size only", "--image_size=16,16"]),
        (["--blend=1"], ["from 0 to below 1"]),
        (["--images={here}/model.keras"], ["model.keras", "can't be decoded"]),
    ],
)
def test_bad_input_is_one_line(here, flags, words):
    usual = (f"--model={here}/model.keras", f"--images={here}/photos")
    flags = [flag.format(here=here) for flag in flags]
    before = sorted(here.iterdir())
    done = run("recalibrate", *usual, f"--out={here}/bad.keras", *flags)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line
    assert sorted(here.iterdir()) == before
