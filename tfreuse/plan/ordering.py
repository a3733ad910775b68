"""Orders the layers of a file that lists them by name, as writers of safetensors do.

PyTorch registers the layers of a module one after another, so that its order is a walk through the
tree of modules. Names give the tree, and numbers in names the order of siblings of one stem
("conv1" before "conv2"). Between other siblings ("bn1" and "conv1") shapes decide: the next is the
one whose layer the recipient has first. Of several, the one whose arrays that layer has (a bias or
none) comes first, if all fit the next layers of their shape.

    layers, ties = by_shapes(donor_layers, recipient_layers)
"""

import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

from tfreuse.plan import structure
from tfreuse.plan.variables import Layer

Layers = Mapping[str, Layer]
Tie = tuple[str, str]  # layers of one shape, whose order nothing says

_NUMBERED = re.compile(r"(.*?)(\d*)")
_NORMS = ("batch", "norm")  # kinds of `structure.shape_of`
_NOWHERE = float("inf")


def by_shapes(donor: Layers, recipient: Layers) -> tuple[dict[str, Layer], list[Tie]]:
    """Orders the donor's layers.

    Args:
        donor: layers of a PyTorch file, in any order.
        recipient: layers from input to output.

    Returns:
        The donor's layers in the order of a walk through its modules; and ties.
    """
    walk = _Walk(donor, recipient)
    walk.through(_tree(donor))
    return {path: donor[path] for path in walk.done}, walk.ties


class _Module:
    """A module: its children by name, and the path of its own layer, "" if it has none."""

    def __init__(self):
        self.children: dict[str, _Module] = {}
        self.path = ""

    def runs(self) -> list[deque["_Module"]]:
        """Returns the children of each stem, ordered by their numbers."""
        by_stem: dict[str, list[tuple[int, _Module]]] = {}
        for name, child in self.children.items():
            stem, number = _NUMBERED.fullmatch(name).groups()
            by_stem.setdefault(stem, []).append((int(number or -1), child))
        return [
            deque(child for _, child in sorted(by_stem[stem], key=lambda pair: pair[0]))
            for stem in sorted(by_stem)
        ]


def _tree(layers: Layers) -> _Module:
    root = _Module()
    for path in layers:
        module = root
        for name in path.split("."):
            module = module.children.setdefault(name, _Module())
        module.path = path
    return root


class _Walk:
    """A walk through the donor's modules, along the shapes of the recipient."""

    def __init__(self, donor: Layers, recipient: Layers):
        self.donor, self.recipient = donor, list(recipient.values())
        self.shapes = {path: structure.shape_of(layer) for path, layer in donor.items()}
        self.positions: dict[tuple | None, deque[int]] = {}  # not yet taken, by shape
        for position, layer in enumerate(recipient.values()):
            shape = structure.shape_of(layer)
            self.positions.setdefault(shape, deque()).append(position)
        self.positions.pop(None, None)
        self.done: list[str] = []
        self.ties: list[Tie] = []

    def through(self, module: _Module) -> None:
        if module.path:
            self.done.append(module.path)
            if positions := self.positions.get(self.shapes[module.path]):
                positions.popleft()
        runs = module.runs()
        while runs:
            chosen = self._following(runs) or self._first(runs)
            self.through(chosen.popleft())
            runs = [run for run in runs if run]

    def _following(self, runs: list[deque[_Module]]) -> deque[_Module] | None:
        """Returns the run that begins with the normalization of the convolution just taken."""
        shape = self.shapes.get(self.done[-1]) if self.done else None
        if not shape or shape[0] != "kernel":
            return None
        beside = self.done[-1].rpartition(".")[0]
        following = [
            run
            for run in runs
            if (path := run[0].path).rpartition(".")[0] == beside
            and self.shapes.get(path) in {(kind, shape[1][-1:]) for kind in _NORMS}
        ]
        return following[0] if len(following) == 1 else None

    def _first(self, runs: list[deque[_Module]]) -> deque[_Module]:
        """Returns the run that begins with the layer that the recipient has first; notes ties."""
        ranks = [self._rank(run[0]) for run in runs]
        chosen = min(range(len(runs)), key=lambda number: ranks[number][:2])
        *rank_of_best, path = ranks[chosen]
        if rank_of_best[0] < _NOWHERE:
            same = [n for n, rank in enumerate(ranks) if [*rank[:2]] == rank_of_best]
            tied = [ranks[number][-1] for number in same]
            fitting = self._by_arrays(tied)
            if fitting is not None:
                return runs[same[fitting]]
            self.ties += [(path, peer) for peer in tied if peer != path]
        return runs[chosen]

    def _by_arrays(self, tied: Sequence[str]) -> int | None:
        """Returns which of the layers of one shape has the arrays of the next place.

        None unless it is one alone, and all of them have those of the next places: a recipient
        may have a bias for each layer, and the donor for none.
        """
        candidates = itertools.islice(self.positions[self.shapes[tied[0]]], len(tied))
        needed = [_roles(self.recipient[path]) for path in candidates]
        present = [_roles(self.donor[path]) for path in tied]
        fitting = [number for number, roles in enumerate(present) if roles == needed[0]]
        alone = len(fitting) == 1 and Counter(needed) == Counter(present)
        return fitting[0] if alone else None

    def _rank(self, module: _Module) -> tuple[float, float, str]:
        """Returns the first position that a layer of the module can take, and a kernel; the layer.

        A kernel decides between normalizations of one shape.
        """
        positions = [(self._position(path), path) for path in self._open(module)]
        kernels = [
            position
            for position, path in positions
            if (self.shapes[path] or ("",))[0] == "kernel"
        ]
        position, path = min(positions, key=lambda pair: pair[0])
        return position, min(kernels, default=_NOWHERE), path

    def _position(self, path: str) -> float:
        positions = self.positions.get(self.shapes[path])
        return positions[0] if positions else _NOWHERE

    def _open(self, module: _Module) -> Iterator[str]:
        """Yields layers of the module that may come first: of each stem the lowest number."""
        if module.path:
            yield module.path
        for run in module.runs():
            yield from self._open(run[0])


def _roles(layer: Layer) -> frozenset[str | None]:
    return frozenset(variable.role for variable in layer.variables)


def without_ties(
    pairs: structure.Pairs,
    unclear: structure.Unclear,
    ties: Sequence[Tie],
    reads: Mapping[str, Sequence[str]],
) -> tuple[structure.Pairs, structure.Unclear]:
    """Takes back pairs that only the order of tied layers decided, and those that follow them.

    Args:
        pairs, unclear: of `structure.pair`.
        ties: of `by_shapes`.
        reads: layers with variables that each layer of the recipient reads from.
    """
    target_of = {
        source: target
        for target, (source, reason) in pairs.items()
        if reason == structure.ORDER
    }
    groups = [
        (list(tie), [target_of[path] for path in tie])
        for tie in ties
        if all(path in target_of for path in tie)
    ]
    back = {target for _, targets in groups for target in targets}
    following = [
        target
        for target, (_, reason) in pairs.items()
        if reason == structure.FOLLOWS and not back.isdisjoint(reads.get(target, ()))
    ]
    if following:
        groups.append(([pairs[target][0] for target in following], following))
    back |= {*following}
    remaining = {target: pair for target, pair in pairs.items() if target not in back}
    return remaining, [*unclear, *groups]
