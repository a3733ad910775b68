// One cell: every seed, every control and repair, what was moved, and what repeats it.
import {LIVE} from "./api.js";
import {el, heading, show} from "./dom.js";
import {figure} from "./figure.js";
import {name, short} from "./format.js";
import {spread} from "./spread.js";
import {close} from "./tooltip.js";

const COLUMNS = ["input", "truth", "before", "after", "recalibrated"];
const FACTS = {
  variables: "arrays moved",
  parameters: "numbers moved",
  changed: "of them different",
  rmse: "RMSE donor to recipient",
  relative_distance: "distance / norm",
  cosine: "cosine",
  scale_shift: "change of the map's scale",
  offset_shift: "change of its offset [sd]",
  output_error: "change of the output / norm",
  cka: "CKA with the recipient's output",
  bias_shift: "bias difference [sd]",
};

/** Makes the panel once; returns what opens it with a promise of a cell. */
export function panel(root) {
  const body = el("div", {class: "inside"});
  const dialog = el(
    "dialog",
    {class: "sheet", "aria-label": "one cell", onclick: (event) => {
      if (event.target === dialog) dialog.close(); // beside the panel
    }},
    el("button", {class: "close", "aria-label": "close", onclick: () => dialog.close()}, "✕"),
    body
  );
  root.append(dialog);
  return async (coming, picture, spreads) => {
    close();
    show(body, el("p", {}, "…"));
    if (!dialog.open) dialog.showModal();
    try {
      show(body, content(await coming, picture, spreads));
    } catch (error) {
      show(body, el("p", {class: LIVE ? "warning" : "hint"}, error.message));
    }
  };
}

function content(cell, picture, spreads) {
  const site = cell.site === "all" ? "all layers" : cell.site;
  return [
    el("h2", {}, `${cell.group} · ${site}`),
    el("p", {class: "facts"}, `${name(cell.kind)}; metric: ${cell.metric.replaceAll("_", " ")}`),
    el("h3", {}, `Retention of every arm, a dot a seed; n = ${cell.n} unless stated`),
    figure(cell.drawings),
    cell.pictures ? pictures(picture) : null,
    el("h3", {}, "Seeds, as transplanted"),
    seeds(cell),
    el("h3", {}, "What was moved (median over seeds)"),
    el(
      "dl",
      {},
      cell.facts.flatMap((fact) => [
        el("dt", {}, FACTS[fact.name] ?? fact.name),
        el("dd", {}, short(fact.median)),
      ])
    ),
    ["stage", "layer"].includes(cell.kind) ? distributions(cell, spreads) : null,
    cell.commands.flatMap((one) => [el("h3", {}, one.title), command(one.text)]),
  ];
}

/** Asked for once the rest is shown: the server reads both networks for it. */
function distributions(cell, spreads) {
  const place = el("div", {}, el("p", {}, "…"));
  const put = (data) => show(place, spread(data));
  spreads().then(put, (error) => show(place, el("p", {class: "hint"}, error.message)));
  return [el("h3", {}, `The numbers themselves, seed ${cell.seeds[0].seed}`), place];
}

/** Examples of one pair of networks: the outputs, and below them their errors. */
function pictures(address) {
  const image = el("img", {alt: `${COLUMNS.join(", ")}; below: errors, white is large`});
  const put = (src) => (image.src = src);
  address().then(put, (error) => image.replaceWith(el("p", {class: "hint"}, error.message)));
  return [
    el("h3", {}, "Test images of the first seed, errors below"),
    el("p", {class: "columns"}, COLUMNS.map((one) => el("span", {}, one))),
    image,
  ];
}

function seeds(cell) {
  const numbers = ["before", "after", "floor", "retention"];
  const heads = [...numbers];
  if (cell.seeds.some((one) => one.raw !== null)) {
    numbers.push("raw");
    heads.push("raw R2 after");
  }
  const head = ["seed", ...heads, "donor", "recipient"];
  return el(
    "div",
    {class: "scroll"},
    el(
      "table",
      {class: "plain"},
      heading(head),
      el(
        "tbody",
        {},
        cell.seeds.map((one) =>
          el(
            "tr",
            {},
            el("td", {}, String(one.seed)),
            numbers.map((key) =>
              el("td", {class: "number"}, fixed(one[key]))
            ),
            el("td", {}, one.donor),
            el("td", {}, one.recipient)
          )
        )
      )
    )
  );
}

function fixed(value) {
  return value === null ? "–" : value.toFixed(3).replace("-", "−");
}

function command(text) {
  const copy = async (event) => {
    await navigator.clipboard?.writeText(text);
    event.target.textContent = "copied";
  };
  return el(
    "div",
    {class: "command"},
    el("pre", {}, el("code", {}, text.split(/ (?=--)/).map((word) => [el("span", {}, word), " "]))),
    el("button", {onclick: copy}, "copy")
  );
}
