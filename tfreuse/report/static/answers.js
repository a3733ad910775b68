// "What can I reuse?": a line a group, its intervals against the margin, and a word.
import {bar, margin, scale, side, ticks} from "./axis.js";
import {el, svg} from "./dom.js";
import {interval, name, number} from "./format.js";

const MARKS = {
  reusable: "✓",
  "reusable once repaired": "✓",
  replaceable: "✓",
  "not reusable": "✕",
  open: "?",
  "not testable": "–",
};
const TONES = {
  reusable: "supported",
  "reusable once repaired": "repaired",
  replaceable: "repaired",
  "not reusable": "refuted",
  open: "inconclusive",
  "not testable": "not-testable",
};
const LOW = -0.05;
const HIGH = 1.15;
const AT = scale(LOW, HIGH);

export function answers(part, settings) {
  if (!part.answers.some((row) => row.effects.length)) {
    return [el("p", {class: "hint"}, "All layers have not been measured in this part yet.")];
  }
  return [
    el("p", {class: "headline"}, part.headline),
    el(
      "div",
      {class: "answers"},
      part.answers.map((row) => line(row, settings)),
      axis(settings)
    ),
    key(part),
  ];
}

function line(row, settings) {
  const height = Math.max(26, 10 + 13 * row.effects.length);
  const top = (height - 13 * (row.effects.length - 1)) / 2;
  const plot = svg(
    "svg",
    {class: "plot", height, role: "img", "aria-label": spoken(row)},
    side(AT, settings.enough, HIGH, height),
    margin(AT, settings.enough, height),
    row.effects.map((one, i) =>
      svg(
        "g",
        {},
        svg("title", {}, `${name(one.repair)}: ${interval(one)}, n = ${one.n}`),
        bar(one, AT, LOW, HIGH, top + 13 * i, tone(one.repair))
      )
    )
  );
  return el(
    "div",
    {class: "answer"},
    el("span", {class: "group"}, row.group),
    plot,
    el(
      "span",
      {class: "word"},
      el("span", {class: `chip ${TONES[row.word]}`}, `${MARKS[row.word]} ${row.word}`),
      el("small", {}, row.why)
    )
  );
}

function axis(settings) {
  const drawn = svg("svg", {class: "plot", height: 16, "aria-hidden": true});
  drawn.append(...ticks(AT, [0, 0.5, 1], 11));
  return el(
    "div",
    {class: "answer axis"},
    el("span", {class: "group"}, ""),
    drawn,
    el("small", {}, `retention at all layers; dashed: ${number(settings.enough)}, declared`)
  );
}

function key(part) {
  const repairs = new Set(part.answers.flatMap((row) => row.effects.map((one) => one.repair)));
  return el(
    "p",
    {class: "key"},
    [...repairs].map((repair) =>
      el("span", {}, el("i", {class: `mark ${tone(repair)}`}), name(repair))
    )
  );
}

function tone(repair) {
  return `repair-${repair.replace("+", "-")}`;
}

function spoken(row) {
  const told = row.effects.map((one) => `${name(one.repair)} ${interval(one)}, n ${one.n}`);
  return `${row.group}: ${told.join("; ")}`;
}
