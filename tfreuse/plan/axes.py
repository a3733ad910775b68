"""Compares the axes of paired normalizations by meaning, not by number.

Axis 1 of an input [B, C], 2 of [B, T, C] and 3 of [B, H, W, C] all are axis -1; Keras 2 writes
the positive numbers. The rank of the input stands beside the axis where a model or a file has it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tfreuse.plan.variables import Layer

Layers = Mapping[str, Layer]
Comparison = Callable[[Layer, Layer], bool | None]


def comparison(donor: Layers, recipient: Layers) -> Comparison:
    """Returns a function of a donor's and a recipient's layer: whether their axes agree.

    None where that depends on the rank of an input that neither side states: shapes decide.

    The channels of a network of channels-first convolutions are on axis 1, of channels-last on
    axis -1. The two axes agree.
    """
    formats = [_data_format(layers) for layers in (donor, recipient)]
    if None in formats:  # unknown for one side: numbers are compared
        formats = [None, None]

    def agree(source: Layer, target: Layer) -> bool | None:
        values = [_numbers(layer.settings.get("axis")) for layer in (source, target)]
        if values.count([]) == 1:  # a file that states no settings
            return None
        # layers that are a pair have inputs of one rank, unless both sides say otherwise
        ranks = [layer.settings.get("rank") for layer in (source, target)]
        ranks = [rank or ranks[1 - side] for side, rank in enumerate(ranks)]
        if not all(ranks):
            return _without_rank(values, formats)
        meanings = [
            _meaning([n - rank if n >= 0 else n for n in numbers], rank, data_format)
            for numbers, rank, data_format in zip(values, ranks, formats, strict=True)
        ]
        return meanings[0] == meanings[1]

    return agree


def _numbers(axis: Any) -> list[int]:
    axes = axis if isinstance(axis, tuple) else (axis,)
    return [number for number in axes if isinstance(number, int)]


def _data_format(layers: Layers) -> str | None:
    """Returns the data format of a network's convolutions; None if they differ."""
    formats = {layer.settings.get("data_format") for layer in layers.values()} - {None}
    return formats.pop() if len(formats) == 1 else None


def _meaning(axes: list[int], rank: int, data_format: str | None) -> Any:
    """Returns "channels", or the axes counted from the last."""
    channels = {"channels_first": 1 - rank, "channels_last": -1}.get(data_format)
    return "channels" if axes == [channels] else axes


def _without_rank(values: list[list[int]], formats: list[str | None]) -> bool | None:
    meanings = [
        "channels"
        if (data_format, numbers) in (("channels_first", [1]), ("channels_last", [-1]))
        else numbers
        for numbers, data_format in zip(values, formats, strict=True)
    ]
    if meanings[0] == meanings[1]:
        return True
    signs = {number < 0 for numbers in values for number in numbers}
    return None if len(signs) == 2 else False
