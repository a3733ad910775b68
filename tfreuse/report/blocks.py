"""The content of a report before it is HTML or Markdown: sections of blocks of plain text.

No block holds markup: each renderer escapes every string for its own format, once.
"""

import dataclasses

from tfreuse.analysis import verdicts

VERDICT_COLUMNS = ("verdict", "H1", "H2", "H3", "H4", "H5")


@dataclasses.dataclass(frozen=True)
class Paragraph:
    text: str


@dataclasses.dataclass(frozen=True)
class Warnings:
    """Reservations that a reader must know before the results."""

    lines: tuple[str, ...]
    title: str = "Incomplete"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text; cells in VERDICT_COLUMNS are verdicts, and are marked as such."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure: `figures/<name>.svg` or `.png`, with its rows in `figures/<name>.csv`."""

    name: str
    title: str
    caption: str
    markup: tuple[str, ...] = ()  # SVG, a panel each; of a PNG none

    @property
    def file(self) -> str:
        return f"{self.name}.{'svg' if self.markup else 'png'}"


@dataclasses.dataclass(frozen=True)
class Code:
    text: str


@dataclasses.dataclass(frozen=True)
class Cards:
    """The verdicts of one architecture and direction."""

    title: str
    verdicts: tuple[verdicts.Verdict, ...]


@dataclasses.dataclass(frozen=True)
class Details:
    """Blocks of less importance, folded away until opened."""

    title: str
    blocks: tuple["Block", ...]


@dataclasses.dataclass(frozen=True)
class Fallback:
    """Static blocks, shown only without JavaScript and in print."""

    blocks: tuple["Block", ...]


Block = Paragraph | Warnings | Table | Picture | Code | Cards | Details | Fallback


@dataclasses.dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]

    @property
    def fallback(self) -> bool:
        return all(isinstance(block, Fallback) for block in self.blocks)


@dataclasses.dataclass(frozen=True)
class Report:
    title: str
    subtitle: str
    sections: tuple[Section, ...]
    lead: tuple[Block, ...] = ()  # before anything else
