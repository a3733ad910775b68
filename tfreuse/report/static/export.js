// A figure as a file: SVG with the colours and fonts that it is shown in, PNG at twice its size.

const LOOK = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity",
  "stroke-linecap", "opacity", "image-rendering", "text-anchor",
  "font-family", "font-size", "font-weight",
];

const MARGIN = 12; // px, as around the figures that the study writes

/** The markup, with what the page's style sheet says written into its elements. */
function source(drawing) {
  const copy = drawing.cloneNode(true);
  const originals = [drawing, ...drawing.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, i) => {
    const style = getComputedStyle(originals[i]);
    const above = i ? getComputedStyle(originals[i].parentNode) : null;
    for (const name of LOOK) {
      const value = style.getPropertyValue(name);
      if (value === above?.getPropertyValue(name)) node.removeAttribute(name);
      else node.setAttribute(name, value);
    }
    node.removeAttribute("tabindex");
  });
  const [width, height] = size(drawing);
  const paper = document.createElementNS(drawing.namespaceURI, "rect");
  const fill = getComputedStyle(drawing.closest("section, dialog, body")).backgroundColor;
  const box = {x: -MARGIN, y: -MARGIN, width, height};
  set(paper, {...box, fill});
  copy.prepend(paper);
  set(copy, {viewBox: Object.values(box).join(" "), width, height, xmlns: drawing.namespaceURI});
  return new XMLSerializer().serializeToString(copy);
}

/** Width and height of a file: the drawing's, and a margin around it. */
function size(drawing) {
  const {width, height} = drawing.viewBox.baseVal;
  return [width + 2 * MARGIN, height + 2 * MARGIN];
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

export function saveSvg(drawing, name) {
  save(new Blob([source(drawing)], {type: "image/svg+xml"}), `${name}.svg`);
}

export async function savePng(drawing, name) {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source(drawing))}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = size(drawing).map((side) => 2 * side);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  save(blob, `${name}.png`);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/[^A-Za-z0-9._-]+/g, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
