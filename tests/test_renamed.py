"""Former names of modules import their successors, and say so once."""

import subprocess
import sys

import tfreuse

CODE = """
import importlib, sys, warnings
import tfreuse
for old, new in tfreuse._RENAMED.items():
    successor = importlib.import_module(f"tfreuse.{new}")
    for attempt in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert importlib.import_module(f"tfreuse.{old}") is successor, old
            assert getattr(tfreuse, old) is successor, old
        texts = [str(w.message) for w in caught if w.category is FutureWarning]
        expected = [] if attempt else [f"tfreuse.{old} is now tfreuse.{new}"]
        assert [text.partition(";")[0] for text in texts] == expected, (old, texts)
"""


def test_every_former_name_imports_its_successor_and_warns_once():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_no_former_name_is_a_module_again():
    assert not set(tfreuse._RENAMED) & set(tfreuse._PACKAGES)
