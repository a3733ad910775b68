"""Drawings that repeat each other, in few characters; `static/held.js` reads them too.

    packer, unpacker = Packer(), Unpacker()
    entries = [packer.pack(markup) for markup in drawings]      # plain values for JSON
    assert [unpacker.unpack(one) for one in entries] == drawings  # in the same order

A drawing is a sequence of words: an element, with the ends of elements behind it. Its entries are

- `[distance, length]`: so many words that came `distance` words before, in this drawing or in
  former ones (Ziv and Lempel 1977, doi:10.1109/TIT.1977.1055714, with words for characters);
- `distance`: the same for one word;
- `"<rect x=..."`: a new word. Without its numbers it is a pattern, which gets the next number;
- `"3 17.5  9"`: the word of pattern 3 with these numbers. An empty one is as in the last word of
  the pattern.

Gzip by itself looks for equal text in the last 32 kB only, which is less than one figure.
"""

import itertools
import re
from collections.abc import Sequence

Entry = int | str | list[int]

_WORD = re.compile(r"<[a-z][^<]*(?:</[^<]*)*")
_REFERENCE = 8  # bytes, of a word that came before
_NUMBER = re.compile(r"[−-]?[0-9]+(?:\.[0-9]+)?")


class Packer:
    """Packs drawings one after another; each refers to those before it."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._last: dict[str, int] = {}  # where each word came last
        self._last_pair: dict[tuple[str, str], int] = {}  # and each two neighbours
        self._patterns: dict[tuple[str, ...], int] = {}
        self._numbers: list[list[str]] = []  # of each pattern's last word

    def pack(self, markup: str) -> list[Entry]:
        """Returns the entries of a drawing."""
        words, entries, done = _WORD.findall(markup), [], 0
        while done < len(words):
            start, length = self._repeated(words, done)
            distance = len(self._words) - start
            if not length:
                entries.append(self._new(words[done]))
            else:
                entries.append(distance if length == 1 else [distance, length])
            length = max(1, length)
            self._remember(words[done : done + length])
            done += length
        return entries

    def _repeated(self, words: Sequence[str], done: int) -> tuple[int, int]:
        """Returns where the words that come next came before, and how many; (0, 0) if nowhere."""
        start = self._last_pair.get(tuple(words[done : done + 2]))
        if start is None:
            start = self._last.get(words[done])
            return (0, 0) if start is None else (start, 1)
        length, most = 2, min(len(words) - done, len(self._words) - start)
        while length < most and words[done + length] == self._words[start + length]:
            length += 1
        return start, length

    def _remember(self, words: Sequence[str]) -> None:
        for word in words:
            if self._words:
                self._last_pair[self._words[-1], word] = len(self._words) - 1
            self._last[word] = len(self._words)
            self._words.append(word)

    def _new(self, word: str) -> str:
        pattern, numbers = tuple(_NUMBER.split(word)), _NUMBER.findall(word)
        index = self._patterns.get(pattern)
        if index is None:
            self._patterns[pattern] = len(self._numbers)
            self._numbers.append(numbers)
            return word
        last, self._numbers[index] = self._numbers[index], numbers
        changed = (
            "" if new == old else new for new, old in zip(numbers, last, strict=True)
        )
        return " ".join([str(index), *changed])


class Unpacker:
    """Unpacks what a `Packer` packed.

    Args:
        most: bytes of all drawings together; entries of a few bytes can stand for many.
    """

    def __init__(self, most: int) -> None:
        self._room = most
        self._words: list[str] = []
        self._patterns: list[list[str]] = []
        self._numbers: list[list[str]] = []

    def unpack(self, entries: Sequence[Entry]) -> str:
        """Returns the markup of a drawing.

        Raises:
            IndexError, TypeError, ValueError: the entries are not a packer's, or too much.
        """
        begin = len(self._words)
        for entry in entries:
            if isinstance(entry, str):
                words = [self._new(entry)]
            else:
                distance, length = (entry, 1) if isinstance(entry, int) else entry
                if not 1 <= length <= distance <= len(self._words):
                    raise IndexError(f"no {length} words {distance} words before")
                start = len(self._words) - distance
                words = self._words[start : start + length]
            self._room -= sum(map(len, words)) + _REFERENCE * len(words)
            if self._room < 0:
                raise ValueError("more characters than a report has")
            self._words += words
        return "".join(self._words[begin:])

    def _new(self, entry: str) -> str:
        if entry.startswith("<"):
            self._patterns.append(_NUMBER.split(entry))
            self._numbers.append(_NUMBER.findall(entry))
            return entry
        index, *changed = entry.split(" ")
        last = self._numbers[int(index)]
        last[:] = [new or old for new, old in zip(changed, last, strict=True)]
        pattern = self._patterns[int(index)]
        pairs = itertools.zip_longest(pattern, last, fillvalue="")
        return "".join(itertools.chain.from_iterable(pairs))
