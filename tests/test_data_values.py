"""Images of 16 bits, transparent ones and JPEG: the same values in training, export, prediction."""

import dataclasses
import io
import json

import commands
import numpy as np
import pytest
import tensorflow as tf
from nets import smallest
from pairs import examples, fill, save
from PIL import Image

from tfreuse import data, export, prediction
from tfreuse.data import masks, pictures
from tfreuse.errors import InputError
from tfreuse.models import saving
from tfreuse.specs import DataSpec, ReadingSpec

DEEP = (np.arange(12 * 16).reshape(12, 16) * 20 + 100).astype(np.uint16)  # 100 to 3920


def scaled(values, low, high):
    return np.clip(np.rint((values - float(low)) / (high - low) * 255), 0, 255)


@pytest.mark.parametrize("ending", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_16_bits_are_scaled_by_the_range_that_is_stated(
    tmp_path, ending, channels
):
    path = tmp_path / f"deep{ending}"
    save(DEEP, path)
    for text, limits in (
        ("0,4095", (0, 4095)),
        ("500,2000", (500, 2000)),
        ("percentile", np.percentile(DEEP, (1, 99))),
    ):
        image = pictures.read_image(path, channels, ReadingSpec(text)).pixels
        assert image.shape == (12, 16, channels)
        for band in range(channels):
            np.testing.assert_array_equal(image[..., band], scaled(DEEP, *limits))
    with pytest.raises(InputError, match="100 to 3920. Type --intensity_range=0,4095"):
        pictures.read_image(path, channels)


def test_negative_values_floats_and_8_bits_have_ranges_too(tmp_path):
    hounsfield = DEEP.astype(np.int32) - 1100
    path = tmp_path / "x.tif"
    for values in (hounsfield, hounsfield.astype(np.float32)):
        save(values, path)
        image = pictures.read_image(path, 1, ReadingSpec("-1000,400")).pixels[..., 0]
        np.testing.assert_array_equal(image, scaled(values, -1000, 400))
        with pytest.raises(InputError, match="--intensity_range=-1000,2820"):
            pictures.read_image(path, 1)
    save(np.full((4, 4), 0.25, np.float32), path)
    with pytest.raises(InputError, match="--intensity_range=0,1 "):
        pictures.read_image(path, 1)  # other images may be brighter
    save(np.full((4, 4), np.nan, np.float32), path)
    with pytest.raises(InputError, match="NaN"):
        pictures.read_image(path, 1, ReadingSpec("0,1"))
    dark = (DEEP // 40).astype(np.uint8)
    save(dark, tmp_path / "dark.png")
    image = pictures.read_image(tmp_path / "dark.png", 1, ReadingSpec("2,98"))
    np.testing.assert_array_equal(image.pixels[..., 0], scaled(dark, 2, 98))
    with pytest.raises(InputError, match="dark.png has 8 bits"):
        pictures.read_image(tmp_path / "dark.png", 1, ReadingSpec("0,4095"))
    constant = np.full((4, 4), 700, np.uint16)
    assert not pictures.scaled(constant, ReadingSpec("percentile")).any()


@pytest.mark.parametrize("text", ["4095", "9,9", "5,1", "a,b", "0,inf", "1,2,3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(InputError, match="--intensity_range takes min,max"):
        DataSpec(intensity_range=text)
    with pytest.raises(InputError, match="--background takes RRGGBB"):
        ReadingSpec(background=text)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_images_are_laid_on_the_background(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    path = tmp_path / "glass.png"
    if mode == "P":
        picture = picture.convert("RGB").quantize(7)
        picture.info["transparency"] = 3
        picture.save(path, transparency=3)
    else:
        picture.convert(mode).save(path)
    rgba = np.asarray(Image.open(path).convert("RGBA"), float)
    share = rgba[..., 3:] / 255
    wanted = rgba[..., :3] * share + np.array([255, 0, 102]) * (1 - share)
    image = pictures.read_image(path, 3, ReadingSpec(background="#ff0066")).pixels
    np.testing.assert_allclose(image, wanted, atol=0.5)
    with pytest.raises(InputError, match="--background=000000"):
        pictures.read_image(path, 3)


@pytest.fixture(scope="module")
def files():
    """Files of one picture in colour, by name."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    noise[10:] = noise[10:].mean(axis=(0, 1))
    noise[..., 3] = 255
    noise[3:9, 3:9, 3] = 77
    contents, depth = {}, Image.new("RGB", (40, 30))
    for name, mode, form, options in (
        ("photo", "RGB", "JPEG", {"quality": 70}),
        (
            "sharp",
            "RGB",
            "JPEG",
            {"quality": 90, "subsampling": 0, "progressive": True},
        ),
        ("phone", "RGB", "MPO", {"save_all": True, "append_images": [depth]}),
        ("grey", "L", "JPEG", {}),
        ("print", "CMYK", "JPEG", {}),
        ("drawing", "RGB", "PNG", {}),
        ("index", "P", "PNG", {}),
        ("glass", "RGBA", "PNG", {}),
        ("web", "RGB", "WEBP", {}),
        ("bitmap", "RGB", "BMP", {}),
        ("palette", "P", "GIF", {}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(noise).convert(mode).save(buffer, form, **options)
        ending = form.lower().replace("mpo", "jpg")
        contents[f"{name}.{ending}"] = buffer.getvalue()
    return contents


@pytest.mark.parametrize("channels", [1, 3])
def test_an_export_decodes_files_to_the_pixels_that_training_read(
    tmp_path, files, channels
):
    model = smallest(channels=channels)
    reading = ReadingSpec(background="204060")
    path = export.export(model, tmp_path / "served", reading=reading)
    assert export.metadata(path)["reading"] == reading.to_json()
    predictor = prediction.Predictor(path)
    assert predictor.reading == reading
    signature = tf.saved_model.load(path).signatures["from_bytes"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        image = pictures.read_image(tmp_path / name, channels, reading).pixels
        served = signature(image_bytes=tf.constant(content))["probabilities"][0]
        np.testing.assert_allclose(
            served, predictor(image)["probabilities"], atol=1e-6, err_msg=name
        )


def test_an_export_refuses_bytes_that_training_would_refuse(tmp_path, files):
    model = smallest(channels=1)
    signature = tf.saved_model.load(export.export(model, tmp_path)).signatures[
        "from_bytes"
    ]
    with pytest.raises(tf.errors.InvalidArgumentError, match="transparent"):
        signature(image_bytes=tf.constant(files["glass.png"]))
    deep = io.BytesIO()
    Image.fromarray(DEEP).save(deep, "PNG")
    with pytest.raises(tf.errors.InvalidArgumentError, match="16 bits"):
        signature(image_bytes=tf.constant(deep.getvalue()))


def test_a_range_is_the_same_in_training_and_prediction(tmp_path):
    spec = dataclasses.replace(
        fill(tmp_path), channels=1, image_size=(12, 16), intensity_range="500,2000"
    )
    for path in tmp_path.glob("*/images/*.png"):
        save(DEEP, path)
    image = examples(data.load(spec, "train"))[0]["image"]
    np.testing.assert_array_equal(image[..., 0], scaled(DEEP, 500, 2000))
    model = smallest(channels=1)
    path = export.export(model, tmp_path / "served", reading=spec.reading)
    assert "Note" not in data.check(spec)
    assert "from_bytes" not in export.metadata(path)["signatures"]
    predictor = prediction.Predictor(path)
    assert predictor.reading == ReadingSpec("500,2000")
    first = tmp_path / "train" / "images" / "p0.png"
    (tmp_path / "out").mkdir()
    prediction.write(predictor, first, tmp_path / "out")
    with Image.open(tmp_path / "out" / "p0_mask.png") as mask:
        np.testing.assert_array_equal(mask, predictor(image)["mask"])


def test_colour_of_16_bits_says_that_its_upper_half_is_read(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    spec = fill(tmp_path)
    colour = np.stack([DEEP * 16] * 3, axis=-1)
    tifffile.imwrite(
        tmp_path / "train" / "images" / "p0.tif", colour, photometric="rgb"
    )
    (tmp_path / "train" / "images" / "p0.png").unlink()
    image = examples(data.load(spec, "train"))[0]["image"]
    np.testing.assert_array_equal(image, colour >> 8)
    assert (
        "1 of 5 images are in colour of 16 bits a channel, of which the upper 8"
        in data.check(spec)
    )
    with pytest.raises(InputError, match="p0.tif is in colour of 16 bits"):
        data.load(dataclasses.replace(spec, intensity_range="0,4095"), "train")


def test_lossy_masks_need_a_threshold(tmp_path):
    half = np.zeros((32, 32), np.uint8)
    half[:, 15:] = 255
    for ending in (".jpg", ".webp"):
        path = tmp_path / f"half{ending}"
        save(half, path)
        with pytest.raises(InputError, match="--mask_threshold=128"):
            masks.read(path)
        labels = masks.read(path, DataSpec(mask_threshold=128)).labels
        np.testing.assert_array_equal(labels, half > 0)
    Image.fromarray(half // 255).save(tmp_path / "exact.webp", lossless=True)
    np.testing.assert_array_equal(masks.read(tmp_path / "exact.webp").labels, half > 0)


def test_the_tools_hand_the_range_on_from_training_to_prediction(tmp_path):
    spec = fill(tmp_path / "data", [("train", 6)])
    for path in tmp_path.glob("data/*/images/*.png"):
        save(DEEP, path)
    place, run, out = f"--data_dir={spec.data_dir}", tmp_path / "run", tmp_path / "out"
    options = [
        place,
        "--image_size=12,16",
        "--channels=1",
        "--steps=1",
        "--batch_size=2",
    ]
    options += ["--width=2", "--depth=1", f"--out_dir={run}"]
    done = commands.run("train", *options)
    assert done.returncode and "Type --dataset=folder" in done.stderr
    done = commands.run("train", "--dataset=folder", *options)
    assert done.returncode and "Type --intensity_range=0,4095" in done.stderr
    assert "Note: no folders for val and test" in done.stderr
    assert not run.exists() or not (run / "run.json").exists()
    done = commands.run(
        "train", "--dataset=folder", *options, "--intensity_range=0,4095"
    )
    assert not done.returncode, done.stderr
    done = commands.run(
        "evaluate", f"--model={run / 'model.keras'}", f"--out_dir={tmp_path / 'scores'}"
    )
    assert not done.returncode, done.stderr
    metrics = [
        json.loads((p / "metrics.json").read_text()) for p in (run, tmp_path / "scores")
    ]
    assert metrics[0]["per_class_iou"] == metrics[1]["per_class_iou"]
    done = commands.run(
        "export", f"--model={run / 'model.keras'}", f"--out_dir={tmp_path / 's'}"
    )
    assert "images are read with --intensity_range=0,4095" in done.stdout, done.stderr
    image = next(tmp_path.glob("data/train/images/*.png"))
    done = commands.run(
        "predict", f"--model={tmp_path / 's'}", f"--images={image}", f"--out_dir={out}"
    )
    assert not done.returncode, done.stderr
    model = saving.load(run / "model.keras")
    logits = model(scaled(DEEP, 0, 4095)[None, ..., None].astype(np.float32) / 255)
    with Image.open(out / f"{image.stem}_mask.png") as mask:
        np.testing.assert_array_equal(mask, np.argmax(logits, -1)[0])
