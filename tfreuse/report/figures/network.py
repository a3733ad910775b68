"""The network's own shape, its stages in the colour of their retention: one small picture a group.

A U for encoder, bottleneck and decoder; a column with a pyramid for PSPNet; a plain column for
any other names. The strip below a stage has its layers, input at the left.
"""

import dataclasses
import itertools
import re
from collections.abc import Collection, Mapping, Sequence

from tfreuse import specs
from tfreuse.analysis.tables import Row, groups_of, sites_of
from tfreuse.report.figures import colours, heat, svg

HIGH, PITCH, STRIP = 32, 52, 5  # px: a stage, the distance of levels, a strip of layers
WIDEST, GAP = 480, 10  # px: pictures side by side, and the space between them
HEAD = 44  # px, above the first line of pictures
MOST_STAGES = 200
_LEVEL = re.compile(r"(encoder|decoder)_(\d{1,3})")
_BINS = (1, 2, 3, 6)  # parts a side that the pyramid averages over
Point = tuple[float, float]
Stage = tuple[str, Sequence[str]]  # its name and its layers'
# True: encoder and decoder are connected at equal size; else the pairs of connected stages.
Skips = bool | Collection[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Box:
    """A stage in a picture: its centre and size in pixels."""

    x: float
    y: float
    width: float
    height: float = HIGH
    strip: float = STRIP + 2  # room below it for its layers

    @property
    def x0(self) -> float:
        return self.x - self.width / 2

    @property
    def x1(self) -> float:
        return self.x + self.width / 2

    @property
    def y0(self) -> float:
        return self.y - self.height / 2

    @property
    def y1(self) -> float:
        """The lower end, strip of layers included."""
        return self.y + self.height / 2 + self.strip


@dataclasses.dataclass(frozen=True)
class Layout:
    """Positions of the stages, and the lines that connect them."""

    boxes: dict[str, Box]
    width: float
    arrows: tuple[tuple[Point, ...], ...]
    skips: tuple[tuple[Point, ...], ...]

    @property
    def height(self) -> float:
        ends = [box.y1 for box in self.boxes.values()]
        return max(*ends, *(line[-1][1] for line in self.arrows)) + 8


def network(
    rows: list[Row], spec: specs.StudySpec, layers: list[Row], *, skips: Skips = True
) -> list[svg.Drawing]:
    """Draws the stages' retention in the network's own shape, a drawing a repair.

    Args:
        rows: of single stages, from `tables.heat_rows`.
        spec: the study's settings.
        layers: rows of single layers, for the strips; may be empty.
        skips: connections past the stages between.
    """
    stages = stages_of(rows, layers)
    return [
        panel(
            [row for row in rows if row["repair"] == repair],
            [row for row in layers if row["repair"] == repair],
            stages, spec, repair, skips=skips,
        )
        for repair in colours.REPAIRS
        if any(row["repair"] == repair for row in rows)
    ]  # fmt: skip


def stages_of(rows: list[Row], layers: list[Row]) -> list[Stage]:
    """Returns the stages from input to output, each with its layers."""
    inside = sites_of(layers)
    names = [site for site, _ in sites_of(rows)][:MOST_STAGES]
    return [(name, [site for site, stage in inside if stage == name]) for name in names]


def panel(
    rows: Sequence[Row],
    layers: Sequence[Row],
    stages: Sequence[Stage],
    spec: specs.StudySpec,
    repair: str,
    quantity: str = "retention",
    seed: int = -1,
    *,
    skips: Skips = True,
) -> svg.Drawing:
    """Draws one repair: a picture a group.

    The arguments are those of `network` and `heat.panel`; `stages` come from `stages_of`.
    """
    groups = groups_of(list(rows), spec)
    layout = arrange([name for name, _ in stages], skips, STRIP + 2 if layers else 0)
    lines = -(-len(groups) // max(1, int(WIDEST / (layout.width + GAP))))
    across = -(-len(groups) // lines)
    pitch = layout.height + 20
    width = max(across * (layout.width + GAP) - GAP, 310)
    kind = rows[0]["site_kind"]
    head, detail = colours.REPAIRS[repair], heat.describe(quantity, kind, seed, spec)
    high = HEAD + lines * pitch
    drawing = svg.Drawing(width, high + 38, "network", f"{head}: network, {detail}")
    drawing.text(0, 12, head, class_="title")
    drawing.text(0, 27, detail)
    limit = heat.reach([*rows, *layers], quantity)
    flow = _flow(layout)
    for index, group in enumerate(groups):
        down, column = divmod(index, across)
        x, y = column * (layout.width + GAP), HEAD + down * pitch
        values = {
            (row["site_kind"], row["site"]): row
            for row in (*rows, *layers)
            if row["group"] == group
        }
        look = {"transform": f"translate({x:g} {y:g})", "text_anchor": "middle"}
        with drawing.group(data={"group": group}, **look):
            drawing.text(layout.width / 2, 12, group, class_="strong")
            drawing.rect(0, 18, layout.width, layout.height - 18, rx=8, class_="ground")
            for path, class_ in flow:
                drawing.path(path, class_=class_)
            _stages(drawing, layout, stages, kind, values, quantity, limit)
    heat.scale_bar(drawing, 0, high, quantity, limit)
    heat.marks_key(drawing, high, [row | {"significant": None} for row in rows])
    return drawing


def arrange(stages: Sequence[str], skips: Skips, strip: float = 0) -> Layout:
    """Returns the layout for the names of the stages, from input to output."""
    levels = {name: int(m[2]) for name in stages if (m := _LEVEL.fullmatch(name))}
    sides = {name.split("_")[0] for name in levels}
    if sides == {"encoder", "decoder"} and set(stages) - set(levels) <= {"bottleneck"}:
        return _u_shape(stages, levels, skips, strip)
    return _column(stages, skips, strip)


def _u_shape(
    stages: Sequence[str], levels: dict[str, int], skips: Skips, strip: float
) -> Layout:
    """Arranges stages down at the left, across at the bottom, up at the right."""
    depth = max(levels.values())
    boxes = {}
    for name in stages:
        level = levels.get(name, depth + 1)
        side = {"encoder": -1, "decoder": 1}.get(name.split("_")[0], 0)
        x = side * (66 - 16 * (level - 1) / max(depth, 1))
        wide = max(62 - 2 * level, 46) if side else 96
        boxes[name] = Box(102 + x, 52 + PITCH * (level - 1), wide, strip=strip)
    arrows = [_between(boxes[a], boxes[b]) for a, b in itertools.pairwise(stages)]
    first, last = boxes[stages[0]], boxes[stages[-1]]
    arrows.insert(0, ((first.x, 22), (first.x, first.y0)))
    arrows.append(((last.x, last.y0), (last.x, 22)))
    if isinstance(skips, bool):
        levels_of_skips = range(1, depth + 1) if skips else ()
        skips = [(f"encoder_{level}", f"decoder_{level}") for level in levels_of_skips]
    ends = [(boxes[a], boxes[b]) for a, b in skips if a in boxes and b in boxes]
    across = [((a.x1, a.y), (b.x0, b.y)) for a, b in ends if a.x < b.x]
    return Layout(boxes, 204, tuple(arrows), tuple(across))


def _column(stages: Sequence[str], skips: Skips, strip: float) -> Layout:
    """Arranges stages one below the other; lines lead past a pyramid, and past others by skips."""
    boxes, y = {}, 38
    for name in stages:
        height = HIGH + 20 if name == "pyramid" else HIGH
        boxes[name] = Box(66, y + height / 2, 110, height, strip)
        y += height + PITCH - HIGH
    arrows = [_between(boxes[a], boxes[b]) for a, b in itertools.pairwise(stages)]
    first, last = boxes[stages[0]], boxes[stages[-1]]
    arrows.insert(0, ((first.x, 22), (first.x, first.y0)))
    arrows.append(((last.x, last.y1), (last.x, last.y1 + 14)))
    names = list(stages)
    past = [] if isinstance(skips, bool) else [p for p in skips if set(p) <= set(names)]
    if "pyramid" in names[1:-1] and not past:
        index = names.index("pyramid")
        past = [(names[index - 1], names[index + 1])]
    around = []
    for number, (before, after) in enumerate(past):
        a, b, out = boxes[before], boxes[after], boxes[before].x1 + 10 + 7 * number
        around.append(((a.x1, a.y), (out, a.y), (out, b.y), (b.x1, b.y)))
    width = 140 + 7 * max(0, len(past) - 1)
    return Layout(boxes, width, tuple(arrows), tuple(around))


def _between(start: Box, end: Box) -> tuple[Point, ...]:
    """Returns a vertical arrow where both boxes overlap; else one from side to edge."""
    x0, x1 = max(start.x0, end.x0), min(start.x1, end.x1)  # of both
    down = end.y > start.y
    y = end.y0 if down else end.y1
    if x0 > x1:  # no bottleneck is between them
        return (start.x1, start.y), (end.x, start.y), (end.x, y)
    x = (x0 + x1) / 2
    return (x, start.y1 if down else start.y0), (x, y)


def _stages(
    drawing: svg.Drawing,
    layout: Layout,
    stages: Sequence[Stage],
    kind: str,
    values: Mapping[tuple[str, str], Row],
    quantity: str,
    limit: float,
) -> None:
    """Draws the stages of one group, and their layers."""
    for name, layers in stages:
        box, row = layout.boxes[name], values.get((kind, name))
        _stage(drawing, name, box, row, kind, quantity, limit)
        inside = [row for layer in layers if (row := values.get(("layer", layer)))]
        wide = (box.width - 4) / max(1, len(inside))
        for i, layer in enumerate(inside):
            drawing.rect(
                box.x0 + 2 + i * wide, box.y + box.height / 2 + 1.5,
                max(wide - 1, 1), STRIP, class_="cell",
                fill=heat.fill(layer, quantity, limit) or "none",
                data={"kind": "layer", "site": layer["site"]},
                tip=heat.tip(layer, quantity)[:2],
            )  # fmt: skip


def _flow(layout: Layout) -> list[tuple[str, str | None]]:
    """Returns the paths of a network's arrows, each with its class: one for all heads."""
    lines = {"flow skip": layout.skips, "flow": layout.arrows}
    paths = [("".join(map(_line, of)), class_) for class_, of in lines.items() if of]
    return [*paths, ("".join(map(_head, (*layout.skips, *layout.arrows))), None)]


def _line(points: Sequence[Point]) -> str:
    """Returns the path of a line through points."""
    return "M" + "L".join(f"{x:.5g} {y:.5g}" for x, y in points)


def _head(points: Sequence[Point]) -> str:
    """Returns the path of an arrow's head at the last of the points."""
    (x0, y0), (x1, y1) = points[-2:]
    step = max(abs(x1 - x0), abs(y1 - y0)) or 1
    dx, dy = (x1 - x0) / step, (y1 - y0) / step
    return (
        f"M{x1:.4g} {y1:.4g}l{-5 * dx - 3 * dy:.2g} {-5 * dy + 3 * dx:.2g}"
        f"l{6 * dy:.2g} {-6 * dx:.2g}z"
    )


def _stage(
    drawing: svg.Drawing,
    name: str,
    box: Box,
    row: Row | None,
    kind: str,
    quantity: str,
    limit: float,
) -> None:
    """Draws a stage with its name and number; dashed where nothing was measured."""
    has_value = row is not None and heat.has_value(row)
    fill = heat.fill(row, quantity, limit) if has_value else None
    ink = heat.ink(row, quantity, limit) if has_value else None
    look = {"data": {"kind": kind, "site": name}, "fill": ink}
    with drawing.group(**look, tip=heat.tip(row, quantity) if row else ()):
        drawing.rect(
            box.x0, box.y0, box.width, box.height, rx=4, fill=fill,
            class_="stage" if has_value else "empty",
        )  # fmt: skip
        short = svg.fitted(name, box.width - 4, 8.5)
        drawing.text(box.x, box.y0 + 11, short, size=8.5)
        text = heat.cell_text(row["mean"]) if has_value else "–"
        drawing.text(box.x, box.y0 + 25, text, size=12)
        if name == "pyramid":
            _bins(drawing, box, ink)
        if row and row["identifiable"] is False:
            drawing.circle(box.x1 - 5, box.y0 + HIGH - 6, 1.8)


def _bins(drawing: svg.Drawing, box: Box, ink: svg.Colour | None) -> None:
    """Draws the pyramid's averages: over the whole image, and over 2, 3 and 6 parts a side."""
    side, gap = 14, 6
    x, y = box.x - (4 * side + 3 * gap) / 2, box.y0 + 32
    lines = []
    for parts in _BINS:
        lines.append(f"M{x:g} {y:g}h{side}v{side}h-{side}z")
        for cut in range(1, parts):
            shift = cut * side / parts
            lines.append(f"M{x + shift:.1f} {y:g}v{side}M{x:g} {y + shift:.1f}h{side}")
        x += side + gap
    drawing.path("".join(lines), fill="none", stroke=ink, stroke_width=0.6)
