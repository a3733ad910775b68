// Elements with attributes and children. Text comes in as text nodes only, so that whatever a
// layer is called, it is shown and never parsed.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return node;
}

/** The head of a table, a column a name. */
export function heading(names) {
  return el("thead", {}, el("tr", {}, names.map((one) => el("th", {scope: "col"}, one))));
}

export function show(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter((child) => child));
}

/** Text in code as in "it needs --shapley": flags stand out. */
export function withFlags(text) {
  return text.split(/(--[a-z_]+)/).map((word) =>
    word.startsWith("--") ? el("code", {}, word) : word
  );
}
