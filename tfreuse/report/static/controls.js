// A choice: radio buttons for a few options, a list for many.
import {el} from "./dom.js";

let count = 0;

/**
 * @param title what is chosen
 * @param options [{value, label}]
 * @param value of the chosen option
 * @param chosen called with the value that the user chooses
 */
export function choice(title, options, value, chosen) {
  if (options.length < 2) return null;
  const letters = options.reduce((sum, option) => sum + option.label.length, 0);
  return letters > 70 || options.length > 7
    ? list(title, options, value, chosen)
    : radios(title, options, value, chosen);
}

function list(title, options, value, chosen) {
  const select = el(
    "select",
    {onchange: (event) => chosen(options[event.target.selectedIndex].value)},
    options.map((option) => el("option", {selected: option.value === value}, option.label))
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
      options.map((option) =>
        el(
          "label",
          {},
          el("input", {
            type: "radio",
            name: group,
            checked: option.value === value,
            onchange: () => chosen(option.value),
          }),
          el("span", {}, option.label)
        )
      )
    )
  );
}
