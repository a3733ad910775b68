"""What each command takes to answer: measured, and held to what it may import."""

import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import startup
from benchmarks.startup import (
    ANSWER,
    FIRST_STEP,
    REPORT,
    STEP,
)

SLOW = {"tensorflow", "keras", "scipy", "tensorboard"}


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    return startup.commands(tmp_path_factory.mktemp("startup"))


def loaded(words: list[str]) -> set[str]:
    """Modules that the command imports, by Python's own list of them."""
    command = [sys.executable, "-X", "importtime", "-m", f"tfreuse.cli.{words[0]}"]
    done = subprocess.run(
        [*command, *words[1:]], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    lines = (line for line in done.stderr.splitlines() if "import time:" in line)
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_commands_answer_without_what_takes_long_to_import(typed):
    """Half a second is not for TensorFlow: it takes three."""
    for name, words in typed.items():
        if name not in (REPORT, FIRST_STEP):
            found = loaded(words)
            assert "absl" in found, name
            assert not found & SLOW | {"matplotlib"} & found, name
    assert "numpy" in loaded(typed[REPORT])  # what is imported is seen here


def test_the_first_step_is_waited_for_and_no_longer(tmp_path):
    lines = "import sys, time; print('10% | x step 1/9', file=sys.stderr, flush=True)"
    startup._until_a_step([sys.executable, "-c", f"{lines}; time.sleep(60)"])
    with pytest.raises(ValueError, match="without a step"):
        startup._until_a_step([sys.executable, "-c", "print('none')"])


def test_the_quickstart_of_the_benchmark_is_that_of_the_flagfile():
    path = pathlib.Path(__file__).parent.parent / "flags" / "quickstart.flags"
    assert set(startup.QUICKSTART) <= set(path.read_text().splitlines())


def runs(name, *seconds):
    return [{"name": name, "seconds": s, "cpu_s": s / 2} for s in seconds]


def test_a_command_is_held_to_its_median():
    found = [
        *runs(FIRST_STEP, STEP, STEP + 1, 2),
        *runs(REPORT, 9),
        *runs("a", ANSWER, 9, 9),
    ]
    promised = startup.targets(found)
    assert [(one.text, one.met) for one in promised] == [
        ("a, seconds", False),
        (f"{FIRST_STEP}, seconds", True),
    ]
    text = startup.markdown(found, promised)
    assert "| a | 3 | 9.00 | 0.50-9.00 | 4.50 |" in text.splitlines()


def test_every_command_runs_once_a_round(monkeypatch, tmp_path):
    typed = {"one": ["train", "--help"], "two": ["predict", "--help"]}
    monkeypatch.setattr(startup, "commands", lambda folder: typed)
    found = startup.run(2, 1, tmp_path)
    assert sorted(one["name"] for one in found) == ["one", "one", "two", "two"]
    assert all(0 < one["cpu_s"] < one["seconds"] * os.cpu_count() for one in found)
