// The advisor's cards: what to take for a training on few labels, and what it is worth.
import {el} from "./dom.js";
import {figure} from "./figure.js";
import {duration, interval, number, whole} from "./format.js";

export function advice(cards) {
  if (!cards.length) return null;
  return el(
    "section",
    {},
    el("h2", {}, "The advisor, on few labels"),
    el("div", {class: "cards advice"}, cards.map(card))
  );
}

function card(one) {
  const told = one.abstains ? `– abstains: ${one.default}` : `✓ take ${one.name}`;
  return el(
    "article",
    {class: `card ${one.abstains ? "inconclusive" : "supported"}`},
    el("p", {class: "top"}, el("b", {}, one.where),
      el("span", {class: `chip ${one.abstains ? "inconclusive" : "supported"}`}, told)),
    el("p", {class: "claim"}, one.abstains
      ? "No recipe is shown to help with these labels: train from scratch."
      : `Reuse the donor by the recipe ${one.name}.`),
    el("p", {class: "effect"}, el("b", {}, interval(one.gain)),
      ` expected gain in mean IoU over ${one.default}`),
    figure([one.plot]),
    el("p", {class: "facts"}, `${number(100 * one.confidence).replace(/\.00$/, "")} % interval, n = ${one.gain.n}; ${one.method}`),
    el("p", {class: "facts"}, schedule(one)),
    el("p", {class: "facts"}, `donor ${one.donors.join(", ")}`),
    el(
      "details",
      {},
      el("summary", {}, "the recipe"),
      el("dl", {}, Object.entries(one.recipe).flatMap(([name, value]) => [
        el("dt", {}, name),
        el("dd", {}, value),
      ]))
    )
  );
}

function schedule(one) {
  const fewer = one.steps < one.asked_steps ? ` (${whole(one.asked_steps)} were asked for)` : "";
  return (
    `${whole(one.labels)} labels; ${whole(one.steps)} updates a training${fewer}, ` +
    `at most ${one.folds} folds within ${duration(60 * one.minutes)}`
  );
}
