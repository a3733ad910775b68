"""tools/evaluate.py: settings of the training, images that do not fit, and plain Keras' values."""

import re
import shutil

import commands
import keras
import nets
import numpy as np
import people
import pytest

from tfreuse import data, files, models, training
from tfreuse.models import images, saving
from tfreuse.specs import DataSpec


def confusion(model, split):
    """Confusion matrix of what plain Keras predicts, without ignored pixels."""
    pixels, masks = (split.tensors[name].numpy() for name in ("image", "mask"))
    labels = model.predict(pixels.astype("float32") / 255, verbose=0).argmax(-1)
    matrix = np.zeros((split.num_classes, split.num_classes), int)
    counted = masks != split.ignore_label
    np.add.at(matrix, (masks[counted], labels[counted]), 1)
    return matrix.tolist()


@pytest.fixture(scope="module")
def run(tmp_path_factory, scenes):
    """A run whose data settings are none of the defaults; with its model and data."""
    root = tmp_path_factory.mktemp("run")
    spec = DataSpec(
        dataset="folder", data_dir=str(scenes), image_size=(8, 12), channels=1,
        ignore_label=2, test_examples=5,
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    model = models.unet((None, None), channels=1, num_classes=2, width=2, depth=2)
    saving.save(model, root / "model.keras")
    train = {"task": "segmentation", "labels": "foreground", "corruption": "none"}
    files.write_json(
        root / "run.json", {"specs": {"data": spec.to_json(), "train": train}}
    )
    return root, model, spec


def evaluated(root, out_dir, *words):
    """The metrics, and the line on the settings."""
    done = commands.run(
        "evaluate", f"--model={root}/model.keras", f"--out_dir={out_dir}", *words
    )
    assert done.returncode == 0, done.stderr
    return files.read_json(out_dir / "metrics.json"), done.stdout.splitlines()[0]


def split_of(spec, **changes):
    changed = DataSpec.from_json(spec.to_json() | changes)
    return data.relabel(data.load(changed, "test"), "foreground")


def test_data_are_read_as_in_the_training_and_a_line_says_so(run, tmp_path):
    root, model, spec = run
    metrics, line = evaluated(root, tmp_path)
    assert metrics["images"] == 5
    assert metrics["confusion_matrix"] == confusion(model, split_of(spec))
    for words in ("As in the training", "--image_size=8,12", "--channels=1", "--dataset=folder",
                  "--ignore_label=2", "--labels=foreground"):  # fmt: skip
        assert words in line
    assert "--image_size=8,12" in (tmp_path / "config.flags").read_text()


def test_flags_that_are_given_win(run, tmp_path):
    root, model, spec = run
    flags = ["--image_size=16,16", "--test_examples=0"]
    metrics, line = evaluated(root, tmp_path, *flags)
    changed = split_of(spec, image_size=[16, 16], test_examples=0)
    assert metrics["confusion_matrix"] == confusion(model, changed)
    assert "--image_size" not in line and "--channels=1" in line


def test_of_another_data_set_only_the_networks_settings_are_taken(run, tmp_path):
    root, _, _ = run
    metrics, line = evaluated(root, tmp_path, "--dataset=shapes", "--test_examples=3")
    assert metrics["images"] == 3
    assert "--image_size=8,12 --channels=1" in line and "--ignore_label" not in line


def test_a_model_without_a_run_is_measured_with_the_flags(run, scenes, tmp_path):
    _, model, spec = run
    saving.save(model, tmp_path / "model.keras")
    flags = [f"--data_dir={scenes}", "--dataset=folder", "--image_size=8,12", "--channels=1",
             "--ignore_label=2", "--labels=foreground"]  # fmt: skip
    metrics, line = evaluated(tmp_path, tmp_path / "out", *flags)
    assert "No run.json beside" in line
    changed = split_of(spec, test_examples=0)
    assert metrics["confusion_matrix"] == confusion(model, changed)


def test_a_model_without_a_run_and_without_a_data_set_is_refused(tmp_path):
    saving.save(nets.smallest(), tmp_path / "model.keras")
    flags = [f"--model={tmp_path}/model.keras", f"--out_dir={tmp_path}/out"]
    done = commands.run("evaluate", *flags)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "expected --dataset=" in done.stderr and "got none" in done.stderr
    assert not (tmp_path / "out").exists()
    words = ["no image size (--image_size", "no intensity range (--intensity_range"]
    done = commands.run("export", *flags)
    assert done.returncode == 0 and all(word in done.stdout for word in words)
    done = commands.run("export", *flags, "--overwrite", "--image_size=8,12")
    assert words[0] not in done.stdout and words[1] in done.stdout


def test_a_transplanted_model_is_measured_and_exported_as_its_recipient(
    run, scenes, tmp_path, monkeypatch
):
    """From another folder than the training's, whose --data_dir was a relative path."""
    root, _, spec = run
    began, elsewhere = tmp_path / "began", tmp_path / "elsewhere"
    for folder in (began / "run", elsewhere):
        folder.mkdir(parents=True)
    shutil.copy(root / "model.keras", began / "run")
    (began / "DATA").symlink_to(scenes)
    settings = files.read_json(root / "run.json") | {"directory": str(began)}
    settings["specs"]["data"] |= {"data_dir": "DATA", "intensity_range": "0,200"}
    files.write_json(began / "run/run.json", settings)
    monkeypatch.chdir(elsewhere)
    donor = models.unet((None, None), channels=1, num_classes=2, width=2, depth=2)
    nets.scrambled(donor, 1)
    saving.save(donor, "donor.keras")
    files.write_json("run.json", {"specs": {"data": DataSpec().to_json()}})  # another's
    flags = ["apply", "--donor=donor.keras", f"--recipient={began}/run/model.keras",
             "--out=t.keras"]  # fmt: skip
    own = elsewhere / "t.keras.run.json"
    assert commands.run("transplant", *flags, "--dry_run").returncode == 0
    assert not own.exists()
    done = commands.run("transplant", *flags)
    assert done.returncode == 0 and "t.keras.run.json: how" in done.stdout, done.stderr
    assert own.read_bytes() == (began / "run/run.json").read_bytes()
    done = commands.run("evaluate", "--model=t.keras", "--out_dir=out")
    assert done.returncode == 0, done.stderr
    assert f"--data_dir={began}/DATA" in done.stdout
    metrics = files.read_json("out/metrics.json")
    wanted = split_of(spec, intensity_range="0,200")
    assert metrics["confusion_matrix"] == confusion(saving.load("t.keras"), wanted)
    done = commands.run("export", "--model=t.keras", "--out_dir=served")
    assert "--intensity_range=0,200" in done.stdout and "8 x 12" in done.stdout
    assert "no run.json" not in done.stdout
    own.write_text("older")
    done = commands.run("transplant", *flags[:-1], "--out=t.keras")
    assert done.returncode == 1 and "exists already" in done.stderr
    flags[2] = "--recipient=donor.keras"  # whose run.json is that of the folder
    flags[1] = f"--donor={began}/run/model.keras"
    assert commands.run("transplant", *flags, "--overwrite").returncode == 0
    assert own.read_bytes() == (elsewhere / "run.json").read_bytes()
    (elsewhere / "run.json").unlink()
    assert commands.run("transplant", *flags, "--overwrite").returncode == 0
    assert not own.exists()  # an older copy would be of another recipient
    own.write_text("{}")
    assert commands.run("transplant", "undo", "--out=t.keras").returncode == 0
    assert not own.exists() and not (elsewhere / "t.keras.undo").exists()


def test_an_autoencoder_is_measured_with_its_corruption(run, tmp_path):
    _, _, spec = run
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Identity(name="copy")(inputs))
    saving.save(model, tmp_path / "model.keras")
    train = {"task": "autoencoder", "labels": "all", "corruption": "mask"}
    data_spec = spec.to_json() | {"image_size": [12, 12]}
    specs = {"data": data_spec, "train": train}
    files.write_json(tmp_path / "run.json", {"specs": specs})
    metrics, _ = evaluated(tmp_path, tmp_path / "out")
    assert metrics["corruption"] == "mask" and metrics["r2"] < 1
    clean, _ = evaluated(tmp_path, tmp_path / "clean", "--corruption=none")
    assert clean["r2"] == 1


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--channels=3", "takes images of 1 channel, got 3; type --channels=1"),
        (
            "--image_size=10,14",
            r"10 x 14 pixels: it fails there \(.*type --image_size=8,16\.",
        ),
    ],
)
def test_images_that_do_not_fit_are_one_line_before_any_is_read(
    run, tmp_path, monkeypatch, flag, words
):
    root, _, _ = run
    monkeypatch.setattr(data, "load", None)
    done = commands.run(
        "evaluate", f"--model={root}/model.keras", f"--out_dir={tmp_path}", flag
    )
    assert done.returncode == 1 and re.search(words, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_outputs_that_are_not_of_every_pixel_are_refused():
    inputs = keras.Input((16, None, 3))
    half = keras.layers.MaxPooling2D()(inputs)
    with pytest.raises(
        ValueError, match=r"gives outputs of \(8, 8\), and both .* append"
    ):
        images.check(keras.Model(inputs, half), (16, 16), 3)
    with pytest.raises(ValueError, match="one size only; type --image_size=16,20"):
        images.check(keras.Model(inputs, inputs), (8, 20), 3)
    two = keras.Model(inputs, [inputs, inputs])
    with pytest.raises(ValueError, match="several outputs"):
        images.check(two, (16, 16), 3)
    labels = keras.Model(inputs, keras.ops.argmax(inputs, axis=-1))
    with pytest.raises(ValueError, match=r"shape \(1, 16, 16\)"):
        images.check(labels, (16, 16), 3)


@pytest.mark.parametrize("kind", people.NETWORKS)
def test_every_network_is_measured_as_plain_keras_predicts(kind, scenes):
    spec = DataSpec(
        dataset="folder", data_dir=str(scenes), image_size=(16, 16), test_examples=4
    )
    split = data.load(spec, "test")
    model = people.build(kind)
    images.check(model, spec.image_size, spec.channels)
    metrics = training.evaluate(model, split, "segmentation")
    assert metrics["confusion_matrix"] == confusion(model, split)


def test_a_model_that_scales_its_pixels_gets_them_from_0_to_255(scenes, tmp_path):
    inputs = keras.Input((16, 16, 3))
    out = keras.layers.Conv2D(3, 1, name="out")
    model = keras.Model(inputs, out(keras.layers.Rescaling(1 / 255)(inputs)))
    # label 1 where the mean of the channels is above 0.3, else label 0
    kernel = np.zeros((1, 1, 3, 3), "float32")
    kernel[..., 1] = 1 / 3
    out.set_weights([kernel, np.array([0.3, 0, -9], "float32")])
    saving.save(model, tmp_path / "model.keras")
    words = [
        "--task=segmentation",
        *("--dataset=folder", f"--data_dir={scenes}", "--image_size=16,16"),
    ]
    metrics, _ = evaluated(tmp_path, tmp_path / "out", *words)
    spec = DataSpec(dataset="folder", data_dir=str(scenes), image_size=(16, 16))
    split = data.load(spec, "test")
    masks = split.tensors["mask"].numpy()
    pixels = split.tensors["image"].numpy().astype("float32")  # 0 to 255
    labels = model.predict(pixels, verbose=0).argmax(-1)
    assert 0.1 < (labels == 1).mean() < 0.9  # of images in [0, 1] none would be 1
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (masks, labels), 1)
    assert metrics["confusion_matrix"] == expected.tolist()
