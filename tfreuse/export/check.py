"""Compares what was written to the disk with the network that it was made of."""

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
    """Compares the SavedModel with the network; gives what was found, for the side file.

    Raises:
        InputError: they differ.
    """
    saved_model = tf.saved_model.load(path)  # owns the variables
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
    """Compares what was made of the network with the network, on random images.

    Args:
        network: what is right.
        run: gives the outputs for images uint8 [2, H, W, C], once or in several ways; one
            may be of the first image alone.
        image_sizes: (H, W) to try.
        slack: times the tolerance of TensorFlow's own graphs; others add up in their own way.

    Raises:
        InputError: they differ.
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
                found = _difference(network, outputs, expected[:count], tolerance)
                largest = max(largest, found)
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
    """What the default signature would give."""
    names = serving.OUTPUTS["segmentation"]
    found = tf.argmax(logits, axis=-1), tf.nn.softmax(logits)
    return dict(zip(names, found, strict=True))


def sizes(network: Network) -> list[tuple[int, int]]:
    """The network's own size, or one that it takes, and one of odd sides."""
    multiple = network.multiple
    own = tuple(
        side or 2 * max(multiple, 16) for side in network.original.input_shape[1:3]
    )
    return [own, (own[0] + 5 - own[0] % 2, own[1] + 3 - own[1] % 2)]


def _expected(network: Network, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Probabilities, or images, of uint8 [B, H, W, C], as Keras computes them; a tolerance."""
    height, width = images.shape[1:3]
    fits = network.original.input_shape[1:3] in ((height, width), (None, None))
    model = network.original if fits else network.model
    rest = [(0, -side % network.multiple) for side in (height, width)]
    padded = np.pad(images, [(0, 0), *rest, (0, 0)], mode="reflect")
    output = model(padded.astype(np.float32) / 255.0, training=False)
    output = tf.cast(output, tf.float32).numpy()[:, :height, :width]
    if not np.isfinite(output).all():
        raise InputError(
            "the model gives infinities or no numbers on random images, so that it cannot be "
            "checked; train it again with a lower --learning_rate."
        )
    tolerance = network.tolerance(output)
    if network.task == "autoencoder":
        return output, tolerance
    exponents = np.exp(output - output.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True), tolerance


def _difference(
    network: Network, outputs: Outputs, expected: np.ndarray, tolerance: float
) -> float:
    """The largest difference of the direct output from `expected`.

    Raises:
        InputError: it is above the tolerance, or the mask (image) is another than follows.
    """
    derived, direct = (outputs[name] for name in serving.OUTPUTS[network.task])
    if direct.shape != expected.shape:
        raise InputError(
            f"what was written gives outputs of shape {direct.shape} where the model gives "
            f"{expected.shape}; it was deleted."
        )
    difference = float(np.abs(direct - expected).max())
    if network.task == "segmentation":
        chosen = np.take_along_axis(expected, derived[..., None], axis=-1)[..., 0]
        # a label may differ only where two probabilities are equal within the tolerance
        aside = float((expected.max(axis=-1) - chosen).max())
    else:
        pixels = 255.0 * np.clip(expected, 0.0, 1.0)
        aside = float((np.abs(derived - pixels).max() - 0.5) / 255.0)
    worst = max(difference, aside)
    if not worst <= tolerance:
        raise InputError(
            f"what was written differs from the model by {worst:.2g}, more than {tolerance:.2g}; "
            "it was deleted. The model may hold a layer that computes something else in "
            "a graph."
        )
    return difference


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Keeps GPUs from rounding float32 to TensorFloat-32, which has 10 bits, meanwhile."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
