"""A report as Markdown, for pull requests: figures are linked from `figures/`."""

import re

from tfreuse.errors import printable
from tfreuse.report.blocks import (
    VERDICT_COLUMNS,
    Block,
    Cards,
    Code,
    Details,
    Fallback,
    Paragraph,
    Picture,
    Report,
    Table,
    Warnings,
)

MARKS = {
    "supported": "✅",
    "refuted": "❌",
    "no difference": "🟰",
    "inconclusive": "❔",
    "not testable": "➖",
}


def render(report: Report) -> str:
    """Renders the page; escapes every text, so that no name becomes a heading, link or tag."""
    lines = [f"# {escape(report.title)}", "", escape(report.subtitle), ""]
    for block in report.lead:
        lines += [*_block(block), ""]
    for section in report.sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Returns `text` on one line, with Markdown's and HTML's special characters escaped."""
    text = printable(text, 10_000)
    return re.sub(r"([\\`*_{}\[\]<>#|~$@!&])", r"\\\1", text)


def _block(block: Block) -> list[str]:
    match block:
        case Paragraph(text):
            return [escape(text)]
        case Warnings(lines, title):
            return [
                f"> **{escape(title)}**",
                *(f"> - {escape(line)}" for line in lines),
            ]
        case Code(text):
            return ["```", text, "```"]
        case Picture(name, title, caption):
            return [
                f"![{escape(title)}](figures/{block.file})",
                "",
                f"**{escape(title)}.** {escape(caption)} [CSV](figures/{name}.csv)",
            ]
        case Cards():
            return _cards(block)
        case Table():
            return _table(block)
        case Details(title, blocks):
            lines = [line for inner in blocks for line in (*_block(inner), "")]
            return [f"### {escape(title)}", "", *lines[:-1]]
        case Fallback(blocks):
            return [line for block in blocks for line in (*_block(block), "")][:-1]


def _cards(block: Cards) -> list[str]:
    lines = [f"### {escape(block.title)}", ""]
    for verdict in block.verdicts:
        lines.append(
            f"- {MARKS[verdict.verdict]} **{verdict.hypothesis} {verdict.verdict}**: "
            f"{escape(verdict.statement)} {escape(verdict.reason)}"
        )
        lines += [f"  - {escape(note)}" for note in verdict.notes]
    return lines


def _table(table: Table) -> list[str]:
    rows = [
        [
            f"{MARKS[cell]} {cell}" if name in VERDICT_COLUMNS else escape(cell)
            for name, cell in zip(table.head, row, strict=True)
        ]
        for row in table.rows
    ]
    lines = [[escape(name) for name in table.head], ["---"] * len(table.head), *rows]
    text = [f"| {' | '.join(cells)} |" for cells in lines]
    return [*text, "", escape(table.note)] if table.note else text
