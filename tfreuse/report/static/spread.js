// The numbers that a cell moves: the donor's outline over the recipient's, role by role.
import {el} from "./dom.js";
import {figure} from "./figure.js";

export function spread(data) {
  if (data.hint) return el("p", {class: "hint"}, data.hint);
  return [
    el(
      "p",
      {class: "key"},
      ["donor", "recipient"].map((side) =>
        el("span", {}, el("i", {class: `mark of-${side}`}), `${side} ${data[side]}`)
      )
    ),
    figure(data.drawings),
    data.left_out.map((line) => el("p", {class: "hint"}, line)),
  ];
}
