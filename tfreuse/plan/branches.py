"""Describes layers by the branch of their block, which distinguishes layers of equal shape.

A block of an Inception network (arXiv 1512.00567) starts several branches with the same 1 x 1
convolution. They differ in the layers that follow: the convolutions of one branch, in order. The
recipient's graph shows them. A state dict has only names, where layers of a branch count up:
"branch7x7_1", "branch7x7_2", or "branch1.0", "branch1.1".

    branches = by_names(paths, shapes, forks=False)  # {"b.branch7x7_1.conv": (shapes, 0), ...}
    branches = by_graph(paths, shapes, reads, forks=False)
"""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from tfreuse.plan import topology
from tfreuse.plan.calls import Call

Shapes = Mapping[str, tuple]  # kind of layer and shape of its kernel, by path
# Shapes of all convolutions of a branch from input to output, and the layer's index among them.
Branch = tuple[tuple[tuple, ...], int]

_NUMBERED = re.compile(r"(.*?)(\d+)[a-z]?$")
_POOL = re.compile(r"pool", re.IGNORECASE)


def by_names(paths: Sequence[str], shapes: Shapes, *, forks: bool) -> dict[str, Branch]:
    """Returns the branches of a donor's layers, in which names count up.

    Where the file has them in another order, names say nothing.

    Args:
        paths: layers with kernels, in the order of the file.
        shapes: of these layers.
        forks: whether the branches after a fork begin before it, as in "branch_1", "branch_2a"
            and "branch_2b".
    """
    counted: dict[tuple, dict[int, list[str]]] = {}
    for path in paths:
        key, number = _counted(path)
        counted.setdefault(key, {}).setdefault(number, []).append(path)
    before = {}
    for members in counted.values():
        if list(members) != sorted(members):
            continue
        for first, second in itertools.pairwise(members):
            source = members[first][0]
            for path in members[second]:
                if shapes[source][1][-1] == _inputs(shapes[path]):
                    before[path] = source
    return _branches(paths, shapes, before, forks)


def by_graph(
    paths: Sequence[str],
    shapes: Shapes,
    reads: Mapping[str, Sequence[str]],
    *,
    forks: bool,
) -> dict[str, Branch]:
    """Returns the branches of a recipient's layers, which end where a graph forks or joins.

    Args:
        paths: layers with kernels.
        shapes: of these layers.
        reads: layers that each layer with variables reads from.
        forks: whether the branches after a fork begin before it.
    """
    sources = topology.contract(reads, paths)
    before = {
        path: source
        for path, (source, *joined) in sources.items()
        if source in shapes and not joined
    }
    return _branches(paths, shapes, before, forks)


def pooled(calls: Iterable[Call], paths: Collection[str]) -> set[str]:
    """Returns those of `paths` that read the output of a pooling layer and nothing else."""
    behind: dict[str, bool] = {}  # by name of a call
    readers = set()
    for call in calls:
        reads_pool = len(call.reads) == 1 and behind.get(call.reads[0], False)
        if call.path in paths:
            readers |= {call.path} if reads_pool else set()
            behind[call.name] = False
        else:
            behind[call.name] = reads_pool or "Pooling" in call.class_name
    return readers


def pair(
    donor: Mapping[str, Branch],
    recipient: Mapping[str, Branch],
    pooled: Collection[str],
) -> dict[str, str]:
    """Pairs layers of one shape by their branches: donor's by recipient's layer, all or none.

    Two branches of the same shapes are distinguished where one of them begins with pooling,
    which the donor's name says.

    Args:
        donor, recipient: layers of one shape.
        pooled: layers of the recipient that read the output of a pooling layer.
    """
    pairs = {}
    for branch in {*donor.values(), *recipient.values()}:
        sides: dict[bool, tuple[list[str], list[str]]] = {
            False: ([], []),
            True: ([], []),
        }
        sources = [path for path in donor if donor[path] == branch]
        targets = [path for path in recipient if recipient[path] == branch]
        if len(sources) == len(targets) == 1:
            pairs[targets[0]] = sources[0]
            continue
        for path in sources:
            sides[bool(_POOL.search(path))][0].append(path)
        for path in targets:
            sides[path in pooled][1].append(path)
        for sources, targets in sides.values():
            if len(sources) != len(targets) or len(sources) > 1:
                return {}
            pairs |= dict(zip(targets, sources))
    return pairs


def _counted(path: str) -> tuple[tuple, int]:
    """Returns a name without its last number, and that number; equal for layers of a branch."""
    words = path.split(".")
    for index in reversed(range(len(words))):
        if number := _NUMBERED.match(words[index]):
            return (*words[:index], (number[1],), *words[index + 1 :]), int(number[2])
    return tuple(words), 0


def _inputs(shape: tuple) -> int:
    """Returns the channels that a kernel reads, of a depthwise one too."""
    return shape[1][-1] if shape[1][-2] == 1 else shape[1][-2]


def _branches(
    paths: Sequence[str], shapes: Shapes, before: Mapping[str, str], forks: bool
) -> dict[str, Branch]:
    """Returns the branch of each layer, from the layer before it."""
    after: dict[str, list[str]] = {}
    for path, source in before.items():
        after.setdefault(source, []).append(path)
    branches: dict[str, Branch] = {}
    for path in paths:
        line, index = [path], 0
        while line[0] in before and (forks or len(after[before[line[0]]]) == 1):
            line.insert(0, before[line[0]])
            index += 1
        while len(after.get(line[-1], ())) == 1:
            line += after[line[-1]]
        branches[path] = tuple(shapes[member] for member in line), index
    return branches
