// The advisor's cards: what to take for a training on few labels, and what it is worth.
import {bar, margin, scale, side, ticks} from "./axis.js";
import {el, svg} from "./dom.js";
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
  const reach = Math.max(0.02, ...[one.gain.low, one.gain.high, one.gain.mean].map((v) => Math.abs(v ?? 0)));
  const at = scale(-1.1 * reach, 1.1 * reach);
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
    svg(
      "svg",
      {class: "plot", height: 40, role: "img", "aria-label": `expected gain: ${interval(one.gain)}`},
      side(at, 0, 1.1 * reach, 24),
      margin(at, 0, 24),
      bar(one.gain, at, -1.1 * reach, 1.1 * reach, 12, "own"),
      ticks(at, [-reach, 0, reach], 37)
    ),
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
