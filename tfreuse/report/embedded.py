"""The answers that a report's page asks for, inside the page: it needs no server.

They are what the tab's server would say, in the order of their worth, as long as they fit.
"""

import base64
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tfreuse.analysis.arms import Part
from tfreuse.report.views import advice, labels, maps, overview, panels, pictures
from tfreuse.report.views.distributions import KINDS, Networks, distributions
from tfreuse.report.views.snapshot import Snapshot, to_text

BUDGET = 2_500_000  # characters in the page
_BATCH = 1 << 16  # characters of JSON that are packed, and measured, at once
_LONGEST = 400_000_000  # bytes of answers, unpacked
_HEAD = '<script type="application/octet-stream" id="answers">'
_TAIL = "</script>"
_FIGURE = re.compile(r'<svg [^>]*class="figure .*?</svg>', re.DOTALL)
_FRAME = 64  # bytes that end a packed file, and a margin


def script(name: str, snapshot: Snapshot, budget: int = BUDGET, page: str = "") -> str:
    """The answers on the study `name` as an element of a page, of at most `budget` characters.

    A figure that `page` shows is not repeated: an answer has its number in the page instead.
    """
    left_out = (
        "This file has no room for it. TensorBoard shows it: "
        f"tensorboard --logdir={name or 'STUDY_DIR'}"
    )
    room = budget - len(_HEAD) - len(_TAIL)
    numbers = {markup: number for number, markup in enumerate(_FIGURE.findall(page))}
    found = (
        (key, _with_figures(answer, lambda markup: numbers.get(markup, markup)))
        for key, answer in answers(name, snapshot)
    )
    made = pack({"left out": left_out}, found, room)
    return f"{_HEAD}{made}{_TAIL}"


def pack(
    first: Mapping[str, Any], following: Iterable[tuple[str, Any]], room: int
) -> str:
    """One JSON object, gzipped, in base64; of `following` what fits, the rest is not made."""
    packer = zlib.compressobj(6, wbits=31)  # gzip without a time: the same bytes again
    room = 3 * (room // 4) - _FRAME
    told = json.dumps(dict(first)).removesuffix("}")
    packed = packer.compress(told.encode())
    for text in _batches(following):
        trial = packer.copy()
        more = trial.compress(text.encode()) + trial.flush(zlib.Z_SYNC_FLUSH)
        if len(packed) + len(more) > room:
            break
        packer, packed = trial, packed + more
    packed += packer.compress(b"}") + packer.flush()
    return base64.b64encode(packed).decode()


def _with_figures(answer: Any, replaced: Callable[[Any], Any]) -> Any:
    """Returns an answer with each of its drawings replaced."""
    if not isinstance(answer, dict) or not answer.get("drawings"):
        return answer
    return answer | {"drawings": list(map(replaced, answer["drawings"]))}


def _batches(found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    text: list[str] = []
    length = 0
    for key, answer in found:
        text.append(f", {json.dumps(key)}: {to_text(answer)}")
        length += len(text[-1])
        if length >= _BATCH:
            yield "".join(text)
            text, length = [], 0
    if text:
        yield "".join(text)


def unpack(page: bytes) -> dict[str, Any]:
    """The answers in a page that `script` made, by `key`; {} if it has none that can be read."""
    start = page.find(_HEAD.encode())
    end = page.find(_TAIL.encode(), start)
    if not 0 <= start < end:
        return {}
    unpacker = zlib.decompressobj(wbits=31)
    try:
        packed = base64.b64decode(page[start + len(_HEAD) : end])
        text = unpacker.decompress(packed, _LONGEST)
        found = {} if unpacker.unconsumed_tail else json.loads(text)
        figures = _FIGURE.findall(page[:start].decode())

        def markup(drawing: Any) -> Any:
            return figures[drawing] if isinstance(drawing, int) else drawing

        found = {key: _with_figures(answer, markup) for key, answer in found.items()}
    except (
        AttributeError, IndexError, TypeError, ValueError, zlib.error, RecursionError,
    ):  # fmt: skip
        return {}
    return found


def key(route: str, asked: Mapping[str, Any]) -> str:
    """What an answer is found by; `held.js` makes the same."""
    told = sorted(f"{name}={value}" for name, value in asked.items())
    return "\n".join([route, *told])


def answers(name: str, snapshot: Snapshot) -> Iterator[tuple[str, Any]]:
    """Every answer there is with its key, the most looked at first."""
    parts = [part for part in snapshot.parts if snapshot.subjects[part].arms]
    told = overview.lasting(snapshot)["parts"]
    views = {
        part: view
        for part, view in zip(snapshot.parts, told, strict=True)
        if part in parts
    }
    named = {part: {"study": name, **part._asdict()} for part in parts}
    yield key("studies", {}), {"studies": [{"name": name}]}
    yield key("study", {"study": name}), overview.study(name, snapshot)
    yield key("labels", {"study": name}), labels.curves(snapshot)
    found = advice.cards([snapshot.source.path])
    yield key("advice", {"study": name}), {"cards": found}
    for part in snapshot.parts:
        asked = {"study": name, **part._asdict()}
        for panel in panels.NAMES:
            yield key(panel, asked), panels.panel(snapshot, part, panel)
    means = [(quantity, -1) for quantity in maps.QUANTITIES]
    yield from _maps(snapshot, views, named, means)
    for part in parts:
        yield from _cells(snapshot, part, named[part])
    for part, view in views.items():
        seeds = itertools.product(maps.QUANTITIES, view["seeds"])
        yield from _maps(snapshot, {part: view}, named, seeds)
    yield from _spreads(snapshot, named)
    for part in parts:
        for group in snapshot.source.spec.groups:
            if pictures.has(snapshot, part, group):
                shown = base64.b64encode(pictures.strip(snapshot, part, group)).decode()
                asked = named[part] | {"group": group}
                yield key("picture", asked), f"data:image/png;base64,{shown}"


def _maps(
    snapshot: Snapshot,
    views: Mapping[Part, Mapping[str, Any]],
    named: Mapping[Part, Mapping[str, str]],
    shown: Iterable[tuple[str, int]],
) -> Iterator[tuple[str, Any]]:
    """Heat maps of these quantities and seeds, for all that can be chosen beside them."""
    for (quantity, seed), (part, view) in itertools.product(shown, views.items()):
        repairs, kinds = view["repairs"] or ["none"], view["kinds"] or ["all"]
        for repair, kind in itertools.product(repairs, kinds):
            chosen = {"quantity": quantity, "repair": repair, "seed": seed}
            found = maps.heat(snapshot, part, kind, quantity, repair, seed)
            yield key("heat", named[part] | chosen | {"kind": kind}), found
        for repair in repairs:
            chosen = {"quantity": quantity, "repair": repair, "seed": seed}
            found = maps.network(snapshot, part, quantity, repair, seed)
            yield key("network", named[part] | chosen), found


def _cells(
    snapshot: Snapshot, part: Part, named: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    for place, asked in _places(snapshot, part, named):
        kind, _, group = place
        shown = kind == "all" and pictures.has(snapshot, part, group)
        answer = maps.cell(snapshot, part, *place)
        yield key("cell", asked), answer | {"pictures": shown}


def _spreads(
    snapshot: Snapshot, named: Mapping[Part, Mapping[str, str]]
) -> Iterator[tuple[str, Any]]:
    with Networks(snapshot.source.path) as networks:
        for part in named:
            for place, asked in _places(snapshot, part, named[part]):
                if place[0] in KINDS:
                    found = distributions(snapshot, part, *place, networks)
                    yield key("spread", asked), found


def _places(
    snapshot: Snapshot, part: Part, named: Mapping[str, str]
) -> Iterator[tuple[maps.Place, dict[str, str]]]:
    """The cells that a heat map shows, and what names each in a question."""
    groups = set(snapshot.source.spec.groups)
    kinds = {kind: place for place, kind in enumerate(overview.KINDS)}
    found = maps.cells_of(snapshot, part)
    for place in sorted(found, key=lambda one: (kinds.get(one[0], 99), one)):
        kind, site, group = place
        if group in groups and maps.transferred(found[place]):
            yield place, {**named, "kind": kind, "site": site, "group": group}
