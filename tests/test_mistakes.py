"""Tools x mistakes: one line each, and before TensorFlow is imported wherever that is possible."""

import json
import logging
import pathlib
import re
import resource
import subprocess
import sys

import commands
import mistakes
import pytest
from PIL import Image

from tfreuse import models, runtime
from tfreuse.models import saving
from tfreuse.specs import ModelSpec

TESTS = pathlib.Path(__file__).parent
SHAPES = "--dataset=shapes --train_examples=8 --test_examples=4"


def one_line(text, words):
    assert words in text and "Traceback" not in text and "\x1b" not in text, text
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1 and not re.search("[:,;]$", lines[0]), text


def test_what_needs_no_tensorflow_is_refused_before_it_is_imported(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mistakes.write_files()
    code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import mistakes; mistakes.answers()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = zip(mistakes.early(), json.loads(done.stdout), strict=True)
    for (tool, flags, words), (status, text, loaded) in answers:
        assert status == 1 and not loaded, (tool, flags, loaded, text)
        one_line(text, words)
    assert not pathlib.Path("out").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a model file of 3 classes, its export, and a picture."""
    folder = tmp_path_factory.mktemp("trained")
    spec = ModelSpec(width=4, depth=1)
    model = models.build(spec, task="segmentation", num_classes=5, seed=0)
    saving.save(model, folder / "model.keras")
    Image.new("RGB", (16, 16)).save(folder / "photo.png")
    return folder


@pytest.fixture
def full_disk():
    """A limit on the size of files stands in for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_full_disk_is_one_line_for_every_tool_and_nothing_is_lost(
    trained, tmp_path, monkeypatch, full_disk
):
    monkeypatch.chdir(tmp_path)
    model = f"--model={trained / 'model.keras'}"
    steps = "--width=4 --depth=1 --steps=2 --batch_size=4 --image_size=16,16"
    for tool, flags, size in [
        ("train", f"{SHAPES} {steps} --out_dir=run", 10_000),
        ("export", f"{model} --out_dir=served", 10_000),
        ("evaluate", f"{model} {SHAPES} --out_dir=evaluation", 10),
        ("study", f"{SHAPES} {steps} --out_dir=study", 10),
        ("advise", f"--donor={trained / 'model.keras'} {SHAPES} --out_dir=advice", 10),
    ]:
        full_disk(size)
        done = commands.run(tool, *flags.split())
        full_disk(resource.RLIM_INFINITY)
        assert done.returncode == 1, (tool, done)
        last = done.stderr.splitlines()[-1]
        one_line(last, "no space is left on the disk")
        assert "Traceback" not in done.stderr
    assert not pathlib.Path("served").exists()
    assert not pathlib.Path("run/model.keras").exists()
    assert not [name for name in contents(tmp_path) if "/." in name]
    done = commands.run("train", "--flagfile=run/config.flags")
    assert done.returncode == 0, done.stderr


def test_images_that_the_model_does_not_take_are_one_line(trained, tmp_path):
    flags = [
        f"--model={trained / 'model.keras'}",
        *SHAPES.split(),
        f"--out_dir={tmp_path}",
    ]
    for wrong, words in (
        ("--channels=1", "type --channels=3"),
        ("--image_size=17,17", "type --image_size=16,16"),
    ):
        done = commands.run("evaluate", *flags, wrong)
        assert done.returncode == 1
        one_line(done.stderr, words)


def test_debug_shows_the_traceback_and_the_line(tmp_path):
    done = commands.run("transplant", "info", "--model=none", "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr
    one_line(done.stderr.splitlines()[-1], "none cannot be read")


def test_a_started_tensorflow_logs_errors_alone():
    logger = logging.getLogger("tensorflow")
    level = logger.level
    try:
        runtime.start()
        assert logger.isEnabledFor(logging.ERROR)
        assert not logger.isEnabledFor(logging.WARNING)
    finally:
        logger.setLevel(level)


def test_an_error_of_our_own_code_keeps_its_traceback(monkeypatch):
    from tfreuse.cli import transplant

    monkeypatch.setattr(transplant, "_info", lambda: {}["key"])
    with pytest.raises(KeyError):
        commands.run("transplant", "info", "--model=none")
