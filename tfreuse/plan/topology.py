"""Pairs layers of two graphs by position, class and shapes; lists those that look the same.

Layers get colours (Weisfeiler and Lehman 1968): the class and shapes of a layer, refined by
the colours of the layers it reads from, or of those that read from it. A colour that exactly
one layer of each graph has pairs the two. Refining from the inputs finds a shared encoder, from
the outputs a shared decoder; where the two disagree, nothing is paired.

    graph = contract(edges, ["conv2d", "conv2d_1"])   # layers with variables only
    pairs, unclear = align(donor_graph, recipient_graph, labels, labels, anchors={})
"""

from collections.abc import Collection, Hashable, Iterable, Mapping

Edges = Mapping[str, Iterable[str]]  # layer path -> paths it reads from
_INPUT = ""  # stands for an input of the model among a layer's sources
_HOPS = 3  # calls ahead by which twins may differ before they are ambiguous


def contract(edges: Edges, layers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Returns the layers that each of `layers` reads from, looking through all others."""
    ends = set(layers)
    sources: dict[str, frozenset[str]] = {}  # of layers without variables

    def through(path: str) -> frozenset[str]:
        if path in ends:
            return frozenset((path,))
        if path not in sources:
            sources[path] = frozenset()  # ends a cycle, should there be one
            before = tuple(edges.get(path, ()))
            reads = frozenset().union(*map(through, before))
            sources[path] = reads or frozenset((_INPUT,))
        return sources[path]

    return {
        path: tuple(sorted(frozenset().union(*map(through, edges[path])) or {_INPUT}))
        for path in layers  # in their order, so that plans repeat from process to process
        if path in edges
    }


def align(
    donor: Mapping[str, tuple[str, ...]],
    recipient: Mapping[str, tuple[str, ...]],
    donor_labels: Mapping[str, Hashable],
    recipient_labels: Mapping[str, Hashable],
    anchors: Mapping[str, str],
) -> tuple[dict[str, str], list[tuple[list[str], list[str]]]]:
    """Pairs the layers of two contracted graphs.

    Args:
        donor, recipient: layers that each layer reads from, as `contract` returns them.
        donor_labels, recipient_labels: class and shapes by layer.
        anchors: pairs from names or a map, donor layer by recipient layer.

    Returns:
        New pairs, donor layer by recipient layer; and groups of layers that look the same:
        (donor layers, recipient layers).
    """
    graph = _Union(donor, recipient, donor_labels, recipient_labels, anchors)
    while True:
        forward, backward = graph.colours(graph.before), graph.colours(graph.after)
        ahead, behind = graph.unique(forward), graph.unique(backward)
        clash = _clash(ahead, behind)
        new = {
            target: source
            for target, source in {**behind, **ahead}.items()
            if target not in clash and source not in clash.values()
        }
        if not new:  # last, since it looks at part of the graph only
            new = graph.twins(forward)
        if not new:
            break
        graph.anchor(new)  # new pairs separate more layers: refine again
    ambiguous = [*graph.groups(forward), *(([s], [t]) for t, s in clash.items())]
    return graph.pairs, ambiguous


def _clash(ahead: Mapping[str, str], behind: Mapping[str, str]) -> dict[str, str]:
    """Returns the pairs of either direction that the other direction contradicts."""
    sources = {source: target for target, source in ahead.items()}
    clash = {}
    for target, source in behind.items():
        if ahead.get(target, source) != source or sources.get(source, target) != target:
            clash[target] = source
            if target in ahead:
                clash.setdefault(target, ahead[target])
            if source in sources:
                clash[sources[source]] = source
    return clash


class _Union:
    """Two graphs side by side, so that one colouring covers both."""

    def __init__(self, donor, recipient, donor_labels, recipient_labels, anchors):
        self.pairs: dict[str, str] = {}
        self.before = {
            **{("d", n): [("d", p) for p in ps] for n, ps in donor.items()},
            **{("r", n): [("r", p) for p in ps] for n, ps in recipient.items()},
        }
        self.after = {node: [] for node in self.before}
        for node, sources in self.before.items():
            for source in sources:
                if source in self.after:
                    self.after[source].append(node)
        self.labels = {
            **{
                node: ("d", node) for node in self.before
            },  # unlabelled: a label of its own
            **{("d", n): ("label", v) for n, v in donor_labels.items()},
            **{("r", n): ("label", v) for n, v in recipient_labels.items()},
            ("d", _INPUT): "input",
            ("r", _INPUT): "input",
        }
        self.done: set[tuple[str, str]] = set()
        self._fix(anchors)

    def anchor(self, pairs: Mapping[str, str]) -> None:
        self.pairs.update(pairs)
        self._fix(pairs)

    def _fix(self, pairs: Mapping[str, str]) -> None:
        for target, source in pairs.items():
            self.labels["d", source] = self.labels["r", target] = ("pair", target)
            self.done |= {("d", source), ("r", target)}

    def colours(
        self, neighbours: Mapping, start: Mapping | None = None, rounds: int = 0
    ) -> dict:
        """Refines colours by those of the neighbours until their number stays the same.

        Args:
            neighbours: `before` or `after`.
            start: colours to begin with; the labels if None.
            rounds: steps of refinement; 0 for as many as it takes.
        """
        colour = _numbered(start or self.labels)
        count = len(set(colour.values()))
        while True:
            colour = _numbered(
                {
                    node: (
                        old,
                        tuple(
                            sorted(colour.get(n, -1) for n in neighbours.get(node, ()))
                        ),
                    )
                    for node, old in colour.items()
                }
            )
            before, count = count, len(set(colour.values()))
            rounds -= 1
            if rounds == 0 or (rounds < 0 and count == before):
                return colour

    def unique(self, colour: Mapping) -> dict[str, str]:
        """Returns pairs of layers that are the only ones of their colour on either side."""
        return {
            targets[0]: sources[0]
            for sources, targets in self._shared(colour)
            if len(sources) == len(targets) == 1
        }

    def groups(self, colour: Mapping) -> list[tuple[list[str], list[str]]]:
        """Returns (donor layers, recipient layers) of each colour with several candidates."""
        return [
            group
            for group in self._shared(colour)
            if len(group[0]) > 1 or len(group[1]) > 1
        ]

    def twins(self, forward: Mapping) -> dict[str, str]:
        """Returns pairs of layers with equal ancestors, separated by layers that read from them.

        Fewest hops first, so that the nearest difference decides.
        """
        several = {target for _, targets in self.groups(forward) for target in targets}
        for hops in range(1, _HOPS + 1):
            unique = self.unique(self.colours(self.after, forward, hops))
            pairs = {t: s for t, s in unique.items() if t in several}
            if pairs:
                return pairs
        return {}

    def _shared(self, colour: Mapping) -> list[tuple[list[str], list[str]]]:
        """Returns unpaired layers of both sides, for each colour that both sides have."""
        sides: dict[int, tuple[list[str], list[str]]] = {}
        for side, name in self.before:
            if (side, name) not in self.done:
                group = sides.setdefault(colour[side, name], ([], []))
                group[side == "r"].append(name)
        return [group for group in sides.values() if group[0] and group[1]]


def _numbered(colours: Mapping) -> dict:
    """Renames colours to small numbers: nested tuples would grow with every round."""
    numbers: dict[Hashable, int] = {}
    return {
        node: numbers.setdefault(colour, len(numbers))
        for node, colour in colours.items()
    }
