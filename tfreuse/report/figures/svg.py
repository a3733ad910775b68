"""Drawings as SVG: one picture for the report's page, the TensorBoard tab, files and paper.

    drawing = svg.Drawing(240, 60, kind="ladder", title="Ladder", description="Share of the loss.")
    drawing.text(60, 24, "kernel", anchor="end")
    with drawing.group(data={"group": "kernel"}, tip=["kernel", "retention 0.98, n = 3"]):
        drawing.rect(70, 12, 90, 16, fill=("#0072b2", "#5cb3e6"))  # in light, in dark
        drawing.text(115, 24, "0.98", class_="strong", anchor="middle")
    drawing.line(70, 40, 230, 40, class_="axis")
    str(drawing)  # markup for a page whose style sheet is `static/figures.css`
    svg.standalone(drawing)  # a file of its own: light, its style inside

Lengths are in pixels of the page, y grows downwards. A shape or group with a `tip` is a mark: the
page's script makes it reachable by pointer and arrow keys, and shows the tip beside it. Its data,
together with the data of the groups around it, say which details a click opens. Without a script
the browser shows the tip by itself (`<title>`).

Text and attribute values pass `errors.printable` and are escaped. A drawing holds no
identifiers, links, scripts or inline styles, so that many fit into one page. A report has
hundreds of thousands of shapes, so that markup is written at once and no tree is built.
"""

import contextlib
import functools
import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfreuse.errors import printable
from tfreuse.report import bundle

Colour = str | tuple[str, str]  # for both themes, or for (light, dark)

FONT = 11.0  # px, of text that names no size
_LONGEST = 10_000  # characters of one text
_ANCHORS = {"start": "", "middle": "mid", "end": "end"}  # classes
_NARROWEST = 0.8  # of its own width, down to which a drawing shrinks before it scrolls
_XML = "http://www.w3.org/2000/svg"
_HEADER = "<?xml version='1.0' encoding='utf-8'?>\n"
_VARIABLE = re.compile(r"(--[a-z0-9-]+): ([^;]+);")
_USE = re.compile(r"var\((--[a-z0-9-]+)\)")
_THEMES = re.compile(r"light-dark\(([^,()]+), ?[^()]+\)")
# Advance widths of DejaVu Sans, the widest of the fonts that pages use, in ems.
_WIDTHS = {
    "iljI.,:;|'!·": 0.31,
    "tfr()[]/- ": 0.39,
    "mwMW%@→": 0.98,
    "−+=<>≤≥×÷": 0.84,
    "_": 0.5,
}
_ADVANCE = {letter: em for letters, em in _WIDTHS.items() for letter in letters}


class Drawing:
    """One picture, to which shapes are added from back to front.

    Attributes:
        width, height: in pixels; a width of "100%" is the frame's, and so are all percentages.
        kind: of figure; the class `figure-KIND` of the picture.
    """

    def __init__(
        self, width: Any, height: float, kind: str, title: str, description: str = ""
    ) -> None:
        self.width, self.height, self.kind = width, height, kind
        fluid = isinstance(width, str)
        # the style sheet has classes w1 ... w12
        least = 0 if fluid else min(max(int(width * _NARROWEST / 100), 1), 12)
        box = None if fluid else f"0 0 {_number(width)} {_number(height)}"
        head = {
            "viewBox": box,
            "xmlns": _XML,
            "class_": f"figure figure-{kind}" + (f" w{least}" if least else ""),
            "width": width,
            "height": height,
            "preserveAspectRatio": "xMinYMin",
            "role": "group",  # role img would hide the marks from screen readers
            "aria-label": title,
        }
        self._head = f"<svg{_attributes(head)}>"
        self._markup: list[str] = []
        if description:
            self._markup.append(f"<desc>{_escaped(description)}</desc>")

    def __str__(self) -> str:
        return "".join((self._head, *self._markup, "</svg>"))

    def rect(
        self, x: float, y: float, width: float, height: float, **look: Any
    ) -> None:
        self._add("rect", {"x": x, "y": y, "width": width, "height": height, **look})

    def line(self, x0: float, y0: float, x1: float, y1: float, **look: Any) -> None:
        self._add("line", {"x1": x0, "y1": y0, "x2": x1, "y2": y1, **look})

    def circle(self, x: float, y: float, radius: float, **look: Any) -> None:
        self._add("circle", {"cx": x, "cy": y, "r": radius, **look})

    def path(self, d: str, **look: Any) -> None:
        self._add("path", {"d": d, **look})

    def polyline(self, points: Sequence[tuple[float, float]], **look: Any) -> None:
        """An open line through points; filled only where `fill` is given."""
        corners = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._add("polyline", {"points": corners, "fill": "none", **look})

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", **look: Any
    ) -> None:
        """Adds text on a baseline.

        Args:
            x, y: in pixels.
            text: of one line.
            anchor: the end of the text that is at x: "start", "middle" or "end".
            look: attributes, `size` among them (pixels).
        """
        # by class: shorter than an attribute, of which a report has a thousand
        class_ = f"{look.pop('class_', None) or ''} {_ANCHORS[anchor]}".strip()
        look |= {"font-size": look.pop("size", None), "class_": class_}
        self._add("text", {"x": x, "y": y, **look}, text)

    def image(
        self, x: float, y: float, width: float, height: float, address: str, **look: Any
    ) -> None:
        """Adds pixels, stretched to the box; `address` is a data: URL."""
        box = {"x": x, "y": y, "width": width, "height": height}
        attributes = _attributes(box | {"preserveAspectRatio": "none"} | look)
        self._markup.append(f'<image{attributes} href="{address}"/>')

    @contextlib.contextmanager
    def group(self, **look: Any) -> Iterator[None]:
        """Groups everything that is drawn inside: as one mark, or under one class."""
        tip = look.pop("tip", ())
        self._markup.append(f"<g{_attributes(look, bool(tip))}>{_title(tip)}")
        yield
        self._markup.append("</g>")

    def put(self, drawing: "Drawing", x: float, y: float) -> None:
        """Places the content of another drawing here, its upper left corner at x, y."""
        with self.group(transform=f"translate({_number(x)} {_number(y)})"):
            self._markup += drawing._markup

    def _add(self, tag: str, look: dict[str, Any], text: str = "") -> None:
        tip = look.pop("tip", ())
        head = f"<{tag}{_attributes(look, bool(tip))}"
        inside = _title(tip) + _escaped(text)
        self._markup.append(f"{head}>{inside}</{tag}>" if inside else f"{head}/>")


def beside(
    drawings: Sequence[Drawing],
    title: str,
    widest: float = 900,
    gap: float = 24,
    margin: float = 12,
) -> Drawing:
    """Puts drawings into one, in lines of at most `widest` pixels: for a file."""
    lines: list[list[Drawing]] = [[]]
    for drawing in drawings:
        widths = [d.width + gap for d in (*lines[-1], drawing)]
        if lines[-1] and sum(widths) - gap > widest:
            lines.append([])
        lines[-1].append(drawing)
    heights = [max(drawing.height for drawing in line) for line in lines]
    width = max(sum(d.width + gap for d in line) - gap for line in lines)
    height = sum(heights) + gap * (len(lines) - 1)
    whole = Drawing(width + 2 * margin, height + 2 * margin, drawings[0].kind, title)
    y = margin
    for line, high in zip(lines, heights, strict=True):
        x = margin
        for drawing in line:
            whole.put(drawing, x, y)
            x += drawing.width + gap
        y += high + gap
    return whole


def standalone(drawing: Drawing) -> str:
    """A drawing as a file: on white, in the light theme, with the style that it needs.

    Variables and pairs of colours are resolved, because readers of SVG files other than
    browsers don't know them.
    """
    head, body = str(drawing).split(">", 1)
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    sheet = bundle.read("figures.css")
    text = f"{head}><style>{sheet}</style>{paper}{body}\n"
    return _HEADER + _THEMES.sub(r"\1", resolved(text))


def resolved(text: str) -> str:
    """Replaces the names of colours by their values in the style sheet."""
    variables = _variables()
    return _USE.sub(lambda match: variables.get(match[1], match[0]), text)


@functools.cache
def _variables() -> dict[str, str]:
    """Returns the colours of the style sheet by name."""
    return dict(_VARIABLE.findall(bundle.read("style.css")))


@functools.cache
def _colour(light: str, dark: str) -> str:
    """Returns the colours of the two themes, by their name in the style sheet if they have one."""
    pair = light if light == dark else f"light-dark({light}, {dark})"
    names = {value: name for name, value in reversed(_variables().items())}
    return f"var({names[pair]})" if pair in names and light != dark else pair


@functools.lru_cache(1 << 12)
def text_width(text: str, size: float = FONT) -> float:
    """Estimates a text's width in pixels, on the large side."""
    return size * sum(
        _ADVANCE.get(letter, 0.72 if letter.isupper() else 0.64) for letter in text
    )


@functools.lru_cache(1 << 12)
def fitted(text: str, width: float, size: float = FONT) -> str:
    """The text, or as much of its beginning as `width` pixels hold, with an ellipsis."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


def wrapped(text: str, width: float, size: float = FONT, most: int = 8) -> list[str]:
    """Breaks a text into lines of at most `width` pixels, behind spaces, commas, colons and plus signs.

    Words that are wider break anywhere; the last of `most` lines has what it holds of the rest.
    """
    text = text[: math.ceil(most * width / (min(_WIDTHS.values()) * size))]
    lines = [""]
    for word in re.findall(r"[^ ,:+]*[ ,:+]|[^ ,:+]+", text):
        if lines[-1] and text_width(lines[-1] + word.rstrip(), size) > width:
            lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter.rstrip(), size) > width:
                lines.append("")
            lines[-1] += letter
    if len(lines) > most:
        lines[most - 1 :] = [fitted("".join(lines[most - 1 :]), width, size)]
    return [line.rstrip() for line in lines]


def _attributes(look: Mapping[str, Any], mark: bool = False) -> str:
    """Writes attributes; None leaves one out, `data` holds those that begin with data-."""
    class_ = look.get("class_")
    if mark:
        class_ = f"{class_} mark" if class_ else "mark"
    texts = [_attribute("class", class_)] if class_ else []
    for name, value in look.items():
        if name == "data":
            texts += [_attribute(f"data-{key}", entry) for key, entry in value.items()]
        elif value is not None and name != "class_":
            texts.append(_attribute(name, value))
    return "".join(texts)


@functools.lru_cache(1 << 16)
def _attribute(name: str, value: Any) -> str:
    return f' {name.replace("_", "-")}="{_value(value)}"'


def _title(tip: Sequence[str]) -> str:
    return "<title>" + "\n".join(map(_escaped, tip)) + "</title>" if tip else ""


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, tuple):
        return _colour(*value)
    return _number(value)


@functools.lru_cache(1 << 14)
def _escaped(text: str) -> str:
    """Returns text that XML can hold: control characters as escapes, no markup."""
    if not text.isprintable() or len(text) > _LONGEST:
        text = printable(text, _LONGEST)
    return html.escape(text)


@functools.lru_cache(1 << 14)
def _number(value: float) -> str:
    """Writes a length with at most two decimals, in as few characters as it takes."""
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".")  # never -0.0
