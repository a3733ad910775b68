"""Runs a tool in the test's own process, as its command line would."""

import contextlib
import importlib
import io
import sys
from typing import NamedTuple

from absl.testing.flagsaver import restore_flag_values as restore
from absl.testing.flagsaver import save_flag_values as saved


class Done(NamedTuple):
    """The exit status of a command, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def module(tool):
    """Returns the module that tools/`tool`.py runs."""
    return importlib.import_module(
        "benchmarks.main" if tool == "benchmark" else f"tfreuse.cli.{tool}"
    )


def run(tool, *words):
    """Runs tools/`tool`.py with these words; flags are afterwards what they were before."""
    # Abseil heeds it in the first command of a process alone; the next would do its work.
    assert "--only_check_args" not in words, "give it to a process of its own"
    main = module(tool)
    before, argv, doc = saved(), sys.argv, sys.modules["__main__"].__doc__
    out, err = io.StringIO(), io.StringIO()
    sys.argv, status = [f"tools/{tool}.py", *map(str, words)], 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.run()
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv, sys.modules["__main__"].__doc__ = argv, doc
        restore(before)
    return Done(status, out.getvalue(), err.getvalue())
