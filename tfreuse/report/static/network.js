// The network from input to output, each stage in the colour of one group's value, its layers
// as strips below. Every colour is an attribute, so that the picture looks the same anywhere.
import {INK, colour, position, reach} from "./colours.js";
import {svg} from "./dom.js";
import {name, number} from "./format.js";
import {lines} from "./heat.js";
import {theme} from "./theme.js";
import {tip} from "./tooltip.js";

const HIGH = 46;
const STRIP = 7;
const PITCH = 82;
const TOP = 82;
const FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

/** The network's shape with a group's cells out of the heat maps of stages and of layers. */
export function valued(shape, {stage, layer}, group) {
  const of = (heat) =>
    new Map(heat.cells.filter((one) => one.group === group).map((one) => [one.site, one]));
  const cells = {stage: of(stage), layer: of(layer)};
  const stages = shape.stages.map((one) => ({
    ...one,
    cell: cells[shape.kind].get(one.name),
    layers: one.layers.map((site) => ({name: site, cell: cells.layer.get(site)})),
  }));
  return {...shape, group, stages};
}

/** @param asked {title, quantity, repair, seed, opened, width} */
export function network(data, asked) {
  const width = Math.max(300, Math.min(asked.width, data.shape === "u" ? 680 : 420));
  const view = {...asked, width};
  const boxes = data.shape === "u" ? uShape(data.stages, width) : column(data.stages, width);
  const height = Math.max(...boxes.map((box) => box.y + box.high)) + 86;
  const ink = INK[theme()];
  const cells = data.stages.flatMap((one) => [one.cell, ...one.layers.map((layer) => layer.cell)]);
  const paint = painter(cells.filter((one) => one), view.quantity);
  const drawing = svg("svg", {
    class: "network", viewBox: `0 0 ${width} ${height}`, width, height, role: "group",
    "font-family": FONT, "aria-label": `${view.title}, ${data.group}, from input to output`,
  });
  drawing.append(
    svg("rect", {width, height, fill: ink.paper}),
    arrowHead(ink),
    ...heading(data, view, ink),
    ...arrows(data, boxes, ink),
    ...data.stages.map((stage, i) => box(stage, boxes[i], data, view, paint, ink)),
    ...scaleBar(paint, width, height, ink)
  );
  return drawing;
}

function painter(cells, quantity) {
  const limit = reach(cells, quantity);
  const of = (cell) =>
    cell && cell.mean !== null
      ? colour(position(cell.mean, quantity, limit), theme())
      : {fill: "none", ink: INK[theme()].soft};
  return {of, limit, quantity};
}

/** Down at the left, across at the bottom, up at the right. */
function uShape(stages, width) {
  const depth = Math.max(...stages.map((one) => one.level ?? 0));
  const wide = Math.min(210, width * 0.42);
  return stages.map((one) => {
    const level = one.level ?? depth + 1;
    const shrunk = wide - Math.min(level - 1, 4) * (wide * 0.045);
    const inset = (level - 1) * Math.min(16, (width / 2 - wide - 8) / Math.max(depth, 1));
    const y = TOP + 30 + PITCH * (level - 1);
    if (!one.side) return {x: (width - wide * 1.2) / 2, y, wide: wide * 1.2, high: HIGH};
    const left = 6 + (wide - shrunk) / 2 + Math.max(0, inset);
    const x = one.side === "encoder" ? left : width - left - shrunk;
    return {x, y, wide: shrunk, high: HIGH};
  });
}

/** One below the other; a pyramid is taller. */
function column(stages, width) {
  let y = TOP + 30;
  const wide = Math.min(260, width - 90);
  return stages.map((one) => {
    const high = one.name === "pyramid" ? HIGH * 1.5 : HIGH;
    const box = {x: (width - wide) / 2 - 14, y, wide, high};
    y += high + PITCH - HIGH - 8;
    return box;
  });
}

function arrowHead(ink) {
  const head = svg("path", {d: "M0 0L6 3L0 6z", fill: ink.soft});
  const place = {id: "head", markerWidth: 6, markerHeight: 6, refX: 5, refY: 3, orient: "auto"};
  return svg("defs", {}, svg("marker", place, head));
}

function heading(data, view, ink) {
  const seeds = view.seed < 0 ? "mean over seeds" : `seed ${view.seed}`;
  const line = (y, text, more = {}) =>
    svg("text", {x: 10, y, "font-size": 12, fill: ink.soft, ...more}, fitted(text, view.width / 6.6));
  return [
    line(22, fitted(view.title, view.width / 8), {
      "font-size": 14, "font-weight": 650, fill: ink.ink,
    }),
    line(40, `${data.group} of one ${data.kind} from the donor`),
    line(56, `${name(view.repair)}, ${seeds}`),
  ];
}

/** Arrows along the network, its input and output, skips, and the way past the pyramid. */
function arrows(data, boxes, ink) {
  const found = [];
  const line = (points, more = {}) =>
    found.push(
      svg("polyline", {
        points: points.map((point) => point.map(Math.round).join(",")).join(" "),
        fill: "none", stroke: ink.soft, "stroke-width": 1.4, "marker-end": "url(#head)", ...more,
      })
    );
  const middle = (box) => box.x + box.wide / 2;
  const label = (x, y, text, anchor) =>
    found.push(
      svg("text", {x, y, "font-size": 11, fill: ink.soft, "text-anchor": anchor ?? "middle"}, text)
    );
  boxes.slice(1).forEach((to, i) => line(between(boxes[i], to)));
  const [first, last] = [boxes[0], boxes.at(-1)];
  line([[middle(first), first.y - 17], [middle(first), first.y]]);
  label(middle(first), first.y - 21, "image");
  if (data.shape === "u") {
    line([[middle(last), last.y], [middle(last), last.y - 15]]);
    label(middle(last), last.y - 21, "output");
  } else {
    const end = last.y + last.high + STRIP + 2;
    line([[middle(last), end], [middle(last), end + 15]]);
    label(middle(last), end + 28, "output");
  }
  if (data.skips) skips(data.stages, boxes, line);
  if (data.pyramid) past(data.stages, boxes, line);
  return found;
}

function skips(stages, boxes, line) {
  stages.forEach((one, i) => {
    const over = stages.findIndex((other) => other.side === "decoder" && other.level === one.level);
    if (one.side !== "encoder" || over < 0) return;
    const y = boxes[i].y + HIGH / 2;
    line([[boxes[i].x + boxes[i].wide, y], [boxes[over].x, y]], {"stroke-dasharray": "5 4"});
  });
}

function past(stages, boxes, line) {
  const at = stages.findIndex((one) => one.name === "pyramid");
  if (at < 1 || at + 1 >= boxes.length) return;
  const [from, to] = [boxes[at - 1], boxes[at + 1]];
  const [right, out] = [from.x + from.wide, from.x + from.wide + 20];
  const [y1, y2] = [from.y + HIGH / 2, to.y + HIGH / 2];
  line([[right, y1], [out, y1], [out, y2], [right, y2]], {"stroke-dasharray": "5 4"});
}

/** A vertical arrow from box to box, where both are; else from side to bottom. */
function between(one, two) {
  const left = Math.max(one.x, two.x);
  const right = Math.min(one.x + one.wide, two.x + two.wide);
  const x = (left + right) / 2;
  const down = two.y > one.y;
  if (left > right) { // no bottleneck is between them
    const end = [two.x + two.wide / 2, down ? two.y : two.y + two.high + STRIP + 2];
    return [[one.x + one.wide, one.y + one.high / 2], end];
  }
  return down
    ? [[x, one.y + one.high + STRIP + 2], [x, two.y]]
    : [[x, one.y], [x, two.y + two.high + STRIP + 2]];
}

function box(stage, at, data, view, paint, ink) {
  const {fill, ink: text} = paint.of(stage.cell);
  const middle = at.x + at.wide / 2;
  const open = () => view.opened(data.kind, stage.name, data.group);
  const node = svg(
    "g",
    stage.cell
      ? {
          class: "stage", tabindex: 0, role: "button", onclick: open,
          "aria-label": lines(stage.cell, view).join(". "),
          onkeydown: (event) => {
            if (event.key !== "Enter" && event.key !== " ") return;
            event.preventDefault();
            open();
          },
        }
      : {},
    svg("rect", {
      x: at.x, y: at.y, width: at.wide, height: at.high, rx: 7, fill, stroke: ink.line,
      "stroke-dasharray": stage.cell ? null : "4 3",
    }),
    svg(
      "text",
      {x: middle, y: at.y + 18, "font-size": 11.5, "text-anchor": "middle", fill: text},
      fitted(stage.name, at.wide / 6.4)
    ),
    svg(
      "text",
      {
        x: middle, y: at.y + 37, "font-size": 15, "font-weight": 650, "text-anchor": "middle",
        fill: text,
      },
      stage.cell ? number(stage.cell.mean) : "–"
    )
  );
  if (stage.name === "pyramid") node.append(...bins(at, text));
  if (stage.cell?.identifiable === false) {
    node.append(svg("circle", {cx: at.x + at.wide - 9, cy: at.y + 9, r: 3, fill: text}));
  }
  node.append(...strips(stage, at, paint, ink));
  if (stage.cell) tip(node, () => lines(stage.cell, view));
  return node;
}

/** The layers of a stage, input at the left. */
function strips(stage, at, paint, ink) {
  const count = stage.layers.length;
  return stage.layers.map((layer, i) =>
    svg(
      "rect",
      {
        x: at.x + 4 + ((at.wide - 8) / count) * i, y: at.y + at.high + 2,
        width: Math.max(1, (at.wide - 8) / count - 1), height: STRIP - 1,
        fill: paint.of(layer.cell).fill, stroke: ink.line, "stroke-width": 0.6,
      },
      svg("title", {}, layer.cell ? `${layer.name}: ${number(layer.cell.mean)}` : layer.name)
    )
  );
}

/** Averages over the whole image, and over 2, 3 and 6 parts a side. */
function bins(at, stroke) {
  const size = 15;
  const from = at.x + at.wide / 2 - 2 * (size + 7) + 3.5;
  return [1, 2, 3, 6].flatMap((parts, i) => {
    const [x, y] = [from + i * (size + 7), at.y + 46];
    const grid = Array.from({length: parts - 1}, (_, k) => {
      const step = ((k + 1) * size) / parts;
      return `M${x + step} ${y}v${size}M${x} ${y + step}h${size}`;
    });
    const d = `M${x} ${y}h${size}v${size}h-${size}z${grid.join("")}`;
    return svg("path", {d, fill: "none", stroke, "stroke-width": 0.8});
  });
}

function scaleBar(paint, width, height, ink) {
  const steps = 24;
  const wide = Math.min(220, width - 40);
  const [x, y] = [10, height - 34];
  const ends = paint.quantity === "drop" ? [paint.limit, 0, -paint.limit] : [0, 1, 2];
  const parts = Array.from({length: steps}, (_, i) =>
    svg("rect", {
      x: x + (wide / steps) * i, y, width: wide / steps + 0.5, height: 9,
      fill: colour(-1 + (2 * i) / (steps - 1), theme()).fill,
    })
  );
  const told = ends.map((end, i) =>
    svg(
      "text",
      {
        x: x + (wide / 2) * i, y: y + 22, "font-size": 10.5, fill: ink.soft,
        "text-anchor": ["start", "middle", "end"][i],
      },
      number(end).replace(/\.00$/, "")
    )
  );
  const frame = {x, y, width: wide, height: 9, fill: "none", stroke: ink.line};
  const note = (at, text, more) =>
    svg("text", {y: at, "font-size": 10.5, fill: ink.soft, ...more}, text);
  return [
    ...parts,
    svg("rect", frame),
    ...told,
    note(y - 6, name(paint.quantity), {x}),
    note(y + 22, "tfreuse", {x: width - 10, "text-anchor": "end"}),
  ];
}

function fitted(text, room) {
  return text.length <= room ? text : `${text.slice(0, Math.max(3, room - 1))}…`;
}
