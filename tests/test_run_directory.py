"""The directory of a run: where it is, who may write there, and the command that repeats it."""

import os
import pathlib
import shlex

import commands
import pytest
from test_cli import ROOT, TRAIN

from tfreuse import files, rundir
from tfreuse.errors import InputError
from tfreuse.runners import lease
from tfreuse.specs import DataSpec


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("tool", ["train", "evaluate", "predict", "export", "advise"])
def test_a_leading_tilde_is_the_home_directory_for_every_tool(here, tool):
    """The shell leaves it as it is in --name=~/path."""
    (here / "home").mkdir()
    (here / "home" / "file").touch()
    flag = "donor" if tool == "advise" else "model"
    words = ["--out_dir=~/file", f"--{flag}=~/a.keras"]
    if tool == "predict":
        words.append("--images=~/*.png")
    done = commands.run(tool, *words)
    assert done.returncode == 1 and str(here / "home") in done.stderr, done.stderr
    assert not (here / "~").exists()


def test_a_second_training_of_a_directory_is_refused_and_changes_nothing(here):
    (here / "run").mkdir()
    (here / "run" / "config.flags").write_text("--steps=7\n")
    with lease.hold(lease.LocalLeaseFile(here / "run" / "run.lease"), "this training"):
        done = commands.run("train", "--out_dir=run", "--steps=1")
    assert done.returncode == 1
    assert f"this training is held by process {os.getpid()}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (here / "run" / "config.flags").read_text() == "--steps=7\n"


def test_settings_that_one_side_alone_has_are_named(here):
    specs = {"data": DataSpec(), "advice": DataSpec(dataset="camvid")}
    rundir.claim(pathlib.Path("both.json"), specs)
    with pytest.raises(InputError, match="--dataset was 'camvid', now None"):
        rundir.claim(pathlib.Path("both.json"), {"data": DataSpec()})
    rundir.claim(pathlib.Path("less.json"), {"data": DataSpec()})
    with pytest.raises(InputError, match="--dataset was None, now 'camvid'"):
        rundir.claim(pathlib.Path("less.json"), specs)


def test_a_command_runs_where_its_relative_paths_are_right(here):
    """In a checkout by its script, elsewhere by the installed command."""
    spec = {"data": DataSpec(dataset="folder", data_dir="DATA")}
    content = rundir.claim(pathlib.Path("run.json"), spec)
    assert content["directory"] == str(here)
    assert files.read_json("run.json") == content
    assert rundir.claim(pathlib.Path("run.json"), spec) == content
    assert (
        rundir.command(str(here), "study", "--out_dir=A B")
        == f"cd {here} && tfreuse-study '--out_dir=A B'"
    )
    words = shlex.split(rundir.command(str(ROOT), "study"))
    assert words == ["cd", str(ROOT), "&&", "python", "tools/study.py"]
    assert rundir.command("", "study") == "python tools/study.py"


@pytest.mark.slow
def test_a_run_with_relative_paths_is_repeated_from_elsewhere(
    scenes, here, monkeypatch
):
    (here / "DATA").symlink_to(scenes)
    flags = ["--data_dir=DATA", "--batch_size=4", *TRAIN]
    done = commands.run("train", *flags, "--out_dir=runs/a")
    assert done.returncode == 0, done.stderr
    directory = files.read_json("runs/a/run.json")["directory"]
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    flagfile = f"--flagfile={here}/runs/a/config.flags"
    text = rundir.command(directory, "train", flagfile, "--out_dir=runs/b")
    cd, directory, _, program, *words = shlex.split(text)
    assert (cd, program) == ("cd", "tfreuse-train")
    monkeypatch.chdir(directory)
    done = commands.run("train", *words)
    assert done.returncode == 0, done.stderr
    found = [files.read_json(here / f"runs/{name}/metrics.json") for name in "ab"]
    assert found[0]["confusion_matrix"] == found[1]["confusion_matrix"]
