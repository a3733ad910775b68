"""The exception for bad input, errors of libraries in one line, and text that is safe to print."""

import difflib
import errno
import re
import sys
import unicodedata
from collections.abc import Iterable

_LIBRARIES = ("keras", "tensorflow", "h5py")
_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")  # ECMA-48, such as colours
# Parts of messages of Keras and TensorFlow on the code that they came from.
_CONTEXT = re.compile(
    r"Exception encountered when calling [^\n]*\n"
    r"|Arguments received by .*"
    r"|Graph execution error:"
    r"|Detected at node .*?(?=\n\n|\Z)"
    r'|in user code:|^ *File "[^\n]*\n[^\n]*'
    r"|\[\[\{\{node .*|\{\{function_node [^}]*\}\} *(\{\{[^}]*\}\})?"
    r"|\[Op:\w*\].*"
    r"|\.? for '\{\{node .*",
    re.DOTALL | re.MULTILINE,
)
_FULL_DISK = (
    "No space left on device", "errno = 28", "Disk quota exceeded", "File too large",
)  # fmt: skip
_FULL_DISK_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.EACCES: "; give yourself the right to it, or choose another place",
    errno.EPERM: "; give yourself the right to it, or choose another place",
    errno.EROFS: "; choose a place that can be written to",
    errno.EISDIR: "; expected a file",
    errno.ENOTDIR: "; expected a folder",
}


class InputError(ValueError):
    """Bad input: a flag, a file or an argument that cannot be used.

    The message is one line with the expected value, the actual one, and the remedy. The
    command-line layer prints it without a traceback and exits with status 1.
    """


def nearest(word: str, choices: Iterable[str], limit: int = 5) -> list[str]:
    """Returns the `limit` choices most similar to `word`, best first; others if none is close."""
    choices = sorted(set(choices))
    close = difflib.get_close_matches(word, choices, n=limit, cutoff=0.5)
    return [printable(name) for name in close or choices[:limit]]


def printable(text: object, limit: int = 200) -> str:
    """Makes untrusted text safe for a terminal, and at most `limit` characters long.

    Control characters (Unicode categories C*: ANSI escapes, newlines, right-to-left overrides)
    become escape sequences, which a terminal prints instead of executing.
    """
    escaped = "".join(
        c
        if not unicodedata.category(c).startswith("C")
        else c.encode("unicode_escape").decode()
        for c in str(text)[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def plain(text: object, limit: int = 200) -> str:
    """Returns a library's message in one line: no colours, no code that it came from."""
    without_colours = _ESCAPE.sub("", str(text))
    words = " ".join(_CONTEXT.sub(" ", without_colours).split())
    return printable(words or " ".join(without_colours.split()), limit)


def first_names(names: Iterable[object], limit: int = 3) -> str:
    """Returns the first names and the count of the others, safe to print."""
    names = [printable(name) for name in names]
    tail = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + tail


def reason(error: BaseException, limit: int = 200) -> str:
    """Returns the text of an exception without error numbers, path and final punctuation."""
    text = plain(getattr(error, "strerror", None) or error, limit)
    return text.rstrip(".:;, ") or type(error).__name__


def in_one_line(error: BaseException) -> str | None:
    """Returns an error as one line for the user; None for an error of our own code.

    Errors of the file system, a full memory, and errors that Keras, TensorFlow or HDF5 raise on
    purpose are lines. Other exceptions are programming errors, whose traceback is of use.
    """
    if isinstance(error, InputError):
        return str(error)
    if _is_full_disk(error):
        return (
            f"no space is left on the disk{_file(error)}; free some and run the same command "
            "again."
        )
    if isinstance(error, MemoryError) or _is_tensorflows(
        error, "ResourceExhaustedError"
    ):
        return (
            f"the memory is full ({reason(error)}); take smaller images or batches "
            "(--image_size, --batch_size, --tile), and run the same command again."
        )
    if isinstance(error, OSError):
        remedy = _REMEDIES.get(error.errno, "")
        return f"{reason(error)}{_file(error)}{remedy}."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"the package {printable(error.name)} is not installed; install it, or run the "
            "Python that has it."
        )
    library = _library(error) if isinstance(error, ValueError) else ""
    if _is_tensorflows(error, "OpError"):
        library = "tensorflow"
    if library:
        return f"{library} refuses this: {reason(error, 400)}."
    return None


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL_DISK_CODES:
        return True
    of_library = isinstance(error, OSError | RuntimeError) or _is_tensorflows(
        error, "OpError"
    )
    return of_library and any(text in str(error) for text in _FULL_DISK)


def _is_tensorflows(error: BaseException, name: str) -> bool:
    """Returns whether this is the error `tf.errors.<name>`; does not import TensorFlow."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(
        error, getattr(tensorflow.errors, name)
    )


def _library(error: BaseException) -> str:
    """Returns the library whose code raised the error; "" if it is none of _LIBRARIES."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__", "") if frame else ""
    package = module.partition(".")[0]
    return package if package in _LIBRARIES else ""


def _file(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f" ({printable(name)})" if name else ""
