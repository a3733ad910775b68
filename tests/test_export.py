"""Exported models: the same numbers at any size, in place at once or not at all, and predict."""

import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import commands
import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import smallest
from PIL import Image

from tfreuse import export, files, models, prediction
from tfreuse.data import drawing
from tfreuse.errors import InputError
from tfreuse.export import folder, serving
from tfreuse.export.network import Network
from tfreuse.models import saving
from tfreuse.specs import ModelSpec

UNET = ModelSpec(architecture="unet", width=4, depth=2)
SMALL = ModelSpec(architecture="unet", width=4, depth=1)


def network(spec=SMALL, task="segmentation", **options):
    model = models.build(spec, task=task, **{"num_classes": 3, "seed": 0} | options)
    draw = np.random.default_rng(0)
    for variable in model.weights:  # fresh batch norms hide that they are left out
        if len(variable.shape) == 1:  # positive, since some are variances
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def pictures(height, width, channels=3, count=2):
    draw = np.random.default_rng(1)
    return draw.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def serve(path, images):
    served = tf.saved_model.load(path)
    outputs = served.signatures["serving_default"](images=tf.constant(images))
    return {name: value.numpy() for name, value in outputs.items()}


def evaluate(model, images):
    """Softmax of the model's main output on images / 255."""
    model = models.without_auxiliary(model)
    logits = model(images.astype(np.float32) / 255.0, training=False)
    return tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def unet():
    return network(UNET)


@pytest.fixture(scope="module")
def served(unet, tmp_path_factory):
    """An exported UNet whose sides are multiples of 4; do not write to it."""
    out_dir = tmp_path_factory.mktemp("served")
    export.export(unet, out_dir, class_names=("ground", "cell", "wall"))
    return out_dir / "1"


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """A grey auto-encoder and where it is exported."""
    model = network(task="autoencoder", channels=1)
    return model, export.export(model, tmp_path_factory.mktemp("autoencoder"))


# What is served


def check_segmentation(path, model, tolerance):
    outputs = serve(path, pictures(24, 32))
    expected = evaluate(model, pictures(24, 32))
    assert set(outputs) == {"mask", "probabilities"}
    assert outputs["mask"].dtype == np.int32
    assert outputs["probabilities"].dtype == np.float32
    np.testing.assert_allclose(outputs["probabilities"], expected, 0, tolerance)
    best = np.sort(expected, axis=-1)
    clear = best[..., -1] - best[..., -2] > tolerance
    assert clear.mean() > 0.5
    labels = expected.argmax(axis=-1)
    np.testing.assert_array_equal(outputs["mask"][clear], labels[clear])


def test_probabilities_and_masks_are_those_of_the_model(unet, served):
    check_segmentation(served, unet, 1e-5)


def test_of_a_model_with_an_auxiliary_head_the_main_one_is_served(tmp_path):
    plain = network()
    middle = plain.get_layer("bottleneck_b_conv").output
    auxiliary = keras.layers.Conv2D(3, 1, name="auxiliary_segmentation_conv")(middle)
    outputs = {"head": plain.output, "auxiliary": auxiliary}
    model = keras.Model(plain.input, outputs)
    check_segmentation(export.export(model, tmp_path), model, 1e-5)


def test_a_model_of_mixed_precision_is_served_in_it(tmp_path):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = network()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    check_segmentation(export.export(model, tmp_path), model, 0.1)


def test_an_auto_encoder_gives_the_reconstruction_and_its_pixels(autoencoder):
    model, path = autoencoder
    outputs = serve(path, pictures(16, 20, 1))
    expected = model(pictures(16, 20, 1) / np.float32(255)).numpy()
    assert set(outputs) == {"image", "reconstruction"}
    np.testing.assert_allclose(outputs["reconstruction"], expected, 1e-5, 1e-5)
    assert outputs["image"].dtype == np.uint8
    assert expected.max() > 1.0  # must be held back, not run over
    pixels = 255 * np.clip(expected, 0, 1)
    assert np.abs(outputs["image"] - pixels).max() <= 0.5 + 1e-2


@pytest.mark.parametrize("size", [(37, 53), (3, 1)])
def test_a_size_that_the_network_does_not_take_is_reflected_and_cropped(
    size, unet, served
):
    images = pictures(*size)
    rest = [(0, -side % 4) for side in size]
    padded = np.pad(images, [(0, 0), *rest, (0, 0)], mode="reflect")
    expected = evaluate(unet, padded)[:, : size[0], : size[1]]
    outputs = serve(served, images)
    assert outputs["mask"].shape == (2, *size)
    np.testing.assert_allclose(outputs["probabilities"], expected, 0, 1e-5)


@pytest.mark.parametrize(
    ("spec", "multiple"),
    [
        (ModelSpec(architecture="unet", width=2, depth=3), 8),
        (ModelSpec(architecture="unet", width=2, depth=2, skips=False), 4),
        (ModelSpec(architecture="pspnet", width=2), 1),
    ],
)
def test_the_sizes_that_a_network_takes_are_read_from_its_layers(spec, multiple):
    model = models.build(spec, task="segmentation", num_classes=2)
    assert Network.of(model).multiple == multiple


def test_strides_of_an_inner_model_count_too():
    images = keras.Input((None, None, 3))
    halved = keras.layers.Conv2D(4, 3, strides=2, padding="same")(images)
    encoder = keras.Model(images, halved)
    outputs = keras.layers.Conv2DTranspose(2, 2, strides=2)(encoder(images))
    network = Network.of(keras.Model(images, outputs), "segmentation")
    assert network.multiple == 2


@pytest.mark.parametrize("shape", [[], [1]])
def test_a_png_file_gives_what_its_pixels_give(shape, served):
    images = pictures(37, 53, count=1)
    file = tf.reshape(tf.io.encode_png(images[0]), shape)
    outputs = tf.saved_model.load(served).signatures["from_bytes"](image_bytes=file)
    expected = serve(served, images)
    for name, value in outputs.items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.slow
def test_the_export_runs_in_a_process_that_knows_tensorflow_alone(
    unet, served, tmp_path
):
    """By a few lines of Python, and by TensorFlow's own tool saved_model_cli."""
    images = pictures(21, 18)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy, tensorflow as tf\n"
        "from tensorflow.python.tools import saved_model_cli\n"
        "served = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "outputs = served(images=tf.constant(numpy.load('images.npy')))\n"
        "numpy.save('found.npy', outputs['probabilities'])\n"
        "sys.argv = ['saved_model_cli', 'run', '--dir=' + sys.argv[1], '--tag_set=serve',\n"
        "            '--signature_def=serving_default', '--outdir=.',\n"
        "            '--inputs=images=images.npy']\n"
        "assert 'tfreuse' not in sys.modules\n"
        "saved_model_cli.main()\n"  # ends the process
    )
    # tmp_path as the working directory, and -I: nothing of this checkout can be imported
    command = [sys.executable, "-I", "-c", code, str(served)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    expected = serve(served, images)
    for name in ("found", "probabilities"):
        found = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(found, expected["probabilities"], 0, 1e-5)
    padded = np.pad(images, [(0, 0), (0, 3), (0, 2), (0, 0)], mode="reflect")
    np.testing.assert_allclose(found, evaluate(unet, padded)[:, :21, :18], 0, 1e-5)
    assert np.load(tmp_path / "mask.npy").shape == (2, 21, 18)


def test_each_variable_is_written_once_in_the_models_order(unet, served):
    """Keras 3.15 writes those of a tracked model twice (keras-team/keras, issue 23553)."""
    shapes = tf.train.load_checkpoint(
        served / "variables" / "variables"
    ).get_variable_to_shape_map()
    numbers = sum(
        math.prod(s) for key, s in shapes.items() if "OBJECT_GRAPH" not in key
    )
    assert numbers == unet.count_params()
    loaded = tf.saved_model.load(served)
    for name in ("variables", "trainable_variables", "non_trainable_variables"):
        pairs = zip(getattr(loaded, name), getattr(unet, name), strict=True)
        for variable, wanted in pairs:
            np.testing.assert_array_equal(variable, wanted)


@keras.saving.register_keras_serializable("tests")
class Renumbered(keras.layers.Layer):
    """Pixels by tables in a list, as a layer of a user's own may hold them."""

    def __init__(self, **options):
        super().__init__(**options)
        pairs = tf.lookup.KeyValueTensorInitializer(
            np.array([3, 7, 200]), np.array([1, 2, 3])
        )
        self.tables = [tf.lookup.StaticHashTable(pairs, 0)]

    def call(self, numbers):
        return self.tables[0].lookup(numbers)

    def compute_output_spec(self, numbers):
        return keras.KerasTensor(numbers.shape, "int64")


@pytest.mark.parametrize(
    "make", [lambda: keras.layers.IntegerLookup(vocabulary=[3, 7, 200]), Renumbered]
)
def test_a_network_with_lookup_tables_is_served_with_them(make, tmp_path):
    images = keras.Input((8, 8, 1))
    pixels = keras.ops.cast(keras.ops.round(255 * images), "int64")
    table = keras.Sequential([keras.Input((64,), dtype="int64"), make()])
    numbers = table(keras.ops.reshape(pixels, (-1, 64)))
    features = keras.ops.reshape(keras.ops.one_hot(numbers, 4), (-1, 8, 8, 4))
    model = keras.Model(images, keras.layers.Conv2D(3, 1)(features))
    path = export.export(model, tmp_path / "served", task="segmentation")
    image = np.full((1, 8, 8, 1), 7, np.uint8)
    image[:, :4] = 200
    found = serve(path, image)["probabilities"]
    np.testing.assert_allclose(found, evaluate(model, image), atol=1e-5)
    assert np.abs(found[:, 0] - found[:, 7]).max() > 1e-3


def test_the_side_file_says_what_was_exported(unet, served):
    metadata = export.metadata(served)
    assert metadata["class_names"] == ["ground", "cell", "wall"]
    assert (metadata["task"], metadata["channels"]) == ("segmentation", 3)
    assert metadata["parameters"] == unet.count_params()
    assert metadata["check"]["largest_difference"] <= 1e-5
    assert "tensorflow" in metadata["versions"]


# The folder


def test_an_export_that_is_there_is_not_replaced_unless_asked(served, tmp_path):
    shutil.copytree(served, tmp_path / "1")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="--overwrite"):
        export.export(smallest(), tmp_path)
    assert contents(tmp_path) == before


def test_overwrite_replaces_all_of_the_old_export(served, tmp_path):
    shutil.copytree(served, tmp_path / "1")
    (tmp_path / "1" / "old.txt").write_text("old")
    path = export.export(smallest(outputs=5), tmp_path, overwrite=True)
    assert serve(path, pictures(8, 8))["probabilities"].shape == (2, 8, 8, 5)
    assert not (path / "old.txt").exists()
    assert os.listdir(tmp_path) == ["1"]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_a_folder_takes_the_place_of_another(exchange, tmp_path, monkeypatch):
    if not exchange:  # as on a file system that cannot
        monkeypatch.setattr(folder, "_exchanged", lambda one, other: False)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "old.txt").write_text("old")
    with folder.replacing(tmp_path / "1") as new:
        (new / "new.txt").write_text("new")
        assert contents(tmp_path / "1") == {pathlib.Path("old.txt"): b"old"}
    assert contents(tmp_path) == {pathlib.Path("1/new.txt"): b"new"}
    assert os.listdir(tmp_path) == ["1"]


def test_folders_are_exchanged_in_one_step_on_linux(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not folder._exchanged(tmp_path / "one", tmp_path / "two"):
        pytest.skip("this system or file system cannot exchange folders")
    assert os.listdir(tmp_path / "one") == ["two"]
    assert os.listdir(tmp_path / "two") == ["one"]


def test_overwrite_does_not_delete_what_is_no_savedmodel(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "thesis.txt").write_text("three years")
    with pytest.raises(InputError, match="other things"):
        export.export(smallest(), tmp_path, overwrite=True)
    assert (tmp_path / "1" / "thesis.txt").exists()


def test_an_export_that_differs_from_the_model_leaves_the_old_one(
    served, tmp_path, monkeypatch
):
    shutil.copytree(served, tmp_path / "1")
    before = contents(tmp_path)
    good = serving.server

    def off_by_a_little(network, run=None):
        def wrong(images):
            outputs = good(network, run)(images)
            return outputs | {"probabilities": outputs["probabilities"] + 1e-4}

        return wrong

    monkeypatch.setattr(serving, "server", off_by_a_little)
    with pytest.raises(InputError, match="differs from the model by 0.0001"):
        export.export(smallest(), tmp_path, overwrite=True)
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == ["1"]


def test_a_mask_that_does_not_follow_from_the_probabilities_is_found(
    tmp_path, monkeypatch
):
    good = serving.server

    def shifted(network, run=None):
        def wrong(images):
            outputs = good(network, run)(images)
            return outputs | {"mask": tf.roll(outputs["mask"], 1, axis=1)}

        return wrong

    monkeypatch.setattr(serving, "server", shifted)
    with pytest.raises(InputError, match="differs from the model"):
        export.export(smallest(), tmp_path / "new" / "newer")
    assert not (tmp_path / "new").exists()


def test_a_kill_before_the_last_step_leaves_the_old_export(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "old.txt").write_text("old")
    # what follows a kill does not run either
    monkeypatch.setattr(folder.shutil, "rmtree", lambda *a, **k: None)
    with pytest.raises(SystemExit), folder.replacing(tmp_path / "1") as new:
        (new / "saved_model.pb").write_text("half of it")
        raise SystemExit
    assert contents(tmp_path / "1") == {pathlib.Path("old.txt"): b"old"}
    visible = [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert visible == ["1"]  # TF Serving looks at names that are numbers


def test_the_next_export_removes_what_a_kill_left(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    left = files.temporary_prefix(tmp_path / "1").replace(
        f"-{os.getpid()}-", f"-{process.pid}-"
    )
    (tmp_path / f"{left}x" / "new").mkdir(parents=True)
    (tmp_path / f"{left}x" / "new" / "saved_model.pb").write_text("half of it")
    with folder.replacing(tmp_path / "1") as new:
        (new / "saved_model.pb").write_text("whole")
    assert os.listdir(tmp_path) == ["1"]


def unnamed():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)])


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (smallest, {"class_names": ("a", "b")}, "2 class names .* 3 classes"),
        (smallest, {"version": 0}, "from 1 up"),
        (lambda: network(SMALL, "autoencoder"), {"class_names": ("a",)}, "0 classes"),
        (unnamed, {}, "do not reveal its task"),
    ],
)
def test_what_cannot_be_exported_is_refused(model, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        export.export(model(), tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_a_model_that_gives_no_numbers_is_refused(tmp_path):
    model = smallest()
    model.get_layer("head_segmentation_conv").bias.assign([np.nan, 0, 0])
    with pytest.raises(InputError, match="infinite or NaN"):
        export.export(model, tmp_path / "new")


# Prediction


def test_predict_writes_masks_and_overlays_of_each_image(unet, served, tmp_path):
    (tmp_path / "images").mkdir()
    colour, grey = pictures(9, 14)[0], pictures(20, 6, 1)[0, ..., 0]
    Image.fromarray(colour).save(tmp_path / "images" / "colour.png")
    Image.fromarray(grey).save(tmp_path / "images" / "grey.png")
    predictor = prediction.Predictor(served.parent)
    out_dir = tmp_path / "out"
    paths = prediction.images(str(tmp_path / "images" / "*.png"), out_dir)
    for path in paths:
        prediction.write(predictor, path, out_dir)
    assert sorted(os.listdir(out_dir)) == [
        "colour_mask.png",
        "colour_overlay.png",
        "grey_mask.png",
        "grey_overlay.png",
    ]
    for name, image in (("colour", colour), ("grey", np.stack([grey] * 3, axis=-1))):
        mask = Image.open(out_dir / f"{name}_mask.png")
        assert mask.mode == "L"
        expected = serve(served, image[None])["mask"][0]
        np.testing.assert_array_equal(np.asarray(mask), expected)
        overlay = np.asarray(Image.open(out_dir / f"{name}_overlay.png")).astype(float)
        blend = (image + drawing.palette(3)[expected].astype(float)) / 2
        assert np.abs(overlay - blend).max() <= 0.5


def test_predict_writes_reconstructions_in_the_models_channels(autoencoder, tmp_path):
    _, path = autoencoder
    image = pictures(9, 14)[0]
    Image.fromarray(image).save(tmp_path / "photo.png")
    prediction.write(prediction.Predictor(path), tmp_path / "photo.png", tmp_path / "o")
    found = Image.open(tmp_path / "o" / "photo_reconstruction.png")
    grey = np.asarray(Image.fromarray(image).convert("L"))[None, ..., None]
    assert found.mode == "L"
    np.testing.assert_array_equal(found, serve(path, grey)["image"][0, ..., 0])


def test_predict_takes_the_highest_version_as_tf_serving_does(served, tmp_path):
    shutil.copytree(served, tmp_path / "2")
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "saved_model.pb").write_bytes(b"cut off")
    (tmp_path / "config.flags").write_text("")
    with pytest.raises(InputError, match="10 cannot be used"):
        prediction.Predictor(tmp_path)
    assert prediction.Predictor(tmp_path / "2").task == "segmentation"


@pytest.mark.parametrize(
    ("pattern", "out_dir", "message"),
    [
        ("*.tif", "out", "matches no file"),
        ("**/a.png", "out", "one/a.png and .*two/a.png would both write a_"),
        ("one/*.png", "one", "holds the image a.png"),
    ],
)
def test_predict_refuses_images_that_it_cannot_keep_apart(
    pattern, out_dir, message, tmp_path
):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "a.png")
    with pytest.raises(InputError, match=message):
        prediction.images(str(tmp_path / pattern), tmp_path / out_dir)


def test_predict_refuses_what_is_no_savedmodel(tmp_path):
    (tmp_path / "model.keras").write_text("")
    with pytest.raises(InputError, match=r"export.py --model=.*model.keras"):
        prediction.Predictor(tmp_path / "model.keras")
    with pytest.raises(InputError, match=r"holds no SavedModel.*=.*/model.keras --out"):
        prediction.Predictor(tmp_path)
    (tmp_path / "model.keras").unlink()
    with pytest.raises(InputError, match="--model=NAME.keras --out_dir="):
        prediction.Predictor(tmp_path)


def test_predictions_never_go_into_the_export(tmp_path):
    version = tmp_path / "served" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    for model in (version.parent, version):
        prediction.check_out_dir(model, tmp_path / "predicted")
        for out_dir in (model, version, version / "assets"):
            with pytest.raises(InputError, match="the folder of the exported model"):
                prediction.check_out_dir(model, out_dir)


# The tools


def test_the_export_tool_tells_what_it_wrote_and_how_it_was_checked(tmp_path):
    saving.save(smallest(), tmp_path / "model.keras")
    done = commands.run(
        "export",
        f"--model={tmp_path / 'model.keras'}",
        f"--out_dir={tmp_path / 'served'}",
        "--class_names=ground,cell,wall",
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "served" / "1"
    for text in (
        "serving_default",
        "images, uint8",
        "mask int32",
        "at most",
        str(path),
    ):
        assert text in done.stdout
    metadata = json.loads((path / "assets.extra" / "tfreuse.json").read_text())
    assert metadata["class_names"] == ["ground", "cell", "wall"]
    assert "--class_names" in (tmp_path / "served" / "config.flags").read_text()


def test_the_predict_tool_names_a_broken_image_and_predicts_the_others(
    served, tmp_path
):
    (tmp_path / "images").mkdir()
    Image.fromarray(pictures(8, 8)[0]).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    done = commands.run(
        "predict",
        f"--model={served}",
        f"--images={tmp_path / 'images' / '*.png'}",
        f"--out_dir={tmp_path / 'out'}",
    )
    assert done.returncode == 1
    named, last = [line for line in done.stderr.splitlines() if "image 1/2" not in line]
    assert "b.png can't be decoded" in named and "1 of 2 files" in last
    assert (tmp_path / "out" / "a_mask.png").exists()
