"""Arrays for a report's pictures: outputs before and after, batch normalization, features.

    arrays = gallery(recipient, ("kernel", "stats"))   # keys as in tfreuse.report.arrays

Made from one pair of networks, to be looked at: nothing here is a measurement.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfreuse import roles, transplant
from tfreuse.data import drawing
from tfreuse.study import distances, treatments
from tfreuse.study.recipient import Recipient, restore, take
from tfreuse.training import evaluation, recalibration

SAMPLES = 3  # test images
_KERNELS = 32  # filters shown of the first convolution
_CKA_LAYERS = 24  # layers of the CKA matrix, at most
_CKA_IMAGES = 64  # calibration images that its features are taken from
_GRID = 4  # positions a side at which they are taken


def gallery(recipient: Recipient, groups: Sequence[str]) -> dict[str, np.ndarray]:
    """Transplants each group at all layers and draws the outputs of a few test images.

    Args:
        recipient: with its original values; it is restored.
        groups: of roles; those that the network has no parameters of are left out.

    Returns:
        arrays by the keys of `tfreuse.report.arrays`; without batch normalization, or without
        layers to compare, those keys are missing.
    """
    (everywhere,) = treatments.sites(recipient.model, ("all",))
    present = {v.role for v in recipient.variables if v.layer in everywhere.layers}
    groups = [name for name in groups if present & set(roles.expand(name.split("+")))]
    samples, norms = _Samples(recipient), _Norms(recipient.model)
    before, before_error = samples.draw()
    arrays = {
        "groups": np.array(groups, dtype=np.str_),
        "input": samples.input,
        "truth": samples.truth,
        "before": before,
        "before_error": before_error,
    }
    recipient_maps, recipient_vectors = norms.maps(), norms.vectors()
    recipient_features = _features(recipient)
    recipient_kernels = _first_kernels(recipient.model)
    stages = ("after", "recalibrated")
    drawings, maps = ({stage: [] for stage in stages} for _ in range(2))
    try:
        for group in groups:
            take(recipient, group.split("+"))
            for stage in stages:
                if stage == "recalibrated":
                    recipient.recalibrate()
                drawings[stage].append(samples.draw())
                maps[stage].append(norms.maps())
            restore(recipient)
        take(recipient, roles.ROLES)
        donor_vectors, donor_features = norms.vectors(), _features(recipient)
        donor_kernels = _first_kernels(recipient.model)
    finally:
        restore(recipient)
    for stage in stages:
        arrays[stage] = np.array([picture for picture, _ in drawings[stage]])
        arrays[f"{stage}_error"] = np.array([error for _, error in drawings[stage]])
    if norms.layers:
        arrays |= norms.arrays(recipient_vectors, donor_vectors, recipient_maps, maps)
    if recipient_kernels and len(recipient_features) > 1:
        arrays |= _kernel_arrays(recipient_kernels, donor_kernels)
        arrays |= _cka_arrays(recipient_features, donor_features)
    return arrays


class _Samples:
    """A few test images, to be drawn with the model's present outputs.

    Attributes:
        input, truth: uint8 [N, H, W, 3].
    """

    def __init__(self, recipient: Recipient) -> None:
        self._model = recipient.model
        self._segments = recipient.train_spec.task == "segmentation"
        self._ignore_label = recipient.test.ignore_label
        inputs, targets = recipient.evaluate.batches[0]
        self._inputs = inputs[:SAMPLES]
        self._targets = np.asarray(targets[:SAMPLES])
        self.input, self.truth, _ = self._triptych(self._output())

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the output as pictures uint8 [N, H, W, 3], and its error uint8 [N, H, W]."""
        output = self._output()
        if self._segments:
            wrong = output.argmax(axis=-1) != self._targets
            error = np.where(wrong & (self._targets != self._ignore_label), 1.0, 0.0)
        else:
            error = np.abs(output - self._targets).mean(axis=-1)
        scaled = np.round(255 * np.clip(error, 0, 1)).astype(np.uint8)
        return self._triptych(output)[2], scaled

    def _output(self) -> np.ndarray:
        output = evaluation.main_output(self._model(self._inputs, training=False))
        return np.nan_to_num(np.asarray(output, np.float32))

    def _triptych(self, output: np.ndarray) -> list[np.ndarray]:
        images = np.asarray(self._inputs)
        panels = drawing.triptych(images, self._targets, output, self._ignore_label)
        return np.split(panels, 3, axis=2)


class _Norms:
    """The batch normalization layers of a model, read as the model is now."""

    def __init__(self, model: keras.Model) -> None:
        self.layers = recalibration.normalizations(model)
        feeds = transplant.edges(model)
        self._biases = []  # of the layer before each, or None
        for layer in self.layers:
            names = feeds.get(layer.name, ())
            feeder = model.get_layer(names[0]) if len(names) == 1 else None
            self._biases.append(getattr(feeder, "bias", None))

    def vectors(self) -> np.ndarray:
        """[4, C]: moving mean, moving standard deviation, gamma, beta; C channels in all."""
        rows = [[], [], [], []]
        for layer in self.layers:
            mean, variance = map(np.array, (layer.moving_mean, layer.moving_variance))
            rows[0].append(mean)
            rows[1].append(np.sqrt(np.maximum(variance, 0)))
            rows[2].append(np.ones_like(mean) if layer.gamma is None else layer.gamma)
            rows[3].append(np.zeros_like(mean) if layer.beta is None else layer.beta)
        return _joined(rows)

    def maps(self) -> np.ndarray:
        """[2, C]: a and c of y = a x + c, biases before the layer included."""
        rows = [[], []]
        for layer, bias in zip(self.layers, self._biases, strict=True):
            mean, variance = map(np.array, (layer.moving_mean, layer.moving_variance))
            gamma = 1.0 if layer.gamma is None else np.array(layer.gamma)
            beta = 0.0 if layer.beta is None else np.array(layer.beta)
            a = gamma / np.sqrt(np.maximum(variance, 0) + layer.epsilon)
            rows[0].append(a)
            rows[1].append(
                beta + a * ((0.0 if bias is None else np.array(bias)) - mean)
            )
        return _joined(rows)

    def arrays(
        self,
        recipient: np.ndarray,
        donor: np.ndarray,
        recipient_maps: np.ndarray,
        maps: dict[str, list[np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """Returns the arrays of a report's figure of batch normalization."""
        channels = [layer.moving_mean.shape[0] for layer in self.layers]
        return {
            "bn_layers": np.array([layer.name for layer in self.layers], dtype=np.str_),
            "bn_channels": np.array(channels),
            "bn_donor": donor,
            "bn_recipient": recipient,
            "map_recipient": recipient_maps,
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


def _features(recipient: Recipient) -> dict[str, np.ndarray]:
    """Features [n, C] of layers at the same positions of the same images.

    Feature maps of fewer than 4 x 4 pixels are left out: the common grid would be too coarse.
    """
    layers = _convolutions(recipient.model)
    images = tf.constant(recipient.images[:_CKA_IMAGES])
    graph = keras.Model(recipient.model.input, [layer.output for layer in layers])
    outputs = {
        layer.name: output
        for layer, output in zip(layers, graph(images, training=False), strict=True)
        if min(output.shape[1:3]) >= 4
    }
    if not outputs:
        return {}
    sides = [_GRID, *(min(output.shape[1:3]) for output in outputs.values())]
    step = -(-len(outputs) // _CKA_LAYERS)
    return {name: _on_grid(outputs[name], min(sides)) for name in list(outputs)[::step]}


def _on_grid(output: tf.Tensor, side: int) -> np.ndarray:
    """Averages each feature map over side x side parts: [N, H, W, C] -> [N side², C]."""
    pooled = tf.image.resize(output, (side, side), method="area")
    return np.reshape(np.asarray(pooled, np.float32), (-1, output.shape[-1]))


def _kernel_arrays(
    recipient: tuple[str, np.ndarray], donor: tuple[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the arrays of a report's figure of the first convolution's kernels."""
    return {
        "kernel_layer": np.array(recipient[0], dtype=np.str_),
        "kernels_donor": donor[1],
        "kernels_recipient": recipient[1],
    }


def _cka_arrays(
    recipient: dict[str, np.ndarray], donor: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the similarity of every layer of the donor with every layer of the recipient."""
    names = list(recipient)
    rows, columns = (
        [distances.Features(features[name]) for name in names]
        for features in (donor, recipient)
    )
    table = [[distances.cka(row, column) for column in columns] for row in rows]
    return {
        "cka_layers": np.array(names, dtype=np.str_),
        "cka": np.array(table, dtype=np.float64),  # None becomes NaN
    }
