// Replaces api.js in a file that needs no server: the answers are in the page itself.

export const LIVE = false;
const SEPARATOR = "\n";
// The page's own figures in their order; an answer has a figure's number instead of its markup.
const figures = [...document.querySelectorAll("svg.figure")];
const NUMBER = /[\u2212-]?[0-9]+(?:\.[0-9]+)?/g;
let opened = null;

function key(route, parameters) {
  const pairs = Object.entries(parameters).map(([name, value]) => `${name}=${value}`);
  return [route, ...pairs.sort()].join(SEPARATOR);
}

/** All answers, unpacked at the first request. */
function answers() {
  opened ??= (async () => {
    const packed = atob(document.getElementById("answers").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const entries = Object.entries(await new Response(stream).json());
    const unpacked = unpacker();
    for (const [, answer] of entries) {
      if (answer.drawings) answer.drawings = answer.drawings.map(unpacked);
    }
    return new Map(entries);
  })();
  return opened;
}

/** Returns a function that unpacks one drawing after another; `packing.py` describes them. */
function unpacker() {
  const words = [];
  const patterns = [];
  const fresh = (entry) => {
    if (entry.startsWith("<")) {
      patterns.push({pieces: entry.split(NUMBER), numbers: entry.match(NUMBER) ?? []});
      return entry;
    }
    const [index, ...changed] = entry.split(" ");
    const {pieces, numbers} = patterns[index];
    changed.forEach((number, i) => (numbers[i] = number || numbers[i]));
    return pieces.map((piece, i) => piece + (numbers[i] ?? "")).join("");
  };
  return (drawing) => {
    if (!Array.isArray(drawing)) return drawing; // the number of a figure of the page
    const begin = words.length;
    for (const entry of drawing) {
      if (typeof entry === "string") {
        words.push(fresh(entry));
        continue;
      }
      const [distance, length] = Array.isArray(entry) ? entry : [entry, 1];
      const start = words.length - distance;
      for (let i = start; i < start + length; i++) words.push(words[i]);
    }
    return words.slice(begin);
  };
}

/** The address of a picture, which a figure of the page may have. */
export async function picture(parameters) {
  const answer = await ask("picture", parameters);
  return typeof answer === "string" ? answer : cut(answer);
}

/** Cuts a group's pictures from the figure of all; `figures/strip.py` describes their order. */
async function cut({figure, group, size}) {
  const sheet = new Image();
  sheet.src = figures[figure].querySelector("image").getAttribute("href");
  await sheet.decode();
  const [high, wide] = size.map((side) => side + 1);
  const canvas = document.createElement("canvas");
  const times = Math.max(1, Math.ceil(128 / Math.min(...size))); // as the server enlarges them
  [canvas.width, canvas.height] = [5 * wide * times, (sheet.height / 2) * times];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.scale(times, times);
  const put = (x, y, columns, toX, toY) =>
    context.drawImage(
      sheet, x, y, columns * wide, 2 * high, toX, toY, columns * wide, 2 * high
    );
  for (let y = 0; y < sheet.height; y += 4 * high) {
    put(0, y, 3, 0, y / 2);
    put((3 + group) * wide, y, 1, 3 * wide, y / 2);
    put((3 + group) * wide, y + 2 * high, 1, 4 * wide, y / 2);
  }
  return canvas.toDataURL();
}

export async function ask(route, parameters = {}) {
  const all = await answers();
  const answer = all.get(key(route, parameters));
  if (answer === undefined) throw new Error(all.get("left out"));
  if (!answer.drawings) return answer;
  const drawings = answer.drawings.map((drawing) =>
    Array.isArray(drawing) ? drawing.join("") : figures[drawing].cloneNode(true)
  );
  return {...answer, drawings};
}
