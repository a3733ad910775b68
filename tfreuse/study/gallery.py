"""Arrays for a report's pictures: outputs before and after, batch normalization, features.

    arrays = gallery(bench, ("kernel", "stats"))   # keys as in tfreuse.report.arrays

Made from one pair of networks, to be looked at: nothing here is a measurement.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfreuse import roles, transplant
from tfreuse.data import drawing
from tfreuse.study import distances, treatments
from tfreuse.study.bench import Bench
from tfreuse.training import evaluation, recalibration

SAMPLES = 3  # test images
_KERNELS = 32  # of the first convolution
_COMPARED = 24  # layers of the CKA matrix
_IMAGES, _GRID = 64, 4  # of its features: images, and places a side


def gallery(bench: Bench, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """What a transplant of each group at all layers does to a few images and to the network.

    Args:
        bench: holds the recipient as it is; it is left as it was found.
        groups: of roles; those that the network has no parameters of are left out.

    Returns:
        arrays by the keys of `tfreuse.report.arrays`; without batch normalization, or without
        layers to compare, those keys are missing.
    """
    (everywhere,) = treatments.sites(bench.model, ("all",))
    held = {v.role for v in bench.variables if v.layer in everywhere.layers}
    groups = [name for name in groups if held & set(roles.expand(name.split("+")))]
    samples = _Samples(bench)
    own, norms = samples.show(), _Norms(bench.model)
    found = {
        "groups": np.array(groups, dtype=np.str_),
        "input": samples.shown[0],
        "truth": samples.shown[1],
        "before": own[0],
        "before_error": own[1],
    }
    after = {name: [] for name in ("after", "recalibrated")}
    maps = {name: [] for name in after}
    before = norms.maps()
    vectors = norms.vectors()
    features, kernels = _features(bench), _first_kernels(bench.model)
    try:
        for group in groups:
            bench.take(group.split("+"))
            for name, shown in after.items():
                if name == "recalibrated":
                    bench.recalibrate()
                shown.append(samples.show())
                maps[name].append(norms.maps())
            bench.restore()
        bench.take(roles.ROLES)
        theirs = norms.vectors(), _features(bench), _first_kernels(bench.model)
    finally:
        bench.restore()
    for name, shown in after.items():
        found[name] = np.array([one[0] for one in shown])
        found[f"{name}_error"] = np.array([one[1] for one in shown])
    if norms.layers:
        found |= norms.named(vectors, theirs[0], before, maps)
    if kernels and len(features) > 1:
        found |= _compared(kernels, theirs[2], features, theirs[1])
    return found


class _Samples:
    """A few test images, and what the model makes of them."""

    def __init__(self, bench: Bench) -> None:
        self._model = bench.model
        self._segments = bench.train_spec.task == "segmentation"
        self._ignored = bench.test.ignore_label
        inputs, targets = bench.evaluate.batches[0]
        self._inputs = inputs[:SAMPLES]
        self._targets = np.asarray(targets[:SAMPLES])
        self.shown = self._triptych(self._output())[:2]

    def show(self) -> tuple[np.ndarray, np.ndarray]:
        """The output as pictures uint8 [N, H, W, 3], and its error uint8 [N, H, W]."""
        output = self._output()
        if self._segments:
            wrong = output.argmax(axis=-1) != self._targets
            error = np.where(wrong & (self._targets != self._ignored), 1.0, 0.0)
        else:
            error = np.abs(output - self._targets).mean(axis=-1)
        scaled = np.round(255 * np.clip(error, 0, 1)).astype(np.uint8)
        return self._triptych(output)[2], scaled

    def _output(self) -> np.ndarray:
        output = evaluation.main_output(self._model(self._inputs, training=False))
        return np.nan_to_num(np.asarray(output, np.float32))

    def _triptych(self, output: np.ndarray) -> list[np.ndarray]:
        images = np.asarray(self._inputs)
        three = drawing.triptych(images, self._targets, output, self._ignored)
        return np.split(three, 3, axis=2)


class _Norms:
    """The batch normalization layers of a model, read as the model is now."""

    def __init__(self, model: keras.Model) -> None:
        self.layers = recalibration.normalizations(model)
        feeds = transplant.edges(model)
        self._before = []
        for layer in self.layers:
            names = feeds.get(layer.name, ())
            feeder = model.get_layer(names[0]) if len(names) == 1 else None
            self._before.append(getattr(feeder, "bias", None))

    def vectors(self) -> np.ndarray:
        """[4, C]: moving mean, moving standard deviation, gamma, beta; C channels in all."""
        rows = [[], [], [], []]
        for layer in self.layers:
            mean, variance = (
                np.array(layer.moving_mean),
                np.array(layer.moving_variance),
            )
            rows[0].append(mean)
            rows[1].append(np.sqrt(np.maximum(variance, 0)))
            rows[2].append(np.ones_like(mean) if layer.gamma is None else layer.gamma)
            rows[3].append(np.zeros_like(mean) if layer.beta is None else layer.beta)
        return _joined(rows)

    def maps(self) -> np.ndarray:
        """[2, C]: a and c of y = a x + c, biases before the layer included."""
        rows = [[], []]
        for layer, bias in zip(self.layers, self._before, strict=True):
            mean, variance = (
                np.array(layer.moving_mean),
                np.array(layer.moving_variance),
            )
            gamma = 1.0 if layer.gamma is None else np.array(layer.gamma)
            beta = 0.0 if layer.beta is None else np.array(layer.beta)
            a = gamma / np.sqrt(np.maximum(variance, 0) + layer.epsilon)
            rows[0].append(a)
            rows[1].append(
                beta + a * ((0.0 if bias is None else np.array(bias)) - mean)
            )
        return _joined(rows)

    def named(
        self,
        recipient: np.ndarray,
        donor: np.ndarray,
        before: np.ndarray,
        maps: dict[str, list[np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """The arrays of a report's figure of batch normalization."""
        return {
            "bn_layers": np.array([layer.name for layer in self.layers], dtype=np.str_),
            "bn_channels": np.array(
                [layer.moving_mean.shape[0] for layer in self.layers]
            ),
            "bn_donor": donor,
            "bn_recipient": recipient,
            "map_recipient": before,
            "map_after": np.array(maps["after"]),
            "map_recalibrated": np.array(maps["recalibrated"]),
        }


def _joined(rows: list[list]) -> np.ndarray:
    if not rows[0]:
        return np.zeros((len(rows), 0), np.float32)
    return np.stack([np.concatenate(row) for row in rows]).astype(np.float32)


def _convolutions(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with kernels, heads left out, from input to output."""
    (everywhere,) = treatments.sites(model, ("all",))
    layers = [model.get_layer(name) for name in everywhere.layers]
    return [layer for layer in layers if hasattr(layer, "kernel")]


def _first_kernels(model: keras.Model) -> tuple[str, np.ndarray] | None:
    for layer in _convolutions(model):
        kernel = np.array(layer.kernel)
        if kernel.ndim == 4:
            return layer.name, kernel[..., :_KERNELS]
    return None


def _features(bench: Bench) -> dict[str, np.ndarray]:
    """Features [n, C] of layers at the same places of the same images; small maps left out."""
    layers = _convolutions(bench.model)
    images = tf.constant(bench.images[:_IMAGES])
    graph = keras.Model(bench.model.input, [layer.output for layer in layers])
    outputs = {
        layer.name: output
        for layer, output in zip(layers, graph(images, training=False), strict=True)
        if min(output.shape[1:3]) >= 4
    }
    if not outputs:
        return {}
    sides = [_GRID, *(min(output.shape[1:3]) for output in outputs.values())]
    step = -(-len(outputs) // _COMPARED)
    return {name: _on_grid(outputs[name], min(sides)) for name in list(outputs)[::step]}


def _on_grid(output: tf.Tensor, side: int) -> np.ndarray:
    """Means over side x side parts of each map: [N, H, W, C] -> [N side², C]."""
    pooled = tf.image.resize(output, (side, side), method="area")
    return np.reshape(np.asarray(pooled, np.float32), (-1, output.shape[-1]))


def _compared(
    own: tuple[str, np.ndarray],
    donor: tuple[str, np.ndarray],
    features: dict[str, np.ndarray],
    theirs: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The arrays of a report's figure of kernels and features."""
    names = list(features)
    table = [
        [distances.cka(theirs[row], features[column]) for column in names]
        for row in names
    ]
    return {
        "kernel_layer": np.array(own[0], dtype=np.str_),
        "kernels_donor": donor[1],
        "kernels_recipient": own[1],
        "cka_layers": np.array(names, dtype=np.str_),
        "cka": np.array(table, dtype=np.float64),  # None: not a number
    }
