import dataclasses

import pytest

from tfreuse import files, rundir, specs
from tfreuse.errors import InputError, nearest, printable

KINDS = (specs.DataSpec, specs.ModelSpec, specs.TrainSpec, specs.StudySpec)


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_survives_json(kind):
    assert kind.from_json(kind().to_json()) == kind()


def test_another_value_is_another_digest():
    spec = specs.TrainSpec()
    assert spec.digest == specs.TrainSpec().digest
    assert spec.digest != dataclasses.replace(spec, seed=1).digest


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (specs.TrainSpec, {"task": "regression"}, "segmentation, autoencoder"),
        (specs.TrainSpec, {"steps": 0}, "at least 1"),
        (specs.TrainSpec, {"steps": "many"}, "takes a int"),
        (specs.TrainSpec, {"clip_norm": float("nan")}, "float32 can hold; got nan"),
        (specs.TrainSpec, {"learning_rate": float("inf")}, "can hold; got inf"),
        (specs.TrainSpec, {"clip_norm": 1e300}, "float32 can hold; got 1e"),
        (specs.TrainSpec, {"corruption": "mask"}, "for --task=autoencoder alone"),
        (
            specs.TrainSpec,
            {"corruption": "fog"},
            "one of none, noise, mask, inpaint, scramble",
        ),
        (
            specs.TrainSpec,
            {"task": "autoencoder", "labels": "foreground"},
            "for --task=segmentation alone",
        ),
        (specs.TrainSpec, {"initial_seed": -2}, "at least -1"),
        (specs.DataSpec, {"image_size": (32,)}, "height,width"),
        (specs.DataSpec, {"group_by": "("}, "regular expression"),
        (specs.DataSpec, {"channels": 4}, "1 .* or 3"),
        (
            specs.StudySpec,
            {"directions": ("a",)},
            "one of segmentation-to-foreground, ",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(kind, values, message):
    with pytest.raises(InputError, match=message):
        kind(**values)


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="stepz"):
        specs.TrainSpec.from_json({"stepz": 3})


def test_a_directory_of_another_spec_is_refused_with_the_fields_that_differ(tmp_path):
    path = tmp_path / "run.json"
    rundir.claim(path, {"train": specs.TrainSpec(steps=10)})
    rundir.claim(path, {"train": specs.TrainSpec(steps=10)})
    with pytest.raises(InputError, match="--steps was 10, now 20") as caught:
        rundir.claim(path, {"train": specs.TrainSpec(steps=20)})
    assert "seed" not in str(caught.value)


def older_run(path):
    """Writes the settings of a run begun when TrainSpec lacked clip_norm and unlabelled."""
    settings = specs.TrainSpec().settings
    del settings["clip_norm"], settings["unlabelled"]
    files.write_json(path, {"specs": {"train": settings}})


def test_a_field_at_its_value_in_older_runs_changes_no_digest():
    assert "clip_norm" not in specs.TrainSpec(clip_norm=0.0).to_json()
    assert specs.TrainSpec().to_json()["clip_norm"] == 0.1
    assert specs.AdviceSpec.from_json({}).clip_norm == 0.0


def test_an_older_run_goes_on_with_the_value_of_its_time(tmp_path):
    path = tmp_path / "run.json"
    older_run(path)
    rundir.claim(path, {"train": specs.TrainSpec(clip_norm=0.0)})
    expected = r"--clip_norm was 0.0, now 0.1.*config.flags --clip_norm=0.0\.$"
    with pytest.raises(InputError, match=expected):
        rundir.claim(path, {"train": specs.TrainSpec()})


def test_a_hint_names_the_flags_of_an_older_run_whatever_else_differs(tmp_path):
    path = tmp_path / "two words" / "run.json"
    path.parent.mkdir()
    older_run(path)
    with pytest.raises(InputError) as caught:
        rundir.claim(path, {"train": specs.TrainSpec(steps=9, clip_norm=0.0)})
    flagfile = f"'--flagfile={path.parent / 'config.flags'}'"
    assert str(caught.value).endswith(f"there with {flagfile} --clip_norm=0.0.")


def test_an_older_runs_flags_repeat_it_once_it_goes_on(tmp_path):
    path, config = tmp_path / "run.json", tmp_path / "config.flags"
    older_run(path)
    config.write_text("--steps=2000\n")
    with pytest.raises(InputError):
        rundir.claim(path, {"train": specs.TrainSpec()})
    assert config.read_text() == "--steps=2000\n"
    for _ in range(2):
        rundir.claim(path, {"train": specs.TrainSpec(clip_norm=0.0)})
        assert config.read_text() == "--steps=2000\n--clip_norm=0.0\n"


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"specs": 3}', '{"specs": {"train": 3}}']
)
def test_a_file_of_something_else_than_a_run_is_refused(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="holds no settings of a run"):
        rundir.claim(tmp_path / "run.json", {"train": specs.TrainSpec()})


def test_a_run_that_differs_in_everything_is_refused_in_few_words(tmp_path):
    (tmp_path / "run.json").write_text('{"specs": {}}')
    with pytest.raises(InputError, match="and [0-9]+ more") as caught:
        rundir.claim(tmp_path / "run.json", {"train": specs.TrainSpec()})
    assert str(caught.value).count(" was ") == 8


def test_a_run_that_recorded_a_fields_older_value_goes_on(tmp_path):
    path = tmp_path / "run.json"
    recorded = specs.TrainSpec(clip_norm=0.0).settings
    assert recorded["clip_norm"] == 0.0
    files.write_json(path, {"specs": {"train": recorded}})
    rundir.claim(path, {"train": specs.TrainSpec(clip_norm=0.0)})
    with pytest.raises(InputError, match=r"config.flags\.$"):
        rundir.claim(path, {"train": specs.TrainSpec()})


def test_text_from_files_cannot_drive_a_terminal():
    hostile = "a\x1b[2Jb\nc\u202ed"
    text = printable(hostile)
    assert text == "a\\x1b[2Jb\\nc\\u202ed"
    assert len(printable("x" * 1000)) == 200


def test_the_nearest_names_come_first_and_some_always_come():
    assert nearest("encodr_1", ["encoder_1", "head"])[0] == "encoder_1"
    assert nearest("zzz", ["encoder_1", "head"]) == ["encoder_1", "head"]
