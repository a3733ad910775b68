// The hypotheses: a card each, and all parts at a glance.
import {el, heading} from "./dom.js";
import {parsed} from "./figure.js";

const MARKS = {supported: "✓", refuted: "✕", "no difference": "=", inconclusive: "?", "not testable": "–"};

/** @param verdicts of one part, each with its card as HTML, whose text is escaped in Python */
export function cards(verdicts) {
  return el("div", {class: "cards"}, verdicts.map((one) => parsed(one.card)));
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
