"""Re-estimates the moving statistics of a user's model on unlabelled images.

done = recalibrate(model, images)              # in place
print(done.text())                             # how well so many images determine them
transplant.undo(done.displaced, model)         # the values of before
save(model, "model.keras", "out.keras", {})    # as a copy of the file, with OUT.undo
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse import checkpoints, files, rundir, transplant
from tfreuse.analysis.intervals import student_quantile
from tfreuse.checkpoints.writable import RECIPIENT, SUFFIXES
from tfreuse.errors import InputError, first_names, printable, reason
from tfreuse.training import recalibration
from tfreuse.training.layerwise import Batches, Layerwise, at_inference
from tfreuse.training.norms import BatchNormalization, Estimate, normalizations
from tfreuse.transplant import files as transplant_files
from tfreuse.transplant import live

BATCH_SIZE = 32
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Recalibration:
    """The changes of a recalibration, and how well the images determine the new statistics.

    Attributes:
        images: their number.
        layers: a row a layer, in the order of the calls: "layer", its path; "channels"; and
            medians over its channels of "mean_shift", |new - old mean| in standard deviations,
            "log_variance_ratio", |log(new / old variance)|, and of the 95 % intervals' half
            widths, "mean_half_width" and "log_variance_half_width" (None for one image).
        unreached: paths of batch normalizations that the images do not reach; unchanged.
        displaced: the statistics before, by variable path, for `transplant.undo`.
        passes: forward passes over the images, about.
    """

    images: int
    layers: list[dict[str, Any]]
    unreached: tuple[str, ...]
    displaced: dict[str, np.ndarray]
    passes: float

    def to_json(self) -> dict[str, Any]:
        names = ("images", "layers", "unreached", "passes")
        return {name: getattr(self, name) for name in names}

    def text(self) -> str:
        """Returns two lines: how far the statistics moved, and their intervals."""
        shift, ratio = (self._median(n) for n in ("mean_shift", "log_variance_ratio"))
        count = len(self.layers)
        moved = (
            f"{count} batch normalization{'s' * (count != 1)}: means moved by {shift:.2g} standard "
            f"deviations, variances by a factor of {math.exp(ratio):.3g} (median channel)"
        )
        if self.images < 2:
            return (
                f"{moved}\n1 image does not tell how far images differ: there is no interval. Take "
                "more images, or keep a share of the old statistics (--blend)."
            )
        widest = max(self.layers, key=lambda row: row["mean_half_width"])
        return (
            f"{moved}\n{self.images} images determine means to ± "
            f"{self._median('mean_half_width'):.2g} standard deviations and variances to a factor "
            f"of {math.exp(self._median('log_variance_half_width')):.3g} (95 % intervals, images as "
            f"the unit; median channel of the median layer); widest: "
            f"{printable(widest['layer'], 60)}, ± {widest['mean_half_width']:.2g} and "
            f"{math.exp(widest['log_variance_half_width']):.3g}"
        )

    def _median(self, name: str) -> float:
        return float(np.median([row[name] for row in self.layers]))


def recalibrate(
    model: keras.Model,
    images: Any,
    *,
    blend: float = 0.0,
    batch_size: int = BATCH_SIZE,
    one_pass: bool = False,
    memory: int | None = None,
    report: Callable[[float], None] = lambda share: None,
) -> Recalibration:
    """Sets every moving mean and variance to those of the images, in place; all or nothing.

    Each layer's statistics are those of its inputs over all images, behind layers that are
    re-estimated already: μ_l = E[x_l], σ²_l = E[(x_l - μ_l)²]. Compiled functions of the model
    see the new values.

    Args:
        model: its batch normalizations are found in models and layers inside it too.
        images: [N, H, W, C] as the model takes them, in memory or anything with a length and
            slices; for several inputs a list or a dictionary of these, as the model takes.
        blend: share A of the old statistics that stays, (1 - A) new + A old for means and
            variances (Schneider et al. 2020, arXiv 2006.16971); the layers behind
            are measured behind the blended ones.
        batch_size: images computed at a time.
        one_pass: normalize each batch by its own moments, as in training ("Rethinking 'Batch'
            in BatchNorm", Wu and Johnson 2021, arXiv 2105.07576, section 3). Not exact for more
            than one batch; for images that do not fit in the memory.
        memory: bytes for values that wait between layers; None: a quarter of the machine's. Batches
            that do not fit are computed from the start for each layer.
        report: called with the share of the work done.

    Raises:
        InputError: the model has no batch normalization, or one that cannot be re-estimated; the
            images do not fit the model; or they cause numbers that are not finite. The model is
            as before.
    """
    paths = {id(layer): path for path, layer in live.every_layer(model)}
    layers = normalizations(model)
    _check_layers(layers, paths, one_pass)
    if not 0 <= blend < 1:
        raise InputError(f"blend is a share from 0 to below 1; got {blend:g}.")
    batches = Batches(images, batch_size)
    example = _checked_example(model, images)
    variables = {id(v): path for path, v in live.variables(model).items()}
    displaced = {
        variables[id(v)]: live.read(v)
        for layer in layers
        for v in (layer.moving_mean, layer.moving_variance)
    }
    old = {layer: recalibration.values(layer) for layer in layers}
    normalize = at_inference
    if one_pass:
        normalize = recalibration.by_batch(old, blend)
    try:
        layerwise = _traced(model, layers, example, normalize)
        estimates = recalibration.settle(
            layerwise, batches, blend=blend, memory=memory, report=report
        )
        _check_finite(estimates, paths)
    except BaseException:
        for layer, (mean, variance) in old.items():
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
        raise
    return Recalibration(
        images=batches.total,
        layers=[
            {"layer": paths[id(layer)]}
            | _row(layer, estimate, old[layer], batches.total)
            for layer, estimate in estimates.items()
        ],
        unreached=tuple(paths[id(n)] for n in layers if n not in estimates),
        displaced=displaced,
        passes=layerwise.passes(batches, memory),
    )


def save(
    model: keras.Model,
    path: str | os.PathLike,
    out: str | os.PathLike,
    facts: Mapping[str, Any],
    *,
    overwrite: bool = False,
    undo: str = RECIPIENT,
) -> checkpoints.WriteReport:
    """Writes a copy of the model's file with the model's statistics, all or nothing.

    All other bytes stay; `transplant.undo(out)` takes them back.

    Args:
        model: loaded from the file, and recalibrated.
        path: the file.
        out: file to write, with the same ending.
        facts: JSON on the images, which the output's provenance holds.
        overwrite: replace `out` if it exists.
        undo: where `transplant.undo` takes the old statistics from; see `checkpoints.write`.

    Raises:
        InputError: the output cannot be written.
    """
    with transplant.opened(model, path) as pair:
        pair.check_out(out, overwrite)
        plan = pair.plan(roles="stats").check()
        norms = {id(layer) for layer in normalizations(model)}
        chosen = {p for p, layer in live.layers(model) if id(layer) in norms}
        values = {
            entry.recipient.path: pair.donor.read(entry.donor)
            for entry in plan.copies
            if entry.donor.layer_path in chosen
        }

        def provenance(
            new: Mapping[str, int], old: Mapping[str, int]
        ) -> dict[str, Any]:
            return {
                "recalibration": dict(facts),
                "recipient": {
                    "file": pair.recipient.path.name,
                    "values": files.digest(old),
                },
                "values": files.digest(new),
                "variables": len(values),
                "versions": rundir.versions(),
            }

        return checkpoints.write(pair.recipient, out, values, provenance, undo=undo)


def check_out(path: str | os.PathLike, out: str | os.PathLike, overwrite: bool) -> None:
    """Raises InputError where `save` would for its output, in milliseconds."""
    out = pathlib.Path(out)
    with checkpoints.open(path) as file:
        checkpoints.check_recipient(file)
        suffix = SUFFIXES[file.kind]
        if not out.name.endswith(suffix):
            raise InputError(
                f"the output must end in {suffix}, as {printable(path)} does; got "
                f"--out={printable(out)}."
            )
        transplant_files.check_out(out, (file,), overwrite)


def _check_layers(
    layers: Sequence[BatchNormalization], paths: Mapping[int, str], one_pass: bool
) -> None:
    if not layers:
        raise InputError(
            "the model has no batch normalization, so that there are no statistics to re-estimate."
        )
    renorm = [paths[id(layer)] for layer in layers if layer.renorm]
    if renorm:
        raise InputError(
            f"{first_names(renorm)}: renorm=True holds averages of the training's batches too "
            "(moving_stddev, renorm_mean, renorm_stddev), which images without training do not "
            "give. Make the model with renorm=False, which predicts the same, and try again."
        )
    subclasses = [paths[id(n)] for n in layers if recalibration.is_own(n)]
    if one_pass and subclasses:
        raise InputError(
            f"{first_names(subclasses)}: a class of its own that computes in another way than batch "
            "normalization; leave one_pass out."
        )


def _checked_example(model: keras.Model, images: Any) -> Any:
    """Returns the first image of each input. Raises InputError where images do not fit."""
    arrays = tf.nest.flatten(images)
    counts = sorted({len(array) for array in arrays})
    if not counts or not counts[0] or len(counts) > 1:
        raise InputError(
            f"every input takes as many images, and at least one; got {counts}."
        )
    example = tf.nest.map_structure(lambda array: np.asarray(array[:1]), images)
    inputs = list(getattr(model, "inputs", None) or [])
    if inputs and len(inputs) != len(arrays):
        raise InputError(
            f"the model has {len(inputs)} input{'s' * (len(inputs) != 1)} "
            f"({first_names(t.name for t in inputs)}), got {len(arrays)} "
            f"array{'s' * (len(arrays) != 1)} of images; give an array [N, H, W, C] for each."
        )
    by_name = {tensor.name: tensor for tensor in inputs}
    if isinstance(images, dict) and set(images) == set(by_name):
        inputs = [by_name[name] for name in sorted(images)]  # as tf.nest flattens
    for tensor, array in zip(inputs, tf.nest.flatten(example)):
        shape = tuple(tensor.shape)[1:]
        fits = len(shape) == array.ndim - 1 and all(
            side in (None, got) for side, got in zip(shape, array.shape[1:])
        )
        if not fits:
            raise InputError(
                f"the input {printable(tensor.name, 60)} takes images of the shape {shape}, got "
                f"{array.shape[1:]}."
            )
    return example


def _traced(model, layers, example, normalize) -> Layerwise:
    try:
        return Layerwise(model, layers, example, normalize)
    except ValueError as error:  # of Keras's layers
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the model does not take these images: {reason(error)}."
        ) from error


def _check_finite(
    estimates: Mapping[BatchNormalization, Estimate], paths: Mapping[int, str]
) -> None:
    for layer, estimate in estimates.items():
        if not np.isfinite(estimate.mean + estimate.variance).all():
            raise InputError(
                f"the inputs of {printable(paths[id(layer)])} are not finite; the images or the "
                "weights before it are damaged. Nothing was changed."
            )


def _row(
    layer: BatchNormalization,
    estimate: Estimate,
    old: Sequence[np.ndarray],
    images: int,
) -> dict[str, Any]:
    """Returns medians over a layer's channels; see `Recalibration`."""
    mean, variance = recalibration.values(layer)
    spread = np.sqrt(estimate.variance + layer.epsilon)
    values = {
        "mean_shift": abs(mean - old[0]) / spread,
        "log_variance_ratio": abs(
            np.log((variance + layer.epsilon) / (old[1] + layer.epsilon))
        ),
    }
    row: dict[str, Any] = {"channels": len(mean)}
    row |= {name: float(np.median(value)) for name, value in values.items()}
    widths = {
        "mean_half_width": estimate.mean_error / spread,
        "log_variance_half_width": estimate.log_variance_error,
    }
    for name, value in widths.items():
        row[name] = None
        if images > 1:
            quantile = student_quantile((1 + _CONFIDENCE) / 2, images - 1)
            row[name] = quantile * float(np.median(value))
    return row
