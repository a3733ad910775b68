"""Compares an exported file with its network on random images."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfreuse.errors import InputError
from tfreuse.export import serving, sides
from tfreuse.export.network import Network
from tfreuse.models import endings

Outputs = dict[str, np.ndarray]  # of the default signature


def compare(network: Network, path: pathlib.Path) -> dict[str, Any]:
    """Compares the SavedModel with the network; returns the differences, for the metadata.

    Raises:
        InputError: the outputs differ.
    """
    saved_model = tf.saved_model.load(path)  # owns the variables: must stay referenced
    loaded = saved_model.signatures

    def run(images: np.ndarray) -> Iterator[Outputs]:
        yield _numpy(loaded[serving.DEFAULT](images=tf.constant(images)))
        if serving.FROM_BYTES in loaded:
            file = tf.io.encode_png(images[0])
            yield _numpy(loaded[serving.FROM_BYTES](image_bytes=file))
        if serving.LOGITS in loaded:
            served = loaded[serving.LOGITS](images=tf.constant(images))
            yield _numpy(_from_logits(network, served[serving.LOGITS]))

    return agree(network, run, sizes(network))


def agree(
    network: Network,
    run: Callable[[np.ndarray], Iterable[Outputs]],
    image_sizes: list[tuple[int, int]],
    slack: float = 1.0,
) -> dict[str, Any]:
    """Compares an exported function with the network, on random images.

    Args:
        network: the reference.
        run: returns the outputs for images uint8 [2, H, W, C], once per signature; an output
            may be that of the first image alone.
        image_sizes: (H, W) to try.
        slack: factor on the tolerance; other runtimes add in another order than TensorFlow.

    Raises:
        InputError: the outputs differ by more than the tolerance.
    """
    draw = np.random.default_rng(0)
    largest, allowed = 0.0, 0.0
    for size in image_sizes:
        images = draw.integers(0, 256, (2, *size, network.channels), dtype=np.uint8)
        with _exact_float32():
            # an image alone has other values than in a batch whose statistics it shares
            reference, largest_output = _reference(network, images)
            values = {len(images): reference}
            tolerance = slack * _tolerance(network, largest_output)
            for served in run(images):
                count = len(served[serving.OUTPUTS[network.task][0]])
                if count not in values:
                    values[count] = expected(network, images[:count])
                difference = _difference(network, served, values[count], tolerance)
                largest = max(largest, difference)
        allowed = max(allowed, tolerance)
    text = " and ".join(f"{height} x {width}" for height, width in image_sizes)
    return {
        "images": f"2 random images each of {text} pixels",
        "largest_difference": largest,
        "tolerance": allowed,
    }


def _numpy(outputs: dict[str, tf.Tensor]) -> Outputs:
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def _from_logits(network: Network, logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes the outputs of the default signature."""
    names = serving.OUTPUTS["segmentation"]
    values = tf.argmax(logits, axis=-1), serving.probabilities(network, logits)
    return dict(zip(names, values, strict=True))


def sizes(network: Network) -> list[tuple[int, int]]:
    """Returns the network's only size; or a size that it takes, and a size with odd sides."""
    if network.size:
        return [network.size]
    height, width = (
        side or 2 * max(network.multiple, 16)
        for side in network.original.input_shape[1:3]
    )
    return [(height, width), (height + 5 - height % 2, width + 3 - width % 2)]


def expected(network: Network, images: np.ndarray) -> np.ndarray:
    """Computes the output of the user's model in Keras: probabilities, or images.

    Args:
        network: the network; its own model, which may have been cut, is not used.
        images: uint8 [B, H, W, C].

    Returns:
        float32 [B, H, W, K]; of a segmentation, K is the number of classes.

    Raises:
        InputError: outputs are infinite or NaN, or the model's labels do not follow from them.
    """
    return _expected(network, images, _run(network, network.original, images))


def _reference(network: Network, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns `expected`, and the largest magnitude of the network's logits or images."""
    outputs = _run(network, network.original, images)
    cut = network.activation != endings.LINEAR
    served = _run(network, network.model, images) if cut else outputs
    return _expected(network, images, outputs), float(np.abs(served).max())


def _run(network: Network, model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Runs a model of the network on images uint8 [B, H, W, C]: float32 [B, H, W, K]."""
    height, width = images.shape[1:3]
    padding = [(0, -side % network.multiple) for side in (height, width)]
    padded = np.pad(images, [(0, 0), *padding, (0, 0)], mode="reflect")
    if not _takes(model, padded.shape[1:3]):
        model = sides.changed(model, *padded.shape[1:3])
    outputs = network.run(model, padded.astype(np.float32) / network.divisor)
    return tf.cast(outputs, tf.float32).numpy()[:, :height, :width]


def _expected(network: Network, images: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Maps outputs of the user's model for `images` to `expected`'s."""
    if not np.isfinite(values).all():
        raise InputError(
            "the model's outputs for random images are infinite or NaN, so that the export "
            "cannot be checked; train the model again with a lower --learning_rate."
        )
    if network.task != "segmentation":
        return values
    values = _probabilities(network, values)
    if network.labels is not None:
        labels = _run(network, network.labels, images)
        if labels.shape == values.shape and labels.shape[3] > 1:
            labels = labels.argmax(axis=3)  # the model ends in a one_hot
        labels = labels.reshape(values.shape[:3])
        # Of labels with equal probabilities any is right; `not <=` refuses NaN too.
        if not _shortfall(values, labels) <= 1e-5:
            raise InputError(
                "the labels of the model's last argmax are not those of its largest outputs."
            )
    return values


def _takes(model: keras.Model, size: tuple[int, int]) -> bool:
    pairs = zip(model.inputs[0].shape[1:3], size, strict=True)
    return all(fixed in (None, side) for fixed, side in pairs)


def _probabilities(network: Network, values: np.ndarray) -> np.ndarray:
    """Maps the outputs of the user's model [B, H, W, K] to probabilities of the classes."""
    is_distribution = values.min() >= 0 and np.allclose(values.sum(-1), 1, atol=1e-3)
    has_probabilities = network.activation != endings.LINEAR or is_distribution
    if values.shape[-1] == 1:
        if not has_probabilities:
            values = 1.0 / (1.0 + np.exp(-values))
        return np.concatenate([1.0 - values, values], axis=-1)
    if has_probabilities:
        return values
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def _tolerance(network: Network, largest: float) -> float:
    """Returns the allowed difference of outputs of the largest magnitude `largest`.

    A graph adds in another order than eager Keras. The effect on probabilities grows with the
    logits: those of an untrained ResNet-50 reach 1000.
    """
    if all(layer.compute_dtype == "float32" for layer in network.model.layers):
        return max(1e-5, 1e-6 * largest)
    return max(2e-2, 4e-3 * largest)  # bfloat16 has 8 bits


def _difference(
    network: Network, served: Outputs, values: np.ndarray, tolerance: float
) -> float:
    """Returns the largest difference of the direct output from `values`.

    Raises:
        InputError: it is above the tolerance, or the derived output (mask, image) does not
            follow from `values`.
    """
    derived, direct = (served[name] for name in serving.OUTPUTS[network.task])
    if direct.shape != values.shape:
        raise InputError(
            f"the exported file has outputs of shape {direct.shape}, the model of "
            f"{values.shape}; the file was deleted."
        )
    difference = float(np.abs(direct - values).max())
    if network.task == "segmentation":
        # A label may differ only where two probabilities are equal within the tolerance.
        derived_difference = _shortfall(values, derived)
    else:
        pixels = 255.0 * np.clip(values, 0.0, 1.0)
        # Rounding to whole numbers explains a difference of 0.5.
        derived_difference = float((np.abs(derived - pixels).max() - 0.5) / 255.0)
    worst = max(difference, derived_difference)
    if not worst <= tolerance:  # also if NaN
        raise InputError(
            f"the exported file differs from the model by {worst:.2g}, more than "
            f"{tolerance:.2g}; it was deleted. The model may contain a layer that computes "
            "differently in a graph."
        )
    return difference


def _shortfall(values: np.ndarray, labels: np.ndarray) -> float:
    """Returns by how much the labels' probabilities fall short of the largest, at most."""
    labels = labels[..., None].astype(np.int64)
    labelled = np.take_along_axis(values, labels, axis=-1)[..., 0]
    return float((values.max(axis=-1) - labelled).max())


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Disables TensorFloat-32 inside, which has a mantissa of 10 bits, on GPUs."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
