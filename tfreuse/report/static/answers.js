// "What can I reuse?": a line a group, its intervals against the margin, and a word.
import {el} from "./dom.js";
import {figure} from "./figure.js";
import {name, number} from "./format.js";

const LOOKS = {
  reusable: ["✓", "supported"],
  "reusable once repaired": ["✓", "repaired"],
  replaceable: ["✓", "repaired"],
  "not reusable": ["✕", "refuted"],
  "open after repair": ["?", "inconclusive"],
  open: ["?", "inconclusive"],
  "not testable": ["–", "not-testable"],
};

export function answers(part, settings) {
  if (!part.answers.some((row) => row.effects.length)) {
    return [el("p", {class: "hint"}, "All layers have not been measured in this part yet.")];
  }
  return [
    el("p", {class: "headline"}, part.headline),
    el("div", {class: "answers"}, part.answers.map(line), axis(part, settings)),
    key(part),
  ];
}

function line({group, plot, word, why}) {
  const [sign, tone] = LOOKS[word];
  return el(
    "div",
    {class: "answer"},
    el("span", {class: "group"}, group),
    figure([plot]),
    el("span", {class: "word"}, el("span", {class: `chip ${tone}`}, `${sign} ${word}`),
      el("small", {}, why))
  );
}

function axis(part, settings) {
  return el(
    "div",
    {class: "answer axis"},
    el("span", {class: "group"}, ""),
    figure([part.axis]),
    el("small", {}, `retention at all layers; dashed: ${number(settings.enough)}, declared`)
  );
}

function key(part) {
  const repairs = new Set(part.answers.flatMap((row) => row.effects.map((one) => one.repair)));
  return el(
    "p",
    {class: "key"},
    [...repairs].map((repair) =>
      el("span", {}, el("i", {class: `mark repair-${repair.replace("+", "-")}`}), name(repair))
    )
  );
}
