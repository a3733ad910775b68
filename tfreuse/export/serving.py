"""The functions that are served, and their names."""

import pathlib

import keras
import tensorflow as tf

from tfreuse.export.network import Network

DEFAULT, FROM_BYTES = "serving_default", "from_bytes"
OUTPUTS = {  # of each task: what follows from the network's output, and that output
    "segmentation": ("mask", "probabilities"),
    "autoencoder": ("image", "reconstruction"),
}


def signatures(network: Network) -> list[str]:
    """The names of the signatures that the network can have."""
    # TensorFlow decodes to 1 or 3 channels
    return [DEFAULT, FROM_BYTES] if network.channels in (1, 3) else [DEFAULT]


def write(network: Network, path: pathlib.Path) -> None:
    """Writes the SavedModel to the folder `path`."""
    serve = _server(network)

    def serve_bytes(image_bytes):
        pixels = tf.io.decode_image(
            tf.reshape(image_bytes, []), network.channels, expand_animations=False
        )
        return serve(pixels[None])

    inputs = {
        DEFAULT: (
            serve,
            tf.TensorSpec((None, None, None, network.channels), tf.uint8, "images"),
        ),
        FROM_BYTES: (serve_bytes, tf.TensorSpec(None, tf.string, "image_bytes")),
    }
    archive = keras.export.ExportArchive()
    archive.track(network.model)
    for name in signatures(network):
        function, spec = inputs[name]
        archive.add_endpoint(name, function, [spec])
    archive.write_out(path, verbose=False)


def _server(network: Network):
    """The function of uint8 [B, H, W, C] that the package's docstring describes."""
    derived, direct = OUTPUTS[network.task]

    def serve(images):
        height, width = tf.unstack(tf.shape(images)[1:3])
        padded = _reflected(images, network.multiple)
        output = network.model(tf.cast(padded, tf.float32) / 255.0, training=False)
        output = tf.cast(output[:, :height, :width], tf.float32)
        if network.task == "segmentation":
            mask = tf.argmax(output, axis=-1, output_type=tf.int32)
            return {derived: mask, direct: tf.nn.softmax(output)}
        pixels = tf.round(255.0 * tf.clip_by_value(output, 0.0, 1.0))
        return {derived: tf.cast(pixels, tf.uint8), direct: output}

    return serve


def _reflected(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """[B, H, W, C] -> the same, continued by its mirror image to multiples of `multiple`.

    By index, since tf.pad refuses to add more than a side has.
    """
    if multiple == 1:
        return images
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        index = tf.range(-(-side // multiple) * multiple)
        period = tf.maximum(2 * (side - 1), 1)  # 0 1 2 3 2 1 | 0 1 2 ...
        index = index % period
        images = tf.gather(images, tf.minimum(index, period - index), axis=axis)
    return images
