"""Shared code of all commands: flags from specs, one-line errors, help for console scripts.

A command module has a docstring that begins with an example, and three functions::

    def define_flags() -> None: ...   # called before the command line is parsed
    def main() -> None: ...           # reads flags, calls the library, prints
    def run() -> None: app.run(sys.modules[__name__])

A command with several verbs lists them in VERBS; `main` then takes the verb, the first word.
"""

import contextlib
import dataclasses
import functools
import logging as python_logging
import math
import os
import pathlib
import sys
import traceback
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app as absl_app
from absl import flags, logging

from tfreuse import files, rundir
from tfreuse.cli import flagfiles
from tfreuse.errors import InputError, in_one_line, nearest, printable
from tfreuse.specs import TASKS, DataSpec, Spec

FLAGS = flags.FLAGS
_DEBUG = "debug"


def define(
    spec: type[Spec], *, leave_out: Sequence[str] = (), caller: str = ""
) -> None:
    """Defines a flag for every field of a spec, with its default, help, choices and bounds.

    Args:
        spec: the dataclass.
        leave_out: fields that the command sets itself.
        caller: module of the command; by default the calling module.
    """
    caller = caller or _caller()
    for field in dataclasses.fields(spec):
        if field.name not in leave_out:
            _define(field, caller)


def spec(kind: type[Spec], **values: Any) -> Any:
    """Builds a spec from the flags; `values` are the fields without a flag.

    Raises:
        InputError: a value does not fit its field.
    """
    for field in dataclasses.fields(kind):
        if field.name not in values:
            value = FLAGS[field.name].value
            values[field.name] = (
                _tuple(field, value) if isinstance(value, list) else value
            )
    return kind(**values)


def define_data() -> None:
    """Defines the flags of `DataSpec`, and --download."""
    caller = _caller()
    define(DataSpec, caller=caller)
    flags.DEFINE_boolean(
        "download",
        False,
        "tfds: download the data set first if it is not on this disk",
        module_name=caller,
    )


def data_spec() -> DataSpec:
    """Builds the `DataSpec` of the flags; downloads the data set first with --download."""
    if FLAGS.data_dir and not FLAGS["dataset"].present:
        raise InputError(
            f"--data_dir={FLAGS.data_dir} is given without --dataset. Type --dataset=folder for "
            "images of your own, --dataset=tfds:NAME, or --dataset=shapes to keep the drawn "
            "scenes there."
        )
    dataset = spec(DataSpec)
    if FLAGS.download:
        from tfreuse.data import downloads  # imports NumPy

        downloads.fetch(dataset)
    return dataset


def define_task() -> None:
    """Defines --task for a command that takes a trained model."""
    flags.DEFINE_enum(
        "task",
        None,
        list(TASKS),
        "the model's task; by default inferred from its layer names",
        module_name=_caller(),
    )


def define_undo(caller: str = "") -> None:
    """Defines --undo for a command that writes a copy of a model file."""
    flags.DEFINE_enum(
        "undo",
        "recipient",
        ["recipient", "copy"],
        "where undo takes replaced values from: the file that was copied, which must stay as it "
        "is, or a copy of them in OUT.undo",
        module_name=caller or _caller(),
    )


def undo_reach(out: str, recipient: str) -> str:
    """Returns what undo can do for a file that was just written, and what ends that."""
    out, recipient = printable(out), printable(recipient)
    command = f"'python tools/transplant.py undo --out={out}' restores {recipient}"
    if FLAGS.undo == "copy":
        return f"{command} from the copy of the replaced values in it"
    return (
        f"{command} while that file stays as it is: once it is overwritten or deleted, its old "
        "values are gone (--undo=copy keeps a copy of them)"
    )


def out_dir(
    *, holds: str = "", leave_out: Sequence[str] = (), remote: bool = False
) -> pathlib.Path:
    """Creates `--out_dir` and writes the effective flags to its `config.flags`.

    Args:
        holds: file that marks the directory of an existing run, whose `config.flags` is not
            overwritten.
        leave_out: flags that concern this call only, not the run.
        remote: whether a URL is allowed; see `runners.storage`.

    Returns:
        the directory; for a URL the local directory that mirrors it.

    Raises:
        InputError: --out_dir is not given, or is not a directory.
    """
    from tfreuse.runners import storage  # as all of runners, for few commands

    path = _directory(remote)
    if storage.is_url(FLAGS.out_dir):
        storage.mirror_of(FLAGS.out_dir, path).pull(
            *filter(None, [holds]), "config.flags"
        )
    if not (holds and (path / holds).exists()):
        files.write_text(path / "config.flags", _effective_flags(leave_out))
    return path


@contextlib.contextmanager
def sole_out_dir(run: str, *, holds: str) -> Iterator[pathlib.Path]:
    """Yields `out_dir(holds=holds)`; no second process can use it until the block ends.

    Args:
        run: name of the command's work for the message, such as "this training".
        holds: as in `out_dir`.

    Raises:
        InputError: another process uses the directory; nothing in it was changed.
    """
    from tfreuse.runners import lease

    file = lease.LocalLeaseFile(_directory() / "run.lease")
    with lease.hold(file, run):
        yield out_dir(holds=holds)


def trained(model: str | pathlib.Path) -> dict[str, dict[str, Any]]:
    """Returns the specs of the run that made a model file, by name, as JSON; {} if unknown.

    They are read from MODEL.run.json, else from run.json beside the model. Relative paths of
    data and network are those from the directory in which the run was started.
    """
    try:
        content = files.read_json(rundir.settings_file(model))
        specs = {k: v for k, v in content["specs"].items() if isinstance(v, dict)}
        directory = content.get("directory", "")
        for part, field in (("data", "data_dir"), ("model", "model")):
            name = specs.get(part, {}).get(field) or ""
            if name.endswith(".keras") or (name and field == "data_dir"):
                specs[part][field] = rundir.resolved(name, directory)
        return specs
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # none, or not a run of tfreuse


def run(module: types.ModuleType) -> None:
    """Runs `module.main()`; prints errors as one line without a traceback (`--debug`: with).

    Errors of our own code keep their traceback; see `errors.in_one_line`.
    """
    module.define_flags()
    flags.DEFINE_boolean(_DEBUG, False, "show the traceback of an error")
    for name in (module.__name__, __name__):
        for flag in FLAGS.get_flags_for_module(name):
            FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = module.__doc__
    try:
        argv = flagfiles.resolved(sys.argv)
        absl_app.run(functools.partial(_main, module), argv=argv)
    except InputError as error:
        sys.exit(_fail(str(error)))
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _main(module: types.ModuleType, argv: list[str]) -> int:
    """Runs a command whose flags are parsed; returns its exit status."""
    logging.set_verbosity(logging.WARNING)
    _expand_home()
    _print_notes()
    words, verbs = argv[1:], getattr(module, "VERBS", ())
    if verbs and (not words or words[0] not in verbs):
        return _fail(_verb_error(words, verbs))
    unexpected = words[1:] if verbs else words
    if unexpected:
        return _fail(f"unexpected words {unexpected}: flags are written --name=value.")
    try:
        status = module.main(*words) or 0
        sys.stdout.flush()  # a full disk or a closed pipe is met here, not after the end
        return status
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        line = in_one_line(error)
        if line is None:
            raise
        if FLAGS[_DEBUG].value:
            traceback.print_exc()
        elif not isinstance(error, InputError | OSError):
            line += " --debug shows where it arose."
        return _fail(line)


def _print_notes() -> None:
    """Prints the log of `tfreuse.data` as plain lines, without absl's time and module."""
    logger, handler = (
        python_logging.getLogger("tfreuse.data"),
        python_logging.StreamHandler(),
    )
    handler.setFormatter(python_logging.Formatter("Note: %(message)s"))
    logger.handlers, logger.propagate = [handler], False


def _caller() -> str:
    """Returns the module that called this module's function: the command that has the flags."""
    name = sys._getframe(2).f_globals["__name__"]
    # absl knows the main module by the name of its file
    return sys.argv[0] if name == "__main__" else name


class _WholeNumber(flags.IntegerParser):
    """Parses an integer; its error has no words of Python."""

    def convert(self, argument: int | str) -> int:
        try:
            return super().convert(argument)
        except ValueError:
            raise ValueError(f"expected a whole number, got {argument!r}") from None


class _Number(flags.FloatParser):
    """Parses a finite number, which bounds alone do not ask for; NaN passes them."""

    def convert(self, argument: float | str) -> float:
        with contextlib.suppress(ValueError):
            if math.isfinite(number := super().convert(argument)):
                return number
        raise ValueError(f"expected a finite number, got {argument!r}")


def define_number(
    name: str, default: float | None, help: str, *, module: str,
    low: float | None = None, high: float | None = None,
) -> None:  # fmt: skip
    """Defines a flag of a finite number, whole if its default is, from `low` to `high`."""
    kind = _WholeNumber if isinstance(default, int) else _Number
    parser = kind(lower_bound=low, upper_bound=high)
    serializer = flags.ArgumentSerializer()
    flags.DEFINE(parser, name, default, help, serializer=serializer, module_name=module)


def _define(field: dataclasses.Field, module: str) -> None:
    """Defines one flag, of the kind of the field's default."""
    help, choices = field.metadata["help"], field.metadata["choices"]
    name, default = field.name, field.default
    options = {"module_name": module}
    if isinstance(default, bool):
        flags.DEFINE_boolean(name, default, help, **options)
    elif isinstance(default, tuple):
        text = f"{help}; comma-separated" + (
            f": {', '.join(choices)}" if choices else ""
        )
        flags.DEFINE_list(name, [str(value) for value in default], text, **options)
    elif isinstance(default, int | float):
        low = field.metadata["low"]
        define_number(name, default, help, low=low, module=module)
    elif choices:
        flags.DEFINE_enum(name, default, list(choices), help, **options)
    else:
        flags.DEFINE_string(name, default, help, **options)


def _tuple(field: dataclasses.Field, words: list[str]) -> tuple:
    """Converts the words of a list flag to the field's type."""
    kind = typing.get_args(field.type)[0]
    try:
        return tuple(kind(word) for word in words)
    except ValueError:
        values = field.default or (kind(8), kind(64))
        example = ",".join(str(value) for value in values)
        numbers = "whole numbers" if kind is int else "numbers"
        raise InputError(
            f"--{field.name} takes {numbers} such as {example}; got {','.join(words)!r}."
        ) from None


def _verb_error(words: Sequence[str], verbs: Sequence[str]) -> str:
    problem = "no verb is given"
    if words:
        problem = f"no verb {words[0]!r}; nearest: {nearest(words[0], verbs, 1)[0]}"
    return f"{problem}. The first word is one of {', '.join(verbs)}."


def _directory(remote: bool = False) -> pathlib.Path:
    """Creates `--out_dir`, or the local directory of its URL if `remote`."""
    from tfreuse.runners import storage

    name = FLAGS.out_dir
    if not name:
        raise InputError("--out_dir is not given: expected a directory for results.")
    if storage.is_url(name) and not remote:
        raise InputError(f"--out_dir={name} is a URL; expected a path.")
    path = storage.scratch(name) if storage.is_url(name) else pathlib.Path(name)
    if path.exists() and not path.is_dir():
        raise InputError(
            f"--out_dir={path} is a file; expected a directory or a new name."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def _expand_home() -> None:
    """Replaces a leading ~ in every flag's value, which a shell leaves in --name=~/path."""
    for flag in FLAGS.get_key_flags_for_module(sys.argv[0]):
        if isinstance(flag.value, str):
            flag.value = os.path.expanduser(flag.value)
        elif isinstance(flag.value, list):
            flag.value = [os.path.expanduser(word) for word in flag.value]


def _effective_flags(leave_out: Sequence[str]) -> str:
    """Returns the command's flags with their values, as a flagfile that repeats the run."""
    key_flags = FLAGS.get_key_flags_for_module(sys.argv[0])  # without absl's own
    left_out = {*leave_out, _DEBUG}
    of_run = [flag for flag in key_flags if flag.name not in left_out]
    lines = sorted(flag.serialize() for flag in of_run if flag.value is not None)
    return "\n".join(line for line in lines if line) + "\n"


def _fail(message: str) -> int:
    name = pathlib.Path(sys.argv[0]).name
    print(f"{name}: {printable(message, 2000)}", file=sys.stderr)
    return 1
