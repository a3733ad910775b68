"""A report as one self-contained HTML file, with figures, style, scripts and answers inside.

It shows the views of the TensorBoard tab; without JavaScript, and in print, static blocks stand
in for them. Light and dark, laid out for screens of 400 to 1280 pixels. All text passes through
`cards.escaped`.
"""

import html
import itertools
import pathlib
import re
from collections.abc import Callable, Iterable

from tfreuse.report import bundle, pixels
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
    Section,
    Table,
    Warnings,
)
from tfreuse.report.cards import card, chip, escaped

_VIEWS = """<div id="app"></div>
<h2 class="instead">Figures, tables and methods</h2>"""  # static/page.js draws the views here
MOST_MARKUP = 400_000  # characters of one figure; a ResNet-50 has 107 layers
_NUMERIC = re.compile(r"[−\d][\d.,%e+−-]*|–|")
_INTERVAL = re.compile(r"\S+ \[\S+, \S+\]")


def render(
    report: Report,
    figures: pathlib.Path,
    answers: Callable[[int, str], str] = lambda size, body: "",
) -> str:
    """Renders the whole page.

    Args:
        report: the blocks that are shown without JavaScript.
        figures: directory of the PNG files that the report names.
        answers: called with the size of everything else in bytes and the sections as HTML;
            returns the element with the server's answers to the views, or "" for no views.
    """
    body = "\n".join(_section(section, figures) for section in report.sections)
    answers_element = answers(len(body.encode()) + bundle.size(), body)
    links = "".join(
        f'<a href="#{_anchor(section.title)}"{_class(section)}>{escaped(section.title)}</a>'
        for section in report.sections
    )
    if answers_element:
        links = f'<a href="#app" class="instead">What can I reuse?</a>{links}'
    lead = "\n".join(_block(block, figures) for block in report.lead)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{bundle.policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(report.title)} · {escaped(report.subtitle)}</title>
<style>{bundle.style()}</style>
</head>
<body>
<main>
<header class="page">
<p class="brand">tfreuse</p>
<h1>{escaped(report.title)}</h1>
<p class="subtitle">{escaped(report.subtitle)}</p>
<nav>{links}</nav>
</header>
{lead}
{_VIEWS if answers_element else ""}
{body}
</main>
{_scripts(answers_element)}
</body>
</html>
"""


def _scripts(answers: str) -> str:
    if not answers:
        return ""
    imports, entry = bundle.scripts()
    return (
        f'<script type="importmap">{imports}</script>\n{answers}\n'
        f'<script type="module">{entry}</script>'
    )


def _section(section: Section, figures: pathlib.Path) -> str:
    blocks = "\n".join(_block(block, figures) for block in section.blocks)
    return (
        f'<section id="{_anchor(section.title)}"{_class(section)}>\n'
        f"<h2>{escaped(section.title)}</h2>\n{blocks}\n</section>"
    )


def _class(section: Section) -> str:
    return ' class="fallback"' if section.fallback else ""


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _block(block: Block, figures: pathlib.Path) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{escaped(text)}</p>"
        case Warnings(lines, title):
            items = "".join(f"<li>{escaped(line)}</li>" for line in lines)
            return (
                f'<aside class="warning"><strong>{escaped(title)}</strong>'
                f"<ul>{items}</ul></aside>"
            )
        case Code(text):
            return f"<pre><code>{html.escape(text)}</code></pre>"
        case Picture():
            return _picture(block, figures)
        case Cards():
            cards = "\n".join(map(card, block.verdicts))
            return (
                f'<h3>{escaped(block.title)}</h3>\n<div class="cards">\n{cards}\n</div>'
            )
        case Table():
            return _table(block)
        case Details(title, blocks):
            inside = "\n".join(_block(inner, figures) for inner in blocks)
            return f"<details><summary>{escaped(title)}</summary>\n{inside}\n</details>"
        case Fallback(blocks):
            inside = "\n".join(_block(inner, figures) for inner in blocks)
            return f'<div class="fallback">\n{inside}\n</div>'


def _picture(block: Picture, figures: pathlib.Path) -> str:
    title, caption = escaped(block.title), escaped(block.caption)
    if block.markup:
        picture = f'<div class="drawings scroll">{_panels(block)}</div>'
    else:
        address = pixels.address((figures / block.file).read_bytes())
        image = f'<img src="{address}" alt="{title}. {caption}">'
        picture = f'<div class="scroll raster">{image}</div>'
    link = f'<a href="figures/{block.name}.csv">CSV</a>'
    figcaption = f"<figcaption><strong>{title}.</strong> {caption} {link}</figcaption>"
    return f"<figure>{picture}{figcaption}</figure>"


def _panels(block: Picture) -> str:
    """Returns the first panels of a figure, up to MOST_MARKUP, and a link to all of them."""
    lengths = itertools.accumulate(map(len, block.markup))
    count = max(1, sum(length <= MOST_MARKUP for length in lengths))
    panels = pixels.shortened("".join(block.markup[:count]))
    if count == len(block.markup):
        return panels
    link = f'<a href="figures/{block.file}">figures/{block.file}</a>'
    return f'{panels}<p class="note">All {len(block.markup)} panels: {link}</p>'


def _table(table: Table) -> str:
    kinds = [_kind(column) for column in zip(*table.rows, strict=True)]
    head = "".join(
        f'<th class="{kind}">{escaped(name)}</th>'
        for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{chip(cell) if name in VERDICT_COLUMNS else escaped(cell)}</td>'
            for name, kind, cell in zip(table.head, kinds, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table class="told"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n'
        f"</tbody></table></div>\n{note}"
    )


def _kind(column: Iterable[str]) -> str:
    """Returns a column's CSS class, which sets its alignment and line breaks."""
    column = list(column)
    if all(_NUMERIC.fullmatch(cell) for cell in column):
        return "number"
    if all(_INTERVAL.fullmatch(cell) or cell == "–" for cell in column):
        return "interval"
    return "phrase" if any(" " in cell for cell in column) else "word"
