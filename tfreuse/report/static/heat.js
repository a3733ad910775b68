// The heat map: a table of sites by groups, so that it reads, scrolls and speaks as one.
import {colour, position, reach} from "./colours.js";
import {el} from "./dom.js";
import {interval, name, number} from "./format.js";
import {theme} from "./theme.js";
import {tip} from "./tooltip.js";

const MOVES = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
};

/** @param opened called with a site and a group */
export function heat(data, opened) {
  const cells = new Map(data.cells.map((cell) => [`${cell.site}\n${cell.group}`, cell]));
  const limit = reach(data.cells, data.quantity);
  const table = el(
    "table",
    {class: "heat", onkeydown: walk},
    el("caption", {}, `${name(data.quantity)}, ${name(data.kind)}, ${name(data.repair)}`),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        data.kind === "layer" ? el("th", {class: "stage"}, "stage") : null,
        el("th", {class: "site"}, "input ↓"),
        data.groups.map((group) => el("th", {scope: "col"}, group))
      )
    ),
    el("tbody", {}, rows(data, cells, limit, opened))
  );
  const first = table.querySelector("button");
  if (first) first.tabIndex = 0;
  return el("div", {class: "scroll"}, table);
}

function rows(data, cells, limit, opened) {
  return data.sites.map(({site, stage}, i) => {
    const begins = i === 0 || data.sites[i - 1].stage !== stage;
    const length = data.sites.slice(i).findIndex((one) => one.stage !== stage);
    return el(
      "tr",
      {class: begins && data.kind === "layer" ? "begins" : null},
      data.kind === "layer" && begins
        ? el(
            "th",
            {class: "stage", scope: "rowgroup", rowspan: length < 0 ? data.sites.length - i : length},
            el("span", {}, stage)
          )
        : null,
      el("th", {class: "site", scope: "row", title: site}, label(site, stage)),
      data.groups.map((group) => {
        const cell = cells.get(`${site}\n${group}`);
        return el("td", {}, cell ? button(cell, data, limit, opened) : null);
      })
    );
  });
}

/** The stage, which stands beside it too, goes where there is no room. */
function label(site, stage) {
  if (site === "all") return "all layers";
  if (!stage || !site.startsWith(`${stage}_`)) return site;
  const cut = stage.length + 1;
  return [el("span", {class: "prefix"}, site.slice(0, cut)), site.slice(cut)];
}

function button(cell, data, limit, opened) {
  const open = () => opened(cell.site, cell.group);
  const known = cell.mean !== null;
  const paint = known ? colour(position(cell.mean, data.quantity, limit), theme()) : null;
  const node = el(
    "button",
    {
      class: [
        "cell",
        cell.significant === false ? "hatched" : "",
        cell.identifiable === false ? "dotted" : "",
        known ? "" : "empty",
      ].join(" "),
      tabindex: -1,
      "data-site": cell.site,
      "data-group": cell.group,
      "aria-label": lines(cell, data).join(". "),
      style: paint ? {backgroundColor: paint.fill, color: paint.ink} : {},
      onclick: open,
    },
    el("span", {}, known ? number(cell.mean) : "–")
  );
  tip(node, () => lines(cell, data));
  return node;
}

/** What a cell tells: value, interval, n, the marks in words, the controls beside it. */
export function lines(cell, data) {
  const told = [
    `${cell.site === "all" ? "all layers" : cell.site} · ${cell.group}`,
    `${name(data.quantity)} ${interval(cell)}, n = ${cell.n}`,
  ];
  if (cell.significant !== null) {
    const q = cell.q === null ? "" : ` (q = ${cell.q.toPrecision(2)})`;
    told.push(`${cell.significant ? "differs" : "not shown to differ"} from 1${q}`);
  }
  if (cell.identifiable === false) {
    told.push("not identifiable: fresh values are not shown to cost anything");
  }
  const controls = Object.entries(cell.controls).map(([key, value]) => `${name(key)} ${number(value)}`);
  if (controls.length) told.push(`retention of controls: ${controls.join(", ")}`);
  return told;
}

/** Arrow keys move among the cells; only one of them is a stop of the tabulator. */
function walk(event) {
  const step = MOVES[event.key];
  const cell = event.target.closest("td");
  if (!step || !cell) return;
  event.preventDefault();
  const lines = [...event.currentTarget.tBodies[0].rows].map((line) =>
    [...line.cells].filter((one) => one.tagName === "TD")
  );
  let row = lines.findIndex((line) => line.includes(cell));
  let column = lines[row].indexOf(cell);
  do {
    row += step[0];
    column += step[1];
    const found = lines[row]?.[column];
    if (!found) return;
    const next = found.querySelector("button");
    if (next) {
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      return;
    }
  } while (true);
}

export function legend(data) {
  const limit = reach(data.cells, data.quantity);
  const ends = data.quantity === "drop" ? [limit, 0, -limit] : [0, 1, 2];
  const stops = [-1, -0.5, 0, 0.5, 1].map((place) => colour(place, theme()).fill);
  return el(
    "p",
    {class: "key"},
    el(
      "span",
      {class: "gradient"},
      el("i", {style: {background: `linear-gradient(to right, ${stops.join(", ")})`}}),
      el("span", {}, ends.map((end) => el("small", {}, number(end).replace(/\.00$/, ""))))
    ),
    el("span", {}, el("i", {class: "sample hatched"}), "not significant"),
    el("span", {}, el("i", {class: "sample dotted"}), "not identifiable")
  );
}
