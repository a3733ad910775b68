"""Checks by unlabelled images whether the statistics that a model holds fit its other values.

    check = statistics_check.check(model, images)  # uint8 [N, H, W, C]; changes nothing
    print(check.table())
    print(check.answer)

Wrong values in front of a batch normalization (kernels in another order, an input of another
range) change the mean and variance of its inputs, which the moving statistics of the right network
describe. Every layer is measured in inference mode, behind the statistics that the layers before it
hold, so that an error shows from its layer on; a recalibration measures a layer behind statistics
that it has replaced already.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from tfreuse.analysis.tables import Row
from tfreuse.errors import InputError, printable
from tfreuse.models import images as model_images
from tfreuse.training import norms
from tfreuse.transplant import live

_MEAN, _DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # ImageNet's, of [0, 1]
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # ImageNet's, of 0 to 255, BGR
# Name -> function of float32 images [N, H, W, C] with pixels from 0 to 255. The last two are the
# modes "torch" and "caffe" of `keras.applications.imagenet_utils.preprocess_input`.
PIXELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "0..1": lambda x: x / 255,
    "-1..1": lambda x: x / 127.5 - 1,
    "0..255": lambda x: x,
    "imagenet": lambda x: (x / 255 - np.float32(_MEAN)) / np.float32(_DEVIATION),
    "caffe": lambda x: x[..., ::-1] - np.float32(_CAFFE_MEAN),
}
_OF_COLOUR = ("imagenet", "caffe")
QUANTITIES = ("mean_shift", "log_variance_ratio")
RISES = dict(zip(("mean rise", "variance rise"), QUANTITIES, strict=True))
FREE_SIZE = (
    224,
    224,
)  # of networks that take any: most weights were trained on ImageNet
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
    "any": ("on images of any kind", "compare input and values with the donor's."),
    "own": (
        "on images like their training's",
        "an error in input or values, unless these images are of another kind than the training's.",
    ),
}
NOTHING = (
    "The model has no batch normalization, so that there are no statistics to compare."
)


@dataclasses.dataclass(frozen=True)
class Check:
    """The comparison of a model's statistics with those that images cause.

    Attributes:
        images: number of images.
        pixels: of PIXELS, as the model was said to take them.
        layers: a row a layer, see `Checker`; empty without batch normalization.
        by_pixels: scores of each of PIXELS: the median over layers of both quantities, and those
            of the first layer.
        answer: one line.
    """

    images: int
    pixels: str
    layers: list[Row]
    by_pixels: dict[str, Row]
    answer: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def table(self) -> str:
        """Returns the scores of each of PIXELS as text."""
        lines = [
            f"{'pixels':10} {'median over layers':>25} {'first layer':>25}",
            f"{'':10} " + " ".join([f"{'mean':>12} {'variance':>12}"] * 2),
        ]
        for name, row in self.by_pixels.items():
            mark = "*" if name == self.pixels else " "
            values = " ".join(f"{value:12.2f}" for value in row.values())
            lines.append(f"{mark}{name:9} {values}")
        lines.append(
            "mean: |mean shift| / sd, variance: |log variance ratio|, each the median over a "
            "layer's channels"
        )
        return "\n".join(lines)


def check(
    model: keras.Model,
    images: np.ndarray,
    pixels: str = "0..1",
    report: Callable[[float, str], None] = lambda share, name: None,
) -> Check:
    """Compares the statistics of a model with those that images cause; changes nothing.

    Args:
        model: of one input [B, H, W, C].
        images: [N, H, W, C], RGB or grey-scale, from 0 to 255.
        pixels: of PIXELS, how the model takes them.
        report: called with the share done and the name of PIXELS in work.

    Raises:
        InputError: the model does not take such images, or they cause numbers that are not finite.
    """
    if pixels not in PIXELS:
        raise InputError(
            f"pixels is one of {', '.join(PIXELS)}; got {printable(pixels)}."
        )
    count, channels = len(images), images.shape[-1]
    names = [pixels, *(name for name in PIXELS if name != pixels)]
    if channels != 3:
        names = [name for name in names if name not in _OF_COLOUR]
    if pixels not in names:
        raise InputError(
            f"--pixels={pixels} is for RGB, and the model takes images of {channels} "
            f"channel{'s' * (channels != 1)}; type --pixels={' or --pixels='.join(names)}."
        )
    if not norms.normalizations(model):
        return Check(count, pixels, [], {}, NOTHING)
    checker, wide = Checker(model), np.asarray(images, np.float32)
    layers: dict[str, list[Row]] = {}
    for number, name in enumerate(names):

        def report_images(done: int, number: int = number, name: str = name) -> None:
            report((number + done / count) / len(names), name)

        rows = checker(PIXELS[name](wide), report_images)
        layer = _infinite(rows)
        if layer and name == pixels:
            raise InputError(
                f"the inputs of {printable(layer)} are not finite with pixels {name}; the weights "
                "before it are damaged, or the model takes another range (--pixels)."
            )
        if not layer:
            layers[name] = rows
    by_pixels = {name: scores(layers[name]) for name in PIXELS if name in layers}
    return Check(count, pixels, layers[pixels], by_pixels, _answer(layers, pixels))


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


def taken_images(
    model: keras.Model, image_size: tuple[int, int] | None
) -> tuple[tuple[int, int], int]:
    """Returns the (H, W) and the number of channels of the images that a model takes.

    Args:
        model: the model.
        image_size: asked for; None for the model's own, or FREE_SIZE.

    Raises:
        InputError: it takes no images [B, H, W, C], or none of this size.
    """
    inputs = getattr(model, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError(
            f"expected a model of one input [B, H, W, C]; its inputs have the shapes {shapes}."
        )
    *sides, channels = shapes[0][1:]
    model_images.check_channels_last(model, channels or 3)
    size = image_size or tuple(
        side or free for side, free in zip(sides, FREE_SIZE, strict=True)
    )
    if any(side not in (None, asked) for side, asked in zip(sides, size, strict=True)):
        fixed = [side or asked for side, asked in zip(sides, size, strict=True)]
        raise InputError(
            f"the model takes one size only, got --image_size={size[0]},{size[1]}; type "
            f"--image_size={fixed[0]},{fixed[1]}."
        )
    return size, channels or 3


def scores(rows: Sequence[Row]) -> Row:
    """Returns the median over layers of each of QUANTITIES, and that of the first layer."""
    medians = {
        f"median_{n}": float(np.median([r[n] for r in rows])) for n in QUANTITIES
    }
    return medians | {f"first_{name}": rows[0][name] for name in QUANTITIES}


class Checker:
    """Compares the statistics that images cause with those that a model holds.

    Args:
        model: of one input [B, H, W, C]; read when called, never changed.
    """

    def __init__(self, model: keras.Model) -> None:
        self._measure = norms.Measurer(model)
        self._paths = {id(layer): path for path, layer in live.every_layer(model)}

    def __call__(
        self,
        images: np.ndarray,
        report: Callable[[int], None] = lambda done: None,
    ) -> list[Row]:
        """Returns a row a layer, in the order of the calls.

        Args:
            images: float32 [N, H, W, C] as the model takes them.
            report: called with the number of images done.

        Returns:
            "layer": its path; "channels"; over its channels the median and, with the endings _low
            and _high, the quartiles of "mean_shift", |mean - moving mean| / sqrt(moving variance +
            epsilon), and of "log_variance_ratio", |log((variance + epsilon) / (moving variance +
            epsilon))|; "signed_log_variance_ratio": the median with its sign.
        """
        return [
            {"layer": self._paths[id(layer)], **_compared(layer, mean, variance)}
            for layer, mean, variance in self._measure(images, report=report)
        ]


def _infinite(rows: Sequence[Row]) -> str:
    """Returns the first layer whose inputs are not finite, "" if there is none."""
    names = (
        row["layer"] for row in rows if not np.isfinite(sum(row[q] for q in QUANTITIES))
    )
    return next(names, "")


def _compared(
    layer: norms.BatchNormalization, mean: np.ndarray, variance: np.ndarray
) -> Row:
    held_mean, held_variance = (
        keras.ops.convert_to_numpy(v).astype(np.float64)
        for v in (layer.moving_mean, layer.moving_variance)
    )
    stored = held_variance + layer.epsilon
    ratio = np.log((variance + layer.epsilon) / stored)
    row: Row = {"channels": len(mean)}
    values = abs(mean - held_mean) / np.sqrt(stored), abs(ratio)
    for name, of_channels in zip(QUANTITIES, values, strict=True):
        low, middle, high = np.quantile(of_channels, (0.25, 0.5, 0.75))
        row |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    row["signed_log_variance_ratio"] = float(np.median(ratio))
    return {k: v if isinstance(v, int) else float(v) for k, v in row.items()}


def _answer(layers: Mapping[str, Sequence[Row]], pixels: str) -> str:
    """Returns the suggestion of the comparison in one line: of indicators that furthest above its limit.

    Args:
        layers: rows by the name of PIXELS.
        pixels: of PIXELS, as given.
    """
    by_pixels = {name: indicators(rows) for name, rows in layers.items()}
    rows, values = layers[pixels], by_pixels[pixels]
    better = better_pixels(by_pixels, pixels, LIMITS["own"])
    if better:
        return (
            f"Pixels {better} fit the first layer better than {pixels} (|log variance ratio| "
            f"{by_pixels[better]['first']:.2f}, not {values['first']:.2f}): try "
            f"--pixels={better}, unless the images are darker or of less contrast than the "
            "training's."
        )
    for images, limits in (("any", LIMITS["any"]), ("own", LIMITS["own"])):
        exceeding = above(values, limits)
        if exceeding:
            name = max(exceeding, key=lambda name: values[name] / limits[name])
            kind, remedy = _SUGGESTIONS[images]
            return (
                f"{_finding(rows, name, values[name])} (right networks: at most "
                f"{limits[name]:.2f} {kind}): {remedy}"
            )
    return NO_ERROR


def _finding(rows: Sequence[Row], name: str, value: float) -> str:
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
