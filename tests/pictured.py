"""Reads drawings for tests: their texts, and their marks with data, tip and shapes."""

import dataclasses
import re
from xml.etree import ElementTree

from tfreuse.report.figures import svg


@dataclasses.dataclass
class Mark:
    """A mark of a drawing.

    Attributes:
        data: its own and that of the groups around it.
        tip: its lines.
        node: the element.
    """

    data: dict[str, str]
    tip: list[str]
    node: ElementTree.Element

    @property
    def texts(self):
        return [node.text for node in self.node.iter("text")]

    @property
    def fills(self):
        return [svg.resolved(node.get("fill")) for node in self.node.iter("rect")]

    def has(self, tag, name=""):
        """Whether a shape inside is of this tag and has this class."""
        return any(name in node.get("class", "") for node in self.node.iter(tag))


def root(drawing):
    """The root element, its names without a namespace."""
    return ElementTree.fromstring(re.sub(r' xmlns="[^"]+"', "", str(drawing)))


def texts(drawing):
    return [node.text for node in root(drawing).iter("text")]


def marks(drawing):
    """The marks in their order."""
    found = []

    def walk(node, data):
        own = {k.removeprefix("data-"): v for k, v in node.items() if "data-" in k}
        data = data | own
        if "mark" in node.get("class", "").split():
            tip = next(node.iter("title")).text.split("\n")
            found.append(Mark(data, tip, node))
        for child in node:
            walk(child, data)

    walk(root(drawing), {})
    return found


def cells(drawing, kind=None):
    """The marks by site and group; of one kind of site."""
    return {
        (mark.data["site"], mark.data["group"]): mark
        for mark in marks(drawing)
        if kind in (None, mark.data["kind"])
    }
