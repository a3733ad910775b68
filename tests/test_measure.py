"""`tfreuse.measure`: live networks and arrays, beside the values of plain Keras."""

import re

import keras
import numpy as np
import pairs_of_networks as given
import people
import pytest

import tfreuse
from tfreuse import records, roles
from tfreuse.errors import InputError
from tfreuse.study import notebook

GROUPS = ("kernel", "stats")
LEAN = {
    "groups": GROUPS, "controls": ("self",), "repairs": ("none",), "show_progress": False,
    "fold_batch_norm": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    """A recipient, images and the labels that it gives them, and a donor near it."""
    recipient, images, labels = given.recipient()
    return given.noisy(recipient, 0), recipient, images, labels


@pytest.fixture(scope="module")
def measured(networks, tmp_path_factory):
    """The arms of a call that was interrupted, and of another that went on."""
    out_dir = tmp_path_factory.mktemp("measured")
    before = [model.get_weights() for model in networks[:2]]
    plain = notebook._Output.record

    def interrupt(output, record, per_image):
        if len(output._log.records) == 3:
            raise KeyboardInterrupt
        plain(output, record, per_image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebook._Output, "record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tfreuse.measure(*networks, **LEAN, out_dir=out_dir)
    first = records.read(out_dir / "records.jsonl")
    assert len(first) == 3
    result = tfreuse.measure(*networks, **LEAN, out_dir=out_dir)
    assert list(result.records[:3]) == first
    for model, weights in zip(networks, before):
        for now, old in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, old)
    return result


def test_rows_are_what_plain_keras_gives_with_the_weights_set_by_hand(
    measured, networks
):
    donor, recipient, images, labels = networks
    model = keras.models.clone_model(recipient)
    rows = [row for row in measured.rows if row["control"] == "transfer"]
    assert len(rows) == 4 * len(GROUPS)
    for row in rows:
        model.set_weights(recipient.get_weights())
        for layer in given.STAGES[row["site"]]:
            both = (m.get_layer(layer).weights for m in (model, donor))
            for variable, value in zip(*both, strict=True):
                if variable.name in roles.expand(row["group"]):
                    variable.assign(value)
        predicted = model(images, training=False).numpy().argmax(-1)
        assert row["after"] == pytest.approx(given.mean_iou(labels, predicted))
        assert row["before"] == 1.0  # the labels are its own
        retention = (row["after"] - row["floor"]) / (1 - row["floor"])
        assert row["retention"] == pytest.approx(retention)
        assert row["images"] == len(images) >= 20
        assert row["low"] <= np.clip(retention, 0, 1) <= row["high"]
    assert any(row["low"] < row["high"] for row in rows)


def test_a_notebook_shows_heat_map_and_network_over_images_of_one_pair(measured):
    shown = measured._repr_html_()
    assert shown.count("<img") == 2
    assert "24 test images of one pair of networks" in shown
    lines = measured.table().splitlines()
    assert len(lines) == 1 + 4 * len(GROUPS)
    assert re.fullmatch(r"all layers +kernel +none +\S+ \[\d.\d\d, \d.\d\d\]", lines[1])


def test_the_report_says_first_that_nothing_is_known_about_other_seeds(measured):
    page = measured.report()
    text = (page.parent / "report.md").read_text()
    assert text.index("nothing is known about networks of other seeds") < 200
    assert "n = 24 test images of one pair of networks" in text
    assert "Networks that exist were measured, none was trained" in text
    assert "| H3 |" in text and "percentile" in text
    assert "supported" not in re.findall(r"\*\*H\d (.*?)\*\*", text)
    assert page.stat().st_size > 10_000


def test_an_auto_encoder_is_compared_with_its_input(networks):
    donor, recipient, images, _ = networks
    result = tfreuse.measure(
        donor, recipient, images, **LEAN | {"fit_outputs": False, "sites": ("all",)}
    )
    model = keras.models.clone_model(recipient)
    model.set_weights(recipient.get_weights())
    for layer in given.STAGES["all"]:
        if layer.endswith("_conv"):
            model.get_layer(layer).kernel.assign(donor.get_layer(layer).kernel)
    output = np.clip(model(images, training=False), 0, 1)
    errors = np.square(output - images, dtype=np.float64).sum()
    variation = np.square(images - images.mean(0), dtype=np.float64).sum()
    (row,) = (
        row
        for row in result.rows
        if (row["control"], row["group"]) == ("transfer", "kernel")
    )
    assert (row["metric"], row["floor"]) == ("r2", 0)
    assert row["after"] == pytest.approx(1 - errors / variation, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": lambda x: x + 5},
            r"has 3 classes, 0 to 2, and the labels are 5 to",
        ),
        ({"labels": lambda x: x[:3]}, r"of the shape \(24, 16, 16\)"),
        ({"images": lambda x: x[0]}, r"images are an array \[N, H, W, C\]"),
        ({"images": lambda x: x[:, :8]}, "16 x 16|shape"),
        ({"controls": ("other_seed",)}, "other_seed needs a second network"),
        ({"repairs": ("fine_tuning",)}, "fine_tuning needs labelled training images"),
        ({"groups": ("kernal",)}, "kernal"),
        ({"donor": lambda x: np.zeros(3)}, "a keras.Model or the path .* ndarray"),
        ({"donor": lambda x: "nowhere.pth"}, "nowhere.pth cannot be read"),
        ({"layers": ("decoder*",)}, "pattern 'decoder\\*' matches no layer"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(changes, message, networks):
    arguments = dict(zip(("donor", "recipient", "images", "labels"), networks))
    for name, change in changes.items():
        arguments[name] = change(arguments[name]) if callable(change) else change
    with pytest.raises(InputError, match=message) as caught:
        tfreuse.measure(**LEAN | arguments)
    assert "\n" not in str(caught.value)


def test_networks_that_are_not_functional_are_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    images = people.images(2)
    with pytest.raises(InputError, match="recipient is a subclassed or unbuilt"):
        tfreuse.measure(Own(), Own(), images, **LEAN)
