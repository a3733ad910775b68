// Few labels: the metric over the number of labelled images, and how many labels an arm saves.
import {el, heading, withFlags} from "./dom.js";
import {figure} from "./figure.js";

export function labels(data) {
  if (data.hint) return el("p", {class: "hint"}, withFlags(data.hint));
  return [
    data.missing ? el("p", {class: "hint"}, data.missing) : null,
    figure(data.drawings),
    data.tables.map(table),
    el("details", {}, el("summary", {}, "how to read this"),
      el("p", {class: "note"}, data.caption), el("p", {class: "note"}, data.protocol)),
  ];
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
