"""Pairs the layers of a donor that has an order and names, but no graph, with a recipient's.

A PyTorch state dict lists layers as its modules were registered. Along a chain that is the order
of execution; between the branches of a block it is any order, and a shortcut often has the shape
of the last convolution beside it. So three sources must agree before two layers are paired:

1. Shapes: both sequences are cut where everything before the cut has the same shapes.
2. The recipient's graph: among layers of one shape, order decides only between layers of which
   one is computed from the other. Branches are distinguished by the donor's names (a shortcut is
   called so, layers of a branch count up) and by the convolution that a normalization follows.
3. The donor's names: numbers must not contradict the order ("conv2" before "conv1"), nor may
   names that the recipient has too. Where all layers of a shape have the same names on both
   sides, names decide.

All else is ambiguous.

    pairs, unclear = pair(donor_layers, recipient_layers, topology.contract(edges, recipient_layers))
"""

import itertools
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from tfreuse.plan import branches, composites, separable
from tfreuse.plan.variables import Layer

Layers = Mapping[str, Layer]
Pairs = dict[str, tuple[str, str]]  # recipient layer -> (donor layer, reason)
Unclear = list[tuple[list[str], list[str]]]  # (donor layers, recipient layers)

_WINDOW = 24  # layers within which the orders of two sequences may differ
_SHORTCUT = re.compile(r"(^|[._])(downsample|shortcut|skip|proj(ection)?|identity)")
_AUXILIARY = re.compile(r"(^|[._/])aux", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?)(\d+)$")
NAMES, ORDER, SHORTCUT, BRANCH, FOLLOWS = (
    "same name, and same shapes",
    "same place in the order of layers, and same shapes",
    "the shortcut of its block, by name and graph",
    "the same branch of its block, by names, graph and shapes",
    "follows the same convolution",
)


def pair(
    donor: Layers,
    recipient: Layers,
    reads: Mapping[str, Sequence[str]],
    pooled: Collection[str] = (),
) -> tuple[Pairs, Unclear]:
    """Pairs layers by shapes, the recipient's graph and the donor's order and names.

    Auxiliary heads of the donor, which files list in the middle, count only where the recipient
    has such names too.

    Args:
        donor: layers in the order of the file.
        recipient: layers from input to output.
        reads: layers with variables that each layer of the recipient reads from, also for
            layers that are not to be paired.
        pooled: layers of the recipient that read the output of a pooling layer.

    Returns:
        Pairs, with two for a separable convolution, see `separable`; and the ambiguous layers.
    """
    recipient, reads = separable.split(recipient, reads)
    sources = {path: s for path, layer in donor.items() if (s := shape_of(layer))}
    targets = {path: s for path, layer in recipient.items() if (s := shape_of(layer))}
    if not any(map(_AUXILIARY.search, targets)):
        sources = {p: s for p, s in sources.items() if not _AUXILIARY.search(p)}
    count = _common(list(sources.values()), list(targets.values()))
    return _Pairing(
        list(sources)[:count], list(targets)[:count], sources, targets, reads, pooled
    ).pairs()


def shape_of(layer: Layer) -> tuple | None:
    """Returns kind and shape of a layer, equal for layers that may be paired; None if unknown.

    A depthwise kernel [kh, kw, channels, m] is one of [kh, kw, 1, channels * m] in groups, and
    a Dense kernel one of 1 x 1.
    """
    roles = [variable.role for variable in layer.variables]
    if layer.class_name == "Normalization":  # of images; PyTorch's networks have none
        return None
    composite = layer.class_name and composites.of_layer(layer)
    if roles.count("kernel") == 1 or composite:
        kernel = layer.variables[0] if composite else layer.by_role["kernel", 0]
        shape = kernel.shape
        first = layer.path == separable.whole(layer.path)
        depthwise = layer.class_name.startswith("SeparableConv") and first
        if layer.class_name.startswith("DepthwiseConv") or depthwise:
            shape = (*shape[:-2], 1, shape[-2] * shape[-1])
        return "kernel", (1, 1, *shape) if len(shape) == 2 else shape
    if "moving_mean" in roles:
        return "batch", layer.by_role["moving_mean", 0].shape
    if "gamma" in roles and "beta" in roles:
        return "norm", layer.by_role["gamma", 0].shape
    if roles == [None] and (shape := layer.variables[0].shape):
        # a factor a channel: LayerScale, PReLU; of a PReLU also one for all. More sides may be
        # in another order.
        sides = _sides(shape) or (1,)
        return ("factor", sides) if len(sides) == 1 else None
    return None


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns a shape without its axes of length 1."""
    return tuple(side for side in shape if side != 1)


def same_bytes(first: Sequence[int], second: Sequence[int]) -> bool:
    """Returns whether kernels of two shapes hold the same numbers in the same order.

    So do [kh, kw, 1, channels * m] and the depthwise [kh, kw, channels, m], a kernel of 1 x 1
    and a Dense kernel, and factors [channels, 1, 1] and [channels].
    """
    short, long = sorted((tuple(first), tuple(second)), key=len)
    if len(_sides(short)) < 2 and _sides(short) == _sides(long):
        return True
    if short == long or (1,) * (len(long) - len(short)) + short == long:
        return True
    return any(
        len(a) == len(b) > 2
        and a[:-2] == b[:-2]
        and a[-2] == 1
        and a[-1] == b[-2] * b[-1]
        for a, b in ((short, long), (long, short))
    )


def _common(donor: Sequence[tuple], recipient: Sequence[tuple]) -> int:
    """Returns the length of the longest start of both sequences with the same shapes.

    The order may differ within a window. The last cut counts, not the last equal shape.
    """
    surplus: Counter[tuple] = Counter()
    cut = 0
    for index, (source, target) in enumerate(zip(donor, recipient), start=1):
        surplus[source] += 1
        surplus[target] -= 1
        surplus = Counter({shape: n for shape, n in surplus.items() if n})
        if not surplus:
            cut = index
        elif index - cut > _WINDOW:
            break
    return cut


class _Pairing:
    """Layers of both sides up to the last cut, grouped by shape."""

    def __init__(self, sources, targets, source_shapes, target_shapes, reads, pooled):
        self.sources, self.targets, self.reads = sources, targets, reads
        self.by_shape: dict[tuple, tuple[list[str], list[str]]] = {}
        for path in sources:
            self.by_shape.setdefault(source_shapes[path], ([], []))[0].append(path)
        for path in targets:
            self.by_shape[target_shapes[path]][1].append(path)
        self.before = _ancestors(reads)
        self.convolution = _followed(sources, source_shapes)
        kernels = [
            [path for path in paths if shapes[path][0] == "kernel"]
            for paths, shapes in ((sources, source_shapes), (targets, target_shapes))
        ]
        self.branches = [
            (
                branches.by_names(kernels[0], source_shapes, forks=forks),
                branches.by_graph(kernels[1], target_shapes, reads, forks=forks),
            )
            for forks in (False, True)
        ]
        self.pooled = pooled
        self.done: Pairs = {}
        self.unclear: Unclear = []

    def pairs(self) -> tuple[Pairs, Unclear]:
        by_name = False
        # kernels first: normalizations are distinguished by the convolutions before them
        for shape in sorted(self.by_shape, key=lambda shape: shape[0] != "kernel"):
            sources, targets = self.by_shape[shape]
            same_names = _by_name(sources, targets)
            if len(same_names) == len(targets):
                self.done |= {target: (same_names[target], NAMES) for target in targets}
                by_name = True
                continue
            # where names decide, the order of the file says nothing on the layers behind
            followed = self._by_convolution(sources, targets) if by_name else {}
            if followed:
                self.done |= followed
                continue
            for start, end in self._runs(sources, targets):
                self._pair_run(sources[start:end], targets[start:end])
            self._doubt(sources, targets, same_names)
        return self.done, self.unclear

    def _doubt(self, sources, targets, same_names: Mapping[str, str]) -> None:
        """Takes the pairs of one shape back if some layers have the names of other pairs."""
        pairs = {
            target: self.done[target][0] for target in targets if target in self.done
        }
        if any(
            pairs.get(target, source) != source for target, source in same_names.items()
        ):
            for target in pairs:
                del self.done[target]
            self.unclear = [u for u in self.unclear if u[1][0] not in targets]
            self.unclear.append((sources, targets))

    def _runs(self, sources: list[str], targets: list[str]) -> list[tuple[int, int]]:
        """Cuts layers of one shape where all before the cut are computed before all after."""
        runs, start = [], 0
        for end in range(1, len(targets) + 1):
            ordered = all(
                first in self.before[later]
                for later in targets[end:]
                for first in targets[start:end]
            )
            if ordered and not _contradicts(sources[end - 1 : end + 1]):
                runs.append((start, end))
                start = end
        if start < len(targets):
            runs.append((start, len(targets)))
        return runs

    def _pair_run(self, sources: list[str], targets: list[str]) -> None:
        if len(sources) == 1:
            self.done[targets[0]] = sources[0], ORDER
            return
        chosen = (
            self._by_convolution(sources, targets)
            or self._by_shortcut(sources, targets)
            or self._by_branch(sources, targets)
        )
        if chosen:
            self.done |= chosen
        else:
            self.unclear.append((sources, targets))

    def _by_convolution(self, sources: list[str], targets: list[str]) -> Pairs:
        """Pairs normalizations by the paired convolutions that they follow; all or none."""
        follower = {self.convolution.get(source): source for source in sources}
        chosen: Pairs = {}
        for target in targets:
            (before,) = self.reads[target] if len(self.reads[target]) == 1 else (None,)
            convolution = self.done.get(before, (None, ""))[0]
            if convolution is None or convolution not in follower:
                return {}
            chosen[target] = follower[convolution], FOLLOWS
        used = {source for source, _ in chosen.values()}
        return chosen if len(used) == len(sources) else {}

    def _by_shortcut(self, sources: list[str], targets: list[str]) -> Pairs:
        """Pairs the two branches of a block, of which the shorter is its shortcut."""
        shortcuts = [source for source in sources if _SHORTCUT.search(source)]
        short = []
        for target in targets:
            branch = [path for path in targets if path != target]
            apart = not any(
                path in self.before[target] or target in self.before[path]
                for path in branch
            )
            # beside several layers, or one that more layers lead to
            longer = len(branch) > 1 or self.before[target] < self.before[branch[0]]
            if apart and longer and self._in_line(branch):
                short.append(target)
        branch = [source for source in sources if source not in shortcuts]
        if len(shortcuts) != 1 or len(short) != 1:
            return {}
        if any(map(_contradicts, itertools.pairwise(branch))):
            return {}
        longest = [target for target in targets if target not in short]
        pairs = zip([*short, *longest], [*shortcuts, *branch], strict=True)
        return {target: (source, SHORTCUT) for target, source in pairs}

    def _in_line(self, targets: Sequence[str]) -> bool:
        """Returns whether each layer is computed from the one before it."""
        return all(a in self.before[b] for a, b in itertools.pairwise(targets))

    def _by_branch(self, sources: list[str], targets: list[str]) -> Pairs:
        """Pairs convolutions of parallel branches, all or none."""
        for donor, recipient in self.branches:
            if sources[0] not in donor:  # a normalization
                return {}
            pairs = branches.pair(
                {path: donor[path] for path in sources},
                {path: recipient[path] for path in targets},
                self.pooled,
            )
            if pairs:
                return {target: (source, BRANCH) for target, source in pairs.items()}
        return {}


def _by_name(sources: Sequence[str], targets: Sequence[str]) -> dict[str, str]:
    """Returns the donor's layers by the recipient's of the same name, "a.conv1" as "a_conv1"."""
    names = [
        [re.sub(r"\W", "_", path) for path in paths] for paths in (sources, targets)
    ]
    if any(len(set(side)) < len(side) for side in names):
        return {}
    donors = dict(zip(names[0], sources, strict=True))
    return {t: donors[name] for t, name in zip(targets, names[1]) if name in donors}


def _ancestors(reads: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Returns all layers from which each layer is computed."""
    ancestors: dict[str, frozenset[str]] = {}
    for path, sources in reads.items():  # from input to output
        ancestors[path] = frozenset().union(
            *({source} | ancestors.get(source, frozenset()) for source in sources)
        )
    return ancestors


def _followed(
    sources: Sequence[str], shapes: Mapping[str, tuple]
) -> dict[str, str | None]:
    """Returns the convolution that stands before each normalization, in its module or one in it."""
    followed = {}
    for before, path in itertools.pairwise(sources):
        kernel = shapes[before][0] == "kernel" and shapes[path][0] != "kernel"
        module, inner = path.rpartition(".")[0], before.rpartition(".")[0]
        if module not in (inner, inner.rpartition(".")[0]):
            continue
        if kernel and shapes[path][1][-1] in shapes[before][1][-2:]:
            followed[path] = before
    return followed


def _contradicts(paths: Sequence[str]) -> bool:
    """Returns whether numbers in two names say the other order than the file."""
    if len(paths) < 2:
        return False
    for first, second in zip(paths[0].split("."), paths[1].split(".")):
        if first != second:
            numbers = _NUMBERED.match(first), _NUMBERED.match(second)
            if None in numbers or numbers[0][1] != numbers[1][1]:
                return False
            return int(numbers[0][2]) > int(numbers[1][2])
    return False
