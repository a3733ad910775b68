"""A study in TensorBoard's own dashboards, read back as TensorBoard reads it."""

import re
import subprocess
import sys

import planted
import planted_study
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from tfreuse.report import tensorboard

HOSTILE = "<script>alert(1)</script>.*"


def read(study):
    tensorboard.write_study(study)
    found = EventAccumulator(str(study / "tensorboard/study"), {"tensors": 0})
    return found.Reload()


def content(found, tag):
    (event,) = found.Tensors(tag)
    return event.tensor_proto.string_val[0]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "study"
    planted.write(path, planted_study.records(), planted_study.SPEC)
    return read(path)


def test_arms_are_overlaid_along_the_network(found):
    layout = layout_pb2.Layout.FromString(content(found, "custom_scalars__config__"))
    (category,) = layout.category
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert category.title == "unet, autoencoder → segmentation"
    assert next(iter(charts)) == "kernel, stage by stage"
    tags = found.Tags()["scalars"]
    for wanted in ("transfer, none", "reinitialised, none", "transfer, recalibration"):
        (pattern,) = [
            one
            for one in charts["kernel, stage by stage"]
            if re.match(one, f"{category.title}/stage/kernel/{wanted}")
        ]
        (tag,) = [one for one in tags if re.match(pattern, one)]
        assert [event.step for event in found.Scalars(tag)] == list(range(7))
    patterns = [one for tags in charts.values() for one in tags]
    assert all(sum(bool(re.match(p, tag)) for p in patterns) == 1 for tag in tags)
    assert len(tags) == len(patterns)


def test_a_point_is_the_mean_over_seeds(tmp_path):
    site = {"site_kind": "stage", "depth": 2, "group": "kernel", "site": "encoder_3"}
    study = planted.write(tmp_path / "study", planted.arm((0.2, 0.4, 0.6), **site))
    found = read(study)
    (tag,) = found.Tags()["scalars"]
    (event,) = found.Scalars(tag)
    assert (event.step, event.value) == (2, pytest.approx(0.4))


def test_settings_and_methods_are_texts(found):
    settings = content(found, "settings").decode()
    assert '"shapley": true' in settings
    assert all(line.startswith("    ") for line in settings.splitlines())  # code
    assert b"Fieller" in content(found, "methods")


def test_hostile_names_are_no_patterns_and_no_markup(tmp_path):
    records = planted.stages()
    records += planted.arm(
        (0.5, 0.6), architecture=HOSTILE, site_kind="stage", site="a", depth=0,
        group="kernel",
    )  # fmt: skip
    found = read(planted.write(tmp_path / "study", records))
    layout = layout_pb2.Layout.FromString(content(found, "custom_scalars__config__"))
    patterns = [
        tag for one in layout.category for c in one.chart for tag in c.multiline.tag
    ]
    for tag in found.Tags()["scalars"]:
        assert sum(bool(re.match(one, tag)) for one in patterns) == 1
    assert b"<script>" not in content(found, "methods")


def test_writing_again_replaces_it(tmp_path):
    study = planted.write(tmp_path / "study", planted.study() + planted.stages())
    read(study)
    (path,) = (study / "tensorboard/study").iterdir()
    before = path.read_bytes()
    read(study)
    assert [one.read_bytes() for one in path.parent.iterdir()] == [before]


def test_a_study_of_label_curves_alone_has_its_texts(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    assert content(read(tmp_path), "settings") == b"    {}"


def test_nothing_slow_is_imported():
    code = (
        "import sys; from tfreuse.report import tensorboard\n"
        "assert not {'tensorflow', 'tensorboard', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def rows(log_dir):
    return sorted(path.name for path in log_dir.iterdir() if path.is_dir())


def test_a_small_study_has_a_row_for_every_arm_and_nothing_to_say(tmp_path):
    assert tensorboard.write_arms(tmp_path, planted.study()) == ""
    assert len(rows(tmp_path)) == len(planted.study())


def test_a_large_study_shows_all_layers_then_stages_and_says_so(tmp_path, monkeypatch):
    layers = planted.arm([0.5] * 4, site_kind="layer", site="encoder_1_conv", depth=0)
    stages = planted.arm([0.5] * 3, site_kind="stage", site="encoder_1", depth=0)
    everywhere = planted.arm([0.5] * 2)
    monkeypatch.setattr(tensorboard, "LIMIT", 6)
    note = tensorboard.write_arms(tmp_path, [*layers, *stages, *everywhere])
    assert "6 of 9 arms" in note and "\n" not in note
    sites = [name.split("_")[1] for name in rows(tmp_path)]
    assert sorted(sites) == ["all"] * 2 + ["encoder-1"] * 3 + ["encoder-1-conv"]


def test_a_row_that_is_there_is_left_alone(tmp_path):
    tensorboard.write_arms(tmp_path, planted.arm([0.5]))
    (row,) = tmp_path.glob("*/events.out.tfevents.arm")
    row.write_bytes(b"as it was")
    tensorboard.write_arms(tmp_path, planted.arm([0.5, 0.6]))
    assert row.read_bytes() == b"as it was"
    assert len(rows(tmp_path)) == 2
