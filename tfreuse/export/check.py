"""Compares an exported file with its network on random images."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfreuse.errors import InputError
from tfreuse.export import serving
from tfreuse.export.network import Network

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
            yield _numpy(_from_logits(served[serving.LOGITS]))

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
            expected, tolerance = _expected(network, images)
            tolerance *= slack
            for outputs in run(images):
                count = len(outputs[serving.OUTPUTS[network.task][0]])
                difference = _difference(network, outputs, expected[:count], tolerance)
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


def _from_logits(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes the outputs of the default signature."""
    names = serving.OUTPUTS["segmentation"]
    outputs = tf.argmax(logits, axis=-1), tf.nn.softmax(logits)
    return dict(zip(names, outputs, strict=True))


def sizes(network: Network) -> list[tuple[int, int]]:
    """Returns the network's fixed size, or a size that it takes, and a size with odd sides."""
    height, width = (
        side or 2 * max(network.multiple, 16)
        for side in network.original.input_shape[1:3]
    )
    return [(height, width), (height + 5 - height % 2, width + 3 - width % 2)]


def _expected(network: Network, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns Keras's probabilities, or images, for uint8 [B, H, W, C], and a tolerance."""
    height, width = images.shape[1:3]
    fits = network.original.input_shape[1:3] in ((height, width), (None, None))
    model = network.original if fits else network.model
    padding = [(0, -side % network.multiple) for side in (height, width)]
    padded = np.pad(images, [(0, 0), *padding, (0, 0)], mode="reflect")
    output = model(padded.astype(np.float32) / 255.0, training=False)
    output = tf.cast(output, tf.float32).numpy()[:, :height, :width]
    if not np.isfinite(output).all():
        raise InputError(
            "the model's outputs for random images are infinite or NaN, so that the export "
            "cannot be checked; train the model again with a lower --learning_rate."
        )
    tolerance = network.tolerance(output)
    if network.task == "autoencoder":
        return output, tolerance
    exponents = np.exp(output - output.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True), tolerance


def _difference(
    network: Network, outputs: Outputs, expected: np.ndarray, tolerance: float
) -> float:
    """Returns the largest difference of the direct output from `expected`.

    Raises:
        InputError: it is above the tolerance, or the derived output (mask, image) does not
            follow from `expected`.
    """
    derived, direct = (outputs[name] for name in serving.OUTPUTS[network.task])
    if direct.shape != expected.shape:
        raise InputError(
            f"the exported file has outputs of shape {direct.shape}, the model of "
            f"{expected.shape}; the file was deleted."
        )
    difference = float(np.abs(direct - expected).max())
    if network.task == "segmentation":
        labelled = np.take_along_axis(expected, derived[..., None], axis=-1)[..., 0]
        # A label may differ only where two probabilities are equal within the tolerance.
        derived_difference = float((expected.max(axis=-1) - labelled).max())
    else:
        pixels = 255.0 * np.clip(expected, 0.0, 1.0)
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


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Disables TensorFloat-32 inside, which has a mantissa of 10 bits, on GPUs."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
