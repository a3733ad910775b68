"""Packed drawings: they come back as they were, and hostile entries cannot fill the memory."""

import json
import random

import pytest

from tfreuse.report import packing

MOST = 1_000_000


def there_and_back(drawings, most=MOST):
    packer, unpacker = packing.Packer(), packing.Unpacker(most)
    entries = json.loads(json.dumps([packer.pack(markup) for markup in drawings]))
    return entries, [unpacker.unpack(one) for one in entries]


def drawn(seed):
    """A drawing of elements that differ in text, numbers or nothing, some with ends behind."""
    draw = random.Random(seed)
    rows = [
        f'<circle cx="{draw.randint(-9, 9) / 4}" cy="{draw.randint(0, 3)}"/>'
        f"<text>{draw.choice('ab')} \\u2212{draw.randint(0, 3)}.5e-{draw.randint(1, 3)}\\n0</text>"
        for _ in range(draw.randint(0, 6))
    ]
    return f'<svg class="figure">{"".join(rows)}<g><g></g></g></svg>'


def test_drawings_come_back_as_they_were():
    drawings = [drawn(seed) for seed in range(300)]
    entries, again = there_and_back(drawings)
    assert again == drawings
    assert len(json.dumps(entries)) < len("".join(drawings)) / 4


def test_each_kind_of_entry_is_as_its_description_says():
    first = '<svg><rect x="1" y="2"/><rect x="1" y="3"/></svg>'
    second = '<svg><rect x="1" y="2"/><rect x="-4.5" y="3"/></svg>'
    third = '<svg><rect x="-4.5" y="3"/></svg>'
    entries, _ = there_and_back([first, second, third])
    assert entries[0] == ["<svg>", '<rect x="1" y="2"/>', '<rect x="1" y="3"/></svg>']
    assert entries[1:] == [[[3, 2], "2 -4.5 "], [3, 2]]


@pytest.mark.parametrize(
    "entries",
    [
        [1],
        ["<a/>", 2],
        ["<a/>", 0],
        ["<a/>", [1]],
        ["<a/>", [-1, 2]],
        ["<a/>", [1, 0]],
        ["<a/>", [1, -1]],
        ["<a/>", [1, 2]],
        ["3 1"],
        ['<a x="1"/>', "0 1 2"],
        ['<a x="1"/>', "x"],
        [None],
        ["<a/>", *([2**doubled, 2**doubled] for doubled in range(64))],
    ],
)
def test_entries_that_no_packer_wrote_are_refused(entries):
    with pytest.raises((IndexError, TypeError, ValueError)):
        packing.Unpacker(MOST).unpack(entries)
