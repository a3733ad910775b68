"""The numbers that a cell moves, counted from the networks' files, donor against recipient."""

import keras
import numpy as np
import pictured
import planted
import planted_study
import pytest
from test_plugin import PART, Asked

from tfreuse.analysis.arms import Part
from tfreuse.errors import InputError
from tfreuse.report import embedded, source
from tfreuse.report.views import distributions
from tfreuse.report.views.snapshot import Snapshot

VALUES = {
    "donor-0": {"kernel": 1.0, "gamma": [1, 1, 2, 3]},
    "segmentation-0": {"kernel": 0.0, "gamma": [0, 1, 1, np.nan]},
}


def network(kernel, gamma):
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="encoder_1_a_conv")(images)
    x = keras.layers.BatchNormalization(name="encoder_1_a_bn")(x)
    x = keras.layers.Conv2D(4, 1, name="encoder_10_a_conv")(x)
    model = keras.Model(images, x)
    weights = model.get_layer("encoder_1_a_conv").get_weights()
    weights[0][...] = kernel
    model.get_layer("encoder_1_a_conv").set_weights(weights)
    weights = model.get_layer("encoder_1_a_bn").get_weights()
    weights[0][...] = gamma
    model.get_layer("encoder_1_a_bn").set_weights(weights)
    return model


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "study"
    planted.write(path, planted_study.records(), planted_study.SPEC)
    for name, values in VALUES.items():
        (path / "models" / name).mkdir(parents=True)
        network(**values).save(path / "models" / name / "model.keras")
    return path


@pytest.fixture(scope="module")
def asked(study):
    found = Asked(study.parent)
    found.study("study")
    return found


def counted(study, *place):
    snapshot, part = Snapshot(source.load(study)), Part(**PART)
    with distributions.Networks(study) as networks:
        return distributions.distributions(snapshot, part, *place, networks)


def spread(asked, kind, site, group, **more):
    place = {"kind": kind, "site": site, "group": group}
    return asked.get("/spread", study="study", **PART, **place, **more)


def test_a_layer_s_numbers_are_counted_in_the_same_bins(study):
    found = counted(study, "layer", "encoder_1_a_conv", "kernel")
    assert (found["seed"], found["donor"], found["recipient"]) == (
        0, "donor-0", "segmentation-0",
    )  # fmt: skip
    (kernel,) = found["roles"]
    assert (kernel["role"], kernel["numbers"]) == ("kernel", 3 * 3 * 3 * 4)
    assert (kernel["low"], kernel["high"]) == (0, 1)
    assert kernel["donor"] == [0] * 39 + [108]
    assert kernel["recipient"] == [108] + [0] * 39


def test_a_stage_has_all_its_layers_and_no_other_stage_s(study):
    found = counted(study, "stage", "encoder_1", "all")
    told = {one["role"]: one for one in found["roles"]}
    assert list(told) == [
        "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance",
    ]  # fmt: skip
    assert told["kernel"]["numbers"] == 108  # without the 16 of encoder_10
    gamma = told["gamma"]  # 1 1 2 3 against 0 1 1 and what is no number
    assert (gamma["low"], gamma["high"]) == (0, 3)
    assert [gamma["donor"][place] for place in (13, 26, 39)] == [2, 1, 1]
    assert [gamma["recipient"][place] for place in (0, 13)] == [1, 2]
    assert told["beta"]["donor"][20] == told["beta"]["recipient"][20] == 4  # all 0


def test_both_networks_have_an_outline_in_each_role_s_drawing(asked):
    found = spread(asked, "stage", "encoder_1", "affine")
    assert (found["donor"], found["recipient"]) == ("donor-0", "segmentation-0")
    assert [pictured.texts(drawing)[0] for drawing in found["drawings"]] == [
        "gamma, 4 numbers", "beta, 4 numbers",
    ]  # fmt: skip
    gamma = pictured.root(found["drawings"][0])
    recipient, donor = (node.get("d") for node in gamma.iter("path"))
    assert pictured.texts(found["drawings"][0])[1:] == ["0", "3"]
    for outline, heights in (
        (donor, 37),
        (recipient, 38),
    ):  # empty bins lie on the axis
        assert outline.count("V90.0H") == heights and "V20.0H" in outline


def test_a_layer_without_such_arrays_has_none(asked):
    found = spread(asked, "layer", "encoder_1_a_bn", "kernel")
    assert found["drawings"] == [] and "lack such arrays" in found["hint"]


def test_without_networks_it_says_what_is_lacking(tmp_path):
    planted.write(tmp_path / "study", planted.study() + planted.stages())
    asked = Asked(tmp_path)
    asked.study("study")
    found = spread(asked, "stage", "encoder_1", "kernel")
    assert not found["drawings"] and "models/NETWORK/model.keras" in found["hint"]


@pytest.mark.parametrize(
    "name", ["../secret", "/etc", "a/b", "", ".", "..", "x" * 300, "linked", "broken"]
)
def test_only_a_network_of_the_study_is_read(study, tmp_path, name):
    models = tmp_path / "models"
    models.mkdir()
    (models / "broken").mkdir()
    (models / "broken/model.keras").write_bytes(b"PK\3\4")
    (models / "linked").symlink_to(study / "models/donor-0")
    with distributions.Networks(tmp_path) as networks:
        assert networks.get(name) is None
    with distributions.Networks(study) as networks:
        assert networks.get("donor-0") is not None


def test_large_arrays_are_left_out_and_said(study, monkeypatch):
    monkeypatch.setattr(distributions, "MOST", 50)
    snapshot, part = Snapshot(source.load(study)), Part(**PART)
    with distributions.Networks(study) as networks:
        place = "stage", "encoder_1", "all"
        found = distributions.view(snapshot, part, *place, networks)
    assert found["left_out"] == ["kernel: over 50 numbers"]
    assert len(found["drawings"]) == 5


def test_what_is_no_such_cell_is_refused(asked, study):
    for place in (("stage", "nowhere", "kernel"), ("all", "all", "kernel")):
        told = dict(zip(("kind", "site", "group"), place))
        assert asked.refused("/spread", study="study", **PART, **told)[0] == 404
    snapshot = Snapshot(source.load(study))
    with pytest.raises(InputError), distributions.Networks(study) as networks:
        distributions.distributions(snapshot, Part(**PART), *place, networks)


def test_the_report_has_them_before_pictures_and_after_all_else(study):
    keys = [key for key, _ in embedded.answers("study", Snapshot(source.load(study)))]
    kinds = list(dict.fromkeys(key.split("\n")[0] for key in keys))
    assert kinds[-1] == "spread"
    cells = [key for key in keys if key.startswith("cell") and "kind=all" not in key]
    spreads = {key for key in keys if key.startswith("spread")}
    shown = {
        key.replace("cell", "spread", 1)
        for key in cells
        if "\nkind=layer\n" in key or "\nkind=stage\n" in key
    }
    assert spreads == shown
