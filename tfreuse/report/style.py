"""The look of a report: one style sheet for light, dark, small, large, and paper."""

CSS = """
:root {
  --page: #f6f7f9; --paper: #ffffff; --ink: #1a2330; --soft: #5a6675; --line: #dfe4ea;
  --accent: #2b59c3; --side: #2b59c31a;
  --supported: #11734b; --supported-back: #dff3e8;
  --refuted: #b02a37; --refuted-back: #fbe4e6;
  --inconclusive: #8a5a00; --inconclusive-back: #fcefd2;
  --not-testable: #56616e; --not-testable-back: #e9edf1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10151c; --paper: #181f29; --ink: #e6eaf0; --soft: #a0acba; --line: #2c3643;
    --accent: #8fb3ff; --side: #8fb3ff22;
    --supported: #6fdba6; --supported-back: #143626;
    --refuted: #ff9aa4; --refuted-back: #421d22;
    --inconclusive: #f5c76a; --inconclusive-back: #3b2e10;
    --not-testable: #b4bfcb; --not-testable-back: #2a333e;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header, main { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 44px; }
.brand { margin: 0; color: var(--accent); font-weight: 650; letter-spacing: .04em; }
h1 { margin: .1em 0 .15em; font-size: clamp(1.7rem, 4.5vw, 2.5rem); line-height: 1.15;
  letter-spacing: -.02em; text-wrap: balance; }
h2 { margin: 0 0 .6em; font-size: 1.35rem; letter-spacing: -.01em; }
h3 { margin: 1.4em 0 .6em; font-size: 1.02rem; color: var(--soft); font-weight: 600; }
.subtitle { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 20px 0 0; padding: 10px 0;
  border-block: 1px solid var(--line); font-size: .88rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { padding: 34px 0 6px; }
section > p { max-width: 76ch; }
.cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 12px;
  border-top: 4px solid var(--tone); padding: 14px 18px 12px; break-inside: avoid; min-width: 0; }
.supported { --tone: var(--supported); --back: var(--supported-back); }
.refuted { --tone: var(--refuted); --back: var(--refuted-back); }
.inconclusive { --tone: var(--inconclusive); --back: var(--inconclusive-back); }
.not-testable { --tone: var(--not-testable); --back: var(--not-testable-back); }
.card p { margin: 0 0 .45em; }
.top { display: flex; justify-content: space-between; align-items: center; }
.name { font-weight: 700; color: var(--soft); letter-spacing: .03em; }
.chip { display: inline-block; padding: 1px 10px; border-radius: 99px; white-space: nowrap;
  font-size: .82rem; font-weight: 600; color: var(--tone); background: var(--back); }
.claim { font-weight: 600; font-size: 1.04rem; line-height: 1.35; text-wrap: balance; }
.effect { font-variant-numeric: tabular-nums; }
.effect strong { font-size: 1.3rem; }
.effect small, .facts { color: var(--soft); font-size: .84rem; }
.reason { font-size: .92rem; }
.card ul { margin: .5em 0 0; padding: .5em 0 0 1.1em; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .84rem; line-height: 1.45; }
.card svg { display: block; width: 100%; margin: 2px 0 6px; }
svg text { font-size: 9px; fill: var(--soft); text-anchor: middle; }
svg .side { fill: var(--side); }
svg .axis { stroke: var(--soft); stroke-width: .8; }
svg .threshold { stroke: var(--accent); stroke-width: 1.4; stroke-dasharray: 3 2; }
svg .interval { stroke: var(--tone); stroke-width: 3; }
svg circle { fill: var(--tone); }
.warning { background: var(--inconclusive-back); border-left: 4px solid var(--inconclusive);
  border-radius: 6px; padding: 10px 16px; font-size: .93rem; }
.warning strong { color: var(--inconclusive); }
.warning ul { margin: .2em 0 0; padding-left: 1.1em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 18px 0 6px; font-size: .86rem;
  background: var(--paper); font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; border-bottom-width: 2px; }
td { min-width: 4.2em; }
.phrase { min-width: 9em; }
.interval { white-space: nowrap; }
td:last-child { min-width: 15em; }
.number, td.number:last-child { text-align: right; white-space: nowrap; min-width: 0; }
.note, figcaption { color: var(--soft); font-size: .84rem; line-height: 1.5; max-width: 92ch; }
figure { margin: 0 0 26px; }
figure .scroll { background: #ffffff; border: 1px solid var(--line); border-radius: 12px; padding: 10px; }
img { display: block; max-width: 100%; min-width: min(100%, 620px); height: auto; margin: 0 auto; }
figcaption { margin-top: 8px; }
figcaption strong { color: var(--ink); }
details { margin: 0 0 22px; border: 1px solid var(--line); border-radius: 12px;
  background: color-mix(in srgb, var(--paper) 55%, transparent); padding: 0 16px; min-width: 0; }
summary { cursor: pointer; padding: 12px 0; color: var(--accent); font-weight: 600;
  font-size: .93rem; overflow-wrap: anywhere; }
details[open] summary { margin-bottom: 8px; }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px;
  overflow-x: auto; font-size: .85rem; }
@media (max-width: 700px) {
  img { min-width: 600px; max-width: none; width: 600px; }
  section { padding-top: 26px; }
  .card { padding: 12px 14px 10px; }
}
@media print {
  :root {
    --page: #fff; --paper: #fff; --ink: #000; --soft: #444; --line: #ccc; --accent: #2b59c3;
    --side: #2b59c31a; --supported: #11734b; --supported-back: #dff3e8; --refuted: #b02a37;
    --refuted-back: #fbe4e6; --inconclusive: #8a5a00; --inconclusive-back: #fcefd2;
    --not-testable: #56616e; --not-testable-back: #e9edf1;
  }
  body { font-size: 9.5pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  nav { display: none; }
  details { border: 0; padding: 0; background: none; }
  header, main { max-width: none; padding: 0; }
  figure, .card, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .cards { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th { white-space: normal; }
  th, td { padding: 3px 5px; }
  td, td:last-child { min-width: 0; }
  img { min-width: 0; max-width: 100%; max-height: 20.5cm; }
}
"""
