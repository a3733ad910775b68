"""Draws the conclusion of a model's statistics and those of images, in one line.

    headline, detail = statistics_answer.answer(rows_by_pixels, "0..1", transplanted="donor.keras")

The rows are those of `statistics_check.Checker`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from tfreuse.analysis.tables import Row
from tfreuse.errors import printable

QUANTITIES = ("mean_shift", "log_variance_ratio")
RISES = dict(zip(("mean rise", "variance rise"), QUANTITIES, strict=True))
# Of `indicators`, 1.2 times the largest of right networks: on images of the kind that they were
# trained on, and on any. `tools/benchmark.py check` measured them; docs/transplant.md has the rates.
LIMITS = {
    "own": {"first": 0.54, "median": 0.40, "mean rise": 1.50, "variance rise": 1.71},
    "any": {"first": 2.52, "median": 3.42, "mean rise": 2.83, "variance rise": 2.94},
}
_LEAST_GAIN = 0.5
NO_ERROR = (
    "No error shows. Planted errors passed so too: most of BGR for RGB and of height for width, half "
    "of the epsilons, four in ten in one layer (docs/transplant.md)."
)
_SUGGESTIONS = {
    "any": (
        "on images of any kind",
        ": compare input and values with the donor's{other_cause}.",
    ),
    "own": (
        "on images like their training's",
        (
            ": an error in input or values{other_cause}, unless these images are of another kind than "
            "the training's."
        ),
    ),
}


def indicators(rows: Sequence[Row]) -> dict[str, float]:
    """Returns the values that are compared with LIMITS.

    "first": the first layer's |log variance ratio|, which the range of the input decides;
    "median": the median of it over all layers; "mean rise" and "variance rise": the largest rise
    of each of QUANTITIES from a layer to the next, which an error between the two causes.
    """
    variances = [row["log_variance_ratio"] for row in rows]
    values = {"first": variances[0], "median": float(np.median(variances))}
    return values | {name: max(rises(rows, name), default=0.0) for name in RISES}


def better_pixels(
    values: Mapping[str, Mapping[str, float]], pixels: str, limits: Mapping[str, float]
) -> str:
    """Returns the pixels that fit the first layer much better, if all layers fit then; else "".

    Args:
        values: `indicators` by the name of PIXELS.
        pixels: of PIXELS, as given.
        limits: by the name of an indicator.
    """
    best = min(values, key=lambda name: values[name]["first"])
    gain = values[pixels]["first"] - values[best]["first"]
    return best if gain > _LEAST_GAIN and not above(values[best], limits) else ""


def above(values: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """Returns the names of the indicators that are above their limits."""
    return [name for name, value in values.items() if value > limits[name]]


def rises(rows: Sequence[Row], name: str) -> list[float]:
    """Returns the rise of a quantity, by the name of RISES, from each layer to the next."""
    key = RISES[name]
    return [after[key] - before[key] for before, after in pairwise(rows)]


def answer(
    layers: Mapping[str, Sequence[Row]],
    pixels: str,
    *,
    from_input: bool = True,
    transplanted: str = "",
) -> tuple[str, str]:
    """Returns the suggestion of the comparison: its first words, and the rest of the line.

    Of the indicators that furthest above its limit decides.

    Args:
        layers: rows by the name of PIXELS.
        pixels: of PIXELS, as given.
        from_input: whether the first row is of the model's first layer, which shows the pixels.
        transplanted: file whose variables were moved into the model; "" if none is known.
    """
    by_pixels = {name: indicators(rows) for name, rows in layers.items()}
    rows, values = layers[pixels], by_pixels[pixels]
    better = from_input and better_pixels(by_pixels, pixels, LIMITS["own"])
    if not from_input:
        values = {name: value for name, value in values.items() if name != "first"}
    if better:
        detail = (
            f" (|log variance ratio| {by_pixels[better]['first']:.2f}, not "
            f"{values['first']:.2f}): try --pixels={better}, unless the images are darker or of "
            "less contrast than the training's."
        )
        return f"Pixels {better} fit the first layer better than {pixels}", detail
    for images, limits in (("any", LIMITS["any"]), ("own", LIMITS["own"])):
        exceeding = above(values, limits)
        if exceeding:
            name = max(exceeding, key=lambda name: values[name] / limits[name])
            kind, remedy = _SUGGESTIONS[images]
            other_cause = "" if name == "first" else _other_values(transplanted)
            return (
                _exceeding(rows, name, values[name]),
                f" (right networks: at most {limits[name]:.2f} {kind})"
                + remedy.replace("{other_cause}", other_cause),
            )
    headline = "No error shows."
    return headline, NO_ERROR.removeprefix(headline)


def _other_values(transplanted: str) -> str:
    """Returns the cause that is no error: layers that still describe earlier inputs."""
    moved = (
        f"{printable(transplanted, 60)} gave this file other values"
        if transplanted
        else "as in a decoder behind an encoder that was moved"
    )
    return (
        f", or statistics of the values that were in front of them before ({moved}: train these "
        "layers, or re-estimate their statistics)"
    )


def _exceeding(rows: Sequence[Row], name: str, value: float) -> str:
    """Returns the begin of a sentence on an indicator: how much is off, and in which layers."""
    if name in RISES:
        number = int(np.argmax(rises(rows, name)))
        before, after = (
            printable(row["layer"], 60) for row in rows[number : number + 2]
        )
        quantity = "Mean shift / sd" if name == "mean rise" else "|log variance ratio|"
        return f"{quantity} rises by {value:.2f} from {before} to {after}"
    where = "at the first layer" if name == "first" else "in the median over the layers"
    return f"|log variance ratio| is {value:.2f} {where}"
