"""The one exception that a user can cause, and the words that help to mend it."""

import difflib
import unicodedata
from collections.abc import Iterable


class InputError(ValueError):
    """Something given from outside cannot be used.

    The message is one line: what was expected, what came, and what to type instead.
    The command-line layer prints it without a traceback and exits with status 1.
    """


def nearest(word: str, choices: Iterable[str], limit: int = 5) -> list[str]:
    """The `limit` choices most like `word`, best first; some choices even if none is close."""
    choices = sorted(set(choices))
    close = difflib.get_close_matches(word, choices, n=limit, cutoff=0.5)
    return [printable(name) for name in close or choices[:limit]]


def printable(text: object, limit: int = 200) -> str:
    """`text` from a file, safe for a terminal, at most `limit` characters long.

    ANSI escapes, newlines and right-to-left overrides are shown as escapes instead of being
    executed by the terminal (Unicode categories C*).
    """
    shown = "".join(
        c
        if not unicodedata.category(c).startswith("C")
        else c.encode("unicode_escape").decode()
        for c in str(text)[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
