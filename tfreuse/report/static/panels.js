// The two reasons, the repair ladder, the Shapley values.
import {ROLES, STEPS} from "./colours.js";
import {el, svg, withFlags} from "./dom.js";
import {interval, number} from "./format.js";
import {tip} from "./tooltip.js";

const SIGNS = {
  "general features": "G", "small difference": "S", neither: "N", open: "?",
};

const DRAW = {reasons, ladder, shapley};

export function draw(data) {
  if (!data.rows.length) return el("p", {class: "hint"}, withFlags(data.hint));
  return [
    ...DRAW[data.name](data),
    data.left_out ? el("p", {class: "hint"}, `${data.left_out} more rows are not shown.`) : null,
    el("details", {}, el("summary", {}, "how to read this"), el("p", {class: "note"}, data.caption)),
  ];
}

function siteOf(row) {
  return row.site_kind === "all" ? "all layers" : row.site;
}

function unique(values) {
  return [...new Set(values)];
}

/** A letter a cell: which of the reasons holds there. */
function reasons(data) {
  const rows = data.rows.filter((row) => row.repair === "none");
  const groups = unique(rows.map((row) => row.group));
  const counted = Object.entries(data.meanings).map(([reason, meaning]) => {
    const count = rows.filter((row) => row.reason === reason).length;
    return el(
      "li",
      {},
      el("span", {class: `letter ${css(reason)}`, "aria-hidden": true}, SIGNS[reason] ?? "·"),
      el("span", {}, el("b", {}, `${reason}: ${count} of ${rows.length} cells. `), meaning)
    );
  });
  const table = el(
    "table",
    {class: "heat letters"},
    el(
      "thead",
      {},
      el("tr", {}, el("th", {}, ""), groups.map((one) => el("th", {scope: "col"}, one)))
    ),
    el(
      "tbody",
      {},
      unique(rows.map(siteOf)).map((site) =>
        el(
          "tr",
          {},
          el("th", {scope: "row", class: "site"}, site),
          groups.map((group) => {
            const row = rows.find((one) => siteOf(one) === site && one.group === group);
            return el("td", {}, row ? letter(row) : null);
          })
        )
      )
    )
  );
  return [el("ul", {class: "meanings"}, counted), el("div", {class: "scroll"}, table)];
}

function letter(row) {
  const told = () => [
    `${siteOf(row)} · ${row.group}: ${row.reason}`,
    `donor less random values: ${interval(row)}, n = ${row.n}`,
    `donor retains ${number(row.donor_mean)}, random values ${number(row.random_mean)}`,
  ];
  const node = el(
    "span",
    {class: `letter ${css(row.reason)}`, tabindex: 0, role: "img", "aria-label": told().join(". ")},
    SIGNS[row.reason] ?? "·"
  );
  tip(node, told);
  return node;
}

function css(reason) {
  return `reason-${reason.split(" ")[0]}`;
}

/** What each repair wins back, as shares of the loss. */
function ladder(data) {
  const raw = data.rows.filter((row) => row.repair === "none" && row.control === "transfer");
  const cells = new Map();
  for (const row of raw) {
    const key = `${siteOf(row)}\n${row.group}`;
    if (!cells.has(key)) cells.set(key, {row, shares: []});
    if (row.quantity === "share") cells.get(key).shares.push(row);
  }
  const steps = unique(raw.filter((row) => row.quantity === "share").map((row) => row.step));
  const everywhere = [...cells.values()].filter(({row}) => row.site_kind === "all");
  const others = [...cells.values()].filter(({row}) => row.site_kind !== "all");
  return [
    key(steps, STEPS),
    bars(everywhere, ladderBar),
    others.length
      ? el("details", {}, el("summary", {}, `single stages (${others.length})`), bars(others, ladderBar))
      : null,
  ];
}

function ladderBar({row, shares}) {
  const parts = shares.map((one) => ({name: one.step, value: one.mean, told: interval(one)}));
  const words = shares.length ? row.outcome === "loss not shown" ? "loss not shown" : "" : row.outcome;
  return {title: `${row.group} · ${siteOf(row)}`, parts, colours: STEPS, total: 1, words};
}

/** Which role is to blame for what a whole stage costs. */
function shapley(data) {
  const raw = data.rows.filter((row) => row.repair === "none");
  const values = raw.filter((row) => row.quantity === "value" && !row.absent);
  const totals = raw.filter((row) => row.quantity === "total");
  const reach = Math.max(0.1, ...totals.map((row) => row.mean));
  const cells = totals.map((total) => ({
    total,
    reach,
    values: values.filter((row) => siteOf(row) === siteOf(total)),
  }));
  const strongest = raw
    .filter((row) => row.quantity === "interaction" && row.low !== null)
    .filter((row) => row.low > 0 || row.high < 0)
    .sort((a, b) => Math.abs(b.mean) - Math.abs(a.mean))
    .slice(0, 6);
  return [
    key(unique(values.map((row) => row.group)), ROLES),
    bars(cells, shapleyBar),
    strongest.length
      ? el(
          "details",
          {},
          el("summary", {}, "strongest interactions of two roles"),
          el("ul", {}, strongest.map((row) => el("li", {}, interaction(row))))
        )
      : null,
  ];
}

function shapleyBar({total, values, reach}) {
  const parts = values.map((row) => ({name: row.group, value: row.mean, told: interval(row)}));
  return {
    title: siteOf(total), parts, colours: ROLES, total: reach,
    words: `loses ${interval(total)}, n = ${total.n}`,
  };
}

function interaction(row) {
  const what = row.mean > 0 ? "cost more together" : "repair each other";
  return `${siteOf(row)}: ${row.first} and ${row.second} ${what}, ${interval(row)}, n = ${row.n}`;
}

function key(names, colours) {
  return el(
    "p",
    {class: "key"},
    names.map((one) =>
      el("span", {}, el("i", {class: "swatch", style: {background: colours[one]}}), one)
    )
  );
}

function bars(cells, describe) {
  return el("div", {class: "bars"}, cells.map((cell) => stacked(describe(cell))));
}

/** Parts one after the other from 0; those below 0 go to the left of it. */
function stacked({title, parts, colours, total, words}) {
  const below = parts.reduce((sum, one) => sum + Math.min(0, one.value ?? 0), 0);
  const above = parts.reduce((sum, one) => sum + Math.max(0, one.value ?? 0), 0);
  const [low, high] = [Math.min(below, 0), Math.max(above, total)];
  const at = (value) => (100 * (value - low)) / (high - low);
  let [left, right] = [0, 0];
  const drawing = svg("svg", {class: "plot", height: 20, role: "img",
    "aria-label": `${title}: ${parts.map((one) => `${one.name} ${one.told}`).join(", ")} ${words}`});
  for (const one of parts) {
    const value = one.value ?? 0;
    const from = value < 0 ? (left += value) : (right += value) - value;
    const told = `${one.name}: ${one.told}`;
    drawing.append(
      svg("rect", {x: `${at(from)}%`, width: `${at(from + Math.abs(value)) - at(from)}%`, y: 2,
        height: 16, fill: colours[one.name] ?? "#888"}, svg("title", {}, told))
    );
  }
  drawing.append(svg("line", {class: "zero", x1: `${at(0)}%`, x2: `${at(0)}%`, y1: 0, y2: 20}));
  return el(
    "div",
    {class: "stack"},
    el("span", {class: "group", title}, title),
    parts.length ? drawing : el("span", {class: "note"}, "–"),
    el("small", {}, words)
  );
}

export const TITLES = {
  reasons: "Two reasons: general features, or a small difference",
  ladder: "What repairs win back",
  shapley: "Which role is to blame",
};
export const NAMES = Object.keys(TITLES);
