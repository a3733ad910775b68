// One diverging scale: red below its anchor, blue above, told apart by colour-blind readers
// too; the anchor is the colour of paper.

const LIGHT = [[178, 24, 43], [239, 152, 122], [250, 250, 250], [142, 193, 222], [33, 102, 172]];
const DARK = [[224, 84, 76], [128, 62, 64], [41, 49, 61], [52, 92, 134], [92, 168, 240]];

export const INK = {
  light: {ink: "#1a2330", soft: "#56626f", line: "#b4bec9", paper: "#ffffff", accent: "#2b59c3"},
  dark: {ink: "#e6eaf0", soft: "#a0acba", line: "#55616f", paper: "#181f29", accent: "#8fb3ff"},
};

// Okabe and Ito's, as in the report
export const ROLES = {
  kernel: "#d55e00", bias: "#e69f00", gamma: "#56b4e9", beta: "#009e73", stats: "#cc79a7",
};
export const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
export const STEPS = {
  statistics: "#56b4e9", permutation: "#e69f00", features: "#d55e00",
  "permutation and features": "#d55e00",
};

/** Where a value stands on the scale, from -1 (red) over 0 (anchor) to 1 (blue). */
export function position(value, quantity, reach) {
  const place = quantity === "drop" ? -value / reach : value - 1;
  return Math.max(-1, Math.min(1, place));
}

/** The largest drop that the scale tells apart. */
export function reach(cells, quantity) {
  if (quantity !== "drop") return 1;
  return Math.max(0.05, ...cells.map((cell) => Math.abs(cell.mean ?? 0)));
}

export function colour(place, theme) {
  const stops = theme === "dark" ? DARK : LIGHT;
  const at = ((place + 1) / 2) * (stops.length - 1);
  const left = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[left].map((one, i) =>
    Math.round(one + (at - left) * (stops[left + 1][i] - one))
  );
  return {fill: `rgb(${mixed.join(", ")})`, ink: inkOn(mixed)};
}

function inkOn([red, green, blue]) {
  const linear = [red, green, blue].map((c) => (c / 255) ** 2.2);
  const bright = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return bright > 0.3 ? "#10161e" : "#ffffff";
}
