// Replaces content without disturbing a reader: keyboard focus, open details and scroll positions
// are restored.
import {show} from "./dom.js";
import {reach} from "./figure.js";
import {close} from "./tooltip.js";

const REACHED = "button, input, select, summary, [tabindex]";

export function replace(place, ...children) {
  const put = [focus(place), opened(place), scrolled(place)];
  close();
  show(place, ...children);
  for (const back of put) back();
}

function focus(place) {
  const active = place.contains(document.activeElement) ? document.activeElement : null;
  if (!active) return () => {};
  const index = [...place.querySelectorAll(REACHED)].indexOf(active);
  const title = active.type === "radio" ? active.closest("fieldset").dataset.choice : null;
  return () => {
    const next = title ? checked(place, title) : place.querySelectorAll(REACHED)[index];
    if (!next) return;
    if (next.matches(".mark")) reach(next);
    else next.focus({preventScroll: true});
  };
}

function checked(place, title) {
  const groups = [...place.querySelectorAll("fieldset")];
  return groups.find((one) => one.dataset.choice === title)?.querySelector("input:checked");
}

function opened(place) {
  const before = [...place.querySelectorAll("details")].map((one) => one.open);
  return () => {
    const after = [...place.querySelectorAll("details")];
    if (after.length !== before.length) return; // something else is shown
    after.forEach((one, i) => (one.open = before[i]));
  };
}

function scrolled(place) {
  const before = [...place.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  return () => {
    [...place.querySelectorAll(".scroll")].forEach((one, i) => (one.scrollLeft = before[i] ?? 0));
  };
}
