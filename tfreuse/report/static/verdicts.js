// The hypotheses: a card each, its interval against the threshold; and all parts at a glance.
import {bar, margin, scale, side, ticks} from "./axis.js";
import {el, heading, svg} from "./dom.js";
import {interval, number} from "./format.js";

const MARKS = {supported: "✓", refuted: "✕", inconclusive: "?", "not testable": "–"};

function chip(verdict) {
  const kind = verdict.replace(" ", "-");
  return el("span", {class: `chip ${kind}`}, `${MARKS[verdict]} ${verdict}`);
}

export function cards(verdicts) {
  return el("div", {class: "cards"}, verdicts.map(card));
}

function card(one) {
  const effect = one.effect && {...one.effect, mean: one.effect.estimate};
  const facts = [`n = ${one.n}`];
  if (one.threshold) facts.push(`margin ${number(one.margin)}`);
  if (one.smallest_margin !== null) {
    facts.push(`smallest margin ${number(one.smallest_margin)}`);
  }
  for (const [over, found] of [["images", one.images], ["seeds and images", one.both]]) {
    if (found) facts.push(`over ${over} [${number(found.low)}, ${number(found.high)}]`);
  }
  return el(
    "article",
    {class: `card ${one.verdict.replace(" ", "-")}`},
    el("p", {class: "top"}, el("b", {}, one.hypothesis), chip(one.verdict)),
    el("p", {class: "claim"}, one.statement),
    effect
      ? el("p", {class: "effect"}, el("b", {}, interval(effect)), " ", one.quantity)
      : null,
    effect ? plot(one, effect) : null,
    el("p", {class: "facts"}, facts.join(" · ")),
    el("p", {class: "reason"}, one.reason),
    one.notes.length ? notes(one.notes) : null
  );
}

function notes(lines) {
  return el(
    "details",
    {},
    el("summary", {}, `${lines.length} note${lines.length > 1 ? "s" : ""}`),
    el("ul", {}, lines.map((line) => el("li", {}, line)))
  );
}

function plot(one, effect) {
  const [low, high] = one.threshold === 0 ? [-1.05, 1.05] : [-0.05, 1.15];
  const at = scale(low, high);
  return svg(
    "svg",
    {
      class: "plot",
      height: 40,
      role: "img",
      "aria-label": `${one.quantity}: ${interval(effect)}, threshold ${number(one.threshold)}`,
    },
    one.above ? side(at, one.threshold, high, 24) : side(at, low, one.threshold, 24),
    margin(at, one.threshold, 24),
    bar(effect, at, low, high, 12, "own"),
    ticks(at, low < -1 ? [-1, 0, 1] : [0, 0.5, 1], 37)
  );
}

/** A line a part, a chip a hypothesis; a part is chosen by its name. */
export function glance(parts, verdicts, current, chosen) {
  const names = [...new Set(verdicts.map((one) => one.hypothesis))];
  const of = (part, hypothesis) =>
    verdicts.find((one) => one.part === part && one.hypothesis === hypothesis);
  const shown = parts.map((part, place) => ({part, place})).filter(({part}) => part.kinds.length);
  if (shown.length < 2) return null;
  return el(
    "div",
    {class: "scroll"},
    el(
      "table",
      {class: "glance"},
      heading(["network, direction", ...names]),
      el(
        "tbody",
        {},
        shown.map(({part, place}) =>
          el(
            "tr",
            {class: place === current ? "current" : null},
            el(
              "td",
              {},
              el(
                "button",
                {class: "link", onclick: () => chosen(place), "aria-pressed": place === current},
                part.title
              )
            ),
            names.map((hypothesis) => el("td", {}, brief(of(place, hypothesis))))
          )
        )
      )
    )
  );
}

function brief(one) {
  if (!one) return "";
  const kind = one.verdict.replace(" ", "-");
  const told = `${one.hypothesis} ${one.verdict}`;
  return el("span", {class: `chip brief ${kind}`, title: told, "aria-label": told}, MARKS[one.verdict]);
}
