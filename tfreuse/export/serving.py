"""The functions that are served, and their names."""

import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfreuse.export.network import Network

DEFAULT, FROM_BYTES, LOGITS = "serving_default", "from_bytes", "logits"
OUTPUTS = {  # of each task: what follows from the network's output, and that output
    "segmentation": ("mask", "probabilities"),
    "autoencoder": ("image", "reconstruction"),
}


def signatures(network: Network) -> list[str]:
    """The names of the signatures that the network can have."""
    found = [DEFAULT]
    if network.channels in (1, 3):  # TensorFlow decodes to no others
        found.append(FROM_BYTES)
    if network.task == "segmentation":  # an auto-encoder's own output is served already
        found.append(LOGITS)
    return found


def write(
    network: Network,
    path: pathlib.Path,
    size: tuple[int | None, int | None, int | None] = (None, None, None),
    names: Sequence[str] = (),
) -> None:
    """Writes the SavedModel to the folder `path`.

    Args:
        network: what to write.
        path: the folder.
        size: (B, H, W) of the images; None is any.
        names: the signatures; none: all that the network can have.
    """
    serve = server(network)

    def serve_bytes(image_bytes):
        pixels = tf.io.decode_image(
            tf.reshape(image_bytes, []), network.channels, expand_animations=False
        )
        return serve(pixels[None])

    def serve_logits(images):
        return {LOGITS: _output(network, images)}

    pixels = tf.TensorSpec((*size, network.channels), tf.uint8, "images")
    inputs = {
        DEFAULT: (serve, pixels),
        FROM_BYTES: (serve_bytes, tf.TensorSpec(None, tf.string, "image_bytes")),
        LOGITS: (serve_logits, pixels),
    }
    archive = keras.export.ExportArchive()
    archive.track(network.model)
    for name in names or signatures(network):
        function, spec = inputs[name]
        archive.add_endpoint(name, function, [spec])
    archive.write_out(path, verbose=False)


def server(network: Network):
    """The function of uint8 [B, H, W, C] that the package's docstring describes."""
    derived, direct = OUTPUTS[network.task]

    def serve(images):
        output = _output(network, images)
        if network.task == "segmentation":
            mask = tf.argmax(output, axis=-1, output_type=tf.int32)
            return {derived: mask, direct: tf.nn.softmax(output)}
        pixels = tf.round(255.0 * tf.clip_by_value(output, 0.0, 1.0))
        return {derived: tf.cast(pixels, tf.uint8), direct: output}

    return serve


def _output(network: Network, images: tf.Tensor) -> tf.Tensor:
    """The network's own output float32 [B, H, W, K] for images uint8 [B, H, W, C]."""
    height, width = tf.unstack(tf.shape(images)[1:3])
    padded = _reflected(images, network.multiple)
    output = network.model(tf.cast(padded, tf.float32) / 255.0, training=False)
    return tf.cast(output[:, :height, :width], tf.float32)


def _reflected(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """[B, H, W, C] -> the same, continued by its mirror image to multiples of `multiple`.

    By index, since tf.pad refuses to add more than a side has.
    """
    if multiple == 1:
        return images
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        # rounds up without a negative number, which ONNX would round the other way
        index = tf.range((side + multiple - 1) // multiple * multiple)
        period = tf.maximum(2 * (side - 1), 1)  # 0 1 2 3 2 1 | 0 1 2 ...
        index = index % period
        images = tf.gather(images, tf.minimum(index, period - index), axis=axis)
    return images
