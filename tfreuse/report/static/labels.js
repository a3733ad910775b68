// Few labels: the metric over the number of labelled images, and how many labels an arm saves.
import {INK, LINES} from "./colours.js";
import {el, heading, svg, withFlags} from "./dom.js";
import {interval, number, whole} from "./format.js";
import {theme} from "./theme.js";

const HIGH = 250;
const SIDES = {left: 44, right: 12, top: 12, bottom: 36};

/** @param width pixels that a plot may take */
export function labels(data, width) {
  if (!data.curves.length) return el("p", {class: "hint"}, withFlags(data.hint));
  return [
    data.missing ? el("p", {class: "hint"}, data.missing) : null,
    el("div", {class: "curves"}, plots(data, Math.max(280, Math.min(width, 560)))),
    data.tables.map(table),
    el("details", {}, el("summary", {}, "how to read this"),
      el("p", {class: "note"}, data.caption), el("p", {class: "note"}, data.told)),
  ];
}

/** A plot a network and donor, each with the arm from scratch. */
function plots(data, width) {
  const key = (row) => JSON.stringify([row.architecture, row.donor]);
  const donors = [...new Set(data.curves.filter((row) => row.donor).map(key))];
  const shown = donors.length ? donors : [...new Set(data.curves.map(key))];
  return shown.map((one) => {
    const [architecture, donor] = JSON.parse(one);
    const rows = data.curves.filter(
      (row) => row.architecture === architecture && ["", donor].includes(row.donor)
    );
    return el(
      "figure",
      {},
      el("figcaption", {}, el("b", {}, donor ? `${architecture}, donor ${donor}` : architecture)),
      legend(rows),
      plot(rows, data.metric, width)
    );
  });
}

function recipes(rows) {
  return [...new Set(rows.map((row) => row.recipe))];
}

function tone(rows, recipe) {
  const others = recipes(rows.filter((row) => row.donor));
  const place = others.indexOf(recipe);
  return place < 0 ? INK[theme()].ink : LINES[place % LINES.length];
}

function legend(rows) {
  return el(
    "p",
    {class: "key"},
    recipes(rows).map((one) =>
      el("span", {}, el("i", {class: "swatch", style: {background: tone(rows, one)}}), one)
    )
  );
}

function plot(rows, metric, width) {
  const known = (value) => value !== null && Number.isFinite(value);
  const counts = [...new Set(rows.map((row) => Math.max(1, row.labels)))].sort((a, b) => a - b);
  const values = rows.flatMap((row) => [row.mean, row.low, row.high, row.floor]).filter(known);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const logs = counts.map(Math.log2);
  const span = Math.max(1e-9, logs.at(-1) - logs[0]);
  const x = (count) =>
    SIDES.left + ((Math.log2(Math.max(1, count)) - logs[0]) / span) * (width - SIDES.left - SIDES.right);
  const y = (value) =>
    SIDES.top + ((high - value) / Math.max(1e-9, high - low)) * (HIGH - SIDES.top - SIDES.bottom);
  const ink = INK[theme()];
  return svg(
    "svg",
    {class: "curve", viewBox: `0 0 ${width} ${HIGH}`, width, height: HIGH, role: "img",
      "aria-label": `${metric} over ${counts[0]} to ${counts.at(-1)} labels`},
    frame(counts, [low, (low + high) / 2, high], x, y, width, ink),
    recipes(rows).map((one) => curve(rows.filter((row) => row.recipe === one), x, y, tone(rows, one), known)),
    svg("text", {x: SIDES.left, y: HIGH - 4, "font-size": 11, fill: ink.soft},
      `labelled images (logarithmic); ${metric.replaceAll("_", " ")}`)
  );
}

function frame(counts, values, x, y, width, ink) {
  const text = (more, told) => svg("text", {"font-size": 11, fill: ink.soft, ...more}, told);
  return [
    values.map((value) => [
      svg("line", {x1: SIDES.left, x2: width - SIDES.right, y1: y(value), y2: y(value), stroke: ink.line, "stroke-width": 0.6}),
      text({x: SIDES.left - 6, y: y(value) + 4, "text-anchor": "end"}, number(value)),
    ]),
    counts.map((count) =>
      text({x: x(count), y: HIGH - SIDES.bottom + 16, "text-anchor": "middle"}, whole(count))
    ),
  ];
}

function curve(rows, x, y, stroke, known) {
  const at = (row, value) => `${x(row.labels).toFixed(1)},${y(value).toFixed(1)}`;
  const bands = rows.filter((row) => known(row.low) && known(row.high));
  const band = [
    ...bands.map((row) => at(row, row.high)),
    ...bands.toReversed().map((row) => at(row, row.low)),
  ];
  return svg(
    "g",
    {},
    bands.length > 1 ? svg("polygon", {points: band.join(" "), fill: stroke, opacity: 0.15}) : null,
    svg("polyline", {points: rows.map((row) => at(row, row.mean)).join(" "), fill: "none", stroke, "stroke-width": 2}),
    rows.map((row) =>
      svg("circle", {cx: x(row.labels), cy: y(row.mean), r: 3.5, fill: stroke},
        svg("title", {}, `${row.recipe}, ${whole(row.labels)} labels: ${interval(row)}, n = ${row.n}`))
    )
  );
}

function table({title, head, rows, note}) {
  return [
    el("h3", {}, title),
    el(
      "div",
      {class: "scroll"},
      el(
        "table",
        {class: "plain"},
        heading(head),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map((one, i) => el("td", {}, chip(one, head[i]))))))
      )
    ),
    note ? el("p", {class: "note"}, note) : null,
  ];
}

function chip(text, column) {
  if (column !== "verdict") return text;
  return el("span", {class: `chip ${text.replaceAll(" ", "-")}`}, text);
}
