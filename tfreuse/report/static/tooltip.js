// One box beside the mark that the pointer or the keyboard is at.
import {el, show} from "./dom.js";

let box = null;

export function open(target, lines) {
  box ??= document.body.appendChild(el("div", {id: "tip", role: "tooltip"}));
  show(box, lines.map((line, i) => el(i ? "div" : "strong", {}, line)));
  box.hidden = false;
  place(target);
}

export function close() {
  if (box) box.hidden = true;
}

function place(target) {
  const from = target.getBoundingClientRect();
  const own = box.getBoundingClientRect();
  const left = Math.min(from.left, document.documentElement.clientWidth - own.width - 8);
  const above = from.top - own.height - 6;
  box.style.left = `${Math.max(8, left)}px`;
  box.style.top = `${above > 4 ? above : from.bottom + 6}px`;
}
