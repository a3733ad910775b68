"""Names and colours that all figures share; imports no Matplotlib."""

import functools
from collections.abc import Sequence

REPAIRS = {
    "none": "as transplanted",
    "recalibration": "after recalibration",
    "permutation": "after permutation",
    "permutation+recalibration": "permutation + recalibration",
    "stitch": "after a 1×1 stitch",
    "fine_tuning": "after fine-tuning",
}
# Okabe and Ito's colours, which colour-blind readers can distinguish; where two controls of one
# family share a colour, their markers differ.
CONTROLS = {
    "transfer": ("#0072b2", "o"),
    "other_seed": ("#009e73", "o"),
    "defaults": ("#e69f00", "o"),
    "reinitialised": ("#d55e00", "o"),
    "initial": ("#d55e00", "D"),
    "angle": ("#cc79a7", "o"),
    "matched": ("#cc79a7", "X"),
    "moments": ("#cc79a7", "s"),
    "shuffled": ("#cc79a7", "D"),
    "scrambled": ("#56b4e9", "o"),
    "zeroed": ("#111111", "X"),
    "reordered": ("#8a94a0", "D"),
    "self": ("#8a94a0", "o"),
}
GROUPS = {  # one colour a group wherever groups share an axis
    "kernel": "#d55e00",
    "bias": "#e69f00",
    "gamma": "#56b4e9",
    "beta": "#009e73",
    "moving_mean": "#aa4499",
    "moving_variance": "#882255",
    "affine": "#0072b2",
    "stats": "#cc79a7",
    "bn": "#44aa99",
    "conv": "#999933",
    "all": "#332288",
}

Channels = tuple[int, int, int]  # red, green, blue

# Viridis without its brightest end, which paper would hide.
_DEPTHS: tuple[Channels, ...] = (
    (68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (210, 226, 27),
)  # fmt: skip

# The diverging scale, from -1 over its anchor 0 to 1: red, paper, blue. Both ends are
# distinguishable for colour-blind readers; the anchor is the colour of the page's paper. Retention,
# which is clipped to [0, 1], has the lower half.
_LIGHT: tuple[Channels, ...] = (
    (178, 24, 43), (239, 152, 122), (250, 250, 250), (142, 193, 222), (33, 102, 172),
)  # fmt: skip
_DARK: tuple[Channels, ...] = (
    (224, 84, 76), (128, 62, 64), (41, 49, 61), (52, 92, 134), (92, 168, 240),
)  # fmt: skip
_INK, _WHITE = "#10161e", "#ffffff"


def position(value: float, quantity: str = "retention", reach: float = 1.0) -> float:
    """Returns a value's level on the scale, from -1 (red) over 0 (anchor) to 1 (blue).

    Args:
        value: of the quantity.
        quantity: "retention" or "index", anchored at 1; or "drop", anchored at 0.
        reach: the drop at the red end.
    """
    offset = -value / reach if quantity == "drop" else value - 1
    return max(-1.0, min(1.0, offset))


def scale(level: float) -> tuple[str, str]:
    """Returns the colours of a level on the scale, in the light and the dark theme.

    The scale has 41 steps: more could not be distinguished, and would make files larger.
    """
    return _scale(round(20 * level) / 20)


@functools.cache
def _scale(level: float) -> tuple[str, str]:
    return _hex(_mixed(_LIGHT, level)), _hex(_mixed(_DARK, level))


def ink(level: float) -> tuple[str, str]:
    """Returns the colours of text on `scale(level)`, in the light and the dark theme."""
    return _ink(round(20 * level) / 20)


@functools.cache
def _ink(level: float) -> tuple[str, str]:
    light, dark = (_readable(_mixed(stops, level)) for stops in (_LIGHT, _DARK))
    return light, dark


def depth(share: float) -> str:
    """Returns the colour of a layer's place, from 0 (input, dark) to 1 (output, bright)."""
    return _hex(_mixed(_DEPTHS, 2 * share - 1))


@functools.cache
def themed(colour: str) -> tuple[str, str]:
    """Returns a colour for the light theme and, bright enough on dark paper, for the dark one."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    channels = red, green, blue
    while _luminance(channels) < 0.25:
        channels = _mixed((channels, (255, 255, 255)), -0.8)  # a tenth of white
    return colour, _hex(channels)


def _mixed(stops: Sequence[Channels], level: float) -> Channels:
    """Interpolates linearly between the two stops around a level in [-1, 1]."""
    distance = (level + 1) / 2 * (len(stops) - 1)
    below = min(int(distance), len(stops) - 2)
    weight = distance - below
    pairs = zip(stops[below], stops[below + 1], strict=True)
    red, green, blue = (round(low + weight * (high - low)) for low, high in pairs)
    return red, green, blue


def _hex(channels: Channels) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _readable(channels: Channels) -> str:
    """Returns black or white, by the background's luminance."""
    return _INK if _luminance(channels) > 0.3 else _WHITE


def _luminance(channels: Channels) -> float:
    """Returns the relative luminance (WCAG 2), from 0 to 1."""
    red, green, blue = ((channel / 255) ** 2.2 for channel in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
