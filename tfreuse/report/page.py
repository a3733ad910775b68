"""A report as one HTML file that needs nothing else: figures, style, scripts and answers inside.

What the tab shows runs in it; where no script does, and on paper, stands what needs none. Light
and dark; made for a screen of 400 or of 1280 pixels. Text comes in through `_text` alone, which
escapes it.
"""

import base64
import html
import pathlib
import re
from collections.abc import Callable, Iterable

from tfreuse.analysis.intervals import number
from tfreuse.analysis.verdicts import Verdict
from tfreuse.errors import printable
from tfreuse.report import bundle
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

MARKS = {"supported": "✓", "refuted": "✕", "inconclusive": "?", "not testable": "–"}
_VIEWS = """<div id="app"></div>
<h2 class="instead">Figures, tables and methods</h2>"""  # where the tab's views come
_NUMERIC = re.compile(r"[−\d][\d.,%e+−-]*|–|")
_INTERVAL = re.compile(r"\S+ \[\S+, \S+\]")


def render(
    report: Report,
    figures: pathlib.Path,
    answers: Callable[[int, str], str] = lambda taken, body: "",
) -> str:
    """The whole page.

    Args:
        report: what to show without a script.
        figures: directory of the pictures that the report names.
        answers: given the number of bytes of all else, and the sections as HTML, returns the
            element that holds the answers to the tab's views; "" for no such views.
    """
    body = "\n".join(_section(one, figures) for one in report.sections)
    held = answers(len(body.encode()) + bundle.size(), body)
    links = "".join(
        f'<a href="#{_anchor(section.title)}"{_class(section)}>{_text(section.title)}</a>'
        for section in report.sections
    )
    if held:
        links = f'<a href="#app" class="instead">What can I reuse?</a>{links}'
    lead = "\n".join(_block(block, figures) for block in report.lead)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{bundle.policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(report.title)} · {_text(report.subtitle)}</title>
<style>{bundle.style()}</style>
</head>
<body>
<main>
<header class="page">
<p class="brand">tfreuse</p>
<h1>{_text(report.title)}</h1>
<p class="subtitle">{_text(report.subtitle)}</p>
<nav>{links}</nav>
</header>
{lead}
{_VIEWS if held else ""}
{body}
</main>
{_scripts(held)}
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
        f"<h2>{_text(section.title)}</h2>\n{blocks}\n</section>"
    )


def _class(section: Section) -> str:
    return ' class="fallback"' if section.fallback else ""


def _text(text: str) -> str:
    """`text` as HTML that shows it and does nothing else."""
    return html.escape(printable(text, 10_000))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _block(block: Block, figures: pathlib.Path) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Warnings(lines):
            items = "".join(f"<li>{_text(line)}</li>" for line in lines)
            return f'<aside class="warning"><strong>Incomplete</strong><ul>{items}</ul></aside>'
        case Code(text):
            return f"<pre><code>{html.escape(text)}</code></pre>"
        case Picture():
            return _picture(block, figures)
        case Cards():
            cards = "\n".join(map(_card, block.verdicts))
            return (
                f'<h3>{_text(block.title)}</h3>\n<div class="cards">\n{cards}\n</div>'
            )
        case Table():
            return _table(block)
        case Details(title, blocks):
            inside = "\n".join(_block(one, figures) for one in blocks)
            return f"<details><summary>{_text(title)}</summary>\n{inside}\n</details>"
        case Fallback(blocks):
            inside = "\n".join(_block(one, figures) for one in blocks)
            return f'<div class="fallback">\n{inside}\n</div>'


def _picture(block: Picture, figures: pathlib.Path) -> str:
    title, caption = _text(block.title), _text(block.caption)
    if block.markup:
        shown = f'<div class="drawings scroll">{"".join(block.markup)}</div>'
    else:
        data = base64.b64encode((figures / block.file).read_bytes()).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{title}. {caption}">'
        shown = f'<div class="scroll raster">{image}</div>'
    link = f'<a href="figures/{block.name}.csv">CSV</a>'
    below = f"<figcaption><strong>{title}.</strong> {caption} {link}</figcaption>"
    return f"<figure>{shown}{below}</figure>"


def _chip(verdict: str) -> str:
    kind = verdict.replace(" ", "-")
    return f'<span class="chip {kind}"><b>{MARKS[verdict]}</b> {_text(verdict)}</span>'


def _card(one: Verdict) -> str:
    """One verdict: the claim, the interval against its threshold, the reason, the notes."""
    facts = [f"n = {one.n}"]
    if one.threshold:
        facts.append(f"margin {one.margin:g}")
    if one.smallest_margin is not None:
        facts.append(f"smallest margin {number(one.smallest_margin)}")
    effect = (
        f'<p class="effect"><strong>{number(one.effect.estimate)}</strong> '
        f"[{number(one.effect.low)}, {number(one.effect.high)}] "
        f"<small>{_text(one.quantity)}</small></p>\n{_bar(one)}"
        if one.effect
        else '<p class="effect"><strong>–</strong></p>'
    )
    for name, found in (("images", one.images), ("seeds and images", one.both)):
        if found:
            facts.append(
                f"over {name} [{number(found.low)}, {number(found.high)}]"
                + (f", {found.n} images" if name == "images" else "")
            )
    notes = "".join(f"<li>{_text(note)}</li>" for note in one.notes)
    return f"""<article class="card {one.verdict.replace(" ", "-")}">
<p class="top"><span class="name">{_text(one.hypothesis)}</span>{_chip(one.verdict)}</p>
<p class="claim">{_text(one.statement)}</p>
{effect}
<p class="facts">{_text(" · ".join(facts))}</p>
<p class="reason">{_text(one.reason)}</p>
{f"<ul>{notes}</ul>" if notes else ""}
</article>"""


def _bar(one: Verdict) -> str:
    """The interval on an axis, with the side that supports the claim shaded."""
    low, high = (-1.05, 1.05) if one.threshold == 0 else (-0.05, 1.15)

    def place(value: float) -> float:
        return 4 + 312 * (min(max(value, low), high) - low) / (high - low)

    threshold = place(one.threshold)
    start, end = (4, threshold) if one.hypothesis == "H3" else (threshold, 316)
    left, right = place(one.effect.low), place(one.effect.high)
    ticks = "".join(
        f'<line class="axis" x1="{place(t):.1f}" x2="{place(t):.1f}" y1="25" y2="29"/>'
        f'<text x="{place(t):.1f}" y="39">{f"{t:g}".replace("-", "−")}</text>'
        for t in ((-1, 0, 1) if low < -1 else (0, 0.5, 1))
    )
    label = _text(f"{one.quantity}: {one.effect}, threshold {one.threshold:g}")
    return f"""<svg class="drawn" viewBox="0 0 320 42" role="img" aria-label="{label}">
<rect class="side" x="{start:.1f}" width="{end - start:.1f}" y="2" height="23"/>
<line class="axis" x1="4" x2="316" y1="25" y2="25"/>{ticks}
<line class="threshold" x1="{threshold:.1f}" x2="{threshold:.1f}" y1="2" y2="25"/>
<line class="interval" x1="{left:.1f}" x2="{max(right, left + 1):.1f}" y1="13.5" y2="13.5"/>
<circle cx="{place(one.effect.estimate):.1f}" cy="13.5" r="5"/>
</svg>"""


def _table(table: Table) -> str:
    kinds = [_kind(column) for column in zip(*table.rows, strict=True)]
    head = "".join(
        f'<th class="{kind}">{_text(name)}</th>'
        for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{_chip(cell) if name in VERDICT_COLUMNS else _text(cell)}</td>'
            for name, kind, cell in zip(table.head, kinds, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table class="told"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n'
        f"</tbody></table></div>\n{note}"
    )


def _kind(column: Iterable[str]) -> str:
    """What a column holds, which decides how it is aligned and where it may break."""
    column = list(column)
    if all(_NUMERIC.fullmatch(cell) for cell in column):
        return "number"
    if all(_INTERVAL.fullmatch(cell) or cell == "–" for cell in column):
        return "interval"
    return "phrase" if any(" " in cell for cell in column) else "word"
