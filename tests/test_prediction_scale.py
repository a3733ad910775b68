"""Prediction at the scale of the training, of networks of one size, and of folders as they are."""

import shutil

import commands
import nets
import numpy as np
import people
import pytest
import tensorflow as tf
from PIL import Image
from test_prediction import noise

from tfreuse import export, files, models, prediction
from tfreuse.data import pictures
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.prediction import scale, tiles
from tfreuse.specs import DataSpec, PredictSpec

TRAINED = (16, 24)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model beside its run.json, and its export by the tool."""
    root = tmp_path_factory.mktemp("run")
    model = models.unet((None, None), num_classes=3, width=4, depth=2)
    saving.save(nets.scrambled(model, 0), root / "model.keras")
    spec = DataSpec(image_size=TRAINED, test_examples=3, intensity_range="0,200")
    files.write_json(root / "run.json", {"specs": {"data": spec.to_json()}})
    done = commands.run(
        "export", f"--model={root}/model.keras", f"--out_dir={root}/served"
    )
    assert done.returncode == 0, done.stderr
    assert "scaled to cover 16 x 24 pixels" in done.stdout
    return root, model


def expected(model, image, size):
    """Plain Keras' labels [H, W] of an image that was scaled beforehand."""
    logits = model(image[None].astype("float32") / 255, training=False)
    probabilities = logits if model.name == "softmax" else tf.nn.softmax(logits)
    resized = tf.image.resize(probabilities, size, "bilinear")[0].numpy()
    return resized.argmax(-1), np.sort(resized, -1)[..., -1] - np.sort(resized, -1)[
        ..., -2
    ]


# The scale


@pytest.mark.parametrize(
    ("size", "target", "wanted"),
    [
        ((600, 800), (96, 128), (96, 128)),
        ((600, 800), (64, 64), (64, 85)),
        ((10, 40), (64, 64), (64, 256)),
        ((64, 64), (64, 64), (64, 64)),
    ],
)
def test_an_image_is_scaled_to_cover_the_trainings_size(size, target, wanted):
    assert scale.covering(size, target) == wanted


@pytest.mark.parametrize("size", [(12, 18), (25, 7), (4, 6)])
def test_labels_are_those_of_interpolated_probabilities(size):
    probabilities = np.random.default_rng(0).random((4, 6, 5), np.float32)
    found = scale.labels(probabilities, size)
    if size == (4, 6):
        np.testing.assert_array_equal(found, probabilities.argmax(-1))
        return
    resized = tf.image.resize(probabilities, size, "bilinear").numpy()
    np.testing.assert_array_equal(found, resized.argmax(-1))


def test_images_are_predicted_at_the_scale_of_the_training(run):
    root, model = run
    assert export.metadata(root / "served/1")["image_size"] == list(TRAINED)
    predictor = prediction.Predictor(root / "served")
    assert predictor.image_size == TRAINED and predictor.reading.limits == (0, 200)
    assert "cover 16 x 24 pixels as in training" in predictor.describe_scale()
    exact, photo = noise(*TRAINED), noise(48, 72)
    labels, _ = expected(model, exact, TRAINED)
    np.testing.assert_array_equal(predictor.picture(exact), labels)
    labels, margin = expected(model, pictures.fit_image(photo, TRAINED), (48, 72))
    np.testing.assert_array_equal(
        predictor.picture(photo)[margin > 1e-5], labels[margin > 1e-5]
    )
    original = prediction.Predictor(root / "served", PredictSpec(scale="original"))
    labels, margin = expected(model, photo, (48, 72))
    np.testing.assert_array_equal(
        original.picture(photo)[margin > 1e-5], labels[margin > 1e-5]
    )
    assert "in training they covered 16 x 24" in original.describe_scale()


def test_reconstructions_have_the_size_of_the_image(tmp_path):
    model = nets.smallest("autoencoder", outputs=1, channels=1)
    path = export.export(model, tmp_path, image_size=(8, 8))
    assert prediction.Predictor(path).picture(noise(31, 20, 1)).shape == (31, 20, 1)


def test_an_export_without_a_size_is_run_on_images_as_they_are(tmp_path):
    model = nets.smallest()
    predictor = prediction.Predictor(export.export(model, tmp_path))
    assert predictor.image_size is None
    assert "export.py --image_size" in predictor.describe_scale()


def test_of_another_data_set_only_the_networks_settings_are_exported(run, tmp_path):
    """The shapes must not be drawn into the folder of the training."""
    done = commands.run(
        "export", f"--model={run[0]}/model.keras", f"--out_dir={tmp_path}",
        "--dataset=folder", f"--data_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    effective = (tmp_path / "config.flags").read_text()
    assert "--image_size=16,24" in effective and "--test_examples=0" in effective


# Networks of one size


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [(8, 8, 2), (9, 8, 7), (100, 16, 4)]
)
def test_tiles_of_one_size_keep_every_pixel_once(size, tile, overlap):
    spans = tiles.equal_spans(size, tile, overlap)
    kept = np.concatenate([np.arange(size)[span.keep] for span in spans])
    np.testing.assert_array_equal(kept, np.arange(size))
    for span in spans:
        read = np.arange(size)[span.read]
        assert len(read) == tile
        np.testing.assert_array_equal(read[span.inner], np.arange(size)[span.keep])


def test_a_network_of_one_size_is_run_on_images_of_any(tmp_path):
    """Its probabilities depend on the pixel alone, so that tiles must not show."""

    class Fixed(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None, 8, 12, 3], tf.uint8, "images")]
        )
        def serve(self, images):
            shares = tf.nn.softmax(tf.cast(images, tf.float32))
            mask = tf.argmax(shares, -1, tf.int32)
            return {"mask": mask, "probabilities": shares}

    module = Fixed()
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.serve})
    predictor = prediction.Predictor(tmp_path)
    for size in ((8, 12), (5, 30), (20, 9)):
        image = noise(*size)
        np.testing.assert_array_equal(predictor.picture(image), image.argmax(-1))


# Networks that people bring


@pytest.mark.parametrize("kind", people.NETWORKS)
def test_every_network_predicts_as_plain_keras_does(kind, tmp_path):
    model = people.build(kind)
    path = export.export(model, tmp_path, task="segmentation", image_size=(16, 16))
    predictor = prediction.Predictor(path)
    for image, size in ((noise(16, 16), (16, 16)), (noise(40, 40), (40, 40))):
        labels, margin = expected(model, pictures.fit_image(image, (16, 16)), size)
        sure = margin > 1e-5
        np.testing.assert_array_equal(predictor.picture(image)[sure], labels[sure])
        assert sure.mean() > 0.5  # untrained networks have ties


# Folders as they are


def test_a_folder_is_predicted_but_for_what_is_no_image(run, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(noise(20, 30)).save(folder / "A.PNG")
    Image.fromarray(noise(30, 20)).save(folder / "b.jpg")
    (folder / "bad.png").write_bytes((folder / "A.PNG").read_bytes()[:200])
    for name in ("Thumbs.db", ".DS_Store", "notes.txt"):
        (folder / name).write_text("no image")
    (folder / "more").mkdir()
    Image.fromarray(noise(20, 30)).save(folder / "more" / "c.png")
    flags = [f"--model={run[0]}/served", f"--images={folder}", f"--out_dir={out}"]
    done = commands.run("predict", *flags)
    assert done.returncode == 1
    assert "2 images predicted" in done.stdout and "16 x 24" in done.stdout
    assert "bad.png: The image" in done.stderr and "1 of 3 files" in done.stderr
    assert "notes.txt" in done.stderr and "Thumbs" not in done.stderr
    assert f"are left out (more/c.png); type --images='{folder}/**/*'" in done.stderr
    written = sorted(path.name for path in out.glob("*.png"))
    assert written == ["A_mask.png", "A_overlay.png", "b_mask.png", "b_overlay.png"]
    _, *rows = (out / "shares.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["A.PNG", "b.jpg"]
    Image.fromarray(noise(9, 9)).save(folder / "bad.png")
    done = commands.run("predict", *flags)
    assert done.returncode == 0, done.stderr
    assert (
        "3 images predicted (segmentation), 2 of them by an earlier run" in done.stdout
    )
    glob = [
        f"--images={folder}/*",
        f"--out_dir={tmp_path}/glob",
        f"--model={run[0]}/served",
    ]
    assert "Thumbs" not in commands.run("predict", *glob).stderr


def test_the_overlap_follows_the_tile(run):
    for tile in (96, 64, 16):
        prediction.Predictor(run[0] / "served", PredictSpec(tile=tile))
    with pytest.raises(InputError, match="--tile=8 with --overlap=2"):
        prediction.Predictor(run[0] / "served", PredictSpec(tile=8))


def test_images_that_need_another_export_are_a_line_for_each_cause(run, tmp_path):
    """The run's range is for grey-scale up to 200; the first export has none."""
    saving.save(nets.smallest(), tmp_path / "model.keras")
    shutil.copy(run[0] / "run.json", tmp_path)
    deep = np.linspace(0, 4000, 16 * 24).reshape(16, 24).astype(np.uint16)
    folder = tmp_path / "deep"
    folder.mkdir()
    for name in "abcde":
        Image.fromarray(deep).save(folder / f"{name}.png")
    glass = noise(16, 24, 4)
    Image.fromarray(glass).save(folder / "glass.png")
    for number, flag in enumerate(("--intensity_range=", "--intensity_range=0,4095")):
        done = commands.run(
            "export", f"--model={tmp_path}/model.keras", flag,
            f"--out_dir={tmp_path}/served{number}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    flags = [f"--images={folder}", f"--model={tmp_path}/served0"]
    done = commands.run("predict", *flags, f"--out_dir={tmp_path}/out0")
    ranges, ground, last = done.stderr.splitlines()[-3:]
    assert "a.png, b.png, c.png and 2 more: more than 8 bits" in ranges
    assert ranges.endswith("tools/export.py --intensity_range=0,4095")
    assert "glass.png" in ground and ground.endswith("--background=000000")
    assert last.endswith("6 of 6 files were not predicted.") and done.returncode == 1
    for name in "ab":
        Image.fromarray(noise(16, 24)).save(folder / f"{name}.png")
    (folder / "glass.png").write_bytes(b"no image")
    flags = [f"--images={folder}", f"--model={tmp_path}/served1"]
    done = commands.run("predict", *flags, f"--out_dir={tmp_path}/out1")
    broken, ranges, last = done.stderr.splitlines()[-3:]
    assert "glass.png" in broken and "can't be decoded" in broken
    assert "a.png, b.png: 8 bits" in ranges and "export.py --intensity_range" in ranges
    assert "3 of 6 files" in last and "remove the 1 unreadable" in last
