"""The exception for bad input, and helpers for its messages."""

import difflib
import unicodedata
from collections.abc import Iterable


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


def reason(error: Exception) -> str:
    """Returns the text of an exception without error numbers, path and final full stop."""
    return printable(getattr(error, "strerror", None) or error).rstrip(".")
