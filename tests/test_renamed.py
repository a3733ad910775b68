"""Former names import what succeeded them, and say so once, at the line that uses them."""

import importlib
import subprocess
import sys

import tfreuse

CODE = """
import importlib, warnings
import tfreuse
for old, new in tfreuse._RENAMED.items():
    successor = importlib.import_module(f"tfreuse.{new}")
    public = [n for n in vars(successor) if n[0] != "_"]
    for attempt in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            former = importlib.import_module(f"tfreuse.{old}")
        texts = [str(w.message).partition(";")[0] for w in caught]
        expected = f"tfreuse.{old} is now tfreuse.{new}"
        assert texts.count(expected) == 1 - attempt, (old, texts)
    for name in public:
        if f"{old}.{name}" not in {*tfreuse._RENAMED_WITHIN, *tfreuse._RENAMED}:
            assert getattr(former, name) is getattr(successor, name), (old, name)
for old, new in tfreuse._RENAMED_WITHIN.items():
    module, _, name = old.rpartition(".")
    home, _, renamed = new.rpartition(".")
    expected = getattr(importlib.import_module(f"tfreuse.{home}"), renamed)
    former = importlib.import_module(f"tfreuse.{module}")
    assert getattr(former, name) is expected, old
"""


def run(code, *options):
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_former_name_imports_its_successor_and_warns_once():
    done = run(CODE)
    assert done.returncode == 0, done.stderr


def test_the_warning_is_of_the_line_that_imports(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom tfreuse import moving\nmoving.plan\n")
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{script}:2: FutureWarning: tfreuse.moving is now" in done.stderr


def test_what_has_no_successor_is_missing_without_a_promise():
    done = run("import tfreuse.transfer.estimators")
    assert "ModuleNotFoundError" in done.stderr
    assert "estimators is now" not in done.stderr


def test_no_former_name_is_a_module_again():
    assert not set(tfreuse._RENAMED) & set(tfreuse._PACKAGES)
    for name in tfreuse._RENAMED:
        spec = importlib.util.find_spec(f"tfreuse.{name.partition('.')[0]}")
        own = spec.loader is not None and "Renamed" not in type(spec.loader).__name__
        assert not own or name.startswith(("advisor.", "runners.")), name


def test_the_public_packages_are_listed():
    assert set(dir(tfreuse)) == {
        "__version__",
        *tfreuse._FUNCTIONS,
        *tfreuse._PACKAGES,
    }
