"""Verdicts as cards in HTML, for the report's page, for print and for the tab alike."""

import html

from tfreuse.analysis.intervals import number
from tfreuse.analysis.verdicts import Verdict
from tfreuse.errors import printable
from tfreuse.report.figures import forest

MARKS = {
    "supported": "✓",
    "refuted": "✕",
    "no difference": "=",
    "inconclusive": "?",
    "not testable": "–",
}


def escaped(text: str) -> str:
    """Returns text as HTML that shows it and does nothing else."""
    return html.escape(printable(text, 10_000))


def chip(verdict: str) -> str:
    """Returns a verdict as a coloured label with its sign."""
    kind = verdict.replace(" ", "-")
    return (
        f'<span class="chip {kind}"><b>{MARKS[verdict]}</b> {escaped(verdict)}</span>'
    )


def card(verdict: Verdict) -> str:
    """Returns a card: the claim, the interval against its threshold, the reason, the notes.

    It is well-formed XML, which the tab checks element by element before it shows it.
    """
    facts = [f"n = {verdict.n}"]
    if verdict.threshold:
        facts.append(f"margin {verdict.margin:g}")
    if verdict.smallest_margin is not None:
        facts.append(f"smallest margin {number(verdict.smallest_margin)}")
    for name, interval in (
        ("images", verdict.images),
        ("seeds and images", verdict.both),
    ):
        if interval:
            count = f", {interval.n} images" if name == "images" else ""
            ends = f"[{number(interval.low)}, {number(interval.high)}]"
            facts.append(f"over {name} {ends}{count}")
    effect = "<strong>–</strong>"
    if verdict.effect:
        text = forest.marks.words(verdict.effect.to_row())
        effect = f"<strong>{text}</strong> {escaped(verdict.quantity)}"
    return f"""<article xmlns="http://www.w3.org/1999/xhtml" class="card {verdict.verdict.replace(" ", "-")}">
<p class="top"><b>{escaped(verdict.hypothesis)}</b>{chip(verdict.verdict)}</p>
<p class="claim">{escaped(verdict.statement)}</p>
<p class="effect">{effect}</p>
{forest.verdict_strip(verdict) if verdict.effect else ""}
<p class="facts">{escaped(" · ".join(facts))}</p>
<p class="reason">{escaped(verdict.reason)}</p>
{_notes(verdict.notes)}
</article>"""


def _notes(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    lines = "".join(f"<li>{escaped(note)}</li>" for note in notes)
    count = f"{len(notes)} note{'s' * (len(notes) > 1)}"
    return f"<details><summary>{count}</summary><ul>{lines}</ul></details>"
