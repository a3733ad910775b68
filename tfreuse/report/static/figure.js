// Puts figures, which Python draws as SVG, into the page, and adds tooltips, arrow keys, clicks and
// buttons that save them. Every mark of a figure holds its tooltip as a <title>.
import {el} from "./dom.js";
import {savePng, saveSvg} from "./export.js";
import {close, open} from "./tooltip.js";

const MOVES = {
  ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0],
};
const ASIDE = 5; // a step to the side counts as many forward, so that keys stay in their row

const TAGS = new Set([
  "svg", "g", "rect", "line", "circle", "path", "polyline", "text", "title", "desc",
  "article", "p", "b", "strong", "span", "details", "summary", "ul", "li", // of cards
]);
const FORBIDDEN = /^on|href|style/; // attributes that could act or ask for something

/**
 * @param drawings SVG as text, or elements of the page
 * @param name of the files that the buttons save; without it there are no buttons
 * @param opened called with the data of the mark that is chosen
 */
export function figure(drawings, {name = "", opened = null} = {}) {
  const pictures = drawings.map(parsed);
  for (const picture of pictures) enliven(picture, opened);
  const save = (write) => () =>
    pictures.forEach((picture, i) => write(picture, i ? `${name}_${i + 1}` : name));
  return [
    el("div", {class: "drawings scroll"}, pictures),
    name
      ? el(
          "p",
          {class: "buttons"},
          el("button", {onclick: save(saveSvg)}, "Save SVG"),
          el("button", {onclick: save(savePng)}, "Save PNG")
        )
      : null,
  ];
}

/** The elements of a drawing or card, which holds shapes and text and nothing else. */
export function parsed(drawing) {
  if (drawing instanceof Node) return drawing;
  const root = new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement;
  for (const {tagName, attributes} of [root, ...root.querySelectorAll("*")]) {
    if (!TAGS.has(tagName) || [...attributes].some(({name}) => FORBIDDEN.test(name))) {
      throw new Error("This figure is no drawing of shapes and text.");
    }
  }
  return document.importNode(root, true);
}

/** Adds tooltips, arrow keys and, with `opened`, clicks to a picture. */
export function enliven(picture, opened = null) {
  const marks = [...picture.querySelectorAll(".mark")];
  for (const mark of marks) {
    const title = mark.querySelector(":scope > title"); // would be a second tooltip
    mark.tip = title.textContent.split("\n");
    mark.setAttribute("aria-label", mark.tip.join(". "));
    mark.setAttribute("role", opened ? "button" : "img");
    mark.tabIndex = -1;
    title.remove();
  }
  if (marks.length) marks[0].tabIndex = 0;
  picture.classList.toggle("opens", Boolean(opened));
  const on = (events, act) => {
    for (const event of events) {
      picture.addEventListener(event, (happened) => {
        const mark = happened.target.closest(".mark");
        if (mark) act(mark, happened);
      });
    }
  };
  on(["pointerover", "focusin"], (mark) => open(mark, mark.tip));
  on(["pointerout", "focusout"], close);
  on(["click"], (mark) => opened?.(data(mark)));
  on(["keydown"], (mark, event) => pressed(mark, event, marks, opened));
}

function pressed(mark, event, marks, opened) {
  const chosen = event.key === "Enter" || event.key === " ";
  const step = MOVES[event.key];
  if (!step && !(chosen && opened)) return;
  event.preventDefault();
  if (chosen) opened(data(mark));
  else reach(neighbour(mark, step, marks) ?? mark);
}

/** Focuses a mark, which becomes the one stop of the tab key in its picture. */
export function reach(mark) {
  for (const other of mark.closest("svg").querySelectorAll(".mark")) other.tabIndex = -1;
  mark.tabIndex = 0;
  mark.focus();
}

/** The nearest mark in a direction. */
function neighbour(mark, [right, down], marks) {
  const middle = (one) => {
    const box = one.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const [x, y] = middle(mark);
  let nearest = null;
  let least = Infinity;
  for (const other of marks) {
    const [dx, dy] = middle(other).map((value, i) => value - [x, y][i]);
    const forward = dx * right + dy * down;
    const distance = forward + ASIDE * Math.abs(dx * down + dy * right);
    if (forward > 1 && distance < least) [nearest, least] = [other, distance];
  }
  return nearest;
}

/** The data of a mark and of the groups that it is in. */
function data(mark) {
  const {dataset, parentNode} = mark;
  return mark.tagName === "svg" ? {} : {...data(parentNode), ...dataset};
}
