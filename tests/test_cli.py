"""The tools as a person uses them: help, flagfiles, mistakes."""

import io
import pathlib
import resource
import subprocess
import sys
import types

import commands
import pytest
from PIL import Image

from tfreuse import files, progress
from tfreuse.cli import flagfiles, train, transplant
from tfreuse.errors import InputError
from tfreuse.specs import TrainSpec

ROOT = pathlib.Path(__file__).parent.parent
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
TRAIN = [
    "--dataset=folder",
    "--image_size=16,16",
    "--width=4",
    "--depth=1",
    "--steps=2",
]


def tool(name, *flags):
    """Runs a tool in this process; a new one would import TensorFlow again."""
    return commands.run(name, *flags)


def process(name, *flags):
    """Runs a tool in a process of its own."""
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120
    )


def refused(done, *words):
    """One line on stderr that says all the words; no traceback."""
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    for word in words:
        assert word in done.stderr, done.stderr
    return lines


def _seconds_of_children() -> float:
    """CPU time, which other programs of the machine leave alone."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("name", TOOLS)
def test_help_opens_with_an_example_and_comes_at_once(name):
    before = _seconds_of_children()
    done = process(name, "--help")
    assert _seconds_of_children() - before < 2.5  # 0.3 s on a quiet machine
    head = done.stdout.split("flags:")[0]
    assert f"python tools/{name}.py" in head
    assert "--out_dir" in done.stdout or "--study_dir" in done.stdout or name


@pytest.mark.parametrize("path", sorted((ROOT / "flags").glob("*.flags")), ids=str)
def test_a_flagfile_parses_and_its_first_line_says_what_it_does(path):
    first, *lines = path.read_text().splitlines()
    assert first.startswith("# ") and "minute" in first
    assert not any("#" in line for line in lines)  # it would become part of a value
    done = process("study", f"--flagfile={path}", "--only_check_args")
    assert done.returncode == 0, done.stderr


def test_an_unknown_flag_is_refused_with_the_nearest():
    refused(tool("train", "--widht=3"), "widht", "width")


def test_a_flag_without_its_dashes_is_refused():
    assert len(refused(tool("train", "width=3"), "--name=value")) == 1


def test_a_value_of_the_wrong_kind_is_refused():
    refused(tool("train", "--steps=many"), "steps", "a whole number, got 'many'")
    refused(tool("train", "--steps=0"), "steps")
    refused(tool("train", "--clip_norm=abc"), "clip_norm", "a finite number, got 'abc'")
    refused(tool("transplant", "plan", "--alpha=nan"), "alpha", "a finite number")
    for value in ("nan", "inf"):
        refused(tool("train", f"--learning_rate={value}"), "a finite number", value)
    refused(tool("train", "--image_size=32", "--out_dir=x"), "height,width")
    refused(tool("train", "--image_size=a,b", "--out_dir=x"), "whole numbers")


def test_a_missing_out_dir_is_asked_for():
    assert len(refused(tool("train"), "--out_dir")) == 1


def test_an_out_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    refused(tool("train", f"--out_dir={tmp_path / 'file'}"), "is a file")


def test_a_missing_data_folder_is_told(tmp_path):
    lines = refused(
        tool("train", *TRAIN, f"--data_dir={tmp_path / 'no'}", f"--out_dir={tmp_path}"),
        str(tmp_path / "no"),
    )
    assert len(lines) == 1


def test_a_size_that_cannot_work_is_refused_with_one_that_can(scenes, tmp_path):
    flags = [f"--data_dir={scenes}", f"--out_dir={tmp_path}", *TRAIN, "--depth=3"]
    refused(tool("train", *flags, "--image_size=20,20"), "16,16", "24,24")


def test_check_data_shows_pairs_and_refuses_a_colour_mask(scenes, tmp_path):
    done = tool("train", "--check_data", *TRAIN, f"--data_dir={scenes}")
    assert done.returncode == 0, done.stderr
    assert "32" in done.stdout
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            folder = tmp_path / "data" / split / kind
            folder.mkdir(parents=True)
            Image.new("RGB", (16, 16), (9, 8, 7)).save(folder / "a.png")
    refused(
        tool("train", "--check_data", *TRAIN, f"--data_dir={tmp_path / 'data'}"),
        "a.png",
    )


def test_a_report_of_no_study_is_refused(tmp_path):
    refused(tool("report", f"--study_dir={tmp_path}"), "study.json")
    refused(tool("report"), "--study_dir")


def test_a_group_that_does_not_exist_is_refused_before_anything_runs(tmp_path):
    done = tool("study", "--groups=kernal", f"--out_dir={tmp_path / 'out'}")
    refused(done, "kernal", "kernel")
    assert not (tmp_path / "out").exists()


def test_bad_data_ends_a_study_with_one_line(tmp_path):
    done = tool(
        "study",
        "--dataset=folder",
        f"--data_dir={tmp_path}",
        f"--out_dir={tmp_path / 'o'}",
    )
    refused(done, "train")


@pytest.mark.slow
def test_train_evaluate_and_the_effective_flags_fit_together(
    scenes, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    flags = [f"--data_dir={scenes}", *TRAIN, "--batch_size=4"]
    done = tool("train", *flags, f"--out_dir={run}")
    assert done.returncode == 0, done.stderr
    assert "mean IoU" in done.stdout
    # that this trains the same network: tests/test_run_directory.py
    metrics = files.read_json(run / "metrics.json")
    monkeypatch.setattr(train, "_train", lambda *_: metrics)
    again = tool(
        "train", f"--flagfile={run / 'config.flags'}", f"--out_dir={tmp_path / 'b'}"
    )
    assert again.returncode == 0, again.stderr
    assert (run / "config.flags").read_text().replace(str(run), "") == (
        tmp_path / "b" / "config.flags"
    ).read_text().replace(str(tmp_path / "b"), "")
    done = tool(
        "evaluate", f"--model={run / 'model.keras'}", "--dataset=folder",
        f"--data_dir={scenes}", "--image_size=16,16", f"--out_dir={tmp_path / 'e'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "metrics.json").exists()


def test_flagfiles_are_known_by_name_from_anywhere(tmp_path, monkeypatch):
    installed = pathlib.Path(flagfiles.__file__).parent / "flags"
    names = sorted(path.name for path in (ROOT / "flags").iterdir())
    assert sorted(path.name for path in installed.iterdir()) == names  # in the wheel
    monkeypatch.chdir(tmp_path)
    path = str(installed / "quickstart.flags")
    for name in ("quickstart.flags", "flags/quickstart.flags"):
        assert flagfiles.resolved([f"--flagfile={name}"]) == [f"--flagfile={path}"]
        assert flagfiles.resolved(["--flagfile", name, name])[1:] == [path, name]
    for word in ("--flagfile=quick.flags", "--flagfile=other/quickstart.flags"):
        with pytest.raises(InputError, match="does not exist. Installed are age"):
            flagfiles.resolved([word])
    (tmp_path / "quickstart.flags").touch()  # a file of the current folder wins
    word = "--flagfile=quickstart.flags"
    assert flagfiles.resolved([word]) == [word]
    with pytest.raises(InputError, match="is a folder"):
        flagfiles.resolved([f"--flagfile={tmp_path}"])


def test_time_left_is_no_guess_from_the_first_moment(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    display = progress.Display(30, 0, stream=stream)
    display.update(1, "", force=True)  # the clock began at the end of the first step
    now[0] = 2.0
    display.update(3, "", force=True)
    display = progress.Display(2, 0, stream=stream)
    display.update(2, "", force=True)
    lines = stream.getvalue().splitlines()
    assert "time left: ?" in lines[0] and "left ~0:18" in lines[1]
    assert "left ~0:00" in lines[2]


def test_work_that_ends_within_the_delay_shows_nothing(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = Terminal()
    with progress.Display(1.0, stream=stream, delay=2.0) as display:
        now[0] = 1.9
        display.update(0.9, "early")
    assert stream.getvalue() == ""
    with progress.Display(1.0, stream=stream, delay=2.0) as display:
        now[0] = 4.0
        display.update(0.5, "late")
    assert " 50% 0:02 left ~0:02 | late" in stream.getvalue()


@pytest.mark.parametrize("fault", [BrokenPipeError, OSError, ValueError])
def test_a_display_that_cannot_be_written_does_not_stop_the_work(fault, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise fault

    with progress.Display(1.0, stream=Gone()) as display:
        display.update(0.5, "half", force=True)
        display.update(1.0, "whole", force=True)
    monkeypatch.setattr(sys, "stderr", None)  # as Python sets it where it is closed
    with progress.Display(1.0) as display:
        display.update(0.5, "half", force=True)


def test_a_training_that_goes_on_says_after_which_step(capsys, monkeypatch):
    def resumed(*_, report, **options):
        for step in (26, 27):
            report(step, "")
        return {}

    monkeypatch.setattr(train.app, "spec", lambda *_: None)
    monkeypatch.setattr(
        train.app, "FLAGS", types.SimpleNamespace(recalibrate=True), raising=False
    )
    fake = types.SimpleNamespace(train=resumed)
    spec = TrainSpec(steps=30)
    train._train(fake, None, None, spec, pathlib.Path("runs/mine"))
    out = capsys.readouterr().out
    assert out == "runs/mine was begun before: it goes on after step 25.\n"


def test_files_of_one_name_are_told_apart_by_their_folders():
    short = transplant._short_names
    assert short(["runs/a/model.keras", "runs/b/model.keras"]) == [
        "a/model.keras",
        "b/model.keras",
    ]
    assert short(["x/a.keras", "x/b.keras"]) == ["a.keras", "b.keras"]
    assert short(["a.keras", "x/a.keras"]) == ["a.keras", "x/a.keras"]
