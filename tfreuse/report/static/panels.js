// The two reasons, the repair ladder, the Shapley values, the donor's age, the channels.
import {el, withFlags} from "./dom.js";
import {figure} from "./figure.js";

export const TITLES = {
  reasons: "Two reasons: general features, or a small difference",
  ladder: "What repairs win back",
  shapley: "Which role is to blame",
  ages: "When reuse appears: donors along their training",
  channels: "Which channels to move",
  barriers: "The barrier between donor and recipient",
};
/** Sections of the report's page that a view stands for: its place by the section's id. */
export const ANCHORS = {
  verdicts: "verdicts",
  heat: "where-in-the-network",
  reasons: "two-reasons",
  ladder: "what-repairs-win-back",
  shapley: "which-role-is-to-blame",
  ages: "when-reuse-appears",
  channels: "which-channels",
  barriers: "between-donor-and-recipient",
};
export const NAMES = Object.keys(TITLES);

export function draw({drawings, caption, hint, notes}) {
  if (hint) return el("p", {class: "hint"}, withFlags(hint));
  return [
    notes.length
      ? el("ul", {class: "meanings"}, notes.map(([title, text]) =>
          el("li", {}, el("b", {}, `${title}. `), text)))
      : null,
    figure(drawings),
    el("details", {}, el("summary", {}, "how to read this"), el("p", {class: "note"}, caption)),
  ];
}
