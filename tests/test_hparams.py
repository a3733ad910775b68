import planted

from tfreuse.report import tensorboard


def rows(log_dir):
    return sorted(path.name for path in log_dir.iterdir() if path.is_dir())


def test_a_small_study_has_a_row_for_every_arm_and_nothing_to_say(tmp_path):
    assert tensorboard.write(tmp_path, planted.study()) == ""
    assert len(rows(tmp_path)) == len(planted.study())


def test_a_large_study_shows_all_layers_then_stages_and_says_so(tmp_path, monkeypatch):
    layers = planted.arm([0.5] * 4, site_kind="layer", site="encoder_1_conv", depth=0)
    stages = planted.arm([0.5] * 3, site_kind="stage", site="encoder_1", depth=0)
    everywhere = planted.arm([0.5] * 2)
    monkeypatch.setattr(tensorboard, "LIMIT", 6)
    note = tensorboard.write(tmp_path, [*layers, *stages, *everywhere])
    assert "6 of 9 arms" in note and "\n" not in note
    sites = [name.split("_")[1] for name in rows(tmp_path)]
    assert sorted(sites) == ["all"] * 2 + ["encoder-1"] * 3 + ["encoder-1-conv"]


def test_a_row_that_is_there_is_left_alone(tmp_path):
    tensorboard.write(tmp_path, planted.arm([0.5]))
    (row,) = tmp_path.glob("*/events.out.tfevents.arm")
    row.write_bytes(b"as it was")
    tensorboard.write(tmp_path, planted.arm([0.5, 0.6]))
    assert row.read_bytes() == b"as it was"
    assert len(rows(tmp_path)) == 2
