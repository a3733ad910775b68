"""The server's answers inside a report's page, so that the page needs no server.

They are the answers that the tab's routes give, most used first, as long as they fit.
"""

import base64
import contextlib
import functools
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfreuse.analysis.arms import Part
from tfreuse.report import forks, packing
from tfreuse.report.views import (
    advice,
    cells,
    distributions,
    labels,
    maps,
    overview,
    panels,
    pictures,
)
from tfreuse.report.views.snapshot import Snapshot, to_text

BUDGET = 1_700_000  # characters in the page
_BATCH = 1 << 16  # characters of JSON that are compressed, and measured, at once
_CELLS = 64  # whose intervals are computed at once
_LONGEST = 400_000_000  # bytes of answers, unpacked
# The number is that of the packing of drawings: pages of another one are not read.
HEAD = '<script type="application/octet-stream" id="answers" data-packing="2">'
TAIL = "</script>"
_FIGURE = re.compile(r'<svg [^>]*class="figure .*?</svg>', re.DOTALL)
_FRAME = 64  # bytes: the end of a gzip stream, and a margin


def script(
    name: str,
    snapshot: Snapshot,
    budget: int = BUDGET,
    page: str = "",
    report: Callable[[float], None] = lambda share: None,
) -> str:
    """Returns the answers on a study as an element of a page.

    Args:
        name: of the study.
        snapshot: of the study.
        budget: characters that the element may take.
        page: HTML before the element. A figure that it shows is not repeated: the answer has
            the figure's number in the page instead. Every other figure is packed
            (`tfreuse.report.packing`).
        report: called with the share of the answers that are computed.
    """
    left_out = (
        "This file has no room for it. TensorBoard shows it: "
        f"tensorboard --logdir={name or 'STUDY_DIR'}"
    )
    room = budget - len(HEAD) - len(TAIL)
    drawings = _FIGURE.findall(page)
    numbers = {markup: number for number, markup in enumerate(drawings)}
    packer = packing.Packer()

    def replaced(markup: str) -> int | list[packing.Entry]:
        return numbers[markup] if markup in numbers else packer.pack(markup)

    # closed at once: Ctrl-C must not wait for the processes that draw
    with contextlib.closing(answers(name, snapshot, drawings, report)) as entries:
        pairs = ((key, _with_figures(answer, replaced)) for key, answer in entries)
        packed = pack({"left out": left_out}, pairs, room)
    return f"{HEAD}{packed}{TAIL}"


def pack(
    first: Mapping[str, Any], following: Iterable[tuple[str, Any]], room: int
) -> str:
    """Returns one JSON object, gzipped, in base64.

    Args:
        first: entries that are always in it.
        following: further entries, taken as long as they fit; the rest is not computed.
        room: characters.
    """
    packer = zlib.compressobj(9, wbits=31)  # gzip without a time stamp: reproducible
    room = 3 * (room // 4) - _FRAME
    opening = json.dumps(dict(first)).removesuffix("}")
    packed = packer.compress(opening.encode())
    for text in _batches(following):
        trial = packer.copy()  # a compressor cannot take bytes back
        addition = trial.compress(text.encode()) + trial.flush(zlib.Z_SYNC_FLUSH)
        if len(packed) + len(addition) > room:
            break
        packer, packed = trial, packed + addition
    packed += packer.compress(b"}") + packer.flush()
    return base64.b64encode(packed).decode()


def _with_figures(answer: Any, replaced: Callable[[Any], Any]) -> Any:
    """Returns an answer with each of its drawings replaced."""
    if not isinstance(answer, dict) or not answer.get("drawings"):
        return answer
    return answer | {"drawings": list(map(replaced, answer["drawings"]))}


def _batches(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yields JSON of keys and answers, in texts long enough to compress well."""
    text: list[str] = []
    length = 0
    for key, answer in pairs:
        text.append(f", {json.dumps(key)}: {to_text(answer)}")
        length += len(text[-1])
        if length >= _BATCH:
            yield "".join(text)
            text, length = [], 0
    if text:
        yield "".join(text)


def unpack(page: bytes) -> dict[str, Any]:
    """Returns the answers in a page that `script` wrote, by `key`; {} if none can be read."""
    start = page.find(HEAD.encode())
    end = page.find(TAIL.encode(), start)
    if not 0 <= start < end:
        return {}
    gzip = zlib.decompressobj(wbits=31)
    try:
        packed = base64.b64decode(page[start + len(HEAD) : end])
        text = gzip.decompress(packed, _LONGEST)
        entries = {} if gzip.unconsumed_tail else json.loads(text)
        figures = _FIGURE.findall(page[:start].decode())
        unpacker = packing.Unpacker(_LONGEST)

        def markup(drawing: int | list[packing.Entry]) -> str:
            whole = isinstance(drawing, int)
            return figures[drawing] if whole else unpacker.unpack(drawing)

        return {
            key: _cut(answer, figures)
            if key.startswith("picture\n")
            else _with_figures(answer, markup)
            for key, answer in entries.items()
        }
    except (
        AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError,
        zlib.error,
    ):  # fmt: skip
        return {}


def _cut(answer: Any, figures: Sequence[str]) -> str:
    """Returns a picture's address; that of one in the page's figures is cut from it."""
    if isinstance(answer, str):
        return answer
    drawing = figures[answer["figure"]]
    return _address(pictures.cut(drawing, answer["group"], answer["size"]))


def key(route: str, query: Mapping[str, Any]) -> str:
    """Returns the key of an answer; `held.js` computes the same."""
    parameters = sorted(f"{name}={value}" for name, value in query.items())
    return "\n".join([route, *parameters])


def answers(
    name: str,
    snapshot: Snapshot,
    drawings: Sequence[str] = (),
    report: Callable[[float], None] = lambda share: None,
) -> Iterator[tuple[str, Any]]:
    """Yields every answer with its key, the most used first.

    Pictures that are in one of the page's `drawings` are not repeated.
    """
    jobs = list(_jobs(name, snapshot, drawings))
    with contextlib.closing(forks.results(jobs)) as results:
        for number, pairs in enumerate(results, 1):
            yield from pairs
            report(number / len(jobs))


def _jobs(
    name: str, snapshot: Snapshot, drawings: Sequence[str]
) -> Iterator[Callable[[], list[tuple[str, Any]]]]:
    """Yields functions that return some answers each, with their keys."""
    parts = [part for part in snapshot.parts if snapshot.subjects[part].arms]
    choices = overview.lasting(snapshot)["parts"]
    views = {
        part: view
        for part, view in zip(snapshot.parts, choices, strict=True)
        if part in parts
    }
    queries = {part: {"study": name, **part._asdict()} for part in snapshot.parts}
    yield functools.partial(_first, name, snapshot)
    for part, query in queries.items():
        yield functools.partial(_panels, snapshot, part, query)
    for quantity, (part, view) in itertools.product(maps.QUANTITIES, views.items()):
        yield functools.partial(
            _maps, snapshot, part, view, queries[part], quantity, -1
        )
    for part in parts:
        cells_of = list(_cell_queries(snapshot, part, queries[part]))
        for start in range(0, len(cells_of), _CELLS):
            some = cells_of[start : start + _CELLS]
            yield functools.partial(_cells, snapshot, part, some)
    for part, view in views.items():
        for quantity, seed in itertools.product(maps.QUANTITIES, view["seeds"]):
            yield functools.partial(
                _maps, snapshot, part, view, queries[part], quantity, seed
            )
    for part in parts:
        yield functools.partial(_spreads, snapshot, part, queries[part])
    for part in parts:
        yield functools.partial(_pictures, snapshot, part, queries[part], drawings)


def _first(name: str, snapshot: Snapshot) -> list[tuple[str, Any]]:
    """Returns the answers that every view of the study needs."""
    cards = advice.cards([snapshot.source.path])
    return [
        (key("studies", {}), {"studies": [{"name": name}]}),
        (key("study", {"study": name}), overview.study(name, snapshot)),
        (key("labels", {"study": name}), labels.curves(snapshot)),
        (key("advice", {"study": name}), {"cards": cards}),
    ]


def _panels(
    snapshot: Snapshot, part: Part, query: Mapping[str, str]
) -> list[tuple[str, Any]]:
    return [
        (key(name, query), panels.panel(snapshot, part, name)) for name in panels.NAMES
    ]


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _maps(
    snapshot: Snapshot,
    part: Part,
    view: Mapping[str, Any],
    part_query: Mapping[str, str],
    quantity: str,
    seed: int,
) -> list[tuple[str, Any]]:
    """Returns heat maps and networks of a quantity and seed, for every other choice."""
    pairs = []
    repairs, kinds = view["repairs"] or ["none"], view["kinds"] or ["all"]
    for repair in repairs:
        query = {"quantity": quantity, "repair": repair, "seed": seed, **part_query}
        for kind in kinds:
            answer = maps.heat(snapshot, part, kind, quantity, repair, seed)
            pairs.append((key("heat", query | {"kind": kind}), answer))
        answer = maps.network(snapshot, part, quantity, repair, seed)
        pairs.append((key("network", query), answer))
    return pairs


def _cells(
    snapshot: Snapshot, part: Part, some: Sequence[tuple[cells.Cell, dict[str, str]]]
) -> list[tuple[str, Any]]:
    pairs = []
    answers_ = cells.cells(snapshot, part, [cell for cell, _ in some])
    for ((kind, _, group), query), answer in zip(some, answers_, strict=True):
        has_pictures = kind == "all" and pictures.has(snapshot, part, group)
        pairs.append((key("cell", query), answer | {"pictures": has_pictures}))
    return pairs


def _spreads(
    snapshot: Snapshot, part: Part, part_query: Mapping[str, str]
) -> list[tuple[str, Any]]:
    with distributions.Networks(snapshot.source.path) as networks:
        return [
            (key("spread", query), distributions.view(snapshot, part, *cell, networks))
            for cell, query in _cell_queries(snapshot, part, part_query)
            if cell[0] in distributions.KINDS
        ]


def _pictures(
    snapshot: Snapshot, part: Part, query: Mapping[str, str], drawings: Sequence[str]
) -> list[tuple[str, Any]]:
    """Returns addresses of pictures, or where they are in the page's drawings."""
    in_page = pictures.shared(snapshot, part, drawings)
    return [
        (
            key("picture", query | {"group": group}),
            in_page.get(group) or _address(pictures.strip(snapshot, part, group)),
        )
        for group in snapshot.source.spec.groups
        if pictures.has(snapshot, part, group)
    ]


def _cell_queries(
    snapshot: Snapshot, part: Part, query: Mapping[str, str]
) -> Iterator[tuple[cells.Cell, dict[str, str]]]:
    """Yields the cells that a heat map shows, each with the parameters that name it."""
    groups = set(snapshot.source.spec.groups)
    kinds = {kind: number for number, kind in enumerate(overview.KINDS)}
    arms = cells.arms_by_cell(snapshot, part)
    for cell in sorted(arms, key=lambda cell: (kinds.get(cell[0], 99), cell)):
        kind, site, group = cell
        if group in groups and cells.transfers(arms[cell]):
            yield cell, {**query, "kind": kind, "site": site, "group": group}
