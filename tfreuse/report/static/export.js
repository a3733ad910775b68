// A drawing as a file: SVG as it is, PNG at twice its size.

function source(drawing) {
  const copy = drawing.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  for (const node of copy.querySelectorAll("[tabindex]")) node.removeAttribute("tabindex");
  return new XMLSerializer().serializeToString(copy);
}

export function saveSvg(drawing, name) {
  save(new Blob([source(drawing)], {type: "image/svg+xml"}), `${name}.svg`);
}

export async function savePng(drawing, name) {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source(drawing))}`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * drawing.width.baseVal.value;
  canvas.height = 2 * drawing.height.baseVal.value;
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
