"""Prediction of large images by tiles, of many images after a stop, and the table of shares."""

import csv
import os
import subprocess

import commands
import nets
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfreuse import export, files, models, prediction
from tfreuse.errors import InputError
from tfreuse.prediction import shares, tiles
from tfreuse.specs import PredictSpec

NAMES = ("ground", "=cell", "wall")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A U-Net that sees 20 pixels far, in steps of 4."""
    model = models.unet((None, None), num_classes=3, width=4, depth=2)
    path = tmp_path_factory.mktemp("served")
    return export.export(nets.scrambled(model, 0), path, class_names=NAMES)


def noise(height, width, channels=3):
    draw = np.random.default_rng(height)
    return draw.integers(0, 256, (height, width, channels), dtype=np.uint8)


# Tiles


@pytest.mark.parametrize("multiple", [1, 4, 32])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 96, 97, 1000, 1023])
@pytest.mark.parametrize(("tile", "overlap"), [(128, 64), (129, 1), (256, 0)])
def test_tiles_keep_every_pixel_once_and_far_from_cuts(size, tile, overlap, multiple):
    found = tiles.spans(size, tile, overlap, multiple)
    kept = np.concatenate([np.arange(size)[span.keep] for span in found])
    np.testing.assert_array_equal(kept, np.arange(size))
    for span in found:
        read = np.arange(size)[span.read]
        assert len(read) <= max(tile, size if size <= tile else 0)
        np.testing.assert_array_equal(read[span.inner], np.arange(size)[span.keep])
        assert span.read.start % multiple == 0
        if span.read.start > 0:
            assert span.keep.start - span.read.start >= overlap / 2
        if span.read.stop < size:
            assert span.read.stop - span.keep.stop >= overlap / 2


def test_tiles_that_cannot_advance_are_refused(served):
    with pytest.raises(InputError, match="--tile=64 with --overlap=64 .* nothing"):
        tiles.spans(100, 64, 64)
    with pytest.raises(InputError, match="multiples of 4"):
        prediction.Predictor(served, PredictSpec(tile=9, overlap=3))


def test_tiles_give_what_the_whole_image_gives(tmp_path):
    """An auto-encoder's output before it is rounded: labels would hide small differences."""
    model = models.unet((None, None), task="autoencoder", width=4, depth=2)
    path = export.export(model, tmp_path / "served")
    image = noise(150, 131)
    whole = prediction.Predictor(path, PredictSpec(tile=0))
    outputs = whole(image)
    np.testing.assert_array_equal(whole.picture(image), outputs["image"])

    def farthest(overlap):
        told = []
        predictor = prediction.Predictor(path, PredictSpec(100, overlap))
        predictor._output = "reconstruction"
        found = predictor.picture(image, told.append)
        assert told[-1] == 1 and told == sorted(told) and len(told) >= 4
        return np.abs(found - outputs["reconstruction"]).max()

    assert farthest(overlap=48) < 1e-5
    assert farthest(overlap=0) > 1e-2


# Signatures


def test_logits_are_served_too(served):
    image = noise(9, 14)[None]
    signatures = tf.saved_model.load(served).signatures
    logits = signatures["logits"](images=tf.constant(image))["logits"].numpy()
    outputs = signatures["serving_default"](images=tf.constant(image))
    np.testing.assert_allclose(
        tf.nn.softmax(logits), outputs["probabilities"], atol=1e-6
    )
    assert np.abs(logits.sum(axis=-1) - 1).max() > 0.1


# Many images


def tool(*flags):
    return commands.run("predict", *flags)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name, size in (("a", (12, 30)), ("b", (70, 20)), ("=c", (8, 8))):
        Image.fromarray(noise(*size)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def test_shares_are_those_of_the_masks(served, folder):
    flags = [f"--model={served}", f"--images={folder}/images/*.png"]
    done = tool(*flags, f"--out_dir={folder}/out", "--tile=64", "--overlap=8")
    assert done.returncode == 0, done.stderr
    with open(folder / "out" / shares.NAME, newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["image", "height", "width", "ground", "'=cell", "wall"]
    assert [row[:3] for row in rows] == [
        ["'=c.png", "8", "8"], ["a.png", "12", "30"], ["b.png", "70", "20"],
    ]  # fmt: skip
    for name, row in zip(("=c", "a", "b"), rows, strict=True):
        mask = np.asarray(Image.open(folder / "out" / f"{name}_mask.png"))
        wanted = [(mask == label).mean() for label in range(3)]
        np.testing.assert_allclose([float(one) for one in row[3:]], wanted, rtol=1e-5)


def test_a_stopped_run_goes_on_and_does_nothing_twice(served, folder):
    out = folder / "out"
    flags = [f"--model={served}", f"--images={folder}/images/*.png", f"--out_dir={out}"]
    assert tool(*flags).returncode == 0
    before = {path.name: path.read_bytes() for path in out.glob("*.png")}
    for name in ("a_overlay.png", "b_mask.png", shares.NAME):  # as a kill leaves it
        (out / name).unlink()
    kept = (out / "=c_mask.png").stat().st_mtime_ns
    done = tool(*flags)
    assert (
        "3 images predicted (segmentation), 1 of them by an earlier run" in done.stdout
    )
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == before
    assert (out / "=c_mask.png").stat().st_mtime_ns == kept
    assert (out / shares.NAME).exists()


def test_a_newer_image_is_predicted_again(served, folder):
    predictor, out = prediction.Predictor(served), folder / "out"
    path = folder / "images" / "a.png"
    assert not prediction.done(predictor, path, out)
    prediction.write(predictor, path, out)
    assert prediction.done(predictor, path, out)
    later = (out / "a_overlay.png").stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert not prediction.done(predictor, path, out)


def test_predictions_of_two_models_or_tilings_are_not_mixed(served, tmp_path):
    prediction.claim(prediction.Predictor(served), tmp_path)
    prediction.claim(prediction.Predictor(served), tmp_path)
    with pytest.raises(InputError, match="--tile was 1024, now 512"):
        prediction.claim(prediction.Predictor(served, PredictSpec(512)), tmp_path)
    other = prediction.Predictor(served)
    other.digest = "another"
    with pytest.raises(InputError, match="another model"):
        prediction.claim(other, tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [b"no JSON", b"[1]", b'{"size_multiple": -1, "class_names": [1, 2]}'],
)
def test_metadata_are_not_trusted(served, tmp_path, metadata):
    copy = tmp_path / "1"
    subprocess.run(["cp", "-r", served, copy], check=True)
    (copy / export.METADATA).write_bytes(metadata)
    predictor = prediction.Predictor(copy)
    assert predictor.class_names == ("class 0", "class 1", "class 2")
    assert predictor.picture(noise(9, 9)).shape == (9, 9)


def test_class_names_come_from_the_side_file(served):
    assert prediction.Predictor(served).class_names == NAMES
    assert files.read_json(served / export.METADATA)["size_multiple"] == 4
