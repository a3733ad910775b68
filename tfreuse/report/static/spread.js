// The numbers that a cell moves: the donor's outline over the recipient's, role by role.
import {el, svg} from "./dom.js";
import {short, whole} from "./format.js";

const WIDE = 400;
const HIGH = 70;

export function spread(data) {
  if (data.hint) return el("p", {class: "hint"}, data.hint);
  if (!data.roles.length) return el("p", {class: "hint"}, "Both networks lack such arrays.");
  return [
    el(
      "p",
      {class: "key"},
      ["donor", "recipient"].map((side) =>
        el("span", {}, el("i", {class: `mark of-${side}`}), `${side} ${data[side]}`)
      )
    ),
    el("div", {class: "spreads"}, data.roles.map(one)),
  ];
}

function one(role) {
  const title = el("figcaption", {}, `${role.role.replace("_", " ")}, ${whole(role.numbers)} numbers`);
  if (role.left_out) return el("figure", {}, title, el("p", {class: "hint"}, role.left_out));
  const most = Math.max(...role.donor, ...role.recipient);
  return el(
    "figure",
    {},
    title,
    svg(
      "svg",
      {class: "spread", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", height: HIGH,
        role: "img", "aria-label": `${role.role}, from ${short(role.low)} to ${short(role.high)}`},
      outline(role.recipient, most, "recipient"),
      outline(role.donor, most, "donor")
    ),
    el("p", {class: "ends"}, el("span", {}, short(role.low)), el("span", {}, short(role.high)))
  );
}

/** Steps from the left edge to the right one; heights are shares of the largest bin of both. */
function outline(counts, most, side) {
  const wide = WIDE / counts.length;
  const y = (count) => (HIGH - 1 - ((HIGH - 3) * count) / Math.max(1, most)).toFixed(1);
  const steps = counts.map((count, i) => `V${y(count)}H${((i + 1) * wide).toFixed(1)}`);
  return svg("path", {
    class: `of-${side}`, d: `M0 ${HIGH - 1}${steps.join("")}V${HIGH - 1}`, "vector-effect": "non-scaling-stroke",
  });
}
