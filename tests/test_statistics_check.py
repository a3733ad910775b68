"""`transplant check`: statistics that a model holds, against those that images cause."""

import json
import zipfile
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from commands import run
from keras import layers
from PIL import Image

from tfreuse.cli import unlabelled
from tfreuse.errors import InputError
from tfreuse.report.figures import statistics
from tfreuse.training import statistics_check

SIDE, BLOCKS = 12, 8
NORMS = [f"{number}_norm" for number in range(BLOCKS)]


def pictures(count=24, seed=0):
    """Smooth images, uint8 [N, SIDE, SIDE, 3], of the same distribution for every seed."""
    draw = np.random.default_rng(seed)
    coarse = draw.uniform(20, 200, (count, 4, 4, 3)).repeat(3, 1).repeat(3, 2)
    return (coarse + draw.uniform(0, 40, (count, SIDE, SIDE, 3))).astype(np.uint8)


def inputs_of(model, name, images):
    """The inputs of a layer by Keras alone, [values, channels] in float64."""
    part = keras.Model(model.input, model.get_layer(name).input)
    values = np.asarray(part(images, training=False), np.float64)
    return values.reshape(-1, values.shape[-1])


@pytest.fixture(scope="module")
def model():
    """A chain of convolutions with the statistics of pictures in [-1, 1]."""
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((SIDE, SIDE, 3))
    for number, name in enumerate(NORMS):
        x = layers.Conv2D(8, 3, padding="same", name=f"{number}_conv")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=name)(x))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="out")(x))
    draw = np.random.default_rng(0)
    for name in NORMS:
        layer = model.get_layer(name)
        layer.gamma.assign(draw.uniform(0.5, 1.5, 8))
        layer.beta.assign(draw.normal(0, 0.3, 8))
        values = inputs_of(model, name, pictures(64, seed=9) / np.float32(127.5) - 1)
        layer.moving_mean.assign(values.mean(0))
        layer.moving_variance.assign(values.var(0))
    return model


@pytest.fixture(scope="module")
def here(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    model.save(folder / "model.keras")
    (folder / "photos").mkdir()
    for number, pixels in enumerate(pictures()):
        Image.fromarray(pixels).save(folder / "photos" / f"{number:02}.png")
    return folder


@pytest.fixture
def broken(model):
    """The model, whose values are restored after the test."""
    before = model.get_weights()
    yield model
    model.set_weights(before)


def test_rows_are_those_of_numpy(model):
    images = pictures()
    check = statistics_check.check(model, images, "0..1")
    assert [row["layer"] for row in check.layers] == NORMS
    for row in check.layers:
        layer = model.get_layer(row["layer"])
        values = inputs_of(model, row["layer"], images / np.float32(255))
        held = layer.moving_variance.numpy() + layer.epsilon
        shift = abs(values.mean(0) - layer.moving_mean.numpy()) / np.sqrt(held)
        ratio = np.log((values.var(0) + layer.epsilon) / held)
        for name, wanted in (
            ("mean_shift", np.median(shift)),
            ("mean_shift_low", np.quantile(shift, 0.25)),
            ("mean_shift_high", np.quantile(shift, 0.75)),
            ("log_variance_ratio", np.median(abs(ratio))),
            ("signed_log_variance_ratio", np.median(ratio)),
        ):
            np.testing.assert_allclose(row[name], wanted, rtol=1e-3, atol=1e-5)
    scores = check.by_pixels["0..1"]
    medians = [row["mean_shift"] for row in check.layers]
    assert scores["median_mean_shift"] == pytest.approx(np.median(medians))
    assert scores["first_mean_shift"] == medians[0]


def test_the_check_changes_nothing(model):
    before = model.get_weights()
    statistics_check.check(model, pictures(4))
    for value, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


@pytest.mark.parametrize("name", sorted(statistics_check.PIXELS))
def test_pixels_are_those_of_keras(name):
    images = pictures(2).astype(np.float32)
    mode = {"-1..1": "tf", "imagenet": "torch", "caffe": "caffe"}.get(name)
    wanted = {"0..1": images / 255, "0..255": images}.get(name)
    if mode:
        preprocess = keras.applications.imagenet_utils.preprocess_input
        wanted = preprocess(images.copy(), mode=mode)
    np.testing.assert_allclose(
        statistics_check.PIXELS[name](images), wanted, rtol=1e-5, atol=1e-5
    )


def test_models_and_images_that_do_not_fit_are_refused(model):
    assert unlabelled.PIXELS == tuple(statistics_check.PIXELS)  # of --pixels
    with pytest.raises(InputError, match="pixels is one of 0..1"):
        statistics_check.check(model, pictures(2), "signed")
    sides = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    two = keras.Model(sides, layers.Add()(sides))
    with pytest.raises(InputError, match="one input"):
        statistics_check.taken_images(two, None)
    with pytest.raises(InputError, match="--image_size=12,12"):
        statistics_check.taken_images(model, (16, 16))
    inputs = keras.Input((None, 32, 1))
    free = keras.Model(inputs, layers.Conv2D(2, 1)(inputs))
    assert statistics_check.taken_images(free, None) == ((224, 32), 1)
    check = statistics_check.check(free, pictures(2)[..., :1])
    assert check.layers == [] and "no batch normalization" in check.answer
    with pytest.raises(InputError, match="imagenet is for RGB.*of 1 channel"):
        statistics_check.check(free, pictures(2)[..., :1], "imagenet")


def test_values_that_are_not_finite_are_named(broken):
    broken.get_layer("2_conv").bias.assign(np.full(8, np.nan))
    with pytest.raises(InputError, match="2_norm are not finite"):
        statistics_check.check(broken, pictures(2))


def test_the_tool_prints_a_table_and_draws_the_curve(here, model):
    words = (f"--model={here}/model.keras", f"--images={here}/photos/*.png")
    done = run("transplant", "check", *words, "--pixels=-1..1", f"--out_dir={here}/out")
    assert done.returncode == 0, done.stderr
    first, *table, answer = done.stdout.splitlines()
    assert first.endswith("8 batch normalizations, 24 images of 12 x 12 pixels")
    wanted = statistics_check.check(model, pictures(), "-1..1")
    assert "\n".join(table) == wanted.table()
    assert answer == wanted.answer
    written = json.loads((here / "out" / "check.json").read_text())
    assert written["layers"] == wanted.layers and written["answer"] == answer
    assert written["model"] == f"{here}/model.keras"
    with Image.open(here / "out" / "check.png") as picture:
        assert min(picture.size) > 400 and len(picture.getcolors(256)) > 2
    svg = ElementTree.parse(here / "out" / "check.svg")
    texts = [node.text for node in svg.iter() if node.tag.endswith("}text")]
    assert {"0_norm", "7_norm", "model.keras, 24 images, pixels -1..1"} <= set(texts)
    groups = {node.get("id"): node for node in svg.iter() if node.get("id")}
    for name in statistics_check.QUANTITIES:  # a point a layer
        (line, *_) = (n.get("d") for n in groups[name].iter() if n.get("d"))
        assert len(line.split()) == 3 * BLOCKS
    as_json = run("transplant", "check", *words, "--pixels=-1..1", "--json")
    assert json.loads(as_json.stdout)["by_pixels"] == written["by_pixels"]


def test_patterns_select_the_layers_that_are_judged(here, broken):
    kernel = broken.get_layer("4_conv").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 1, kernel.shape))
    whole = statistics_check.check(broken, pictures(), "-1..1")
    assert "from 3_norm to 4_norm" in whole.answer
    assert whole.answer.startswith(whole.headline)
    some = statistics_check.check(
        broken, pictures(), "-1..1", layers=["!out", "![4-7]_*"]
    )
    assert some.layers == whole.layers[:4]
    assert some.answer.startswith("No error shows.")
    # the first row is not of the first layer, and says nothing of the pixels
    late = statistics_check.check(broken, pictures(), "0..255", layers=["[1-3]_norm"])
    assert late.layers[0]["layer"] == "1_norm" and "Pixels" not in late.answer
    for patterns, words in (
        (["*_conv"], "selects no batch normalization; the model has 0_norm"),
        (["decoder_*"], "matches no layer"),
    ):
        with pytest.raises(InputError, match=words):
            statistics_check.check(broken, pictures(2), layers=patterns)
    words = (f"--model={here}/model.keras", f"--images={here}/photos")
    done = run("transplant", "check", *words, "--layers=!out,!7_*,!6_norm", "--json")
    rows = json.loads(done.stdout)["layers"]
    assert [row["layer"] for row in rows] == NORMS[:6]


def test_statistics_behind_a_moved_encoder_are_a_cause_that_is_offered(here, model):
    """The moved kernel comes from a network whose first layers have other values."""
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    draw = np.random.default_rng(1)
    for name in NORMS[:4]:
        other.get_layer(name).beta.assign(draw.normal(0, 6, 8))
    other.save(here / "donor.keras")
    words = ("--roles=beta", "--layers=0_*,1_*,2_*,3_*", f"--out={here}/moved.keras")
    files = (f"--donor={here}/donor.keras", f"--recipient={here}/model.keras")
    assert run("transplant", "apply", *files, *words).returncode == 0
    photos = (f"--images={here}/photos", "--pixels=-1..1")
    done = run("transplant", "check", f"--model={here}/moved.keras", *photos)
    answer = done.stdout.splitlines()[-1]
    assert "statistics of the values that were in front of them before" in answer
    assert "donor.keras gave this file other values: train these layers" in answer
    plain = run("transplant", "check", f"--model={here}/donor.keras", *photos)
    assert "as in a decoder behind an encoder that was moved" in plain.stdout


@pytest.mark.parametrize("provenance", [None, "text", {"donor": [1]}])
def test_a_file_that_another_program_packed_is_checked(here, tmp_path, provenance):
    path = tmp_path / "packed.keras"
    with (
        zipfile.ZipFile(here / "model.keras") as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        if provenance:  # stored as Keras stores it, with a provenance of another kind
            packed.compression = zipfile.ZIP_STORED
        for name in source.namelist():
            data = source.read(name)
            if provenance and name == "metadata.json":
                data = json.dumps(json.loads(data) | {"tfreuse": provenance})
            packed.writestr(name, data)
    words = (f"--model={path}", f"--images={here}/photos", "--most_images=4")
    done = run("transplant", "check", *words, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["layers"]) == BLOCKS


def test_one_layer_far_above_the_others_does_not_flatten_the_curve():
    def axes_of(first):
        row = {f"{name}{end}": 1.0 for name in statistics.PANELS for end in ENDS}
        rows = [row | {"layer": f"{number}_norm"} for number in range(8)]
        rows[0] = {key: value * first for key, value in row.items()} | {"layer": "0"}
        figure = statistics.draw(rows, "title", "No error shows.")
        assert "No error shows." in [text.get_text() for text in figure.texts]
        return figure.axes

    ENDS = ("", "_low", "_high")
    for first, scale in ((5, "linear"), (500, "symlog")):
        for axes in axes_of(first):
            assert axes.get_yscale() == scale
            low, _ = axes.get_ylim()
            # where a value is drawn, as a share of the height
            place = axes.transAxes.inverted().transform(
                axes.transData.transform([(0, 1.0), (0, first)])
            )[:, 1]
            assert low == 0 and place[0] > 0.15 and place[1] <= 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images="], ["--images is not given"]),
        (["--images=none/*.png"], ["none/*.png", "matches no file"]),
        (["--model="], ["--model is not given"]),
        (["--model=none.keras"], ["none.keras"]),
        (["--image_size=16,16"], ["takes one size only", "--image_size=12,12"]),
        (["--image_size=16"], ["--image_size takes height,width"]),
        (["--images={here}/model.keras"], ["model.keras", "can't be decoded"]),
    ],
)
def test_bad_input_is_one_line(here, flags, words):
    usual = (f"--model={here}/model.keras", f"--images={here}/photos")
    flags = [flag.format(here=here) for flag in flags]
    done = run("transplant", "check", *usual, *flags)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


def answer(model, pixels="-1..1", seed=0):
    return statistics_check.check(model, pictures(seed=seed), pixels).answer


def test_right_statistics_are_not_flagged(model):
    for seed in range(3):
        assert answer(model, seed=seed).startswith("No error shows."), seed


def test_an_error_in_a_layer_is_located(broken):
    kernel = broken.get_layer("4_conv").kernel
    kernel.assign(np.random.default_rng(0).normal(0, 1, kernel.shape))
    assert "from 3_norm to 4_norm" in answer(broken)


def test_statistics_at_their_default_do_not_fit(broken):
    """The input is not suspected, since no pixels make the other layers fit."""
    for name in NORMS:
        layer = broken.get_layer(name)
        layer.moving_mean.assign(np.zeros(8))
        layer.moving_variance.assign(np.full(8, 1e-3))
    text = answer(broken)
    assert "images of any kind" in text and "Pixels" not in text, text


def test_the_range_of_the_input_is_suggested(model):
    for pixels in ("0..255", "imagenet", "caffe"):
        text = answer(model, pixels)
        assert text.startswith("Pixels -1..1 fit the first layer better"), text
    check = statistics_check.check(model, pictures(), "0..1")
    best = min(
        check.by_pixels, key=lambda n: check.by_pixels[n]["first_log_variance_ratio"]
    )
    assert best == "-1..1"
