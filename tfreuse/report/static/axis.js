// Intervals on a line, in percent of its width: no measuring, right at any size.
import {svg} from "./dom.js";
import {number} from "./format.js";

/** Maps values to percent; what lies beyond an end is drawn at it. */
export function scale(low, high) {
  return (value) => {
    const inside = Math.max(low, Math.min(high, value ?? high));
    return `${(2 + (96 * (inside - low)) / (high - low)).toFixed(2)}%`;
  };
}

/** A line from end to end and a mark at the mean; an infinite end reaches the edge. */
export function bar(row, at, low, high, y, kind) {
  const line = {x1: at(row.low ?? low), x2: at(row.high ?? high), y1: y, y2: y};
  return svg(
    "g",
    {class: `bar ${kind}`},
    row.n === 1 ? null : svg("line", line),
    svg("circle", {cx: at(row.mean), cy: y, r: 4.5})
  );
}

export function margin(at, value, height) {
  return svg("line", {class: "margin", x1: at(value), x2: at(value), y1: 0, y2: height});
}

/** The side of the threshold that supports the claim, shaded. */
export function side(at, from, to, height) {
  const [x1, x2] = [at(from), at(to)].map(parseFloat);
  return svg("rect", {
    class: "side", x: `${x1}%`, width: `${Math.max(0, x2 - x1)}%`, y: 0, height,
  });
}

export function ticks(at, values, y) {
  return values.map((value) =>
    svg("text", {class: "tick", x: at(value), y}, number(value).replace(/\.?0+$/, ""))
  );
}
