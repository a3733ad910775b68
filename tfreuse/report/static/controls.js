// A choice among a few: radio buttons, which the arrow keys move through; a list among many.
import {el} from "./dom.js";

let count = 0;

/**
 * @param title what is chosen
 * @param options [{value, label}]
 * @param value the chosen one
 * @param chosen called with the value that the user takes
 */
export function choice(title, options, value, chosen) {
  if (options.length < 2) return null;
  const letters = options.reduce((sum, one) => sum + one.label.length, 0);
  return letters > 70 || options.length > 7
    ? list(title, options, value, chosen)
    : radios(title, options, value, chosen);
}

function list(title, options, value, chosen) {
  const select = el(
    "select",
    {onchange: (event) => chosen(options[event.target.selectedIndex].value)},
    options.map((one) => el("option", {selected: one.value === value}, one.label))
  );
  return el("label", {class: "choice"}, el("span", {class: "legend"}, title), select);
}

function radios(title, options, value, chosen) {
  const group = `choice-${++count}`;
  return el(
    "fieldset",
    {class: "choice", "data-choice": title},
    el("legend", {class: "legend"}, title),
    el(
      "span",
      {class: "segments"},
      options.map((one) =>
        el(
          "label",
          {},
          el("input", {
            type: "radio",
            name: group,
            checked: one.value === value,
            onchange: () => chosen(one.value),
          }),
          el("span", {}, one.label)
        )
      )
    )
  );
}
