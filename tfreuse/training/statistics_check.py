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
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfreuse.analysis.tables import Row
from tfreuse.errors import InputError, first_names, printable
from tfreuse.models import images as model_images
from tfreuse.plan import selection
from tfreuse.training import norms, statistics_answer
from tfreuse.training.statistics_answer import QUANTITIES
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
FREE_SIZE = (
    224,
    224,
)  # of networks that take any: most weights were trained on ImageNet
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
        headline: the first words of the answer.
        answer: one line.
    """

    images: int
    pixels: str
    layers: list[Row]
    by_pixels: dict[str, Row]
    headline: str
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
    *,
    layers: Sequence[str] = ("*",),
    transplanted: str = "",
) -> Check:
    """Compares the statistics of a model with those that images cause; changes nothing.

    Args:
        model: of one input [B, H, W, C].
        images: [N, H, W, C], RGB or grey-scale, from 0 to 255.
        pixels: of PIXELS, how the model takes them.
        report: called with the share done and the name of PIXELS in work.
        layers: patterns on names and paths of all layers, as in a plan; only the batch
            normalizations that they select are judged.
        transplanted: file whose variables were moved into the model; "" if none is known.

    Raises:
        InputError: the model does not take such images, or they cause numbers that are not finite.
    """
    count, channels = len(images), images.shape[-1]
    scaling(pixels, channels)
    names = [pixels, *(name for name in _fitting(channels) if name != pixels)]
    if not norms.normalizations(model):
        return Check(count, pixels, [], {}, NOTHING, NOTHING)
    judged = _judged(model, layers)
    checker, wide = Checker(model), np.asarray(images, np.float32)
    by_name: dict[str, list[Row]] = {}
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
            by_name[name] = [row for row in rows if row["layer"] in judged]
            from_input = rows[0]["layer"] in judged
    by_pixels = {name: scores(by_name[name]) for name in PIXELS if name in by_name}
    headline, detail = statistics_answer.answer(
        by_name, pixels, from_input=from_input, transplanted=transplanted
    )
    return Check(
        count, pixels, by_name[pixels], by_pixels, headline, f"{headline}{detail}"
    )


def scaling(pixels: str, channels: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function of PIXELS. Raises InputError where it is not for these channels."""
    if pixels not in PIXELS:
        raise InputError(
            f"pixels is one of {', '.join(PIXELS)}; got {printable(pixels)}."
        )
    names = _fitting(channels)
    if pixels not in names:
        raise InputError(
            f"--pixels={pixels} is for RGB, and the model takes images of {channels} "
            f"channel{'s' * (channels != 1)}; type --pixels={' or --pixels='.join(names)}."
        )
    return PIXELS[pixels]


def _fitting(channels: int) -> list[str]:
    """Returns the names of PIXELS that images of these channels may have."""
    return [name for name in PIXELS if channels == 3 or name not in _OF_COLOUR]


def _judged(model: keras.Model, patterns: Sequence[str]) -> set[str]:
    """Returns paths of the selected batch normalizations.

    Raises:
        InputError: a pattern matches no layer, or no batch normalization is selected.
    """
    every = list(live.every_layer(model))
    names = [(layer.name, path) for path, layer in every]
    chosen = {path for _, path in selection.by_pattern(names, patterns)}
    norm_ids = {id(layer) for layer in norms.normalizations(model)}
    of_norms = [path for path, layer in every if id(layer) in norm_ids]
    judged = chosen & {*of_norms}
    if not judged:
        raise InputError(
            f"--layers={printable(','.join(patterns))} selects no batch normalization; the "
            f"model has {first_names(of_norms)}."
        )
    return judged


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
    *sides, channels = model_images.input_shape(model)
    model_images.check_channels_last(model, channels or 3)
    size = image_size or model_images.other_size(sides, FREE_SIZE) or FREE_SIZE
    if fixed := model_images.other_size(sides, size):
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
